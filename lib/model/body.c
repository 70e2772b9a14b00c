/* SPDX-License-Identifier: MIT */
/*
 * body.c - the walk through the blocks of a stack: what they share, each of
 * them, the last norm.
 */
#include "model/body.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* Where the heads of q (0), k (1) and v (2) stand in a fused projection. */
static int piece_of(const struct pt_config *c, int which, int head)
{
	int share = c->heads / c->kv_heads;

	if (c->qkv == PT_QKV_ROWS)
		return head + (which > 0 ? c->heads : 0) + (which > 1 ? c->kv_heads : 0);
	if (which == 0)
		return head / share * (share + 2) + head % share;
	return head * (share + 2) + share + which - 1;
}

static int prepare_pieces(struct pt_run *run, struct pt_pass *p)
{
	const struct pt_config *c = &p->m->cfg;
	const struct pt_layer *l = &p->stack->layer[0];
	int *piece = pt_pool_alloc(&run->pool, (size_t)c->heads * sizeof *piece, &run->err);

	for (int which = 0; piece && l->part[PT_ROLE_QKV] && which < 3; which++) {
		int n = which ? c->kv_heads : c->heads;

		for (int h = 0; h < n; h++)
			piece[h] = piece_of(c, which, h);
		p->qkv[which] = pt_pieces_index(run, p->rows->n, c->heads + 2 * c->kv_heads, piece, n);
	}
	for (int i = 0; l->part[PT_ROLE_GATE_UP] && i < 2; i++)
		p->halves[i] = pt_pieces_index(run, p->rows->n, 2, &i, 1);
	return run->err.status;
}

/* Room for what routers do, where somebody asks; the statistics of the sparse layers are then those of the model. */
static int open_stats(struct pt_run *run, struct pt_pass *p)
{
	p->m->body->nstats = 0;
	if (p->m->router_loss <= 0 || !p->m->cfg.experts || run->err.status)
		return run->err.status;
	p->stat = pt_pool_alloc(&run->pool, (size_t)p->stack->cfg->layers * sizeof *p->stat, &run->err);
	return p->stat ? 0 : run->err.status;
}

int64_t pt_stack_first(const struct pt_stack *s, const struct pt_kvcache *cache)
{
	return pt_site_front(s->layer[0].part[PT_ROLE_KV]) + (cache ? pt_kvcache_len(cache) : 0);
}

int pt_pass_prepare(struct pt_run *run, struct pt_pass *p)
{
	const struct pt_config *c = &p->m->cfg;
	int64_t first = pt_stack_first(p->stack, p->cache);

	if (run->err.status)
		return run->err.status;
	for (int i = 0; i < c->nropes; i++) {
		if (pt_rope_prepare(run, &c->rope[i], &p->m->body->rope[i], p->rows, first, p->reach, &p->rope[i]))
			return run->err.status;
	}
	return prepare_pieces(run, p) ? run->err.status : open_stats(run, p);
}

struct scoped {
	struct pt_pass pass;
	const struct pt_layer *layer;
};

/*
 * A block in a scope: x and what cross attention reads in; out the sum, taken
 * inside, and of a sparse block what its router did, where somebody asks.
 */
static int scoped_block(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			struct pt_tensor **out, int nout)
{
	const struct scoped *s = arg;
	struct pt_pass pass = s->pass;
	struct pt_tensor *delta = NULL, *x;

	pass.memory = nin > 1 ? in[1] : NULL;
	x = pt_block(run, &pass, s->layer, in[0], &delta);
	out[0] = pt_sum_norm(run, s->pass.m, NULL, x, delta);
	if (nout > 1)
		out[1] = s->pass.stat[s->layer->index];
	return run->err.status;
}

static bool trains(const struct pt_weight *w)
{
	return w && w->use->needs_grad;
}

static bool site_trains(const struct pt_site *s)
{
	if (!s)
		return false;
	if (trains(s->weight) || trains(s->bias))
		return true;
	for (int i = 0; i < s->nhooks; i++) {
		if (s->hook[i]->enabled)
			return true;
	}
	return false;
}

