/* SPDX-License-Identifier: MIT */
/*
 * lora_data.c - initialisations from data, by what linears read.
 *
 * EVA: the rows of A are the principal components of the input, B is zero.
 * The ranks of all modules are shared out anew, to the components that explain
 * most of the variance of theirs.
 *
 * CorDA: with C the mean of x'x, W C = U S V, and the update starts as
 * U S V C^-1 of the largest (ipm) or the least (kpm) singular values, which is
 * taken out of the base (lora_residual.c).
 *
 * Paischer et al. 2024, "Parameter Efficient Fine-tuning via Explained
 * Variance Adaptation"; Yang et al. 2024, "CorDA: Context-Oriented
 * Decomposition Adaptation of Large Language Models".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/kernels.h"
#include "peft/inputs.h"
#include "peft/lora.h"
#include "tensor/eigen.h"
#include "tensor/svd.h"

#define DAMP 0.01		/* of the mean of C's diagonal, added to it */

/* Of one input: its first components and what each explains. */
struct part {
	int k;
	float *component;		/* [k,in] */
	float *size;			/* [k] singular values of the centred rows */
	double *share;			/* [k] of the variance */
};

struct pt_lora_data {
	struct pt_inputs *in;
	struct part *part;		/* EVA: [in->nsums] */
	double rho;
	bool mask, whiten, adjust;
	bool least;			/* CorDA: kpm */
};

static const char eva_defaults[] =
	"{\"adjust_scaling_factors\":true,\"label_mask_value\":-100,\"rho\":2.0,\"tau\":0.99,\"use_label_mask\":true,"
	"\"whiten\":false}";
static const char corda_defaults[] =
	"{\"cache_file\":null,\"corda_method\":\"ipm\",\"covariance_file\":null,\"prune_temporary_fields\":true,"
	"\"use_float16_for_covariance\":false,\"verbose\":false}";

/* The object under key, with all its keys. */
static int sub_config(cJSON *config, const char *key, const char *defaults, cJSON **out, struct pt_error *err)
{
	cJSON *v = cJSON_GetObjectItemCaseSensitive(config, key);

	if (!v || cJSON_IsNull(v)) {
		cJSON_DeleteItemFromObjectCaseSensitive(config, key);
		v = cJSON_AddObjectToObject(config, key);
	}
	*out = v;
	if (!cJSON_IsObject(v))
		return pt_error(err, v ? PT_USAGE : PT_FAIL, "%s: an object expected", key);
	return pt_adapter_config_complete(v, defaults, err);
}

static int parse_eva(struct pt_adapter *a, struct pt_lora_data *d, struct pt_error *err)
{
	int64_t value;
	double tau;
	cJSON *v;

	if (sub_config(a->config, "eva_config", eva_defaults, &v, err))
		return err->status;
	if (pt_json_double(v, "rho", 2, &d->rho, err) || pt_json_double(v, "tau", 0.99, &tau, err) ||
	    pt_json_int(v, "label_mask_value", INT32_MIN, INT32_MAX, -100, &value, err) ||
	    pt_json_bool(v, "use_label_mask", true, &d->mask, err) || pt_json_bool(v, "whiten", false, &d->whiten, err) ||
	    pt_json_bool(v, "adjust_scaling_factors", true, &d->adjust, err))
		return pt_error_prefix(err, "eva_config");
	if (!(d->rho >= 1))
		return pt_error(err, PT_USAGE, "eva_config: rho %g is less than 1", d->rho);
	if (value != -100)
		return pt_error(err, PT_USAGE, "eva_config: label_mask_value %lld: streams have -100", (long long)value);
	return 0;
}

