/* SPDX-License-Identifier: MIT */
/*
 * linear.c - linears that share one input, with their low-rank terms (Hu et
 * al. 2021, "LoRA"), as one call.
 *
 * A frozen linear passes on the gradient of x and keeps nothing. x stays for
 * backward only where a weight or a term's A trains; A x (u) where a term
 * trains.
 */
#include <string.h>

#include "base/mem.h"
#include "tensor/experts.h"
#include "tensor/op.h"

/* Linear i of all belongs to output i % n; with experts there are n for each. */
struct linear_ctx {
	struct pt_k_linear_group g;	/* g.lin points at lin, for forward */
	struct pt_k_linear *lin;	/* [all] */
	struct pt_k_linear *back;	/* [all]: those whose output got a gradient */
	struct pt_linear *host;		/* [all] with the tensors behind */
	struct pt_tensor **y;		/* [n] */
	struct pt_k_rope *turn;		/* [n]: what lin[].turn points at */
	struct pt_tensor *x;
	struct pt_tensor *index;	/* of the experts' route, or NULL */
	struct pt_tensor *z;		/* of a gated unit: what it makes of y[0] and y[1]; NULL: none */
	int n, all;
};

bool pt_op_linear_copy(struct pt_run *run, const struct pt_linear *lin, struct pt_linear *out)
{
	struct pt_lowrank *term;

	*out = *lin;
	if (!lin->nterms)
		return true;
	term = pt_pool_alloc(&run->pool, (size_t)lin->nterms * sizeof *term, &run->err);
	if (!term)
		return false;
	memcpy(term, lin->term, (size_t)lin->nterms * sizeof *term);
	out->term = term;
	return true;
}

bool pt_op_linear_trains(const struct pt_run *run, const struct pt_linear *lin)
{
	if (pt_op_wants(run, lin->w) || pt_op_wants(run, lin->bias))
		return true;
	for (int i = 0; i < lin->nterms; i++) {
		const struct pt_lowrank *t = &lin->term[i];

		if (pt_op_wants(run, t->a) || pt_op_wants(run, t->b) || pt_op_wants(run, t->bias))
			return true;
	}
	return false;
}

bool pt_op_linear_reads_x(const struct pt_run *run, const struct pt_linear *lin)
{
	if (pt_op_wants(run, lin->w))
		return true;
	for (int i = 0; i < lin->nterms; i++)
		if (pt_op_wants(run, lin->term[i].a) || pt_op_wants(run, lin->term[i].b))
			return true;
	return false;
}

int pt_op_linear_inputs(const struct pt_linear *lin, struct pt_tensor **in, int n)
{
	in[n++] = lin->w;
	if (lin->bias)
		in[n++] = lin->bias;
	for (int i = 0; i < lin->nterms; i++) {
		in[n++] = lin->term[i].a;
		in[n++] = lin->term[i].b;
		if (lin->term[i].bias)
			in[n++] = lin->term[i].bias;
	}
	return n;
}

void pt_op_linear_grads(struct pt_run *run, const struct pt_linear *lin, struct pt_k_linear *k)
{
	struct pt_k_lowrank *term = (struct pt_k_lowrank *)k->term;	/* our own copy */

	k->dw = pt_tape_grad_add(run, lin->w);
	k->dbias = pt_tape_grad_add(run, lin->bias);
	for (int i = 0; i < lin->nterms; i++) {
		term[i].da = pt_tape_grad_add(run, lin->term[i].a);
		term[i].db = pt_tape_grad_add(run, lin->term[i].b);
		term[i].dbias = pt_tape_grad_add(run, lin->term[i].bias);
	}
}

static bool fill_term(struct pt_run *run, const char *op, const struct pt_lowrank *t, int64_t nout,
		      int64_t k, struct pt_k_lowrank *out)
{
	if (!pt_op_in(run, op, t->a, 2) || !pt_op_in(run, op, t->b, 2))
		return false;
	if (t->a->shape[1] != k || t->b->shape[0] != nout || t->a->shape[0] != t->b->shape[1] ||
	    t->a->type != PT_F32 || t->b->type != PT_F32 ||
	    (t->bias && (pt_tensor_count(t->bias) != nout || t->bias->type != PT_F32))) {
		pt_op_fail(run, PT_FAIL, "%s: a low-rank term [%lld,%lld] x [%lld,%lld] does not fit into "
			   "[%lld,%lld]", op, (long long)t->b->shape[0], (long long)t->b->shape[1],
			   (long long)t->a->shape[0], (long long)t->a->shape[1], (long long)nout,
			   (long long)k);
		return false;
	}
	out->r = t->a->shape[0];
	out->a = t->a->data;
	out->b = t->b->data;
	out->bias = t->bias ? t->bias->data : NULL;
	out->scale = t->scale;
	out->dropout = run->train ? t->dropout : 0;
	out->site = t->site;
	return true;
}

