/* SPDX-License-Identifier: MIT */
/*
 * attn.c - attention (Vaswani et al. 2017; blocked as Dao et al. 2022,
 * "FlashAttention") with everything a family may want of it, and rotary
 * position embeddings (Su et al. 2021).
 */
#include "tensor/op.h"

struct rope_ctx {
	struct pt_k_rope k;
	bool done;			/* the attention's backward did it */
};

static int rope_backward(struct pt_run *run, struct pt_node *node)
{
	const struct rope_ctx *c = node->ctx;
	struct pt_k_rope k = c->k;

	/* In place on the gradient: all consumers of the rotated rows have added theirs. */
	if (c->done || !node->in[0]->grad)
		return 0;
	k.x = pt_tape_grad_own(run, node->in[0]);
	k.inverse = true;
	return k.x ? run->dev->k->rope(run->dev, &k, &run->err) : run->err.status;
}

bool pt_op_rope_fill(struct pt_run *run, const struct pt_tensor *x, int heads, int head_dim, const struct pt_rope *rope,
		     struct pt_k_rope *k)
{
	const int32_t *pos = rope->pos ? rope->pos : x->rows ? x->rows->pos : NULL;

	if (x->shape[1] != (int64_t)heads * head_dim || rope->rot_dim > head_dim || rope->rot_dim % 2 ||
	    (!pos && x->shape[0])) {
		pt_op_fail(run, PT_FAIL, "rope: %d heads of %d do not fit %lld features with positions",
			   heads, head_dim, (long long)x->shape[1]);
		return false;
	}
	*k = (struct pt_k_rope){ .n = x->shape[0], .heads = heads, .head_dim = head_dim,
		.rot_dim = rope->rot_dim, .type = x->type, .x = x->data, .pos = pos,
		.cos = rope->cos, .sin = rope->sin };
	return true;
}

bool pt_op_rope_record(struct pt_run *run, struct pt_tensor *x, const struct pt_k_rope *k)
{
	struct pt_node *node;

	if (!run->record || !x->needs_grad)
		return true;
	node = pt_tape_push(run, "rope", rope_backward, pt_arena_mark(&run->arena), &x, 1, NULL, 0, sizeof(struct rope_ctx));
	if (!node)
		return false;
	((struct rope_ctx *)node->ctx)->k = *k;
	return true;
}

struct pt_tensor *pt_op_rope(struct pt_run *run, struct pt_tensor *x, int heads, int head_dim,
			     const struct pt_rope *rope)
{
	struct pt_k_rope k;

	if (!pt_op_in(run, "rope", x, 2) || !pt_op_act_type(run, "rope", x) ||
	    !pt_op_rope_fill(run, x, heads, head_dim, rope, &k) || pt_tape_check_inplace(run, x) ||
	    run->dev->k->rope(run->dev, &k, &run->err))
		return NULL;
	return pt_op_rope_record(run, x, &k) ? x : NULL;
}

/*
 * The rotation of x where it is among the last two nodes on the tape, those before an attention: then nothing stands
 * between them that the gradient of the rotated rows would come from.
 */
static struct rope_ctx *rope_before(const struct pt_run *run, const struct pt_tensor *x)
{
	for (size_t i = run->tape->n; i > 0 && i + 2 > run->tape->n; i--) {
		struct pt_node *node = run->tape->node[i - 1];

		if (node->backward != rope_backward)
			return NULL;
		if (node->in[0] == x)
			return node->ctx;
	}
	return NULL;
}

/* The attention turns a gradient that it writes back itself. */
static const struct pt_k_rope *take_turn(const struct pt_run *run, const struct pt_tensor *x, const void *grad, bool acc)
{
	struct rope_ctx *c = grad && !acc ? rope_before(run, x) : NULL;

	if (!c)
		return NULL;
	c->done = true;
	return &c->k;
}

struct attn_ctx {
	struct pt_k_attn k;
	struct pt_tensor *q, *kk, *v, *o;
	struct pt_tensor *table, *pk, *pv;	/* NULL where there is none */
};

/* The kernel leaves rows of no sequence alone; what others read there must be zero. */
static void zero_tail(struct pt_run *run, void *p, const struct pt_rows *rows, int64_t n, int64_t c)
{
	int64_t from = rows->host_cu[rows->batch];
	size_t at = (size_t)(from * c) * pt_dtype_size(run->act_type);

	if (p && from < n && !run->err.status)
		run->dev->k->fill(run->dev, run->act_type, (char *)p + at, (size_t)((n - from) * c), 0,
				  &run->err);
}