static int parse_corda(struct pt_adapter *a, struct pt_lora_data *d, struct pt_error *err)
{
	const char *how;
	cJSON *v;

	if (sub_config(a->config, "corda_config", corda_defaults, &v, err))
		return err->status;
	if (pt_json_str(v, "corda_method", "ipm", &how, err))
		return pt_error_prefix(err, "corda_config");
	d->least = !strcmp(how, "kpm");
	if (!d->least && strcmp(how, "ipm") != 0)
		return pt_error(err, PT_USAGE, "corda_method '%s': ipm and kpm are known", how);
	if (pt_json_get(v, "cache_file") || pt_json_get(v, "covariance_file"))
		return pt_error(err, PT_USAGE, "corda_config: cache_file and covariance_file are not read");
	return 0;
}

/* The k first components of an input. */
static int find_part(const struct pt_adapter *a, const struct pt_lora_data *d, int at, int k, struct pt_error *err)
{
	const struct pt_input_sum *s = &d->in->sum[at];
	size_t n = (size_t)(s->in * s->in);
	float *moment = pt_malloc(n, sizeof *moment, err), *left = NULL;
	struct part *p = &d->part[at];
	double trace = 0;
	int st = moment ? pt_inputs_moment(d->in, s, moment, err) : err->status;

	k = k < s->in ? k : (int)s->in;
	if (!st && s->rows <= k)
		st = pt_error(err, PT_USAGE, "%lld tokens are too few for %d components: give more batches, or a smaller rank",
			      (long long)s->rows, k);
	left = pt_malloc((size_t)(s->in * k), sizeof *left, err);
	p->component = pt_malloc((size_t)(k * s->in), sizeof *p->component, err);
	p->size = pt_malloc((size_t)k, sizeof *p->size, err);
	p->share = pt_malloc((size_t)k, sizeof *p->share, err);
	if (!st && (!left || !p->component || !p->size || !p->share))
		st = err->status;
	for (int64_t i = 0; i < s->in && !st; i++)
		trace += moment[i * s->in + i];
	if (!st)
		st = pt_svd_largest(a->model->dev, moment, s->in, s->in, k, left, p->size, p->component, a->stop, err);
	for (int i = 0; i < k && !st; i++) {
		float *v = p->component + i * s->in;
		int64_t most = 0;
		float sign;

		p->share[i] = trace > 0 ? (double)p->size[i] / trace : 0;
		p->size[i] = sqrtf(p->size[i]);
		/* Signs as PEFT has them: the largest element is positive. */
		for (int64_t j = 1; j < s->in; j++)
			most = fabsf(v[j]) > fabsf(v[most]) ? j : most;
		sign = v[most] < 0 ? -1 : 1;
		for (int64_t j = 0; j < s->in; j++)
			v[j] *= sign;
	}
	p->k = k;
	free(moment);
	free(left);
	return st;
}

/* A component that a site may have. */
struct candidate {
	double share;
	int site, order;
};

static int cmp_share(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	return a->share > b->share ? -1 : a->share < b->share ? 1 : a->order - b->order;
}

/*
 * rank[i] of each site, 0 where none is left: as many components in all as before, those of the largest shares.
 * Of sites with one input the first has the most.
 */
static int share_out(const struct pt_adapter *a, const struct pt_lora_data *d, const int *most, int64_t budget, int *rank,
		     struct pt_error *err)
{
	struct candidate *c;
	int n = 0, total = 0;

	for (int i = 0; i < a->nsites; i++) {
		int at = pt_inputs_of(d->in, a->site[i].site);

		if (at < 0)
			continue;
		rank[i] = 0;
		total += most[i] < d->part[at].k ? most[i] : d->part[at].k;
	}
	c = pt_malloc((size_t)total, sizeof *c, err);
	if (!c)
		return err->status;
	for (int i = 0; i < a->nsites; i++) {
		int at = pt_inputs_of(d->in, a->site[i].site);

		for (int k = 0; at >= 0 && k < most[i] && k < d->part[at].k; k++, n++)
			c[n] = (struct candidate){ d->part[at].share[k], i, n };
	}
	qsort(c, (size_t)n, sizeof *c, cmp_share);
	for (int i = 0; i < n && i < budget; i++)
		rank[c[i].site]++;
	free(c);
	return 0;
}

