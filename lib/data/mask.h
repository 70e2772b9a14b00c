/* SPDX-License-Identifier: MIT */
/*
 * mask.h - masked language modelling: of each token that is not special, with
 * some probability, its id is to be learned, and a mask, a random id or the
 * token itself stands in its place (BERT, Devlin et al. 2019; the collator of
 * transformers). Anew in each epoch, by numbers keyed by seed, epoch, example
 * and position, so that neither order nor packing show.
 */
#ifndef PT_DATA_MASK_H
#define PT_DATA_MASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/kinds.h"

struct pt_mask_options {
	double prob;		/* of a token to be learned */
	double replace, random;	/* of those, the shares that become a mask and a random id */
	uint64_t seed;
};

struct pt_mask {
	struct pt_mask_options o;
	bool on;		/* the stream is one to be masked: its HEAD names a mask */
	int32_t id, vocab;
	int32_t *special;	/* [nspecial] ids that are never masked, sorted */
	size_t nspecial, cap_special;
	int32_t *ids, *labels;	/* of the last micro-batch */
	size_t cap_ids, cap_labels;
};

/* head: of the examples. PT_DATA: it says what a mask is, and wrongly. Released by pt_mask_release() either way. */
int pt_mask_init(struct pt_mask *m, const struct pt_mask_options *o, const struct pt_st *head, struct pt_error *err);
void pt_mask_release(struct pt_mask *m);

/* Put masked ids and their labels into x, valid until the next call; *learned: how many there are. */
int pt_mask_apply(struct pt_mask *m, struct pt_examples *x, int64_t *learned, struct pt_error *err);
/* How many there would be of example i in x; x->epoch counts. */
int64_t pt_mask_count(const struct pt_mask *m, const struct pt_examples *x, int64_t i);

#endif
