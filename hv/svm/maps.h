/* The permission maps and CPU features that VMCBs refer to.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef HV_SVM_MAPS_H
#define HV_SVM_MAPS_H

#include <stdbool.h>
#include <stdint.h>

#define SVM_IOPM_BYTES	(3 * 4096)
#define SVM_MSRPM_BYTES (2 * 4096)

extern uint8_t svm_iopm[SVM_IOPM_BYTES];
extern uint8_t svm_msrpm[SVM_MSRPM_BYTES];
extern bool svm_has_nrip; /* the CPU stores the next instruction's address at an exit */

#endif
