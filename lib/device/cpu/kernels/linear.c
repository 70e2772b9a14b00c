/* SPDX-License-Identifier: MIT */
/*
 * linear.c - groups of linears that share x, with their low-rank terms.
 *
 * Forward: u = x A' of all terms is one product over x, then each y is one
 * product [x, u] [W, scale B]' with its biases. Backward: du = scale dy B,
 * then dx = sum over linears of [dy, du] [W; A] is one product, and the
 * gradients of all A come from one pass over x. Terms with dropout have products
 * of their own, since each drops x in its own way.
 *
 * With experts each has its rows and its linears; the products of all stand in
 * one list.
 */
#include <string.h>

#include "mm.h"

/* Pieces of the scratch; with base NULL only their sizes are added up. */
struct cutter {
	char *base;
	size_t used;
};

static void *cut(struct cutter *c, size_t n)
{
	void *p = c->base ? c->base + c->used : NULL;

	c->used += (n + 63) & ~(size_t)63;
	return p;
}

static float *cut_floats(struct cutter *c, int64_t n)
{
	return cut(c, (size_t)n * sizeof(float));
}

/*
 * The group as one expert sees it, with its rows alone; the whole where there are no experts. Columns of u and du,
 * and rows of a and da, belong to terms in the order of term_at().
 */
struct job {
	struct pt_k_linear_group g;
	int64_t at;			/* first row, in the y and dy of the linears */
	int64_t ranks;			/* of all terms */
	int64_t plain;			/* of those without dropout, which come first */
	float *a;			/* [ranks, K] */
	float *u;			/* [rows, ranks] */
	float *bias;			/* forward: of all outputs, one linear after the other */
	float *du, *da;			/* backward: [rows, ranks], [ranks, K] */
};

/* What a call works with. */
struct plan {
	struct job *job;
	int njobs;			/* that have rows */
	struct pt_mm *mm;
	struct pt_mm_part *part;
	int nmm, nparts;		/* used so far */
	float *a, *u, *bias, *du, *da;	/* of all jobs, one after the other */
	size_t size;
};

static int experts_of(const struct pt_k_linear_group *g)
{
	return g->experts ? g->experts : 1;
}

static int64_t ranks_of(const struct pt_k_linear_group *g, int e, bool plain)
{
	const struct pt_k_linear *l = g->lin + (int64_t)e * g->n;
	int64_t ranks = 0;

	for (int j = 0; j < g->n; j++)
		for (int t = 0; t < l[j].nterms; t++)
			ranks += plain && l[j].term[t].dropout > 0 ? 0 : l[j].term[t].r;
	return ranks;
}

/* Sizes by shapes alone: whatever rows an expert gets, its u fits. */
static struct plan layout(const struct pt_k_linear_group *g, bool backward, void *scratch)
{
	size_t experts = (size_t)experts_of(g), linears = experts * (size_t)g->n, terms = 0;
	struct cutter c = { scratch, 0 };
	struct plan p = { .njobs = 0 };
	int64_t outputs = 0, ranks = 0, widest = 0;

	for (size_t j = 0; j < linears; j++) {
		outputs += g->lin[j].n;
		terms += (size_t)g->lin[j].nterms;
	}
	for (int e = 0; e < (int)experts; e++) {
		int64_t r = ranks_of(g, e, false);

		ranks += r;
		widest = r > widest ? r : widest;
	}
	p.job = cut(&c, experts * sizeof *p.job);
	p.mm = cut(&c, (linears + 2 * terms + 2 * experts) * sizeof *p.mm);
	p.part = cut(&c, (2 * linears + 3 * terms + experts) * sizeof *p.part);
	p.a = cut_floats(&c, ranks * g->k);
	p.u = cut_floats(&c, widest * g->rows);
	if (backward) {
		p.du = cut_floats(&c, widest * g->rows);
		p.da = cut_floats(&c, ranks * g->k);
	} else {
		p.bias = cut_floats(&c, outputs);
	}
	p.size = c.used;
	return p;
}

size_t pt_cpu_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool backward)
{
	(void)dev;
	return layout(g, backward, NULL).size;
}

static void *shifted(void *p, int64_t n)
{
	return p ? (float *)p + n : NULL;
}

