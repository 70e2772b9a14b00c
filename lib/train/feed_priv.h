/* SPDX-License-Identifier: MIT */
/*
 * feed_priv.h - inside of the feed: targets of spans and of sets (feed_pairs.c).
 */
#ifndef PT_TRAIN_FEED_PRIV_H
#define PT_TRAIN_FEED_PRIV_H

#include <string.h>

#include "train/feed.h"

void pt_feed_pairs_release(struct pt_feed_pairs *p);

/* Fill f->pairs, f->rows and, of sets, label or target and weight, which have room for an entry an example. */
int pt_feed_spans(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err);
int pt_feed_sets(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err);
int pt_feed_sets_plan(struct pt_feed *f, int64_t seqs, struct pt_error *err);
/* Sets only: where a span stands among the rows, the model decides. */
void pt_feed_pairs_upload(struct pt_feed *f, struct pt_run *run);

#endif
