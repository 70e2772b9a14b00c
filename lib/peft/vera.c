/* SPDX-License-Identifier: MIT */
/*
 * vera.c - VeRA: y += b * B (d * A drop(x)), element by element with vectors
 * b and d that train; A and B are random, frozen, and one pair for all
 * modules, each of which takes the columns and rows that it has.
 *
 * A and B come from PEFT's generator and key, bit by bit (Matsumoto and
 * Nishimura 1998, "Mersenne Twister"), so that a file without them is read.
 *
 * Kopiczko et al. 2024, "VeRA: Vector-based Random Matrix Adaptation".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/lora.h"

enum { LAMBDA_B, LAMBDA_D };

/* The columns of A that modules of one width have. */
struct width {
	int64_t in;
	struct pt_tensor a;		/* [r,in] device */
};

struct vera {
	int64_t r, key;
	double dropout, d_initial;
	bool save, plain;
	struct pt_param *a, *b;		/* [r,most in], [most out,r] */
	struct width *width;
	int nwidths;
};

struct vera_site {
	const struct vera *v;
	struct pt_tensor *a, b;		/* [r,in], [out,r] */
};

static const char defaults[] =
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"d_initial\":0.1,\"fan_in_fan_out\":false,"
	"\"inference_mode\":true,\"init_weights\":true,\"layers_pattern\":null,\"layers_to_transform\":null,"
	"\"modules_to_save\":null,\"peft_type\":\"VERA\",\"projection_prng_key\":0,\"r\":256,\"revision\":null,"
	"\"save_projection\":true,\"target_modules\":null,\"task_type\":null,\"vera_dropout\":0.0}";

static const struct pt_option options[] = {
	{ .name = "rank", .letter = 'r', .key = "r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank of the shared matrices (256)" },
	{ .name = "dropout", .key = "vera_dropout", .kind = PT_OPTION_FLOAT, .arg = "P", .max = 0.999,
	  .help = "dropout of the adapter's input (0)" },
	{ .name = "d-initial", .key = "d_initial", .kind = PT_OPTION_FLOAT, .arg = "X", .min = -1e9, .max = 1e9,
	  .help = "first value of the vector d (0.1)" },
	{ .name = "projection-key", .key = "projection_prng_key", .kind = PT_OPTION_INT, .arg = "N", .max = 4294967295.0,
	  .help = "seed of the shared matrices (0)" },
	{ .name = "save-projection", .key = "save_projection", .kind = PT_OPTION_FLAG,
	  .help = "write the shared matrices too (yes)" },
	{ .name = "targets", .key = "target_modules", .kind = PT_OPTION_TARGETS, .arg = "LIST|REGEX",
	  .help = "modules to adapt by the ends of their names, or all-linear (by model)" },
	PT_OPTION_SAVE_MODULES,
	PT_OPTIONS_LAYERS,
	{ .name = "bias", .key = "bias", .kind = PT_OPTION_WORD, .arg = "WHICH", .words = "none|all|vera_only",
	  .help = "biases that train: none, all or vera_only" },
	{ 0 }
};

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	struct vera *v = pt_calloc(1, sizeof *v, err);
	const char *bias;

	a->state = v;
	if (!v || pt_json_int(a->config, "r", 1, 1 << 20, 256, &v->r, err) ||
	    pt_json_int(a->config, "projection_prng_key", 0, INT64_C(1) << 53, 0, &v->key, err) ||
	    pt_json_double(a->config, "vera_dropout", 0, &v->dropout, err) ||
	    pt_json_double(a->config, "d_initial", 0.1, &v->d_initial, err) ||
	    pt_json_bool(a->config, "save_projection", true, &v->save, err) ||
	    pt_json_bool(a->config, "init_weights", true, &v->plain, err) ||
	    pt_json_str(a->config, "bias", "none", &bias, err))
		return err->status;
	if (strcmp(bias, "none") != 0 && strcmp(bias, "all") != 0 && strcmp(bias, "vera_only") != 0)
		return pt_error(err, PT_USAGE, "bias '%s': none, all and vera_only are known", bias);
	if (!(v->dropout >= 0 && v->dropout < 1))
		return pt_error(err, PT_USAGE, "vera_dropout %g is not in [0, 1)", v->dropout);
	if (a->fresh && !v->plain)
		return pt_error(err, PT_USAGE, "init_weights false is not supported: its values are random");
	return 0;
}

/* torch's uniform_() of a float on the CPU: 24 bits of each number of the Mersenne Twister. */
struct twister {
	uint32_t state[624];
	int at;
};

