/* SPDX-License-Identifier: MIT */
/*
 * bpe.c - encoding a word by byte pair encoding: of all adjacent pairs that
 * can be merged the one with the lowest rank is, the leftmost of equals,
 * until none is left.
 *
 * Short words look for it in an array, which is faster than a heap up to a
 * few dozen symbols; long ones (a document without a space) use a heap of
 * pairs and a linked list of symbols: n log n.
 */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/bytelevel.h"
#include "text/utf8.h"

enum { SHORT = 40 };	/* symbols */

struct candidate {
	uint32_t rank;
	uint32_t at;		/* left symbol */
	int32_t id;		/* of the result */
};

struct scratch {
	int32_t *id;		/* of the symbols */
	size_t n, cap;
	uint32_t *len;		/* bytes that each stands for, where somebody asks: see measured */
	size_t len_cap;
	bool measured;
	uint32_t *prev, *next;	/* linked list; next n: the end */
	size_t link_cap, next_cap;
	struct candidate *heap;
	size_t nheap, heap_cap;
	struct pt_buf key;
};

static int scratch_new(void **out, const void *data, struct pt_error *err)
{
	(void)data;
	*out = pt_calloc(1, sizeof(struct scratch), err);
	return *out ? 0 : PT_FAIL;
}

static void scratch_free(void *p)
{
	struct scratch *s = p;

	if (!s)
		return;
	free(s->id);
	free(s->len);
	free(s->prev);
	free(s->next);
	free(s->heap);
	pt_buf_release(&s->key);
	free(s);
}

/* The id of the character at w[at]: with prefix and suffix where the model has them. */
static int32_t char_id(const struct pt_bpe *m, const struct pt_vocab *v, struct scratch *s, const char *w, size_t at,
		       unsigned len, size_t n)
{
	const char *c = w + at;

	if (m->prefix || m->suffix) {
		pt_buf_clear(&s->key);
		if (m->prefix && at > 0)
			pt_buf_str(&s->key, m->prefix);
		pt_buf_add(&s->key, c, len);
		if (m->suffix && at + len == n)
			pt_buf_str(&s->key, m->suffix);
		return s->key.failed ? -1 : pt_vocab_id(v, s->key.data, s->key.len);
	}
	if (len <= 2)
		return m->low[pt_utf8_get(c, &len)];
	return pt_vocab_id(v, c, len);
}

static inline void put(struct scratch *s, int32_t id, size_t len)
{
	if (s->measured)
		s->len[s->n] = (uint32_t)len;
	s->id[s->n++] = id;
}

/* Byte symbols for what char_id() did not find; false: some byte has none. */
static bool fall_back(const struct pt_bpe *m, struct scratch *s, const char *c, size_t len, bool keyed)
{
	size_t n = s->n;

	/* With prefix or suffix it is their bytes too. */
	if (keyed) {
		c = s->key.data;
		len = s->key.len;
	}
	for (size_t i = 0; i < len; i++) {
		int32_t id = m->byte[(unsigned char)c[i]];

		if (id < 0) {
			s->n = n;
			return false;
		}
		put(s, id, 1);
	}
	return true;
}

static int unknown(const struct pt_bpe *m, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "the tokenizer's unknown token \"%s\" is not in its vocabulary", m->unk);
}

/* The symbols that a word begins as. */
static int symbols(const struct pt_bpe *m, const struct pt_vocab *v, struct scratch *s, const char *w, size_t n,
		   struct pt_error *err)
{
	size_t extra = (m->prefix ? strlen(m->prefix) : 0) + (m->suffix ? strlen(m->suffix) : 0), need;
	size_t unk = 0;		/* bytes of the unknown symbol that waits */

