# Tables from the results of bench.sh (its JSON lines are the inputs; run with -n -r -L bench).
#
# SPDX-License-Identifier: BSD-2-Clause

include "tables";

[inputs] as $all
| $all[0].machine as $m
| [$all[1:][] | select(.way)] as $runs
| ["none", "nested", "shadow", "kvm-nested", "kvm-shadow"] as $ways
| ($runs[0].cpus // 0) as $cpus
| [$runs[] | select(.kind == "work")] as $timed
| ([$timed[].work[].work] | reduce .[] as $w ([]; if index($w) then . else . + [$w] end)) as $parts

# Seconds: [WAY][ROW], where a row is a part, or one of the two boots.
| (["boot", "boot_quiet"] + $parts) as $rows
| (reduce $ways[] as $way ({}; .[$way] =
	([$timed[] | select(.way == $way)] as $of |
	 {boot: [$of[].boot],
	  boot_quiet: [$runs[] | select(.kind == "quiet" and .way == $way) | .boot]} +
	 (reduce $parts[] as $p ({}; .[$p] = [$of[].work[] | select(.work == $p) | .seconds]))))) as $all_s
| ($all_s | map_values(map_values(median))) as $s
| ($all_s | map_values(map_values(min))) as $fastest
| (reduce $ways[] as $way ({}; .[$way] =
	([$timed[] | select(.way == $way) | .work[] | select(.work == "arith") | .seconds] |
	 if length == 0 then null else {min: min, max: max} end))) as $noise
| {boot: "kernel up to /init", boot_quiet: "the same, console quiet"} as $title

# Counters between two marks (ours) or two readings (KVM) around part number I, named P.
| def ours_at($way; $i): [$timed[] | select(.way == $way)] |
	[.[] | ([.marks[] | select(.mark == 16 + $i)] | first) as $a |
		([.marks[] | select(.mark == 144 + $i)] | first) as $b |
		select($a and $b) | {a: $a, b: $b, n: ($b.exits_total - $a.exits_total)}] |
	sort_by(.n) | .[length / 2 | floor];
  def kvm_at($way; $p): [$runs[] | select(.kind == "counts" and .way == $way) | .kvm] | first // [] |
	([.[] | select(.kvm == "begin " + $p)] | first) as $a |
	([.[] | select(.kvm == "work " + $p)] | first) as $b |
	if $a and $b then $b.exits - $a.exits else null end;
  def part_of($p): [$timed[].work[] | select(.work == $p)] | first;
  def number_of($p): {fork: 0, exec: 1, churn: 2, mprotect: 3, chase: 4, update: 5, storm: 6, pipe: 7,
	arith: 8, forks: 9}[$p];
  def exits_of($way; $p): ours_at($way; number_of($p)).n;

  def ratio_rows($t): $rows[] as $r | "  " + (($title[$r] // $r) | left(26)) +
	([($t.nested[$r] | over($t["kvm-nested"][$r])), ($t.shadow[$r] | over($t["kvm-shadow"][$r])),
	  ($t.nested[$r] | over($t.none[$r])), ($t.shadow[$r] | over($t.none[$r]))] |
	 map(fixed(2) | right(12)) | join("")) +
	($t.shadow[$r] | over($t.nested[$r]) | fixed(2) | right(14)) +
	($t["kvm-shadow"][$r] | over($t["kvm-nested"][$r]) | fixed(2) | right(19));

# The wanted ratios, for 1 CPU.
  def verdict($value; $most): if $value == null then "-" elif $value <= $most then "met" else "MISSED" end;
  def target($name; $value; $most):
	"  \($name | left(56)) \($value | fixed(2) | right(6))  at most \($most | fixed(2))  \(verdict($value; $most))";

"machine: \($m.cpu), \($m.cpus) CPUs, Linux \($m.linux), QEMU \($m.qemu) (TCG, -cpu EPYC,+svm,+npt), \($m.day)",
"guest: \($m.guest), \($cpus) CPU(s), 512 MiB; medians of \([$timed[] | select(.way == "none")] | length) rounds; load of the host at the ends of runs: \([$runs[].load] | if length == 0 then "-" else "\(min) to \(max)" end)",
([$all[] | select(.failed)] | group_by(.failed)[] | "failed runs: \(.[0].failed) \(length)"),
"",
"seconds                     " + ([$ways[] | right(12)] | join("")),
($rows[] as $r | "  " + (($title[$r] // $r) | left(26)) + ([$ways[] as $w | $s[$w][$r] | fixed(3) | right(12)] | join(""))),
"  " + ("arith, fastest to slowest" | left(26)) + ([$ways[] as $w | $noise[$w] |
	if . == null then "-" else "\(.min | fixed(2))-\(.max | fixed(2))" end | right(12)] | join("")),
"",
"ratios of medians             nested/KVM  shadow/KVM nested/none shadow/none shadow/nested KVM: shadow/nested",
ratio_rows($s),
"",
"ratios of the fastest rounds",
ratio_rows($fastest),
"",
"exits for each operation          nested      shadow  kvm-nested  kvm-shadow   of which, most frequent, in shadow mode",
($parts[] as $p | part_of($p) as $w | ours_at("shadow"; number_of($p)) as $x | "  " + ($p | left(26)) +
	([exits_of("nested"; $p), exits_of("shadow"; $p), kvm_at("kvm-nested"; $p), kvm_at("kvm-shadow"; $p)] |
	 map(over($w.count) | short | right(12)) | join("")) + "   " +
	(if $x then [$x.b.exits | to_entries[] | {key, n: (.value - ($x.a.exits[.key] // 0))} | select(.n > 0)] |
		sort_by(-.n) | .[:4] | map("\(.key) \(.n / $w.count | short)") | join(", ") else "-" end)),
(part_of("churn") as $w | if $w then "  " + ("churn, for each page" | left(26)) +
	([exits_of("nested"; "churn"), exits_of("shadow"; "churn"), kvm_at("kvm-nested"; "churn"),
	  kvm_at("kvm-shadow"; "churn")] | map(over($w.count * $w.size) | short | right(12)) | join(""))
 else empty end),
"",
(if $cpus != 1 then empty else
"wanted (median ratios)",
target("kernel up to /init, nested / KVM nested"; $s.nested.boot | over($s["kvm-nested"].boot); 0.8),
target("kernel up to /init, shadow / KVM shadow"; $s.shadow.boot | over($s["kvm-shadow"].boot); 0.8),
($parts[] as $p | target("\($p), nested / KVM nested"; $s.nested[$p] | over($s["kvm-nested"][$p]); 1.0)),
([$parts[] as $p | $s.nested[$p] | over($s["kvm-nested"][$p]) | select(. != null)] as $n |
	"  \("nested figures under 0.90, more than half of them" | left(56)) \([$n[] | select(. < 0.9)] | length) of \($n | length)            \(if ([$n[] | select(. < 0.9)] | length) * 2 > ($n | length) then "met" else "MISSED" end)"),
(["fork", "exec", "churn", "mprotect"][] as $p |
	target("\($p), shadow / KVM shadow"; $s.shadow[$p] | over($s["kvm-shadow"][$p]); 0.4)),
(["chase", "update"][] as $p |
	target("\($p), shadow / KVM shadow"; $s.shadow[$p] | over($s["kvm-shadow"][$p]); 1.0),
	target("\($p), shadow / our nested"; $s.shadow[$p] | over($s.nested[$p]); 0.75)),
(part_of("churn") as $w |
	target("exits for each page touched and unmapped, churn, shadow"; exits_of("shadow"; "churn") | over($w.count * $w.size); 1.5))
end)