bool pt_op_linear_fill(struct pt_run *run, const char *op, const struct pt_linear *lin, int64_t k,
		       struct pt_k_linear *out, struct pt_k_lowrank *term)
{
	const struct pt_tensor *w = lin->w;
	int64_t nout;

	if (!pt_op_in(run, op, w, 2) || (lin->bias && !pt_op_in(run, op, lin->bias, 1)))
		return false;
	nout = w->shape[lin->transposed ? 1 : 0];
	if (w->shape[lin->transposed ? 0 : 1] != k || (lin->bias && lin->bias->shape[0] != nout)) {
		pt_op_fail(run, PT_FAIL, "%s: weight %s is [%lld,%lld], the input has %lld features", op,
			   w->name ? w->name : "", (long long)w->shape[0], (long long)w->shape[1],
			   (long long)k);
		return false;
	}
	out->n = nout;
	out->w = w->data;
	out->wtype = w->type;
	out->transposed = lin->transposed;
	out->bias = lin->bias ? lin->bias->data : NULL;
	out->btype = lin->bias ? lin->bias->type : PT_F32;
	out->term = term;
	out->nterms = lin->nterms;
	for (int i = 0; i < lin->nterms; i++)
		if (!fill_term(run, op, &lin->term[i], nout, k, &term[i]))
			return false;
	return true;
}

/* Host structs of the call, from the pool. */
static struct linear_ctx *new_ctx(struct pt_run *run, int n, int all, int nterms, struct pt_k_lowrank **term)
{
	struct linear_ctx *c = pt_pool_alloc(&run->pool, sizeof *c, &run->err);

	*term = pt_pool_alloc(&run->pool, (size_t)nterms * sizeof **term, &run->err);
	if (!c || !*term)
		return NULL;
	c->n = n;
	c->all = all;
	c->lin = pt_pool_alloc(&run->pool, (size_t)all * sizeof *c->lin, &run->err);
	c->back = pt_pool_alloc(&run->pool, (size_t)all * sizeof *c->back, &run->err);
	c->host = pt_pool_alloc(&run->pool, (size_t)all * sizeof *c->host, &run->err);
	c->y = pt_pool_alloc(&run->pool, (size_t)n * sizeof(struct pt_tensor *), &run->err);
	c->turn = pt_pool_alloc(&run->pool, (size_t)n * sizeof *c->turn, &run->err);
	return c->lin && c->back && c->host && c->y && c->turn ? c : NULL;
}

/*
 * The gradients of a gated unit's inputs: left to the linears' own pass over them (g->dz), that of the gate in z's
 * memory; made here where they are added to others or not both wanted.
 */
static int unit_backward(struct pt_run *run, struct linear_ctx *c, struct pt_k_linear_group *g)
{
	struct pt_tensor *gate = c->y[0], *up, *z = c->z;
	struct pt_k_act k = { .act = g->act, .type = gate->type, .x = gate->data };
	bool acc;

	if (!z || !z->grad)
		return 0;
	up = c->y[1];
	if (gate->needs_grad && up->needs_grad && !gate->grad && !up->grad) {
		g->dz = pt_tape_grad_own(run, z);
		pt_tape_move(run, gate, z);
		pt_tape_grad(run, up, &acc);
		return run->err.status;
	}
	k.n = pt_tensor_count(gate);
	k.u = up->data;
	k.dy = z->grad;
	k.dx = pt_tape_grad(run, gate, &k.acc_dx);
	k.du = pt_tape_grad(run, up, &k.acc_du);
	return run->err.status ? run->err.status : run->dev->k->act_bwd(run->dev, &k, &run->err);
}

static int linear_backward(struct pt_run *run, struct pt_node *node)
{
	struct linear_ctx *c = *(struct linear_ctx **)node->ctx;
	struct pt_k_linear_group g = c->g;
	int n = 0;

	if (unit_backward(run, c, &g))
		return run->err.status;
	g.n = 0;
	for (int j = 0; j < c->n; j++)
		g.n += c->y[j]->grad != NULL;
	for (int i = 0; i < c->all; i++) {
		const struct pt_tensor *y = c->y[i % c->n];

		if (!y->grad)
			continue;
		c->back[n] = c->lin[i];
		c->back[n].y = g.dz ? y->data : NULL;
		c->back[n].dy = y->grad;
		pt_op_linear_grads(run, &c->host[i], &c->back[n]);
		n++;
	}
	g.lin = c->back;
	g.x = c->x->data;
	g.dx = pt_tape_grad(run, c->x, &g.acc_dx);
	if (pt_op_scratch(run, run->dev->k->linear_scratch(run->dev, &g, true), &g.scratch))
		run->dev->k->linear_bwd(run->dev, &g, &run->err);
	pt_op_scratch_drop(run, g.scratch);
	return run->err.status;
}

