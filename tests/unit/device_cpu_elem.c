/* SPDX-License-Identifier: MIT */
/*
 * device_cpu_elem.c - the CPU's kernels of rows and elements against plain
 * loops, on random shapes, on every path, and the same bits with any number of
 * threads.
 */
#include "device_fix.h"

#define OUTS 6

/* One case: operands that are read, results that start with what is in them. */
struct elem_case {
	struct fix_rnd r;
	int64_t n, c;
	int variant;
	float *in[6];
	float *out[OUTS];
	int64_t len[OUTS];
	int nin, nout;
	int32_t *idx;
};

typedef void (*elem_fn)(struct pt_device *dev, struct elem_case *c);

static struct pt_error err;

static float *in(struct elem_case *c, int64_t n, float std)
{
	return c->in[c->nin++] = fix_floats(&c->r, n, std);
}

static float *out(struct elem_case *c, int64_t n)
{
	c->len[c->nout] = n;
	return c->out[c->nout++] = fix_floats(&c->r, n, 1);
}

static void run_one(struct pt_device *dev, elem_fn fn, int seed, struct elem_case *c)
{
	static const int64_t rows[] = { 5, 0, 1, 70, 300 }, cols[] = { 7, 1, 64, 200, 600, 33 };

	memset(c, 0, sizeof *c);
	c->r.key = pt_rng_mix(3, (uint64_t)seed);
	c->n = rows[seed % 5];
	c->c = cols[seed % 6];
	c->variant = seed;
	fn(dev, c);
}

static void free_one(struct elem_case *c)
{
	for (int i = 0; i < c->nin; i++)
		free(c->in[i]);
	for (int i = 0; i < c->nout; i++)
		free(c->out[i]);
	free(c->idx);
}

static void against_loops(elem_fn fn, int cases, double tol)
{
	struct pt_device *ref = ref_device_new();
	struct fix_cpus cpus;
	double worst = 0;

	fix_cpus_open(&cpus);
	for (int seed = 0; seed < cases; seed++) {
		struct elem_case want, first, got;

		run_one(ref, fn, seed, &want);
		for (int i = 0; i < cpus.n; i++) {
			run_one(cpus.dev[i], fn, seed, &got);
			for (int j = 0; j < got.nout; j++) {
				double off = fix_off(got.out[j], want.out[j], got.len[j]);

				if (!(off <= tol))
					fail_msg("case %d, result %d: off by %.3g on %s", seed, j, off,
						 cpus.dev[i]->path);
				worst = fmax(worst, off);
				if (fix_again(&cpus, i) && memcmp(got.out[j], first.out[j], (size_t)got.len[j] * 4))
					fail_msg("case %d, result %d differs with %d threads on %s", seed, j, 1 << i % 3,
						 cpus.dev[i]->path);
			}
			if (fix_again(&cpus, i)) {
				free_one(&got);
			} else {
				if (i)
					free_one(&first);
				first = got;
			}
		}
		free_one(&first);
		free_one(&want);
	}
	print_message("# off by %.2g at most\n", worst);
	fix_cpus_close(&cpus);
	ref->close(ref);
}

static void *stored(struct elem_case *c, int64_t n, enum pt_dtype t)
{
	float *w = in(c, n, 1);

	/* In place: the narrower type never overtakes what it is made from. */
	for (int64_t i = 0; i < n && t != PT_F32; i++)
		pt_from_f32((char *)w + i * 2, t, &w[i], 1);
	return w;
}

static void norm(struct pt_device *dev, struct elem_case *c)
{
	int v = c->variant;
	int64_t n = c->n * c->c;
	struct pt_k_norm k = { .kind = (enum pt_norm_kind)(v % 3), .n = c->n, .c = c->c, .eps = 1e-5f,
			       .wtype = (enum pt_dtype)(v / 2 % 3), .btype = (enum pt_dtype)(v / 3 % 3) };

	k.x = out(c, n);
	if (v % 4) {
		k.delta = in(c, n, 1);
		k.sum = v % 4 == 1 ? (void *)(uintptr_t)k.x : out(c, n);
	}
	if (v % 7)
		k.w = stored(c, c->c, k.wtype);
	if (v % 3 == PT_NORM_LAYER && k.w)
		k.b = stored(c, c->c, k.btype);
	k.y = out(c, n);
	k.stat = in(c, 2 * c->n, 1);
	assert_ok(dev->k->norm_fwd(dev, &k, &err), &err);
	k.x = k.delta ? k.sum : k.x;
	k.dy = in(c, n, 1);
	k.acc_dx = v % 2;
	k.dx = v % 5 ? out(c, n) : NULL;
	k.dw = v % 8 ? out(c, c->c) : NULL;
	k.db = k.b && v % 9 ? out(c, c->c) : NULL;
	assert_ok(dev->k->norm_bwd(dev, &k, &err), &err);
}