/* Whether backward would have something to do inside the block but for its input. */
static bool layer_trains(const struct pt_model *m, const struct pt_layer *l)
{
	for (int r = 0; r < PT_ROLES; r++) {
		if (site_trains(l->part[r]))
			return true;
	}
	for (int e = 0; l->expert_in && e < m->cfg.experts; e++) {
		if (site_trains(l->expert_in[2 * e]) || site_trains(l->expert_in[2 * e + 1]) ||
		    site_trains(l->expert_out[e]))
			return true;
	}
	return false;
}

static void keep_stats(const struct pt_pass *p)
{
	struct pt_body *b = p->m->body;

	b->stat = p->stat;
	b->nstats = 0;
	b->stat_rows = p->rows->host_cu[p->rows->batch];
	for (int i = 0; p->stat && i < p->stack->cfg->layers; i++) {
		if (p->stat[i])
			p->stat[b->nstats++] = p->stat[i];
	}
}

/* A block as one that takes turns, while backward is walked. */
struct turn {
	struct pt_parts *parts;
	int part;
};

static int backward_enters(struct pt_run *run, struct pt_node *node)
{
	const struct turn *t = node->ctx;

	return pt_parts_need(t->parts, run->dev, t->part, &run->err);
}

static int backward_leaves(struct pt_run *run, struct pt_node *node)
{
	const struct turn *t = node->ctx;

	return pt_parts_done(t->parts, run->dev, t->part, PT_PARTS_BACKWARD, 0, &run->err);
}

/* Backward comes by here. */
static int on_the_way_back(struct pt_run *run, struct turn t, const char *name, pt_backward_fn fn)
{
	struct pt_node *node = pt_tape_push(run, name, fn, pt_arena_mark(&run->arena), NULL, 0, NULL, 0, sizeof t);

	if (node)
		*(struct turn *)node->ctx = t;
	return run->err.status;
}

int pt_block_enter(struct pt_run *run, const struct pt_stack *s, const struct pt_model *m, int i, bool grad)
{
	const struct turn t = { &m->body->parts, s->first + i };

	if (run->err.status || !pt_parts_in_turns(t.parts, t.part))
		return run->err.status;
	if (grad && on_the_way_back(run, t, "leave a block", backward_leaves))
		return run->err.status;
	return pt_parts_need(t.parts, run->dev, t.part, &run->err);
}

int pt_block_leave(struct pt_run *run, const struct pt_stack *s, const struct pt_model *m, int i, bool grad, bool alone)
{
	const struct turn t = { &m->body->parts, s->first + i };

	if (run->err.status || !pt_parts_in_turns(t.parts, t.part))
		return run->err.status;
	if (grad && on_the_way_back(run, t, "enter a block", backward_enters))
		return run->err.status;
	return pt_parts_done(t.parts, run->dev, t.part, run->record ? PT_PARTS_FORWARD : PT_PARTS_AGAIN,
			     alone ? s->first : 0, &run->err);
}

struct pt_tensor *pt_blocks(struct pt_run *run, const struct pt_pass *p, struct pt_tensor *x)
{
	const struct pt_shape shape[2] = {
		{ .ndim = 2, .dim = { p->rows->n, p->m->cfg.hidden }, .rows = p->rows },
		{ .ndim = 2, .dim = { 2, p->m->cfg.experts }, .f32 = true },
	};
	struct pt_site *const *part = p->stack->part;
	struct pt_tensor *delta = NULL;

