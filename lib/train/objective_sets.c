/* SPDX-License-Identifier: MIT */
/*
 * objective_sets.c - sets of texts, of which each anchor is to be nearest to
 * its own.
 *
 * The candidates of an anchor are the positives of all sets of the micro-batch,
 * in their order, and behind them all negatives (multiple negatives ranking,
 * Henderson et al. 2017). Where pairs have scores each is learned alone.
 */
#include "train/objective.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/pairs.h"
#include "train/feed_priv.h"
#include "train/measure_priv.h"

/* The end of the set that begins at example i. */
static int64_t set_end(const struct pt_examples *x, int64_t i)
{
	int64_t g = x->group[i];

	while (i < x->n && x->group[i] == g)
		i++;
	return i;
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
		f->weight[p->n++] = pt_feed_share(x, i);
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
		f->weight[sets++] = pt_feed_share(x, i);
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

static int fill(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	return pt_feed_room(f, x->n, 1, err) ? err->status : pt_feed_sets(f, x, err);
}

/* The most products that so many texts can have: half of them anchors, all others candidates. */
static int plan(struct pt_feed *f, const struct pt_bounds *b, int64_t seqs, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;

	(void)b;
	p->n = seqs > 1 ? seqs / 2 : 1;
	p->k = seqs > 1 ? seqs - p->n : 1;
	p->scored = false;
	if (pt_feed_room(f, p->n, 1, err) || pt_grow(&p->a, &p->cap_a, (size_t)p->n, sizeof *p->a, err) ||
	    pt_grow(&p->b, &p->cap_b, (size_t)(p->n * p->k), sizeof *p->b, err))
		return err->status;
	memset(p->a, 0, (size_t)p->n * sizeof *p->a);
	memset(p->b, 0, (size_t)(p->n * p->k) * sizeof *p->b);
	f->rows = p->n;
	return 0;
}

void pt_feed_sets_upload(struct pt_feed *f, struct pt_run *run)
{
	struct pt_feed_pairs *p = &f->pairs;

	p->d_a = pt_run_upload(run, p->a, (size_t)p->n * sizeof *p->a);
	p->d_b = pt_run_upload(run, p->b, (size_t)(p->n * p->k) * sizeof *p->b);
}

static void upload(struct pt_feed *f, struct pt_run *run)
{
	pt_feed_sets_upload(f, run);
	if (f->pairs.scored)
		pt_feed_upload_targets(f, run, 1);
	else
		pt_feed_upload_labels(f, run);
}

static int64_t example(const struct pt_feed *f, int64_t i)
{
	return f->pairs.a[i];
}

/*
 * Cosines: of an anchor with all candidates, scaled and through a cross
 * entropy; of pairs with scores against those.
 */
static void loss(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden, bool argmax,
		 struct pt_loss *out)
{
	const struct pt_feed_pairs *p = &f->pairs;
	struct pt_class c = { .kind = p->scored ? PT_LOSS_MSE : PT_LOSS_CE, .cls = f->d_label, .target = f->d_target };
	struct pt_tensor *e = pt_model_embed(run, m, &f->in, hidden), *unit = pt_op_unit(run, e);

	(void)argmax;
	out->embedding = pt_model_embeds_unit(m) ? unit : e;
	if (!unit || !f->rows)
		return;
	out->logits = pt_op_dots(run, unit, p->d_a, p->d_b, p->n, p->k, p->scored ? 1 : PT_LOSS_CONTRAST);
	if (out->logits)
		out->value = pt_op_class_loss(run, out->logits, &c);
	out->seed = f->d_weight;
}

/*
 * Whether an anchor finds its own among the candidates (the first of equal
 * ones counts against it), and how cosines go with scores.
 */
static int count_all(struct pt_measure *m, const struct pt_feed *f, const float *z, const int32_t *argmax,
		     struct pt_error *err)
{
	const struct pt_feed_pairs *p = &f->pairs;

	(void)argmax;
	for (int64_t i = 0; i < p->n; i++) {
		const float *row = z + i * p->k;
		int64_t rank = 1;

		if (p->scored) {
			if (pt_grow(&m->score, &m->cap_score, 2 * (m->nscores + 1), sizeof *m->score, err))
				return err->status;
			m->score[2 * m->nscores] = (double)f->target[i];
			m->score[2 * m->nscores++ + 1] = (double)row[0];
		}
		for (int64_t j = 0; j < p->k && !p->scored; j++)
			rank += j != f->label[i] && row[j] >= row[f->label[i]];
		m->targets++;
		m->correct += rank == 1;
		m->reciprocal += 1 / (double)rank;
	}
	return 0;
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

static const char *result(const struct pt_measure *m, int i, double *value)
{
	if (m->nscores)
		return correlation(m, i, value);
	*value = i == 1 ? pt_measure_accuracy(m) : pt_measure_ratio(m->reciprocal, (double)m->targets);
	return i == 1 ? "accuracy" : i == 2 ? "mrr" : NULL;
}

static int predict(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	(void)err;
	pt_predict_index(p, x);
	if (!e->has_embedding)
		return 0;
	p->k = e->width;
	pt_buf_add(&p->logit, e->embedding, (size_t)(x->n * e->width) * sizeof *e->embedding);
	return 0;
}

const struct pt_objective pt_objective_sets = {
	.fill = fill, .plan = plan, .upload = upload, .example = example, .loss = loss, .count_all = count_all,
	.result = result, .predict = predict,
};
