/* `twofold run`: checks what it was given, starts the machine, carries the guest's console and the
 * hypervisor's stream until the end, says how it ended.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "console.h"
#include "home.h"
#include "kernel.h"
#include "machine.h"
#include "options.h"
#include "run.h"
#include "say.h"
#include "stats.h"
#include "stream.h"
#include "trace.h"
#include "walk.h"
#include "work.h"

enum { WORDS = 4096, GRACE_MS = 5000, LAST_LINES = 5 };

struct run {
	struct options o;
	struct kernel kernel;
	struct image initrd;
	bool has_initrd;
	const struct machine_kind *kind;
	struct process machine;
	struct console console;
	struct stream stream;
	struct work work;
	struct trace trace;
	char words[WORDS]; /* the first that the emulator itself said */
	size_t words_n;
	double started, ended; /* seconds on a monotonic clock; ended 0: it runs */
	double heard;	       /* when something came on a serial line last */
	double heard_cpu;      /* what the machine had taken of a CPU by then, seconds */
	const char *reason;    /* why we stopped it; NULL: it ended by itself */
	int signal;	       /* that made us stop; 0: none */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- before ---- */

static int kernel_find(struct run *r)
{
	char *path = r->o.kernel ? strdup(r->o.kernel) : home_file("kernel/vmlinuz");
	int status;

	if (!r->o.kernel && access(path, F_OK) != 0) {
		say("kernel %s: not there: 'make setup' fetches Debian's, or give one by --kernel",
		    path);
		return EXIT_BAD_FILE;
	}
	status = kernel_open(&r->kernel, path);
	if (!status && r->o.append && strlen(r->o.append) > r->kernel.cmdline_max) {
		say("--append: %zu characters: this kernel takes at most %u", strlen(r->o.append),
		    r->kernel.cmdline_max);
		status = EXIT_BAD_USAGE;
	}
	return status;
}

static int initrd_find(struct run *r)
{
	char *path;

	if (r->o.initrd && !strcmp(r->o.initrd, "none"))
		return 0;
	/* Our small user space is for Linux only. */
	if (!r->o.initrd && r->kernel.kind != KERNEL_BZIMAGE)
		return 0;
	path = r->o.initrd ? strdup(r->o.initrd) : home_file("initramfs.cpio");
	if (!r->o.initrd && access(path, F_OK) != 0) {
		say("initrd %s: not there: 'make initramfs' makes it, or give one by --initrd",
		    path);
		return EXIT_BAD_FILE;
	}
	r->has_initrd = true;
	return image_open(&r->initrd, "initrd", path);
}

static int memory_check(const struct run *r)
{
	uint64_t need = r->kernel.needs + (r->has_initrd ? r->initrd.size : 0);

	if (need <= r->o.mem)
		return 0;
	say("--mem %s: too little for this kernel and initrd: give at least %s", say_size(r->o.mem),
	    say_size((need + (1 << 20) - 1) >> 20 << 20));
	return EXIT_BAD_USAGE;
}

/* --trace FILE, beside the --stats file STATS (NULL: none). */
static int trace_find(struct run *r, FILE *stats)
{
	struct stat a, b;

	if (!r->o.trace)
		return 0;
	if (!trace_open(&r->trace, r->o.trace))
		return EXIT_BAD_USAGE;
	if (stats && fstat(fileno(stats), &a) == 0 && fstat(fileno(r->trace.file), &b) == 0 &&
	    S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino) {
		say("--trace %s: --stats writes the same file: give each one of its own",
		    r->o.trace);
		return EXIT_BAD_USAGE;
	}
	return 0;
}

/* The trace's first line: what a reader of it will want to know of the run. */
static void trace_begin(struct run *r, const char *version)
{
	json_t *head;

	if (!r->trace.file)
		return;
	head = json_pack("{s:s, s:s, s:s, s:s?, s:I, s:I, s:s, s:s?, s:o}", "ev", "run", "twofold",
			 TWOFOLD_VERSION, "mode", r->o.mode, "policy_asked", r->o.choice.asked,
			 "cpus", (json_int_t)r->o.cpus, "mem", (json_int_t)r->o.mem, "kernel",
			 r->kernel.file.path, "append", r->o.append, "machine",
			 stats_machine(r->kind, version));
	trace_put(&r->trace, head);
	json_decref(head);
}

