/* Words on COM2: one JSON object a line (the CLI reads them). Own lock; from any CPU.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_LOG_H
#define HV_CORE_LOG_H

/* {"ev":"log","text":...}; the format knows %s %c %d %u %x %lx %lu %ld %llx %llu %lld %p with width
 * and 0. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, only with verbose=1 on the command line. */
void log_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* {"ev":"error","text":...} */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
