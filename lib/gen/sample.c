/* SPDX-License-Identifier: MIT */
/*
 * sample.c - the next token from logits; see sample.h.
 */
#include "gen/sample.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

struct pt_sample_entry {
	double p;		/* logit over temperature, then its exponential */
	int32_t id;
};

int pt_sampler_init(struct pt_sampler *s, const struct pt_sampling *cfg, int64_t vocab,
		    struct pt_error *err)
{
	*s = (struct pt_sampler){ .cfg = *cfg, .vocab = vocab };
	if (!(cfg->temperature >= 0) || !isfinite(cfg->temperature))
		return pt_error(err, PT_USAGE, "temperature %g: it is 0 (greedy) or above", cfg->temperature);
	if (cfg->top_k < 0)
		return pt_error(err, PT_USAGE, "top-k %lld is below 0", (long long)cfg->top_k);
	if (!(cfg->top_p > 0 && cfg->top_p <= 1))
		return pt_error(err, PT_USAGE, "top-p %g is not in (0, 1]", cfg->top_p);
	if (cfg->temperature == 0)
		return 0;
	s->entry = pt_calloc((size_t)vocab, sizeof *s->entry, err);
	return s->entry ? 0 : err->status;
}

void pt_sampler_release(struct pt_sampler *s)
{
	free(s->entry);
	s->entry = NULL;
}

static int greedy(const float *logits, int64_t vocab, int32_t *id, struct pt_error *err)
{
	int64_t best = -1;

	for (int64_t i = 0; i < vocab; i++) {
		if (isnan(logits[i]))
			return pt_error(err, PT_NUMERIC, "the logit of token %lld is not a number", (long long)i);
		if (logits[i] > -INFINITY && (best < 0 || logits[i] > logits[best]))
			best = i;
	}
	if (best < 0)
		return pt_error(err, PT_NUMERIC, "no token has a finite logit");
	*id = (int32_t)best;
	return 0;
}

/* Largest first; of equals the smaller id first, so that the order is total. */
static int descending(const void *a, const void *b)
{
	const struct pt_sample_entry *x = a, *y = b;

	if (x->p != y->p)
		return x->p < y->p ? 1 : -1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Entries that top-k leaves: transformers keeps those that tie with the k-th. */
static int64_t keep_top_k(const struct pt_sample_entry *e, int64_t n, int64_t k)
{
	if (!k || k >= n)
		return n;
	while (k < n && e[k].p == e[k - 1].p)
		k++;
	return k;
}

/* The fewest entries whose probabilities reach top-p; p holds exponentials that add up to sum. */
static int64_t keep_top_p(const struct pt_sample_entry *e, int64_t n, double sum, double top_p)
{
	double got = 0;

	for (int64_t i = 0; i < n; i++) {
		got += e[i].p;
		if (got >= top_p * sum)
			return i + 1;
	}
	return n;
}

int pt_sample(struct pt_sampler *s, const float *logits, uint64_t key, int64_t pos, int32_t *id,
	      struct pt_error *err)
{
	struct pt_sample_entry *e = s->entry;
	int64_t n = s->vocab;
	uint64_t use = pt_rng_mix(pt_rng_mix(s->cfg.seed, key), (uint64_t)pos);
	const uint32_t counter[4] = { 0 };
	uint32_t word[4];
	double top, sum = 0, u;
	int32_t best = 0;
	int st = greedy(logits, n, &best, err);

	*id = best;
	if (st || s->cfg.temperature == 0)
		return st;
	top = (double)logits[best] / s->cfg.temperature;
	for (int64_t i = 0; i < n; i++)
		e[i] = (struct pt_sample_entry){ (double)logits[i] / s->cfg.temperature - top, (int32_t)i };
	/* The whole distribution needs no order. */
	if (s->cfg.top_k || s->cfg.top_p < 1) {
		qsort(e, (size_t)n, sizeof *e, descending);
		n = keep_top_k(e, n, s->cfg.top_k);
	}
	for (int64_t i = 0; i < n; i++) {
		e[i].p = exp(e[i].p);
		sum += e[i].p;
	}
	if (s->cfg.top_p < 1) {
		n = keep_top_p(e, n, sum, s->cfg.top_p);
		sum = 0;
		for (int64_t i = 0; i < n; i++)
			sum += e[i].p;
	}
	pt_rng_block(use, counter, word);
	u = ((double)word[0] + (double)word[1] * 0x1p-32) * 0x1p-32 * sum;
	for (int64_t i = 0; i < n; i++) {
		u -= e[i].p;
		if (u < 0) {
			*id = e[i].id;
			return 0;
		}
	}
	/* Rounding left a rest: the last one that can be drawn. */
	while (n > 1 && e[n - 1].p == 0)
		n--;
	*id = e[n - 1].id;
	return 0;
}
