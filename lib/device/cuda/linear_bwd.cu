/* SPDX-License-Identifier: MIT */
/*
 * linear_bwd.cu - gradients of linears that share one input (linear.cu). du
 * of the terms, and with it dB, come out of one pass over dy of all linears
 * (lora.h), dA of all terms out of one over x; dx is one product over all
 * linears and terms where it can be (mix.h).
 */
#include "device/cuda/linear.h"

/* Gradients of one term: dB += scale dy' u, dA += du' drop(x), dbias; those that lora.h's kernels have not made. */
static int term_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		    const struct pt_k_lowrank *term, const struct pt_linear_work *w, int64_t at, bool have_db, bool have_da,
		    struct pt_error *err)
{
	struct pt_k_lowrank copy = *term;
	const struct pt_k_lowrank *m = &copy;
	size_t size = pt_cuda_size(g->type);
	const void *x = g->x, *u = m->u;
	struct pt_product db = { l->n, m->r, g->rows, l->dy, NULL, NULL, m->db, g->type, PT_F32, l->n, m->r, m->r, true,
				 false, m->scale, 1 };
	struct pt_product da = { m->r, g->k, g->rows, w->u + (size_t)at * size, NULL, NULL, m->da, g->type, PT_F32,
				 w->ranks, g->k, g->k, true, false, 1, 1 };

	if (have_db)
		db.c = copy.db = NULL;
	if (have_da)
		da.c = copy.da = NULL;
	if (m->dropout > 0 && (m->da || (m->db && !u))) {
		if (pt_linear_drop(dev, g, m, g->x, w->x, false, err))
			return err->status;
		x = w->x;
	}
	if (m->db && !u) {
		struct pt_product p = { g->rows, m->r, g->k, x, w->a + (size_t)(at * g->k) * size, NULL, w->u2, g->type,
					g->type, g->k, g->k, m->r, false, true, 1, 0 };

		if (pt_cuda_product(dev, &p, err))
			return err->status;
		u = w->u2;
	}
	db.b = u;
	da.b = x;
	if ((m->db && pt_cuda_product(dev, &db, err)) || (m->da && pt_cuda_product(dev, &da, err)) ||
	    (m->dbias && pt_cuda_column_sums(dev, g->type, g->rows, l->n, l->dy, m->scale, m->dbias, err)))
		return err->status;
	return 0;
}

size_t pt_linear_lora_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, int64_t ranks)
{
	struct pt_lora_back all = { 0 }, one = { 0 };
	size_t most = 0, n;

	all.m = one.m = g->rows;
	one.jobs = 1;
	for (int i = 0; i < g->n; i++) {
		int64_t r = pt_linear_rank(&g->lin[i]);

		if (!r)
			continue;
		one.r = r;
		one.job[0].n = g->lin[i].n;
		n = pt_lora_scratch(dev, &one);
		most = n > most ? n : most;
		if (all.jobs == PT_LORA_JOBS)
			continue;
		all.r = r > all.r ? r : all.r;
		all.job[all.jobs++].n = g->lin[i].n;
	}
	if (!ranks)
		return 0;
	n = pt_lora_scratch(dev, &all);
	most = n > most ? n : most;
	all.dz = g->dz;
	n = pt_lora_scratch(dev, &all);
	most = n > most ? n : most;
	one.r = ranks;
	one.job[0].n = g->k;
	n = pt_lora_scratch(dev, &one);
	return n > most ? n : most;
}

/*
 * du of linears first to last - 1, and dB of those with one term, whose have_db is set, in one pass over dy, which is
 * made of g->dz where that is given. False where that does not fit.
 */
