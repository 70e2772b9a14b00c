/* SPDX-License-Identifier: MIT */
/*
 * block.c - one transformer block with the switches of struct pt_config, and
 * the walk through all blocks to the last norm.
 *
 * Pre-norm blocks hand on the residual stream and, apart from it, what is
 * still to be added, so that the sum is taken in the norm that follows. What
 * a formula has read for the last time it says to be done with.
 */
#include "model/body.h"

/* y, computed from x, which is read no more (they may be one). */
static struct pt_tensor *then(struct pt_run *run, struct pt_tensor *y, struct pt_tensor *x)
{
	if (y != x)
		pt_tensor_done(run, x);
	return y;
}

static struct pt_tensor *attention(struct pt_run *run, const struct pt_pass *p,
				   const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *const qkv[3] = { l->part[PT_ROLE_Q], l->part[PT_ROLE_K], l->part[PT_ROLE_V] };
	struct pt_tensor *y[3], *o;
	struct pt_prefix prefix = { 0 };
	struct pt_attn a = {
		.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
		.causal = c->causal, .window = l->window, .scale = c->scale,
		.dropout = run->train ? c->drop_attn : 0, .site = l->rng_attn,
	};

	pt_site_linear(run, qkv, 3, x, y);
	if (p->rope.cos) {
		y[0] = pt_op_rope(run, y[0], c->heads, c->head_dim, &p->rope);
		y[1] = pt_op_rope(run, y[1], c->kv_heads, c->head_dim, &p->rope);
	}
	if (p->cache)
		pt_kvcache_append(run, p->cache, l->index, &y[1], &y[2]);
	if (pt_site_prefix(run, l->part[PT_ROLE_KV], &prefix))
		a.prefix = &prefix;
	o = pt_op_attn(run, y[0], y[1], y[2], &a);
	for (int i = 0; i < 3; i++)
		pt_tensor_done(run, y[i]);
	o = then(run, pt_site_linear1(run, l->part[PT_ROLE_O], o), o);
	o = then(run, pt_op_dropout(run, o, c->drop_hidden, l->rng_attn_out), o);
	return pt_site_block(run, l->part[PT_ROLE_ATTN_OUT], x, o);
}

static struct pt_tensor *feed_forward(struct pt_run *run, const struct pt_pass *p,
				      const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *const gated[2] = { l->part[PT_ROLE_GATE], l->part[PT_ROLE_UP] };
	struct pt_tensor *y[2], *z;

	if (c->ffn_form == PT_FFN_GATED) {
		pt_site_linear(run, gated, 2, x, y);
		z = then(run, pt_op_glu(run, y[0], y[1], c->act), y[0]);
		pt_tensor_done(run, y[1]);
	} else {
		z = pt_site_linear1(run, l->part[PT_ROLE_UP], x);
		z = then(run, pt_op_act(run, z, c->act), z);
	}
	z = then(run, pt_site_linear1(run, l->part[PT_ROLE_DOWN], z), z);
	z = then(run, pt_op_dropout(run, z, c->drop_hidden, l->rng_ffn_out), z);
	return pt_site_block(run, l->part[PT_ROLE_FFN_OUT], x, z);
}

/* norm(x + delta); *x becomes the sum. delta NULL: norm(x). */
static struct pt_tensor *sum_norm(struct pt_run *run, const struct pt_config *c, struct pt_site *norm,
				  struct pt_tensor **x, struct pt_tensor *delta)
{
	struct pt_tensor *sum = NULL, *y;

	if (!delta)
		return pt_site_norm(run, norm, c->norm, c->eps, *x);
	y = pt_site_add_norm(run, norm, c->norm, c->eps, *x, delta, &sum);
	pt_tensor_done(run, delta);
	*x = then(run, sum, *x);
	return y;
}

