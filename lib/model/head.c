/* SPDX-License-Identifier: MIT */
/*
 * head.c - what stands on the body, by the row of its family: rows of the
 * hidden states are picked, or means taken, then [dropout, dense, act, norm,]
 * [dropout,] out. Where each token has a target token_nll does the last step
 * without whole logits.
 */
#include "model/body.h"

static bool is_eos(const struct pt_model *m, int32_t id)
{
	for (int i = 0; i < m->cfg.neos; i++) {
		if (m->cfg.eos[i] == id)
			return true;
	}
	return false;
}

/*
 * Row of the pooled position of sequence b, -1: there is none. Virtual tokens
 * put in front move the last token; the first position is theirs, as in PEFT.
 */
static int64_t pool_row(const struct pt_model *m, const struct pt_input *in, const struct pt_rows *rows,
			int b)
{
	int64_t from = in->rows.host_cu[b], n = in->rows.host_cu[b + 1] - from;
	int64_t start = rows->host_cu[b];
	int64_t front = rows->host_cu[b + 1] - start - n, last = n - 1;

	if (m->body->pool == PT_POOL_FIRST)
		return start;
	if (m->body->pool == PT_POOL_EOS) {
		while (in->host_ids && last >= 0 && !is_eos(m, in->host_ids[from + last]))
			last--;
		return last < 0 ? -1 : start + front + last;
	}
	if (!in->host_ids || m->cfg.pad < 0)
		return start + front + last;
	while (last > 0 && in->host_ids[from + last] == m->cfg.pad)
		last--;
	return start + front + last;
}

/*
 * The packing of rows that were picked: of pooled ones each is a sequence, at
 * position 0; others keep their place. Both keep the random key of their row.
 */
static const struct pt_rows *picked_rows(struct pt_run *run, struct pt_model *m, const struct pt_rows *rows,
					 const int32_t *idx, int64_t n, bool pooled)
{
	struct pt_rows *p = &m->body->picked;
	uint64_t *zero = pt_pool_alloc(&run->pool, (size_t)n * sizeof *zero, &run->err);
	uint64_t *key = NULL;
	int32_t *pos = NULL;

	*p = (struct pt_rows){ .n = n, .batch = pooled ? (int)n : 0, .max_len = pooled };
	if (!zero)
		return NULL;
	if (rows->key)
		key = pt_run_upload(run, zero, (size_t)n * sizeof *key);
	pos = pt_run_upload(run, zero, (size_t)n * sizeof *pos);
	if (run->err.status)
		return NULL;
	if (key && run->dev->k->gather_fwd(run->dev, n, sizeof *key, rows->key, idx, key, &run->err))
		return NULL;
	if (!pooled && rows->pos &&
	    run->dev->k->gather_fwd(run->dev, n, sizeof *pos, rows->pos, idx, pos, &run->err))
		return NULL;
	p->key = key;
	p->pos = pos;
	return p;
}

/* Rows idx[n] (host) of hidden. */
static struct pt_tensor *pick(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden, const int32_t *idx,
			      int64_t n, bool pooled)
{
	const int32_t *d = pt_run_upload(run, idx, (size_t)n * sizeof *idx);
	const struct pt_rows *rows = d ? picked_rows(run, m, hidden->rows, d, n, pooled) : NULL;

	return rows ? pt_op_gather(run, hidden, d, n, rows) : NULL;
}

/* A row a sequence, or hidden itself where the head reads all. */
static struct pt_tensor *pool(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
			      struct pt_tensor *hidden)
{
	const struct pt_rows *rows = hidden->rows;
	int32_t *idx;

	if (m->body->pool == PT_POOL_ROWS)
		return hidden;
	for (int b = 0; b < rows->batch; b++) {
		if (in->rows.host_cu[b + 1] == in->rows.host_cu[b]) {
			pt_error(&run->err, PT_DATA, "sequence %d of the micro-batch is empty: nothing to classify", b);
			return NULL;
		}
	}
	if (m->body->pool == PT_POOL_MEAN)
		return pt_op_mean(run, hidden, rows);
	idx = pt_pool_alloc(&run->pool, (size_t)rows->batch * sizeof *idx, &run->err);
	for (int b = 0; idx && b < rows->batch; b++)
		if ((idx[b] = (int32_t)pool_row(m, in, rows, b)) < 0) {
			pt_error(&run->err, PT_DATA, "sequence %d of the micro-batch has no end token (eos_token_id): nothing to classify", b);
			return NULL;
		}
	return idx ? pick(run, m, hidden, idx, rows->batch, true) : NULL;
}

static struct pt_tensor *own_step(struct pt_run *run, const struct pt_model *m, const struct pt_own_step *s, struct pt_tensor *x)
{
	const struct pt_body *b = m->body;

	if (b->own_dropout)
		x = pt_op_dropout(run, x, m->cfg.drop_class, s->rng);
	x = pt_site_linear1(run, s->dense, x);
	if (b->own_act != PT_ACT_NONE)
		x = pt_op_act(run, x, b->own_act);
	return s->norm ? pt_site_norm(run, s->norm, PT_NORM_LAYER, b->own_eps, x) : x;
}

/* What stands before the last linear. */
static struct pt_tensor *transform(struct pt_run *run, struct pt_model *m, struct pt_tensor *x)
{
	const struct pt_head *h = m->body->head;

