/* SPDX-License-Identifier: MIT */
/*
 * oft.c - OFT: the input of a linear is turned, block by block of its
 * features, y = W (x R) + b, with R = (I + Q) (I - Q)^-1 by the first terms of
 * its series and Q skew: what trains is the upper triangle of each Q. Exactly,
 * R is (I - Q) (I + Q)^-1, as in PEFT. Constrained (COFT), the norm of each Q
 * is at most eps over the root of the number of blocks.
 *
 * Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal
 * Finetuning"; Qiu et al. 2025, "Orthogonal Finetuning Made Scalable" (the
 * input's form and the series).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/lora.h"

/* Where the elements of n triangles stand in skew matrices; one for all modules of a size. */
struct skew {
	int64_t n, b;
	int32_t *places;		/* device [2,n*b(b-1)/2] */
};

struct oft {
	int64_t r, block, terms;
	bool share, series;
	double most;			/* COFT: eps; 0: not constrained */
	struct skew *skew;
	int nskews;
};

struct oft_site {
	const struct oft *o;
	int64_t b;
	int skew;			/* index; the array moves while sites are created */
};

static const char defaults[] =
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"bias\":\"none\",\"block_share\":false,\"coft\":false,"
	"\"eps\":6e-05,\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true,\"init_weights\":true,"
	"\"layers_pattern\":null,\"layers_to_transform\":null,\"module_dropout\":0.0,\"modules_to_save\":null,"
	"\"num_cayley_neumann_terms\":5,\"oft_block_size\":32,\"peft_type\":\"OFT\",\"r\":0,\"revision\":null,"
	"\"target_modules\":null,\"task_type\":null,\"use_cayley_neumann\":true}";

static const struct pt_option options[] = {
	{ .name = "block-size", .key = "oft_block_size", .kind = PT_OPTION_INT, .arg = "N", .min = 2, .max = 1 << 16,
	  .help = "features that are turned together (32)" },
	{ .name = "block-share", .key = "block_share", .kind = PT_OPTION_FLAG, .help = "all blocks of a module turn alike" },
	{ .name = "cayley-neumann", .key = "use_cayley_neumann", .kind = PT_OPTION_FLAG,
	  .help = "rotations by the first terms of a series; with --no exactly" },
	{ .name = "coft", .key = "coft", .kind = PT_OPTION_FLAG, .help = "rotations stay near to none" },
	{ .name = "eps", .key = "eps", .kind = PT_OPTION_FLOAT, .arg = "X", .min = 1e-30, .max = 1e9,
	  .wants = "coft", .help = "how near with --coft (6e-5)" },
	PT_OPTIONS_TARGETS,
	PT_OPTIONS_LAYERS,
	{ .name = "bias", .key = "bias", .kind = PT_OPTION_WORD, .arg = "WHICH", .words = "none|all|oft_only",
	  .help = "biases that train: none, all or oft_only" },
	{ 0 }
};

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	struct oft *o = pt_calloc(1, sizeof *o, err);
	bool coft, plain;
	const char *bias;
	double dropout, eps;

	a->state = o;
	if (!o || pt_json_int(a->config, "r", 0, 1 << 20, 0, &o->r, err) ||
	    pt_json_int(a->config, "oft_block_size", 0, 1 << 20, 32, &o->block, err) ||
	    pt_json_int(a->config, "num_cayley_neumann_terms", 1, 100, 5, &o->terms, err) ||
	    pt_json_bool(a->config, "block_share", false, &o->share, err) ||
	    pt_json_bool(a->config, "coft", false, &coft, err) || pt_json_double(a->config, "eps", 6e-5, &eps, err) ||
	    pt_json_bool(a->config, "use_cayley_neumann", true, &o->series, err) ||
	    pt_json_bool(a->config, "init_weights", true, &plain, err) ||
	    pt_json_str(a->config, "bias", "none", &bias, err) ||
	    pt_json_double(a->config, "module_dropout", 0, &dropout, err))
		return err->status;
	if (strcmp(bias, "none") != 0 && strcmp(bias, "all") != 0 && strcmp(bias, "oft_only") != 0)
		return pt_error(err, PT_USAGE, "bias '%s': none, all and oft_only are known", bias);
	if ((o->r > 0) == (o->block > 0))
		return pt_error(err, PT_USAGE, "r and oft_block_size: one is 0 and the other is not");
	if (coft && !(eps > 0))
		return pt_error(err, PT_USAGE, "eps %g is not above 0", eps);
	o->most = coft ? eps : 0;
	if (dropout != 0 && a->trainable)
		return pt_error(err, PT_USAGE, "module_dropout is not supported with oft");
	if (a->fresh && !plain)
		return pt_error(err, PT_USAGE, "init_weights false is not supported: its values are random");
	return 0;
}

