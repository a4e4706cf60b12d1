/* Lines on the screen: see screen.h.
 *
 * Owns: the text buffer of the VGA (80 x 25 words of a character and its colours), where the BIOS
 * left it in text mode. The guest has no screen. Lock: none; a line of two CPUs at once may come
 * out mixed.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "core/screen.h"

#include <stddef.h>
#include <stdint.h>

#define BIOS_MODE   0x449u /* of the BIOS's data: the video mode, and the cursor's row */
#define BIOS_ROW    0x451u
#define MODE_COLOUR 3u /* 80 x 25 */
#define MODE_MONO   7u
#define COLUMNS	    80u
#define ROWS	    25u
#define GREY	    0x0700u

static volatile uint16_t *cells; /* NULL: no such screen */
static unsigned int row;

/* Of the first page of memory, where gcc takes every pointer for a null one. */
static uint8_t bios_byte(uintptr_t at)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=q"(v) : "r"(at));
	return v;
}

void screen_init(void)
{
	uint8_t mode = bios_byte(BIOS_MODE);

	if (mode == MODE_COLOUR)
		cells = (volatile uint16_t *)(uintptr_t)0xb8000;
	else if (mode == MODE_MONO)
		cells = (volatile uint16_t *)(uintptr_t)0xb0000;
	row = bios_byte(BIOS_ROW) + 1u;
}

static void scroll(void)
{
	for (unsigned int i = 0; i < COLUMNS * (ROWS - 1); i++)
		cells[i] = cells[i + COLUMNS];
	row = ROWS - 1;
}

void screen_line(const char *text)
{
	const char *name = "Twofold: ";

	if (!cells)
		return;
	if (row >= ROWS)
		scroll();
	for (unsigned int i = 0; i < COLUMNS; i++) {
		char c = *name ? *name++ : *text ? *text++ : ' ';

		cells[row * COLUMNS + i] = GREY | (uint8_t)c;
	}
	row++;
}
