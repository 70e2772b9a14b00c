/* SPDX-License-Identifier: MIT */
/*
 * bounds.h - how large micro-batches are, or may be: what the HEAD of a batch
 * promises (formats/stream.md, section 4), and what memory is planned for.
 */
#ifndef PT_IO_BOUNDS_H
#define PT_IO_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/kinds.h"
#include "io/safetensors.h"

struct pt_bounds {
	int64_t tokens, seqs, len;	/* of a micro-batch; of its longest sequence */
	int64_t decoder_tokens, decoder_len;	/* the same of what a decoder reads; 0: nothing */
};

#define PT_BOUNDS 5			/* members */
#define PT_BOUNDS_NONE ((struct pt_bounds){ -1, -1, -1, -1, -1 })

/* The i-th member, its key in a HEAD, "max_tokens", and a word for what is too large by it. */
int64_t *pt_bounds_at(struct pt_bounds *b, int i);
const char *pt_bounds_key(int i);
const char *pt_bounds_what(int i);

/* What a HEAD promises; -1: nothing is said. PT_DATA: no number. */
int pt_bounds_read(struct pt_bounds *b, const struct pt_st *head, struct pt_error *err);
/* The reverse: -1 takes the key away. */
void pt_bounds_build(const struct pt_bounds *b, struct pt_st_build *head);

/* Those of one micro-batch. */
struct pt_bounds pt_bounds_of(const struct pt_examples *x);
void pt_bounds_raise(struct pt_bounds *b, const struct pt_bounds *to);
/* The first member of b that is more than that of bounds, where bounds has one; -1: all are within. */
int pt_bounds_over(const struct pt_bounds *bounds, const struct pt_bounds *b);

static inline bool pt_bounds_hold(const struct pt_bounds *bounds, const struct pt_bounds *b)
{
	return pt_bounds_over(bounds, b) < 0;
}

#endif
