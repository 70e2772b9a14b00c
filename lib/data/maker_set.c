/* SPDX-License-Identifier: MIT */
/*
 * maker_set.c - texts that are near to each other, or far: an anchor, what is
 * near to it, what is not. Each text is an example of its own; the set's
 * weight stands at its first, 0 at the others, so that weights count sets.
 */
#include "data/maker_priv.h"

#include <string.h>

/* The texts of the line. */
static int find_texts(const struct pt_sample *s, struct pt_sample_text *t)
{
	if (s->nset) {
		memcpy(t, s->set, (size_t)s->nset * sizeof *t);
		return s->nset;
	}
	t[0] = s->text;
	t[1] = s->pair;
	return (s->text.s != NULL) + (s->pair.s != NULL);
}

/* Ids of the text in its template, behind those in m->pair. */
static int add_text(struct pt_maker *m, const struct pt_sample_text *t, struct pt_error *err)
{
	struct pt_encoding *all = &m->pair, *w = &m->wrapped;
	size_t from, to;

	if (pt_maker_encode(m, t->s, t->n, &m->text, err))
		return err->status;
	pt_maker_cut(m, (size_t)(m->o->max_length - m->o->special), &from, &to);
	if (pt_wrap(m->o->tok, m->text.ids + from, to - from, NULL, 0, PT_ENCODE_SPECIAL, w, err) ||
	    pt_encoding_reserve(all, all->n + w->n, err))
		return err->status;
	if (!w->n)
		return pt_error(err, PT_DATA, "no tokens: a text is empty");
	memcpy(all->ids + all->n, w->ids, w->n * sizeof *w->ids);
	memcpy(all->types + all->n, w->types, w->n * sizeof *w->types);
	all->n += w->n;
	return 0;
}

int pt_maker_set(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err)
{
	struct pt_sample_text text[PT_SAMPLE_SET];
	size_t end[PT_SAMPLE_SET + 1] = { 0 };
	int n = find_texts(r->s, text);

	if (!n)
		return pt_error(err, PT_DATA, "--task contrastive wants \"anchor\" and \"positive\", or two texts");
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for sets of them");
	m->pair.n = 0;
	for (int i = 0; i < n; i++) {
		if (add_text(m, &text[i], err))
			return err->status;
		end[i + 1] = m->pair.n;
	}
	/* Only now, so that a line is taken whole or not at all. */
	for (int i = 0; i < n; i++) {
		r->group = i;
		r->weight = i ? 0 : r->s->weight;
		if (pt_maker_put(m, r, m->pair.ids + end[i], m->pair.types + end[i], end[i + 1] - end[i], err))
			return err->status;
	}
	return 0;
}