static bool dy_pass(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, int first,
		    int last, bool *have_db)
{
	struct pt_lora_back k = { 0 };
	struct pt_linear_place at = { 0 };
	int own = 0;

	if (g->type != PT_BF16)
		return false;
	k.m = g->rows;
	k.scratch = w->lora;
	for (int i = 0; i < last; pt_linear_next(g, &g->lin[i++], &at)) {
		const struct pt_k_linear *l = &g->lin[i];
		const struct pt_k_lowrank *t = l->term;
		int64_t r = pt_linear_rank(l);

		if (i < first || !r)
			continue;
		if (k.jobs == PT_LORA_JOBS || (k.jobs && r != k.r))
			return false;
		k.r = r;
		k.job[k.jobs] = { l->n, l->dy, NULL, 0, 0, w->b + at.b, w->u + at.u, w->ranks };
		if (l->nterms == 1 && t->db && t->u) {
			k.job[k.jobs].u = t->u;
			k.job[k.jobs].ldu = k.job[k.jobs].ur = t->r;
			k.grad[k.grads++] = { k.jobs, false, 0, t->r, t->scale, t->db };
			own++;
		}
		k.jobs++;
	}
	if (!k.jobs)
		return !g->dz;
	if (g->dz) {
		k.act = g->act;
		k.dz = g->dz;
		k.gate = g->lin[0].y;
		k.up = g->lin[1].y;
	}
	if ((own != k.jobs && (own || g->dz)) || !pt_lora_back(dev, &k))
		return false;
	for (int i = first; i < last; i++)
		have_db[i] = own && pt_linear_rank(&g->lin[i]);
	return true;
}

/* Gradients of linears' own parts. */
static int base_grads(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		struct pt_product dw = { l->n, g->k, g->rows, l->dy, g->x, NULL, l->dw, g->type, PT_F32, l->n, g->k, g->k,
					 true, false, 1, 1 };

		if (l->transposed)
			dw = { g->k, l->n, g->rows, g->x, l->dy, NULL, l->dw, g->type, PT_F32, g->k, l->n, l->n, true,
			       false, 1, 1 };
		if ((l->dw && pt_cuda_product(dev, &dw, err)) ||
		    (l->dbias && pt_cuda_column_sums(dev, g->type, g->rows, l->n, l->dy, 1, l->dbias, err)))
			return err->status;
	}
	return 0;
}

/* du of the terms of all linears, together or one by one; have_db as dy_pass() sets it. */
static int all_du(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, bool *have_db,
		  struct pt_error *err)
{
	struct pt_linear_place at = { 0 };

	if (dy_pass(dev, g, w, 0, g->n, have_db))
		return pt_cuda_launched(err, "low-rank terms");
	for (int i = 0; i < g->n; pt_linear_next(g, &g->lin[i++], &at)) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t r = pt_linear_rank(l);
		struct pt_product du = { g->rows, r, l->n, l->dy, w->b + at.b, NULL, w->u + at.u, g->type, g->type, l->n, r,
					 w->ranks, false, false, 1, 0 };

		if (r && !dy_pass(dev, g, w, i, i + 1, have_db) && pt_cuda_product(dev, &du, err))
			return err->status;
	}
	return pt_cuda_launched(err, "low-rank terms");
}

/* dx += du A of the terms: at once, or one by one where some have dropout. */
static int terms_dx(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, float *beta,
		    struct pt_error *err)
{
	struct pt_product p = { g->rows, g->k, w->ranks, w->u, w->a, NULL, g->dx, g->type, g->type, w->ranks, g->k,
				g->k, false, false, 1, *beta };
	size_t size = pt_cuda_size(g->type);
	int64_t base = 0;

	if (!w->ranks)
		return 0;
	if (!pt_linear_drops(g)) {
		bool acc = *beta != 0;

		*beta = 1;
		if (g->type == PT_BF16 && w->at &&
		    pt_lora_up(dev, g->rows, g->k, w->ranks, w->u, w->ranks, w->at, g->dx, g->k, acc))
			return pt_cuda_launched(err, "low-rank terms");
		return pt_cuda_product(dev, &p, err);
	}
	for (int i = 0; i < g->n; base += pt_linear_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r) {
			const struct pt_k_lowrank *m = &l->term[t];

			p.k = m->r;
			p.a = w->u + (size_t)at * size;
			p.b = w->a + (size_t)(at * g->k) * size;
			p.c = m->dropout > 0 ? (void *)w->x : g->dx;
			p.beta = m->dropout > 0 ? 0 : *beta;
			if (pt_cuda_product(dev, &p, err) ||
			    (m->dropout > 0 && pt_linear_drop(dev, g, m, w->x, g->dx, *beta != 0, err)))
				return err->status;
			*beta = 1;
		}
	}
	return 0;
}

