/* SPDX-License-Identifier: MIT */
/*
 * block.c - one transformer block with the switches of struct pt_config, and
 * the walk through all blocks.
 *
 * Pre-norm blocks hand on the residual stream and, apart from it, what is
 * still to be added, so that the sum is taken in the norm that follows.
 */
#include "model/body.h"

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
	o = pt_site_linear1(run, l->part[PT_ROLE_O], o);
	o = pt_op_dropout(run, o, c->drop_hidden, l->rng_attn_out);
	return pt_site_block(run, l->part[PT_ROLE_ATTN_OUT], x, o);
}

static struct pt_tensor *feed_forward(struct pt_run *run, const struct pt_pass *p,
				      const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *const gated[2] = { l->part[PT_ROLE_GATE], l->part[PT_ROLE_UP] };
	struct pt_tensor *y[2];

	if (c->ffn_form == PT_FFN_GATED) {
		pt_site_linear(run, gated, 2, x, y);
		y[0] = pt_op_glu(run, y[0], y[1], c->act);
	} else {
		y[0] = pt_site_linear1(run, l->part[PT_ROLE_UP], x);
		y[0] = pt_op_act(run, y[0], c->act);
	}
	y[0] = pt_site_linear1(run, l->part[PT_ROLE_DOWN], y[0]);
	y[0] = pt_op_dropout(run, y[0], c->drop_hidden, l->rng_ffn_out);
	return pt_site_block(run, l->part[PT_ROLE_FFN_OUT], x, y[0]);
}

static struct pt_tensor *pre_block(struct pt_run *run, const struct pt_pass *p,
				   const struct pt_layer *l, struct pt_tensor *x,
				   struct pt_tensor **delta)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *n1 = l->part[PT_ROLE_ATTN_NORM], *n2 = l->part[PT_ROLE_FFN_NORM];
	struct pt_tensor *y;

	y = *delta ? pt_site_add_norm(run, n1, c->norm, c->eps, x, *delta, &x)
		   : pt_site_norm(run, n1, c->norm, c->eps, x);
	y = attention(run, p, l, y);
	y = pt_site_add_norm(run, n2, c->norm, c->eps, x, y, &x);
	*delta = feed_forward(run, p, l, y);
	return x;
}

static struct pt_tensor *post_block(struct pt_run *run, const struct pt_pass *p,
				    const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *sum = NULL, *y;

	y = attention(run, p, l, x);
	x = pt_site_add_norm(run, l->part[PT_ROLE_ATTN_NORM], c->norm, c->eps, x, y, &sum);
	y = feed_forward(run, p, l, x);
	return pt_site_add_norm(run, l->part[PT_ROLE_FFN_NORM], c->norm, c->eps, x, y, &sum);
}

static struct pt_tensor *block(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			       struct pt_tensor *x, struct pt_tensor **delta)
{
	if (p->m->cfg.form == PT_BLOCK_PRE)
		return pre_block(run, p, l, x, delta);
	return post_block(run, p, l, x);
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
	out[0] = delta ? pt_op_add(run, x, delta) : x;
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

struct pt_tensor *pt_blocks(struct pt_run *run, struct pt_pass *p, struct pt_tensor *x,
			    struct pt_tensor **delta)
{
	const struct pt_shape shape = { 2, { p->rows->n, p->m->cfg.hidden, 0 }, p->rows };

	*delta = NULL;
	for (int i = 0; x && i < p->m->cfg.layers; i++) {
		const struct pt_layer *l = &p->m->body->layer[i];
		struct scoped arg = { *p, l };
		struct pt_tensor *out = NULL;
		bool grad = run->record && (x->needs_grad || (*delta && (*delta)->needs_grad) ||
					    layer_trains(l));

		if (grad && !p->m->recompute) {
			x = block(run, p, l, x, delta);
			continue;
		}
		if (*delta)
			x = pt_op_add(run, x, *delta);
		*delta = NULL;
		/* Nothing inside is needed again: released block by block. */
		if (pt_scope(run, grad ? PT_SCOPE_RECOMPUTE : PT_SCOPE_NOGRAD, scoped_block, &arg,
			     sizeof arg, &x, 1, &shape, &out, 1))
			return NULL;
		x = out;
	}
	return x;
}
