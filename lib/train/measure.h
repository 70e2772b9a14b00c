/* SPDX-License-Identifier: MIT */
/*
 * measure.h - what an evaluation says: mean loss, and by task perplexity and
 * accuracy of tokens, accuracy and F1 of classes, errors of numbers.
 */
#ifndef PT_TRAIN_MEASURE_H
#define PT_TRAIN_MEASURE_H

#include <stdint.h>

#include "base/error.h"
#include "train/feed.h"

struct pt_measure {
	enum pt_task task;
	enum pt_problem problem;
	int nlabels;
	double loss, weight;		/* sums over targets */
	int64_t examples, tokens;	/* seen; tokens of all sequences */
	int64_t targets, correct;
	int64_t *count;			/* classes: [true][predicted]; several labels: [label][tp, fp, fn] */
	double abs_error, sq_error;	/* numbers: sums over all outputs */
	double sum, sum_sq;		/* of the targets, for R2 */
	int64_t exact;			/* several labels: examples with all of them right */
};

int pt_measure_init(struct pt_measure *m, const struct pt_feed_options *o, struct pt_error *err);
void pt_measure_release(struct pt_measure *m);
void pt_measure_clear(struct pt_measure *m);

/* Add a micro-batch. Host arrays: loss [rows] (NULL: unlabelled), logits [examples, nlabels] or argmax [rows]. */
void pt_measure_add(struct pt_measure *m, const struct pt_feed *f, const float *loss, const float *logits,
		    const int32_t *argmax);

/*
 * The i-th result: its name ("loss" first, then "perplexity", "accuracy", "f1" ...); NULL past the last.
 * f1 is that of the second class where there are two, else the mean over classes that occur ("f1_macro");
 * of several labels the micro average.
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