/* The divisor of n that is nearest, the lesser of two. */
static int64_t nearest(int64_t n, int64_t want)
{
	int64_t up = want, down = want;

	if (want >= n)
		return n;
	while (up <= n && n % up)
		up++;
	while (down > 1 && n % down)
		down--;
	return want - down <= up - want ? down : up;
}

/* Of a file what its tensor has: b(b-1)/2 columns. */
static int block_size(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t *b, struct pt_error *err)
{
	const struct oft *o = a->state;
	char *key = pt_format(err, PT_KEY_PREFIX "%s.oft_R.weight", s->site->path);
	const struct pt_st_tensor *t = key ? pt_adapter_stored(a, key) : NULL;
	int64_t want = o->block ? o->block : o->r, got = nearest(s->site->in, want);

	free(key);
	*b = o->block ? got : s->site->in / got;
	if (t && t->ndim == 2) {
		int64_t n = 1;

		while (n * (n - 1) / 2 < t->shape[1] && n < 1 << 16)
			n++;
		if (n * (n - 1) / 2 == t->shape[1] && s->site->in % n == 0)
			*b = n;
	}
	return err->status;
}

static size_t skew_bytes(int64_t n, int64_t b)
{
	return (size_t)(n * b * (b - 1)) * sizeof(int32_t);
}

static int add_skew(struct pt_adapter *a, int64_t n, int64_t b, int *at, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	size_t bytes = skew_bytes(n, b);
	struct oft *o = a->state;
	struct skew *more;
	int32_t *places;
	void *p;
	int st;

	for (*at = 0; *at < o->nskews; ++*at)
		if (o->skew[*at].n == n && o->skew[*at].b == b)
			return 0;
	more = pt_realloc(o->skew, (size_t)o->nskews + 1, sizeof *more, err);
	if (!more)
		return err->status;
	o->skew = more;
	places = pt_skew_places(n, b, err);
	st = places ? dev->alloc(dev, bytes, &p, err) : err->status;
	if (!st) {
		more[o->nskews++] = (struct skew){ n, b, p };
		st = dev->upload(dev, p, places, bytes, err);
	}
	free(places);
	return st;
}

/* R - I of each block; of the series 2 Q + 2 Q^2 + ... + the last power once. */
static struct pt_tensor *turn(struct pt_run *run, const struct pt_adapter_site *s)
{
	const struct oft_site *x = s->state;
	struct pt_tensor *q = pt_op_skew(run, &s->param[0]->t, x->b, x->o->skew[x->skew].places), *sum, *power = q;

	sum = q && !x->o->series ? pt_op_cayley(run, q, x->b) : pt_op_scale(run, q, 2);
	for (int64_t i = 2; x->o->series && i < x->o->terms && !run->err.status; i++) {
		bool last = i > 2 && i == x->o->terms - 1;
		struct pt_tensor *next = pt_op_blocks(run, power, q, x->b, true), *old = sum;

		if (power != q)
			pt_tensor_done(run, power);
		power = next;
		next = last ? power : pt_op_scale(run, power, 2);
		sum = pt_op_add(run, old, next);
		pt_tensor_done(run, old);
		if (next != power)
			pt_tensor_done(run, next);
		/* Of three terms the series has four: PEFT's loop. */
		if (i == 2 && x->o->terms == 3) {
			next = pt_op_blocks(run, power, q, x->b, true);
			sum = pt_op_add(run, sum, next);
			pt_tensor_done(run, next);
		}
	}
	if (power != q)
		pt_tensor_done(run, power);
	pt_tensor_done(run, q);
	return sum;
}

