/* SPDX-License-Identifier: MIT */
/*
 * lora_combine.c - several LoRA adapters become one, see combine.h. Of
 * adapters i with weights w and scales s the result has, with a scale of 1,
 *
 *	joined:		A = [w s A_i], B = [B_i]
 *	of factors:	A from sign(w s) sqrt|w s| and A_i, B from sqrt|w s| and B_i
 *	of products:	B = U S, A = V of w and s B_i A_i
 *
 * One rank for all modules, as in PEFT: where one has less, zeros fill it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/combine.h"
#include "peft/lora.h"
#include "tensor/svd.h"

enum { A = PT_LORA_A, B = PT_LORA_B };

/* The update of one adapter at a site: scale b a. */
struct part {
	float *a, *b;			/* [rank,in], [out,rank] */
	int rank;
	double scale, weight;
};

static int largest_rank(const struct pt_adapter *a)
{
	int r = 1;

	for (int i = 0; i < a->nsites; i++) {
		int own = a->site[i].rank * (pt_lora_residual(&a->site[i]) ? 2 : 1);

		r = own > r ? own : r;
	}
	return r;
}

static int refuse(const struct pt_adapter *a, const struct pt_adapter *first, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	const char *bias, *bias0;

	if (pt_json_str(a->config, "bias", "none", &bias, err) || pt_json_str(first->config, "bias", "none", &bias0, err))
		return err->status;
	if (strcmp(bias, bias0) != 0)
		return pt_error(err, PT_USAGE, "adapters with bias '%s' and '%s' are not combined", bias0, bias);

	if (l->bias)
		return pt_error(err, PT_USAGE, "adapters with lora_bias are not combined");
	for (int i = 0; i < a->nsites; i++)
		if (a->site[i].site->kind == PT_SITE_PARAM)
			return pt_error(err, PT_USAGE, "%s.%s: adapters of parameters are not combined",
					a->site[i].site->path, a->site[i].site->param);
	return 0;
}

static int config(cJSON *config, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
		  struct pt_error *err)
{
	static const char text[] = "{\"rank_pattern\":{},\"alpha_pattern\":{},\"use_rslora\":false,"
				   "\"init_lora_weights\":true}";
	int rank = 0, most = 0;
	cJSON *keys, *v;

	for (int i = 0; i < n; i++) {
		int r = largest_rank(a[i]);

		if (refuse(a[i], a[0], err))
			return err->status;
		if (o->kind->form == PT_COMBINE_FACTORS && i && r != most)
			return pt_error(err, PT_USAGE, "%s wants adapters of one rank, not %d and %d", o->kind->name, most, r);
		most = r > most ? r : most;
		rank += r;
	}
	if (o->kind->form != PT_COMBINE_JOIN)
		rank = o->kind->form == PT_COMBINE_PRODUCTS && o->rank ? o->rank : most;
	keys = pt_json_parse(text, sizeof text - 1, 0, "keys", err);
	if (!keys)
		return err->status;
	while ((v = cJSON_DetachItemFromArray(keys, 0))) {
		cJSON_DeleteItemFromObjectCaseSensitive(config, v->string);
		cJSON_AddItemToObject(config, v->string, v);
	}
	pt_json_free(keys);
	cJSON_DeleteItemFromObjectCaseSensitive(config, "r");
	cJSON_DeleteItemFromObjectCaseSensitive(config, "lora_alpha");
	if (!cJSON_AddNumberToObject(config, "r", rank) || !cJSON_AddNumberToObject(config, "lora_alpha", rank))
		return pt_error(err, PT_FAIL, "out of memory");
	return 0;
}

/* Columns of b [rows,rank] from x [rows,r], from the first-th on. */
static void put_columns(float *b, int rank, int first, const float *x, int r, int64_t rows, float scale)
{
	for (int64_t i = 0; i < rows; i++) {
		for (int k = 0; k < r; k++)
			b[i * rank + first + k] = scale * x[i * r + k];
	}
}