/* The next pieces of the buffers for the rows from..to of expert e. */
static void add_job(const struct pt_k_linear_group *g, struct plan *p, struct plan *next, int e, int64_t from,
		    int64_t to)
{
	int64_t ranks = ranks_of(g, e, false), outputs = 0;
	struct job *w = &p->job[p->njobs];

	for (int j = 0; j < g->n; j++)
		outputs += g->lin[(int64_t)e * g->n + j].n;
	if (to > from) {
		*w = (struct job){ .g = *g, .at = from, .ranks = ranks, .plain = ranks_of(g, e, true), .a = next->a,
			.u = next->u, .bias = next->bias, .du = next->du, .da = next->da };
		w->g.rows = to - from;
		w->g.lin = g->lin + (int64_t)e * g->n;
		w->g.x = g->x ? (const float *)g->x + from * g->k : NULL;
		w->g.dx = shifted(g->dx, from * g->k);
		if (g->rng.key) {
			w->g.rng.key = g->rng.key + from;
			w->g.rng.pos = g->rng.pos + from;
		}
		p->njobs++;
	}
	next->a += ranks * g->k;
	next->u += ranks * (to - from);
	if (next->bias)
		next->bias += outputs;
	if (next->du) {
		next->du += ranks * (to - from);
		next->da += ranks * g->k;
	}
}

static struct plan open_plan(const struct pt_k_linear_group *g, bool backward)
{
	struct plan p = layout(g, backward, g->scratch), next = p;

	if (!g->experts)
		add_job(g, &p, &next, 0, 0, g->rows);
	for (int e = 0; e < g->experts; e++)
		add_job(g, &p, &next, e, g->offset[e], g->offset[e + 1]);
	return p;
}

static float *rows_of(const struct job *w, const void *y, int64_t n)
{
	return (float *)(uintptr_t)y + w->at * n;
}

/* First column of term i of linear j: terms without dropout come first. */
static int64_t term_at(const struct pt_k_linear_group *g, int j, int i)
{
	bool drop = g->lin[j].term[i].dropout > 0;
	int64_t at = 0;

	for (int a = 0; a < g->n; a++) {
		for (int b = 0; b < g->lin[a].nterms; b++) {
			const struct pt_k_lowrank *t = &g->lin[a].term[b];

			if (t->dropout > 0 ? drop && (a < j || (a == j && b < i)) :
			    drop || a < j || (a == j && b < i))
				at += t->r;
		}
	}
	return at;
}

/* A product of one part more, written into c; its part may still be changed, and parts appended. */
static struct pt_mm_part *add_mm(struct plan *p, const struct pt_k_linear_group *g, int64_t m, int64_t n, float *c,
				 int64_t ldc, bool acc)
{
	struct pt_mm_part *part = &p->part[p->nparts++];

	p->mm[p->nmm++] = (struct pt_mm){ .m = m, .n = n, .c = c, .ldc = ldc, .acc = acc, .part = part, .nparts = 1,
		.round = g->round_bf16 };
	return part;
}

static struct pt_mm_part *add_part(struct plan *p)
{
	p->mm[p->nmm - 1].nparts++;
	return &p->part[p->nparts++];
}

static void run(struct pt_device *dev, struct plan *p)
{
	pt_cpu_mm(dev, p->mm, p->nmm);
	p->nmm = 0;
	p->nparts = 0;
}

static struct pt_mm_part plain_part(int64_t k, const void *a, int64_t lda, bool ta, const void *b, enum pt_dtype bt,
				    int64_t ldb, bool tb, float scale)
{
	return (struct pt_mm_part){ .k = k, .a = a, .at = PT_F32, .lda = lda, .ta = ta, .b = b, .bt = bt, .ldb = ldb,
		.tb = tb, .scale = scale };
}

static void set_drop(struct pt_mm_part *part, enum pt_mm_drop where, const struct pt_k_linear_group *g,
		     const struct pt_k_lowrank *t)
{
	if (t->dropout <= 0)
		return;
	part->drop = where;
	part->rng = g->rng;
	part->site = t->site;
	part->p = t->dropout;
}

/* A of the terms without dropout, one after the other. */
static void gather_a(const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;

	for (int j = 0; j < g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];

			if (t->dropout <= 0)
				memcpy(w->a + term_at(g, j, i) * g->k, t->a, (size_t)(t->r * g->k) * sizeof *t->a);
		}
	}
}

/* u = drop(x) A' of all terms. */
static void add_u(struct plan *p, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;

	if (w->plain)
		*add_mm(p, g, g->rows, w->plain, w->u, w->ranks, false) =
			plain_part(g->k, g->x, g->k, false, w->a, PT_F32, g->k, true, 1);
	for (int j = 0; j < g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];
			struct pt_mm_part *part;

			if (t->dropout <= 0)
				continue;
			part = add_mm(p, g, g->rows, t->r, w->u + term_at(g, j, i), w->ranks, false);
			*part = plain_part(g->k, g->x, g->k, false, t->a, PT_F32, g->k, true, 1);
			set_drop(part, PT_MM_DROP_A, g, t);
		}
	}
}

