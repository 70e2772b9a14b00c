/* SPDX-License-Identifier: MIT */
/*
 * predict.h - results of an evaluation, example by example, as a stream of
 * kind "predictions" (formats/stream.md): the class and its probability, the
 * numbers of a regression, the likeliest tokens of a language model, the
 * classes of tokens, the tokens of an answer, the embedding of a text; logits
 * and losses where they are asked for.
 */
#ifndef PT_TRAIN_PREDICT_H
#define PT_TRAIN_PREDICT_H

#include <stdbool.h>

#include "base/buf.h"
#include "io/stream.h"
#include "train/eval.h"

struct pt_predict {
	struct pt_writer *w;		/* borrowed, HEAD written */
	bool logits, loss;		/* asked for */
	/* the record being filled: columns of the kind, empty where they are not there */
	struct pt_buf index, cls, ids, offsets, probability, logit, losses;
	int64_t n, tokens;
	int k;				/* columns of logits */
	bool k_probability;
};

void pt_predict_init(struct pt_predict *p, struct pt_writer *w, bool logits, bool loss);
void pt_predict_release(struct pt_predict *p);

/* Results of the micro-batch that e has just seen; x is it. Records end at about 1 MiB. */
int pt_predict_add(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err);
/* What an objective adds: the numbers of all examples of x, then of each example ids, loss. */
void pt_predict_index(struct pt_predict *p, const struct pt_examples *x);
void pt_predict_ids(struct pt_predict *p, const int32_t *ids, int64_t n);
void pt_predict_loss(struct pt_predict *p, float loss);
/* The last record. */
int pt_predict_flush(struct pt_predict *p, struct pt_error *err);

#endif