	if (!pt_mul_size(n, 1 + extra, &need) || need >= UINT32_MAX)
		return pt_error(err, PT_DATA, "a word of %zu bytes is too long", n);
	if (pt_grow(&s->id, &s->cap, need, sizeof *s->id, err) ||
	    (s->measured && pt_grow(&s->len, &s->len_cap, need, sizeof *s->len, err)))
		return PT_FAIL;
	s->n = 0;
	for (size_t i = 0; i < n;) {
		unsigned len = m->raw ? 1 : pt_utf8_len(w[i]);
		int32_t id = m->raw ? m->low[(unsigned char)w[i]] : char_id(m, v, s, w, i, len, n);

		if (id >= 0) {
			/* An unknown one waits for the next known: bytes overtake it. */
			if (unk)
				put(s, m->unk_id, unk);
			unk = 0;
			put(s, id, m->raw ? pt_bytelevel_len((uint8_t)w[i]) : len);
		} else if (!(m->byte_fallback && fall_back(m, s, w + i, len, m->prefix || m->suffix)) && m->unk) {
			if (m->unk_id < 0)
				return unknown(m, err);
			if (unk && !m->fuse_unk) {
				put(s, m->unk_id, unk);
				unk = 0;
			}
			unk += m->raw ? pt_bytelevel_len((uint8_t)w[i]) : len;
		}
		i += len;
	}
	if (unk)
		put(s, m->unk_id, unk);
	return 0;
}

static size_t merge_short(const struct pt_bpe *m, int32_t *id, size_t n)
{
	struct {
		uint32_t rank;
		int32_t id;
	} pair[SHORT];		/* of symbol i and the next */

#define LOOK(i) do {							\
	const struct pt_bpe_merge *f_ = pt_bpe_find(m, id[i], id[(i) + 1]);	\
	pair[i].rank = f_ ? f_->rank : UINT32_MAX;			\
	pair[i].id = f_ ? f_->id : -1;					\
} while (0)
	for (size_t i = 0; i + 1 < n; i++)
		LOOK(i);
	while (n > 1) {
		uint32_t best = UINT32_MAX;
		size_t at = 0;

		for (size_t i = 0; i + 1 < n; i++)
			if (pair[i].rank < best) {
				best = pair[i].rank;
				at = i;
			}
		if (best == UINT32_MAX)
			break;
		id[at] = pair[at].id;
		n--;
		memmove(id + at + 1, id + at + 2, (n - at - 1) * sizeof *id);
		if (at + 1 < n)
			memmove(pair + at, pair + at + 1, (n - at - 1) * sizeof *pair);
		if (at > 0)
			LOOK(at - 1);
		if (at + 1 < n)
			LOOK(at);
	}
#undef LOOK
	return n;
}

