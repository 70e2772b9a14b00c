/* SPDX-License-Identifier: MIT */
/*
 * bpe_load.c - a BPE model out of a tokenizer.json.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/bpe.h"
#include "text/bytelevel.h"
#include "text/utf8.h"

bool pt_bpe_takes_raw(const cJSON *model)
{
	const cJSON *prefix = pt_json_get(model, "continuing_subword_prefix");
	const cJSON *suffix = pt_json_get(model, "end_of_word_suffix");

	return !(cJSON_IsString(prefix) && *prefix->valuestring) && !(cJSON_IsString(suffix) && *suffix->valuestring) &&
	       !cJSON_IsTrue(pt_json_get(model, "byte_fallback"));
}

/* An option that is a string, absent where it is empty. */
static int option(const cJSON *j, const char *key, bool empty, char **out, struct pt_error *err)
{
	const char *s;
	int status = pt_json_str(j, key, NULL, &s, err);

	if (status || !s || (!*s && !empty))
		return status;
	*out = pt_strdup(s, err);
	return *out ? 0 : PT_FAIL;
}

static int options(struct pt_bpe *m, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	double dropout;
	int status;

	if ((status = pt_json_double(j, "dropout", 0, &dropout, err)) ||
	    (status = pt_json_bool(j, "fuse_unk", false, &m->fuse_unk, err)) ||
	    (status = pt_json_bool(j, "byte_fallback", false, &m->byte_fallback, err)) ||
	    (status = pt_json_bool(j, "ignore_merges", false, &m->ignore_merges, err)) ||
	    (status = option(j, "unk_token", true, &m->unk, err)) ||
	    (status = option(j, "continuing_subword_prefix", false, &m->prefix, err)) ||
	    (status = option(j, "end_of_word_suffix", false, &m->suffix, err)))
		return status;
	/* Random ids have no place in data that must come out the same twice. */
	if (dropout != 0)
		return pt_error(err, PT_DATA, "\"dropout\" is not supported; set it to null");
	pt_hash_str(h, m->unk ? m->unk : "");
	pt_hash_str(h, m->prefix ? m->prefix : "");
	pt_hash_str(h, m->suffix ? m->suffix : "");
	pt_hash_u64(h, (uint64_t)((m->unk != NULL) | m->fuse_unk << 1 | m->byte_fallback << 2 | m->ignore_merges << 3));
	return 0;
}

static int grow(struct pt_bpe *m, size_t slots, struct pt_error *err)
{
	struct pt_bpe_merge *old = m->merge;
	size_t n = m->slots;

	m->merge = pt_malloc(slots, sizeof *m->merge, err);
	if (!m->merge) {
		m->merge = old;
		return PT_FAIL;
	}
	memset(m->merge, 0xff, slots * sizeof *m->merge);
	m->slots = slots;
	m->shift = 64 - __builtin_ctzll(slots);
	for (size_t k = 0; k < n; k++) {
		size_t i = (size_t)((old[k].pair * 0x9e3779b97f4a7c15u) >> m->shift);

		if (old[k].pair == PT_BPE_FREE)
			continue;
		while (m->merge[i].pair != PT_BPE_FREE)
			i = (i + 1) & (slots - 1);
		m->merge[i] = old[k];
	}
	free(old);
	return 0;
}

