/* SPDX-License-Identifier: MIT */
/*
 * sequence.c - see sequence.h.
 */
#include "sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int sequence_begin(struct sequence *s, const struct pt_st *head, struct pt_error *err)
{
	s->kind = pt_kind_parse(pt_st_meta(head, "kind"));
	s->n = 0;
	s->examples = 0;
	memset(&s->last, 0, sizeof s->last);
	if (pt_bounds_read(&s->bounds, head, err))
		return err->status;
	return pt_meta_int(pt_st_meta(head, "total_steps"), "total_steps", 0, -1, &s->total_steps, err);
}

static int within(const char *key, int64_t is, int64_t bound, struct pt_error *err)
{
	if (bound >= 0 && is > bound)
		return pt_error(err, PT_DATA, "HEAD promises a %s of %lld, here are %lld", key, (long long)bound,
				(long long)is);
	return 0;
}

/* What peft-step sets memory aside for. */
static int keeps_to_head(struct sequence *s, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_bounds is = pt_bounds_of(x);
	int over = pt_bounds_over(&s->bounds, &is);

	if (over >= 0)
		return within(pt_bounds_key(over), *pt_bounds_at(&is, over), *pt_bounds_at(&s->bounds, over), err);
	return within("total_steps", x->step, s->total_steps, err);
}

static int follows(struct sequence *s, const struct pt_examples *x, struct pt_error *err)
{
	const struct pt_examples *l = &s->last;
	bool first = l->step == 0, same = x->step == l->step;

	if (!first && !(same && x->micro == l->micro + 1) &&
	    !(x->step == l->step + 1 && x->micro == 1 && l->micro == l->micros))
		return pt_error(err, PT_DATA, "micro-batch %lld of %lld of step %lld follows %lld of %lld of step %lld",
				(long long)x->micro, (long long)x->micros, (long long)x->step, (long long)l->micro,
				(long long)l->micros, (long long)l->step);
	if (!first && same && (x->micros != l->micros || x->step_examples != l->step_examples ||
			       x->step_tokens != l->step_tokens || !(x->step_weight == l->step_weight)))
		return pt_error(err, PT_DATA, "micro-batches of step %lld disagree about the whole step",
				(long long)x->step);
	if (!first && x->epoch < l->epoch)
		return pt_error(err, PT_DATA, "epoch %lld follows epoch %lld", (long long)x->epoch, (long long)l->epoch);
	if (x->micro == 1 || first) {
		s->examples = 0;
		s->partial = x->micro != 1;
	}
	s->examples += x->n;
	if (x->micro == x->micros && !s->partial && s->examples != x->step_examples)
		return pt_error(err, PT_DATA, "step %lld has %lld examples, step_examples says %lld",
				(long long)x->step, (long long)s->examples, (long long)x->step_examples);
	s->last = *x;
	return 0;
}

static int add_keys(struct sequence *s, const int64_t *index, const int32_t *draw, int64_t epoch, int64_t n,
		    struct pt_error *err)
{
	if (pt_grow(&s->key, &s->cap, s->n + (size_t)n, sizeof *s->key, err))
		return err->status;
	for (int64_t i = 0; i < n; i++)
		s->key[s->n++] = (struct sequence_key){ epoch, draw ? draw[i] : 0, index[i] };
	return 0;
}

int sequence_record(struct sequence *s, const struct pt_record *rec, struct pt_error *err)
{
	struct pt_predictions p;
	struct pt_examples x;

	switch (s->kind) {
	case PT_KIND_EXAMPLES:
		if (pt_examples_view(&x, s->kind, &rec->st, err))
			return err->status;
		return add_keys(s, x.index, NULL, 0, x.n, err);
	case PT_KIND_BATCH:
		if (pt_examples_view(&x, s->kind, &rec->st, err) || follows(s, &x, err) || keeps_to_head(s, &x, err))
			return err->status;
		return add_keys(s, x.index, x.draw, x.epoch, x.n, err);
	case PT_KIND_PREDICTIONS:
		if (pt_predictions_view(&p, &rec->st, err))
			return err->status;
		return add_keys(s, p.index, NULL, 0, p.n, err);
	default:
		return 0;
	}
}

static int by_key(const void *a, const void *b)
{
	const struct sequence_key *x = a, *y = b;

	if (x->epoch != y->epoch)
		return x->epoch < y->epoch ? -1 : 1;
	if (x->draw != y->draw)
		return x->draw < y->draw ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

int sequence_end(struct sequence *s, const struct pt_st *end, struct pt_error *err)
{
	if (s->kind == PT_KIND_BATCH && s->total_steps > s->last.step && !pt_st_meta(end, "limited"))
		return pt_error(err, PT_DATA, "HEAD promises %lld steps, the last one is %lld",
				(long long)s->total_steps, (long long)s->last.step);
	if (s->n)
		qsort(s->key, s->n, sizeof *s->key, by_key);
	for (size_t i = 1; i < s->n; i++)
		if (!by_key(&s->key[i - 1], &s->key[i]))
			return pt_error(err, PT_DATA, "two examples have the index %lld", (long long)s->key[i].index);
	return 0;
}

void sequence_release(struct sequence *s)
{
	free(s->key);
	s->key = NULL;
	s->n = s->cap = 0;
}