static void twister_start(struct twister *t, uint32_t seed)
{
	t->state[0] = seed;
	for (uint32_t i = 1; i < 624; i++)
		t->state[i] = 1812433253u * (t->state[i - 1] ^ (t->state[i - 1] >> 30)) + i;
	t->at = 624;
}

static uint32_t twister_next(struct twister *t)
{
	uint32_t y;

	for (int i = 0; t->at == 624 && i < 624; i++) {
		y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % 624] & 0x7fffffffu);
		t->state[i] = t->state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
	}
	t->at %= 624;
	y = t->state[t->at++];
	y ^= y >> 11;
	y ^= (y << 7) & 0x9d2c5680u;
	y ^= (y << 15) & 0xefc60000u;
	return y ^ (y >> 18);
}

/* Kaiming's bound for a gain of sqrt(2). */
static int fill(struct pt_adapter *a, struct pt_param *p, struct twister *t, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float bound = (float)(sqrt(3) * (sqrt(2) / sqrt((double)p->t.shape[1])));
	float *v = pt_malloc(n, sizeof *v, err);
	int st;

	for (size_t i = 0; v && i < n; i++)
		v[i] = (float)((double)(twister_next(t) & 0xffffff) * 0x1p-24 * (double)(bound - -bound) + (double)-bound);
	st = v ? pt_adapter_set(a, p, v, err) : err->status;
	free(v);
	return st;
}

static int make_shared(struct pt_adapter *a, bool stored, int64_t in, int64_t out, struct pt_error *err)
{
	static const char *const key[2] = { "base_model.vera_A", "base_model.vera_B" };
	struct vera *v = a->state;
	int64_t shape[2][2] = { { v->r, in }, { out, v->r } };
	struct pt_param **p[2] = { &v->a, &v->b };
	struct twister t;
	int st = 0;

	for (int i = 0; i < 2 && !st; i++)
		st = v->save ? pt_adapter_tensor(a, key[i], PT_TENSOR_FROZEN, 2, shape[i], p[i], err) :
			       pt_params_add(&a->frozen, key[i], 2, shape[i], p[i], err);
	if (st || stored)
		return st;
	twister_start(&t, (uint32_t)v->key);
	st = fill(a, v->a, &t, err);
	return st ? st : fill(a, v->b, &t, err);
}

/* Room for the columns that modules of each width have. */
static int make_widths(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	struct vera *v = a->state;

	v->width = pt_calloc((size_t)a->nsites, sizeof *v->width, err);
	for (int i = 0; v->width && i < a->nsites; i++) {
		int64_t in = a->site[i].site->in;
		int k = 0;
		void *p;

		while (k < v->nwidths && v->width[k].in != in)
			k++;
		if (k < v->nwidths)
			continue;
		if (dev->alloc(dev, (size_t)(v->r * in) * sizeof(float), &p, err))
			return err->status;
		v->width[v->nwidths].in = in;
		pt_tensor_init(&v->width[v->nwidths++].a, PT_F32, 2, (int64_t[]){ v->r, in }, p);
	}
	return err->status;
}

static int prepare(struct pt_adapter *a, struct pt_error *err)
{
	struct vera *v = a->state;
	const struct pt_st_tensor *t = a->fresh ? NULL : pt_adapter_stored(a, "base_model.vera_A");
	const struct pt_st_tensor *u = a->fresh ? NULL : pt_adapter_stored(a, "base_model.vera_B");
	int64_t in = 0, out = 0;

	for (int i = 0; i < a->nsites; i++) {
		in = a->site[i].site->in > in ? a->site[i].site->in : in;
		out = a->site[i].site->out > out ? a->site[i].site->out : out;
	}
	/* PEFT takes larger ones. */
	if (t && t->ndim == 2 && t->shape[1] > in)
		in = t->shape[1];
	if (u && u->ndim == 2 && u->shape[0] > out)
		out = u->shape[0];
	if (make_shared(a, !a->fresh && v->save, in, out, err))
		return err->status;
	return make_widths(a, err);
}

/* The values of A, as they are now, to each width. */
static int spread(struct pt_adapter *a, struct pt_error *err)
{
	const struct vera *v = a->state;
	int64_t most = v->a->t.shape[1];
	float *all = pt_malloc((size_t)(v->r * most), sizeof *all, err), *part = pt_malloc((size_t)(v->r * most), sizeof *part, err);
	int st = all && part ? pt_adapter_get(a, v->a, all, err) : err->status;

	for (int k = 0; k < v->nwidths && !st; k++) {
		int64_t in = v->width[k].in;

		for (int64_t i = 0; i < v->r; i++)
			memcpy(part + i * in, all + i * most, (size_t)in * sizeof *part);
		st = a->model->dev->upload(a->model->dev, v->width[k].a.data, part, (size_t)(v->r * in) * sizeof *part, err);
	}
	free(all);
	free(part);
	return st;
}

