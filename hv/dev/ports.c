/* The port policy and the byte-wide devices behind it. See ports.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "dev/ports.h"

struct range {
	uint16_t first, last;
};

/* The guest's own: real devices, reached without an exit. */
static const struct range pass_through[] = {
	{0x40, 0x43},	/* PIT */
	{0x61, 0x61},	/* its gate and speaker */
	{0x80, 0x80},	/* POST code, used as a delay */
	{0x3f8, 0x3ff}, /* COM1 */
};

enum {
	PORT_KBD_STATUS = 0x64,
	KBD_PULSE_RESET = 0xfe,
	PORT_CMOS_INDEX = 0x70,
	PORT_CMOS_DATA = 0x71,
	PORT_A20 = 0x92,
	PORT_PCI_ADDRESS = 0xcf8,
	PORT_PCI_DATA = 0xcfc,
	PM_TIMER_BYTES = 4,
};

#define PCI_ENABLE 0x80000000u

void ports_create(struct ports *p, const struct ports_ops *ops, void *ctx, unsigned int cpus,
		  uint16_t pm_timer)
{
	__builtin_memset(p, 0, sizeof(*p));
	p->ops = ops;
	p->ctx = ctx;
	p->fwcfg.cpus = cpus;
	p->pm_timer = pm_timer;
	p->port92 = 2; /* A20 is on, and stays so */
	pic_reset(&p->pic);
	cmos_create(&p->cmos, ops->cmos_read, ctx);
}

uint64_t ports_epoch(struct ports *p)
{
	uint64_t epoch;

	spin_lock(&p->lock);
	epoch = cmos_epoch(&p->cmos);
	spin_unlock(&p->lock);
	return epoch;
}

bool ports_pass_through(const struct ports *p, uint16_t port)
{
	for (unsigned int i = 0; i < sizeof(pass_through) / sizeof(pass_through[0]); i++)
		if (port >= pass_through[i].first && port <= pass_through[i].last)
			return true;
	return p->pm_timer && port >= p->pm_timer && port < p->pm_timer + PM_TIMER_BYTES;
}

void ports_fill_bitmap(const struct ports *p, uint8_t *bitmap)
{
	for (uint32_t port = 0; port < 0x10000; port++)
		if (ports_pass_through(p, (uint16_t)port))
			bitmap[port / 8] &= (uint8_t) ~(1u << (port % 8));
}

/* ---- PCI configuration, mechanism 1 ----
 *
 * One function, 0:0.0, a host bridge with nothing behind it: kernels that find no configuration
 * mechanism at all complain, those that find an empty bus do not. */

static uint32_t pci_config(const struct ports *p)
{
	if (!(p->pci_address & PCI_ENABLE) || (p->pci_address & 0x00ffff00))
		return 0xffffffff;
	switch (p->pci_address & 0xfc) {
	case 0x00:
		return 0x00081b36; /* "Red Hat host bridge": the generic one */
	case 0x08:
		return 0x06000000; /* class: host bridge */
	default:
		return 0;
	}
}

/* ---- one byte ---- */

static bool byte_in(struct ports *p, uint16_t port, uint8_t *v)
{
	switch (port) {
	case 0x20:
	case 0x21:
	case 0xa0:
	case 0xa1:
	case 0x4d0:
	case 0x4d1:
		*v = pic_in(&p->pic, port);
		return true;
	case PORT_CMOS_INDEX:
		*v = 0xff; /* write-only */
		return true;
	case PORT_CMOS_DATA:
		*v = cmos_in(&p->cmos);
		return true;
	case PORT_A20:
		*v = p->port92;
		return true;
	case FWCFG_DATA:
		*v = fwcfg_read(&p->fwcfg);
		return true;
	case PM_RESET_PORT:
		*v = 0;
		return true;
	case PORT_PCI_DATA ... PORT_PCI_DATA + 3:
		*v = (uint8_t)(pci_config(p) >> (port - PORT_PCI_DATA) * 8);
		return true;
	}
	if (!pm_has_port(port))
		return false;
	*v = pm_in(&p->pm, port);
	return true;
}

