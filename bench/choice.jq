# Tables from the results of choice.sh (its JSON lines are the inputs; run with -n -r -L bench, --arg form
# text or markdown).
#
# SPDX-License-Identifier: BSD-2-Clause

include "tables";
include "decisions";

[inputs] as $all
| $all[0].machine as $m
| [$all[1:][] | select(.way)] as $told
# A part that was run with several sizes is several works.
| ([$told[].work[]] | group_by(.work) | map(select(map(.size) | unique | length > 1) | .[0].work)) as $sized
| [$told[] | .work |= map(.work as $w | if $sized | index($w) then .work = "\($w):\(.size)" else . end)] as $runs
| [["none", "nested", "shadow", "dsp", "cost", "dsp-space", "cost-space", "kvm-nested", "kvm-shadow"][] as $w
	| select([$runs[] | select(.way == $w)] != []) | $w] as $ways
| ["parts", "steady", "phased", "pairs", "programs"] as $sets
# The rows: each work of each set, in the order told.
| [$sets[] as $set | ([$runs[] | select(.set == $set) | .work[].work] |
	reduce .[] as $w ([]; if index($w) then . else . + [$w] end))[] | {set: $set, work: .}] as $rows

# Seconds; of steady work, what repeats for a time, microseconds for one operation. A pair's own processes and
# their like come several times in a run: each counts.
| def figure($set): if $set == "steady" then .seconds / .count * 1e6 else .seconds end;
  def values($way; $r): [$runs[] | select(.way == $way and .set == $r.set) | .work[] |
	select(.work == $r.work) | figure($r.set)];
  (reduce $ways[] as $w ({}; .[$w] = (reduce $rows[] as $r ({}; .["\($r.set) \($r.work)"] = values($w; $r))))) as $v
| def at($way; $r): $v[$way]["\($r.set) \($r.work)"] // [];
  def med($way; $r): at($way; $r) | median;
# The smaller median of two ways; null unless both were measured.
  def least($a; $b; $r): [med($a; $r), med($b; $r)] | if any(. == null) then null else min end;
  def ours($r): least("nested"; "shadow"; $r);
  def kvm($r): least("kvm-nested"; "kvm-shadow"; $r);
  # The mode in which this is faster, if one is by more than 3 %.
  def better($r): med("shadow"; $r) as $s | med("nested"; $r) as $n |
	if $s == null or $n == null then null elif $s < $n / 1.03 then "shadow"
	elif $n < $s / 1.03 then "nested" else null end;

# In a word.
  def faster($r): better($r) // if ours($r) then "even" else "-" end;

  def auto($way): [$runs[] | select(.way == $way)];
# The stretches of a run with the works that they belong to: of those with one mark, each line that told of it has
# equally many, in order (of a phase all, of a part that ran twice the first or the second).
  def named: .work as $lines | [decisions | group_by(.mark)[] | . as $s | length as $n |
	[$lines[] | select(.mark == $s[0].mark) | .work] as $names | select($names != []) |
	range($n) as $i | $s[$i] + {work: $names[$i * ($names | length) / $n | floor]}];
# Every stretch of every run of a policy for the whole VM, judged.
  [("dsp", "cost") as $way | auto($way)[] | . as $run | named[] |
	{set: $run.set, work} as $r | judged(better($r)) + {set: $run.set, way: $way, round: $run.round}] as $stretches
| def of($way; $r): [$stretches[] | select(.way == $way and .set == $r.set and .work == $r.work)];

# A table of rows of cells, the first one its head: words of the first columns to the left.
  def table($lefts): if $form == "markdown" then
	(.[0] | "| " + join(" | ") + " |"),
	(.[0] | "|" + ([range(length) | if . < $lefts then "---|" else "---:|" end] | join(""))),
	(.[1:][] | "| " + (map(tostring) | join(" | ")) + " |")
  else
	([transpose[] | map(tostring | length) | max]) as $width |
	(.[] | . as $row | "  " + ([range(length) as $i | $row[$i] |
		if $i < $lefts then left($width[$i] + 2) else right($width[$i] + 2) end] | join("")))
  end;
  def title($t): "", (if $form == "markdown" then "### \($t)", "" else $t end);
  def percent($d): if . == null then "-" else (. * 100 | fixed($d)) + " %" end;
  def ratio: fixed(2);
  def verdict($value; $most): if $value == null then "-" elif $value <= $most then "met" else "MISSED" end;
  def spread($way; $r): at($way; $r) | if length < 2 then "-" else "\(min | short)-\(max | short)" end;

"machine: \($m.cpu), \($m.cpus) CPUs, Linux \($m.linux), QEMU \($m.qemu) (TCG, -cpu EPYC,+svm,+npt), \($m.day)",
"guest: \($m.guest), \($runs[0].cpus) CPU(s), \($runs[0].mem); medians of \([$runs[].round] | max) rounds; load of the host at the ends of runs: \([$runs[].load] | if length == 0 then "-" else "\(min) to \(max)" end)",
([$all[] | select(.failed)] | group_by([.failed, .set])[] | "failed runs: \(.[0].set), \(.[0].failed): \(length)"),

title("Seconds; of steady work microseconds for one operation"),
([["set", "work"] + $ways] + [$rows[] as $r | [$r.set, $r.work] + [$ways[] as $w | med($w; $r) | short]] | table(2)),

