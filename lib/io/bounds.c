/* SPDX-License-Identifier: MIT */
/*
 * bounds.c - see bounds.h.
 */
#include "io/bounds.h"

#include <stddef.h>

/* The longest sequence first: what is too long is too many tokens as well. */
static const struct {
	const char *key, *what;
	size_t at;
} member[PT_BOUNDS] = {
	{ "max_len", "sequence", offsetof(struct pt_bounds, len) },
	{ "max_tokens", "number of tokens", offsetof(struct pt_bounds, tokens) },
	{ "max_seqs", "group", offsetof(struct pt_bounds, seqs) },
	{ "max_decoder_len", "decoder sequence", offsetof(struct pt_bounds, decoder_len) },
	{ "max_decoder_tokens", "number of decoder tokens", offsetof(struct pt_bounds, decoder_tokens) },
};

int64_t *pt_bounds_at(struct pt_bounds *b, int i)
{
	return (int64_t *)((char *)b + member[i].at);
}

static int64_t value(const struct pt_bounds *b, int i)
{
	return *(const int64_t *)((const char *)b + member[i].at);
}

const char *pt_bounds_key(int i)
{
	return member[i].key;
}

const char *pt_bounds_what(int i)
{
	return member[i].what;
}

int pt_bounds_read(struct pt_bounds *b, const struct pt_st *head, struct pt_error *err)
{
	for (int i = 0; i < PT_BOUNDS; i++) {
		const char *key = member[i].key;

		if (pt_meta_int(pt_st_meta(head, key), key, 0, -1, pt_bounds_at(b, i), err))
			return pt_error_prefix(err, "HEAD");
	}
	return 0;
}

void pt_bounds_build(const struct pt_bounds *b, struct pt_st_build *head)
{
	for (int i = 0; i < PT_BOUNDS; i++) {
		pt_st_build_drop_meta(head, member[i].key);
		if (value(b, i) >= 0)
			pt_st_build_meta_int(head, member[i].key, value(b, i));
	}
}

static int64_t longest(const int64_t *offsets, int64_t n)
{
	int64_t len = 0;

	for (int64_t i = 0; i < n; i++)
		if (offsets[i + 1] - offsets[i] > len)
			len = offsets[i + 1] - offsets[i];
	return len;
}

struct pt_bounds pt_bounds_of(const struct pt_examples *x)
{
	struct pt_bounds b = { .tokens = x->tokens, .seqs = x->n, .len = longest(x->offsets, x->n) };

	if (x->decoder_ids) {
		b.decoder_tokens = x->decoder_tokens;
		b.decoder_len = longest(x->decoder_offsets, x->n);
	}
	return b;
}

void pt_bounds_raise(struct pt_bounds *b, const struct pt_bounds *to)
{
	for (int i = 0; i < PT_BOUNDS; i++)
		if (value(to, i) > value(b, i))
			*pt_bounds_at(b, i) = value(to, i);
}

int pt_bounds_over(const struct pt_bounds *bounds, const struct pt_bounds *b)
{
	for (int i = 0; i < PT_BOUNDS; i++)
		if (value(bounds, i) >= 0 && value(b, i) > value(bounds, i))
			return i;
	return -1;
}
