/* SPDX-License-Identifier: MIT */
/*
 * trim.c - the post-processors ByteLevel and RobertaProcessing take the white
 * space that a token begins or ends with out of its place in the text.
 */
#include "text/tok.h"
#include "text/unicode.h"
#include "text/utf8.h"

static bool is_space(uint32_t c)
{
	return c == 0x120 || pt_is_white(c);	/* ByteLevel's space */
}

/* The text that a token shows to the post-processor. */
static const char *shown(const struct pt_tokenizer *tok, int32_t id, const struct pt_origin *o, const char *text,
			 size_t *n)
{
	const char *s = pt_added_get(&tok->added, id) ? NULL : pt_vocab_token(&tok->vocab, id, n);

	if (s)
		return s;
	*n = o->to - o->from;
	return text + o->from;
}

static size_t leading(const char *s, size_t n)
{
	size_t count = 0;
	unsigned len;

	for (size_t i = 0; i < n && is_space(pt_utf8_get(s + i, &len)); i += len)
		count++;
	return count;
}

static size_t trailing(const char *s, size_t n)
{
	size_t count = 0;
	unsigned len;

	for (; n && is_space(pt_utf8_before(s, n, &len)); n -= len)
		count++;
	return count;
}

static void trim(const struct pt_tokenizer *tok, struct pt_encoding *e, const char *text, bool keeps_prefix)
{
	for (size_t i = 0; i < e->n; i++) {
		struct pt_origin *o = &e->origin[i];
		size_t n, front, back, to = o->to;
		const char *s = shown(tok, e->ids[i], o, text, &n);

		front = leading(s, n);
		back = trailing(s, n);
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

void pt_tok_trim(const struct pt_tokenizer *tok, struct pt_encoding *e, const char *text)
{
	for (int i = 0; e->origin && i < tok->post.ntrim; i++)
		trim(tok, e, text, tok->post.keeps_prefix[i]);
}
