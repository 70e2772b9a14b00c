/* SPDX-License-Identifier: MIT */
/*
 * step.h - the arithmetic of one optimiser step: micro-batches forward and
 * backward, gradients added up with the denominators of the whole step, norm,
 * clipping, update. And the memory for it, found by running the same code on
 * a plan device.
 */
#ifndef PT_TRAIN_STEP_H
#define PT_TRAIN_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "peft/adapter.h"
#include "train/feed.h"
#include "train/optimizer.h"

/* Losses of a micro-batch, on their way from the device. */
struct pt_step_part {
	size_t at, n;			/* floats of pt_step.pinned: of the targets, and behind them the routers', if any */
	double share;			/* of the routers' loss in the step's */
	float router_weight;
	bool router;
};

struct pt_step {
	struct pt_model *model;		/* borrowed */
	struct pt_adapter *adapter;	/* borrowed; NULL: params alone (tests) */
	struct pt_device *dev, *plan;	/* borrowed; plan counts memory as dev needs it */
	struct pt_run run;		/* its arena is made by pt_step_fit() */
	struct pt_optimizer opt;
	struct pt_feed feed;
	struct pt_bounds train, eval;	/* shapes that the arena holds */
	bool bf16;
	int recompute_max;		/* so many blocks pt_step_fit() may have computed again, where it needs them */
	size_t host;			/* pinned host memory that the last plan for training wants */

	bool torn;			/* an update was begun, and whoever counts steps has not seen its end */
	bool clear;			/* all gradients are known to be zero */
	/* the step so far; losses count from pt_step_settle() on */
	double loss;			/* what is learned: mean over the step's targets, and what is added to it, once all
					 * micro-batches were added */
	double router;			/* the routers' part of it, before its factor */
	int64_t tokens, examples;
	const float *value;		/* losses of the micro-batch that was settled last */
	int64_t bad;			/* first target of it whose loss is not finite, -1: none */
	struct pt_step_part *part;	/* [parts] micro-batches that are not settled yet */
	size_t parts, cap_parts;
	float *pinned, *weight;		/* [cap_losses] losses; what each counts */
	size_t losses, cap_losses;
};

int pt_step_init(struct pt_step *s, struct pt_model *model, struct pt_adapter *adapter, struct pt_params *params,
		 struct pt_device *dev, struct pt_device *plan, const struct pt_feed_options *feed,
		 const struct pt_adamw *adamw, bool bf16, struct pt_error *err);
void pt_step_release(struct pt_step *s);

/* Bytes of the arena for micro-batches within b: with backward, or evaluation alone. */
int pt_step_plan(struct pt_step *s, const struct pt_bounds *b, bool train, size_t *bytes,
		 struct pt_error *err);

/* What a run takes, beside the trained tensors. */
struct pt_step_room {
	size_t train, eval;		/* bytes of the arena, as it is allocated where kernels read no memory of the host */
	size_t weights;			/* of the device's memory; 0: they are read in place */
	size_t host;			/* pinned host memory for inputs of blocks */
	int recompute, away, turns;	/* as in struct pt_model, and for pt_model_place() */
};

static inline size_t pt_step_room_bytes(const struct pt_step_room *r)
{
	return r->weights + (r->train > r->eval ? r->train : r->eval);
}

/*
 * How training within train, and evaluation within eval (NULL: none), take no
 * more than room, by what costs least, as little of each as it takes: blocks
 * are computed again in backward (model->recompute rises from what it is, at
 * most to recompute_max); their inputs wait in host memory (model->away); the
 * weights of blocks take turns (out->turns) - the latter two where the device
 * has a memory of its own. Where all of it is not enough, more than room stays
 * more. Nothing is allocated.
 */
int pt_step_choose(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval,
		   size_t room, struct pt_step_room *out, struct pt_error *err);

/*
 * Make room for micro-batches within these bounds (eval may be NULL), keeping
 * what was there, within limit bytes (0: no limit), as pt_step_choose() finds
 * it, and bring the weights to the device. PT_USAGE when more are needed, with
 * the bytes and the largest micro-batch that fits.
 */
int pt_step_fit(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval,
		size_t limit, struct pt_error *err);

/*
 * The least bytes for all of training within train (NULL: micro-batches of one token) and evaluation within eval
 * (NULL: none), when everything is done that pt_step_choose() may do; what the model says of that stays as it was.
 */
int pt_step_least(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval, size_t *bytes,
		  struct pt_error *err);

/* Tokens of the largest micro-batch of sequences of b->len whose arena is within limit; 0: none. */
int pt_step_largest(struct pt_step *s, const struct pt_bounds *b, size_t limit, int64_t *tokens,
		    struct pt_error *err);

/*
 * Bytes that are allocated beside the arena and the weights: what trains with gradients and moments, what stands still
 * of this adapter and of those below it, what methods keep.
 */
size_t pt_step_state_bytes(const struct pt_step *s);

/*
 * Add a micro-batch to the step: its gradients to those there, and its loss.
 * On a device that is apart from the host the host does not wait for it:
 * pt_step_settle() learns of it. Else that is a part of this.
 */
int pt_step_micro(struct pt_step *s, const struct pt_examples *x, struct pt_error *err);

/*
 * Wait for the losses of the micro-batches so far. PT_NUMERIC when one is not
 * finite: s->bad and s->value tell which, of the first such micro-batch.
 */
int pt_step_settle(struct pt_step *s, struct pt_error *err);

/*
 * All micro-batches are in: they are settled, *norm of the gradient, then the
 * update at rate lr, step t of total (0: unknown). PT_NUMERIC, and nothing was
 * changed, when a loss or the gradient is not finite; *bad is the first such
 * tensor. s->torn stays set
 * until the caller has counted the step: values that lie between two steps are
 * not to be saved.
 */
int pt_step_update(struct pt_step *s, double lr, int64_t t, int64_t total, double *norm,
		   const struct pt_param **bad, struct pt_error *err);

/* Forget gradients and sums of a step that was begun. */
int pt_step_clear(struct pt_step *s, struct pt_error *err);

#endif
