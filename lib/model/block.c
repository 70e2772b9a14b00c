/* SPDX-License-Identifier: MIT */
/*
 * block.c - one transformer block with the switches of struct pt_config.
 *
 * Pre-norm blocks hand on the residual stream and, apart from it, what is
 * still to be added, so that the sum is taken in the norm that follows. What
 * a formula has read for the last time it says to be done with.
 */
#include "model/body.h"

/* Queries, keys and values of x, from three linears or from one; those of three rotated by turn, from one not. */
static void project(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l, const struct pt_turn *turn,
		    struct pt_tensor *x, struct pt_tensor *y[3])
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *const qkv[3] = { l->part[PT_ROLE_Q], l->part[PT_ROLE_K], l->part[PT_ROLE_V] };
	struct pt_tensor *z;

	if (!l->part[PT_ROLE_QKV]) {
		pt_site_turned(run, qkv, turn, 3, x, y);
		return;
	}
	z = pt_site_linear1(run, l->part[PT_ROLE_QKV], x);
	for (int i = 0; i < 3; i++)
		y[i] = pt_op_pieces(run, z, c->heads + 2 * c->kv_heads, p->qkv[i],
				    i ? c->kv_heads : c->heads);
	pt_tensor_done(run, z);
}

/* Queries, keys and values; a norm of heads, where there is one, is before the rotation. */
static void heads_of(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l, struct pt_tensor *x,
		     struct pt_tensor *y[3])
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *const norm[2] = { l->part[PT_ROLE_Q_NORM], l->part[PT_ROLE_K_NORM] };
	struct pt_turn turn[3] = { { 0 } }, at_once[3] = { { 0 } };

	for (int i = 0; i < 2 && l->cfg->rope >= 0; i++) {
		turn[i] = (struct pt_turn){ &p->rope[l->cfg->rope], i ? c->kv_heads : c->heads, c->head_dim };
		if (!norm[i] && !l->part[PT_ROLE_QKV]) {
			at_once[i] = turn[i];
			turn[i].rope = NULL;
		}
	}
	project(run, p, l, at_once, x, y);
	for (int i = 0; i < 2; i++) {
		if (norm[i])
			y[i] = pt_then(run, pt_site_norm(run, norm[i], c->norm, c->eps, y[i]), y[i]);
		if (turn[i].rope)
			y[i] = pt_op_rope(run, y[i], turn[i].heads, turn[i].head_dim, turn[i].rope);
	}
}

/* Where an attention's keys and values are hooked, and what follows it. */
struct outlet {
	struct pt_site *kv, *o;
	uint64_t rng;			/* of the dropout behind o */
};

/* From queries, keys and values to the sub-block's output; they are done with. */
static struct pt_tensor *attend(struct pt_run *run, const struct pt_config *c, const struct outlet *to,
				struct pt_attn *a, struct pt_tensor *const y[3])
{
	struct pt_prefix prefix = { 0 };
	struct pt_tensor *o;

	if (y[0] && pt_site_prefix(run, to->kv, y[0]->rows, &prefix))
		a->prefix = &prefix;
	o = pt_op_attn(run, y[0], y[1], y[2], a);
	pt_tensor_done(run, prefix.k);
	pt_tensor_done(run, prefix.v);
	for (int i = 0; i < 3; i++)
		pt_tensor_done(run, y[i]);
	o = pt_then(run, pt_site_linear1(run, to->o, o), o);
	return pt_then(run, pt_op_dropout(run, o, c->drop_attn_out, to->rng), o);
}

/* The bias on scores by position: of the whole stack, or by head. */
static void set_bias(const struct pt_pass *p, const struct pt_layer *l, struct pt_attn *a,
		     struct pt_tensor *slopes)
{
	const struct pt_config *c = &p->m->cfg;
	const int64_t heads = c->heads;

	if (c->position == PT_POS_SLOPES) {
		pt_tensor_init(slopes, PT_F32, 1, &heads, p->m->body->slopes);
		a->bias = c->key_slopes ? PT_BIAS_KEY_SLOPES : PT_BIAS_SLOPES;
		a->bias_table = slopes;
	} else if (c->position == PT_POS_BUCKETS) {
		struct pt_tensor *use = l->part[PT_ROLE_REL_BIAS]->weight->use;

		a->bias = PT_BIAS_BUCKETS;
		a->bias_table = use->type == PT_F32 ? use : (struct pt_tensor *)(uintptr_t)&p->stack->bias;
		a->buckets = c->buckets;
		a->max_distance = c->max_distance;
		a->bidirectional = !p->stack->cfg->causal;
	}
}

