/* SPDX-License-Identifier: MIT */
/*
 * site.c - the model's side of hooks: each call computes the module's formula
 * and passes it through what is hooked in there, in order.
 */
#include "model/site.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int pt_site_add_hook(struct pt_site *s, struct pt_hook *h, struct pt_error *err)
{
	struct pt_hook **list = pt_realloc(s->hook, (size_t)s->nhooks + 1, sizeof(*list), err);

	if (!list)
		return err->status;
	s->hook = list;
	s->hook[s->nhooks++] = h;
	h->site = s;
	return 0;
}

void pt_site_remove_hook(struct pt_site *s, struct pt_hook *h)
{
	int n = 0;

	for (int i = 0; i < s->nhooks; i++) {
		if (s->hook[i] != h)
			s->hook[n++] = s->hook[i];
	}
	s->nhooks = n;
}

static bool active(const struct pt_hook *h)
{
	return h->enabled && h->ops;
}

static bool replaces_input(const struct pt_site *s)
{
	for (int i = 0; i < s->nhooks; i++) {
		if (active(s->hook[i]) && s->hook[i]->ops->input)
			return true;
	}
	return false;
}

static bool changes_output(const struct pt_site *s)
{
	for (int i = 0; i < s->nhooks; i++) {
		if (active(s->hook[i]) && s->hook[i]->ops->output)
			return true;
	}
	return false;
}

static struct pt_tensor *outputs(struct pt_run *run, struct pt_site *s, struct pt_tensor *x,
				 struct pt_tensor *y)
{
	for (int i = 0; y && i < s->nhooks; i++) {
		struct pt_tensor *old = y;

		if (!active(s->hook[i]) || !s->hook[i]->ops->output)
			continue;
		y = s->hook[i]->ops->output(run, s->hook[i], x, old);
		if (y != old)
			pt_tensor_done(run, old);
	}
	return y;
}

/* All low-rank terms at s, from the pool, into out. */
static int terms(struct pt_run *run, struct pt_site *s, struct pt_linear *out)
{
	struct pt_lowrank *term;

	if (!s->nhooks)
		return run->err.status;
	term = pt_pool_alloc(&run->pool, (size_t)s->nhooks * PT_HOOK_MAX_TERMS * sizeof *term, &run->err);
	out->term = term;
	for (int i = 0; term && i < s->nhooks; i++) {
		int k;

		if (!active(s->hook[i]) || !s->hook[i]->ops->terms)
			continue;
		k = s->hook[i]->ops->terms(run, s->hook[i], term + out->nterms, PT_HOOK_MAX_TERMS);
		if (run->err.status)
			break;
		if (k < 0 || k > PT_HOOK_MAX_TERMS)
			return pt_error(&run->err, PT_FAIL, "%s: %d low-rank terms of one adapter", s->path, k);
		out->nterms += k;
	}
	return run->err.status;
}

/* The formula of the base with its terms, which live as long as the pool has them. */
static int base_linear(struct pt_run *run, struct pt_site *s, struct pt_linear *out)
{
	*out = (struct pt_linear){
		.w = s->weight->use, .bias = s->bias ? s->bias->use : NULL, .transposed = s->transposed,
	};
	return terms(run, s, out);
}

/* What hooks made for the terms is read no more, unless backward reads it. */
static void terms_done(struct pt_run *run, const struct pt_linear *lin)
{
	for (int i = 0; i < lin->nterms; i++) {
		pt_tensor_done(run, lin->term[i].a);
		pt_tensor_done(run, lin->term[i].b);
	}
}

struct pt_tensor *pt_site_linear1(struct pt_run *run, struct pt_site *site, struct pt_tensor *x)
{
	struct pt_tensor *in = x, *y;
	struct pt_linear lin;

	for (int i = 0; in && i < site->nhooks; i++) {
		struct pt_tensor *old = in;

		if (!active(site->hook[i]) || !site->hook[i]->ops->input)
			continue;
		in = site->hook[i]->ops->input(run, site->hook[i], old);
		if (old != x && old != in)
			pt_tensor_done(run, old);
	}
	if (!in || base_linear(run, site, &lin))
		return NULL;
	y = pt_op_linear(run, in, &lin);
	terms_done(run, &lin);
	if (in != x)
		pt_tensor_done(run, in);
	return outputs(run, site, x, y);
}

static struct pt_tensor *turned(struct pt_run *run, const struct pt_turn *t, struct pt_tensor *y)
{
	return t && t->rope ? pt_op_rope(run, y, t->heads, t->head_dim, t->rope) : y;
}

