# The programs that init runs, each with a fixed amount of work, times percent / 100, and a look whether it was
# done. Sourced by init.
#
# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=dash

scaled() {
	# shellcheck disable=SC2154 # init's
	n=$(($1 * percent / 100))
	[ $n -gt 0 ] || n=1
	echo $n
}

wrong() {
	echo "guest: $*"
	return 1
}

# The compiler proper and the assembler, each in a process of its own that the driver starts.
program_gcc() {
	n=$(scaled 2)
	rm -f /tmp/*.o
	# shellcheck disable=SC2012 # names of ours
	files=$(ls /src/*.i | head -n "$n" | tr '\n' ' ')
	timed gcc "$n" 0x40 "for f in $files; do gcc -O2 -c \$f -o /tmp/\$(basename \$f .i).o || exit 1; done" || return 1
	# shellcheck disable=SC2012
	[ "$(ls /tmp/*.o | wc -l)" = "$n" ] || wrong "gcc: not every file became an object"
	for o in /tmp/*.o; do
		[ "$(head -c 4 "$o" | tail -c 3)" = ELF ] || wrong "gcc: $o is no object"
	done
}

# A table with an index in random order, then look-ups by the index, each of another page.
program_sqlite() {
	n=$(scaled 100000)
	cat >/tmp/job.sql <<SQL
PRAGMA cache_size = -262144;
CREATE TABLE t(k INTEGER, v TEXT);
WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < $n - 1)
INSERT INTO t SELECT (i * 2654435761) % 4294967296, hex(i * 7919) || 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz' FROM c;
CREATE INDEX by_k ON t(k, v);
WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < $n - 1)
SELECT count(*) FROM c JOIN t ON t.k = (((i * 7919) % $n) * 2654435761) % 4294967296;
SQL
	timed sqlite "$n" 0x41 'sqlite3 :memory: </tmp/job.sql >/tmp/sqlite.out' || return 1
	[ "$(cat /tmp/sqlite.out)" = "$n" ] || wrong "sqlite: found $(cat /tmp/sqlite.out) of $n rows"
}

# A data set, then requests in random order while the server saves itself from a forked child, thrice.
program_redis() {
	n=$(scaled 4000)
	redis-server --save '' --appendonly no --daemonize yes --logfile /tmp/redis.log --dir /tmp \
		--unixsocket /tmp/redis.sock --port 0 --enable-debug-command local >/dev/null
	until redis-cli -s /tmp/redis.sock ping 2>/dev/null | grep -q PONG; do
		[ $((i = ${i:-0} + 1)) -lt 100 ] || wrong "redis: the server does not start" || return 1
		sleep 0.1
	done
	cat >/tmp/redis.sh <<SH
redis-cli -s /tmp/redis.sock debug populate 40000 key 200 >/dev/null
for i in 1 2 3; do
	redis-cli -s /tmp/redis.sock bgsave >/dev/null
	redis-benchmark -s /tmp/redis.sock -t set,get -n $n -r 40000 -d 200 -c 10 -P 4 -q >/tmp/redis.out || exit 1
	while redis-cli -s /tmp/redis.sock info persistence | grep -q bgsave_in_progress:1; do
		sleep 0.02
	done
done
SH
	timed redis $((n * 6)) 0x42 'sh /tmp/redis.sh' || return 1
	redis-cli -s /tmp/redis.sock info >/tmp/redis.info
	redis-cli -s /tmp/redis.sock shutdown nosave
	grep -q '^rdb_last_bgsave_status:ok' /tmp/redis.info || wrong "redis: a save failed" || return 1
	grep -q '^rdb_saves:3' /tmp/redis.info || wrong "redis: $(grep rdb_saves /tmp/redis.info), not 3" || return 1
	[ "$(grep -c 'requests per second' /tmp/redis.out)" = 2 ] || wrong "redis: the benchmark told nothing"
}

# NAME or NAME:OPS
program_stress() {
	name=${1%%:*}
	ops=${1#*:}
	mark=0x45
	more=
	case $1 in
	fork) ops=$(scaled 800) mark=0x43 ;;
	vm) ops=$(scaled 30000) mark=0x44 more="--vm-bytes 64M --vm-keep" ;;
	vm:*) more="--vm-bytes 64M --vm-keep" ;;
	*:*) ;;
	*) wrong "stress-$name needs a number: stress-$name:OPS" || return 1 ;;
	esac
	timed "stress-$name" "$ops" $mark "stress-ng --seed 1 --temp-path /tmp --metrics-brief \
		--$name 1 --$name-ops $ops $more >/tmp/stress.out 2>&1" || {
		tail -n 3 /tmp/stress.out
		return 1
	}
	did=$(awk -v name="$name" '$4 == name { print $5 }' /tmp/stress.out)
	[ "${did:-0}" -ge "$ops" ] || wrong "stress-$name: did ${did:-nothing} of $ops"
}

program_python() {
	n=$(scaled 100000)
	timed python "$n" 0x46 "python3 /job.py $n >/tmp/python.out" || return 1
	[ "$(cat /tmp/python.out)" = "$n sorted" ] || wrong "python: said $(cat /tmp/python.out)"
}
