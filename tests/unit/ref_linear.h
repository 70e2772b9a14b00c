/* SPDX-License-Identifier: MIT */
/*
 * ref_linear.h - the products and losses of ref_device.h.
 */
static size_t ref_scratch_fill(void *p, size_t n)
{
	if (p)
		memset(p, 0xff, n);
	return n;
}

static double ref_w(const struct pt_k_linear *l, int64_t k, int64_t o, int64_t i)
{
	return ref_at(l->w, l->wtype, l->transposed ? i * l->n + o : o * k + i);
}

/* One row: y[n] = W x + bias + terms. u (may be NULL) gets A drop(x) of all terms, one after the other. */
static void ref_lin_row(const struct pt_k_linear *l, int64_t k, const float *x, const struct pt_k_rows *rng,
			int64_t row, double *y, double *u)
{
	for (int64_t o = 0; o < l->n; o++) {
		y[o] = l->bias ? ref_at(l->bias, l->btype, o) : 0;
		for (int64_t i = 0; i < k; i++)
			y[o] += ref_w(l, k, o, i) * x[i];
	}
	for (int t = 0; t < l->nterms; t++) {
		const struct pt_k_lowrank *m = &l->term[t];

		for (int64_t r = 0; r < m->r; r++) {
			double s = 0;

			for (int64_t i = 0; i < k; i++)
				s += (double)m->a[r * k + i] * x[i] *
				     ref_mask(rng, row, m->site, 0, i, m->dropout);
			for (int64_t o = 0; o < l->n; o++)
				y[o] += (double)m->scale * m->b[o * m->r + r] * s;
			if (u)
				*u++ = s;
		}
		for (int64_t o = 0; o < l->n && m->bias; o++)
			y[o] += (double)m->scale * m->bias[o];
	}
}

/* Gradients of one row into those of the linear, and dx[k] += */
static void ref_lin_row_bwd(const struct pt_k_linear *l, int64_t k, const float *x,
			    const struct pt_k_rows *rng, int64_t row, const double *dy, double *dx)
{
	for (int64_t o = 0; o < l->n; o++) {
		for (int64_t i = 0; i < k; i++) {
			dx[i] += dy[o] * ref_w(l, k, o, i);
			if (l->dw)
				ref_put(&l->dw[l->transposed ? i * l->n + o : o * k + i], true, dy[o] * x[i]);
		}
		if (l->dbias)
			ref_put(&l->dbias[o], true, dy[o]);
	}
	for (int t = 0; t < l->nterms; t++) {
		const struct pt_k_lowrank *m = &l->term[t];

		for (int64_t r = 0; r < m->r; r++) {
			double du = 0, u = 0;

			for (int64_t o = 0; o < l->n; o++)
				du += dy[o] * m->scale * m->b[o * m->r + r];
			for (int64_t i = 0; i < k; i++) {
				double f = ref_mask(rng, row, m->site, 0, i, m->dropout);

				if (m->da || (m->db && !m->u))
					u += (double)m->a[r * k + i] * x[i] * f;
				dx[i] += du * m->a[r * k + i] * f;
				if (m->da)
					ref_put(&m->da[r * k + i], true, du * x[i] * f);
			}
			if (m->u && m->db)
				u = ((const float *)m->u)[row * m->r + r];
			for (int64_t o = 0; o < l->n && m->db; o++)
				ref_put(&m->db[o * m->r + r], true, dy[o] * m->scale * u);
		}
		for (int64_t o = 0; o < l->n && m->dbias; o++)
			ref_put(&m->dbias[o], true, dy[o] * m->scale);
	}
}

static size_t ref_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool backward)
{
	(void)dev;
	return (size_t)g->rows * (backward ? 24 : 8) * (size_t)g->n;
}

#include "ref_experts.h"