static struct pt_tensor *attention(struct pt_run *run, const struct pt_pass *p,
				   const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	const struct outlet to = { l->part[PT_ROLE_KV], l->part[PT_ROLE_O], l->rng_attn_out };
	struct pt_tensor *y[3] = { NULL, NULL, NULL }, slopes;
	struct pt_attn a = {
		.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim,
		.causal = p->stack->cfg->causal, .window = l->cfg->window, .scale = l->cfg->scale,
		.softcap = c->attn_softcap, .dropout = run->train ? c->drop_attn : 0,
		.site = l->rng_attn,
	};

	heads_of(run, p, l, x, y);
	if (p->cache)
		pt_kvcache_append(run, p->cache, l->index, &y[1], &y[2]);
	set_bias(p, l, &a, &slopes);
	return attend(run, c, &to, &a, y);
}

void pt_block_cross_kv(struct pt_run *run, const struct pt_layer *l, struct pt_tensor *memory,
		       struct pt_tensor *kv[2])
{
	struct pt_site *const site[2] = { l->part[PT_ROLE_CROSS_K], l->part[PT_ROLE_CROSS_V] };

	pt_site_linear(run, site, 2, memory, kv);
}

/* Attention to all of the source: no mask, no positions. */
static struct pt_tensor *cross_attention(struct pt_run *run, const struct pt_pass *p,
					 const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	const struct outlet to = { l->part[PT_ROLE_CROSS_KV], l->part[PT_ROLE_CROSS_O], l->rng_cross_out };
	struct pt_tensor *y[3] = { NULL, NULL, NULL };
	struct pt_attn a = {
		.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim, .scale = l->cfg->scale,
		.softcap = c->attn_softcap, .dropout = run->train ? c->drop_attn : 0,
		.site = l->rng_cross,
	};

	y[0] = pt_site_linear1(run, l->part[PT_ROLE_CROSS_Q], x);
	if (p->cache)
		pt_kvcache_kept(p->cache, l->index, y + 1);
	else
		pt_block_cross_kv(run, l, p->memory, y + 1);
	return attend(run, c, &to, &a, y);
}

/* A gated unit, of two linears or of one. */
static struct pt_tensor *gated(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l, struct pt_tensor *x)
{
	struct pt_site *const site[2] = { l->part[PT_ROLE_GATE], l->part[PT_ROLE_UP] };
	enum pt_act act = p->m->cfg.act;
	struct pt_tensor *y[2], *z;

	if (!l->part[PT_ROLE_GATE_UP])
		return pt_site_glu(run, site, act, x);
	z = pt_site_linear1(run, l->part[PT_ROLE_GATE_UP], x);
	for (int i = 0; i < 2; i++)
		y[i] = pt_op_pieces(run, z, 2, p->halves[i], 1);
	pt_tensor_done(run, z);
	z = pt_then(run, pt_op_glu(run, y[0], y[1], act), y[0]);
	pt_tensor_done(run, y[1]);
	return z;
}

static struct pt_tensor *feed_forward(struct pt_run *run, const struct pt_pass *p,
				      const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *z;

	if (l->part[PT_ROLE_ROUTER])
		return pt_mixture(run, p, l, x);
	if (c->ffn_form == PT_FFN_GATED) {
		z = gated(run, p, l, x);
	} else {
		z = pt_site_linear1(run, l->part[PT_ROLE_UP], x);
		z = pt_then(run, pt_op_act(run, z, c->act), z);
	}
	z = pt_then(run, pt_op_dropout(run, z, c->drop_act, l->rng_act), z);
	z = pt_then(run, pt_site_linear1(run, l->part[PT_ROLE_DOWN], z), z);
	return pt_then(run, pt_op_dropout(run, z, c->drop_ffn_out, l->rng_ffn_out), z);
}

/* norm(x + delta); *x becomes the sum. delta NULL: norm(x); norm NULL: the sum itself, which is *x then. */
static struct pt_tensor *sum_norm(struct pt_run *run, const struct pt_config *c, struct pt_site *norm,
				  struct pt_tensor **x, struct pt_tensor *delta)
{
	struct pt_tensor *sum = NULL, *y;

	if (!delta)
		return norm ? pt_site_norm(run, norm, c->norm, c->eps, *x) : *x;
	if (!norm) {
		*x = pt_then(run, pt_op_add(run, *x, delta), *x);
		pt_tensor_done(run, delta);
		return *x;
	}
	y = pt_site_add_norm(run, norm, c->norm, c->eps, *x, delta, &sum);
	pt_tensor_done(run, delta);
	*x = pt_then(run, sum, *x);
	return y;
}

/* What goes on of the sum x once its norm y has been read: x, or, in some families, y. */
static struct pt_tensor *residual(struct pt_run *run, const struct pt_config *c, struct pt_tensor *x,
				  struct pt_tensor *y)
{
	return c->normed_residual ? pt_then(run, y, x) : pt_then(run, x, y);
}

/*
 * What is to be added to *x of the output y of a sub-block: through the hooks at out, and the norm or the factor that
 * some families put on it. NULL where a hook gave the sum itself, which *x then is.
 */
