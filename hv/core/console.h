/* COM2: the hypervisor's own serial line, and the JSON that goes out on it.
 *
 * A line is built and sent between json_begin() and json_end(), which hold the console's lock.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_CONSOLE_H
#define HV_CORE_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

void console_init(void);

/* The console is taken over for last words: its lock is ignored from now on. */
void console_seize(void);

/* Wait until all is out on the line: a machine that is switched off drops what it holds. */
void console_drain(void);

/* {"ev":NAME */
void json_begin(const char *event);
/* The same of a line that is not sent now but in pieces, by console_send_some(), or before the next
 * line that is: a byte costs an emulated UART thousands of cycles, and the guest would wait. */
void json_begin_later(const char *event);
/* Is there something to be sent? */
bool console_has_more(void);
/* Send as much of it as the UART takes at once. */
void console_send_some(void);
/* }\n */
void json_end(void);
void json_number(const char *name, uint64_t v);
void json_text(const char *name, const char *text);
/* "NAME":{ ... }; NULL: an element of a list, without a name. */
void json_open(const char *name);
void json_close(void);
/* "NAME":[ ... ] */
void json_open_list(const char *name);
void json_close_list(void);

#endif
