/* SPDX-License-Identifier: MIT */
/*
 * measure.c - sums over evaluated targets, and what is made of them. Sums are
 * in double, in the order of the stream.
 */
#include "train/measure_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "train/objective.h"

enum { TP, FP, FN, LABEL_COUNTS };

static size_t counts(const struct pt_measure *m)
{
	return m->of->counting ? (size_t)m->nlabels * LABEL_COUNTS : 0;
}

static int64_t *count_of(const struct pt_measure *m, int label)
{
	return m->count + (size_t)label * LABEL_COUNTS;
}

int pt_measure_init(struct pt_measure *m, const struct pt_feed_options *o, struct pt_error *err)
{
	memset(m, 0, sizeof *m);
	m->of = pt_objective_of(o->task, o->problem);
	m->nlabels = o->nlabels;
	m->labels = o->labels;
	m->tok = o->tok;
	if (m->of->start)
		m->of->start(m);
	m->count = pt_calloc(counts(m) + 1, sizeof *m->count, err);
	m->spread = pt_calloc((size_t)m->nlabels + 1, sizeof *m->spread, err);
	return m->count && m->spread ? 0 : PT_FAIL;
}

void pt_measure_release(struct pt_measure *m)
{
	struct pt_buf *const all[] = { &m->text, &m->lower, &m->words[0], &m->words[1] };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		pt_buf_release(all[i]);
	free(m->count);
	free(m->spread);
	free(m->score);
	memset(m, 0, sizeof *m);
}

void pt_measure_clear(struct pt_measure *m)
{
	struct pt_measure empty = { .of = m->of, .nlabels = m->nlabels, .labels = m->labels, .bio = m->bio, .tok = m->tok,
				    .count = m->count, .spread = m->spread, .score = m->score,
				    .cap_score = m->cap_score, .text = m->text, .lower = m->lower,
				    .words = { m->words[0], m->words[1] } };

	memset(m->count, 0, (counts(m) + 1) * sizeof *m->count);
	memset(m->spread, 0, (size_t)m->nlabels * sizeof *m->spread);
	*m = empty;
}

int pt_logits_class(const float *z, int k)
{
	int best = 0;

	for (int i = 1; i < k; i++)
		if (z[i] > z[best])
			best = i;
	return best;
}

void pt_logits_probability(enum pt_problem problem, const float *z, int k, float *p)
{
	double max = -INFINITY, sum = 0;

	if (problem != PT_PROBLEM_SINGLE) {
		for (int i = 0; i < k; i++)
			p[i] = problem == PT_PROBLEM_MULTI ? (float)(1 / (1 + exp(-(double)z[i]))) : z[i];
		return;
	}
	for (int i = 0; i < k; i++)
		max = fmax(max, (double)z[i]);
	for (int i = 0; i < k; i++)
		sum += exp((double)z[i] - max);
	for (int i = 0; i < k; i++)
		p[i] = (float)(exp((double)z[i] - max) / sum);
}

void pt_measure_count_class(struct pt_measure *m, int32_t is, int says)
{
	m->targets++;
	m->correct += is == says;
	count_of(m, is)[is == says ? TP : FN]++;
	if (is != says)
		count_of(m, says)[FP]++;
}

void pt_measure_count_label(struct pt_measure *m, int j, bool is, bool says)
{
	int64_t *n = count_of(m, j);

	n[TP] += is && says;
	n[FP] += !is && says;
	n[FN] += is && !says;
}

int pt_measure_add(struct pt_measure *m, const struct pt_feed *f, const float *loss, const float *logits,
		   const int32_t *argmax, const float *router, struct pt_error *err)
{
	const float *weight = f->x->weight;
	double before = m->weight;

	m->examples += f->x->n;
	m->tokens += f->x->tokens;
	for (int64_t i = 0; loss && i < f->rows; i++) {
		double w = weight ? (double)weight[m->of->example(f, i)] : 1;

		if (m->of->count && !m->of->count(m, f, i, logits, argmax))
			continue;
		m->loss += w * (double)loss[i];
		m->weight += w;
	}
	if (loss && router) {
		m->router += (m->weight - before) * (double)*router;
		m->routed = true;
	}
	return loss && m->of->count_all ? m->of->count_all(m, f, logits, argmax, err) : 0;
}

int64_t pt_measure_class(const struct pt_measure *m, int c, double *precision, double *recall, double *f1)
{
	const int64_t *n = count_of(m, c);
	int64_t tp = m->of->counting ? n[TP] : 0, fp = m->of->counting ? n[FP] : 0, fn = m->of->counting ? n[FN] : 0;

	*precision = pt_measure_ratio((double)tp, (double)(tp + fp));
	*recall = pt_measure_ratio((double)tp, (double)(tp + fn));
	*f1 = pt_measure_ratio(2.0 * (double)tp, (double)(2 * tp + fp + fn));
	return tp + fn;
}

double pt_measure_majority(const struct pt_measure *m, int *which)
{
	int64_t best = -1;

	*which = 0;
	for (int c = 0; m->of->counting == PT_COUNT_CLASSES && c < m->nlabels; c++) {
		double p, r, f;
		int64_t n = pt_measure_class(m, c, &p, &r, &f);

		if (n > best) {
			best = n;
			*which = c;
		}
	}
	return pt_measure_ratio((double)(best < 0 ? 0 : best), (double)m->targets);
}

/* Mean over the classes that occur or were predicted, as scikit-learn's macro average. */
static double macro_f1(const struct pt_measure *m)
{
	double sum = 0, p, r, f;
	int n = 0;

	for (int c = 0; c < m->nlabels; c++) {
		if (pt_measure_class(m, c, &p, &r, &f) || count_of(m, c)[FP]) {
			sum += f;
			n++;
		}
	}
	return pt_measure_ratio(sum, n);
}

double pt_measure_micro_f1(const struct pt_measure *m)
{
	int64_t tp = 0, wrong = 0;

	for (int c = 0; c < m->nlabels; c++) {
		tp += count_of(m, c)[TP];
		wrong += count_of(m, c)[FP] + count_of(m, c)[FN];
	}
	return pt_measure_ratio(2.0 * (double)tp, (double)(2 * tp + wrong));
}

const char *pt_measure_class_result(const struct pt_measure *m, int i, double *value)
{
	double p, r;

	if (i == 1) {
		*value = pt_measure_accuracy(m);
		return "accuracy";
	}
	if (i == 2 && m->nlabels == 2) {
		pt_measure_class(m, 1, &p, &r, value);
		return "f1";
	}
	*value = macro_f1(m);
	return i == (m->nlabels == 2 ? 3 : 2) ? "f1_macro" : NULL;
}

/* Those of the task. */
static const char *task_result(const struct pt_measure *m, int i, double *value)
{
	*value = pt_measure_ratio(m->loss, m->weight);
	if (m->weight <= 0)
		return NULL;
	return i == 0 ? "loss" : m->of->result(m, i, value);
}

const char *pt_measure_result(const struct pt_measure *m, int i, double *value)
{
	const char *name = task_result(m, i, value);

	if (!name && m->routed && i > 0 && task_result(m, i - 1, value)) {
		*value = pt_measure_ratio(m->router, m->weight);
		name = "router_loss";
	}
	if (name)
		*value = pt_plain_nan(*value);
	return name;
}
