/* SPDX-License-Identifier: MIT */
/*
 * mask.c - see mask.h.
 */
#include "data/mask.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"

static int by_id(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

static int read_special(struct pt_mask *m, const char *text, struct pt_error *err)
{
	cJSON *list = pt_json_parse(text, strlen(text), 0, "special_ids", err);
	int64_t id;

	for (const cJSON *v = list ? list->child : NULL; v && !err->status; v = v->next)
		if (!pt_json_to_int(v, 0, m->vocab - 1, &id, err) &&
		    !pt_grow(&m->special, &m->cap_special, m->nspecial + 1, sizeof *m->special, err))
			m->special[m->nspecial++] = (int32_t)id;
	if (m->nspecial)
		qsort(m->special, m->nspecial, sizeof *m->special, by_id);
	pt_json_free(list);
	return err->status ? pt_error_prefix(err, "special_ids") : 0;
}

int pt_mask_init(struct pt_mask *m, const struct pt_mask_options *o, const struct pt_st *head, struct pt_error *err)
{
	const char *id = pt_st_meta(head, "mask_id"), *vocab = pt_st_meta(head, "vocab_size"),
		   *special = pt_st_meta(head, "special_ids");
	int64_t n, mask;

	memset(m, 0, sizeof *m);
	m->o = *o;
	if (!id)
		return 0;
	if (!vocab || !special || pt_meta_int(vocab, "vocab_size", 1, 0, &n, err) || n > INT32_MAX ||
	    pt_meta_int(id, "mask_id", 0, 0, &mask, err) || mask >= n) {
		pt_error_clear(err);
		return pt_error(err, PT_DATA, "HEAD's mask_id, special_ids and vocab_size do not make sense");
	}
	m->on = true;
	m->id = (int32_t)mask;
	m->vocab = (int32_t)n;
	return read_special(m, special, err);
}

void pt_mask_release(struct pt_mask *m)
{
	free(m->special);
	free(m->ids);
	free(m->labels);
	memset(m, 0, sizeof *m);
}

static uint64_t key_of(const struct pt_mask *m, const struct pt_examples *x, int64_t i)
{
	uint64_t key = pt_rng_mix(pt_rng_mix_str(m->o.seed, "mask"), (uint64_t)x->epoch);

	key = pt_rng_mix(key, (uint64_t)x->index[i]);
	return pt_rng_mix(key, (uint64_t)(x->draw ? x->draw[i] : 0));
}

/* The i-th number of key in [0, 1), with 53 bits. */
static double number(uint64_t key, uint64_t i)
{
	return (double)pt_rng_below(key, i, 1ull << 53) * 0x1p-53;
}

/* Three numbers a position: is it learned, what stands there, which id. */
static bool is_learned(const struct pt_mask *m, const struct pt_examples *x, int64_t t, uint64_t key, uint64_t pos)
{
	int32_t id = x->input_ids[t];

	bool special = m->nspecial && bsearch(&id, m->special, m->nspecial, sizeof id, by_id);

	return !special && number(key, 3 * pos) < m->o.prob;
}

int64_t pt_mask_count(const struct pt_mask *m, const struct pt_examples *x, int64_t i)
{
	uint64_t key = key_of(m, x, i);
	int64_t n = 0;

	for (int64_t t = x->offsets[i]; t < x->offsets[i + 1]; t++)
		n += is_learned(m, x, t, key, (uint64_t)(t - x->offsets[i]));
	return n;
}

int pt_mask_apply(struct pt_mask *m, struct pt_examples *x, int64_t *learned, struct pt_error *err)
{
	size_t n = (size_t)x->tokens;

	*learned = 0;
	if (pt_grow(&m->ids, &m->cap_ids, n + 1, sizeof *m->ids, err) ||
	    pt_grow(&m->labels, &m->cap_labels, n + 1, sizeof *m->labels, err))
		return err->status;
	memcpy(m->ids, x->input_ids, n * sizeof *m->ids);
	for (int64_t i = 0; i < x->n; i++) {
		uint64_t key = key_of(m, x, i);

		for (int64_t t = x->offsets[i]; t < x->offsets[i + 1]; t++) {
			uint64_t pos = (uint64_t)(t - x->offsets[i]);
			double what = number(key, 3 * pos + 1);

			m->labels[t] = -100;
			if (!is_learned(m, x, t, key, pos))
				continue;
			m->labels[t] = x->input_ids[t];
			++*learned;
			if (what < m->o.replace)
				m->ids[t] = m->id;
			else if (what < m->o.replace + m->o.random)
				m->ids[t] = (int32_t)pt_rng_below(key, 3 * pos + 2, (uint64_t)m->vocab);
		}
	}
	x->input_ids = m->ids;
	x->labels = m->labels;
	return 0;
}