/* Memory for A x of each term that trains, where backward finds it. Experts compute theirs again. */
static bool keep_u(struct pt_run *run, struct linear_ctx *c)
{
	for (int i = 0; i < c->all && run->record && !c->g.experts; i++) {
		struct pt_k_lowrank *term = (struct pt_k_lowrank *)c->lin[i].term;

		for (int j = 0; j < c->lin[i].nterms; j++) {
			const struct pt_lowrank *t = &c->host[i].term[j];
			int64_t count = c->x->shape[0] * term[j].r;

			if (!pt_op_wants(run, t->a) && !pt_op_wants(run, t->b))
				continue;
			term[j].u = pt_op_keep(run, count, pt_dtype_size(run->act_type));
			if (!term[j].u)
				return false;
		}
	}
	return true;
}

static bool turns(struct pt_run *run, struct linear_ctx *c)
{
	for (int i = 0; i < c->n; i++) {
		const struct pt_turn *t = c->host[i].turn;

		if (!t)
			continue;
		if (c->g.experts)
			return pt_op_fail(run, PT_FAIL, "linear: outputs of experts are not rotated"), false;
		if (!pt_op_rope_fill(run, c->y[i], t->heads, t->head_dim, t->rope, &c->turn[i]))
			return false;
		c->lin[i].turn = &c->turn[i];
	}
	return true;
}

static bool make_outputs(struct pt_run *run, struct linear_ctx *c)
{
	struct pt_tensor *x = c->x;

	for (int j = 0; j < c->n; j++) {
		c->y[j] = pt_tensor_new(run, 2, (int64_t[]){ x->shape[0], c->lin[j].n }, x->rows);
		if (!c->y[j])
			return false;
		c->y[j]->needs_grad = pt_op_wants(run, x);
	}
	for (int i = 0; i < c->all; i++) {
		struct pt_tensor *y = c->y[i % c->n];

		if (c->lin[i].n != y->shape[1]) {
			pt_op_fail(run, PT_FAIL, "linear: weight %s has %lld outputs, that of another expert %lld",
				   c->host[i].w->name ? c->host[i].w->name : "", (long long)c->lin[i].n,
				   (long long)y->shape[1]);
			return false;
		}
		c->lin[i].y = y->data;
		y->needs_grad |= pt_op_linear_trains(run, &c->host[i]);
	}
	return turns(run, c) && keep_u(run, c);
}

static bool record_group(struct pt_run *run, struct linear_ctx *c, size_t mark, int nterms)
{
	struct pt_tensor **in, **out;
	struct pt_node *node;
	bool reads_x = false;
	int nin = 0, nout = 0;

	in = pt_pool_alloc(&run->pool, (size_t)(1 + 2 * c->all + 3 * nterms) * sizeof *in, &run->err);
	out = pt_pool_alloc(&run->pool, (size_t)(c->n + 1) * sizeof *out, &run->err);
	if (!in || !out)
		return false;
	in[nin++] = c->x;
	for (int j = 0; j < c->n; j++)
		if (c->y[j]->needs_grad)
			out[nout++] = c->y[j];
	for (int i = 0; i < c->all; i++) {
		if (!c->y[i % c->n]->needs_grad)
			continue;
		nin = pt_op_linear_inputs(&c->host[i], in, nin);
		reads_x |= pt_op_linear_reads_x(run, &c->host[i]);
	}
	if (!nout)
		return true;
	if (c->z)
		out[nout++] = c->z;
	node = pt_tape_push(run, "linear", linear_backward, mark, in, nin, out, nout, sizeof c);
	if (!node)
		return false;
	*(struct linear_ctx **)node->ctx = c;
	if (reads_x)
		pt_tape_save_again(run, node, c->x);
	for (int i = 1; i < nin; i++)
		pt_tape_save(run, node, in[i]);
	pt_tape_save(run, node, c->index);
	for (int j = 0; j < c->n && c->z; j++)
		pt_tape_save(run, node, c->y[j]);
	return true;
}

static bool make_unit(struct pt_run *run, struct linear_ctx *c, enum pt_act act)
{
	if (c->lin[0].n != c->lin[1].n) {
		pt_op_fail(run, PT_FAIL, "glu: gate and up of different sizes");
		return false;
	}
	c->z = pt_op_like(run, c->y[0]);
	if (!c->z)
		return false;
	c->z->needs_grad = c->y[0]->needs_grad || c->y[1]->needs_grad;
	c->g.act = act;
	c->g.z = c->z->data;
	return true;
}