static void norms(void **state)
{
	(void)state;
	against_loops(norm, 36, 2e-6);
}

/* Small, common and large arguments, each compared with its own largest value. */
static void act(struct pt_device *dev, struct elem_case *c)
{
	static const float scale[] = { 1, 1e-3f, 8, 100 };
	int v = c->variant;
	int64_t n = c->n * c->c;
	struct pt_k_act k = { .act = (enum pt_act)(v % 9), .n = n, .acc_dx = v % 2, .acc_du = v % 4 > 1 };

	k.x = in(c, n, scale[v / 9 % 4]);
	k.u = v / 36 ? in(c, n, 1) : NULL;
	k.y = out(c, n);
	assert_ok(dev->k->act_fwd(dev, &k, &err), &err);
	k.dy = in(c, n, 1);
	k.dx = v % 5 ? out(c, n) : NULL;
	k.du = k.u && v % 7 ? out(c, n) : NULL;
	assert_ok(dev->k->act_bwd(dev, &k, &err), &err);
}

static void activations(void **state)
{
	(void)state;
	against_loops(act, 72, 1e-6);
}

static int32_t *indices(struct elem_case *c, int64_t n, int64_t below)
{
	c->idx = malloc(((size_t)n + 1) * sizeof *c->idx);
	for (int64_t i = 0; i < n; i++)
		c->idx[i] = (int32_t)fix_pick(&c->r, below);
	return c->idx;
}

static void rope(struct pt_device *dev, struct elem_case *c)
{
	int v = c->variant, d = 2 + (int)fix_pick(&c->r, 40), rot = 2 * (int)fix_pick(&c->r, d / 2 + 1);
	struct pt_k_rope k = { .n = c->n, .heads = 1 + v % 5, .head_dim = d, .rot_dim = rot,
			       .inverse = v % 2 };

	k.pos = indices(c, c->n, 9);
	k.cos = in(c, 9 * rot / 2, 1);
	k.sin = in(c, 9 * rot / 2, 1);
	k.x = out(c, c->n * k.heads * d);
	assert_ok(dev->k->rope(dev, &k, &err), &err);
}

static void embed(struct pt_device *dev, struct elem_case *c)
{
	int v = c->variant;
	struct pt_k_embed k = { .n = c->n, .c = c->c, .v = 11, .wtype = (enum pt_dtype)(v % 3),
				.transposed = v % 2, .scale = v % 4 ? 1.5f : 1, .acc_y = v % 5 == 0 };

	k.ids = indices(c, c->n, k.v);
	k.w = stored(c, k.v * k.c, k.wtype);
	k.y = out(c, c->n * c->c);
	assert_ok(dev->k->embed_fwd(dev, &k, &err), &err);
	k.dy = in(c, c->n * c->c, 1);
	k.dw = out(c, k.v * k.c);
	assert_ok(dev->k->embed_bwd(dev, &k, &err), &err);
}

static void rope_embed(void **state)
{
	(void)state;
	against_loops(rope, 30, 1e-6);
	against_loops(embed, 30, 2e-6);
}

static void class_loss(struct pt_device *dev, struct elem_case *c)
{
	int v = c->variant;
	struct pt_k_class k = { .kind = (enum pt_class_loss)(v % 3), .n = c->n, .k = c->c % 50 + 1,
				.smoothing = v % 2 ? 0.1f : 0, .acc_dz = v % 4 > 1 };

	k.z = in(c, k.n * k.k, v % 5 ? 2 : 200);
	k.cls = indices(c, k.n, k.k);
	for (int64_t i = 0; i < k.n; i += 3)
		c->idx[i] = -100;
	k.target = in(c, k.n * k.k, 1);
	k.loss = out(c, k.n);
	assert_ok(dev->k->class_fwd(dev, &k, &err), &err);
	k.weight = in(c, k.n, 1);
	k.dz = out(c, k.n * k.k);
	assert_ok(dev->k->class_bwd(dev, &k, &err), &err);
}

static void class_losses(void **state)
{
	(void)state;
	against_loops(class_loss, 30, 1e-6);
}

