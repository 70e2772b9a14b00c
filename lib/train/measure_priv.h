/* SPDX-License-Identifier: MIT */
/*
 * measure_priv.h - what the measure lends to those who count (objective.h).
 */
#ifndef PT_TRAIN_MEASURE_PRIV_H
#define PT_TRAIN_MEASURE_PRIV_H

#include <stdbool.h>

#include "train/measure.h"

static inline double pt_measure_ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

static inline double pt_measure_accuracy(const struct pt_measure *m)
{
	return pt_measure_ratio((double)m->correct, (double)m->targets);
}

/* PT_COUNT_CLASSES: a target; accuracy, F1. */
void pt_measure_count_class(struct pt_measure *m, int32_t is, int says);
const char *pt_measure_class_result(const struct pt_measure *m, int i, double *value);
/* PT_COUNT_LABELS: whether label j is one. */
void pt_measure_count_label(struct pt_measure *m, int j, bool is, bool says);
double pt_measure_micro_f1(const struct pt_measure *m);

/* measure_entities.c: are these names of BIO tags; entities of a micro-batch's labelled tokens, argmax [rows]. */
bool pt_measure_is_bio(char *const *labels, int n);
void pt_measure_entities(struct pt_measure *m, const struct pt_feed *f, const int32_t *argmax);

/* measure_words.c: append to words a u64 for each word of a text of valid UTF-8; equal words have equal ones. */
int pt_measure_words(struct pt_buf *words, struct pt_buf *scratch, const char *text, size_t n, struct pt_error *err);

/* measure_correlation.c */
double pt_measure_pearson(const double *x, const double *y, size_t n);
/* Of ranks, ties at their mean; x and y [n] become those. */
int pt_measure_spearman(double *x, double *y, size_t n, double *out, struct pt_error *err);

#endif