static bool byte_out(struct ports *p, uint16_t port, uint8_t v, enum ports_end *end)
{
	switch (port) {
	case 0x20:
	case 0x21:
	case 0xa0:
	case 0xa1:
	case 0x4d0:
	case 0x4d1:
		pic_out(&p->pic, port, v);
		return true;
	case PORT_KBD_STATUS:
		if (v == KBD_PULSE_RESET)
			*end = PORTS_RESET;
		return v == KBD_PULSE_RESET;
	case PORT_CMOS_INDEX:
		p->cmos.index = v & 0x7f;
		return true;
	case PORT_CMOS_DATA:
		cmos_out(&p->cmos, v);
		return true;
	case PORT_A20:
		if (v & 1)
			*end = PORTS_RESET;
		p->port92 = (v & ~3) | 2;
		return true;
	case FWCFG_SELECT:
		fwcfg_select(&p->fwcfg, v);
		return true;
	case FWCFG_DATA: /* nothing is writable */
		return true;
	case PM_RESET_PORT:
		if (v & 4)
			*end = PORTS_RESET;
		return true;
	case PORT_PCI_DATA ... PORT_PCI_DATA + 3:
		return true;
	}
	if (!pm_has_port(port))
		return false;
	if (pm_out(&p->pm, port, v))
		*end = PORTS_POWEROFF;
	return true;
}

/* ---- one access ---- */

static void count_unknown(struct ports *p, uint64_t *counter, uint16_t port)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
	p->last_unknown = port;
}

uint32_t ports_in(struct ports *p, unsigned int vcpu, uint16_t port, unsigned int size)
{
	uint32_t v = 0;
	bool known = false;

	(void)vcpu;
	spin_lock(&p->lock);
	if (port == PORT_PCI_ADDRESS && size == 4) {
		v = p->pci_address;
		known = true;
	} else {
		for (unsigned int i = 0; i < size; i++) {
			uint8_t b = 0xff;

			known |= byte_in(p, (uint16_t)(port + i), &b);
			v |= (uint32_t)b << (8 * i);
		}
	}
	if (!known)
		count_unknown(p, &p->unknown_in, port);
	spin_unlock(&p->lock);
	return v;
}

/* Ports whose meaning is more than a byte's. */
static bool word_out(struct ports *p, uint16_t port, unsigned int size, uint32_t v)
{
	if (port == PORT_PCI_ADDRESS && size == 4) {
		p->pci_address = v & (PCI_ENABLE | 0x00fffffc);
		return true;
	}
	if (port == FWCFG_SELECT && size == 2) {
		fwcfg_select(&p->fwcfg, (uint16_t)v);
		return true;
	}
	return false;
}

void ports_out(struct ports *p, unsigned int vcpu, uint16_t port, unsigned int size, uint32_t v)
{
	enum ports_end end = PORTS_RUN;
	bool known;

	/* The two ports that speak to the hypervisor itself take the lock in no case. */
	if (port == PORT_MARK) {
		p->ops->mark(p->ctx, vcpu, (uint8_t)v);
		return;
	}
	if (port == PORT_DEBUG_EXIT) {
		p->ops->end(p->ctx, vcpu, PORTS_DEBUG_EXIT, v);
		return;
	}
	spin_lock(&p->lock);
	known = word_out(p, port, size, v);
	if (!known)
		for (unsigned int i = 0; i < size; i++)
			known |= byte_out(p, (uint16_t)(port + i), (uint8_t)(v >> (8 * i)), &end);
	if (!known)
		count_unknown(p, &p->unknown_out, port);
	spin_unlock(&p->lock);
	if (end != PORTS_RUN)
		p->ops->end(p->ctx, vcpu, end, 0);
}
