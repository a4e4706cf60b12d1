/* What the engine asks of its host, done by this hypervisor.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_CORE_HOST_H
#define HV_CORE_HOST_H

#include <twofold/host.h>

extern struct tf_host hv_host;

#endif