static void keep_u(const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;

	for (int j = 0; j < g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];
			const float *from = w->u + term_at(g, j, i);

			for (int64_t row = 0; row < g->rows && t->u; row++)
				memcpy((float *)t->u + row * t->r, from + row * w->ranks,
				       (size_t)t->r * sizeof *from);
		}
	}
}

/* All biases of a linear in one vector; NULL: it has none. */
static const float *sum_bias(const struct pt_k_linear *l, float *out)
{
	bool any = l->bias;

	for (int i = 0; i < l->nterms; i++)
		any |= l->term[i].bias != NULL;
	if (!any)
		return NULL;
	if (l->bias)
		pt_to_f32(out, l->bias, l->btype, (size_t)l->n);
	else
		memset(out, 0, (size_t)l->n * sizeof *out);
	for (int i = 0; i < l->nterms; i++)
		for (int64_t o = 0; o < l->n && l->term[i].bias; o++)
			out[o] += l->term[i].scale * l->term[i].bias[o];
	return out;
}

static void add_y(struct plan *p, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;
	float *bias = w->bias;

	for (int j = 0; j < g->n; bias += g->lin[j++].n) {
		const struct pt_k_linear *l = &g->lin[j];

		*add_mm(p, g, g->rows, l->n, rows_of(w, l->y, l->n), l->n, l->acc_y) =
			plain_part(g->k, g->x, g->k, false, l->w, l->wtype, l->transposed ? l->n : g->k,
				   !l->transposed, 1);
		p->mm[p->nmm - 1].bias = sum_bias(l, bias);
		for (int i = 0; i < l->nterms; i++)
			*add_part(p) = plain_part(l->term[i].r, w->u + term_at(g, j, i), w->ranks, false, l->term[i].b,
						  PT_F32, l->term[i].r, true, l->term[i].scale);
	}
}

/* What else is done to the outputs. */
static int then(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct pt_k_act act = { .act = g->act, .n = g->rows * g->lin->n, .type = g->type, .x = g->lin[0].y, .y = g->z };

	for (int i = 0; i < g->n && !g->experts; i++) {
		struct pt_k_rope turn;

		if (!g->lin[i].turn)
			continue;
		turn = *g->lin[i].turn;
		turn.n = g->rows;
		turn.type = g->type;
		turn.x = g->lin[i].y;
		if (pt_cpu_rope(dev, &turn, err))
			return err->status;
	}
	if (!g->z)
		return 0;
	act.u = g->lin[1].y;
	return pt_cpu_act_fwd(dev, &act, err);
}

int pt_cpu_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct plan p;

	if (g->type != PT_F32)
		return pt_error(err, PT_DEVICE, "linear: the CPU computes in F32, not %s", pt_dtype_name(g->type));
	if (!g->rows)
		return 0;
	p = open_plan(g, false);
	for (int i = 0; i < p.njobs; i++) {
		if (!p.job[i].ranks)
			continue;
		gather_a(&p.job[i]);
		add_u(&p, &p.job[i]);
	}
	run(dev, &p);
	for (int i = 0; i < p.njobs; i++) {
		keep_u(&p.job[i]);
		add_y(&p, &p.job[i]);
	}
	run(dev, &p);
	return then(dev, g, err);
}

/* dx = sum of [dy, du] [W; A]. */
static void add_dx(struct plan *p, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;
	struct pt_mm_part *part = add_mm(p, g, g->rows, g->k, g->dx, g->k, g->acc_dx);

	for (int j = 0; j < g->n; j++) {
		const struct pt_k_linear *l = &g->lin[j];

		if (j > 0)
			part = add_part(p);
		*part = plain_part(l->n, rows_of(w, l->dy, l->n), l->n, false, l->w, l->wtype, l->transposed ? l->n : g->k,
				   l->transposed, 1);
	}
	if (w->plain)
		*add_part(p) = plain_part(w->plain, w->du, w->ranks, false, w->a, PT_F32, g->k, false, 1);
	for (int j = 0; j < g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];

			if (t->dropout <= 0)
				continue;
			part = add_part(p);
			*part = plain_part(t->r, w->du + term_at(g, j, i), w->ranks, false, t->a, PT_F32, g->k, false, 1);
			set_drop(part, PT_MM_DROP_C, g, t);
		}
	}
}

/* Gradients of all A into w->da: those without dropout from one product. */
static void add_da(struct plan *p, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;
	bool plain = false;

	for (int j = 0; j < g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];
			int64_t at = term_at(g, j, i);
			struct pt_mm_part *part;

			plain |= t->da && t->dropout <= 0;
			if (!t->da || t->dropout <= 0)
				continue;
			part = add_mm(p, g, t->r, g->k, w->da + at * g->k, g->k, false);
			*part = plain_part(g->rows, w->du + at, w->ranks, true, g->x, PT_F32, g->k, false, 1);
			set_drop(part, PT_MM_DROP_B, g, t);
		}
	}
	if (plain)
		*add_mm(p, g, w->plain, g->k, w->da, g->k, false) =
			plain_part(g->rows, w->du, w->ranks, true, g->x, PT_F32, g->k, false, 1);
}