	for (int i = 0; x && i < p->stack->cfg->layers; i++) {
		const struct pt_layer *l = &p->stack->layer[i];
		struct scoped arg = { *p, l };
		struct pt_tensor *in[2] = { NULL, p->memory }, *out[2] = { NULL, NULL };
		int nout = p->stat && l->cfg->sparse ? 2 : 1;
		int flags = PT_SCOPE_NOGRAD;
		bool grad = run->record && (x->needs_grad || (delta && delta->needs_grad) ||
					    (p->memory && p->memory->needs_grad) || layer_trains(p->m, l));

		if (grad && p->stack->first + i >= p->m->recompute) {
			pt_block_enter(run, p->stack, p->m, i, true);
			x = pt_block(run, p, l, x, &delta);
			pt_block_leave(run, p->stack, p->m, i, true, false);
			continue;
		}
		x = pt_sum_norm(run, p->m, NULL, x, delta);
		delta = NULL;
		/* Nothing inside is needed again: released block by block. */
		in[0] = x;
		if (grad)
			flags = p->stack->first + i < p->m->away ? PT_SCOPE_RECOMPUTE | PT_SCOPE_AWAY : PT_SCOPE_RECOMPUTE;
		pt_block_enter(run, p->stack, p->m, i, grad);
		if (pt_scope(run, flags, scoped_block, &arg, sizeof arg, in, p->memory ? 2 : 1, shape, out, nout) ||
		    pt_block_leave(run, p->stack, p->m, i, grad, p->cache != NULL))
			return NULL;
		if (nout > 1)
			p->stat[i] = out[1];
		x = pt_then(run, out[0], x);
	}
	keep_stats(p);
	x = pt_sum_norm(run, p->m, part[PT_ROLE_FINAL_NORM], x, delta);
	if (x)
		x = pt_then(run, pt_op_dropout(run, x, p->m->cfg.drop_final, p->stack->rng_final), x);
	if (part[PT_ROLE_PROJ_OUT])
		x = pt_then(run, pt_site_linear1(run, part[PT_ROLE_PROJ_OUT], x), x);
	return x;
}

/* Slopes of ALiBi (Press et al. 2022): of 2^k heads a geometric series, of the others every second of the next. */
static int make_slopes(struct pt_model *m, struct pt_error *err)
{
	int heads = m->cfg.heads, whole = 1, st;
	float *s;
	void *d;

	while (2 * whole <= heads)
		whole *= 2;
	s = pt_malloc((size_t)heads, sizeof *s, err);
	if (!s)
		return err->status;
	for (int h = 0; h < heads; h++)
		s[h] = h < whole ? powf(powf(2, -8.0f / (float)whole), (float)(h + 1)) :
				   powf(powf(2, -4.0f / (float)whole), (float)(2 * (h - whole) + 1));
	st = pt_body_own(m, s, (size_t)heads * sizeof *s, &d, err);
	if (st == 0)
		m->body->slopes = d;
	free(s);
	return st;
}

/* The kernel reads relative biases in f32. */
static int make_bias(struct pt_model *m, struct pt_stack *s, struct pt_error *err)
{
	const struct pt_weight *of = s->layer[0].part[PT_ROLE_REL_BIAS]->weight;
	const struct pt_tensor *w = &of->t;
	size_t n = (size_t)pt_tensor_count(w);
	float *f = pt_malloc(n, sizeof *f, err);
	void *raw = pt_malloc(n, sizeof *f, err), *d;
	int st = f && raw ? 0 : err->status;

	if (!st)
		st = pt_weight_read(m, of, 0, n * pt_dtype_size(w->type), raw, err);
	if (!st) {
		pt_to_f32(f, raw, w->type, n);
		st = pt_body_own(m, f, n * sizeof *f, &d, err);
	}
	if (!st)
		pt_tensor_init(&s->bias, PT_F32, w->ndim, w->shape, d);
	free(f);
	free(raw);
	return st;
}

int pt_body_positions(struct pt_model *m, struct pt_error *err)
{
	int st = 0;

	if (m->cfg.position == PT_POS_SLOPES)
		return make_slopes(m, err);
	for (int i = 0; m->cfg.position == PT_POS_BUCKETS && !st && i < m->body->nstacks; i++)
		if (m->body->stack[i].layer[0].part[PT_ROLE_REL_BIAS]->weight->t.type != PT_F32)
			st = make_bias(m, &m->body->stack[i], err);
	return st;
}