static struct pt_tensor *output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;
	struct vera_site *v = s->state;
	struct pt_linear down = { .w = v->a }, up = { .w = &v->b };
	struct pt_tensor *in = pt_op_dropout(run, x, (float)v->v->dropout, s->rng);
	struct pt_tensor *u = pt_op_linear(run, in, &down), *d, *w, *b;

	if (in != x)
		pt_tensor_done(run, in);
	d = pt_op_affine(run, u, &s->param[LAMBDA_D]->t, NULL);
	pt_tensor_done(run, u);
	w = pt_op_linear(run, d, &up);
	pt_tensor_done(run, d);
	b = pt_op_affine(run, w, &s->param[LAMBDA_B]->t, NULL);
	pt_tensor_done(run, w);
	u = pt_op_add(run, y, b);
	pt_tensor_done(run, b);
	return u;
}

static const struct pt_hook_ops hook = { .output = output };

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct vera *v = a->state;
	struct vera_site *x = pt_calloc(1, sizeof *x, err);
	int st;

	s->state = x;
	if (!x)
		return err->status;
	x->v = v;
	for (int k = 0; k < v->nwidths; k++) {
		if (v->width[k].in == s->site->in)
			x->a = &v->width[k].a;
	}
	pt_tensor_init(&x->b, PT_F32, 2, (int64_t[]){ s->site->out, v->r }, v->b->t.data);
	s->rank = (int)v->r;
	s->hook.ops = &hook;
	st = pt_adapter_tensor_at(a, s, "vera_lambda_b", 0, 1, &s->site->out, err);
	return st ? st : pt_adapter_tensor_at(a, s, "vera_lambda_d", 0, 1, &v->r, err);
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct vera *v = a->state;
	float *d = pt_malloc((size_t)v->r, sizeof *d, err);
	int st;

	(void)seed;
	for (int64_t i = 0; d && i < v->r; i++)
		d[i] = (float)v->d_initial;
	st = d ? pt_adapter_set(a, s->param[LAMBDA_D], d, err) : err->status;
	free(d);
	return st;
}

/* Once, when all values are there. */
static int load(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	return s == a->site ? spread(a, err) : 0;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	const struct vera *v = a->state;
	int64_t r = v->r, in = s->site->in, out = s->site->out, most = v->a->t.shape[1];
	float *va, *vb, *b, *d;
	int st;

	if (w == s->site->bias)
		return 0;
	va = pt_malloc((size_t)(r * most), sizeof *va, err);
	vb = pt_malloc((size_t)pt_tensor_count(&v->b->t), sizeof *vb, err);
	b = pt_malloc((size_t)out, sizeof *b, err);
	d = pt_malloc((size_t)r, sizeof *d, err);
	st = va && vb && b && d ? 0 : err->status;
	if (!st && !(st = pt_adapter_get(a, v->a, va, err)) && !(st = pt_adapter_get(a, v->b, vb, err)) &&
	    !(st = pt_adapter_get(a, s->param[LAMBDA_B], b, err)))
		st = pt_adapter_get(a, s->param[LAMBDA_D], d, err);
	for (int64_t i = 0; !st && i < r; i++)
		for (int64_t j = 0; j < in; j++)
			va[i * in + j] = d[i] * va[i * most + j];
	for (int64_t i = 0; !st && i < out * r; i++)
		vb[i] *= b[i / r];
	if (!st)
		st = pt_lora_merge_values(s, va, vb, value, err);
	free(va);
	free(vb);
	free(b);
	free(d);
	return st;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;
	struct vera *v = a->state;

	for (int i = 0; i < a->nsites; i++)
		free(a->site[i].state);
	for (int k = 0; v && k < v->nwidths; k++)
		dev->free(dev, v->width[k].a.data, (size_t)(v->r * v->width[k].in) * sizeof(float));
	if (v)
		free(v->width);
	free(v);
}

const struct pt_method pt_method_vera = {
	.name = "vera",
	.peft_type = "VERA",
	.paper = "Kopiczko et al. 2024, VeRA: Vector-based Random Matrix Adaptation",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.defaults = defaults,
	.options = options,
	.targets = pt_lora_targets,
	.parse = parse,
	.prepare = prepare,
	.create = create,
	.init = init,
	.settle = spread,
	.load = load,
	.merge = merge,
	.release = release,
};
