/* SPDX-License-Identifier: MIT */
/*
 * place.c - from bytes of words to places in the text.
 */
#include "text/place.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/bytelevel.h"
#include "text/unicode.h"
#include "text/utf8.h"

void pt_side_release(struct pt_side *s)
{
	pt_encoding_release(&s->e);
	free(s->spaces);
	s->spaces = NULL;
	s->cap = 0;
}

void pt_side_cut(struct pt_side *s, size_t first, size_t n)
{
	if (first) {
		memmove(s->e.ids, s->e.ids + first, n * sizeof *s->e.ids);
		if (s->e.origin) {
			memmove(s->e.origin, s->e.origin + first, n * sizeof *s->e.origin);
			memmove(s->spaces, s->spaces + first, n * sizeof *s->spaces);
		}
	}
	s->e.n = n;
}

static bool is_space(uint32_t c)
{
	return c == 0x120 || pt_is_white(c);	/* ByteLevel's space */
}

static struct pt_spaces spaces(const char *s, size_t n)
{
	struct pt_spaces x = { 0, 0 };
	unsigned len;

	for (size_t i = 0; i < n && is_space(pt_utf8_get(s + i, &len)); i += len)
		x.front++;
	for (; n && is_space(pt_utf8_before(s, n, &len)); n -= len)
		x.back++;
	return x;
}

int pt_side_added(struct pt_side *s, int32_t id, const struct pt_stretch *t, struct pt_error *err)
{
	size_t i = s->e.n;
	int status = pt_encoding_push(&s->e, id, 0, 0, err);

	if (status || !s->e.origin)
		return status;
	if (pt_grow(&s->spaces, &s->cap, s->e.n, sizeof *s->spaces, err))
		return PT_FAIL;
	s->e.origin[i] = (struct pt_origin){ t->at[0].from, t->at[t->n - 1].to, 0 };
	s->spaces[i] = spaces(t->s, t->n);
	return 0;
}

/* The byte of s[n] that the model counts as number at, where it counts raw bytes as their characters. */
static size_t byte_at(const char *s, size_t n, size_t at)
{
	size_t i = 0;

	for (size_t counted = 0; i < n && counted + pt_bytelevel_len((uint8_t)s[i]) <= at; i++)
		counted += pt_bytelevel_len((uint8_t)s[i]);
	return i;
}

int pt_side_place(struct pt_side *s, const struct pt_tokenizer *tok, const struct pt_work *w,
		  const struct pt_piece *p, size_t *done, size_t first, struct pt_error *err)
{
	int32_t unknown = tok->model->unknown ? tok->model->unknown(tok->data) : -1;
	const struct pt_range *at = w->at + p->off;
	const char *text = w->base + p->off, *token;
	size_t base = *done, n;

	if (pt_grow(&s->spaces, &s->cap, s->e.n, sizeof *s->spaces, err))
		return PT_FAIL;
	for (size_t i = first; i < s->e.n; i++) {
		struct pt_origin *o = &s->e.origin[i];
		size_t from = base + o->from, to = base + o->to, last = to > from ? to - 1 : to;

		*done = to;
		if (tok->pretok.raw) {
			from = byte_at(text, p->n, from);
			last = byte_at(text, p->n, last);
		}
		token = pt_vocab_token(&tok->vocab, s->e.ids[i], &n);
		if (s->e.ids[i] == unknown && to <= p->n)
			s->spaces[i] = spaces(text + from, to - from);
		else
			s->spaces[i] = spaces(token, token ? n : 0);
		/* A model that puts bytes in front of a word or behind it can count more than there are. */
		o->from = at[from < p->n ? from : p->n - 1].from;
		o->to = at[last < p->n ? last : p->n - 1].to;
	}
	return 0;
}

static void trim(struct pt_side *s, const char *text, bool keeps_prefix)
{
	for (size_t i = 0; i < s->e.n; i++) {
		struct pt_origin *o = &s->e.origin[i];
		size_t front = s->spaces[i].front, back = s->spaces[i].back, to = o->to;

		/* A space that was put in front has no place of its own. */
		if (front == 1 && keeps_prefix && (i == 0 || o->from == 0))
			front = 0;
		for (; front && o->from < o->to; front--)
			o->from += pt_utf8_len(text[o->from]);
		for (; back && to; back--)
			to -= pt_utf8_back(text, to);
		if (!back)
			o->to = to > o->from ? to : o->from;
	}
}

void pt_side_trim(struct pt_side *s, const struct pt_post *post, const char *text)
{
	for (int i = 0; s->e.origin && i < post->ntrim; i++)
		trim(s, text, post->keeps_prefix[i]);
}

void pt_place_wrapped(struct pt_encoding *out, const struct pt_side *a, const struct pt_side *b)
{
	for (size_t i = 0; out->origin && i < out->n; i++) {
		struct pt_origin *o = &out->origin[i];
		const struct pt_origin *from = o->text < 0 ? NULL : (o->text ? b : a)->e.origin + o->from;

		if (from) {
			o->from = from->from;
			o->to = from->to;
		}
	}
}
