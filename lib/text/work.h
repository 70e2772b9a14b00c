/* SPDX-License-Identifier: MIT */
/*
 * work.h - what a text is while it goes through a tokenizer: first a stretch
 * of text that normalizers rewrite, then a list of pieces that pre-tokenizers
 * divide. All of it is scratch memory of one encoder.
 */
#ifndef PT_TEXT_WORK_H
#define PT_TEXT_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "text/draft.h"
#include "text/regex.h"

struct pt_piece {
	size_t off;		/* in base */
	size_t n;
};

struct pt_work {
	const char *base;	/* the text of the pieces: what was passed in, or draft[cur] */
	const struct pt_range *at;	/* of each byte of base, as in struct pt_stretch; NULL: nobody asks */
	bool first;		/* without at: base[0] is the first byte of the original text */
	struct pt_piece *piece;
	size_t n, cap;
	struct pt_piece *next;	/* what a stage writes; pt_work_swap() makes it the list */
	size_t nnext, next_cap;
	struct pt_draft draft[2];	/* a stage that changes text writes all pieces anew into pt_work_other() */
	int cur;
	struct pt_match match;
};

void pt_work_init(struct pt_work *w);
void pt_work_release(struct pt_work *w);

/* Append to the next list; empty pieces are dropped. */
int pt_work_grow(struct pt_work *w, struct pt_error *err);

static inline int pt_work_emit(struct pt_work *w, size_t off, size_t n, struct pt_error *err)
{
	if (n == 0)
		return 0;
	if (w->nnext == w->next_cap) {
		int status = pt_work_grow(w, err);

		if (status)
			return status;
	}
	w->next[w->nnext++] = (struct pt_piece){ off, n };
	return 0;
}

/* The part [from, to) of a piece. */
static inline int pt_work_part(struct pt_work *w, const struct pt_piece *p, size_t from, size_t to,
			       struct pt_error *err)
{
	return pt_work_emit(w, p->off + from, to - from, err);
}

/* A piece as a text. */
static inline struct pt_stretch pt_work_stretch(const struct pt_work *w, const struct pt_piece *p)
{
	return (struct pt_stretch){ w->base + p->off, p->n, w->at ? w->at + p->off : NULL, 0 };
}

/* The draft that base does not lie in, emptied. */
struct pt_draft *pt_work_other(struct pt_work *w);
/* After a stage: the next list becomes the list; text: base is now what was written to pt_work_other(). */
int pt_work_swap(struct pt_work *w, bool text, struct pt_error *err);

/* What becomes of matches and of what stands between them. */
enum pt_behavior {
	PT_SPLIT_REMOVED, PT_SPLIT_ISOLATED, PT_SPLIT_PREVIOUS, PT_SPLIT_NEXT, PT_SPLIT_CONTIGUOUS
};

/* Takes the ranges that cover a piece in order, each a match or not, and emits pieces. */
struct pt_split {
	struct pt_work *w;
	const struct pt_piece *p;
	enum pt_behavior behavior;
	size_t from, to;	/* range held back */
	bool held, was_match;
};

static inline void pt_split_init(struct pt_split *s, struct pt_work *w, const struct pt_piece *p,
				 enum pt_behavior behavior)
{
	*s = (struct pt_split){ .w = w, .p = p, .behavior = behavior };
}

int pt_split_range(struct pt_split *s, size_t from, size_t to, bool match, struct pt_error *err);
int pt_split_end(struct pt_split *s, struct pt_error *err);

#endif
