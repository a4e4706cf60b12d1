/* Which vendor's virtualization the machine has.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#include "virt/vendor.h"

static const struct vendor *const vendors[] = {&svm_vendor, &vmx_vendor};

const struct vendor *vendor;

const struct vendor *vendor_find(void)
{
	for (unsigned int i = 0; i < sizeof(vendors) / sizeof(vendors[0]); i++)
		if (vendors[i]->is_there())
			return vendors[i];
	return NULL;
}