/* dA of all terms in one pass over x; false where that does not fit. */
static bool all_da(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w)
{
	struct pt_lora_back k = { 0 };
	int64_t base = 0;

	if (!w->ranks || g->type != PT_BF16 || pt_linear_drops(g) || !g->x)
		return false;
	k.m = g->rows;
	k.r = w->ranks;
	k.jobs = 1;
	k.job[0] = { g->k, (void *)g->x, w->u, w->ranks, w->ranks, NULL, NULL, 0 };
	k.scratch = w->lora;
	for (int i = 0; i < g->n; base += pt_linear_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r) {
			if (k.grads == PT_LORA_GRADS)
				return false;
			if (l->term[t].da)
				k.grad[k.grads++] = { 0, true, at, l->term[t].r, 1, l->term[t].da };
		}
	}
	return pt_lora_back(dev, &k);
}

static bool wants_da(const struct pt_k_linear_group *g)
{
	for (int i = 0; i < g->n; i++)
		for (int t = 0; t < g->lin[i].nterms; t++)
			if (g->lin[i].term[t].da)
				return true;
	return false;
}

/* Gradients of what trains; of a gated unit those of its outputs first, in the pass that reads them where it can be. */
static int own_grads(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w,
		     struct pt_error *err)
{
	bool have_db[PT_LORA_MOST] = { false }, have_da, have_du;
	struct pt_k_linear_group made = *g;
	int64_t base = 0;

	have_du = g->dz && w->ranks && dy_pass(dev, g, w, 0, g->n, have_db);
	if (g->dz && !have_du) {
		struct pt_k_act act = { g->act, g->rows * g->lin->n, g->type, g->lin[0].y, g->lin[1].y, NULL, g->dz,
					g->lin[0].dy, g->lin[1].dy };

		if (pt_cuda_act_bwd(dev, &act, err))
			return err->status;
	}
	made.dz = NULL;
	if (base_grads(dev, g, err) || (w->ranks && !have_du && all_du(dev, &made, w, have_db, err)))
		return err->status;
	have_da = wants_da(g) && all_da(dev, g, w);
	for (int i = 0; i < g->n; base += pt_linear_rank(&g->lin[i++])) {
		int64_t rank = base;

		for (int t = 0; t < g->lin[i].nterms; rank += g->lin[i].term[t++].r)
			if (term_bwd(dev, g, &g->lin[i], &g->lin[i].term[t], w, rank, have_db[i], have_da, err))
				return err->status;
	}
	return 0;
}

/* dx in one product; false: not for this group. */
static bool mixed_dx(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w)
{
	struct pt_mix m = { 0 };

	m.m = g->rows;
	m.across = true;
	m.acc = g->acc_dx;
	m.outs = 1;
	m.out[0] = { g->k, g->dx, 0 };
	for (int i = 0; i < g->n; i++)
		m.part[m.parts++] = { g->lin[i].dy, g->lin[i].w, g->lin[i].n, g->lin[i].n, g->k };
	m.part[m.parts++] = { w->u, w->a, w->ranks, w->ranks, g->k };
	return pt_mix(dev, &m);
}

int pt_cuda_linear_grads(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct pt_linear_work w = pt_linear_layout(dev, g, true, g->scratch);
	bool mix = g->dx && pt_linear_mixes(dev, g, &w);
	float beta = g->acc_dx ? 1.0f : 0.0f;

	if (!g->rows)
		return 0;
	if (g->n > PT_LORA_MOST)
		return pt_cuda_error(err, PT_DEVICE, "%d linears of one input; %d are the most", g->n, PT_LORA_MOST);
	if (mix)
		w.at = NULL;
	if ((w.ranks && pt_linear_pack(dev, g, &w, err)) || own_grads(dev, g, &w, err))
		return err->status;
	if (!g->dx)
		return 0;
	if (mix && mixed_dx(dev, g, &w))
		return pt_cuda_launched(err, "linears");
	if (terms_dx(dev, g, &w, &beta, err))
		return err->status;
	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		struct pt_product p = { g->rows, g->k, l->n, l->dy, NULL, NULL, g->dx, g->type, g->type, l->n,
					l->transposed ? l->n : g->k, g->k, false, l->transposed, 1, beta };

		if (pt_linear_weight(dev, g, l, &w, &p.b, err) || pt_cuda_product(dev, &p, err))
			return err->status;
		beta = 1;
	}
	return 0;
}
