/* Stands in until the engine has groups.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include <twofold/twofold.h>

#define WEAK __attribute__((weak))

WEAK enum tf_status tf_regroup(struct tf_vm *vm, enum tf_grouping grouping)
{
	(void)vm;
	(void)grouping;
	return TF_OK;
}

WEAK enum tf_grouping tf_grouping(const struct tf_vm *vm)
{
	(void)vm;
	return TF_GROUPS_ONE;
}

WEAK bool tf_group_counters_read(struct tf_vm *vm, unsigned int group, struct tf_counters *out)
{
	tf_counters_read(vm, out);
	return group == 0;
}

WEAK unsigned int tf_groups_max(const struct tf_vm *vm)
{
	(void)vm;
	return 1;
}

WEAK unsigned int tf_groups(const struct tf_vm *vm)
{
	(void)vm;
	return 1;
}