static int ref_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	(void)err;
	ref_scratch_fill(g->scratch, ref_linear_scratch(dev, g, false));
	if (g->experts)
		return ref_experts(dev, g, ref_linear_fwd, err);
	for (int j = 0; j < g->n; j++) {
		const struct pt_k_linear *l = &g->lin[j];
		int64_t ranks = 0;
		double *y = ref_new(l->n), *u;

		for (int t = 0; t < l->nterms; t++)
			ranks += l->term[t].r;
		u = ref_new(ranks);
		for (int64_t i = 0; i < g->rows; i++) {
			const double *from = u;

			ref_lin_row(l, g->k, (const float *)g->x + i * g->k, &g->rng, i, y, u);
			for (int64_t o = 0; o < l->n; o++)
				ref_put((float *)l->y + i * l->n + o, l->acc_y, y[o]);
			for (int t = 0; t < l->nterms; from += l->term[t++].r)
				for (int64_t r = 0; r < l->term[t].r && l->term[t].u; r++)
					((float *)l->term[t].u)[i * l->term[t].r + r] = (float)from[r];
		}
		free(y);
		free(u);
		ref_turn(l->turn, l->y, g->rows, false);
	}
	if (g->z) {
		struct pt_k_act act = { .act = g->act, .n = g->rows * g->lin->n, .x = g->lin[0].y, .u = g->lin[1].y, .y = g->z };

		return ref_act_fwd(dev, &act, err);
	}
	return 0;
}

static int ref_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	double *dx;

	ref_scratch_fill(g->scratch, ref_linear_scratch(dev, g, true));
	if (g->experts)
		return ref_experts(dev, g, ref_linear_bwd, err);
	if (g->dz) {
		struct pt_k_act act = { .act = g->act, .n = g->rows * g->lin->n, .x = g->lin[0].y, .u = g->lin[1].y,
			.dy = g->dz, .dx = g->lin[0].dy, .du = g->lin[1].dy };

		ref_act_bwd(dev, &act, err);
	}
	dx = ref_new(g->k);
	for (int64_t i = 0; i < g->rows; i++) {
		const float *x = g->x ? (const float *)g->x + i * g->k : NULL;

		memset(dx, 0, (size_t)g->k * sizeof *dx);
		for (int j = 0; j < g->n; j++) {
			const struct pt_k_linear *l = &g->lin[j];
			double *dy = ref_new(l->n);

			for (int64_t o = 0; o < l->n; o++)
				dy[o] = ((const float *)l->dy)[i * l->n + o];
			ref_lin_row_bwd(l, g->k, x, &g->rng, i, dy, dx);
			free(dy);
		}
		for (int64_t c = 0; c < g->k && g->dx; c++)
			ref_put((float *)g->dx + i * g->k + c, g->acc_dx, dx[c]);
	}
	free(dx);
	return 0;
}

static size_t ref_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	(void)dev;
	return (size_t)k->v * (backward || k->weight ? 16 : 8);
}

/* Logits of labelled row l; returns their log-sum-exp. */
static double ref_nll_row(const struct pt_k_nll *k, int64_t l, double *z)
{
	const float *x = (const float *)k->x + k->row[l] * k->c;
	double max = -INFINITY, s = 0;

	ref_lin_row(&k->head, k->c, x, &k->rng, k->row[l], z, NULL);
	for (int64_t i = 0; i < k->v; i++) {
		z[i] *= k->scale;
		if (k->cap > 0)
			z[i] = k->cap * tanh(z[i] / k->cap);
		max = z[i] > max ? z[i] : max;
	}
	for (int64_t i = 0; i < k->v; i++)
		s += exp(z[i] - max);
	return max + log(s);
}

