# What was decided in a run of mode auto, from its marks and switches (include "decisions"; run with -L bench).
# A run is a line of choice.sh, or what `twofold run --stats` wrote. With grain space a switch is one address
# space's and not the VM's: decisions_of() tells of one such space.
#
# SPDX-License-Identifier: BSD-2-Clause

# The stretches between a mark and its end (the byte plus 0x80): {mark, from, to} in cycles.
def stretches: [.marks[]? | {mark, tsc}] | . as $m |
	[range(length) as $i | $m[$i] | select(.mark >= 16 and .mark < 144) | . as $a |
	 ([$m[$i + 1:][] | select(.mark == $a.mark + 128)] | first) as $b | select($b) |
	 {mark: $a.mark, from: $a.tsc, to: $b.tsc}];

# Each stretch with the mode at its beginning, the switches in it and the share of it on shadow tables. A VM
# in mode auto, and a space, begins on nested tables.
def decisions_by(which): (.tsc_khz) as $khz |
	([.switch_list[]? | select(which)] | sort_by(.tsc)) as $all |
	stretches | map(. as $s |
		([$all[] | select(.tsc <= $s.from) | .to] | last // "nested") as $began |
		[$all[] | select(.tsc > $s.from and .tsc < $s.to)] as $in |
		([{at: $s.from, to: $began}] + [$in[] | {at: .tsc, to}] + [{at: $s.to}]) as $steps |
		([range(($steps | length) - 1) as $i | select($steps[$i].to == "shadow") |
			$steps[$i + 1].at - $steps[$i].at] | add // 0) as $shadow |
		$s + {began: $began, seconds: (($s.to - $s.from) / $khz / 1000),
		 share: (if $s.to > $s.from then $shadow / ($s.to - $s.from) else 0 end),
		 switches: [$in[] | {to, why, ms: ((.tsc - $s.from) / $khz)}]});

def decisions: decisions_by(.grain == "vm");
def decisions_of($space): decisions_by(.grain == "space" and .space == $space);

# The space that changed most often between two times, as the one of the phased work does; null: none did.
def busiest($from; $to): [.switch_list[]? | select(.grain == "space" and .tsc > $from and .tsc < $to)] |
	group_by(.space) | max_by(length) | if . then .[0].space else null end;

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
