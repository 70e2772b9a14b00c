/* SPDX-License-Identifier: MIT */
/*
 * store.c - see store.h.
 */
#include "data/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pt_store_init(struct pt_store *s, bool keep, bool shift, uint32_t have, size_t memory)
{
	memset(s, 0, sizeof *s);
	s->keep = keep;
	s->shift = shift;
	s->have = have;
	pt_spool_init(&s->spool, memory);
}

void pt_store_release(struct pt_store *s)
{
	for (int64_t i = 0; s->blob && i < s->n; i++)
		pt_buf_release(&s->blob[i]);
	free(s->blob);
	free(s->unused);
	free(s->at);
	free(s->len);
	free(s->loss);
	free(s->decoder_len);
	free(s->weight);
	free(s->group);
	free(s->next);
	pt_spool_release(&s->spool);
	pt_buf_release(&s->scratch);
	memset(s, 0, sizeof *s);
}

static int64_t learned(const int32_t *labels, int64_t from, int64_t to)
{
	int64_t n = 0;

	for (int64_t t = from; t < to; t++)
		n += labels[t] != -100;
	return n;
}

/* Tokens of example i that have a loss. */
static int64_t count_loss(const struct pt_store *s, const struct pt_examples *x, int64_t i)
{
	const int64_t *o = x->offsets, *d = x->decoder_offsets;

	if (x->decoder_ids)
		return x->decoder_labels ? learned(x->decoder_labels, d[i], d[i + 1]) : d[i + 1] - d[i];
	if (!x->labels || o[i] == o[i + 1])
		return 0;
	return learned(x->labels, o[i] + s->shift, o[i + 1]);
}

static int grow(struct pt_store *s, const struct pt_examples *x, struct pt_error *err)
{
	size_t n = (size_t)s->n + 1;

	if (pt_grow(&s->len, &s->cap.len, n, sizeof *s->len, err) ||
	    pt_grow(&s->loss, &s->cap.loss, n, sizeof *s->loss, err) ||
	    (s->keep && pt_grow(&s->at, &s->cap.at, n + 1, sizeof *s->at, err)) ||
	    (!s->keep && pt_grow(&s->blob, &s->cap.blob, n, sizeof *s->blob, err)) ||
	    (!s->keep && pt_grow(&s->unused, &s->cap.unused, n, sizeof *s->unused, err)) ||
	    (x->decoder_ids && pt_grow(&s->decoder_len, &s->cap.decoder_len, n, sizeof *s->decoder_len, err)) ||
	    (x->weight && pt_grow(&s->weight, &s->cap.weight, n, sizeof *s->weight, err)) ||
	    (x->group && pt_grow(&s->group, &s->cap.group, n, sizeof *s->group, err)) ||
	    (x->group && pt_grow(&s->next, &s->cap.next, n, sizeof *s->next, err)))
		return err->status;
	return 0;
}

int pt_store_add(struct pt_store *s, const struct pt_examples *x, int64_t i, int64_t *id, struct pt_error *err)
{
	struct pt_buf *b;
	uint64_t at;
	int64_t k;

	if (!s->nunused && grow(s, x, err))
		return err->status;
	k = s->nunused ? s->unused[s->nunused - 1] : s->n;
	if (!s->keep && !s->nunused)
		s->blob[k] = (struct pt_buf)PT_BUF_INIT;
	b = s->keep ? &s->scratch : &s->blob[k];
	pt_buf_clear(b);
	pt_gather_pack(b, s->have, x, i);
	if (pt_buf_check(b, err))
		return err->status;
	if (s->keep) {
		if (pt_spool_add(&s->spool, b->data, b->len, &at, err))
			return err->status;
		s->at[k] = at;
		s->at[k + 1] = at + b->len;
	}
	/* A record has less than 2^28 tokens. */
	s->len[k] = (uint32_t)(x->offsets[i + 1] - x->offsets[i]);
	s->loss[k] = (uint32_t)count_loss(s, x, i);
	if (x->decoder_ids)
		s->decoder_len[k] = (uint32_t)(x->decoder_offsets[i + 1] - x->decoder_offsets[i]);
	if (x->weight)
		s->weight[k] = x->weight[i];
	if (x->group) {
		s->group[k] = x->group[i];
		s->next[k] = -1;
	}
	if (s->nunused)
		s->nunused--;
	else
		s->n++;
	*id = k;
	return 0;
}

void pt_store_chain(struct pt_store *s, int64_t last, int64_t id)
{
	s->next[last] = id;
}

struct member {
	int64_t group, id;
};

static int by_group(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Chain equal groups; marks[id] is set for all but the first of each. */
static int chain_groups(struct pt_store *s, bool *marks, struct pt_error *err)
{
	struct member *m = pt_malloc((size_t)s->n, sizeof *m, err);

	if (!m)
		return err->status;
	for (int64_t i = 0; i < s->n; i++)
		m[i] = (struct member){ s->group[i], i };
	qsort(m, (size_t)s->n, sizeof *m, by_group);
	for (int64_t i = 1; i < s->n; i++) {
		if (m[i].group != m[i - 1].group)
			continue;
		pt_store_chain(s, m[i - 1].id, m[i].id);
		marks[m[i].id] = true;
	}
	free(m);
	return 0;
}

int pt_store_group(struct pt_store *s, int64_t **units, int64_t *nunits, struct pt_error *err)
{
	bool *marks = pt_calloc((size_t)s->n, sizeof *marks, err);
	int status;

	*nunits = 0;
	*units = pt_malloc((size_t)s->n, sizeof **units, err);
	status = marks && *units ? 0 : err->status;
	if (!status && s->group)
		status = chain_groups(s, marks, err);
	for (int64_t i = 0; !status && i < s->n; i++)
		if (!marks[i])
			(*units)[(*nunits)++] = i;
	free(marks);
	return status;
}

void pt_extent_add(struct pt_extent *sum, const struct pt_extent *e)
{
	sum->examples += e->examples;
	sum->tokens += e->tokens;
	sum->decoder_tokens += e->decoder_tokens;
	if (e->len > sum->len)
		sum->len = e->len;
	if (e->decoder_len > sum->decoder_len)
		sum->decoder_len = e->decoder_len;
	sum->loss += e->loss;
	sum->weight += e->weight;
}

void pt_store_extent(const struct pt_store *s, int64_t unit, struct pt_extent *e)
{
	*e = (struct pt_extent){ 0 };
	for (int64_t i = unit; i >= 0; i = s->next ? s->next[i] : -1) {
		int64_t len = s->len[i], d = s->decoder_len ? s->decoder_len[i] : 0;
		struct pt_extent one = { 1, len, d, len, d, s->loss[i], s->weight ? s->weight[i] : 1 };

		pt_extent_add(e, &one);
	}
}

int pt_store_peek(struct pt_store *s, int64_t unit, struct pt_gather *g, struct pt_error *err)
{
	for (int64_t i = unit; i >= 0; i = s->next ? s->next[i] : -1) {
		const void *data = s->keep ? NULL : s->blob[i].data;

		if (s->keep && pt_spool_get(&s->spool, s->at[i], (size_t)(s->at[i + 1] - s->at[i]), &data, &s->scratch, err))
			return err->status;
		pt_gather_unpack(g, data);
	}
	return 0;
}

int pt_store_take(struct pt_store *s, int64_t unit, struct pt_gather *g, struct pt_error *err)
{
	if (pt_store_peek(s, unit, g, err))
		return err->status;
	for (int64_t i = unit; !s->keep && i >= 0; i = s->next ? s->next[i] : -1)
		s->unused[s->nunused++] = i;
	return 0;
}
