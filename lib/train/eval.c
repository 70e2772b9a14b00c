/* SPDX-License-Identifier: MIT */
/*
 * eval.c - evaluation; see eval.h.
 */
#include "train/eval.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "train/loss.h"

int pt_evaluator_init(struct pt_evaluator *e, struct pt_run *run, struct pt_model *model,
		      const struct pt_feed_options *o, struct pt_error *err)
{
	memset(e, 0, sizeof *e);
	e->run = run;
	e->model = model;
	e->argmax = true;
	if (pt_feed_init(&e->feed, o, err) || pt_measure_init(&e->measure, o, err))
		return err->status;
	return 0;
}

void pt_evaluator_release(struct pt_evaluator *e)
{
	pt_feed_release(&e->feed);
	pt_measure_release(&e->measure);
	free(e->loss);
	free(e->logits);
	free(e->best);
	free(e->embedding);
	memset(e, 0, sizeof *e);
}

static int read_results(struct pt_evaluator *e, const struct pt_loss *l, struct pt_error *err)
{
	struct pt_device *dev = e->run->dev;
	size_t rows = (size_t)e->feed.rows;

	e->has_loss = l->value && e->feed.labelled;
	e->has_logits = l->logits != NULL;
	e->has_best = l->argmax != NULL;
	e->has_embedding = l->embedding != NULL;
	e->has_router = l->router != NULL;
	if (e->has_loss && (pt_grow(&e->loss, &e->cap_loss, rows, sizeof *e->loss, err) ||
			    pt_tensor_read(e->run, l->value, e->loss, err)))
		return err->status;
	if (e->has_logits && (pt_grow(&e->logits, &e->cap_logits, (size_t)pt_tensor_count(l->logits),
				      sizeof *e->logits, err) ||
			      pt_tensor_read(e->run, l->logits, e->logits, err)))
		return err->status;
	if (e->has_router && pt_tensor_read(e->run, l->router, &e->router, err))
		return err->status;
	if (e->has_embedding) {
		e->width = (int)l->embedding->shape[1];
		if (pt_grow(&e->embedding, &e->cap_embedding, (size_t)pt_tensor_count(l->embedding),
			    sizeof *e->embedding, err) ||
		    pt_tensor_read(e->run, l->embedding, e->embedding, err))
			return err->status;
	}
	if (e->has_best && (pt_grow(&e->best, &e->cap_best, rows, sizeof *e->best, err) ||
			    dev->download(dev, e->best, l->argmax, rows * sizeof *e->best, err)))
		return err->status;
	return 0;
}

int pt_evaluator_add(struct pt_evaluator *e, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_loss l;

	pt_run_reset(e->run);
	e->run->record = false;
	e->run->train = false;
	if (pt_feed_fill(&e->feed, e->run, x, err) ||
	    pt_loss_forward(e->run, e->model, &e->feed, e->argmax, &l, err) || read_results(e, &l, err))
		return err->status;
	return pt_measure_add(&e->measure, &e->feed, e->has_loss ? e->loss : NULL, e->has_logits ? e->logits : NULL,
			      e->has_best ? e->best : NULL, e->has_router ? &e->router : NULL, err);
}

int pt_evaluator_stream(struct pt_evaluator *e, struct pt_reader *r, int (*stop)(void *), void *arg,
			struct pt_error *err)
{
	const struct pt_record *rec;
	struct pt_examples x;

	for (;;) {
		if (stop && stop(arg))
			return pt_error(err, PT_STOPPED, "stopped while evaluating");
		if (pt_reader_data(r, &rec, err))
			return err->status;
		if (!rec)
			return 0;
		if (pt_examples_view(&x, PT_KIND_BATCH, &rec->st, err) || pt_evaluator_add(e, &x, err))
			return err->status;
	}
}
