/* SPDX-License-Identifier: MIT */
/*
 * store.h - the examples that peft-batch has read and not yet written: all of
 * them, spooled, for shuffles and epochs; or, for endless input, each until
 * it is written.
 *
 * What planning asks of an example (its lengths, what it adds to a step's
 * denominators) is kept apart, in memory: 16 bytes an example, more only
 * where there are decoder tensors, weights or groups.
 *
 * Examples of one group are chained into a unit, which is named by its first
 * example; without groups each example is a unit.
 */
#ifndef PT_DATA_STORE_H
#define PT_DATA_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/gather.h"
#include "data/spool.h"

/* Of a unit, or of a micro-batch or step: sums and the longest. */
struct pt_extent {
	int64_t examples;
	int64_t tokens, decoder_tokens;
	int64_t len, decoder_len;	/* the longest sequence */
	int64_t loss;			/* tokens with loss, as the task counts them */
	double weight;
};

struct pt_store {
	bool keep;		/* false: ids of dropped examples are used again */
	bool shift;		/* the label of a sequence's first token is no target */
	uint32_t have;
	struct pt_spool spool;	/* keep */
	uint64_t *at;		/* keep: [n + 1] */
	struct pt_buf *blob;	/* not keep: [n] */
	int64_t *unused;	/* not keep: ids */
	int64_t nunused;
	uint32_t *len, *loss;
	uint32_t *decoder_len;	/* NULL without decoder tensors */
	float *weight;		/* NULL without weights */
	int64_t *group, *next;	/* NULL without groups; next example of the unit, -1: none */
	int64_t n;
	struct {
		size_t at, blob, unused, len, loss, decoder_len, weight, group, next;
	} cap;
	struct pt_buf scratch;
};

/* have: tensors of the examples to come. memory: bytes to keep out of the spool's file. */
void pt_store_init(struct pt_store *s, bool keep, bool shift, uint32_t have, size_t memory);
void pt_store_release(struct pt_store *s);

/* Example i of x; *id its number. A unit of its own until pt_store_chain() or pt_store_group(). */
int pt_store_add(struct pt_store *s, const struct pt_examples *x, int64_t i, int64_t *id, struct pt_error *err);
void pt_store_chain(struct pt_store *s, int64_t last, int64_t id);	/* id follows last in its unit */

/*
 * All units in the order of the source (by their first examples), examples of
 * equal group chained: *units on the heap. keep only.
 */
int pt_store_group(struct pt_store *s, int64_t **units, int64_t *nunits, struct pt_error *err);

void pt_store_extent(const struct pt_store *s, int64_t unit, struct pt_extent *e);
void pt_extent_add(struct pt_extent *sum, const struct pt_extent *e);

/* Append a unit's examples to g. */
int pt_store_peek(struct pt_store *s, int64_t unit, struct pt_gather *g, struct pt_error *err);
/* The same; not keep: they are forgotten. */
int pt_store_take(struct pt_store *s, int64_t unit, struct pt_gather *g, struct pt_error *err);

#endif
