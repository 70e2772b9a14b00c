/* SPDX-License-Identifier: MIT */
/*
 * predict.c - records of predictions; see predict.h.
 */
#include "train/predict.h"

#include "train/objective.h"

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

void pt_predict_index(struct pt_predict *p, const struct pt_examples *x)
{
	pt_buf_add(&p->index, x->index, (size_t)x->n * sizeof *x->index);
}

void pt_predict_ids(struct pt_predict *p, const int32_t *ids, int64_t n)
{
	if (!p->offsets.len)
		pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
	if (n)
		pt_buf_add(&p->ids, ids, (size_t)n * sizeof *ids);
	p->tokens += n;
	pt_buf_add(&p->offsets, &p->tokens, sizeof p->tokens);
}

void pt_predict_loss(struct pt_predict *p, float loss)
{
	pt_buf_add(&p->losses, &loss, sizeof loss);
}

int pt_predict_add(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	int st = e->feed.of->predict(p, e, x, err);

	p->n += x->n;
	return st ? st : bytes(p) >= RECORD_BYTES ? pt_predict_flush(p, err) : 0;
}
