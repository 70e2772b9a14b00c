/* SPDX-License-Identifier: MIT */
/*
 * feed_priv.h - what the feed lends to those who fill targets (objective.h).
 */
#ifndef PT_TRAIN_FEED_PRIV_H
#define PT_TRAIN_FEED_PRIV_H

#include "train/feed.h"

/* Room for n targets in seq, at, label and weight, and for n rows of columns in target. */
int pt_feed_room(struct pt_feed *f, int64_t n, int64_t columns, struct pt_error *err);
/* The model's class for the stream's class c of example index; -100 stays. */
int pt_feed_class(const struct pt_feed *f, int64_t index, int32_t c, int32_t *out, struct pt_error *err);
/* A target an example, weighted as the stream says. */
void pt_feed_per_example(struct pt_feed *f, const struct pt_examples *x);
/* What an example's weight is of the step's. */
float pt_feed_share(const struct pt_examples *x, int64_t i);
void pt_feed_upload_labels(struct pt_feed *f, struct pt_run *run);
void pt_feed_upload_targets(struct pt_feed *f, struct pt_run *run, int64_t columns);

/* objective_sets.c: f->pairs and f->rows from x, with label or target and weight of each. */
int pt_feed_sets(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err);
void pt_feed_sets_upload(struct pt_feed *f, struct pt_run *run);

#endif
