/* The counters, as JSON on COM2.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_REPORT_H
#define HV_CORE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

/* {"ev":"hello",...} */
void report_hello(void);
/* {"ev":"counters",...} */
void report_counters(void);
/* {"ev":"mark",...}; the first one also sets boot_cycles. */
void report_mark(uint8_t mark);
/* {"ev":"end",...}; with_engine: the engine may still be asked. */
void report_end(const char *reason, unsigned int code, bool with_engine);

#endif