/* ---- during ---- */

static int signals_open(void)
{
	static const int ours[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		sigaddset(&set, ours[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void stop(struct run *r, const char *reason)
{
	if (!r->reason)
		r->reason = reason;
	if (!strcmp(reason, "timeout") && r->machine.pid > 0 && r->kind->tell)
		r->kind->tell(&r->machine);
	process_kill(&r->machine);
}

static void signals_take(struct run *r, int fd)
{
	struct signalfd_siginfo si;

	while (read(fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			continue;
		r->signal = (int)si.ssi_signo;
		stop(r, "signal");
	}
}

static void words_take(struct run *r)
{
	char rest[512];
	ssize_t n;

	for (;;) {
		bool room = r->words_n < sizeof(r->words) - 1;

		n = room ? read(r->machine.ours[LINE_ERRORS], r->words + r->words_n,
				sizeof(r->words) - 1 - r->words_n)
			 : read(r->machine.ours[LINE_ERRORS], rest, sizeof(rest));
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(r->machine.ours[LINE_ERRORS]);
			r->machine.ours[LINE_ERRORS] = -1;
			return;
		}
		if (room)
			r->words_n += (size_t)n;
	}
}

static void progress(const struct run *r, double t)
{
	const json_t *exits = json_object_get(r->stream.last, "exits");
	const char *now_on = NULL, *key;
	json_t *value;
	json_int_t sum = 0;

	/* The guest's console shows what goes on by itself: two writers on one screen would clash.
	 */
	if (isatty(STDOUT_FILENO))
		return;
	if (!strcmp(r->o.mode, "auto"))
		now_on = json_string_value(json_object_get(r->stream.last, "mode_now"));
	json_object_foreach((json_t *)exits, key, value) sum += json_integer_value(value);
	say_progress("%s%s%s%s, %u CPUs: %.0f s, user space %s, %lld exits", r->o.mode,
		     now_on ? " (" : "", now_on ? now_on : "", now_on ? ")" : "", r->o.cpus,
		     t - r->started, stream_guest_is_up(&r->stream) ? "is up" : "is not up yet",
		     (long long)sum);
}

/* Milliseconds that poll() may wait: until the time limit, the end of a grace, the next look. */
static int wait_ms(const struct run *r, double t)
{
	double until = t + 1;

	if (r->o.timeout && !r->reason && r->started + r->o.timeout < until)
		until = r->started + r->o.timeout;
	return until > t ? (int)((until - t) * 1000) + 1 : 0;
}

static void hear(struct run *r, double t)
{
	r->heard = t;
	r->heard_cpu = process_cpu_seconds(&r->machine);
}

static double silence_max(const struct run *r)
{
	return r->o.silence ? r->o.silence : r->kind->silence;
}

/* Nothing came for longer than can be. Time counts in which the machine ran: it may have to share
 * its CPU. One that does not run at all gets ten times as long. */
static bool hangs(const struct run *r, double t)
{
	double silence = silence_max(r);

	return silence > 0 && !r->stream.ended && t - r->heard > silence &&
	       (process_cpu_seconds(&r->machine) - r->heard_cpu > silence ||
		t - r->heard > 10 * silence);
}

static void carry(struct run *r, int signals)
{
	double said = 0;

	for (;;) {
		struct pollfd p[CONSOLE_POLLS + 3];
		bool gone;
		double t;

		console_wants(&r->console, p);
		p[CONSOLE_POLLS] = (struct pollfd){signals, POLLIN, 0};
		p[CONSOLE_POLLS + 1] = (struct pollfd){r->stream.fd, POLLIN, 0};
		p[CONSOLE_POLLS + 2] = (struct pollfd){r->machine.ours[LINE_ERRORS], POLLIN, 0};
		poll(p, CONSOLE_POLLS + 3, wait_ms(r, now()));

		console_move(&r->console, p);
		stream_read(&r->stream);
		if (r->machine.ours[LINE_ERRORS] >= 0)
			words_take(r);
		signals_take(r, signals);
		process_poll(&r->machine);
		gone = r->machine.pid == 0;
		t = now();
		if (gone && !r->ended)
			r->ended = t;

		if (r->console.heard || r->stream.heard || console_waits(&r->console))
			hear(r, t);
		r->console.heard = r->stream.heard = false;
		if (r->console.quit)
			stop(r, "quit");
		if (r->console.broken && !r->signal) {
			r->signal = SIGPIPE;
			stop(r, "signal");
		}
		if (r->o.timeout && t - r->started >= r->o.timeout && !r->stream.ended)
			stop(r, "timeout");
		if (!gone && hangs(r, t))
			stop(r, "hang");
		if (r->stream.ended && !r->ended)
			r->ended = t;
		/* It has said all; a machine that does not power off need not keep us. */
		if (r->stream.ended && !gone && t - r->ended > GRACE_MS / 1000.0)
			process_kill(&r->machine);
		if (gone && r->stream.fd < 0 && console_drained(&r->console))
			return;
		/* Nobody takes the rest of the console: we were told to leave, so leave. */
		if (gone && r->reason && t - r->ended > 1)
			return;
		if (t - said >= 1) {
			progress(r, t);
			said = t;
		}
	}
}

/* ---- after ---- */

static void words_say(const struct run *r)
{
	const char *at = r->words;
	size_t n;

	for (; *at; at += n + (at[n] == '\n')) {
		n = strcspn(at, "\n");
		if (n && (!r->kind->is_word || r->kind->is_word(at, n)))
			say("%s: %.*s", r->kind->name, (int)n, at);
	}
}

static void last_lines_say(const struct run *r)
{
	tail_say(&r->console.tail, "console", LAST_LINES);
	tail_say(&r->stream.tail, "hv", LAST_LINES);
}

/* How the hypervisor's end event maps to our exit status. */
static int status_of_end(const json_t *end)
{
	const char *reason = json_string_value(json_object_get(end, "reason"));
	int code = (int)json_integer_value(json_object_get(end, "code"));

	if (!reason)
		return EXIT_HV_FAILED;
	if (!strcmp(reason, "poweroff") || !strcmp(reason, "reset") || !strcmp(reason, "walk"))
		return 0;
	if (!strcmp(reason, "debug_exit"))
		return code & 0xff;
	if (!strcmp(reason, "triple_fault"))
		return EXIT_GUEST_CRASH;
	if (!strcmp(reason, "error") && code == EXIT_BAD_FILE)
		return EXIT_BAD_FILE;
	return EXIT_HV_FAILED;
}

/* The guest ran on smaller pages than were asked for: that changes nothing but its speed. */
static void backing_say(const struct run *r)
{
	const json_t *engine = json_object_get(r->stream.last, "engine");

	if (!strcmp(r->o.backing, "1G") && engine &&
	    json_integer_value(json_object_get(engine, "huge_backed")) == 0)
		say("--backing 1G: the machine has no GiB for it, or its CPU no such nested pages: "
		    "it was 2M (--verbose tells more)");
}

/* Says what went wrong, if anything did, and returns the exit status. */
static int conclude(struct run *r)
{
	const char *reason;
	int status;

	/* Its own words matter where nothing else tells how it ended. */
	if (r->o.verbose || (!r->stream.hello && !r->stream.ended && !r->reason))
		words_say(r);
	if (r->reason) {
		if (!strcmp(r->reason, "timeout")) {
			say("the time limit of %g s has passed: the guest was stopped",
			    r->o.timeout);
			if (r->kind->silence)
				last_lines_say(r);
			return EXIT_TIME_LIMIT;
		}
		if (!strcmp(r->reason, "hang")) {
			say("%s hangs: nothing came on a serial line while it ran for %g s; it was "
			    "stopped",
			    r->kind->name, silence_max(r));
			last_lines_say(r);
			return EXIT_HV_FAILED;
		}
		return r->signal ? 128 + r->signal : 0;
	}
	if (!r->stream.ended) {
		char how[64];

		r->reason = "died";
		process_tell_end(&r->machine, r->kind->name, how, sizeof(how));
		say("%s: %s",
		    r->stream.hello ? "the hypervisor died without a last word"
				    : "the hypervisor did not start",
		    how);
		return EXIT_HV_FAILED;
	}
	reason = json_string_value(json_object_get(r->stream.last, "reason"));
	r->reason = reason ? reason : "unknown";
	status = status_of_end(r->stream.last);
	if (status == EXIT_GUEST_CRASH && !strcmp(r->reason, "triple_fault"))
		say("the guest crashed (triple fault)");
	else if (status == EXIT_HV_FAILED && strcmp(r->reason, "debug_exit") != 0 &&
		 !r->stream.error)
		say("the hypervisor stopped: %s", r->reason);
	return status;
}

/* The trace's last line is the end event, or this and the last counters where there was none. */
static bool trace_finish(struct run *r)
{
	json_t *tail;

	if (r->trace.file && !r->stream.ended) {
		if (r->stream.last)
			trace_put(&r->trace, r->stream.last);
		tail = json_pack("{s:s, s:s}", "ev", "stopped", "reason", r->reason);
		trace_put(&r->trace, tail);
		json_decref(tail);
	}
	return trace_close(&r->trace);
}

void run_begin(void)
{
	/* If 0, 1 or 2 were closed, a pipe of ours would take its place. */
	while (1) {
		int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (fd < 0)
			return;
		if (fd > STDERR_FILENO) {
			close(fd);
			return;
		}
	}
}

int run_guest(const struct options *o)
{
	static struct run r;
	const char *path, *version = "unknown";
	char *hv = home_file("twofold-hv.elf");
	void *stats = NULL;
	struct load load;
	int status, signals, to = STDOUT_FILENO;

	r.o = *o;
	r.kind = machine_find(r.o.machine);
	if (!r.kind)
		return EXIT_BAD_USAGE;
	if (r.o.walk)
		to = r.o.verbose ? STDERR_FILENO : -1;
	status = kernel_find(&r);
	if (!status)
		status = initrd_find(&r);
	if (!status)
		status = memory_check(&r);
	if (status)
		return status;
	load = (struct load){hv, &r.o, &r.kernel, r.has_initrd ? &r.initrd : NULL};
	status = r.kind->check(&load);
	if (status)
		return status;
	if (access(hv, R_OK) != 0) {
		say("the hypervisor %s is not there: 'make' builds it (TWOFOLD_HOME names another "
		    "place)",
		    hv);
		return EXIT_BAD_FILE;
	}
	path = r.kind->find();
	if (!path)
		return EXIT_BAD_FILE;
	if (r.o.stats) {
		stats = stats_open(r.o.stats);
		if (!stats)
			return EXIT_BAD_USAGE;
	}
	status = trace_find(&r, stats);
	if (status)
		return status;
	if (stats || r.trace.file)
		version = r.kind->version(path);

	signals = signals_open();
	r.started = now();
	r.heard = r.started;
	status = process_open(&r.machine);
	if (!status)
		status = r.kind->start(r.kind, &r.machine, path, &load);
	if (status)
		return status;
	trace_begin(&r, version);
	work_open(&r.work, &r.trace);
	stream_open(&r.stream, r.machine.ours[LINE_COUNTERS], r.o.verbose, &r.trace);
	console_open(&r.console, r.machine.ours[LINE_KEYS], r.machine.ours[LINE_CONSOLE], to,
		     &r.work);
	carry(&r, signals);
	process_kill(&r.machine);
	console_restore();

	status = conclude(&r);
	backing_say(&r);
	if (r.o.walk)
		r.o.walk->event = json_incref(r.stream.walk);
	if (stats) {
		struct run_facts facts = {
			.kernel = r.kernel.file.path,
			.initrd = r.has_initrd ? r.initrd.path : NULL,
			.machine = r.kind,
			.version = version,
			.reason = r.reason,
			.status = status,
			.wall_seconds = r.ended - r.started,
			.work = r.work.all,
		};

		if (!stats_write(stats, &r.o, &r.stream, &facts) && !status)
			status = EXIT_BAD_FILE;
	}
	if (!trace_finish(&r) && !status)
		status = EXIT_BAD_FILE;
	if (r.signal) {
		sigset_t none;

		sigemptyset(&none);
		signal(r.signal, SIG_DFL);
		sigprocmask(SIG_SETMASK, &none, NULL);
		raise(r.signal);
	}
	return status;
}

int command_run(int argc, char **argv)
{
	struct options o;
	int status;

	run_begin();
	status = options_parse(argc, argv, &o);
	return status ? status : run_guest(&o);
}