static void add_weights(struct plan *p, const struct job *w, bool own_u)
{
	const struct pt_k_linear_group *g = &w->g;

	for (int j = 0; j < g->n; j++) {
		const struct pt_k_linear *l = &g->lin[j];
		const float *dy = rows_of(w, l->dy, l->n);

		if (l->dw && l->transposed)
			*add_mm(p, g, g->k, l->n, l->dw, l->n, true) =
				plain_part(g->rows, g->x, g->k, true, dy, PT_F32, l->n, false, 1);
		else if (l->dw)
			*add_mm(p, g, l->n, g->k, l->dw, g->k, true) =
				plain_part(g->rows, dy, l->n, true, g->x, PT_F32, g->k, false, 1);
		for (int i = 0; i < l->nterms; i++) {
			const struct pt_k_lowrank *t = &l->term[i];

			if (!t->db)
				continue;
			*add_mm(p, g, l->n, t->r, t->db, t->r, true) =
				plain_part(g->rows, dy, l->n, true, own_u ? w->u + term_at(g, j, i) : t->u, PT_F32,
					   own_u ? w->ranks : t->r, false, t->scale);
		}
	}
}

/* What no product gives: sums of columns, and A's gradients from the scratch to their places. */
static void finish(struct pt_device *dev, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;

	for (int j = 0; j < g->n; j++) {
		const struct pt_k_linear *l = &g->lin[j];
		const float *dy = rows_of(w, l->dy, l->n);

		if (l->dbias)
			pt_cpu_mm_colsum(dev, dy, g->rows, l->n, l->n, 1, l->dbias);
		for (int i = 0; i < l->nterms; i++) {
			const struct pt_k_lowrank *t = &l->term[i];
			const float *from = w->da + term_at(g, j, i) * g->k;

			if (t->dbias)
				pt_cpu_mm_colsum(dev, dy, g->rows, l->n, l->n, t->scale, t->dbias);
			for (int64_t k = 0; k < t->r * g->k && t->da; k++)
				t->da[k] += from[k];
		}
	}
}

static void add_du(struct plan *p, const struct job *w)
{
	const struct pt_k_linear_group *g = &w->g;

	for (int j = 0; j < g->n; j++) {
		const struct pt_k_linear *l = &g->lin[j];

		for (int i = 0; i < l->nterms; i++)
			*add_mm(p, g, g->rows, l->term[i].r, w->du + term_at(g, j, i), w->ranks, false) =
				plain_part(l->n, rows_of(w, l->dy, l->n), l->n, false, l->term[i].b, PT_F32,
					   l->term[i].r, false, l->term[i].scale);
	}
}

/* dy of both linears of a gated unit. */
static int gated_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct pt_k_act act = { .act = g->act, .n = g->rows * g->lin->n, .type = g->type, .x = g->lin[0].y, .u = g->lin[1].y,
		.dy = g->dz, .dx = g->lin[0].dy, .du = g->lin[1].dy };

	return pt_cpu_act_bwd(dev, &act, err);
}

int pt_cpu_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	bool need_du = g->dx, need_u = false;
	struct plan p;

	if (g->type != PT_F32)
		return pt_error(err, PT_DEVICE, "linear: the CPU computes in F32, not %s", pt_dtype_name(g->type));
	if (!g->rows)
		return 0;
	if (g->dz && gated_bwd(dev, g, err))
		return err->status;
	for (int j = 0; j < experts_of(g) * g->n; j++) {
		for (int i = 0; i < g->lin[j].nterms; i++) {
			const struct pt_k_lowrank *t = &g->lin[j].term[i];

			need_du |= t->da != NULL;
			need_u |= t->db && !t->u;
		}
	}
	p = open_plan(g, true);
	for (int i = 0; i < p.njobs; i++) {
		gather_a(&p.job[i]);
		if (need_u)
			add_u(&p, &p.job[i]);
		if (need_du)
			add_du(&p, &p.job[i]);
	}
	run(dev, &p);
	for (int i = 0; i < p.njobs; i++) {
		if (g->dx)
			add_dx(&p, &p.job[i]);
		add_da(&p, &p.job[i]);
		add_weights(&p, &p.job[i], need_u);
	}
	run(dev, &p);
	for (int i = 0; i < p.njobs; i++)
		finish(dev, &p.job[i]);
	return 0;
}