/* Of an update that was taken out of the base too: [A; A0] and [B, -B0]. */
static int read_part(struct pt_adapter *from, const struct pt_adapter_site *s, double weight, struct part *p,
		     struct pt_error *err)
{
	int64_t in = s->site->in, out = s->site->out;
	int halves = pt_lora_residual(s) ? 2 : 1, r = s->rank, st = 0;
	float *b = pt_malloc((size_t)(out * r), sizeof *b, err);

	*p = (struct part){ .rank = halves * r, .scale = (double)s->scale, .weight = weight };
	p->a = pt_malloc((size_t)(p->rank * in), sizeof *p->a, err);
	p->b = pt_malloc((size_t)(p->rank * out), sizeof *p->b, err);
	if (!b || !p->a || !p->b)
		st = err->status;
	for (int h = 0; h < halves && !st; h++) {
		st = pt_adapter_get(from, s->param[2 * h + A], p->a + h * r * in, err);
		if (!st)
			st = pt_adapter_get(from, s->param[2 * h + B], b, err);
		put_columns(p->b, p->rank, h * r, b, r, st ? 0 : out, h ? -1 : 1);
	}
	free(b);
	return st;
}

static int join(const struct part *p, int n, int rank, int64_t in, int64_t out, float *a, float *b, struct pt_error *err)
{
	int at = 0;

	for (int i = 0; i < n; i++) {
		if (p[i].rank > rank - at)
			return pt_error(err, PT_FAIL, "ranks of the parts are more than %d", rank);
		for (int64_t k = 0; k < p[i].rank * in; k++)
			a[at * in + k] = (float)(p[i].weight * p[i].scale * (double)p[i].a[k]);
		put_columns(b, rank, at, p[i].b, p[i].rank, out, 1);
		at += p[i].rank;
	}
	return 0;
}

/* The rule on n arrays of count values, which are made here of the parts. */
static int by_rule(const struct pt_combine_options *o, const struct part *p, int n, size_t count, uint64_t key,
		   void (*fill)(const struct part *p, float *x, int rank, int64_t in, int64_t out), int rank, int64_t in,
		   int64_t out, const double *w, float *to, struct pt_error *err)
{
	float **x = pt_calloc((size_t)n, sizeof *x, err);
	int st = x ? 0 : err->status;

	for (int i = 0; i < n && !st; i++) {
		x[i] = pt_calloc(count, sizeof **x, err);
		if (!x[i])
			st = err->status;
		else
			fill(&p[i], x[i], rank, in, out);
	}
	if (!st)
		st = pt_combine_values(o, x, w, n, count, key, to, err);
	for (int i = 0; i < n && x; i++)
		free(x[i]);
	free(x);
	return st;
}

static void fill_a(const struct part *p, float *x, int rank, int64_t in, int64_t out)
{
	(void)rank, (void)out;
	memcpy(x, p->a, (size_t)(p->rank * in) * sizeof *x);
}

static void fill_b(const struct part *p, float *x, int rank, int64_t in, int64_t out)
{
	(void)in;
	put_columns(x, rank, 0, p->b, p->rank, out, 1);
}

static void fill_product(const struct part *p, float *x, int rank, int64_t in, int64_t out)
{
	(void)rank;
	for (int64_t i = 0; i < out; i++) {
		for (int k = 0; k < p->rank; k++) {
			float b = (float)p->scale * p->b[i * p->rank + k];

			for (int64_t j = 0; j < in; j++)
				x[i * in + j] += b * p->a[k * in + j];
		}
	}
}

/* The largest singular values of the combined update; of a small module there are fewer than rank. */
static int from_product(struct pt_device *dev, const struct pt_combine_options *o, const float *d, int64_t in, int64_t out, int rank, float *a, float *b,
			struct pt_error *err)
{
	int64_t most = in < out ? in : out;
	int r = rank < most ? rank : (int)most, st;
	float *u = pt_malloc((size_t)(out * r), sizeof *u, err), *value = pt_malloc((size_t)r, sizeof *value, err);

