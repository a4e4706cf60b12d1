# Tables from the results of groups.sh (its JSON lines are the inputs; run with -n -r -L bench).
#
# SPDX-License-Identifier: BSD-2-Clause

include "tables";

[inputs] as $all
| $all[0].machine as $m
| [$all[1:][] | select(.way)] as $runs
| if $runs == [] then "no run succeeded" | halt_error(1) else . end
| ["one", "vcpu", "node", "node-cas"] as $ways
| [["storm", "page-fault storm"], ["forks", "fork storm"]] as $parts

# What one run says of PART: differences of counters between its marks, and what there is at its end.
| def figures($part): .cpus as $cpus | .[$part] | .begin as $a | .end as $b |
	def between(f): ($b | f) - ($a | f);
	{seconds: .told.seconds,
	 operations: (.told.count * $cpus),
	 exits: between(.exits_total),
	 faults: between((.exits.pf // 0) + (.exits.npf // 0)),
	 wait: (between(.engine.lock_wait_cycles) / (between(.tsc) * $cpus) * 100),
	 table_pages: $b.engine.table_pages,
	 copies: $b.engine.copies,
	 kinds: ([$b.exits | keys[]] | map({key: ., value: (($b.exits[.] // 0) - ($a.exits[.] // 0))}) | from_entries),
	 engine: ([$b.engine | keys[]] | map({key: ., value: ($b.engine[.] - $a.engine[.])}) | from_entries)};
  def of($mode; $way; $part): [$runs[] | select(.mode == $mode and .way == $way) | figures($part)];
  def med($mode; $way; $part; f): [of($mode; $way; $part)[] | f] | median;

  def table_row($mode; $way; $part): [of($mode; $way; $part)[].seconds] as $s |
	if $s == [] then empty else
	med($mode; $way; $part; .operations) as $n | med($mode; $way; $part; .exits) as $x |
	"  " + ($way | left(10)) +
	([($s | median | fixed(3)), "\($s | min | fixed(2))-\($s | max | fixed(2))",
	  ($x | fixed(0)), ($x | over($n) | short),
	  (med($mode; $way; $part; .faults) | over($n) | short),
	  (med($mode; $way; $part; .wait) | fixed(2)) + " %",
	  (med($mode; $way; $part; .table_pages) | fixed(0)), (med($mode; $way; $part; .copies) | fixed(0)),
	  ($s | median | over(med($mode; "one"; $part; .seconds)) | fixed(2)),
	  ($x | over(med($mode; "one"; $part; .exits)) | fixed(2))] |
	 [., [9, 13, 10, 10, 10, 10, 8, 8, 8, 8]] | transpose | map(.[1] as $w | .[0] | right($w)) | join("")) end;

  # A counter for each way: the engine's, then exits by kind; those that are 0 everywhere are left out.
  def counter_rows($mode; $part): [$ways[] | select(of($mode; .; $part) != [])] as $have |
	(of($mode; $have[0]; $part)[0]) as $one |
	def line($name; f): [$have[] as $w | med($mode; $w; $part; f)] as $v |
		if [$v[] | select(. != 0)] == [] then empty else
		"  " + ($name | left(24)) + ($v | map(fixed(0) | right(12)) | join("")) end;
	"  \("counts in the part" | left(24))" + ($have | map(right(12)) | join("")),
	(["guest_faults", "shadow_faults", "nested_faults", "spurious_faults", "shadow_fills", "prefills",
	  "shadows_made", "shadows_zapped", "tracks", "unsyncs", "resyncs", "resync_changes", "cr3_writes",
	  "invlpgs", "full_flushes", "remote_flushes", "copies"][] as $k | line($k; .engine[$k] // 0)),
	([$have[] as $w | of($mode; $w; $part)[].kinds | keys[]] | unique[] as $k |
		line("exit " + $k; .kinds[$k] // 0));

  def host($mode; $way): [$runs[] | select(.mode == $mode and .way == $way).host_seconds] | median;

  def verdict($value; $most): if $value == null then "-" elif $value <= $most then "met" else "MISSED" end;
  def target($name; $value; $most):
	"  \($name | left(44)) \($value | fixed(2) | right(6))  at most \($most | fixed(2))  \(verdict($value; $most))";

"machine: \($m.cpu), \($m.cpus) CPUs, Linux \($m.linux), QEMU \($m.qemu) (TCG, -cpu EPYC,+svm,+npt), \($m.day)",
"guest: \($m.guest), \($runs[0].cpus) CPUs on \($runs[0].nodes) nodes, 512 MiB; medians of \([$runs[].round] | max) rounds; load of the host at the ends of runs: \([$runs[].load] | "\(min) to \(max)")",
([$all[] | select(.failed)] | group_by(.failed)[] | "failed runs: \(.[0].failed) \(length)"),
(["nested", "shadow"][] as $mode | $parts[] as $p | select(of($mode; "one"; $p[0]) != []) |
	"",
	"\($p[1]), \($mode): \(of($mode; "one"; $p[0])[0].operations) operations on all CPUs, \($runs[0][$p[0]].told.size) pages",
	"              seconds  fast to slow     exits  for each  by faults lock wait  tables  copies   time/   exits/",
	"                                                one op.  in one op.            pages  so far     one      one",
	($ways[] | table_row($mode; .; $p[0])),
	(if $mode == "shadow" then "  node-cas  is node: cas changes how nested leaves are installed, shadow faults take the lock" else empty end)),
(["nested", "shadow"][] as $mode | $parts[] as $p | select(of($mode; "one"; $p[0]) != []) |
	"", "\($p[1]), \($mode)", counter_rows($mode; $p[0])),
"",
"CPU time of the host, whole runs, seconds" + ([$ways[] | right(12)] | join("")),
(["nested", "shadow"][] as $mode | select(host($mode; "one")) |
	"  \($mode | left(39))" + ([$ways[] as $w | host($mode; $w) | fixed(2) | right(12)] | join(""))),
(if [$runs[] | select(.mode == "shadow")] == [] then empty else
	"", "wanted (median ratios)",
	target("fork storm, shadow, node / one: time"; med("shadow"; "node"; "forks"; .seconds) | over(med("shadow"; "one"; "forks"; .seconds)); 1.0),
	target("fork storm, shadow, node / one: exits"; med("shadow"; "node"; "forks"; .exits) | over(med("shadow"; "one"; "forks"; .exits)); 1.1)
 end)
