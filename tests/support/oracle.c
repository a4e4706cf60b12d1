/* The manuals' rules: see oracle.h.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

unsigned int oracle_levels(const struct tf_regs *r)
{
	if (!(r->cr0 & X_CR0_PG))
		return 0;
	if (!(r->cr4 & X_CR4_PAE))
		return 2;
	if (!(r->efer & X_EFER_LMA))
		return 3;
	return r->cr4 & X_CR4_LA57 ? 5 : 4;
}

static bool is_long(const struct tf_regs *r)
{
	return oracle_levels(r) >= 4;
}

unsigned int oracle_entry_bytes(const struct tf_regs *r)
{
	return oracle_levels(r) == 2 ? 4 : 8;
}

unsigned int oracle_index(const struct tf_regs *r, unsigned int level, uint64_t va)
{
	if (oracle_levels(r) == 2)
		return va >> (12 + 10 * level) & 1023;
	if (oracle_levels(r) == 3 && level == 2)
		return va >> 30 & 3;
	return va >> (12 + 9 * level) & 511;
}

uint64_t oracle_root(const struct tf_regs *r)
{
	switch (oracle_levels(r)) {
	case 2:
		return r->cr3 & UINT64_C(0xfffff000);
	case 3:
		return r->cr3 & UINT64_C(0xffffffe0);
	default:
		return r->cr3 & X_ADDR;
	}
}

bool oracle_is_canonical(const struct tf_regs *r, uint64_t va)
{
	unsigned int bits = oracle_levels(r) == 5 ? 57 : 48;

	if (!is_long(r))
		return va >> 32 == 0;
	return (uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) == va;
}

static uint64_t bits(unsigned int from, unsigned int to) /* [from, to) */
{
	if (from >= to)
		return 0;
	return (to == 64 ? ~UINT64_C(0) : BIT(to) - 1) & ~(BIT(from) - 1);
}

static struct oentry entry32(const struct tf_regs *r, unsigned int maxphyaddr, unsigned int level,
			     uint32_t raw)
{
	struct oentry e = {.w = raw & X_W, .u = raw & X_U, .a = raw & X_A, .d = raw & X_D};
	unsigned int m = maxphyaddr < 40 ? maxphyaddr : 40;

	if (!(raw & X_P)) {
		e.kind = O_ABSENT;
		return e;
	}
	if (level == 1 && (raw & X_PS) && (r->cr4 & X_CR4_PSE)) {
		/* Bits 20:13 are address bits 39:32 (PSE-36), as far as MAXPHYADDR goes. */
		uint32_t reserved = (uint32_t)bits(m > 32 ? m - 19 : 13, 22);
		e.shift = 22;
		e.g = raw & X_G;
		e.addr = (raw & UINT32_C(0xffc00000)) | (uint64_t)(raw >> 13 & 0xff) << 32;
		e.kind = raw & reserved ? O_RESERVED : O_LEAF;
		return e;
	}
	e.addr = raw & UINT32_C(0xfffff000);
	e.kind = level ? O_TABLE : O_LEAF;
	e.shift = 12;
	e.g = level == 0 && (raw & X_G);
	return e;
}

