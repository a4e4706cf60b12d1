# What was decided in a run of mode auto, from its marks and switches (include "decisions"; run with -L bench).
# A run is a line of choice.sh, or what `twofold run --stats` wrote. With grain space a switch is one address
# space's and not the VM's, so nothing here tells of such runs.
#
# SPDX-License-Identifier: BSD-2-Clause

# The stretches between a mark and its end (the byte plus 0x80): {mark, from, to} in cycles.
def stretches: [.marks[]? | {mark, tsc}] | . as $m |
	[range(length) as $i | $m[$i] | select(.mark >= 16 and .mark < 144) | . as $a |
	 ([$m[$i + 1:][] | select(.mark == $a.mark + 128)] | first) as $b | select($b) |
	 {mark: $a.mark, from: $a.tsc, to: $b.tsc}];

# Each stretch with the mode at its beginning, the switches in it and the share of it on shadow tables. A VM
# in mode auto begins on nested tables.
def decisions: (.tsc_khz) as $khz |
	([.switch_list[]? | select(.grain == "vm")] | sort_by(.tsc)) as $all |
	stretches | map(. as $s |
		([$all[] | select(.tsc <= $s.from) | .to] | last // "nested") as $began |
		[$all[] | select(.tsc > $s.from and .tsc < $s.to)] as $in |
		([{at: $s.from, to: $began}] + [$in[] | {at: .tsc, to}] + [{at: $s.to}]) as $steps |
		([range(($steps | length) - 1) as $i | select($steps[$i].to == "shadow") |
			$steps[$i + 1].at - $steps[$i].at] | add // 0) as $shadow |
		$s + {began: $began, seconds: (($s.to - $s.from) / $khz / 1000),
		 share: (if $s.to > $s.from then $shadow / ($s.to - $s.from) else 0 end),
		 switches: [$in[] | {to, why, ms: ((.tsc - $s.from) / $khz)}]});

# Of one stretch, when BETTER is the mode in which its work is faster (null: neither). A switch is wrong when it
# is into the slower mode, or undone in the same stretch; the one that undoes a wrong one is not wrong for it.
# Late: milliseconds to the first switch where the stretch began in the slower mode; null where none was due,
# "never" where none came.
def judged($better): .switches as $sw |
	. + {better: $better,
	 wrong: ([range($sw | length) as $i | select(
		($better != null and $sw[$i].to != $better) or
		($i + 1 < ($sw | length) and ($better == null or $sw[$i].to == $better))) | $i] | length),
	 late: (if $better == null or .began == $better then null
		else ([$sw[] | select(.to == $better) | .ms] | first // "never") end)};
