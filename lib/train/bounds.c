/* SPDX-License-Identifier: MIT */
/*
 * bounds.c - bounds of micro-batches; see feed.h.
 */
#include "train/feed.h"

static void raise_to(int64_t *v, int64_t to)
{
	if (to > *v)
		*v = to;
}

static int64_t longest(const int64_t *offsets, int64_t n)
{
	int64_t len = 0;

	for (int64_t i = 0; i < n; i++)
		raise_to(&len, offsets[i + 1] - offsets[i]);
	return len;
}

struct pt_feed_bounds pt_feed_bounds_of(const struct pt_examples *x)
{
	struct pt_feed_bounds b = { .tokens = x->tokens, .seqs = x->n, .len = longest(x->offsets, x->n) };

	if (x->decoder_ids) {
		b.decoder_tokens = x->decoder_tokens;
		b.decoder_len = longest(x->decoder_offsets, x->n);
	}
	return b;
}

void pt_feed_bounds_raise(struct pt_feed_bounds *b, const struct pt_feed_bounds *to)
{
	raise_to(&b->tokens, to->tokens);
	raise_to(&b->seqs, to->seqs);
	raise_to(&b->len, to->len);
	raise_to(&b->decoder_tokens, to->decoder_tokens);
	raise_to(&b->decoder_len, to->decoder_len);
}

bool pt_feed_bounds_hold(const struct pt_feed_bounds *bounds, const struct pt_feed_bounds *b)
{
	return b->tokens <= bounds->tokens && b->seqs <= bounds->seqs && b->len <= bounds->len &&
	       b->decoder_tokens <= bounds->decoder_tokens && b->decoder_len <= bounds->decoder_len;
}