static struct pt_tensor *join(struct pt_run *run, const struct pt_config *c, struct pt_site *out, struct pt_site *norm,
			      struct pt_tensor **x, struct pt_tensor *y)
{
	bool scaled = c->residual_scale != 1;
	struct pt_joint at = { .x = *x, .norm = norm, .kind = c->norm, .eps = c->eps, .may_replace = !norm && !scaled };

	y = pt_site_block(run, out, &at, y);
	if (at.whole) {
		*x = pt_then(run, y, *x);
		return NULL;
	}
	if (norm)
		y = pt_then(run, pt_site_norm(run, norm, c->norm, c->eps, y), y);
	return scaled ? pt_then(run, pt_op_scale(run, y, c->residual_scale), y) : y;
}

static struct pt_tensor *pre_block(struct pt_run *run, const struct pt_pass *p,
				   const struct pt_layer *l, struct pt_tensor *x,
				   struct pt_tensor **delta)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *y, *z;

	y = sum_norm(run, c, l->part[PT_ROLE_ATTN_NORM], &x, *delta);
	z = attention(run, p, l, y);
	x = residual(run, c, x, y);
	*delta = join(run, c, l->part[PT_ROLE_ATTN_OUT], l->part[PT_ROLE_ATTN_POST_NORM], &x, z);
	if (l->part[PT_ROLE_CROSS_Q]) {
		y = sum_norm(run, c, l->part[PT_ROLE_CROSS_NORM], &x, *delta);
		z = pt_then(run, cross_attention(run, p, l, y), y);
		*delta = join(run, c, l->part[PT_ROLE_CROSS_OUT], NULL, &x, z);
	}
	y = sum_norm(run, c, l->part[PT_ROLE_FFN_NORM], &x, *delta);
	pt_op_norm_again(y);
	z = feed_forward(run, p, l, y);
	x = residual(run, c, x, y);
	*delta = join(run, c, l->part[PT_ROLE_FFN_OUT], l->part[PT_ROLE_FFN_POST_NORM], &x, z);
	return x;
}

/* norm(x + y), with y through the hooks at out, or what a hook gives in place of that. */
static struct pt_tensor *join_norm(struct pt_run *run, const struct pt_config *c, struct pt_site *out,
				   struct pt_site *norm, struct pt_tensor *x, struct pt_tensor *y)
{
	struct pt_joint at = { .x = x, .norm = norm, .kind = c->norm, .eps = c->eps, .may_replace = true };

	y = pt_site_block(run, out, &at, y);
	if (!at.whole)
		y = sum_norm(run, c, norm, &x, y);
	return pt_then(run, y, x);
}

static struct pt_tensor *post_block(struct pt_run *run, const struct pt_pass *p,
				    const struct pt_layer *l, struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;

	x = join_norm(run, c, l->part[PT_ROLE_ATTN_OUT], l->part[PT_ROLE_ATTN_NORM], x, attention(run, p, l, x));
	return join_norm(run, c, l->part[PT_ROLE_FFN_OUT], l->part[PT_ROLE_FFN_NORM], x, feed_forward(run, p, l, x));
}

/* Both sub-blocks read the same sum, through one norm or through two. */
static struct pt_tensor *parallel_block(struct pt_run *run, const struct pt_pass *p,
					const struct pt_layer *l, struct pt_tensor *x,
					struct pt_tensor **delta)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_site *second = l->part[PT_ROLE_FFN_NORM];
	struct pt_joint first = { 0 }, beside = { 0 };
	struct pt_tensor *y, *a, *f;

	y = sum_norm(run, c, l->part[PT_ROLE_ATTN_NORM], &x, *delta);
	first.x = x;
	a = pt_site_block(run, l->part[PT_ROLE_ATTN_OUT], &first, attention(run, p, l, y));
	if (second)
		y = pt_then(run, pt_site_norm(run, second, c->norm, c->eps, x), y);
	f = pt_then(run, feed_forward(run, p, l, y), y);
	f = pt_site_block(run, l->part[PT_ROLE_FFN_OUT], &beside, f);
	*delta = pt_then(run, pt_op_add(run, a, f), a);
	pt_tensor_done(run, f);
	*delta = pt_then(run, pt_op_dropout(run, *delta, c->drop_sum, l->rng_ffn_out), *delta);
	return x;
}

struct pt_tensor *pt_block(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			   struct pt_tensor *x, struct pt_tensor **delta)
{
	switch (p->m->cfg.form) {
	case PT_BLOCK_PRE:
		return pre_block(run, p, l, x, delta);
	case PT_BLOCK_PARALLEL:
		return parallel_block(run, p, l, x, delta);
	default:
		return post_block(run, p, l, x);
	}
}

struct pt_tensor *pt_sum_norm(struct pt_run *run, const struct pt_model *m, struct pt_site *norm,
			      struct pt_tensor *x, struct pt_tensor *delta)
{
	struct pt_tensor *y = sum_norm(run, &m->cfg, norm, &x, delta);

	return pt_then(run, y, x);
}
