/* SPDX-License-Identifier: MIT */
/*
 * objective_classes.c - targets of whole examples: one class (cross entropy),
 * several labels (binary cross entropy), numbers (squared error).
 */
#include "train/objective.h"

#include <math.h>
#include <string.h>

#include "train/feed_priv.h"
#include "train/measure_priv.h"

static int fill_class(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	if (pt_feed_room(f, x->n, 0, err))
		return err->status;
	f->labelled = x->cls != NULL;
	if (!x->cls && x->target)
		return pt_error(err, PT_DATA, "the stream has targets of %lld numbers, the model learns classes (--task of peft-tokenize and peft-init)",
				(long long)x->k);
	if (!x->cls)
		return 0;
	for (int64_t b = 0; b < x->n; b++)
		if (pt_feed_class(f, x->index[b], x->cls[b], &f->label[b], err))
			return err->status;
	pt_feed_per_example(f, x);
	return 0;
}

static int fill_numbers(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	int64_t k = f->o.nlabels;
	bool mapped = f->o.class_map && f->o.problem == PT_PROBLEM_MULTI;

	if (pt_feed_room(f, x->n, k, err))
		return err->status;
	f->labelled = x->target != NULL;
	if (!x->target)
		return x->cls ? pt_error(err, PT_DATA, "the stream has classes, the model learns numbers (--task of peft-tokenize and peft-init)") : 0;
	if (x->k != (mapped ? f->o.nmap : k))
		return pt_error(err, PT_DATA, "targets of %lld numbers; the head has %lld outputs", (long long)x->k,
				(long long)k);
	memset(f->target, 0, (size_t)(x->n * k) * sizeof *f->target);
	for (int64_t b = 0; b < x->n; b++)
		for (int64_t j = 0; j < x->k; j++) {
			int32_t c = (int32_t)j;

			if (mapped && pt_feed_class(f, x->index[b], c, &c, err))
				return err->status;
			f->target[b * k + c] = x->target[b * x->k + j];
		}
	pt_feed_per_example(f, x);
	return 0;
}

static int plan(struct pt_feed *f, const struct pt_bounds *b, int64_t seqs, struct pt_error *err)
{
	(void)b;
	f->rows = seqs;
	return pt_feed_room(f, seqs, f->o.nlabels, err);
}

static void upload_numbers(struct pt_feed *f, struct pt_run *run)
{
	pt_feed_upload_targets(f, run, f->o.nlabels ? f->o.nlabels : 1);
}

static void loss(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden, bool argmax,
		 struct pt_loss *out)
{
	struct pt_class c = { .cls = f->d_label, .target = f->d_target };

	(void)argmax;
	if (f->in.rows.batch == 0)
		return;
	c.kind = f->o.problem == PT_PROBLEM_SINGLE ? PT_LOSS_CE :
		f->o.problem == PT_PROBLEM_MULTI ? PT_LOSS_BCE : PT_LOSS_MSE;
	out->logits = pt_model_classify(run, m, &f->in, hidden);
	if (out->logits && f->rows)
		out->value = pt_op_class_loss(run, out->logits, &c);
	out->seed = f->d_weight;
}

static bool count_class(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
			const int32_t *argmax)
{
	(void)argmax;
	if (f->label[i] < 0)
		return false;
	pt_measure_count_class(m, f->label[i], pt_logits_class(logits + i * m->nlabels, m->nlabels));
	return true;
}

static bool count_labels(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
			 const int32_t *argmax)
{
	const float *is = f->target + i * m->nlabels, *z = logits + i * m->nlabels;
	bool all = true;

	(void)argmax;
	for (int j = 0; j < m->nlabels; j++) {
		bool t = is[j] > 0.5f, p = z[j] > 0;

		m->targets++;
		m->correct += t == p;
		all = all && t == p;
		pt_measure_count_label(m, j, t, p);
	}
	m->exact += all;
	return true;
}

static bool count_numbers(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
			  const int32_t *argmax)
{
	const float *is = f->target + i * m->nlabels, *z = logits + i * m->nlabels;
	int64_t before = m->targets / m->nlabels;

	(void)argmax;
	for (int j = 0; j < m->nlabels; j++) {
		struct pt_measure_spread *s = &m->spread[j];
		double t = (double)is[j], d = (double)z[j] - t, from_mean;

		m->targets++;
		m->abs_error += fabs(d);
		s->sq_error += d * d;
		/* Welford's: squares of the targets themselves would cancel. */
		s->first = before ? s->first : t;
		t -= s->first;
		from_mean = t - s->mean;
		s->mean += from_mean / (double)(before + 1);
		s->spread += from_mean * (t - s->mean);
	}
	return true;
}

static const char *labels_result(const struct pt_measure *m, int i, double *value)
{
	*value = i == 1 ? pt_measure_micro_f1(m) : pt_measure_ratio((double)m->exact, (double)m->examples);
	return i == 1 ? "f1" : i == 2 ? "accuracy" : NULL;
}

/* Mean over the outputs, as scikit-learn's: of targets that are all equal 1 where all are met, else 0. */
static double r2(const struct pt_measure *m)
{
	double sum = 0;

	for (int j = 0; j < m->nlabels; j++) {
		const struct pt_measure_spread *s = &m->spread[j];

		sum += s->spread > 0 ? 1 - s->sq_error / s->spread : s->sq_error <= 0;
	}
	return pt_measure_ratio(sum, m->nlabels);
}

static const char *numbers_result(const struct pt_measure *m, int i, double *value)
{
	*value = i == 1 ? pt_measure_ratio(m->abs_error, (double)m->targets) : r2(m);
	return i == 1 ? "mae" : i == 2 ? "r2" : NULL;
}

/* Class and probability of a row of logits, or the row itself where the outputs are numbers. */
static int predict_row(struct pt_predict *p, const struct pt_evaluator *e, const float *z, struct pt_error *err)
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

static int predict(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	pt_predict_index(p, x);
	for (int64_t i = 0; e->has_logits && i < x->n; i++) {
		if (predict_row(p, e, e->logits + i * e->feed.o.nlabels, err))
			return err->status;
		if (p->loss)
			pt_predict_loss(p, e->has_loss ? e->loss[i] : 0);
	}
	return 0;
}

const struct pt_objective pt_objective_class = {
	.counting = PT_COUNT_CLASSES,
	.fill = fill_class, .plan = plan, .upload = pt_feed_upload_labels, .example = pt_objective_own_example,
	.loss = loss, .count = count_class, .result = pt_measure_class_result, .predict = predict,
};

const struct pt_objective pt_objective_labels = {
	.counting = PT_COUNT_LABELS,
	.fill = fill_numbers, .plan = plan, .upload = upload_numbers, .example = pt_objective_own_example,
	.loss = loss, .count = count_labels, .result = labels_result, .predict = predict,
};

const struct pt_objective pt_objective_numbers = {
	.fill = fill_numbers, .plan = plan, .upload = upload_numbers, .example = pt_objective_own_example,
	.loss = loss, .count = count_numbers, .result = numbers_result, .predict = predict,
};
