/* SPDX-License-Identifier: MIT */
/*
 * eval.h - evaluation: forward passes over micro-batches without gradients
 * and without dropout, summed up by a measure, and handed to whoever writes
 * predictions.
 */
#ifndef PT_TRAIN_EVAL_H
#define PT_TRAIN_EVAL_H

#include "io/stream.h"
#include "train/feed.h"
#include "train/measure.h"

struct pt_evaluator {
	struct pt_run *run;		/* borrowed; reset by each micro-batch */
	struct pt_model *model;		/* borrowed */
	struct pt_feed feed;		/* of the last micro-batch */
	struct pt_measure measure;
	bool argmax;			/* language models: learn which token was most likely */
	/* host results of the last micro-batch */
	float *loss;			/* [feed.rows] */
	float *logits;			/* as struct pt_loss has them */
	float *embedding;		/* [examples, width] */
	int32_t *best;			/* [feed.rows] */
	float router;			/* loss of the routers, before its factor */
	size_t cap_loss, cap_logits, cap_best, cap_embedding;
	int width;			/* of embeddings */
	bool has_loss, has_logits, has_best, has_embedding, has_router;
};

int pt_evaluator_init(struct pt_evaluator *e, struct pt_run *run, struct pt_model *model,
		      const struct pt_feed_options *o, struct pt_error *err);
void pt_evaluator_release(struct pt_evaluator *e);

/* One micro-batch; its results stand in e until the next. Non-finite losses are no error here. */
int pt_evaluator_add(struct pt_evaluator *e, const struct pt_examples *x, struct pt_error *err);

/* All of a stream of batches from where r stands to its END; stop (may be NULL) is asked between micro-batches. */
int pt_evaluator_stream(struct pt_evaluator *e, struct pt_reader *r, int (*stop)(void *), void *arg,
			struct pt_error *err);

#endif
