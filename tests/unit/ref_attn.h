/* SPDX-License-Identifier: MIT */
/*
 * ref_attn.h - attention of ref_device.h: one query row and one head at a time.
 */

/* Keys of one query row: those of its prefix first, then those of its sequence. */
struct ref_keys {
	int64_t p0, np;			/* prefix rows */
	int64_t k0, nk;			/* key rows */
	int64_t q0, nq;
};

static struct ref_keys ref_keys(const struct pt_k_attn *k, int b)
{
	struct ref_keys s = { 0, 0, k->cu_k[b], k->cu_k[b + 1] - k->cu_k[b], k->cu_q[b],
			      k->cu_q[b + 1] - k->cu_q[b] };
	int e = k->prefixes ? k->prefix_index[b] : -1;

	if (e >= 0) {
		s.p0 = k->cu_prefix[e];
		s.np = k->cu_prefix[e + 1] - s.p0;
	}
	return s;
}

/* T5's bucket of a distance, with the float arithmetic of transformers. */
static int ref_bucket(const struct pt_k_attn *k, int64_t rel)
{
	int n = k->buckets, out = 0, exact, far;
	int64_t d = rel > 0 ? 0 : -rel;

	if (k->bidirectional) {
		n /= 2;
		out = rel > 0 ? n : 0;
		d = rel < 0 ? -rel : rel;
	}
	exact = n / 2;
	if (d < exact)
		return out + (int)d;
	far = exact + (int)(logf((float)d / (float)exact) /
			    (float)log((double)k->max_distance / exact) * (float)(n - exact));
	return out + (far < n - 1 ? far : n - 1);
}

/* Where key j (prefix included) of query i of head h is stored; false when it is masked. */
static bool ref_key(const struct pt_k_attn *k, const struct ref_keys *s, int64_t i, int64_t j, int h,
		    const float **kk, const float **vv, double *bias, int64_t *table)
{
	int g = h / (k->heads / k->kv_heads);
	int64_t at = i + s->nk - s->nq, rel = j - s->np - at, d = k->head_dim, ldp = d * k->kv_heads;

	*bias = 0;
	*table = -1;
	if (j < s->np) {
		*kk = (const float *)k->prefix_k + (s->p0 + j) * ldp + g * d;
		*vv = (const float *)k->prefix_v + (s->p0 + j) * ldp + g * d;
	} else {
		*kk = (const float *)k->k + (s->k0 + j - s->np) * k->ldk + g * d;
		*vv = (const float *)k->v + (s->k0 + j - s->np) * k->ldv + g * d;
	}
	if (k->bias == PT_BIAS_BUCKETS) {
		*table = (int64_t)ref_bucket(k, rel) * k->heads + h;
		*bias = k->bias_table[*table];
	} else if (k->bias == PT_BIAS_SLOPES) {
		*bias = -(double)k->bias_table[h] * (double)(rel < 0 ? -rel : rel);
	}
	if (k->bias == PT_BIAS_KEY_SLOPES)
		*bias = (double)k->scale * (double)pt_round_bf16(pt_round_bf16(k->bias_table[h]) *
								pt_round_bf16((float)j));
	if (j < s->np)
		return true;
	if (k->causal && rel > 0)
		return false;
	return !k->window || (rel > -k->window && rel < k->window);
}

/* Scores of query row i of head h into z[np + nk] (-inf where masked); returns their log-sum-exp. */
static double ref_scores(const struct pt_k_attn *k, const struct ref_keys *s, int64_t i, int h, double *z)
{
	const float *q = (const float *)k->q + (s->q0 + i) * k->ldq + (int64_t)h * k->head_dim;
	double max = -INFINITY, sum = 0;

	for (int64_t j = 0; j < s->np + s->nk; j++) {
		const float *kk, *vv;
		double bias, x = 0;
		int64_t table;

		z[j] = -INFINITY;
		if (!ref_key(k, s, i, j, h, &kk, &vv, &bias, &table))
			continue;
		for (int c = 0; c < k->head_dim; c++)
			x += (double)q[c] * kk[c];
		x *= k->scale;
		z[j] = (k->softcap > 0 ? k->softcap * tanh(x / k->softcap) : x) + bias;
		max = z[j] > max ? z[j] : max;
	}
	for (int64_t j = 0; j < s->np + s->nk && max > -INFINITY; j++)
		sum += exp(z[j] - max);
	return max > -INFINITY ? max + log(sum) : -INFINITY;
}

static size_t ref_attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	(void)dev;
	return (size_t)k->heads * (size_t)k->nq * (backward ? 8 : 4);
}

