/* What the hypervisor tells about the choice of the mode, in words: its events `switch` and
 * `calibration` (docs/protocol.md).
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef CLI_FIGURES_H
#define CLI_FIGURES_H

#include <jansson.h>

/* Seconds of CYCLES at a clock of KHZ; 0 where the clock is not known. */
double figures_seconds(double cycles, double khz);

/* One line each, on standard error. KHZ: of the clock that the events count in. */
void figures_say_switch(const json_t *event, double khz);
void figures_say_calibration(const json_t *event, double khz);

/* What of an event the choice was made for: "vm", or "space 0x1a2b000". */
void figures_unit(const json_t *event, char *text, size_t size);

/* X with three digits and a suffix k, M or G: "1.21 M". */
void figures_count(double x, char *text, size_t size);

#endif
