/* An exit that came right after the delivery of an exception, on a machine that then tells a wrong
 * RIP. See undo.c.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_VIRT_UNDO_H
#define HV_VIRT_UNDO_H

struct vcpu;

/* If that is what this exit is: the guest's state as before the delivery. On its own CPU, before
 * the exit is handled. */
void undo_delivery(struct vcpu *v);

#endif