/* turn: NULL, or of each. */
static void linears(struct pt_run *run, struct pt_site *const *site, const struct pt_turn *turn, int n, struct pt_tensor *x,
		    struct pt_tensor **y)
{
	struct pt_linear lin[PT_SITE_MAX_GROUP];
	struct pt_tensor *out[PT_SITE_MAX_GROUP];
	int index[PT_SITE_MAX_GROUP], k = 0;

	for (int i = 0; i < n; i++)
		y[i] = NULL;
	if (n > PT_SITE_MAX_GROUP) {
		pt_error(&run->err, PT_FAIL, "%s: %d linears share an input", site[0]->path, n);
		return;
	}
	if (!x || run->err.status)
		return;
	for (int i = 0; i < n; i++) {
		if (replaces_input(site[i])) {
			y[i] = turned(run, turn ? &turn[i] : NULL, pt_site_linear1(run, site[i], x));
		} else if (base_linear(run, site[i], &lin[k]) == 0) {
			if (turn && turn[i].rope && !changes_output(site[i]))
				lin[k].turn = &turn[i];
			index[k] = i;
			out[k++] = NULL;
		}
	}
	if (run->err.status || (k && pt_op_linear_group(run, x, lin, k, out)))
		return;
	for (int i = 0; i < k; i++)
		terms_done(run, &lin[i]);
	for (int i = 0; i < k; i++) {
		y[index[i]] = outputs(run, site[index[i]], x, out[i]);
		if (turn && !lin[i].turn)
			y[index[i]] = turned(run, &turn[index[i]], y[index[i]]);
	}
}

void pt_site_linear(struct pt_run *run, struct pt_site *const *site, int n, struct pt_tensor *x,
		    struct pt_tensor **y)
{
	linears(run, site, NULL, n, x, y);
}

void pt_site_turned(struct pt_run *run, struct pt_site *const *site, const struct pt_turn *turn, int n,
		    struct pt_tensor *x, struct pt_tensor **y)
{
	linears(run, site, turn, n, x, y);
}

struct pt_tensor *pt_site_glu(struct pt_run *run, struct pt_site *const site[2], enum pt_act act, struct pt_tensor *x)
{
	struct pt_tensor *y[2], *z;
	struct pt_linear lin[2];
	bool alone = true;

	for (int i = 0; i < 2; i++)
		alone &= !replaces_input(site[i]) && !changes_output(site[i]);
	if (!alone) {
		pt_site_linear(run, site, 2, x, y);
		z = pt_op_glu(run, y[0], y[1], act);
	} else {
		if (!x || run->err.status || base_linear(run, site[0], &lin[0]) ||
		    base_linear(run, site[1], &lin[1]))
			return NULL;
		z = pt_op_linear_glu(run, x, lin, act, y);
		terms_done(run, &lin[0]);
		terms_done(run, &lin[1]);
	}
	pt_tensor_done(run, y[0]);
	pt_tensor_done(run, y[1]);
	return z;
}

static bool expert_linear(struct pt_run *run, struct pt_site *s, struct pt_linear *out)
{
	if (!replaces_input(s) && !changes_output(s))
		return base_linear(run, s, out) == 0;
	pt_error(&run->err, PT_FAIL, "%s: this method cannot act on experts", s->path);
	return false;
}

void pt_site_experts(struct pt_run *run, struct pt_site *const *site, int n, struct pt_tensor *x,
		     struct pt_route *r, struct pt_tensor **y)
{
	struct pt_linear *lin;

	for (int j = 0; j < n; j++)
		y[j] = NULL;
	if (!x || !r || run->err.status)
		return;
	lin = pt_pool_alloc(&run->pool, (size_t)n * (size_t)r->experts * sizeof *lin, &run->err);
	for (int i = 0; lin && i < n * r->experts; i++)
		if (!expert_linear(run, site[i], &lin[i]))
			return;
	if (!lin || pt_op_experts(run, x, r, lin, n, y))
		return;
	for (int i = 0; i < n * r->experts; i++)
		terms_done(run, &lin[i]);
}

struct pt_tensor *pt_site_embed(struct pt_run *run, struct pt_site *site, const int32_t *ids,
				const struct pt_rows *rows)
{
	struct pt_tensor *y = pt_op_embed(run, site->weight->use, site->transposed, ids, rows,
					  site->embed_scale, site->pad);

	for (int i = 0; y && i < site->nhooks; i++) {
		struct pt_tensor *old = y;

		if (!active(site->hook[i]) || !site->hook[i]->ops->embed)
			continue;
		y = site->hook[i]->ops->embed(run, site->hook[i], ids, rows, old);
		if (y != old)
			pt_tensor_done(run, old);
	}
	return y;
}