static int attn_backward(struct pt_run *run, struct pt_node *node)
{
	struct attn_ctx *c = node->ctx;
	struct pt_k_attn k = c->k;

	k.doo = c->o->grad;
	k.dq = pt_tape_grad(run, c->q, &k.acc_dq);
	k.dk = pt_tape_grad(run, c->kk, &k.acc_dk);
	k.dv = pt_tape_grad(run, c->v, &k.acc_dv);
	k.turn_q = take_turn(run, c->q, k.dq, k.acc_dq);
	k.turn_k = take_turn(run, c->kk, k.dk, k.acc_dk);
	zero_tail(run, k.acc_dq ? NULL : k.dq, c->q->rows, k.nq, k.ldq);
	zero_tail(run, k.acc_dk ? NULL : k.dk, c->kk->rows, k.nk, k.ldk);
	zero_tail(run, k.acc_dv ? NULL : k.dv, c->kk->rows, k.nk, k.ldv);
	k.dbias = k.bias == PT_BIAS_BUCKETS ? pt_tape_grad_add(run, c->table) : NULL;
	k.dprefix_k = pt_tape_grad_add(run, c->pk);
	k.dprefix_v = pt_tape_grad_add(run, c->pv);
	if (pt_op_scratch(run, run->dev->k->attn_scratch(run->dev, &k, true), &k.scratch))
		run->dev->k->attn_bwd(run->dev, &k, &run->err);
	pt_op_scratch_drop(run, k.scratch);
	return run->err.status;
}

static bool check_rows(struct pt_run *run, const struct pt_tensor *q, const struct pt_tensor *k,
		       const struct pt_tensor *v, const struct pt_attn *a)
{
	const char *why = NULL;

	if (!q->rows || !k->rows || !q->rows->host_cu || !k->rows->host_cu)
		why = "rows without sequences";
	else if (q->rows->batch != k->rows->batch)
		why = "queries and keys of different numbers of sequences";
	else if (q->shape[0] < q->rows->host_cu[q->rows->batch] ||
		 k->shape[0] < k->rows->host_cu[k->rows->batch] || k->shape[0] != v->shape[0])
		why = "fewer rows than the sequences have";
	else if (a->heads < 1 || a->kv_heads < 1 || a->heads % a->kv_heads)
		why = "heads are no multiple of key/value heads";
	else if (q->shape[1] != (int64_t)a->heads * a->head_dim ||
		 k->shape[1] != (int64_t)a->kv_heads * a->head_dim || k->shape[1] != v->shape[1])
		why = "features do not fit the heads";
	else if (q == k || k == v || q == v)
		why = "queries, keys and values must be different tensors";
	if (why)
		pt_op_fail(run, PT_FAIL, "attention: %s", why);
	return !why;
}

static bool check_extras(struct pt_run *run, const struct pt_attn *a)
{
	const struct pt_prefix *p = a->prefix;
	int64_t want = (int64_t)a->heads * (a->bias == PT_BIAS_BUCKETS ? a->buckets : 1);

	if (a->bias != PT_BIAS_NONE) {
		if (!pt_op_in(run, "attention", a->bias_table, 0))
			return false;
		if (pt_tensor_count(a->bias_table) != want || a->bias_table->type != PT_F32) {
			pt_op_fail(run, PT_FAIL, "attention: the bias table has not %lld f32 elements",
				   (long long)want);
			return false;
		}
	}
	if (!p || !p->n)
		return true;
	if (!pt_op_in(run, "attention", p->k, 2) || !pt_op_in(run, "attention", p->v, 2))
		return false;
	if (p->k->shape[1] != (int64_t)a->kv_heads * a->head_dim || p->v->shape[1] != p->k->shape[1] ||
	    p->k->shape[0] != p->v->shape[0] || p->k->shape[0] < p->host_cu[p->n] ||
	    p->k->type != run->act_type || p->v->type != run->act_type) {
		pt_op_fail(run, PT_FAIL, "attention: the table of prefixes does not fit");
		return false;
	}
	return true;
}