static int ref_nll_bwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	double *z = ref_new(k->v), *dx = ref_new(k->c);

	(void)err;
	ref_scratch_fill(k->scratch, ref_nll_scratch(dev, k, true));
	for (int64_t i = 0; i < k->n * k->c && k->dx && !k->acc_dx; i++)
		((float *)k->dx)[i] = 0;
	for (int64_t l = 0; l < k->rows; l++) {
		double lse = ref_nll_row(k, l, z);

		lse = (double)(k->lse ? k->lse[l] : (float)lse);
		for (int64_t i = 0; i < k->v; i++) {
			double t = k->cap > 0 ? z[i] / k->cap : 0;
			double p = exp(z[i] - lse);

			p -= (i == k->label[l] ? 1 - (double)k->smoothing : 0) + (double)k->smoothing / (double)k->v;
			z[i] = p * k->weight[l] * (1 - t * t) * k->scale;
		}
		memset(dx, 0, (size_t)k->c * sizeof *dx);
		ref_lin_row_bwd(&k->head, k->c, (const float *)k->x + k->row[l] * k->c, &k->rng, k->row[l],
				z, dx);
		for (int64_t i = 0; i < k->c && k->dx; i++)
			ref_put((float *)k->dx + k->row[l] * k->c + i, true, dx[i]);
	}
	free(z);
	free(dx);
	return 0;
}

static int ref_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	double *z = ref_new(k->v);

	ref_scratch_fill(k->scratch, ref_nll_scratch(dev, k, false));
	for (int64_t l = 0; l < k->rows; l++) {
		double lse = ref_nll_row(k, l, z), mean = 0;
		int best = 0;

		for (int i = 0; i < k->v; i++) {
			mean += z[i] / (double)k->v;
			best = z[i] > z[best] ? i : best;
		}
		k->nll[l] = (float)((1 - (double)k->smoothing) * (lse - z[k->label[l]]) +
				    (double)k->smoothing * (lse - mean));
		if (k->lse)
			k->lse[l] = (float)lse;
		if (k->argmax)
			k->argmax[l] = best;
	}
	free(z);
	return k->weight ? ref_nll_bwd(dev, k, err) : 0;
}

/* Loss of one row of logits and, where dz is given, weight times its gradient. */
static double ref_class_row(const struct pt_k_class *k, int64_t b, double *dz)
{
	const float *z = (const float *)k->z + b * k->k, *t = k->target ? k->target + b * k->k : NULL;
	double max = -INFINITY, s = 0, mean = 0, loss = 0, n = (double)k->k;
	int cls = k->kind == PT_LOSS_CE ? k->cls[b] : 0;

	for (int64_t i = 0; i < k->k; i++) {
		max = z[i] > max ? z[i] : max;
		mean += z[i] / n;
	}
	for (int64_t i = 0; i < k->k; i++)
		s += exp(z[i] - max);
	for (int64_t i = 0; i < k->k; i++) {
		double x = z[i], e = 0;

		if (k->kind == PT_LOSS_MSE) {
			loss += (x - t[i]) * (x - t[i]) / n;
			e = 2 * (x - t[i]) / n;
		} else if (k->kind == PT_LOSS_BCE) {
			loss += (fmax(x, 0) - x * t[i] + log1p(exp(-fabs(x)))) / n;
			e = (1 / (1 + exp(-x)) - t[i]) / n;
		} else if (cls != -100) {
			e = exp(x - max) / s - (i == cls ? 1 - (double)k->smoothing : 0) - k->smoothing / n;
		}
		if (dz)
			dz[i] = e * k->weight[b];
	}
	if (k->kind != PT_LOSS_CE || cls == -100)
		return loss;
	return (1 - (double)k->smoothing) * (max + log(s) - z[cls]) + k->smoothing * (max + log(s) - mean);
}

static int ref_class_fwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t b = 0; b < k->n; b++)
		k->loss[b] = (float)ref_class_row(k, b, NULL);
	return 0;
}

static int ref_class_bwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	double *dz = ref_new(k->k);

	(void)dev, (void)err;
	for (int64_t b = 0; b < k->n; b++) {
		ref_class_row(k, b, dz);
		for (int64_t i = 0; i < k->k; i++)
			ref_put((float *)k->dz + b * k->k + i, k->acc_dz, dz[i]);
	}
	free(dz);
	return 0;
}