static struct pt_norm norm_of(const struct pt_site *s, enum pt_norm_kind kind, float eps)
{
	return (struct pt_norm){
		.kind = kind, .w = s->weight ? s->weight->use : NULL,
		.b = s->bias ? s->bias->use : NULL, .eps = eps,
	};
}

struct pt_tensor *pt_site_norm(struct pt_run *run, struct pt_site *site, enum pt_norm_kind kind,
			       float eps, struct pt_tensor *x)
{
	struct pt_norm norm = norm_of(site, kind, eps);

	return outputs(run, site, x, pt_op_norm(run, x, &norm));
}

struct pt_tensor *pt_site_add_norm(struct pt_run *run, struct pt_site *site, enum pt_norm_kind kind,
				   float eps, struct pt_tensor *x, struct pt_tensor *delta,
				   struct pt_tensor **sum)
{
	struct pt_norm norm = norm_of(site, kind, eps);
	struct pt_tensor *y = pt_op_add_norm(run, x, delta, &norm, sum);

	return changes_output(site) ? outputs(run, site, *sum, y) : y;
}

struct pt_tensor *pt_site_block(struct pt_run *run, struct pt_site *site, struct pt_joint *at,
				struct pt_tensor *y)
{
	for (int i = 0; y && i < site->nhooks; i++) {
		struct pt_tensor *old = y;

		if (!active(site->hook[i]) || !site->hook[i]->ops->join)
			continue;
		y = site->hook[i]->ops->join(run, site->hook[i], at, old);
		if (y != old)
			pt_tensor_done(run, old);
	}
	if (at->whole && !at->may_replace) {
		pt_error(&run->err, PT_FAIL, "%s: an adapter cannot take the place of the residual stream here",
			 site->path);
		return NULL;
	}
	return y;
}

struct pt_tensor *pt_joint_norm(struct pt_run *run, const struct pt_joint *at, struct pt_tensor *x)
{
	return at->norm ? pt_site_norm(run, at->norm, at->kind, at->eps, x) : x;
}

bool pt_site_prefix(struct pt_run *run, struct pt_site *site, const struct pt_rows *rows, struct pt_prefix *out)
{
	bool found = false;

	for (int i = 0; i < site->nhooks; i++) {
		if (!active(site->hook[i]) || !site->hook[i]->ops->prefix)
			continue;
		if (found) {
			pt_error(&run->err, PT_FAIL, "%s: two adapters with prefixes at one attention",
				 site->path);
			return false;
		}
		found = site->hook[i]->ops->prefix(run, site->hook[i], rows, out) == 0 && !run->err.status;
	}
	return found;
}

struct pt_tensor *pt_site_input(struct pt_run *run, struct pt_site *site, struct pt_tensor *x,
				const struct pt_rows **rows)
{
	for (int i = 0; x && i < site->nhooks; i++) {
		struct pt_tensor *old = x;

		if (!active(site->hook[i]) || !site->hook[i]->ops->prepend)
			continue;
		x = site->hook[i]->ops->prepend(run, site->hook[i], old, rows);
		if (x != old)
			pt_tensor_done(run, old);
	}
	return x;
}

bool pt_site_passes(const struct pt_site *site)
{
	for (int i = 0; site && i < site->nhooks; i++) {
		if (active(site->hook[i]) && site->hook[i]->ops->pass)
			return true;
	}
	return false;
}

struct pt_tensor *pt_site_pass(struct pt_run *run, struct pt_site *site, struct pt_tensor *x)
{
	for (int i = 0; x && site && i < site->nhooks; i++) {
		if (active(site->hook[i]) && site->hook[i]->ops->pass)
			x = pt_then(run, site->hook[i]->ops->pass(run, site->hook[i], x), x);
	}
	return x;
}

int pt_site_front(const struct pt_site *site)
{
	int n = 0;

	for (int i = 0; site && i < site->nhooks; i++) {
		if (active(site->hook[i]) && site->hook[i]->ops->front)
			n += site->hook[i]->ops->front(site->hook[i]);
	}
	return n;
}

void pt_site_nll_head(struct pt_run *run, struct pt_site *site, struct pt_linear *out)
{
	if (replaces_input(site) || changes_output(site)) {
		pt_error(&run->err, PT_FAIL, "%s: this method cannot act on the output embedding",
			 site->path);
		return;
	}
	base_linear(run, site, out);
}
