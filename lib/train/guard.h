/* SPDX-License-Identifier: MIT */
/*
 * guard.h - what stops a run before it does harm: losses and gradients that
 * are not finite, traced to a tensor and to examples, with the micro-batch
 * kept for another look; tensors that no gradient reaches.
 */
#ifndef PT_TRAIN_GUARD_H
#define PT_TRAIN_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "io/stream.h"
#include "train/step.h"

/* Copies of the micro-batches of the step that is under way. */
struct pt_kept {
	struct pt_buf *rec;
	size_t n, cap;
};

void pt_kept_release(struct pt_kept *k);
void pt_kept_clear(struct pt_kept *k);
int pt_kept_add(struct pt_kept *k, const struct pt_record *rec, struct pt_error *err);

/*
 * err tells of a step t that is not finite (PT_NUMERIC). Finds the first bad
 * tensor (trained values, base weights, else gradients) and the micro-batch
 * it happened in, writes that to path as a stream of one step, and makes
 * the message whole. Gradients and sums of s are spoiled. Returns PT_NUMERIC,
 * or the status of what failed on the way.
 */
int pt_guard_numeric(struct pt_step *s, const struct pt_kept *kept, const struct pt_record *head,
		     int64_t t, const char *path, struct pt_error *err);

/* Tensors without a gradient so far: their number; their paths, as many as a message holds, to list (may be NULL). */
int pt_guard_unmoved(const struct pt_optimizer *opt, struct pt_buf *list);

#endif
