/* The screen of a PC in text mode, for a person at a machine whose serial lines nobody reads.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_SCREEN_H
#define HV_CORE_SCREEN_H

/* Find the screen, and where on it the boot loader's words end. Boot CPU. */
void screen_init(void);
/* "Twofold: " and this text on a line, below what is there; cut where the screen ends. Any CPU, in
 * any state; where there is no text screen it does nothing. */
void screen_line(const char *text);

#endif
