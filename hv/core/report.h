/* The counters, as JSON on COM2.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_REPORT_H
#define HV_CORE_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include <twofold/choice.h>

/* {"ev":"hello",...} */
void report_hello(void);
/* {"ev":"calibration",...} */
void report_calibration(void);
/* {"ev":"counters",...} */
void report_counters(void);
/* {"ev":"alive"} */
void report_alive(void);
/* {"ev":"switch",...}: a reading of this vCPU made a choice change. */
void report_switch(unsigned int cpu, const struct tf_verdict *d);
/* {"ev":"sample",...}: what one was judged by; the meter's share of the vCPU's time, in parts of a
 * million. */
void report_sample(unsigned int cpu, const struct tf_verdict *d, uint64_t meter_ppm);
/* {"ev":"mark",...}; the first one also sets boot_cycles. */
void report_mark(uint8_t mark);
/* {"ev":"end",...}; with_engine: the engine may still be asked. */
void report_end(const char *reason, unsigned int code, bool with_engine);

#endif
