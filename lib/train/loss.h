/* SPDX-License-Identifier: MIT */
/*
 * loss.h - the forward pass of a micro-batch to the loss of its task: next
 * tokens (negative log-likelihood, logits never whole), classes (cross
 * entropy), numbers (squared error), several labels (binary cross entropy),
 * answers (cross entropy of their first and last tokens over a sequence), sets
 * of texts (multiple negatives ranking; squared error of the cosine where pairs
 * have scores). Beside it, where the model was told so (m->router_loss), what
 * keeps the experts of a mixture in balance.
 */
#ifndef PT_TRAIN_LOSS_H
#define PT_TRAIN_LOSS_H

#include "model/model.h"
#include "train/feed.h"

#define PT_LOSS_CONTRAST 20.0f	/* what cosines are multiplied by, as in sentence-transformers */

struct pt_loss {
	struct pt_tensor *value;	/* [feed->rows] f32, one loss a target; NULL when there is none */
	/* [examples, nlabels]; of answers [tokens, 2], of sets [rows, candidates]; NULL of targets of tokens */
	struct pt_tensor *logits;
	struct pt_tensor *embedding;	/* [examples, width], of sets; else NULL */
	const int32_t *argmax;		/* device [rows], language models when asked for */
	const float *seed;		/* weights for pt_backward(); NULL: the gradients were written with the loss */
	struct pt_tensor *router;	/* [1] f32, pt_model_router_loss(); NULL: none */
	float router_weight;		/* of it in the loss of the step: the factor times the micro-batch's share */
};

/* Records where run->record is set; dropout acts where run->train is. */
int pt_loss_forward(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, bool argmax,
		    struct pt_loss *out, struct pt_error *err);

/*
 * Bytes of the arena, and of pinned host memory (pt_run_away(); NULL: not
 * asked), that micro-batches within these bounds need: forward, with backward
 * where train is set, run on a plan device.
 */
int pt_loss_plan(struct pt_device *plan, struct pt_model *m, struct pt_feed *f, const struct pt_bounds *b,
		 bool train, bool bf16, size_t *bytes, size_t *away, struct pt_error *err);

/* Backward into the gradients of what trains: the sum over rows of weight times loss, and the routers' loss. */
int pt_loss_backward(struct pt_run *run, const struct pt_loss *l, struct pt_error *err);

#endif
