/* The status that the engine's calls return: it must be looked at.
 *
 * A guest's fault is a result (struct tf_outcome), not a status; an impossible state panics.
 *
 * SPDX-License-Identifier: BSD-2-Clause */
#ifndef TWOFOLD_STATUS_H
#define TWOFOLD_STATUS_H

enum tf_status {
	TF_OK = 0,
	TF_E_NOMEM,  /* the host has no page; nothing was changed */
	TF_E_INVAL,  /* an argument that makes no sense */
	TF_E_EXISTS, /* the range overlaps one that is there */
	TF_E_NOENT,  /* there is no memory at that guest-physical address */
	TF_E_FAULT,  /* the guest's own tables do not allow it */
};

#define TF_MUST_CHECK __attribute__((warn_unused_result))

/* A short English phrase for a status, for messages. Never NULL. */
const char *tf_status_text(enum tf_status s);

#endif
