/* SPDX-License-Identifier: MIT */
/*
 * pack.h - units into micro-batches, by a number of examples or of tokens.
 *
 * By examples: in order, each micro-batch as many whole units as fit.
 * By tokens: best fit in a window. A micro-batch begins with the oldest unit
 * of the window, so that none waits for ever; then, as long as one fits, the
 * largest that fits is added, of equal ones the oldest. Inside of a
 * micro-batch the order is that in which the units came. A unit larger than
 * the limit is a micro-batch of its own.
 */
#ifndef PT_DATA_PACK_H
#define PT_DATA_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define PT_PACK_WINDOW 1024	/* units, by tokens; a larger one fills no better on text */

struct pt_pack_slot;

struct pt_pack {
	int64_t examples, tokens;	/* the limit: one of them, the other 0 */
	struct pt_pack_slot *slot;
	int32_t window, n;		/* slots, those in use */
	int32_t oldest, newest, unused;	/* lists of slots; -1: empty */
	int32_t *first, *last;		/* by tokens: slots of each size, oldest first */
	uint64_t *sizes;		/* bit set of sizes that there are */
};

int pt_pack_init(struct pt_pack *p, int64_t examples, int64_t tokens, struct pt_error *err);
void pt_pack_release(struct pt_pack *p);
void pt_pack_clear(struct pt_pack *p);

bool pt_pack_full(const struct pt_pack *p);
/* Not when full. size: tokens, at least 1 counts. */
void pt_pack_push(struct pt_pack *p, int64_t unit, int64_t size, int64_t examples);

/*
 * The next micro-batch: units[*n], room for p->window of them. *n is 0
 * when more must be pushed first, or, with last (nothing will be), at the end.
 */
void pt_pack_take(struct pt_pack *p, bool last, int64_t *units, int *n);

#endif
