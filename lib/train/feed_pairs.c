/* SPDX-License-Identifier: MIT */
/*
 * feed_pairs.c - targets that are places: the first and the last token of an
 * answer; and sets of texts, of which each anchor is to be nearest to its own.
 *
 * The candidates of an anchor are the positives of all sets of the micro-batch,
 * in their order, and behind them all negatives (multiple negatives ranking,
 * Henderson et al. 2017). Where pairs have scores each is learned alone.
 */
#include "train/feed_priv.h"

#include <stdlib.h>

#include "base/mem.h"

void pt_feed_pairs_release(struct pt_feed_pairs *p)
{
	free(p->a);
	free(p->b);
	memset(p, 0, sizeof *p);
}

int pt_feed_spans(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;

	if (pt_grow(&p->b, &p->cap_b, 2 * (size_t)x->n + 1, sizeof *p->b, err))
		return err->status;
	f->labelled = x->span != NULL;
	p->n = x->n;
	p->k = 2;
	for (int64_t i = 0; i < 2 * x->n; i++)
		p->b[i] = x->span ? (int32_t)x->span[i] : -1;
	return 0;
}

/* The end of the set that begins at example i. */
static int64_t set_end(const struct pt_examples *x, int64_t i)
{
	int64_t g = x->group[i];

	while (i < x->n && x->group[i] == g)
		i++;
	return i;
}

static float share(const struct pt_examples *x, int64_t i)
{
	return x->step_weight > 0 ? (float)((double)x->weight[i] / x->step_weight) : 0;
}

/* Pairs with scores: a row each. */
static int scored_pairs(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;

	for (int64_t i = 0, end; i < x->n; i = end) {
		end = set_end(x, i);
		if (end - i != 2)
			return pt_error(err, PT_DATA, "example %lld: a set of %lld texts has a score; a score is for two",
					(long long)x->index[i], (long long)(end - i));
		p->a[p->n] = (int32_t)i;
		p->b[p->n] = (int32_t)i + 1;
		f->target[p->n] = x->target[i * x->k];
		f->weight[p->n++] = share(x, i);
	}
	p->k = p->n ? 1 : 0;
	return 0;
}

/* Anchors and all candidates; sets of one text have nothing to learn. */
static int ranked_sets(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;
	int64_t sets = 0, k = 0;
	int32_t *b;

	for (int64_t i = 0, end; i < x->n; i = end) {
		end = set_end(x, i);
		if (end - i < 2)
			continue;
		p->a[sets] = (int32_t)i;
		f->label[sets] = (int32_t)sets;
		f->weight[sets++] = share(x, i);
		k += end - i - 1;
	}
	if (pt_grow(&p->b, &p->cap_b, (size_t)(sets * k) + 1, sizeof *p->b, err))
		return err->status;
	p->n = sets;
	p->k = k;
	b = p->b;
	for (int64_t s = 0; s < sets; s++)
		*b++ = p->a[s] + 1;
	for (int64_t s = 0; s < sets; s++)
		for (int64_t i = p->a[s] + 2; i < set_end(x, p->a[s]); i++)
			*b++ = (int32_t)i;
	for (int64_t s = 1; s < sets; s++)
		memcpy(p->b + s * k, p->b, (size_t)k * sizeof *p->b);
	return 0;
}

int pt_feed_sets(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;
	size_t room = (size_t)x->n + 1;

	p->n = p->k = 0;
	p->scored = x->target != NULL;
	if (!x->group || !x->weight)
		return pt_error(err, PT_DATA, "the stream has no sets of texts: no %s (--task contrastive of peft-tokenize)",
				x->group ? "weight" : "group");
	if (pt_grow(&p->a, &p->cap_a, room, sizeof *p->a, err) || pt_grow(&p->b, &p->cap_b, room, sizeof *p->b, err) ||
	    (p->scored ? scored_pairs(f, x, err) : ranked_sets(f, x, err)))
		return err->status;
	f->rows = p->n;
	f->labelled = p->n > 0;
	return 0;
}

/* The most products that so many texts can have: half of them anchors, all others candidates. */
int pt_feed_sets_plan(struct pt_feed *f, int64_t seqs, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;

	p->n = seqs > 1 ? seqs / 2 : 1;
	p->k = seqs > 1 ? seqs - p->n : 1;
	p->scored = false;
	if (pt_grow(&p->a, &p->cap_a, (size_t)p->n, sizeof *p->a, err) ||
	    pt_grow(&p->b, &p->cap_b, (size_t)(p->n * p->k), sizeof *p->b, err))
		return err->status;
	memset(p->a, 0, (size_t)p->n * sizeof *p->a);
	memset(p->b, 0, (size_t)(p->n * p->k) * sizeof *p->b);
	f->rows = p->n;
	return 0;
}

void pt_feed_pairs_upload(struct pt_feed *f, struct pt_run *run)
{
	struct pt_feed_pairs *p = &f->pairs;

	p->d_a = pt_run_upload(run, p->a, (size_t)p->n * sizeof *p->a);
	p->d_b = pt_run_upload(run, p->b, (size_t)(p->n * p->k) * sizeof *p->b);
}
