/* SPDX-License-Identifier: MIT */
/*
 * ref_experts.h - routing and mixtures of experts of ref_device.h.
 */

/* The group as expert e sees it. */
static struct pt_k_linear_group ref_expert(const struct pt_k_linear_group *g, int e, struct pt_k_linear *lin)
{
	struct pt_k_linear_group sub = *g;
	int64_t from = g->offset[e];

	sub.experts = 0;
	sub.rows = g->offset[e + 1] - from;
	sub.lin = lin;
	sub.x = (const float *)g->x + from * g->k;
	sub.dx = g->dx ? (float *)g->dx + from * g->k : NULL;
	if (g->rng.key)
		sub.rng = (struct pt_k_rows){ g->rng.key + from, g->rng.pos + from };
	sub.scratch = NULL;
	for (int j = 0; j < g->n; j++) {
		lin[j] = g->lin[e * g->n + j];
		lin[j].y = lin[j].y ? (float *)lin[j].y + from * lin[j].n : NULL;
		lin[j].dy = lin[j].dy ? (float *)lin[j].dy + from * lin[j].n : NULL;
	}
	return sub;
}

static int ref_experts(struct pt_device *dev, const struct pt_k_linear_group *g,
		       int (*fn)(struct pt_device *, const struct pt_k_linear_group *, struct pt_error *),
		       struct pt_error *err)
{
	for (int e = 0; e < g->experts; e++) {
		struct pt_k_linear lin[8];
		struct pt_k_linear_group sub = ref_expert(g, e, lin);

		fn(dev, &sub, err);
	}
	return 0;
}

static int ref_route_fwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	int at = 0;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		const float *z = (const float *)k->z + i * k->experts;
		float *p = k->p + i * k->experts;
		double sum = 0, top = 0;

		for (int e = 0; e < k->experts; e++)
			sum += exp((double)z[e] - z[0]);
		for (int e = 0; e < k->experts; e++)
			p[e] = (float)(exp((double)z[e] - z[0]) / sum);
		/* Expert e is chosen as number c if c others come before it. */
		for (int e = 0; e < k->experts; e++) {
			int before = 0;

			for (int o = 0; o < k->experts; o++)
				before += p[o] > p[e] || (p[o] == p[e] && o < e);
			if (before >= k->k)
				continue;
			k->expert[i * k->k + before] = e;
			top += p[e];
		}
		for (int j = 0; j < k->k; j++)
			k->weight[i * k->k + j] =
				(float)(p[k->expert[i * k->k + j]] / (k->renorm ? top : 1));
	}
	for (int e = 0; e <= k->experts; e++) {
		k->offset[e] = at;
		for (int64_t i = 0; i < k->n * k->k && e < k->experts; i++) {
			if (k->expert[i] != e)
				continue;
			k->place[i] = at;
			k->row[at] = (int32_t)(i / k->k);
			if (k->key) {
				k->key[at] = k->rng.key[i / k->k];
				k->pos[at] = k->rng.pos[i / k->k];
			}
			at++;
		}
	}
	for (int e = 0; e < k->experts && k->stat; e++) {
		double sum = 0, count = 0;

		for (int64_t i = 0; i < k->live; i++)
			sum += k->p[i * k->experts + e];
		for (int64_t i = 0; i < k->live * k->k; i++)
			count += k->expert[i] == e;
		k->stat[e] = (float)sum;
		k->stat[k->experts + e] = (float)count;
	}
	return 0;
}

static int ref_route_bwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	double *dp = ref_new(k->experts);

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		const float *p = k->p + i * k->experts;
		double top = 0, mean = 0;

		for (int e = 0; e < k->experts; e++)
			dp[e] = k->dstat && i < k->live ? k->dstat[e] : 0;
		for (int64_t a = i * k->k; a < (i + 1) * k->k; a++)
			top += k->renorm ? p[k->expert[a]] : 0;
		for (int64_t a = i * k->k; a < (i + 1) * k->k && k->dweight; a++) {
			dp[k->expert[a]] += k->dweight[a] / (k->renorm ? top : 1);
			for (int64_t b = i * k->k; b < (i + 1) * k->k && k->renorm; b++)
				dp[k->expert[a]] -= k->dweight[b] * p[k->expert[b]] / (top * top);
		}
		for (int e = 0; e < k->experts; e++)
			mean += p[e] * dp[e];
		for (int e = 0; e < k->experts; e++)
			ref_put((float *)k->dz + i * k->experts + e, k->acc_dz, p[e] * (dp[e] - mean));
	}
	free(dp);
	return 0;
}

static int ref_combine_fwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n * k->c; i++) {
		double s = 0;

		for (int64_t a = i / k->c * k->k; a < (i / k->c + 1) * k->k; a++)
			s += (k->weight ? k->weight[a] : 1) * ((const float *)k->x)[k->place[a] * k->c + i % k->c];
		ref_put((float *)k->y + i, k->acc_y, s);
	}
	return 0;
}

static int ref_combine_bwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t a = 0; a < k->n * k->k; a++) {
		const float *dy = (const float *)k->dy + a / k->k * k->c;
		double s = 0;

		for (int64_t c = 0; c < k->c; c++) {
			if (k->dweight)
				s += (double)dy[c] * ((const float *)k->x)[k->place[a] * k->c + c];
			if (k->dx)
				ref_put((float *)k->dx + k->place[a] * k->c + c, k->acc_dx,
					(double)dy[c] * (k->weight ? k->weight[a] : 1));
		}
		if (k->dweight)
			ref_put(&k->dweight[a], k->acc_dweight, s);
	}
	return 0;
}

static int ref_gate_fwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n * k->c; i++)
		((float *)k->y)[i] = (float)(((const float *)k->x)[i] /
					     (1 + exp(-(double)((const float *)k->g)[i / k->c])));
	return 0;
}

static int ref_gate_bwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		double f = 1 / (1 + exp(-(double)((const float *)k->g)[i])), s = 0;

		for (int64_t c = i * k->c; c < (i + 1) * k->c; c++) {
			double dy = ((const float *)k->dy)[c];

			s += k->dg ? dy * ((const float *)k->x)[c] : 0;
			if (k->dx)
				ref_put((float *)k->dx + c, k->acc_dx, f * dy);
		}
		if (k->dg)
			ref_put((float *)k->dg + i, k->acc_dg, f * (1 - f) * s);
	}
	return 0;
}
