/* Choosing the mode: being written.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "groups/group.h"
#include <twofold/choice.h>

const struct tf_policy *const tf_policies[] = {NULL};

const struct tf_policy *tf_policy_find(const char *name)
{
	(void)name;
	return NULL;
}

const char *tf_policy_name(const struct tf_policy *p)
{
	(void)p;
	return "cost";
}

enum tf_status tf_choice_start(struct tf_vm *vm, const struct tf_choice_config *c)
{
	(void)vm;
	(void)c;
	return TF_OK;
}

void tf_choice_note(struct tf_vcpu *v, const struct tf_regs *r, const struct tf_reading *reading,
		    struct tf_verdict *out)
{
	(void)r;
	(void)reading;
	*out = (struct tf_verdict){.mode = v->mode, .why = ""};
}

void tf_choice_switched(struct tf_vcpu *v, uint64_t cycles)
{
	(void)v;
	(void)cycles;
}

bool tf_sample_begin(struct tf_vcpu *v, const struct tf_regs *r)
{
	(void)v;
	(void)r;
	return false;
}

void tf_sample_end(struct tf_vcpu *v, uint64_t cycles)
{
	(void)v;
	(void)cycles;
}

void tf_space_set_mode(struct tf_vm *vm, uint64_t cr3, enum tf_mode m)
{
	(void)vm;
	(void)cr3;
	(void)m;
}