static struct pt_tensor *input(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x)
{
	const struct pt_adapter_site *s = h->state;
	const struct oft_site *o = s->state;
	struct pt_compute was;
	struct pt_tensor *r, *z, *y;

	if ((o->o->series && o->o->terms < 2) || o->b < 2)
		return x;
	was = pt_run_exact(run);
	r = turn(run, s);
	pt_run_resume(run, was);
	z = r ? pt_op_blocks(run, x, r, o->b, false) : NULL;
	pt_tensor_done(run, r);
	y = z ? pt_op_add(run, x, z) : NULL;
	pt_tensor_done(run, z);
	return y;
}

static const struct pt_hook_ops hook = { .input = input };

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct oft_site *x = pt_calloc(1, sizeof *x, err);
	const struct oft *o = a->state;
	int64_t shape[2];

	s->state = x;
	if (!x || block_size(a, s, &x->b, err))
		return err->status;
	x->o = o;
	shape[0] = o->share ? 1 : s->site->in / x->b;
	shape[1] = x->b * (x->b - 1) / 2;
	s->hook.ops = &hook;
	if (add_skew(a, shape[0], x->b, &x->skew, err))
		return err->status;
	return pt_adapter_tensor_at(a, s, "oft_R.weight", 0, 2, shape, err);
}

/* z = x y, [b,b] */
static void product(const double *x, const double *y, int64_t b, double *z)
{
	memset(z, 0, (size_t)(b * b) * sizeof *z);
	for (int64_t i = 0; i < b; i++)
		for (int64_t k = 0; k < b; k++)
			for (int64_t j = 0; j < b; j++)
				z[i * b + j] += x[i * b + k] * y[k * b + j];
}

/* R of one block's triangle; work has room for 3 [b,b]. */
static void rotation(const float *v, int64_t b, int64_t terms, double *r, double *work)
{
	double *q = work, *power = work + b * b, *next = work + 2 * b * b;
	int64_t k = 0, powers = terms < 3 ? terms - 1 : terms == 3 ? 3 : terms - 1;

	memset(q, 0, (size_t)(b * b) * sizeof *q);
	for (int64_t i = 0; i < b; i++) {
		for (int64_t j = i + 1; j < b; j++, k++) {
			q[i * b + j] = v[k];
			q[j * b + i] = -v[k];
		}
	}
	memcpy(power, q, (size_t)(b * b) * sizeof *q);
	for (int64_t i = 0; i < b * b; i++)
		r[i] = i % (b + 1) == 0;
	for (int64_t p = 1; p <= powers; p++) {
		for (int64_t i = 0; i < b * b; i++)
			r[i] += (p == powers && p > 2 ? 1 : 2) * power[i];
		product(power, q, b, next);
		memcpy(power, next, (size_t)(b * b) * sizeof *next);
	}
}

/* The same exactly. */
static int exact_rotation(const float *v, int64_t b, double *r, struct pt_error *err)
{
	float *q = pt_calloc((size_t)(2 * b * b), sizeof *q, err), *turn = q + b * b;
	int64_t k = 0;
	int st;

	if (!q)
		return err->status;
	for (int64_t i = 0; i < b; i++) {
		for (int64_t j = i + 1; j < b; j++, k++) {
			q[i * b + j] = v[k];
			q[j * b + i] = -v[k];
		}
	}
	st = pt_cayley_inverses(q, 1, b, NULL, turn, err);
	for (int64_t i = 0; i < b * b && !st; i++)
		r[i] = (double)turn[i] + (i % (b + 1) == 0);
	free(q);
	return st;
}

