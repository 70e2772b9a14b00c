/* SPDX-License-Identifier: MIT */
/*
 * encoding.c - lists of ids: growing, truncating as HF does, the template of
 * the post-processor around them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tok.h"

void pt_encoding_release(struct pt_encoding *e)
{
	free(e->ids);
	free(e->types);
	free(e->origin);
	*e = (struct pt_encoding)PT_ENCODING_INIT;
}

int pt_encoding_reserve(struct pt_encoding *e, size_t n, struct pt_error *err)
{
	size_t cap = e->cap;

	if (n <= e->cap)
		return 0;
	/* cap counts what both hold. */
	if (pt_grow(&e->ids, &cap, n, sizeof *e->ids, err))
		return PT_FAIL;
	cap = e->cap;
	if (pt_grow(&e->types, &cap, n, sizeof *e->types, err))
		return PT_FAIL;
	if (e->origin) {
		cap = e->cap;
		if (pt_grow(&e->origin, &cap, n, sizeof *e->origin, err))
			return PT_FAIL;
	}
	e->cap = cap;
	return 0;
}

int pt_encoding_begin(struct pt_encoding *e, bool origin, struct pt_error *err)
{
	e->n = 0;
	if (!origin) {
		free(e->origin);
		e->origin = NULL;
	} else if (!e->origin) {
		e->origin = pt_malloc(e->cap ? e->cap : 1, sizeof *e->origin, err);
		return e->origin ? 0 : PT_FAIL;
	}
	return 0;
}

int pt_truncate(size_t *na, size_t *nb, bool pair, size_t max, int flags, struct pt_error *err)
{
	size_t n1 = *na, n2 = pair ? *nb : 0, *only = flags & PT_TRUNCATE_ONLY_FIRST ? na : nb;
	bool swap = n1 > n2;

	if (n1 + n2 <= max)
		return 0;
	if (!pair || max == 0) {
		*na = max;
		if (pair)
			*nb = 0;
		return 0;
	}
	if (flags & (PT_TRUNCATE_ONLY_FIRST | PT_TRUNCATE_ONLY_SECOND)) {
		size_t excess = n1 + n2 - max;

		/* The library refuses to leave nothing of it. */
		if (*only <= excess)
			return pt_error(err, PT_USAGE, "the %s text is too short to be truncated alone to %zu tokens in all",
					only == na ? "first" : "second", max);
		*only -= excess;
		return 0;
	}
	/* Longest first, on the shorter and the longer. */
	if (swap) {
		n1 = *nb;
		n2 = *na;
	}
	if (n1 > max)
		n2 = n1;
	else
		n2 = n1 > max - n1 ? n1 : max - n1;
	if (n1 + n2 > max) {
		n1 = max / 2;
		n2 = n1 + max % 2;
	}
	*na = swap ? n2 : n1;
	*nb = swap ? n1 : n2;
	return 0;
}

int pt_tokenizer_added(const struct pt_tokenizer *tok, bool pair)
{
	return (int)(tok->post.n[pair] - 1 - pair);
}

/* text as in struct pt_origin. */
static void put(struct pt_encoding *out, const int32_t *ids, size_t n, int32_t type, int text)
{
	if (n)
		memcpy(out->ids + out->n, ids, n * sizeof *ids);
	for (size_t i = 0; i < n; i++)
		out->types[out->n + i] = type;
	for (size_t i = 0; out->origin && i < n; i++)
		out->origin[out->n + i] = text < 0 ? (struct pt_origin){ 0, 0, -1 } : (struct pt_origin){ i, i + 1, text };
	out->n += n;
}

int pt_wrap(const struct pt_tokenizer *tok, const int32_t *a, size_t na, const int32_t *b, size_t nb, int flags,
	    struct pt_encoding *out, struct pt_error *err)
{
	bool pair = b != NULL, special = flags & PT_ENCODE_SPECIAL;
	size_t need;
	int status;

	status = pt_encoding_begin(out, flags & PT_ENCODE_ORIGIN, err);
	if (status)
		return status;
	if (!pt_add_size(na, nb, &need) || !pt_add_size(need, tok->post.n[pair], &need))
		return pt_error(err, PT_FAIL, "too many ids");
	status = pt_encoding_reserve(out, need, err);
	for (size_t i = 0; i < tok->post.n[pair] && !status; i++) {
		const struct pt_post_part *p = &tok->post.part[pair][i];

		if (p->what == PT_POST_A)
			put(out, a, na, p->type, 0);
		else if (p->what == PT_POST_B)
			put(out, b, nb, p->type, 1);
		else if (special)
			put(out, &p->id, 1, p->type, -1);
	}
	return status;
}