static int set_number(cJSON *config, const char *key, const char *name, double v, struct pt_error *err)
{
	cJSON *obj = cJSON_GetObjectItemCaseSensitive(config, key);

	if (!cJSON_IsObject(obj) || !cJSON_AddNumberToObject(obj, name, v))
		return pt_error(err, PT_FAIL, "out of memory");
	return 0;
}

/* Patterns by whole names, as PEFT writes them; targets that are left. */
static int write_ranks(struct pt_adapter *a, const struct pt_lora_data *d, const int *was, const int *rank,
		       const double *alpha, struct pt_error *err)
{
	static const char *const key[] = { "rank_pattern", "alpha_pattern" };
	const struct pt_lora *l = a->state;
	struct pt_buf names = PT_BUF_INIT;
	int left = 0, st = 0;

	for (int i = 0; i < 2; i++) {
		cJSON_DeleteItemFromObjectCaseSensitive(a->config, key[i]);
		if (!cJSON_AddObjectToObject(a->config, key[i]))
			return pt_error(err, PT_FAIL, "out of memory");
	}
	for (int i = 0; i < a->nsites && !st; i++) {
		const char *path = a->site[i].site->path;
		double x = alpha[i] * (d->adjust && rank[i] != was[i] ? (double)rank[i] / was[i] : 1);

		if (!rank[i])
			continue;
		if (rank[i] != l->r)
			st = set_number(a->config, "rank_pattern", path, rank[i], err);
		if (!st && x != l->alpha)
			st = set_number(a->config, "alpha_pattern", path, x, err);
		pt_buf_printf(&names, "%s%s", left ? "," : "", path);
		a->site[left] = a->site[i];
		a->site[left].hook.state = &a->site[left];
		left++;
	}
	if (!st && left < a->nsites)
		st = pt_buf_check(&names, err) ? err->status : pt_config_set_names(a->config, "target_modules", names.data, err);
	a->nsites = left;
	pt_buf_release(&names);
	return st;
}

static int eva(struct pt_adapter *a, struct pt_lora_data *d, struct pt_error *err)
{
	size_t n = (size_t)a->nsites;
	int *was = pt_calloc(n, sizeof *was, err), *rank = pt_calloc(n, sizeof *rank, err), *most = pt_calloc(n, sizeof *most, err);
	double *alpha = pt_calloc(n, sizeof *alpha, err);
	int64_t budget = 0;
	int st = was && rank && most && alpha ? 0 : err->status;

	d->part = pt_calloc((size_t)d->in->nsums, sizeof *d->part, err);
	if (!st && !d->part)
		st = err->status;
	for (int i = 0; i < a->nsites && !st; i++) {
		st = pt_lora_rank(a, &a->site[i], &was[i], &alpha[i], err);
		rank[i] = was[i];
		most[i] = (int)nearbyint(was[i] * d->rho);
		if (!st && pt_inputs_of(d->in, a->site[i].site) >= 0)
			budget += was[i];
	}
	/* Linears with one input share its components. */
	for (int s = 0; s < d->in->nsums && !st; s++) {
		int k = 0;

		for (int i = 0; i < a->nsites; i++)
			if (pt_inputs_of(d->in, a->site[i].site) == s)
				k = most[i] > k ? most[i] : k;
		for (int i = 0; i < a->nsites; i++)
			if (pt_inputs_of(d->in, a->site[i].site) == s)
				most[i] = k;
		st = find_part(a, d, s, k, err);
	}
	if (!st)
		st = share_out(a, d, most, budget, rank, err);
	if (!st)
		st = write_ranks(a, d, was, rank, alpha, err);
	free(was);
	free(rank);
	free(most);
	free(alpha);
	return st;
}

