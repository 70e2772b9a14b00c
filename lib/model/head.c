/* SPDX-License-Identifier: MIT */
/*
 * head.c - what stands on the body: the language-model head, and sequence
 * classification by the family's row (pool, dense, dropout, out).
 */
#include "model/body.h"

/*
 * Row of the pooled position of sequence b. Virtual tokens put in front move
 * the last token; the first position is theirs, as in PEFT.
 */
static int64_t pool_row(const struct pt_model *m, const struct pt_input *in, const struct pt_rows *rows,
			int b)
{
	int64_t from = in->rows.host_cu[b], n = in->rows.host_cu[b + 1] - from;
	int64_t start = rows->host_cu[b];
	int64_t front = rows->host_cu[b + 1] - start - n, last = n - 1;

	if (m->body->head->pool == PT_POOL_FIRST)
		return start;
	if (!in->host_ids || m->cfg.pad < 0)
		return start + front + last;
	while (last > 0 && in->host_ids[from + last] == m->cfg.pad)
		last--;
	return start + front + last;
}

/*
 * The packing of the pooled rows: each is a row of its own, with the random
 * key of its sequence.
 */
static const struct pt_rows *pooled_rows(struct pt_run *run, struct pt_model *m,
					 const struct pt_rows *rows, const int32_t *idx)
{
	struct pt_rows *p = &m->body->pooled;
	size_t n = (size_t)rows->batch;
	uint64_t *zero = pt_pool_alloc(&run->pool, n * sizeof *zero, &run->err);
	uint64_t *key = NULL;
	int32_t *pos = NULL;

	*p = (struct pt_rows){ .n = rows->batch, .batch = rows->batch, .max_len = 1 };
	if (!zero)
		return NULL;
	if (rows->key)
		key = pt_run_upload(run, zero, n * sizeof *key);
	pos = pt_run_upload(run, zero, n * sizeof *pos);
	if (run->err.status)
		return NULL;
	if (key && run->dev->k->gather_fwd(run->dev, rows->batch, sizeof *key, rows->key, idx, key, &run->err))
		return NULL;
	p->key = key;
	p->pos = pos;
	return p;
}

static struct pt_tensor *pool(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
			      struct pt_tensor *hidden)
{
	const struct pt_rows *rows = hidden->rows;
	size_t bytes = (size_t)rows->batch * sizeof(int32_t);
	int32_t *idx = pt_pool_alloc(&run->pool, bytes, &run->err);
	const int32_t *didx;

	if (!idx)
		return NULL;
	for (int b = 0; b < rows->batch; b++) {
		if (in->rows.host_cu[b + 1] == in->rows.host_cu[b]) {
			pt_error(&run->err, PT_DATA, "sequence %d of the micro-batch is empty: nothing to classify", b);
			return NULL;
		}
		idx[b] = (int32_t)pool_row(m, in, rows, b);
	}
	didx = pt_run_upload(run, idx, bytes);
	rows = run->err.status ? NULL : pooled_rows(run, m, rows, didx);
	return rows ? pt_op_gather(run, hidden, didx, rows->n, rows) : NULL;
}

struct pt_tensor *pt_model_classify(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				    struct pt_tensor *hidden)
{
	const struct pt_head *h = m->body->head;
	struct pt_tensor *x;

	if (!hidden || run->err.status)
		return NULL;
	if (m->task != PT_TASK_SEQ_CLS) {
		pt_error(&run->err, PT_USAGE, "the model was opened for %s, not for classification",
			 pt_task_name(m->task));
		return NULL;
	}
	x = pool(run, m, in, hidden);
	if (h->dense) {
		x = pt_site_linear1(run, m->body->part[PT_ROLE_HEAD_DENSE], x);
		x = pt_op_act(run, x, h->act);
	}
	if (h->dropout)
		x = pt_op_dropout(run, x, m->cfg.drop_class, m->body->rng_head);
	return pt_site_linear1(run, m->body->part[PT_ROLE_HEAD_OUT], x);
}

static struct pt_site *lm_head(struct pt_run *run, const struct pt_model *m)
{
	if (m->task == PT_TASK_CAUSAL_LM)
		return m->body->part[PT_ROLE_HEAD_OUT];
	pt_error(&run->err, PT_USAGE, "the model was opened for %s, not as a language model",
		 pt_task_name(m->task));
	return NULL;
}

void pt_model_nll_head(struct pt_run *run, struct pt_model *m, struct pt_lowrank *term, int max,
		       struct pt_nll *out)
{
	struct pt_site *s = run->err.status ? NULL : lm_head(run, m);

	out->scale = m->cfg.logit_scale;
	out->cap = m->cfg.final_softcap;
	if (s)
		pt_site_nll_head(run, s, term, max, &out->head);
}

struct pt_tensor *pt_model_logits(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden,
				  const int32_t *idx, int64_t n)
{
	struct pt_site *s = run->err.status ? NULL : lm_head(run, m);

	struct pt_tensor *x;

	if (!s || !hidden)
		return NULL;
	x = pt_op_gather(run, hidden, idx, n, NULL);
	if (m->cfg.logit_scale != 1)
		x = pt_op_scale(run, x, m->cfg.logit_scale);
	x = pt_site_linear1(run, s, x);
	/* The soft cap: cap tanh(x / cap). */
	if (m->cfg.final_softcap > 0) {
		x = pt_op_act(run, pt_op_scale(run, x, 1 / m->cfg.final_softcap), PT_ACT_TANH);
		x = pt_op_scale(run, x, m->cfg.final_softcap);
	}
	return x;
}