title("Ratios of medians (ours: the better of nested and shadow; KVM: the better of its two)"),
([["set", "work", "shadow/nested", "dsp/ours", "cost/ours", "space/ours", "space/cost", "cost/KVM", "space/KVM", "cost/none", "cost, least to most", "faster"]] +
	[$rows[] as $r | [$r.set, $r.work, (med("shadow"; $r) | over(med("nested"; $r)) | ratio),
	 (med("dsp"; $r) | over(ours($r)) | ratio), (med("cost"; $r) | over(ours($r)) | ratio),
	 (med("cost-space"; $r) | over(ours($r)) | ratio), (med("cost-space"; $r) | over(med("cost"; $r)) | ratio),
	 (med("cost"; $r) | over(kvm($r)) | ratio), (med("cost-space"; $r) | over(kvm($r)) | ratio),
	 (med("cost"; $r) | over(med("none"; $r)) | ratio), spread("cost"; $r), faster($r)]] | table(2)),

([("dsp", "dsp-space", "cost", "cost-space") as $way | $sets[] as $set | [auto($way)[] | select(.set == $set)] |
	select(. != []) | [$set, $way, ([.[].switches] | median | fixed(0)), ([.[].mode_share.shadow] | median | percent(1)),
	([.[].meter_share] | median | percent(2)), ([.[].meter_samples] | median | fixed(0)),
	([.[].meter_windows] | median | fixed(0)),
	([.[] | .tsc_khz as $khz | .switch_cycles_max | over($khz) | over(0.001)] | max | fixed(0))]] |
 if . == [] then empty else
	title("What auto did, medians of the runs of a set"),
	([["set", "way", "switches", "on shadow", "metering", "samples", "windows", "longest switch, us"]] + . | table(2)) end),

# The CPU time is what other work on the host changes least.
([$sets[] | select(. != "steady") | . as $set | [$ways[] as $w |
	[$runs[] | select(.set == $set and .way == $w) | .host_seconds] | median | fixed(1)] | [$set] + .] |
 map(select(.[1:] | any(. != "-"))) |
 if . == [] then empty else
	title("CPU time of the host, whole runs with their boots (for KVM the machine's and the guest's), seconds"),
	([["set"] + $ways] + . | table(1)) end),

# How fast and how well was decided, where the VM's mode is what is chosen.
([("dsp", "cost") as $way | $rows[] as $r | of($way; $r) | select(. != []) | . as $s |
	[$s[] | .late | select(. != null)] as $due | [$due[] | numbers] as $late |
	[$r.set, $r.work, $way, faster($r), ($s | length), ($due | length),
	 ([$due[] | select(. == "never")] | length), ($late | median | fixed(0)), ($late | max | fixed(0)),
	 ([$s[].switches | length] | add), ([$s[].wrong] | add), ([$s[].share] | add / length | percent(0))]] |
 if . == [] then empty else
	title("Decisions: from the begin mark of a stretch to the first switch into the faster mode, where it began in the slower"),
	([["set", "work", "policy", "faster", "stretches", "due", "never", "ms, median", "ms, most", "switches", "wrong", "on shadow"]] + . | table(4)) end),

# Where the policies spent most of a work in different modes, and whose was the faster one.
([$rows[] as $r | of("dsp"; $r) as $d | of("cost"; $r) as $c | select($d != [] and $c != []) |
	([$d[].share] | add / length) as $ds | ([$c[].share] | add / length) as $cs |
	select(($ds >= 0.5) != ($cs >= 0.5)) |
	(if $ds >= 0.5 then "shadow" else "nested" end) as $dm | (if $cs >= 0.5 then "shadow" else "nested" end) as $cm |
	better($r) as $b |
	[$r.set, $r.work, "\($dm) (\($ds | percent(0)) shadow)", "\($cm) (\($cs | percent(0)) shadow)",
	 (med("nested"; $r) | short), (med("shadow"; $r) | short),
	 (if $b == null then "even (within 3 %)" elif $b == $dm then "dsp" else "cost" end)]] |
 if . == [] then (if $stretches == [] then empty else title("dsp and cost spent most of every work in the same mode") end) else
	title("Where dsp and cost disagree"),
	([["set", "work", "dsp", "cost", "nested", "shadow", "right"]] + . | table(4)) end),

(if [$runs[] | select(.way == "cost")] == [] then empty else
title("Wanted"),
([["", "", "figure", "at most", ""],
 ($rows[] | select(.set == "steady") | . as $r | med("cost"; $r) | over(ours($r)) |
	["steady \($r.work)", "cost / ours", ratio, "1.03", verdict(.; 1.03)]),
 ($rows[] | select(.set == "phased" and .work == "phased") | . as $r | med("cost"; $r) | over(ours($r)) |
	["phased", "cost / ours", ratio, "0.90", verdict(.; 0.9)]),
 ([$stretches[] | select(.way == "cost" and .set == "phased")] | select(. != []) |
	([group_by(.round)[] | [.[].wrong] | add] | max) as $w |
	[.[].late | select(. != null) | if . == "never" then infinite else . end] | max as $late |
	["phased, wrong switches, most of any run", "cost", "\($w)", "3", verdict($w; 3)],
	["phased, ms to decide, most", "cost",
	 (if $late == infinite then "never" else ($late | fixed(0)) end), "250", verdict($late; 250)]),
 (("pair", "pair-update") as $p | {set: "pairs", work: $p} as $r | med("cost-space"; $r) | select(. != null) |
	over([med("cost"; $r), ours($r)] | if any(. == null) then null else min end) |
	[$p, "cost-space / least of cost and ours", ratio, "0.90", verdict(.; 0.9)]),
 ($rows[] | select(.set == "programs") | . as $r | med("cost"; $r) | over(kvm($r)) | select(. != null) |
	["\($r.work)", "cost / KVM", ratio, "0.95", verdict(.; 0.95)]),
 ([auto("cost")[].meter_share | select(. != null)] | max | select(. != null) |
	["metering, most of any run", "cost", percent(2), "1 %", verdict(.; 0.01)])] | table(2)) end)
