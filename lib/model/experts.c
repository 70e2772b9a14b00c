/* SPDX-License-Identifier: MIT */
/*
 * experts.c - a feed-forward that is a mixture of experts: each row goes
 * through the few gated feed-forwards that a router chooses for it, and, in
 * some families, through one that all rows share.
 */
#include "model/body.h"

#include "tensor/experts.h"

/* down(act(gate x) * (up x)) of the rows that each expert was given. */
static struct pt_tensor *chosen(struct pt_run *run, const struct pt_config *c, const struct pt_layer *l,
				struct pt_route *r, struct pt_tensor *x)
{
	struct pt_tensor *y[2] = { NULL, NULL }, *z;

	pt_site_experts(run, l->expert_in, 2, x, r, y);
	pt_tensor_done(run, x);
	z = pt_then(run, pt_op_glu(run, y[0], y[1], c->act), y[0]);
	pt_tensor_done(run, y[1]);
	pt_site_experts(run, l->expert_out, 1, z, r, y);
	pt_tensor_done(run, z);
	return y[0];
}

/* sigmoid(mix x) down(act(gate x) * (up x)) of all rows. */
static struct pt_tensor *shared(struct pt_run *run, const struct pt_config *c, const struct pt_layer *l,
				struct pt_tensor *x)
{
	struct pt_site *const in[3] = { l->part[PT_ROLE_SHARED_GATE], l->part[PT_ROLE_SHARED_UP],
					l->part[PT_ROLE_SHARED_MIX] };
	struct pt_tensor *y[3] = { NULL, NULL, NULL }, *z;

	pt_site_linear(run, in, 3, x, y);
	z = pt_then(run, pt_op_glu(run, y[0], y[1], c->act), y[0]);
	pt_tensor_done(run, y[1]);
	z = pt_then(run, pt_site_linear1(run, l->part[PT_ROLE_SHARED_DOWN], z), z);
	z = pt_then(run, pt_op_gate_rows(run, z, y[2]), z);
	pt_tensor_done(run, y[2]);
	return z;
}

struct pt_tensor *pt_mixture(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			     struct pt_tensor *x)
{
	const struct pt_config *c = &p->m->cfg;
	struct pt_tensor *z, *y, *s;
	struct pt_route *r;

	z = pt_site_linear1(run, l->part[PT_ROLE_ROUTER], x);
	r = pt_op_route(run, z, c->expert_choices, c->expert_renorm, p->stat != NULL);
	pt_tensor_done(run, z);
	if (r && p->stat)
		p->stat[l->index] = r->stat;
	z = chosen(run, c, l, r, pt_op_dispatch(run, x, r));
	y = pt_then(run, pt_op_combine(run, z, r, x ? x->rows : NULL), z);
	pt_op_route_done(run, r);
	if (!l->part[PT_ROLE_SHARED_MIX])
		return y;
	s = shared(run, c, l, x);
	z = pt_then(run, pt_op_add(run, y, s), y);
	pt_tensor_done(run, s);
	return z;
}

struct pt_tensor *pt_model_router_loss(struct pt_run *run, const struct pt_model *m)
{
	const struct pt_body *b = m->body;
	double rows = (double)b->nstats * (double)b->stat_rows;

	if (!b->nstats || !b->stat_rows)
		return NULL;
	return pt_op_balance(run, b->stat, b->nstats, (float)((double)m->cfg.experts / (rows * rows)));
}

double pt_model_router_factor(const struct pt_model *m)
{
	const struct pt_head *h = m->body->head;

	return m->cfg.router_loss_on && h && h->router_loss ? m->cfg.router_loss : 0;
}
