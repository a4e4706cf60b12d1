# What the reports in tables share (include "tables"; run with -L bench).
#
# SPDX-License-Identifier: BSD-2-Clause

def median: sort | if length == 0 then null
	elif length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;
# jq's own "x" * 0 is null.
def many($n): if $n > 0 then . * $n else "" end;
def right($n): tostring | . as $t | (" " | many($n - ($t | length))) + $t;
def left($n): tostring | . as $t | $t + (" " | many($n - ($t | length)));
def pow10($d): reduce range($d) as $i (1; . * 10);
# A number with D digits after the point.
def fixed($d): if . == null then "-" else
	(. * pow10($d) | round) as $n |
	if $d == 0 then "\($n)" else
	($n % pow10($d) | tostring) as $f |
	"\($n / pow10($d) | floor).\("0" | many($d - ($f | length)))\($f)" end end;
# Three digits that count.
def short: if . == null then "-" elif . >= 100 then fixed(0) elif . >= 10 then fixed(1)
	elif . >= 1 then fixed(2) else fixed(3) end;
def over($b): if . == null or $b == null or $b == 0 then null else . / $b end;
