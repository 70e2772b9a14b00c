/* SPDX-License-Identifier: MIT */
/*
 * work.c - lists of pieces, and the five ways of splitting at matches.
 */
#include "text/work.h"

#include <stdlib.h>

#include "base/mem.h"

void pt_work_init(struct pt_work *w)
{
	*w = (struct pt_work){ .draft = { PT_DRAFT_INIT, PT_DRAFT_INIT } };
}

void pt_work_release(struct pt_work *w)
{
	free(w->piece);
	free(w->next);
	pt_draft_release(&w->draft[0]);
	pt_draft_release(&w->draft[1]);
	pt_match_release(&w->match);
	pt_work_init(w);
}

int pt_work_grow(struct pt_work *w, struct pt_error *err)
{
	return pt_grow(&w->next, &w->next_cap, w->nnext + 1, sizeof *w->next, err);
}

struct pt_draft *pt_work_other(struct pt_work *w)
{
	struct pt_draft *d = &w->draft[!w->cur];

	pt_draft_clear(d);
	return d;
}

int pt_work_swap(struct pt_work *w, bool text, struct pt_error *err)
{
	struct pt_piece *list = w->piece;
	size_t cap = w->cap;

	w->piece = w->next;
	w->n = w->nnext;
	w->cap = w->next_cap;
	w->next = list;
	w->nnext = 0;
	w->next_cap = cap;
	if (!text)
		return 0;
	w->cur = !w->cur;
	w->base = w->draft[w->cur].text.data;
	w->at = w->at ? w->draft[w->cur].at : NULL;
	return pt_buf_check(&w->draft[w->cur].text, err);
}

/* Emit what was held back, hold this back. */
static int advance(struct pt_split *s, size_t from, size_t to, struct pt_error *err)
{
	int status = s->held ? pt_work_part(s->w, s->p, s->from, s->to, err) : 0;

	s->held = true;
	s->from = from;
	s->to = to;
	return status;
}

int pt_split_range(struct pt_split *s, size_t from, size_t to, bool match, struct pt_error *err)
{
	bool was = s->was_match, join = false;

	s->was_match = match;
	switch (s->behavior) {
	case PT_SPLIT_REMOVED:
		return match ? 0 : pt_work_part(s->w, s->p, from, to, err);
	case PT_SPLIT_ISOLATED:
		return pt_work_part(s->w, s->p, from, to, err);
	case PT_SPLIT_PREVIOUS:
		join = match && !was;
		break;
	case PT_SPLIT_NEXT:
		join = !match && was;
		break;
	case PT_SPLIT_CONTIGUOUS:
		join = match == was;
		break;
	}
	if (join && s->held) {
		s->to = to;
		return 0;
	}
	return advance(s, from, to, err);
}

int pt_split_end(struct pt_split *s, struct pt_error *err)
{
	return s->held ? pt_work_part(s->w, s->p, s->from, s->to, err) : 0;
}