/* Rows picked, averaged, scaled by channel. */
static void rows(struct pt_device *dev, struct elem_case *c)
{
	int v = c->variant;
	int64_t n = c->n, m = n * c->c;
	int32_t cu[5] = { 0 }, *idx = indices(c, n, 1);
	float *x = in(c, m, 1), *w = v % 3 ? in(c, c->c, 1) : NULL, *b = v % 4 ? in(c, c->c, 1) : NULL;
	float *dy = in(c, m + 4 * c->c, 1), *y;

	assert_ok(dev->k->affine_fwd(dev, PT_F32, n, c->c, x, w, b, out(c, m), &err), &err);
	y = v % 5 ? out(c, m) : NULL;
	assert_ok(dev->k->affine_bwd(dev, PT_F32, n, c->c, x, w, dy, y, v % 2, w ? out(c, c->c) : NULL,
				     v % 7 ? out(c, c->c) : NULL, &err), &err);
	for (int64_t i = 0; i < n; i++)
		idx[i] = (int32_t)(n - 1 - i);
	assert_ok(dev->k->gather_fwd(dev, n, (size_t)c->c * sizeof *x, x, idx, out(c, m), &err), &err);
	assert_ok(dev->k->gather_bwd(dev, PT_F32, n, c->c, dy, idx, true, c->out[0], &err), &err);
	for (int64_t i = 0; i < n; i++)
		idx[i] = (int32_t)(i / 3);
	assert_ok(dev->k->gather_bwd(dev, PT_F32, n, c->c, dy, idx, false, c->out[0], &err), &err);
	for (int j = 0; j < 4; j++)
		cu[j + 1] = cu[j] + (int32_t)fix_pick(&c->r, n - cu[j] + 1);
	assert_ok(dev->k->mean_fwd(dev, PT_F32, 4, c->c, x, cu, out(c, 4 * c->c), &err), &err);
	if (y)
		assert_ok(dev->k->mean_bwd(dev, PT_F32, 4, c->c, dy, cu, y, v % 4 > 1, &err), &err);
}

static void elements(struct pt_device *dev, struct elem_case *c)
{
	static const enum pt_dtype type[] = { PT_F32, PT_BF16, PT_F16 };
	int v = c->variant;
	int64_t n = c->n * c->c;
	enum pt_dtype from = type[v % 3], to = type[v / 3 % 3];
	void *src = stored(c, n, from);
	float *dst = out(c, n), *y = out(c, n), *z = out(c, n);

	memset(dst, 0, (size_t)n * 4);
	assert_ok(dev->k->convert(dev, dst, to, src, from, (size_t)n, &err), &err);
	assert_ok(dev->k->convert(dev, dst, PT_F32, memcpy(in(c, n, 1), dst, (size_t)n * 4), to, (size_t)n, &err),
		  &err);
	if (v % 2)
		z[0] = NAN;		/* beta 0 does not read */
	assert_ok(dev->k->axpby(dev, PT_F32, (size_t)n, 1.5f, y, v % 2 ? 0 : -0.5f, z, &err), &err);
	assert_ok(dev->k->copy(dev, y, z, (size_t)n * 4, &err), &err);
	assert_ok(dev->k->fill(dev, PT_F32, z, (size_t)n / 2, 3, &err), &err);
}

static void rows_and_elements(void **state)
{
	(void)state;
	against_loops(rows, 60, 2e-6);
	against_loops(elements, 60, 1e-6);
}

/* torch's AdamW, in double. */
static void adamw(void **state)
{
	enum { N = 40001 };
	struct fix_cpus cpus;
	float *p0 = NULL;

	fix_cpus_open(&cpus);
	for (int i = 0; i < cpus.n; i++) {
		struct fix_rnd r = { 1, 0 };
		float *p = fix_floats(&r, N, 1), *m = fix_floats(&r, N, 0.1f), *v = fix_floats(&r, N, 1);
		float *g = fix_floats(&r, N, 1), *want = fix_dup(p, N * sizeof *p), scale = 0.3f;
		float *wm = fix_dup(m, N * sizeof *m), *wv;
		struct pt_k_adamw k = { .n = N, .p = p, .m = m, .v = v, .g = g, .lr = 0.02, .beta1 = 0.9,
					.beta2 = 0.999, .eps = 1e-4, .decay = 0.1, .t = 7,
					.gscale = i % 2 ? &scale : NULL, .clear = i % 2 };

		for (int j = 0; j < N; j++)
			v[j] = v[j] * v[j] * 0.01f;
		scale = i % 2 ? 0.3f : 1;
		wv = fix_dup(v, N * sizeof *v);
		for (int j = 0; j < N; j++) {
			double gj = (double)g[j] * (double)scale, mj, vj, b1 = 1 - pow(0.9, 7);

			mj = 0.9 * (double)wm[j] + 0.1 * gj;
			vj = 0.999 * (double)wv[j] + 0.001 * gj * gj;
			wm[j] = (float)mj;
			wv[j] = (float)vj;
			want[j] = (float)((double)want[j] * (1 - 0.02 * 0.1) -
					  0.02 / b1 * mj / (sqrt(vj / (1 - pow(0.999, 7))) + 1e-4));
		}
		assert_ok(cpus.dev[i]->k->adamw(cpus.dev[i], 1, &k, &err), &err);
		fix_near("parameters", p, want, N, 2e-7);
		fix_near("first moments", m, wm, N, 2e-7);
		fix_near("second moments", v, wv, N, 2e-7);
		for (int j = 0; j < N; j++)
			assert_true((g[j] == 0) == k.clear);
		/* One and four threads, both without a scale. */
		if (i % 3 == 0 && i % 2 == 0)
			p0 = fix_dup(p, N * sizeof *p);
		if (i % 3 == 2 && p0 && i % 2 == 0) {
			assert_memory_equal(p, p0, N * sizeof *p);
			free(p0);
			p0 = NULL;
		}
		free(p);
		free(m);
		free(v);
		free(g);
		free(want);
		free(wm);
		free(wv);
	}
	free(p0);
	fix_cpus_close(&cpus);
	(void)state;
}