struct oentry oracle_entry(const struct tf_regs *r, unsigned int maxphyaddr, unsigned int level,
			   uint64_t raw)
{
	unsigned int levels = oracle_levels(r);

	if (levels == 2)
		return entry32(r, maxphyaddr, level, (uint32_t)raw);

	struct oentry e = {
		.w = raw & X_W, .u = raw & X_U, .nx = raw & X_NX, .a = raw & X_A, .d = raw & X_D};
	uint64_t reserved = bits(maxphyaddr, 52);

	if (!(raw & X_P)) {
		e.kind = O_ABSENT;
		return e;
	}
	if (levels == 3 && level == 2) {
		/* A PDPTE has no rights of its own; all its flags but P, PWT, PCD are reserved; bit
		 * 5 is let pass, since QEMU's CPU sets it. */
		reserved |= bits(1, 3) | bits(6, 9) | bits(52, 64);
		e.kind = raw & reserved ? O_RESERVED : O_TABLE;
		e.addr = raw & X_ADDR;
		e.w = e.u = e.a = true;
		e.nx = false;
		return e;
	}
	if (!(r->efer & X_EFER_NXE))
		reserved |= X_NX;
	if (levels == 3)
		reserved |= bits(52, 63);
	bool leaf = level == 0;
	if (level == 1 || (level == 2 && levels >= 4))
		leaf = raw & X_PS;
	else if (level >= 3)
		reserved |= X_PS | X_G; /* bit 8: AMD's rule */
	else if (level == 2)
		reserved |= X_PS;
	e.shift = 12 + 9 * level;
	if (leaf && level)
		reserved |= bits(13, e.shift);
	if (raw & reserved) {
		e.kind = O_RESERVED;
		return e;
	}
	e.kind = leaf ? O_LEAF : O_TABLE;
	e.addr = raw & X_ADDR;
	if (leaf) {
		e.addr &= ~(BIT(e.shift) - 1);
		e.g = raw & X_G;
		e.pkey = levels >= 4 ? raw >> X_PKEY_SHIFT & 15 : 0;
	}
	return e;
}

void oracle_add(struct orights *to, const struct oentry *e)
{
	to->w = to->w && e->w;
	to->u = to->u && e->u;
	to->nx = to->nx || e->nx;
	to->pkey = e->pkey;
}

static uint32_t pfec_base(const struct tf_regs *r, uint32_t flags)
{
	uint32_t c = 0;
	bool nx = (r->cr4 & X_CR4_PAE) && (r->efer & X_EFER_NXE);

	if (flags & TF_WRITE)
		c |= TF_PF_W;
	if (flags & TF_USER)
		c |= TF_PF_U;
	if ((flags & TF_FETCH) && (nx || (r->cr4 & X_CR4_SMEP)))
		c |= TF_PF_I;
	return c;
}

uint32_t oracle_pfec(const struct tf_regs *r, uint32_t flags, bool present, bool reserved)
{
	return pfec_base(r, flags) | (present ? TF_PF_P : 0) | (reserved ? TF_PF_RSVD : 0);
}

/* Does the protection key of a user page forbid this data access? (SDM vol. 3, 4.6.2) */
static bool key_forbids(const struct tf_regs *r, uint32_t flags, const struct orights *ri)
{
	if (!is_long(r) || !(r->cr4 & X_CR4_PKE) || (flags & TF_FETCH) || !ri->u)
		return false;
	bool ad = r->pkru >> (2 * ri->pkey) & 1;
	bool wd = r->pkru >> (2 * ri->pkey + 1) & 1;
	if (ad)
		return true;
	return wd && (flags & TF_WRITE) && ((flags & TF_USER) || (r->cr0 & X_CR0_WP));
}

/* SDM vol. 3, 4.6.1, one rule after the other. */
bool oracle_allows(const struct tf_regs *r, uint32_t flags, const struct orights *ri,
		   uint32_t *pfec)
{
	bool wp = r->cr0 & X_CR0_WP;
	bool nx = (r->cr4 & X_CR4_PAE) && (r->efer & X_EFER_NXE) && ri->nx;
	bool key = key_forbids(r, flags, ri);
	bool ok = !key;

	if (flags & TF_USER) {
		if (!ri->u)
			ok = false;
		if ((flags & TF_WRITE) && !ri->w)
			ok = false;
		if ((flags & TF_FETCH) && nx)
			ok = false;
	} else if (flags & TF_FETCH) {
		if (nx)
			ok = false;
		if (ri->u && (r->cr4 & X_CR4_SMEP))
			ok = false;
	} else {
		bool ac = (flags & TF_AC) && !(flags & TF_IMPLICIT);
		if (ri->u && (r->cr4 & X_CR4_SMAP) && !ac)
			ok = false;
		if ((flags & TF_WRITE) && wp && !ri->w)
			ok = false;
	}
	*pfec = ok ? 0 : pfec_base(r, flags) | TF_PF_P | (key ? TF_PF_PK : 0);
	return ok;
}
