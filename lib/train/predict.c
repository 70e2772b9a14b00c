/* SPDX-License-Identifier: MIT */
/*
 * predict.c - records of predictions; see predict.h.
 */
#include "train/predict.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

#define RECORD_BYTES (1u << 20)

void pt_predict_init(struct pt_predict *p, struct pt_writer *w, bool logits, bool loss)
{
	*p = (struct pt_predict){ .w = w, .logits = logits, .loss = loss };
}

void pt_predict_release(struct pt_predict *p)
{
	struct pt_buf *all[] = { &p->index, &p->cls, &p->ids, &p->offsets, &p->probability, &p->logit, &p->losses };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		pt_buf_release(all[i]);
}

static size_t bytes(const struct pt_predict *p)
{
	return p->index.len + p->cls.len + p->ids.len + p->offsets.len + p->probability.len + p->logit.len +
	       p->losses.len;
}

int pt_predict_flush(struct pt_predict *p, struct pt_error *err)
{
	struct pt_buf *all[] = { &p->index, &p->cls, &p->ids, &p->offsets, &p->probability, &p->logit, &p->losses };
	struct pt_predictions x = { .n = p->n, .tokens = p->tokens, .k = p->k, .k_probability = p->k_probability };
	struct pt_st_build b;
	int st = 0;

	if (!p->n)
		return 0;
	for (size_t i = 0; i < sizeof all / sizeof *all && !st; i++)
		st = pt_buf_check(all[i], err);
	if (st)
		return st;
	x.index = (const int64_t *)(const void *)p->index.data;
	if (p->cls.len)
		x.cls = (const int32_t *)(const void *)p->cls.data;
	if (p->offsets.len) {
		x.ids = (const int32_t *)(const void *)p->ids.data;
		x.offsets = (const int64_t *)(const void *)p->offsets.data;
	}
	if (p->probability.len)
		x.probability = (const float *)(const void *)p->probability.data;
	if (p->logit.len)
		x.logits = (const float *)(const void *)p->logit.data;
	if (p->losses.len)
		x.loss = (const float *)(const void *)p->losses.data;
	pt_st_build_init(&b);
	pt_predictions_build(&x, &b);
	st = pt_writer_data(p->w, &b, err);
	pt_st_build_release(&b);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		pt_buf_clear(all[i]);
	p->n = p->tokens = 0;
	return st;
}

static void add_f32(struct pt_buf *b, float v)
{
	pt_buf_add(b, &v, sizeof v);
}

/* Class and probability of a row of logits, or the row itself where the outputs are numbers. */
static int add_row(struct pt_predict *p, const struct pt_evaluator *e, const float *z, struct pt_error *err)
{
	int k = e->feed.o.nlabels;
	enum pt_problem problem = e->feed.o.problem;
	size_t at = p->probability.len;
	float *prob;

	p->k = k;
	if (p->logits || problem == PT_PROBLEM_REGRESSION)
		pt_buf_add(&p->logit, z, (size_t)k * sizeof *z);
	if (problem == PT_PROBLEM_REGRESSION)
		return 0;
	pt_buf_add(&p->probability, z, (size_t)k * sizeof *z);
	if (pt_buf_check(&p->probability, err))
		return err->status;
	prob = (float *)(void *)(p->probability.data + at);
	pt_logits_probability(problem, z, k, prob);
	if (problem == PT_PROBLEM_MULTI) {
		p->k_probability = true;
	} else {
		int32_t c = pt_logits_class(z, k);

		pt_buf_add(&p->cls, &c, sizeof c);
		prob[0] = prob[c];
		p->probability.len = at + sizeof *prob;
	}
	return 0;
}

/* The mean loss of each example of a language model, and its likeliest tokens. */
static void add_tokens(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x)
{
	const struct pt_feed *f = &e->feed;
	int64_t r = 0;

	if (!p->offsets.len)
		pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
	for (int64_t i = 0; i < x->n; i++) {
		double sum = 0;
		int64_t n = 0;

		for (; r < f->rows && f->seq[r] == i; r++, n++) {
			if (e->has_loss)
				sum += (double)e->loss[r];
			if (e->has_best)
				pt_buf_add(&p->ids, &e->best[r], sizeof *e->best);
		}
		p->tokens += e->has_best ? n : 0;
		pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
		if (p->loss)
			add_f32(&p->losses, n ? (float)(sum / (double)n) : 0);
	}
}

/* The best answer of each piece, and its share of the scores of all tokens. */
static void add_answer(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x, int64_t i)
{
	int64_t begin = x->offsets[i], n = x->offsets[i + 1] - begin, from, to;
	double share = pt_measure_answer(x, i, e->logits, &from, &to);

	if (!p->offsets.len)
		pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
	n = from ? to - from + 1 : 0;
	pt_buf_add(&p->ids, x->input_ids + begin + from, (size_t)n * sizeof *x->input_ids);
	p->tokens += n;
	pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
	add_f32(&p->probability, (float)share);
	if (p->loss)
		add_f32(&p->losses, e->has_loss ? e->loss[i] : 0);
}

static int add_answers(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x)
{
	for (int64_t i = 0; i < x->n; i++) {
		pt_buf_add(&p->index, &x->index[i], sizeof *x->index);
		add_answer(p, e, x, i);
	}
	return 0;
}

static int add_embeddings(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x)
{
	p->k = e->width;
	pt_buf_add(&p->index, x->index, (size_t)x->n * sizeof *x->index);
	pt_buf_add(&p->logit, e->embedding, (size_t)(x->n * e->width) * sizeof *e->embedding);
	return 0;
}

static int add_examples(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
			struct pt_error *err)
{
	int k = e->feed.o.nlabels;

	for (int64_t i = 0; i < x->n; i++) {
		pt_buf_add(&p->index, &x->index[i], sizeof *x->index);
		if (!e->has_logits)
			continue;
		if (add_row(p, e, e->logits + i * k, err))
			return err->status;
		if (p->loss)
			add_f32(&p->losses, e->has_loss ? e->loss[i] : 0);
	}
	if (!e->has_logits)
		add_tokens(p, e, x);
	return 0;
}

int pt_predict_add(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	int st;

	if (e->has_embedding)
		st = add_embeddings(p, e, x);
	else if (e->feed.o.task == PT_TASK_QA && e->has_logits)
		st = add_answers(p, e, x);
	else
		st = add_examples(p, e, x, err);
	p->n += x->n;
	return st ? st : bytes(p) >= RECORD_BYTES ? pt_predict_flush(p, err) : 0;
}
