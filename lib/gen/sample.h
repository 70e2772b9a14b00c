/* SPDX-License-Identifier: MIT */
/*
 * sample.h - the next token from logits: greedy, or drawn after temperature,
 * top-k and top-p (Holtzman et al. 2020), applied in the order in which
 * transformers' generate() applies them.
 *
 * The draw is a function of (seed, key of the text, position): the same
 * whatever is generated beside it and with any number of threads.
 */
#ifndef PT_GEN_SAMPLE_H
#define PT_GEN_SAMPLE_H

#include <stdint.h>

#include "base/error.h"

struct pt_sampling {
	double temperature;		/* 0: greedy */
	int64_t top_k;			/* 0: all tokens */
	double top_p;			/* 1: all tokens */
	uint64_t seed;
};

struct pt_sampler {
	struct pt_sampling cfg;
	struct pt_sample_entry *entry;	/* [vocab] scratch; NULL: greedy */
	int64_t vocab;
};

/* Options out of range are PT_USAGE. */
int pt_sampler_init(struct pt_sampler *s, const struct pt_sampling *cfg, int64_t vocab,
		    struct pt_error *err);
void pt_sampler_release(struct pt_sampler *s);

/*
 * A token for logits [vocab] (host). Of equal logits the smallest id wins.
 * PT_NUMERIC when none of them is finite or one is NaN.
 */
int pt_sample(struct pt_sampler *s, const float *logits, uint64_t key, int64_t pos, int32_t *id,
	      struct pt_error *err);

#endif
