/* SPDX-License-Identifier: MIT */
/*
 * measure.h - what an evaluation says: mean loss, and by task perplexity and
 * accuracy of tokens, accuracy and F1 of classes, errors of numbers, F1 of
 * entities, exact match and F1 of answers, how well texts find their own.
 */
#ifndef PT_TRAIN_MEASURE_H
#define PT_TRAIN_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "train/feed.h"

struct pt_measure {
	const struct pt_objective *of;
	int nlabels;
	char *const *labels;		/* borrowed; NULL: unnamed */
	bool bio;			/* labels are tags of entities */
	const struct pt_tokenizer *tok;	/* borrowed; NULL: answers are compared by ids */
	double loss, weight;		/* sums over targets */
	int64_t examples, tokens;	/* seen; tokens of all sequences */
	int64_t targets, correct;
	int64_t *count;			/* classes and labels: [label][tp, fp, fn] */
	double abs_error;		/* numbers: sum over all outputs */
	struct pt_measure_spread {	/* [nlabels] of each output */
		double sq_error;	/* sum */
		double first, mean;	/* of the targets; their mean is counted from the first */
		double spread;		/* sum of squares about the mean */
	} *spread;
	int64_t exact;			/* several labels: examples with all of them right; answers: the same words */
	int64_t entities, found, right;	/* true ones, predicted ones, those that are both */
	double overlap;			/* answers: sum of F1 */
	struct pt_buf text, lower, words[2];	/* answers, while they are compared */
	double reciprocal;		/* sets: sum of 1/rank */
	double router;			/* sum of the routers' loss, weighted as the losses of its micro-batch */
	bool routed;
	double *score;			/* [nscores,2] pairs: score and cosine */
	size_t nscores, cap_score;
};

int pt_measure_init(struct pt_measure *m, const struct pt_feed_options *o, struct pt_error *err);
void pt_measure_release(struct pt_measure *m);
void pt_measure_clear(struct pt_measure *m);

/*
 * Add a micro-batch. Host arrays: loss [rows] (NULL: unlabelled), logits as struct pt_loss has them, or argmax [rows];
 * router [1], the loss of the routers before its factor (NULL: none).
 */
int pt_measure_add(struct pt_measure *m, const struct pt_feed *f, const float *loss, const float *logits,
		   const int32_t *argmax, const float *router, struct pt_error *err);

/*
 * The i-th result: its name ("loss" first, then "perplexity", "accuracy", "f1" ...); NULL past the last.
 * f1 is that of the second class where there are two, else the mean over classes that occur ("f1_macro");
 * of several labels the micro average; of entities and answers as said in their files. "router_loss" comes last,
 * where there is one; it is no part of "loss".
 */
const char *pt_measure_result(const struct pt_measure *m, int i, double *value);

/* Of classes: how often the most frequent one occurs, as a share; *which is its number. */
double pt_measure_majority(const struct pt_measure *m, int *which);

/* Precision, recall and F1 of one class or label; its true occurrences. */
int64_t pt_measure_class(const struct pt_measure *m, int c, double *precision, double *recall, double *f1);

/* Class of a row of logits: the first of the largest; probability by softmax, sigmoid or as it is. */
int pt_logits_class(const float *z, int k);
void pt_logits_probability(enum pt_problem problem, const float *z, int k, float *p);

#endif
