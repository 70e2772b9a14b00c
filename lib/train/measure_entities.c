/* SPDX-License-Identifier: MIT */
/*
 * measure_entities.c - entities of tagged tokens: B-X begins one, I-X goes on.
 * As seqeval counts by default (conlleval's rules): an I-X that nothing
 * began, or that follows another type, begins one too; E- and S- end them.
 */
#include "train/measure_priv.h"

#include <string.h>

struct tag {
	char what;		/* B I E S, or O */
	const char *type;	/* "" of O */
};

static struct tag tag_of(const struct pt_measure *m, int32_t label)
{
	const char *s = m->labels[label];

	if (s[0] && s[1] == '-')
		return (struct tag){ s[0], s + 2 };
	return (struct tag){ s[0] ? s[0] : 'O', "" };
}

bool pt_measure_is_bio(char *const *labels, int n)
{
	bool begins = false;

	for (int i = 0; labels && i < n; i++) {
		const char *s = labels[i];

		if (!s || (strcmp(s, "O") && !(s[0] && strchr("BIES", s[0]) && s[1] == '-')))
			return false;
		begins |= strcmp(s, "O") != 0;
	}
	return begins;
}

static bool same_type(struct tag a, struct tag b)
{
	return !strcmp(a.type, b.type);
}

static bool ends(struct tag prev, struct tag t)
{
	if (prev.what == 'E' || prev.what == 'S')
		return true;
	if ((prev.what == 'B' || prev.what == 'I') && strchr("BSO", t.what))
		return true;
	return prev.what != 'O' && !same_type(prev, t);
}

static bool begins(struct tag prev, struct tag t)
{
	if (t.what == 'B' || t.what == 'S')
		return true;
	if (strchr("ESO", prev.what) && (t.what == 'E' || t.what == 'I'))
		return true;
	return t.what != 'O' && !same_type(prev, t);
}

/* One of the two readings of a sequence: where its entity began, -1: outside. */
struct reading {
	struct tag prev;
	int64_t from;
};

/* The tag at i; *type and *from of the entity that ended before it, if one did. */
static bool step(struct reading *r, struct tag t, int64_t i, const char **type, int64_t *from)
{
	bool ended = ends(r->prev, t) && r->prev.what != 'O';

	*type = r->prev.type;
	*from = r->from;
	if (begins(r->prev, t))
		r->from = i;
	r->prev = t;
	return ended;
}

void pt_measure_entities(struct pt_measure *m, const struct pt_feed *f, const int32_t *argmax)
{
	const struct tag out = { 'O', "" };
	struct reading is = { out, -1 }, says = { out, -1 };

	for (int64_t i = 0; i <= f->rows; i++) {
		bool stop = i == f->rows || (i && f->seq[i] != f->seq[i - 1]);

		/* Behind a sequence, then at its own tag. */
		for (int pass = stop ? 0 : 1; pass < 2 && (pass == 0 || i < f->rows); pass++) {
			const char *a, *b;
			int64_t fa, fb;
			bool ea = step(&is, pass ? tag_of(m, f->label[i]) : out, i, &a, &fa);
			bool eb = step(&says, pass ? tag_of(m, argmax[i]) : out, i, &b, &fb);

			m->entities += ea;
			m->found += eb;
			m->right += ea && eb && fa == fb && !strcmp(a, b);
		}
	}
}
