/* SPDX-License-Identifier: MIT */
/*
 * loss.c - task losses on top of the model; see loss.h.
 */
#include "train/loss.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/pairs.h"

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

static void tokens(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden,
		   bool argmax, struct pt_loss *out)
{
	struct pt_lowrank term[PT_SITE_MAX_TERMS];
	struct pt_nll nll = { 0 };
	int32_t *rows = f->rows && hidden ? target_rows(run, f, hidden->rows) : NULL;

	if (!rows)
		return;
	hidden = pt_model_nll_head(run, m, hidden, rows, f->rows, term, PT_SITE_MAX_TERMS, &nll);
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

static void classes(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden,
		    struct pt_loss *out)
{
	struct pt_class c = { .cls = f->d_label, .target = f->d_target };

	if (f->in.rows.batch == 0)
		return;
	c.kind = f->o.problem == PT_PROBLEM_SINGLE ? PT_LOSS_CE :
		f->o.problem == PT_PROBLEM_MULTI ? PT_LOSS_BCE : PT_LOSS_MSE;
	out->logits = pt_model_classify(run, m, &f->in, hidden);
	if (out->logits && f->rows)
		out->value = pt_op_class_loss(run, out->logits, &c);
	out->seed = f->d_weight;
}

/* Rows of the feed's tokens, without those of virtual ones. */
static struct pt_tensor *own_rows(struct pt_run *run, const struct pt_feed *f, struct pt_tensor *z,
				  const struct pt_rows *rows)
{
	const struct pt_rows *in = &f->in.rows;
	int32_t *idx;

	if (rows->n == in->n)
		return z;
	idx = pt_pool_alloc(&run->pool, (size_t)in->n * sizeof *idx, &run->err);
	for (int b = 0; idx && b < in->batch; b++) {
		for (int32_t i = in->host_cu[b]; i < in->host_cu[b + 1]; i++)
			idx[i] = rows->host_cu[b + 1] - (in->host_cu[b + 1] - i);
	}
	return idx ? pt_op_gather(run, z, pt_run_upload(run, idx, (size_t)in->n * sizeof *idx), in->n, in) : NULL;
}

/* First and last tokens as rows; virtual tokens in front of a sequence move them. */
static void spans(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden,
		  struct pt_loss *out)
{
	const int32_t *in_cu = f->in.rows.host_cu, *cu;
	const struct pt_rows *rows;
	struct pt_tensor *z;
	int32_t *row;

	z = hidden ? pt_model_classify(run, m, &f->in, hidden) : NULL;
	if (!z)
		return;
	rows = hidden->rows;
	out->logits = own_rows(run, f, z, rows);
	if (!f->rows)
		return;
	cu = rows->host_cu;
	row = pt_pool_alloc(&run->pool, 2 * (size_t)f->rows * sizeof *row, &run->err);
	for (int64_t i = 0; row && i < 2 * f->rows; i++) {
		int64_t s = i / 2, front = (cu[s + 1] - cu[s]) - (in_cu[s + 1] - in_cu[s]);
		int32_t token = f->x ? f->pairs.b[i] : 0;

		row[i] = token < 0 ? -1 : (int32_t)(cu[s] + front + token);
	}
	if (row)
		out->value = pt_op_span_loss(run, z, rows,
					     pt_run_upload(run, row, 2 * (size_t)f->rows * sizeof *row));
	out->seed = f->d_weight;
}

/*
 * Cosines: of an anchor with all candidates, scaled and through a cross
 * entropy; of pairs with scores against those.
 */
static void sets(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden,
		 struct pt_loss *out)
{
	const struct pt_feed_pairs *p = &f->pairs;
	struct pt_class c = { .kind = p->scored ? PT_LOSS_MSE : PT_LOSS_CE, .cls = f->d_label, .target = f->d_target };
	struct pt_tensor *e = pt_model_embed(run, m, &f->in, hidden), *unit = pt_op_unit(run, e);

	out->embedding = pt_model_embeds_unit(m) ? unit : e;
	if (!unit || !f->rows)
		return;
	out->logits = pt_op_dots(run, unit, p->d_a, p->d_b, p->n, p->k, p->scored ? 1 : PT_LOSS_CONTRAST);
	if (out->logits)
		out->value = pt_op_class_loss(run, out->logits, &c);
	out->seed = f->d_weight;
}

int pt_loss_forward(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, bool argmax,
		    struct pt_loss *out, struct pt_error *err)
{
	struct pt_tensor *hidden;

	memset(out, 0, sizeof *out);
	if (f->in.rows.n == 0)
		return 0;
	/* Nothing to learn: nothing to compute, but logits where they are the purpose. */
	if (f->rows == 0 && (run->record || pt_task_per_token(f->o.task)))
		return 0;
	hidden = pt_model_hidden(run, m, &f->in);
	if (pt_task_per_token(f->o.task))
		tokens(run, m, f, hidden, argmax, out);
	else if (f->o.task == PT_TASK_QA)
		spans(run, m, f, hidden, out);
	else if (f->o.task == PT_TASK_CONTRASTIVE)
		sets(run, m, f, hidden, out);
	else
		classes(run, m, f, hidden, out);
	out->router = pt_model_router_loss(run, m);
	out->router_weight = (float)(m->router_loss * f->share);
	return pt_run_check(run, err);
}

int pt_loss_backward(struct pt_run *run, const struct pt_loss *l, struct pt_error *err)
{
	if (!l->value)
		return 0;
	if (l->router && pt_backward_also(run, l->router, l->router_weight))
		return pt_run_check(run, err);
	return pt_backward(run, l->value, l->seed, err);
}

int pt_loss_plan(struct pt_device *plan, struct pt_model *m, struct pt_feed *f, const struct pt_feed_bounds *b,
		 bool train, bool bf16, size_t *bytes, struct pt_error *err)
{
	struct pt_run run;
	struct pt_loss l;
	int status = pt_run_init(&run, plan, 0, err);

	*bytes = 0;
	if (status)
		return status;
	run.record = run.train = train;
	pt_run_compute(&run, bf16);
	status = pt_feed_plan(f, &run, b, err);
	if (!status)
		status = pt_loss_forward(&run, m, f, !train, &l, err);
	if (!status && train)
		status = pt_loss_backward(&run, &l, err);
	*bytes = run.arena.peak;
	pt_run_release(&run);
	return status;
}