	if (h->dense && h->dropout_dense)
		x = pt_op_dropout(run, x, m->cfg.drop_class, m->body->rng_dense);
	if (h->dense) {
		x = pt_site_linear1(run, m->body->part[PT_ROLE_HEAD_DENSE], x);
		x = pt_op_act(run, x, h->act == PT_ACT_NONE ? m->cfg.act : h->act);
	}
	if (h->norm)
		x = pt_sum_norm(run, m, m->body->part[PT_ROLE_HEAD_NORM], x, NULL);
	for (int i = 0; i < m->body->nown; i++)
		x = own_step(run, m, &m->body->own[i], x);
	if (h->dropout)
		x = pt_op_dropout(run, x, m->cfg.drop_class, m->body->rng_head);
	return x;
}

const struct pt_site *pt_model_head_dense(const struct pt_model *m)
{
	const struct pt_head *h = m->body->head;

	return h && h->out ? m->body->part[PT_ROLE_HEAD_DENSE] : NULL;
}

struct pt_tensor *pt_model_head_input(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				      struct pt_tensor *hidden)
{
	hidden = hidden ? pool(run, m, in, hidden) : NULL;
	return hidden ? transform(run, m, hidden) : NULL;
}

static bool has_task(struct pt_run *run, const struct pt_model *m, bool is, const char *what)
{
	if (!is && !run->err.status)
		pt_error(&run->err, PT_USAGE, "the model was opened for %s, not %s", pt_task_name(m->task), what);
	return is && !run->err.status;
}

struct pt_tensor *pt_model_classify(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				    struct pt_tensor *hidden)
{
	const struct pt_head *h = m->body->head;
	bool is = h && h->out && !pt_task_text(m->task);

	if (!hidden || !has_task(run, m, is, "for classification"))
		return NULL;
	hidden = pt_model_head_input(run, m, in, hidden);
	if (!hidden)
		return NULL;
	hidden = pt_site_pass(run, m->body->part[PT_ROLE_HEAD_IN], hidden);
	return pt_site_linear1(run, m->body->part[PT_ROLE_HEAD_OUT], hidden);
}

struct pt_tensor *pt_model_embed(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				 struct pt_tensor *hidden)
{
	if (!hidden || !has_task(run, m, m->task == PT_TASK_CONTRASTIVE, "for embeddings"))
		return NULL;
	return pool(run, m, in, hidden);
}

bool pt_model_embeds_unit(const struct pt_model *m)
{
	return m->body->unit;
}

/* 0, 1, 2 ...: the rows of what was picked. */
static const int32_t *all_rows(struct pt_run *run, int64_t n)
{
	int32_t *idx = pt_pool_alloc(&run->pool, (size_t)n * sizeof *idx, &run->err);

	for (int64_t i = 0; idx && i < n; i++)
		idx[i] = (int32_t)i;
	return idx ? pt_run_upload(run, idx, (size_t)n * sizeof *idx) : NULL;
}

struct pt_tensor *pt_model_nll_head(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden,
				    const int32_t *rows, int64_t n, struct pt_nll *out)
{
	const struct pt_head *h = m->body->head;
	struct pt_site *in = m->body->part[PT_ROLE_HEAD_IN];

	out->scale = pt_task_vocab(m->task) ? m->cfg.logit_scale : 1;
	out->cap = pt_task_vocab(m->task) ? m->cfg.final_softcap : 0;
	out->rows = n;
	if (!hidden || !has_task(run, m, pt_task_per_token(m->task), "for targets of tokens"))
		return NULL;
	if (h->dense || h->dropout || m->body->nown || pt_site_passes(in)) {
		out->row = all_rows(run, n);
		hidden = pick(run, m, hidden, rows, n, false);
		hidden = hidden ? pt_site_pass(run, in, transform(run, m, hidden)) : NULL;
	} else {
		out->row = pt_run_upload(run, rows, (size_t)n * sizeof *rows);
	}
	if (hidden)
		pt_site_nll_head(run, m->body->part[PT_ROLE_HEAD_OUT], &out->head);
	return run->err.status ? NULL : hidden;
}

struct pt_tensor *pt_model_logits(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden,
				  const int32_t *idx, int64_t n)
{
	bool is = pt_task_text(m->task);
	struct pt_tensor *x;

	if (!hidden || !has_task(run, m, is, "as a language model"))
		return NULL;
	x = pt_op_gather(run, hidden, idx, n, NULL);
	for (int i = 0; i < m->body->nown; i++)
		x = own_step(run, m, &m->body->own[i], x);
	x = pt_site_pass(run, m->body->part[PT_ROLE_HEAD_IN], x);
	if (m->cfg.logit_scale != 1)
		x = pt_op_scale(run, x, m->cfg.logit_scale);
	x = pt_site_linear1(run, m->body->part[PT_ROLE_HEAD_OUT], x);
	/* The soft cap: cap tanh(x / cap). */
	if (m->cfg.final_softcap > 0) {
		x = pt_op_act(run, pt_op_scale(run, x, 1 / m->cfg.final_softcap), PT_ACT_TANH);
		x = pt_op_scale(run, x, m->cfg.final_softcap);
	}
	return x;
}
