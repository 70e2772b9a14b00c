/* SPDX-License-Identifier: MIT */
/*
 * objective_tokens.c - a target a token: the id that comes next, that was
 * masked or that a decoder writes (negative log-likelihood, logits never
 * whole), or a class.
 */
#include "train/objective.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "train/feed_priv.h"
#include "train/measure_priv.h"

/*
 * Every labelled token counts alike in the step; weights of examples are
 * relative to their mean.
 */
static int fill(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	double one = x->step_tokens > 0 ? 1 / (double)x->step_tokens : 0;
	double mean = x->step_examples > 0 ? x->step_weight / (double)x->step_examples : 1;
	bool decoder = pt_task_decoder(f->o.task);
	const int32_t *labels = decoder ? f->in.host_decoder_labels : x->labels;
	const int64_t *offsets = decoder ? x->decoder_offsets : x->offsets;
	int64_t shift = pt_task_shifts(f->o.task);
	bool classes = pt_task_labels(f->o.task);

	if (pt_feed_room(f, pt_feed_target_rows(f)->n, 0, err))
		return err->status;
	f->labelled = labels != NULL;
	/* Classes of tokens are asked for, also where nothing is known of them. */
	if (!labels && !classes)
		return 0;
	for (int64_t b = 0; b < x->n; b++) {
		double w = !x->weight ? one : mean > 0 ? one * (double)x->weight[b] / mean : 0;

		for (int64_t t = offsets[b] + shift; t < offsets[b + 1]; t++) {
			if (labels && labels[t] == -100)
				continue;
			f->seq[f->rows] = (int32_t)b;
			f->at[f->rows] = (int32_t)(t - shift - offsets[b]);
			f->label[f->rows] = labels ? labels[t] : 0;
			if (classes && labels && pt_feed_class(f, x->index[b], labels[t], &f->label[f->rows], err))
				return err->status;
			f->weight[f->rows++] = (float)w;
		}
	}
	return 0;
}

/* First tokens of a causal model are no targets, and there are at least so many sequences. */
static int64_t most(const struct pt_feed *f, const struct pt_bounds *b)
{
	if (pt_task_decoder(f->o.task))
		return b->decoder_tokens;
	if (pt_task_shifts(f->o.task))
		return b->len > 1 ? b->tokens - (b->tokens + b->len - 1) / b->len : 1;
	return b->tokens;
}

static int plan(struct pt_feed *f, const struct pt_bounds *b, int64_t seqs, struct pt_error *err)
{
	(void)seqs;
	f->rows = most(f, b);
	if (pt_feed_room(f, f->rows, 0, err))
		return err->status;
	for (int64_t i = 0; i < f->rows; i++)
		f->seq[i] = f->at[i] = 0;
	return 0;
}

static int64_t example(const struct pt_feed *f, int64_t i)
{
	return f->seq[i];
}

/* Rows of the hidden states that predict the targets; virtual tokens in front of a sequence move them. */
static int32_t *target_rows(struct pt_run *run, const struct pt_feed *f, const struct pt_rows *rows)
{
	const int32_t *in_cu = pt_feed_target_rows(f)->host_cu, *cu = rows->host_cu;
	int32_t *row = pt_pool_alloc(&run->pool, (size_t)f->rows * sizeof *row, &run->err);

	for (int64_t i = 0; row && i < f->rows; i++) {
		int32_t s = f->seq[i], front = (cu[s + 1] - cu[s]) - (in_cu[s + 1] - in_cu[s]);

		row[i] = cu[s] + front + f->at[i];
	}
	return row;
}

static void loss(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden, bool argmax,
		 struct pt_loss *out)
{
	struct pt_nll nll = { 0 };
	int32_t *rows = f->rows && hidden ? target_rows(run, f, hidden->rows) : NULL;

	if (!rows)
		return;
	hidden = pt_model_nll_head(run, m, hidden, rows, f->rows, &nll);
	nll.label = f->d_label;
	nll.weight = run->record ? f->d_weight : NULL;
	if (argmax) {
		int32_t *none = pt_calloc((size_t)f->rows, sizeof *none, &run->err);

		nll.argmax = none ? pt_run_upload(run, none, (size_t)f->rows * sizeof *none) : NULL;
		free(none);
	}
	if (run->err.status)
		return;
	out->argmax = nll.argmax;
	out->value = pt_op_token_nll(run, hidden, &nll);
}

static bool count_id(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
		     const int32_t *argmax)
{
	(void)logits;
	m->targets++;
	m->correct += argmax && argmax[i] == f->label[i];
	return true;
}

static const char *ids_result(const struct pt_measure *m, int i, double *value)
{
	*value = i == 1 ? exp(pt_measure_ratio(m->loss, m->weight)) : pt_measure_accuracy(m);
	return i == 1 ? "perplexity" : i == 2 ? "accuracy" : NULL;
}

static void start_tags(struct pt_measure *m)
{
	m->bio = pt_measure_is_bio(m->labels, m->nlabels);
}

static bool count_tag(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
		      const int32_t *argmax)
{
	(void)logits;
	pt_measure_count_class(m, f->label[i], argmax[i]);
	return true;
}

static int count_entities(struct pt_measure *m, const struct pt_feed *f, const float *logits, const int32_t *argmax,
			  struct pt_error *err)
{
	(void)logits;
	(void)err;
	if (m->bio)
		pt_measure_entities(m, f, argmax);
	return 0;
}

static const char *tags_result(const struct pt_measure *m, int i, double *value)
{
	double precision = pt_measure_ratio((double)m->right, (double)m->found);
	double recall = pt_measure_ratio((double)m->right, (double)m->entities);

	if (!m->bio)
		return pt_measure_class_result(m, i, value);
	if (i == 1) {
		*value = pt_measure_accuracy(m);
		return "accuracy";
	}
	*value = i == 2 ? pt_measure_ratio(2 * precision * recall, precision + recall) : i == 3 ? precision : recall;
	return i == 2 ? "f1" : i == 3 ? "precision" : i == 4 ? "recall" : NULL;
}

/* The mean loss of each example, and its likeliest tokens or classes. */
static int predict(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	const struct pt_feed *f = &e->feed;
	int64_t r = 0;

	(void)err;
	pt_predict_index(p, x);
	for (int64_t i = 0; i < x->n; i++) {
		double sum = 0;
		int64_t n = 0, from = r;

		for (; r < f->rows && f->seq[r] == i; r++, n++)
			sum += e->has_loss ? (double)e->loss[r] : 0;
		pt_predict_ids(p, e->has_best ? e->best + from : NULL, e->has_best ? n : 0);
		if (p->loss)
			pt_predict_loss(p, n ? (float)(sum / (double)n) : 0);
	}
	return 0;
}

const struct pt_objective pt_objective_ids = {
	.fill = fill, .plan = plan, .upload = pt_feed_upload_labels, .example = example, .loss = loss,
	.count = count_id, .result = ids_result, .predict = predict,
};

const struct pt_objective pt_objective_tags = {
	.counting = PT_COUNT_CLASSES,
	.fill = fill, .plan = plan, .upload = pt_feed_upload_labels, .example = example, .loss = loss,
	.start = start_tags, .count = count_tag, .count_all = count_entities, .result = tags_result,
	.predict = predict,
};