static void reductions(void **state)
{
	static const size_t sizes[] = { 0, 1, 1000, 16384, 16385, 100003, 300 * 16384 + 5 };
	struct fix_cpus cpus;

	fix_cpus_open(&cpus);
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		struct fix_rnd r = { 1, s };
		size_t n = sizes[s];
		float *x = fix_floats(&r, (int64_t)n, 1);
		double want = 0, got, first = 0;
		int64_t bad;

		for (size_t i = 0; i < n; i++)
			want += (double)x[i] * (double)x[i];
		for (int i = 0; i < cpus.n; i++) {
			assert_ok(cpus.dev[i]->k->sumsq(cpus.dev[i], 1, &(struct pt_k_sumsq){ x, n, &got }, &err), &err);
			assert_true(fabs(got - want) <= 1e-12 * want);
			if (i % 3)
				assert_true(got == first);
			first = got;
			assert_ok(cpus.dev[i]->k->nonfinite(cpus.dev[i], x, n, &bad, &err), &err);
			assert_int_equal(bad, 0);
		}
		if (n > 10) {
			x[n - 1] = NAN;
			x[n / 2] = -INFINITY;
			x[3] = INFINITY;
		}
		for (int i = 0; i < cpus.n && n > 10; i++) {
			assert_ok(cpus.dev[i]->k->sumsq(cpus.dev[i], 1, &(struct pt_k_sumsq){ x, n, &got }, &err), &err);
			assert_true(isnan(got));
			assert_ok(cpus.dev[i]->k->nonfinite(cpus.dev[i], x, n, &bad, &err), &err);
			assert_int_equal(bad, 3);
		}
		free(x);
	}
	fix_cpus_close(&cpus);
	(void)state;
}

/* What is not a number stays so through activations and norms. */
static void not_a_number(void **state)
{
	struct fix_cpus cpus;

	fix_cpus_open(&cpus);
	for (int i = 0; i < cpus.n; i += 3) {
		float x[21] = { 0 }, y[21], stat[6], dx[21], dy[21] = { 0 };
		struct pt_k_norm n = { .kind = PT_NORM_LAYER, .n = 3, .c = 7, .x = x, .y = y, .stat = stat,
				       .eps = 1e-5f };

		x[9] = NAN;
		for (int a = PT_ACT_NONE; a <= PT_ACT_SIGMOID; a++) {
			struct pt_k_act k = { .act = (enum pt_act)a, .n = 21, .x = x, .y = y, .dy = x, .dx = dx };

			assert_ok(cpus.dev[i]->k->act_fwd(cpus.dev[i], &k, &err), &err);
			assert_ok(cpus.dev[i]->k->act_bwd(cpus.dev[i], &k, &err), &err);
			for (int j = 0; j < 21; j++) {
				assert_int_equal(!!isnan(y[j]), j == 9);
				assert_int_equal(!!isnan(dx[j]), j == 9);
			}
		}
		for (int kind = PT_NORM_RMS; kind <= PT_NORM_LAYER; kind++) {
			n.kind = (enum pt_norm_kind)kind;
			n.dx = NULL;
			assert_ok(cpus.dev[i]->k->norm_fwd(cpus.dev[i], &n, &err), &err);
			n.dy = dy;
			n.dx = dx;
			assert_ok(cpus.dev[i]->k->norm_bwd(cpus.dev[i], &n, &err), &err);
			for (int j = 0; j < 21; j++) {
				assert_int_equal(!!isnan(y[j]), j / 7 == 1);
				assert_int_equal(!!isnan(dx[j]), j / 7 == 1);
			}
		}
	}
	fix_cpus_close(&cpus);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(norms),
		cmocka_unit_test(activations),
		cmocka_unit_test(rope_embed),
		cmocka_unit_test(class_losses),
		cmocka_unit_test(rows_and_elements),
		cmocka_unit_test(adamw),
		cmocka_unit_test(reductions),
		cmocka_unit_test(not_a_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