/* Of a pair that stands there twice the last rank counts. */
static int put(struct pt_bpe *m, size_t count, int32_t a, int32_t b, uint32_t rank, int32_t id, struct pt_error *err)
{
	struct pt_bpe_merge *known;
	size_t i;

	if (2 * (count + 1) > m->slots && grow(m, m->slots ? 2 * m->slots : 1024, err))
		return PT_FAIL;
	known = (struct pt_bpe_merge *)pt_bpe_find(m, a, b);
	if (known) {
		known->rank = rank;
		return 0;
	}
	i = (size_t)((((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u) >> m->shift);
	while (m->merge[i].pair != PT_BPE_FREE)
		i = (i + 1) & (m->slots - 1);
	m->merge[i] = (struct pt_bpe_merge){ (uint64_t)(uint32_t)a << 32 | (uint32_t)b, rank, id };
	return 0;
}

/* The two parts of one merge, as they stand behind one another in text. */
struct parts {
	struct pt_buf text;
	size_t na, nb, b;	/* b: where the second begins */
	int32_t last;		/* result of the merge before: those of a trained model count up */
};

/* The id of the first n bytes of p->text. */
static int32_t result(const struct pt_vocab *v, const struct parts *p, size_t n)
{
	size_t len;
	const char *s = pt_vocab_token(v, p->last + 1, &len);

	if (s && len == n && memcmp(s, p->text.data, n) == 0)
		return p->last + 1;
	return pt_vocab_id(v, p->text.data, n);
}

static int missing(const struct parts *p, size_t rank, const char *what, struct pt_error *err)
{
	struct pt_buf shown = PT_BUF_INIT;

	pt_buf_printable(&shown, p->text.data, p->na < 100 ? p->na : 100);
	pt_buf_char(&shown, ' ');
	pt_buf_printable(&shown, p->text.data + p->b, p->nb < 100 ? p->nb : 100);
	pt_error(err, PT_DATA, "model.merges[%zu] (%s): %s is not in the vocabulary", rank,
		 shown.data ? shown.data : "", what);
	pt_buf_release(&shown);
	return PT_DATA;
}

static int add_merge(struct pt_bpe *m, const struct pt_vocab *v, struct parts *p, size_t rank, struct pt_error *err)
{
	size_t skip = m->prefix ? strlen(m->prefix) : 0;
	int32_t a = pt_vocab_id(v, p->text.data, p->na), b = pt_vocab_id(v, p->text.data + p->b, p->nb), id;

	if (a < 0)
		return missing(p, rank, "the first part", err);
	if (b < 0)
		return missing(p, rank, "the second part", err);
	/* The result: without what stands between, and without the prefix of the second. */
	if (skip > p->nb)
		return pt_error(err, PT_DATA, "model.merges[%zu]: the second part is shorter than "
				"\"continuing_subword_prefix\"", rank);
	memmove(p->text.data + p->na, p->text.data + p->b + skip, p->nb - skip);
	id = p->last = result(v, p, p->na + p->nb - skip);
	if (id < 0)
		return pt_error(err, PT_DATA, "model.merges[%zu]: the result \"%.*s\" is not in the vocabulary", rank,
				(int)(p->na + p->nb - skip < 100 ? p->na + p->nb - skip : 100), p->text.data);
	return put(m, rank, a, b, (uint32_t)rank, id, err);
}

/* "a b" or ["a", "b"] at w; false in *is_merge for a line that is none. */
static int read_parts(struct pt_walk *w, struct parts *p, size_t rank, bool pairs, bool *is_merge,
		      struct pt_error *err)
{
	const char *space, *end;
	struct pt_walk outer;
	bool more;
	int status;

	*is_merge = true;
	pt_buf_clear(&p->text);
	if (pairs) {
		if ((status = pt_span_enter(w, &outer, err)) || (status = pt_span_next(w, &more, err)))
			return status;
		status = pt_span_string(w, &p->text, err);
		p->na = p->b = p->text.len;
		if (status || (status = pt_span_next(w, &more, err)) || (status = pt_span_string(w, &p->text, err)) ||
		    (status = pt_span_next(w, &more, err)))
			return status;
		p->nb = p->text.len - p->b;
		pt_span_leave(w, &outer);
		return more ? pt_error(err, PT_DATA, "model.merges[%zu] has more than two parts", rank)
			    : pt_buf_check(&p->text, err);
	}
	status = pt_span_string(w, &p->text, err);
	if (!status)
		status = pt_buf_check(&p->text, err);
	if (status)
		return status;
	end = p->text.data + p->text.len;
	if (p->text.len >= 8 && memcmp(p->text.data, "#version", 8) == 0) {
		*is_merge = false;
		return 0;
	}
	space = p->text.len ? memchr(p->text.data, ' ', p->text.len) : NULL;
	if (!space || memchr(space + 1, ' ', (size_t)(end - space - 1)))
		return pt_error(err, PT_DATA, "model.merges[%zu]: two parts with one space between expected", rank);
	p->na = (size_t)(space - p->text.data);
	p->b = p->na + 1;
	p->nb = p->text.len - p->b;
	return 0;
}

static int read_merges(struct pt_bpe *m, const struct pt_vocab *v, struct pt_span span, struct pt_hash *h,
		       struct pt_error *err)
{
	struct parts p = { .text = PT_BUF_INIT, .last = -1 };
	struct pt_walk w;
	bool more, is_merge, pairs = false;
	size_t rank = 0;
	int status = grow(m, 1024, err);

	if (!status)
		status = pt_span_open(&w, span, "merges", '[', err);
	while (!status) {
		status = pt_span_next(&w, &more, err);
		if (status || !more)
			break;
		if (rank == 0)
			pairs = pt_span_at(&w, '[');
		if (rank == INT32_MAX)
			status = pt_error(err, PT_DATA, "model.merges is too long");
		else
			status = read_parts(&w, &p, rank, pairs, &is_merge, err);
		if (status || !is_merge)
			continue;
		pt_hash_u64(h, p.na);
		pt_hash_add(h, p.text.data, p.na);
		pt_hash_u64(h, p.nb);
		pt_hash_add(h, p.text.data + p.b, p.nb);
		status = add_merge(m, v, &p, rank++, err);
	}
	pt_buf_release(&p.text);
	return status;
}

/* Ids of single characters, of bytes, of the unknown token. */
static void tables(struct pt_bpe *m, const struct pt_vocab *v)
{
	char s[8];

	for (uint32_t c = 0; c < PT_BPE_LOW; c++)
		m->low[c] = pt_vocab_id(v, s, pt_utf8_put(m->raw && c < 256 ? pt_bytelevel_char((uint8_t)c) : c, s));
	for (int b = 0; b < 256; b++) {
		snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
		m->byte[b] = pt_vocab_id(v, s, 6);
	}
	m->unk_id = m->unk ? pt_vocab_id(v, m->unk, strlen(m->unk)) : -1;
}

/* Whether words may be cut in front of every U+2581 that stands behind another character. */
static bool can_cut(const struct pt_bpe *m, const struct pt_vocab *v)
{
	static const char bar[] = "\xe2\x96\x81";

	if (m->raw || m->prefix || m->suffix || pt_vocab_id(v, bar, 3) < 0)
		return false;
	for (int32_t i = 0; i < v->count; i++) {
		const char *s = v->pool.data + v->token[i].off, *end = s + v->token[i].n;

		for (const char *at = s; (size_t)(end - at) > 3 && (at = memchr(at + 1, bar[0], (size_t)(end - at) - 1));)
			if (end - at >= 3 && memcmp(at, bar, 3) == 0 && (at - s < 3 || memcmp(at - 3, bar, 3) != 0))
				return false;
	}
	return true;
}

int pt_bpe_load(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		struct pt_error *err)
{
	struct pt_bpe *m = pt_calloc(1, sizeof *m, err);
	int status;

	if (!m)
		return PT_FAIL;
	m->raw = raw;
	if ((status = options(m, f->model, h, err)) || (status = pt_vocab_read(v, f->vocab, err)) ||
	    (status = read_merges(m, v, f->merges, h, err))) {
		pt_bpe_free(m);
		return status;
	}
	tables(m, v);
	m->cuts = can_cut(m, v);
	*data = m;
	return 0;
}

void pt_bpe_free(void *data)
{
	struct pt_bpe *m = data;

	if (!m)
		return;
	free(m->merge);
	free(m->prefix);
	free(m->suffix);
	free(m->unk);
	free(m);
}