int pt_lora_observe(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_lora *l = a->state;
	struct pt_lora_data *d;
	int st;

	for (int i = 0; i < 2; i++) {
		const char *key = i ? "corda_config" : "eva_config";

		if (pt_json_get(a->config, key) && l->init != (i ? PT_LORA_CORDA : PT_LORA_EVA))
			return pt_error(err, PT_USAGE, "%s goes with init_lora_weights %s", key, i ? "corda" : "eva");
	}
	if (l->init != PT_LORA_EVA && l->init != PT_LORA_CORDA)
		return 0;
	l->data = d = pt_calloc(1, sizeof *d, err);
	if (!d)
		return err->status;
	st = l->init == PT_LORA_EVA ? parse_eva(a, d, err) : parse_corda(a, d, err);
	if (!st)
		st = pt_inputs_new(&d->in, a, l->init == PT_LORA_CORDA ? PT_INPUTS_BY_SEQUENCE :
				   d->mask ? PT_INPUTS_LEARNED : PT_INPUTS_ALL, err);
	if (!st && l->init == PT_LORA_EVA)
		st = eva(a, d, err);
	/* In order again. */
	return st ? st : pt_adapter_config_complete(a->config, "{}", err);
}

bool pt_lora_eva(const struct pt_adapter_site *s, const struct pt_lora *l, float *va)
{
	const struct pt_lora_data *d = l->data;
	int at = l->init == PT_LORA_EVA ? pt_inputs_of(d->in, s->site) : -1;
	const struct part *p;

	if (at < 0)
		return false;
	p = &d->part[at];
	for (int i = 0; i < s->rank; i++) {
		float by = d->whiten && p->size[i] > 0 ? 1 / sqrtf(p->size[i]) : 1;

		for (int64_t j = 0; j < s->site->in; j++)
			va[i * s->site->in + j] = by * p->component[i * s->site->in + j];
	}
	return true;
}

/* W C, [out,in], on the device. */
static int weight_times(const struct pt_adapter *a, const struct pt_adapter_site *s, const float *w, const float *c, float *wc,
			struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	int64_t in = s->site->in, out = s->site->out;
	size_t nw = (size_t)(in * out) * sizeof(float), nc = (size_t)(in * in) * sizeof(float);
	void *p[3] = { NULL, NULL, NULL };
	struct pt_k_gemm g = {
		.m = out, .n = in, .k = in, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = in, .ldb = in, .ldc = in, .alpha = 1,
	};

	if (!dev->alloc(dev, nw, &p[0], err) && !dev->alloc(dev, nc, &p[1], err) && !dev->alloc(dev, nw, &p[2], err)) {
		g.a = p[0], g.b = p[1], g.c = p[2];
		if (!dev->upload(dev, p[0], w, nw, err) && !dev->upload(dev, p[1], c, nc, err) && !dev->k->gemm(dev, &g, err))
			dev->download(dev, wc, p[2], nw, err);
	}
	for (int i = 0; i < 3; i++) {
		if (p[i])
			dev->free(dev, p[i], i == 1 ? nc : nw);
	}
	return err->status;
}

/* The r least singular values of wc [rows,cols], from the eigenvectors of the smaller of its products with itself. */
static int svd_least(const struct pt_adapter *a, const float *wc, int64_t rows, int64_t cols, int r, float *u, float *size, float *v,
		     struct pt_error *err)
{
	bool wide = rows <= cols;
	int64_t n = wide ? rows : cols, m = wide ? cols : rows;
	double *g = pt_calloc((size_t)(n * n), sizeof *g, err), *value = pt_malloc((size_t)n, sizeof *value, err);
	double *other = pt_malloc((size_t)m, sizeof *other, err);
	int st = g && value && other ? 0 : err->status;

