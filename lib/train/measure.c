/* SPDX-License-Identifier: MIT */
/*
 * measure.c - sums over evaluated targets, and what is made of them. Sums are
 * in double, in the order of the stream.
 */
#include "train/measure_priv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { TP, FP, FN, LABEL_COUNTS };

static bool is_classes(const struct pt_measure *m)
{
	return m->task == PT_TASK_TOKEN_CLS || (m->task == PT_TASK_SEQ_CLS && m->problem == PT_PROBLEM_SINGLE);
}

static bool is_labels(const struct pt_measure *m)
{
	return m->task == PT_TASK_SEQ_CLS && m->problem == PT_PROBLEM_MULTI;
}

static size_t counts(const struct pt_measure *m)
{
	size_t k = (size_t)m->nlabels;

	return is_classes(m) ? k * k : is_labels(m) ? k * LABEL_COUNTS : 0;
}

int pt_measure_init(struct pt_measure *m, const struct pt_feed_options *o, struct pt_error *err)
{
	memset(m, 0, sizeof *m);
	m->task = o->task;
	m->problem = o->problem;
	m->nlabels = o->nlabels;
	m->labels = o->labels;
	m->tok = o->tok;
	m->bio = m->task == PT_TASK_TOKEN_CLS && pt_measure_is_bio(m->labels, m->nlabels);
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
	struct pt_measure empty = { .task = m->task, .problem = m->problem, .nlabels = m->nlabels,
				    .labels = m->labels, .bio = m->bio, .tok = m->tok, .count = m->count,
				    .spread = m->spread, .score = m->score, .cap_score = m->cap_score, .text = m->text,
				    .lower = m->lower, .words = { m->words[0], m->words[1] } };

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

static void add_class(struct pt_measure *m, int32_t is, int says)
{
	m->targets++;
	m->correct += is == says;
	m->count[is * m->nlabels + says]++;
}

static void add_labels(struct pt_measure *m, const float *is, const float *z)
{
	bool all = true;

	for (int j = 0; j < m->nlabels; j++) {
		bool t = is[j] > 0.5f, p = z[j] > 0;

		m->targets++;
		m->correct += t == p;
		all = all && t == p;
		m->count[j * LABEL_COUNTS + TP] += t && p;
		m->count[j * LABEL_COUNTS + FP] += !t && p;
		m->count[j * LABEL_COUNTS + FN] += t && !p;
	}
	m->exact += all;
}

static void add_numbers(struct pt_measure *m, const float *is, const float *z)
{
	int64_t before = m->targets / m->nlabels;

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
}

/* Target i: its loss counts by *w; false: it has none. */
static bool add_target(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
		       const int32_t *argmax, double *w)
{
	bool token = pt_task_per_token(m->task);
	const float *weight = f->x->weight, *z = logits ? logits + i * m->nlabels : NULL;

	*w = !weight ? 1 : m->task == PT_TASK_CONTRASTIVE ? (double)weight[f->pairs.a[i]] :
		(double)weight[token ? f->seq[i] : i];
	if (pt_task_vocab(m->task)) {
		m->targets++;
		m->correct += argmax && argmax[i] == f->label[i];
	} else if (is_classes(m)) {
		if (f->label[i] < 0)
			return false;
		add_class(m, f->label[i], token ? argmax[i] : pt_logits_class(z, m->nlabels));
	} else if (is_labels(m)) {
		add_labels(m, f->target + i * m->nlabels, z);
	} else if (m->task == PT_TASK_SEQ_CLS) {
		add_numbers(m, f->target + i * m->nlabels, z);
	}
	return true;
}

int pt_measure_add(struct pt_measure *m, const struct pt_feed *f, const float *loss, const float *logits,
		   const int32_t *argmax, const float *router, struct pt_error *err)
{
	double before = m->weight;

	m->examples += f->x->n;
	m->tokens += f->x->tokens;
	for (int64_t i = 0; loss && i < f->rows; i++) {
		double w;

		if (!add_target(m, f, i, logits, argmax, &w))
			continue;
		m->loss += w * (double)loss[i];
		m->weight += w;
	}
	if (loss && router) {
		m->router += (m->weight - before) * (double)*router;
		m->routed = true;
	}
	if (loss && m->bio)
		pt_measure_entities(m, f, argmax);
	if (loss && m->task == PT_TASK_QA)
		return pt_measure_spans(m, f, logits, err);
	return loss && m->task == PT_TASK_CONTRASTIVE ? pt_measure_pairs(m, f, logits, err) : 0;
}

int64_t pt_measure_class(const struct pt_measure *m, int c, double *precision, double *recall, double *f1)
{
	int64_t tp = 0, fp = 0, fn = 0;

	if (is_labels(m)) {
		tp = m->count[c * LABEL_COUNTS + TP];
		fp = m->count[c * LABEL_COUNTS + FP];
		fn = m->count[c * LABEL_COUNTS + FN];
	} else if (is_classes(m)) {
		for (int j = 0; j < m->nlabels; j++) {
			int64_t there = m->count[c * m->nlabels + j], here = m->count[j * m->nlabels + c];

			tp += j == c ? there : 0;
			fn += j == c ? 0 : there;
			fp += j == c ? 0 : here;
		}
	}
	*precision = pt_measure_ratio((double)tp, (double)(tp + fp));
	*recall = pt_measure_ratio((double)tp, (double)(tp + fn));
	*f1 = pt_measure_ratio(2.0 * (double)tp, (double)(2 * tp + fp + fn));
	return tp + fn;
}

double pt_measure_majority(const struct pt_measure *m, int *which)
{
	int64_t best = -1;

	*which = 0;
	for (int c = 0; is_classes(m) && c < m->nlabels; c++) {
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
		bool predicted = false;
		int64_t is = pt_measure_class(m, c, &p, &r, &f);

		for (int j = 0; j < m->nlabels; j++)
			predicted |= m->count[j * m->nlabels + c] > 0;
		if (is || predicted) {
			sum += f;
			n++;
		}
	}
	return pt_measure_ratio(sum, n);
}

static double micro_f1(const struct pt_measure *m)
{
	int64_t tp = 0, wrong = 0;

	for (int c = 0; c < m->nlabels; c++) {
		tp += m->count[c * LABEL_COUNTS + TP];
		wrong += m->count[c * LABEL_COUNTS + FP] + m->count[c * LABEL_COUNTS + FN];
	}
	return pt_measure_ratio(2.0 * (double)tp, (double)(2 * tp + wrong));
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

/* Spearman's and Pearson's correlation of cosines with scores. */
static const char *correlation(const struct pt_measure *m, int i, double *value)
{
	struct pt_error ignored = PT_ERROR_INIT;
	size_t n = m->nscores;
	double *x = pt_malloc(2 * n + 1, sizeof *x, &ignored), *y = x ? x + n : NULL;

	*value = 0;
	for (size_t k = 0; x && k < n; k++) {
		x[k] = m->score[2 * k];
		y[k] = m->score[2 * k + 1];
	}
	if (x && i == 2)
		*value = pt_measure_pearson(x, y, n);
	else if (x)
		pt_measure_spearman(x, y, n, value, &ignored);
	free(x);
	return i == 1 ? "spearman" : i == 2 ? "pearson" : NULL;
}

static const char *sets_result(const struct pt_measure *m, int i, double *value)
{
	if (m->nscores)
		return correlation(m, i, value);
	*value = pt_measure_ratio(i == 1 ? (double)m->correct : m->reciprocal, (double)m->targets);
	return i == 1 ? "accuracy" : i == 2 ? "mrr" : NULL;
}

static const char *tags_result(const struct pt_measure *m, int i, double *value)
{
	double precision = pt_measure_ratio((double)m->right, (double)m->found);
	double recall = pt_measure_ratio((double)m->right, (double)m->entities);

	if (i == 1) {
		*value = pt_measure_ratio((double)m->correct, (double)m->targets);
		return "accuracy";
	}
	*value = i == 2 ? pt_measure_ratio(2 * precision * recall, precision + recall) : i == 3 ? precision : recall;
	return i == 2 ? "f1" : i == 3 ? "precision" : i == 4 ? "recall" : NULL;
}

/* Those of the task. */
static const char *task_result(const struct pt_measure *m, int i, double *value)
{
	double p, r, loss = pt_measure_ratio(m->loss, m->weight);

	*value = loss;
	if (i == 0)
		return m->weight > 0 ? "loss" : NULL;
	if (m->weight <= 0)
		return NULL;
	if (pt_task_vocab(m->task)) {
		*value = i == 1 ? exp(loss) : pt_measure_ratio((double)m->correct, (double)m->targets);
		return i == 1 ? "perplexity" : i == 2 ? "accuracy" : NULL;
	}
	if (m->task == PT_TASK_CONTRASTIVE)
		return sets_result(m, i, value);
	if (m->task == PT_TASK_QA) {
		*value = pt_measure_ratio(i == 1 ? (double)m->exact : m->overlap, (double)m->targets);
		return i == 1 ? "exact" : i == 2 ? "f1" : NULL;
	}
	if (m->bio)
		return tags_result(m, i, value);
	if (is_classes(m)) {
		if (i == 1) {
			*value = pt_measure_ratio((double)m->correct, (double)m->targets);
			return "accuracy";
		}
		if (i == 2 && m->nlabels == 2) {
			pt_measure_class(m, 1, &p, &r, value);
			return "f1";
		}
		*value = macro_f1(m);
		return i == (m->nlabels == 2 ? 3 : 2) ? "f1_macro" : NULL;
	}
	if (is_labels(m)) {
		*value = i == 1 ? micro_f1(m) : pt_measure_ratio((double)m->exact, (double)m->examples);
		return i == 1 ? "f1" : i == 2 ? "accuracy" : NULL;
	}
	*value = i == 1 ? pt_measure_ratio(m->abs_error, (double)m->targets) : r2(m);
	return i == 1 ? "mae" : i == 2 ? "r2" : NULL;
}

const char *pt_measure_result(const struct pt_measure *m, int i, double *value)
{
	const char *name = task_result(m, i, value);

	if (name || !m->routed || i == 0 || !task_result(m, i - 1, value))
		return name;
	*value = pt_measure_ratio(m->router, m->weight);
	return "router_loss";
}