static struct pt_tensor *pre_block(struct pt_run *run, const struct pt_pass *p,
				   const struct pt_layer *l, struct pt_tensor *x,
				   struct pt_tensor **delta)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *y;

	y = sum_norm(run, c, l->part[PT_ROLE_ATTN_NORM], &x, *delta);
	*delta = then(run, attention(run, p, l, y), y);
	y = sum_norm(run, c, l->part[PT_ROLE_FFN_NORM], &x, *delta);
	*delta = then(run, feed_forward(run, p, l, y), y);
	return x;
}

static struct pt_tensor *post_block(struct pt_run *run, const struct pt_pass *p,
				    const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *y;

	y = sum_norm(run, c, l->part[PT_ROLE_ATTN_NORM], &x, attention(run, p, l, x));
	x = then(run, y, x);
	y = sum_norm(run, c, l->part[PT_ROLE_FFN_NORM], &x, feed_forward(run, p, l, x));
	return then(run, y, x);
}

static struct pt_tensor *block(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			       struct pt_tensor *x, struct pt_tensor **delta)
{
	if (p->m->cfg.form == PT_BLOCK_PRE)
		return pre_block(run, p, l, x, delta);
	return post_block(run, p, l, x);
}

/* x + delta, where there is one. */
static struct pt_tensor *total(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *delta)
{
	struct pt_tensor *sum;

	if (!delta)
		return x;
	sum = then(run, pt_op_add(run, x, delta), x);
	pt_tensor_done(run, delta);
	return sum;
}

struct scoped {
	struct pt_pass pass;
	const struct pt_layer *layer;
};

/* A block in a scope: one tensor in, one out, the sum taken inside. */
static int scoped_block(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			struct pt_tensor **out, int nout)
{
	const struct scoped *s = arg;
	struct pt_tensor *delta = NULL, *x;

	(void)nin;
	(void)nout;
	x = block(run, &s->pass, s->layer, in[0], &delta);
	out[0] = total(run, x, delta);
	return run->err.status;
}

static bool trains(const struct pt_weight *w)
{
	return w && w->use->needs_grad;
}

/* Whether backward would have something to do inside the block but for its input. */
static bool layer_trains(const struct pt_layer *l)
{
	for (int r = 0; r < PT_ROLES; r++) {
		const struct pt_site *s = l->part[r];

		if (!s)
			continue;
		if (trains(s->weight) || trains(s->bias))
			return true;
		for (int i = 0; i < s->nhooks; i++) {
			if (s->hook[i]->enabled)
				return true;
		}
	}
	return false;
}

struct pt_tensor *pt_sum_norm(struct pt_run *run, const struct pt_model *m, struct pt_site *norm,
			      struct pt_tensor *x, struct pt_tensor *delta)
{
	struct pt_tensor *y;

	if (!norm)
		return total(run, x, delta);
	y = sum_norm(run, &m->cfg, norm, &x, delta);
	return then(run, y, x);
}

struct pt_tensor *pt_blocks(struct pt_run *run, const struct pt_pass *p, struct pt_tensor *x)
{
	const struct pt_shape shape = { 2, { p->rows->n, p->m->cfg.hidden, 0 }, p->rows };
	struct pt_tensor *delta = NULL;

	for (int i = 0; x && i < p->m->cfg.layers; i++) {
		const struct pt_layer *l = &p->m->body->layer[i];
		struct scoped arg = { *p, l };
		struct pt_tensor *out = NULL;
		bool grad = run->record && (x->needs_grad || (delta && delta->needs_grad) ||
					    layer_trains(l));

		if (grad && !p->m->recompute) {
			x = block(run, p, l, x, &delta);
			continue;
		}
		x = total(run, x, delta);
		delta = NULL;
		/* Nothing inside is needed again: released block by block. */
		if (pt_scope(run, grad ? PT_SCOPE_RECOMPUTE : PT_SCOPE_NOGRAD, scoped_block, &arg,
			     sizeof arg, &x, 1, &shape, &out, 1))
			return NULL;
		x = then(run, out, x);
	}
	return pt_sum_norm(run, p->m, p->m->body->part[PT_ROLE_FINAL_NORM], x, delta);
}