static struct pt_k_attn attn_fill(const struct pt_tensor *q, const struct pt_tensor *k,
				  const struct pt_tensor *v, const struct pt_attn *a,
				  struct pt_tensor *o)
{
	struct pt_k_attn x = { .nq = q->shape[0], .nk = k->shape[0], .batch = q->rows->batch,
		.heads = a->heads, .kv_heads = a->kv_heads, .head_dim = a->head_dim, .type = q->type,
		.q = q->data, .k = k->data, .v = v->data, .ldq = q->shape[1], .ldk = k->shape[1],
		.ldv = v->shape[1], .ldo = q->shape[1], .cu_q = q->rows->cu, .cu_k = k->rows->cu,
		.host_cu_q = q->rows->host_cu, .host_cu_k = k->rows->host_cu, .causal = a->causal,
		.window = a->window, .scale = a->scale, .softcap = a->softcap, .bias = a->bias,
		.buckets = a->buckets, .max_distance = a->max_distance,
		.bidirectional = a->bidirectional, .o = o->data };

	if (a->bias != PT_BIAS_NONE)
		x.bias_table = a->bias_table->data;
	if (a->prefix && a->prefix->n) {
		x.prefixes = a->prefix->n;
		x.prefix_k = a->prefix->k->data;
		x.prefix_v = a->prefix->v->data;
		x.cu_prefix = a->prefix->cu;
		x.host_cu_prefix = a->prefix->host_cu;
		x.prefix_index = a->prefix->index;
		x.host_prefix_index = a->prefix->host_index;
	}
	return x;
}

static bool record_attn(struct pt_run *run, size_t mark, const struct attn_ctx *c)
{
	struct pt_tensor *in[6] = { c->q, c->kk, c->v }, *out = c->o;
	struct pt_node *node;
	int nin = 3;

	if (c->table)
		in[nin++] = c->table;
	if (c->pk) {
		in[nin++] = c->pk;
		in[nin++] = c->pv;
	}
	node = pt_tape_push(run, "attention", attn_backward, mark, in, nin, &out, 1, sizeof *c);
	if (!node)
		return false;
	*(struct attn_ctx *)node->ctx = *c;
	for (int i = 0; i < nin; i++)
		pt_tape_save(run, node, in[i]);
	pt_tape_save(run, node, out);
	return true;
}

struct pt_tensor *pt_op_attn(struct pt_run *run, struct pt_tensor *q, struct pt_tensor *k,
			     struct pt_tensor *v, const struct pt_attn *attn)
{
	size_t mark = pt_arena_mark(&run->arena);
	struct attn_ctx c = { .q = q, .kk = k, .v = v };

	if (!pt_op_in(run, "attention", q, 2) || !pt_op_in(run, "attention", k, 2) ||
	    !pt_op_in(run, "attention", v, 2) || !pt_op_act_type(run, "attention", q) ||
	    !pt_op_act_type(run, "attention", k) || !pt_op_act_type(run, "attention", v) || !check_rows(run, q, k, v, attn) ||
	    !check_extras(run, attn))
		return NULL;
	c.o = pt_op_like(run, q);
	if (!c.o)
		return NULL;
	c.table = attn->bias != PT_BIAS_NONE ? attn->bias_table : NULL;
	c.pk = attn->prefix && attn->prefix->n ? attn->prefix->k : NULL;
	c.pv = c.pk ? attn->prefix->v : NULL;
	c.o->needs_grad = pt_op_wants(run, q) || pt_op_wants(run, k) || pt_op_wants(run, v) ||
			  pt_op_wants(run, c.table) || pt_op_wants(run, c.pk) || pt_op_wants(run, c.pv);
	c.k = attn_fill(q, k, v, attn, c.o);
	c.k.dropout = run->train ? attn->dropout : 0;
	c.k.site = attn->site;
	if (!pt_op_rng(run, "attention", q->rows, c.k.dropout, &c.k.rng))
		return NULL;
	if (run->record && c.o->needs_grad) {
		c.k.lse = pt_op_keep(run, c.k.nq * attn->heads, sizeof *c.k.lse);
		if (!c.k.lse)
			return NULL;
	}
	zero_tail(run, c.o->data, q->rows, c.k.nq, c.k.ldo);
	if (pt_op_scratch(run, run->dev->k->attn_scratch(run->dev, &c.k, false), &c.k.scratch))
		run->dev->k->attn_fwd(run->dev, &c.k, &run->err);
	pt_op_scratch_drop(run, c.k.scratch);
	c.k.scratch = NULL;
	if (run->err.status)
		return NULL;
	if (run->record && c.o->needs_grad && !record_attn(run, mark, &c))
		return NULL;
	return c.o;
}