	st = u && value ? pt_svd_largest(dev, d, out, in, r, u, value, a, o->stop, err) : err->status;
	for (int64_t i = 0; i < out && !st; i++) {
		for (int k = 0; k < r; k++)
			b[i * rank + k] = u[i * r + k] * value[k];
	}
	free(u);
	free(value);
	return st;
}

static int combine(struct pt_device *dev, const struct pt_combine_options *o, const struct part *p, int n, uint64_t key,
		   int rank, int64_t in, int64_t out, float *a, float *b, struct pt_error *err)
{
	double *w = pt_malloc(2 * (size_t)n, sizeof *w, err);
	float *d = NULL;
	int st = w ? 0 : err->status;

	if (!st && o->kind->form == PT_COMBINE_JOIN) {
		st = join(p, n, rank, in, out, a, b, err);
	} else if (!st && o->kind->form == PT_COMBINE_FACTORS) {
		for (int i = 0; i < n; i++) {
			double x = p[i].weight * p[i].scale;

			w[n + i] = sqrt(fabs(x));
			w[i] = x < 0 ? -w[n + i] : w[n + i];
		}
		st = by_rule(o, p, n, (size_t)(rank * in), pt_rng_mix_str(key, "A"), fill_a, rank, in, out, w, a, err);
		if (!st)
			st = by_rule(o, p, n, (size_t)(rank * out), pt_rng_mix_str(key, "B"), fill_b, rank, in, out, w + n,
				     b, err);
	} else if (!st) {
		for (int i = 0; i < n; i++)
			w[i] = p[i].weight;
		d = pt_malloc((size_t)(in * out), sizeof *d, err);
		st = d ? by_rule(o, p, n, (size_t)(in * out), key, fill_product, rank, in, out, w, d, err) : err->status;
		if (!st)
			st = from_product(dev, o, d, in, out, rank, a, b, err);
	}
	free(d);
	free(w);
	return st;
}

static int site(struct pt_adapter *to, struct pt_adapter_site *s, struct pt_adapter *const *from,
		const struct pt_adapter_site *const *part, int n, const struct pt_combine_options *o, struct pt_error *err)
{
	struct part *p;
	float *a, *b;
	int st, k = 0;

	for (int i = 0; i < n; i++) {
		if (part[i] && !part[i]->twin != !s->twin)
			return pt_error(err, PT_USAGE, "some have the update of a table here (ensure_weight_tying), and some their own:"
					" that is not combined");
	}
	/* An expression may give a module another rank than the adapter has. */
	for (int i = 0, r = 0; i < n && o->kind->form == PT_COMBINE_FACTORS; i++) {
		int own = part[i] ? part[i]->rank * (pt_lora_residual(part[i]) ? 2 : 1) : r;

		if (r && own != r)
			return pt_error(err, PT_USAGE, "%s wants adapters of one rank, and that of %s is %d and %d", o->kind->name,
					s->site->path, r, own);
		r = own;
	}
	/* That of the table. */
	if (s->twin)
		return 0;
	p = pt_calloc((size_t)n, sizeof *p, err);
	a = pt_calloc((size_t)(s->rank * s->site->in), sizeof *a, err);
	b = pt_calloc((size_t)(s->rank * s->site->out), sizeof *b, err);
	st = p && a && b ? 0 : err->status;
	for (int i = 0; i < n && !st; i++) {
		if (part[i])
			st = read_part(from[i], part[i], o->weight[i], &p[k++], err);
	}
	if (!st)
		st = combine(to->model->dev, o, p, k, pt_rng_mix_str(o->seed, s->param[A]->name), s->rank, s->site->in,
			     s->site->out, a, b, err);
	if (!st)
		st = pt_adapter_set(to, s->param[A], a, err);
	if (!st)
		st = pt_adapter_set(to, s->param[B], b, err);
	for (int i = 0; i < k; i++) {
		free(p[i].a);
		free(p[i].b);
	}
	free(p);
	free(a);
	free(b);
	return st;
}

const struct pt_combiner pt_lora_combiner = { .config = config, .site = site };