	for (int64_t i = 0; i < n && !st; i++) {
		st = pt_stopped(a->stop, err);
		for (int64_t j = 0; j <= i && !st; j++) {
			double sum = 0;

			for (int64_t k = 0; k < m; k++)
				sum += (double)wc[wide ? i * cols + k : k * cols + i] * wc[wide ? j * cols + k : k * cols + j];
			g[i * n + j] = g[j * n + i] = sum;
		}
	}
	if (!st)
		st = pt_eigen_symmetric(g, n, value, a->stop, err);
	/* Falling. */
	for (int i = 0; i < r && !st; i++) {
		const double *x = g + (r - 1 - i) * n;
		double norm = 0;

		for (int64_t k = 0; k < m; k++) {
			other[k] = 0;
			for (int64_t j = 0; j < n; j++)
				other[k] += x[j] * (double)wc[wide ? j * cols + k : k * cols + j];
			norm += other[k] * other[k];
		}
		norm = sqrt(norm);
		size[i] = (float)norm;
		for (int64_t k = 0; k < m; k++) {
			float y = norm > 0 ? (float)(other[k] / norm) : 0;

			if (wide)
				v[i * cols + k] = y;
			else
				u[k * r + i] = y;
		}
		for (int64_t j = 0; j < n; j++) {
			if (wide)
				u[j * r + i] = (float)x[j];
			else
				v[i * cols + j] = (float)x[j];
		}
	}
	free(g);
	free(value);
	free(other);
	return st;
}

/* Rows of va times C^-1. */
static int times_inverse(const struct pt_adapter *a, const float *c, int64_t n, int r, float *va, struct pt_error *err)
{
	double *l = pt_malloc((size_t)(n * n), sizeof *l, err), *x = pt_malloc((size_t)n, sizeof *x, err);
	int st = l && x ? 0 : err->status;

	for (int64_t i = 0; i < n * n && !st; i++)
		l[i] = c[i];
	if (!st)
		st = pt_cholesky(l, n, a->stop, err);
	for (int i = 0; i < r && !st; i++) {
		for (int64_t j = 0; j < n; j++)
			x[j] = va[i * n + j];
		pt_cholesky_solve(l, n, x);
		for (int64_t j = 0; j < n; j++)
			va[i * n + j] = (float)x[j];
	}
	free(l);
	free(x);
	return st;
}

int pt_lora_corda(const struct pt_adapter *a, const struct pt_adapter_site *s, const float *w, float *va, float *vb,
		  struct pt_error *err)
{
	const struct pt_lora_data *d = ((struct pt_lora *)a->state)->data;
	const struct pt_input_sum *sum = &d->in->sum[pt_inputs_of(d->in, s->site)];
	int64_t in = s->site->in, out = s->site->out;
	float *c = pt_malloc((size_t)(in * in), sizeof *c, err), *wc = pt_malloc((size_t)(out * in), sizeof *wc, err);
	float *size = pt_malloc((size_t)s->rank, sizeof *size, err);
	double mean = 0;
	int st = c && wc && size ? pt_inputs_moment(d->in, sum, c, err) : err->status;

	for (int64_t i = 0; i < in && !st; i++)
		mean += (double)c[i * in + i] / (double)in;
	for (int64_t i = 0; i < in && !st; i++)
		c[i * in + i] += (float)(DAMP * mean);
	if (!st)
		st = weight_times(a, s, w, c, wc, err);
	if (!st)
		st = d->least ? svd_least(a, wc, out, in, s->rank, vb, size, va, err) :
				pt_svd_largest(a->model->dev, wc, out, in, s->rank, vb, size, va, a->stop, err);
	if (!st && (st = times_inverse(a, c, in, s->rank, va, err)))
		pt_error_prefix(err, "%s", s->site->path);
	for (int i = 0; i < s->rank && !st; i++) {
		float root = sqrtf(size[i] / s->scale);

		for (int64_t j = 0; j < in; j++)
			va[i * in + j] *= root;
		for (int64_t j = 0; j < out; j++)
			vb[j * s->rank + i] *= root;
	}
	free(c);
	free(wc);
	free(size);
	return st;
}

void pt_lora_data_free(struct pt_lora_data *d)
{
	for (int i = 0; d && d->part && i < d->in->nsums; i++) {
		free(d->part[i].component);
		free(d->part[i].size);
		free(d->part[i].share);
	}
	if (d) {
		free(d->part);
		pt_inputs_free(d->in);
	}
	free(d);
}