/* Triangles whose matrices are too long are shortened; they stay as they are once they have been. */
static int constrain(struct pt_adapter *a, const struct pt_adapter_site *s, struct pt_error *err)
{
	const struct oft_site *x = s->state;
	int64_t rows = s->param[0]->t.shape[0], e = s->param[0]->t.shape[1];
	double most = x->o->most / sqrt((double)rows);
	bool changed = false;
	float *v;
	int st;

	if (!(most > 0))
		return 0;
	v = pt_malloc((size_t)(rows * e) + 1, sizeof *v, err);
	st = v ? pt_adapter_get(a, s->param[0], v, err) : err->status;
	for (int64_t k = 0; k < rows && !st; k++) {
		double sum = 0;

		for (int64_t i = 0; i < e; i++)
			sum += 2 * (double)v[k * e + i] * v[k * e + i];
		if (sqrt(sum) <= most * (1 + 1e-6))
			continue;
		changed = true;
		for (int64_t i = 0; i < e; i++)
			v[k * e + i] = (float)(v[k * e + i] * (most / sqrt(sum)));
	}
	if (!st && changed)
		st = pt_adapter_set(a, s->param[0], v, err);
	free(v);
	return st;
}

/* What did not divide is said once. */
static int settle(struct pt_adapter *a, struct pt_error *err)
{
	const struct oft *o = a->state;
	const struct pt_site *first = NULL;
	int64_t want = o->block ? o->block : o->r;
	int n = 0;

	(void)err;
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_site *s = a->site[i].site;

		if (s->in % want)
			first = n++ ? first : s;
	}
	if (n)
		pt_log(PT_WARN, "%s %lld does not divide the features of %d module%s: the nearest that does is taken (%s: %lld for %lld)",
		       o->block ? "oft_block_size" : "r", (long long)want, n, n > 1 ? "s" : "", first->path,
		       (long long)nearest(first->in, want), (long long)first->in);
	return 0;
}

static int load(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	return constrain(a, s, err);
}

static int after_step(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err)
{
	int st = 0;

	(void)at;
	for (int i = 0; i < a->nsites && !st; i++)
		st = constrain(a, &a->site[i], err);
	return st;
}

/* W R' of each block of columns */
static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	const struct oft_site *x = s->state;
	int64_t b = x->b, e = b * (b - 1) / 2, in = s->site->in, out = s->site->out;
	float *v;
	double *m;
	int st;

	if (w == s->site->bias)
		return 0;
	v = pt_malloc((size_t)pt_tensor_count(&s->param[0]->t) + 1, sizeof *v, err);
	m = pt_malloc((size_t)(4 * b * b + b), sizeof *m, err);
	st = v && m ? pt_adapter_get(a, s->param[0], v, err) : err->status;
	for (int64_t k = 0; !st && k < in / b; k++) {
		double *row = m + 4 * b * b;

		if (x->o->series)
			rotation(v + (x->o->share ? 0 : k * e), b, x->o->terms, m, m + b * b);
		else
			st = exact_rotation(v + (x->o->share ? 0 : k * e), b, m, err);
		for (int64_t o = 0; o < out && !st; o++) {
			float *at = value + o * in + k * b;

			for (int64_t i = 0; i < b; i++) {
				row[i] = 0;
				for (int64_t j = 0; j < b; j++)
					row[i] += (double)at[j] * m[i * b + j];
			}
			for (int64_t i = 0; i < b; i++)
				at[i] = (float)row[i];
		}
	}
	free(v);
	free(m);
	return st;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;
	struct oft *o = a->state;

	for (int i = 0; i < a->nsites; i++)
		free(a->site[i].state);
	for (int k = 0; o && k < o->nskews; k++)
		dev->free(dev, o->skew[k].places, skew_bytes(o->skew[k].n, o->skew[k].b));
	if (o)
		free(o->skew);
	free(o);
}

const struct pt_method pt_method_oft = {
	.name = "oft",
	.peft_type = "OFT",
	.paper = "Qiu et al. 2023, Controlling Text-to-Image Diffusion by Orthogonal Finetuning",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.no_conv1d = true,
	.defaults = defaults,
	.options = options,
	.targets = pt_lora_targets,
	.parse = parse,
	.create = create,
	.settle = settle,
	.load = load,
	.after_step = after_step,
	.merge = merge,
	.release = release,
};
