/* SPDX-License-Identifier: MIT */
/*
 * measure_priv.h - inside of the measure: one file for each task that takes
 * more than counting.
 */
#ifndef PT_TRAIN_MEASURE_PRIV_H
#define PT_TRAIN_MEASURE_PRIV_H

#include <stdbool.h>

#include "train/measure.h"

static inline double pt_measure_ratio(double a, double b)
{
	return b > 0 ? a / b : 0;
}

/* measure_entities.c: are these names of BIO tags; entities of a micro-batch's labelled tokens, argmax [rows]. */
bool pt_measure_is_bio(char *const *labels, int n);
void pt_measure_entities(struct pt_measure *m, const struct pt_feed *f, const int32_t *argmax);

/* measure_spans.c: answers of a micro-batch, logits [tokens,2]. */
int pt_measure_spans(struct pt_measure *m, const struct pt_feed *f, const float *logits, struct pt_error *err);

/* measure_words.c: append to words a u64 for each word of a text of valid UTF-8; equal words have equal ones. */
int pt_measure_words(struct pt_buf *words, struct pt_buf *scratch, const char *text, size_t n, struct pt_error *err);

/* measure_pairs.c: cosines [rows, candidates]. */
int pt_measure_pairs(struct pt_measure *m, const struct pt_feed *f, const float *z, struct pt_error *err);
double pt_measure_pearson(const double *x, const double *y, size_t n);
/* Of ranks, ties at their mean; x and y [n] become those. */
int pt_measure_spearman(double *x, double *y, size_t n, double *out, struct pt_error *err);

#endif
