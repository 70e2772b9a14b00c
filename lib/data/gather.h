/* SPDX-License-Identifier: MIT */
/*
 * gather.h - examples being gathered for a record: a growable column for each
 * tensor there is, whichever of the kind's table (io/kinds.h) they are.
 *
 * A packed example is the same of one example in a row of bytes, for what
 * keeps examples until they are wanted (store.h).
 */
#ifndef PT_DATA_GATHER_H
#define PT_DATA_GATHER_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "io/kinds.h"

struct pt_gather {
	uint32_t have;				/* pt_gather_have() */
	int64_t k;				/* columns of target */
	int64_t n, tokens, decoder_tokens;
	size_t bytes;				/* of all tensors */
	struct pt_buf col[PT_KIND_TENSORS];	/* in the order of the table */
};

/* The tensors of x, as a bit set by place in the table. */
uint32_t pt_gather_have(const struct pt_examples *x);

void pt_gather_init(struct pt_gather *g, uint32_t have, int64_t k);
void pt_gather_release(struct pt_gather *g);
void pt_gather_clear(struct pt_gather *g);		/* keeps the memory */

/* Append example i of x, which has the tensors of g. Memory is checked by pt_gather_view(). */
void pt_gather_add(struct pt_gather *g, const struct pt_examples *x, int64_t i);

/* Give the example that was appended last another index. */
void pt_gather_renumber(struct pt_gather *g, int64_t index);
/* Its group, a place in a set so far, becomes the index of the set's first: index less place. */
void pt_gather_regroup(struct pt_gather *g, int64_t index);

/* Append example i of x to out, packed. */
void pt_gather_pack(struct pt_buf *out, uint32_t have, const struct pt_examples *x, int64_t i);
/* Append what pt_gather_pack() made of an example with the tensors of g. */
void pt_gather_unpack(struct pt_gather *g, const void *packed);

/* Typed pointers to all of it, valid until g changes. PT_FAIL when memory ran out while gathering. */
int pt_gather_view(const struct pt_gather *g, struct pt_examples *x, struct pt_error *err);

#endif