/* Nodes of what the call did. */
static bool record(struct pt_run *run, struct linear_ctx *c, size_t mark, int nterms)
{
	if (run->record && !record_group(run, c, mark, nterms))
		return false;
	for (int i = 0; i < c->n; i++)
		if (c->lin[i].turn && !pt_op_rope_record(run, c->y[i], &c->turn[i]))
			return false;
	return true;
}

/* n linears, or n of each expert of r; z: and what the gated unit act makes of two (NULL: nothing). */
static int linears(struct pt_run *run, struct pt_tensor *x, struct pt_route *r, const struct pt_linear *lin, int n,
		   enum pt_act act, struct pt_tensor **z, struct pt_tensor **y)
{
	size_t mark = pt_arena_mark(&run->arena);
	int nterms = 0, all = r ? n * r->experts : n;
	struct pt_k_lowrank *term;
	struct linear_ctx *c;
	float drop = 0;

	for (int j = 0; j < n; j++)
		y[j] = NULL;
	for (int i = 0; i < all; i++)
		nterms += lin[i].nterms;
	if (!pt_op_in(run, "linear", x, 2) || !pt_op_act_type(run, "linear", x))
		return run->err.status;
	c = new_ctx(run, n, all, nterms, &term);
	if (!c)
		return run->err.status;
	c->x = x;
	for (int i = 0; i < all; i++) {
		if (!pt_op_linear_copy(run, &lin[i], &c->host[i]) ||
		    !pt_op_linear_fill(run, "linear", &c->host[i], x->shape[1], &c->lin[i], term))
			return run->err.status;
		for (int j = 0; j < lin[i].nterms; j++)
			drop = term[j].dropout > drop ? term[j].dropout : drop;
		term += lin[i].nterms;
	}
	c->g = (struct pt_k_linear_group){ .rows = x->shape[0], .k = x->shape[1], .x = x->data,
		.type = x->type, .lin = c->lin, .n = n, .round_bf16 = run->round_bf16 };
	if (r) {
		c->g.experts = r->experts;
		c->g.offset = r->offset;
		c->index = r->index;
	}
	if (!pt_op_rng(run, "linear", x->rows, drop, &c->g.rng) || !make_outputs(run, c) ||
	    (z && !make_unit(run, c, act)))
		return run->err.status;
	if (pt_op_scratch(run, run->dev->k->linear_scratch(run->dev, &c->g, false), &c->g.scratch))
		run->dev->k->linear_fwd(run->dev, &c->g, &run->err);
	pt_op_scratch_drop(run, c->g.scratch);
	c->g.scratch = c->g.z = NULL;
	if (run->err.status || !record(run, c, mark, nterms))
		return run->err.status;
	if (z)
		*z = c->z;
	memcpy(y, c->y, (size_t)n * sizeof(struct pt_tensor *));
	return 0;
}

int pt_op_linear_group(struct pt_run *run, struct pt_tensor *x, const struct pt_linear *lin, int n,
		       struct pt_tensor **y)
{
	return linears(run, x, NULL, lin, n, PT_ACT_NONE, NULL, y);
}

int pt_op_experts(struct pt_run *run, struct pt_tensor *x, struct pt_route *r, const struct pt_linear *lin, int n,
		  struct pt_tensor **y)
{
	if (!r)
		return pt_op_fail(run, PT_FAIL, "experts: no route");
	if (!pt_op_in(run, "experts", r->index, 1) || !pt_op_in(run, "experts", x, 2))
		return run->err.status;
	if (x->shape[0] != r->rows.n)
		return pt_op_fail(run, PT_FAIL, "experts: %lld rows, the route has %lld", (long long)x->shape[0],
				  (long long)r->rows.n);
	return linears(run, x, r, lin, n, PT_ACT_NONE, NULL, y);
}

struct pt_tensor *pt_op_linear_glu(struct pt_run *run, struct pt_tensor *x, const struct pt_linear lin[2], enum pt_act act,
				   struct pt_tensor *y[2])
{
	struct pt_tensor *z;

	if (lin[0].turn || lin[1].turn) {
		pt_op_fail(run, PT_FAIL, "linear: outputs of gated units are not rotated");
		return NULL;
	}
	return linears(run, x, NULL, lin, 2, act, &z, y) ? NULL : z;
}

struct pt_tensor *pt_op_linear(struct pt_run *run, struct pt_tensor *x, const struct pt_linear *lin)
{
	struct pt_tensor *y;

	return pt_op_linear_group(run, x, lin, 1, &y) ? NULL : y;
}