static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static int heap_push(const struct pt_bpe *m, struct scratch *s, uint32_t at, struct pt_error *err)
{
	const struct pt_bpe_merge *f = pt_bpe_find(m, s->id[at], s->id[s->next[at]]);
	struct candidate c;
	size_t i = s->nheap;

	if (!f)
		return 0;
	if (i == s->heap_cap && pt_grow(&s->heap, &s->heap_cap, i + 1, sizeof *s->heap, err))
		return PT_FAIL;
	c = (struct candidate){ f->rank, at, f->id };
	for (s->nheap++; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = c;
	return 0;
}

static struct candidate heap_pop(struct scratch *s)
{
	struct candidate top = s->heap[0], last = s->heap[--s->nheap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < s->nheap) {
		if (child + 1 < s->nheap && before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!before(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

static int merge_long(const struct pt_bpe *m, struct scratch *s, struct pt_error *err)
{
	uint32_t n = (uint32_t)s->n;
	size_t kept = 0;
	int status = 0;

	if (pt_grow(&s->prev, &s->link_cap, n, sizeof *s->prev, err) ||
	    pt_grow(&s->next, &s->next_cap, n, sizeof *s->next, err))
		return PT_FAIL;
	s->nheap = 0;
	for (uint32_t i = 0; i < n; i++) {
		s->prev[i] = i - 1;
		s->next[i] = i + 1;
	}
	for (uint32_t i = 0; i + 1 < n && !status; i++)
		status = heap_push(m, s, i, err);
	while (s->nheap && !status) {
		struct candidate c = heap_pop(s);
		uint32_t right = s->next[c.at], after;
		const struct pt_bpe_merge *f;

		/* Out of date: merged away (id -1), without a neighbour, or another pair by now. */
		if (s->id[c.at] < 0 || right == n)
			continue;
		f = pt_bpe_find(m, s->id[c.at], s->id[right]);
		if (!f || f->id != c.id)
			continue;
		after = s->next[right];
		s->id[c.at] = c.id;
		s->id[right] = -1;
		s->next[c.at] = after;
		if (after < n)
			s->prev[after] = c.at;
		if (c.at > 0)
			status = heap_push(m, s, s->prev[c.at], err);
		if (!status && after < n)
			status = heap_push(m, s, c.at, err);
	}
	for (uint32_t i = 0; i < n; i = s->next[i]) {
		uint32_t len = 0;

		for (uint32_t k = i; s->measured && k < s->next[i]; k++)
			len += s->len[k];
		if (s->measured)
			s->len[kept] = len;
		s->id[kept++] = s->id[i];
	}
	s->n = kept;
	return status;
}

/* ignore_merges: a word that is a token is that token. */
static int32_t whole(const struct pt_bpe *m, const struct pt_vocab *v, struct scratch *s, const char *w, size_t n)
{
	if (n > v->longest)
		return -1;
	if (!m->raw)
		return pt_vocab_id(v, w, n);
	pt_buf_clear(&s->key);
	pt_bytelevel_map(&s->key, w, n);
	return s->key.failed ? -1 : pt_vocab_id(v, s->key.data, s->key.len);
}

static int encode(const void *data, const struct pt_vocab *v, void *scratch, const char *w, size_t n,
		  struct pt_encoding *out, struct pt_error *err)
{
	const struct pt_bpe *m = data;
	struct scratch *s = scratch;
	int status;

	if (m->ignore_merges) {
		int32_t id = whole(m, v, s, w, n);

		if (id >= 0)
			return pt_encoding_push(out, id, 0, m->raw ? s->key.len : n, err);
	}
	s->measured = out->origin != NULL;
	status = symbols(m, v, s, w, n, err);
	if (status)
		return status;
	if (s->n <= SHORT && !s->measured)
		s->n = merge_short(m, s->id, s->n);
	else
		status = merge_long(m, s, err);
	if (!status)
		status = pt_encoding_reserve(out, out->n + s->n, err);
	if (status)
		return status;
	if (s->n)
		memcpy(out->ids + out->n, s->id, s->n * sizeof *s->id);
	for (size_t i = 0, at = 0; s->measured && i < s->n; at += s->len[i++])
		out->origin[out->n + i] = (struct pt_origin){ at, at + s->len[i], 0 };
	out->n += s->n;
	return 0;
}

static size_t cut(const void *data, const char *w, size_t n)
{
	const struct pt_bpe *m = data;
	static const char bar[] = "\xe2\x96\x81";
	size_t i = 0;

	if (!m->cuts)
		return n;
	/* Past the bars in front, then to the next one. */
	while (n - i >= 3 && memcmp(w + i, bar, 3) == 0)
		i += 3;
	while (i < n) {
		const char *hit = memchr(w + i, bar[0], n - i);

		if (!hit)
			return n;
		i = (size_t)(hit - w);
		if (n - i >= 3 && memcmp(hit, bar, 3) == 0)
			return i ? i : n;
		i++;
	}
	return n;
}

const struct pt_wordmodel pt_wordmodel_bpe = {
	.type = "BPE", .takes_raw = pt_bpe_takes_raw, .load = pt_bpe_load, .free = pt_bpe_free,
	.scratch_new = scratch_new, .scratch_free = scratch_free, .encode = encode, .cut = cut,
};