static int ref_attn_fwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	(void)err;
	ref_scratch_fill(k->scratch, ref_attn_scratch(dev, k, false));
	for (int b = 0; b < k->batch; b++) {
		struct ref_keys s = ref_keys(k, b);
		double *z = ref_new(s.np + s.nk), *o = ref_new(k->head_dim);

		for (int64_t ih = 0; ih < s.nq * k->heads; ih++) {
			int64_t i = ih / k->heads, row = s.q0 + i, table;
			int h = (int)(ih % k->heads);
			double lse = ref_scores(k, &s, i, h, z), bias;
			const float *kk, *vv;

			memset(o, 0, (size_t)k->head_dim * sizeof *o);
			for (int64_t j = 0; j < s.np + s.nk; j++) {
				if (!ref_key(k, &s, i, j, h, &kk, &vv, &bias, &table))
					continue;
				for (int c = 0; c < k->head_dim; c++)
					o[c] += exp(z[j] - lse) * vv[c] *
						ref_mask(&k->rng, row, k->site, (uint32_t)h, j, k->dropout);
			}
			for (int c = 0; c < k->head_dim; c++)
				((float *)k->o)[row * k->ldo + (int64_t)h * k->head_dim + c] = (float)o[c];
			if (k->lse)
				k->lse[h * k->nq + row] = (float)lse;
		}
		free(z);
		free(o);
	}
	return 0;
}

/* Gradients of one query row and head, added to the double images of dq, dk, dv and of the prefix. */
struct ref_attn_grad {
	double *q, *k, *v, *pk, *pv;
};

static void ref_attn_row_bwd(const struct pt_k_attn *k, const struct ref_keys *s, int64_t i, int h,
			     double *z, const struct ref_attn_grad *d)
{
	int64_t hd = k->head_dim, row = s->q0 + i, ldg = hd * k->kv_heads;
	const float *q = (const float *)k->q + row * k->ldq + h * hd;
	const float *doo = (const float *)k->doo + row * k->ldo + h * hd;
	double lse = ref_scores(k, s, i, h, z), delta = 0, bias;
	int g = h / (k->heads / k->kv_heads);
	const float *kk, *vv;
	int64_t table;

	for (int64_t j = 0; j < s->np + s->nk; j++)
		for (int64_t c = 0; c < hd && ref_key(k, s, i, j, h, &kk, &vv, &bias, &table); c++)
			delta += exp(z[j] - lse) * doo[c] * vv[c] *
				 ref_mask(&k->rng, row, k->site, (uint32_t)h, j, k->dropout);
	for (int64_t j = 0; j < s->np + s->nk; j++) {
		bool pre = j < s->np;
		int64_t at = (pre ? s->p0 + j : s->k0 + j - s->np) * ldg + g * hd;
		double p, dp = 0, ds, m, t;

		if (!ref_key(k, s, i, j, h, &kk, &vv, &bias, &table))
			continue;
		p = exp(z[j] - lse);
		m = ref_mask(&k->rng, row, k->site, (uint32_t)h, j, k->dropout);
		for (int64_t c = 0; c < hd; c++) {
			dp += (double)doo[c] * vv[c] * m;
			(pre ? d->pv : d->v)[at + c] += p * m * doo[c];
		}
		ds = p * (dp - delta);
		if (k->dbias && table >= 0)
			ref_put(&k->dbias[table], true, ds);
		t = k->softcap > 0 ? (z[j] - bias) / k->softcap : 0;
		ds *= (1 - t * t) * k->scale;
		for (int64_t c = 0; c < hd; c++) {
			d->q[row * k->heads * hd + h * hd + c] += ds * kk[c];
			(pre ? d->pk : d->k)[at + c] += ds * q[c];
		}
	}
}

/* Rows of no sequence are left alone. */
static void ref_attn_store(void *to, int64_t ld, bool acc, const double *from, int64_t rows, int64_t c)
{
	for (int64_t i = 0; i < rows * c && to; i++)
		ref_put((float *)to + i / c * ld + i % c, acc, from[i]);
}

static int ref_attn_bwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	int64_t cq = (int64_t)k->heads * k->head_dim, ck = (int64_t)k->kv_heads * k->head_dim;
	int64_t np = k->prefixes ? k->cu_prefix[k->prefixes] : 0;
	struct ref_attn_grad d = { ref_new(k->nq * cq), ref_new(k->nk * ck), ref_new(k->nk * ck),
				   ref_new(np * ck), ref_new(np * ck) };

	(void)err;
	ref_scratch_fill(k->scratch, ref_attn_scratch(dev, k, true));
	for (int b = 0; b < k->batch; b++) {
		struct ref_keys s = ref_keys(k, b);
		double *z = ref_new(s.np + s.nk);

		for (int64_t ih = 0; ih < s.nq * k->heads; ih++)
			ref_attn_row_bwd(k, &s, ih / k->heads, (int)(ih % k->heads), z, &d);
		free(z);
	}
	ref_attn_store(k->dq, k->ldq, k->acc_dq, d.q, k->cu_q[k->batch], cq);
	ref_attn_store(k->dk, k->ldk, k->acc_dk, d.k, k->cu_k[k->batch], ck);
	ref_attn_store(k->dv, k->ldv, k->acc_dv, d.v, k->cu_k[k->batch], ck);
	ref_turn(k->turn_q, k->dq, k->nq, true);
	ref_turn(k->turn_k, k->dk, k->nk, true);
	ref_attn_store(k->dprefix_k, ck, true, d.pk, np, ck);
	ref_attn_store(k->dprefix_v, ck, true, d.pv, np, ck);
	free(d.q);
	free(d.k);
	free(d.v);
	free(d.pk);
	free(d.pv);
	return 0;
}
