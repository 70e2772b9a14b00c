/* SPDX-License-Identifier: MIT */
/*
 * join.h - several segments become one: index, group and source of a further
 * segment are moved past those already seen, steps of a batch likewise
 * (formats/stream.md, section 2).
 */
#ifndef PT_IO_JOIN_H
#define PT_IO_JOIN_H

#include <stdint.h>

#include "base/error.h"
#include "io/kinds.h"
#include "io/stream.h"

enum { PT_JOIN_INDEX, PT_JOIN_GROUP, PT_JOIN_SOURCE, PT_JOIN_STEP, PT_JOIN_COUNTERS };

struct pt_join {
	enum pt_kind kind;
	int64_t base[PT_JOIN_COUNTERS];		/* added in this segment */
	int64_t next[PT_JOIN_COUNTERS];		/* one more than the largest so far, moved */
	int64_t *moved[PT_JOIN_STEP];		/* scratch */
	size_t cap[PT_JOIN_STEP];
};

void pt_join_init(struct pt_join *j, enum pt_kind kind);
void pt_join_release(struct pt_join *j);

/*
 * A HEAD was read. made: the HEAD of the output, which cannot be changed any more; PT_DATA where it
 * promises smaller micro-batches than this one.
 */
int pt_join_segment(struct pt_join *j, const struct pt_st_build *made, const struct pt_record *head,
		    struct pt_error *err);

/*
 * The HEAD of streams that will be joined, into made: what the first one says, with the largest
 * bounds and the sum of the steps. known: there are no others than these n.
 */
int pt_join_heads(struct pt_st_build *made, const struct pt_record *const *heads, int n, bool known,
		  struct pt_error *err);

/*
 * Write the first n of a DATA record; as it stands where nothing moves. 0 <= n <= pt_kind_count().
 * PT_DATA where a number cannot be moved within 64 bits.
 */
int pt_join_write(struct pt_join *j, struct pt_writer *w, const struct pt_record *rec, int64_t n,
		  struct pt_error *err);

/*
 * Typed pointers to a DATA record of examples with what must move moved; valid until the next call
 * or that of the record. For programs that read examples and write something else.
 */
int pt_join_view(struct pt_join *j, const struct pt_record *rec, struct pt_examples *x, struct pt_error *err);

#endif
