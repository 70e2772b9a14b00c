/* SPDX-License-Identifier: MIT */
/*
 * device_cpu_experts.c - kernels of mixtures of experts of the CPU: routing and
 * combination against plain loops; the linears of experts against one call for
 * each expert, to the bit; on every path, the same bits with any number of
 * threads.
 */
#include "device_fix.h"

#define TOL 2e-6
#define OUTS 12

struct route_case {
	struct pt_k_route k;
	int64_t c;
	float *z, *x, *dy, *dweight, *dstat, *grad;
	uint64_t *key;
	int32_t *pos;
};

/* Everything that the kernels write, in one block: integers first. */
struct route_out {
	int32_t *expert, *place, *row, *offset, *pos;
	uint64_t *key;
	float *f[OUTS];
	int64_t n[OUTS];
};

static const char *const out_name[OUTS] = { "p", "weight", "stat", "dz", "combined", "dx", "dweight", "plain sum",
	"spread", "gated", "gate dx", "gate dg" };

static void out_new(const struct route_case *c, struct route_out *o)
{
	int64_t n = c->k.n, e = c->k.experts, p = n * c->k.k;
	int64_t size[OUTS] = { n * e, p, 2 * e, n * e, n * c->c, p * c->c, p, n * c->c, p * c->c, n * c->c, n * c->c, n };

	o->expert = calloc((size_t)p + 1, 4);
	o->place = calloc((size_t)p + 1, 4);
	o->row = calloc((size_t)p + 1, 4);
	o->pos = calloc((size_t)p + 1, 4);
	o->key = calloc((size_t)p + 1, 8);
	o->offset = calloc((size_t)e + 1, 4);
	for (int i = 0; i < OUTS; i++) {
		o->n[i] = size[i];
		o->f[i] = fix_dup(c->grad, (size_t)size[i] * sizeof(float));
	}
}

static void out_free(struct route_out *o)
{
	free(o->expert), free(o->place), free(o->row), free(o->pos), free(o->key), free(o->offset);
	for (int i = 0; i < OUTS; i++)
		free(o->f[i]);
}

static void run_route(struct pt_device *dev, const struct route_case *c, bool acc, struct route_out *o)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_k_route k = c->k;
	struct pt_k_combine m = { .n = k.n, .c = c->c, .k = k.k, .type = PT_F32, .x = c->x, .acc_y = acc };
	struct pt_k_gate g;

	out_new(c, o);
	k.z = c->z, k.p = o->f[0], k.weight = o->f[1], k.stat = o->f[2];
	k.expert = o->expert, k.place = o->place, k.row = o->row, k.offset = o->offset;
	k.rng = (struct pt_k_rows){ c->key, c->pos };
	k.key = o->key, k.pos = o->pos;
	assert_ok(dev->k->route_fwd(dev, &k, &err), &err);
	k.dweight = c->dweight, k.dstat = acc ? c->dstat : NULL, k.dz = o->f[3], k.acc_dz = acc;
	assert_ok(dev->k->route_bwd(dev, &k, &err), &err);
	m.place = o->place, m.weight = o->f[1], m.y = o->f[4];
	assert_ok(dev->k->combine_fwd(dev, &m, &err), &err);
	m.dy = c->dy, m.dx = o->f[5], m.dweight = o->f[6], m.acc_dx = m.acc_dweight = acc;
	assert_ok(dev->k->combine_bwd(dev, &m, &err), &err);
	m.weight = NULL, m.y = o->f[7];
	assert_ok(dev->k->combine_fwd(dev, &m, &err), &err);
	m.dx = o->f[8], m.dweight = NULL;
	assert_ok(dev->k->combine_bwd(dev, &m, &err), &err);
	g = (struct pt_k_gate){ .n = k.n, .c = c->c, .type = PT_F32, .x = c->dy, .g = c->z, .y = o->f[9], .dy = c->x,
		.dx = o->f[10], .dg = o->f[11], .acc_dx = acc, .acc_dg = acc };
	assert_ok(dev->k->gate_fwd(dev, &g, &err), &err);
	assert_ok(dev->k->gate_bwd(dev, &g, &err), &err);
}

static void same_order(const struct route_case *c, const struct route_out *a, const struct route_out *b)
{
	size_t p = (size_t)(c->k.n * c->k.k);

	assert_memory_equal(a->expert, b->expert, p * 4);
	assert_memory_equal(a->place, b->place, p * 4);
	assert_memory_equal(a->row, b->row, p * 4);
	assert_memory_equal(a->pos, b->pos, p * 4);
	assert_memory_equal(a->key, b->key, p * 8);
	assert_memory_equal(a->offset, b->offset, ((size_t)c->k.experts + 1) * 4);
}

static void make_route(struct route_case *c, uint64_t seed)
{
	struct fix_rnd r = { pt_rng_mix(31, seed), 0 };
	int64_t n = (int64_t[]){ 1, 2, 7, 33, 100, 700 }[fix_pick(&r, 6)], most;
	int e = (int[]){ 1, 2, 5, 8, 60, 128 }[fix_pick(&r, 6)], k = 1 + (int)fix_pick(&r, e < 8 ? e : 8);

	memset(c, 0, sizeof *c);
	if (seed == 0)
		n = 0;
	c->c = (int64_t[]){ 1, 3, 8, 17, 64 }[fix_pick(&r, 5)];
	c->k = (struct pt_k_route){ .n = n, .live = n - fix_pick(&r, n + 1) / 3, .experts = e, .k = k, .type = PT_F32,
		.renorm = fix_once_in(&r, 2) && k > 1 };	/* of one choice the gradient is rounding alone */
	most = n * (k > e ? k : e) * c->c + 2 * e;
	c->z = fix_floats(&r, n * e, 2);
	/* Ties, and rows in which some probabilities vanish. */
	for (int64_t i = 0; i < n * e; i++) {
		if (i / e % 5 == 1)
			c->z[i] = (float)(i % 3);
		if (i / e % 5 == 2 && i % 2)
			c->z[i] = -200;
	}
	c->x = fix_floats(&r, n * k * c->c, 1);
	c->dy = fix_floats(&r, n * c->c, 1);
	c->dweight = fix_floats(&r, n * k, 1);
	c->dstat = fix_floats(&r, 2 * e, 1);
	c->grad = fix_floats(&r, most, 1);
	c->key = calloc((size_t)n + 1, sizeof *c->key);
	c->pos = calloc((size_t)n + 1, sizeof *c->pos);
	for (int64_t i = 0; i < n; i++) {
		c->key[i] = pt_rng_mix(seed, (uint64_t)i);
		c->pos[i] = (int32_t)i;
	}
}

static void free_route(struct route_case *c)
{
	free(c->z), free(c->x), free(c->dy), free(c->dweight), free(c->dstat), free(c->grad), free(c->key), free(c->pos);
}

static void routes(void **state)
{
	struct pt_device *ref = ref_device_new();
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 60; seed++) {
		struct route_out want, got, first;
		struct route_case c;

		make_route(&c, seed);
		run_route(ref, &c, seed % 2, &want);
		for (int d = 0; d < cpus.n; d++) {
			bool again = fix_again(&cpus, d);

			run_route(cpus.dev[d], &c, seed % 2, &got);
			same_order(&c, &got, &want);
			for (int i = 0; i < OUTS; i++) {
				char what[300];

				snprintf(what, sizeof what, "%s, seed %d (%d rows, %d of %d): %s", cpus.dev[d]->path,
					 (int)seed, (int)c.k.n, c.k.k, c.k.experts, out_name[i]);
				fix_near(what, got.f[i], want.f[i], got.n[i], TOL);
				if (again)
					assert_memory_equal(got.f[i], first.f[i], (size_t)got.n[i] * 4);
			}
			if (again) {
				out_free(&got);
				continue;
			}
			if (d)
				out_free(&first);
			first = got;
		}
		out_free(&first);
		out_free(&want);
		free_route(&c);
	}
	fix_cpus_close(&cpus);
	ref->close(ref);
}

/* torch.topk's order on a row without ties, the lower number on ties, and distinct experts on a row of NaN. */
static void ties(void **state)
{
	static const float z[3][6] = { { 1, 3, 2, 3, 0, 3 }, { 5, 4, 3, 2, 1, 0 }, { NAN, 0, NAN, 1, 2, 3 } };
	static const int32_t want[3][3] = { { 1, 3, 5 }, { 0, 1, 2 }, { 0, 1, 2 } };
	struct pt_device *dev = fix_cpu("generic", 1);
	struct route_case c = { .k = { .n = 3, .live = 3, .experts = 6, .k = 3, .type = PT_F32 }, .c = 1 };
	float zero[40] = { 0 };
	uint64_t key[3] = { 0 };
	int32_t pos[3] = { 0 };
	struct route_out o;

	(void)state;
	c.z = (float *)(uintptr_t)z;
	c.x = c.dy = c.dweight = c.dstat = c.grad = zero;
	c.key = key, c.pos = pos;
	run_route(dev, &c, true, &o);
	assert_memory_equal(o.expert, want, sizeof want);
	out_free(&o);
	pt_device_close(dev);
}

#define E 5
#define LINS 2

/* Linears of E experts over rows that are shared out unevenly: some get none, ranks differ. */
struct experts_case {
	struct pt_k_linear_group g;
	struct pt_k_linear lin[E * LINS];
	struct pt_k_lowrank term[E * LINS][2];
	int64_t nout[LINS];
	int32_t offset[E + 1];
	float *grad;
	void *mem[200];
	int nmem;
};

static void *own(struct experts_case *c, void *p)
{
	assert_true(c->nmem < 200);
	return c->mem[c->nmem++] = p;
}

static void *stored(struct experts_case *c, struct fix_rnd *r, int64_t n, enum pt_dtype t)
{
	float *x = own(c, fix_floats(r, n, 0.4f));
	void *w;

	if (t == PT_F32)
		return x;
	w = own(c, malloc(((size_t)n + 1) * 2));
	pt_from_f32(w, t, x, (size_t)n);
	return w;
}

static void make_experts(struct experts_case *c, uint64_t seed)
{
	struct fix_rnd r = { pt_rng_mix(37, seed), 0 };
	int64_t k = (int64_t[]){ 1, 7, 33, 130 }[fix_pick(&r, 4)];
	uint64_t *key;
	int32_t *pos;

	memset(c, 0, sizeof *c);
	for (int e = 0; e < E; e++)
		c->offset[e + 1] = c->offset[e] + (int32_t)(int64_t[]){ 0, 1, 5, 120 }[fix_pick(&r, seed == 0 ? 1 : 4)];
	c->g = (struct pt_k_linear_group){ .rows = c->offset[E], .k = k, .type = PT_F32, .lin = c->lin,
		.n = 1 + (int)fix_pick(&r, LINS), .experts = E, .offset = c->offset, .acc_dx = fix_once_in(&r, 2),
		.round_bf16 = fix_once_in(&r, 4) };
	c->g.x = own(c, fix_floats(&r, c->g.rows * k, 1));
	key = own(c, calloc((size_t)c->g.rows + 1, sizeof *key));
	pos = own(c, calloc((size_t)c->g.rows + 1, sizeof *pos));
	for (int i = 0; i < c->g.rows; i++) {
		key[i] = pt_rng_mix(seed, (uint64_t)i % 7);
		pos[i] = i;
	}
	c->g.rng = (struct pt_k_rows){ key, pos };
	for (int j = 0; j < c->g.n; j++) {
		enum pt_dtype t = (enum pt_dtype[]){ PT_F32, PT_BF16, PT_F16 }[fix_pick(&r, 3)];
		float *dy;

		c->nout[j] = (int64_t[]){ 1, 9, 48, 70 }[fix_pick(&r, 4)];
		dy = own(c, fix_floats(&r, c->g.rows * c->nout[j], 1));
		for (int e = 0; e < E; e++) {
			struct pt_k_linear *l = &c->lin[e * c->g.n + j];
			struct pt_k_lowrank *m = c->term[e * c->g.n + j];

			*l = (struct pt_k_linear){ .n = c->nout[j], .wtype = t, .w = stored(c, &r, k * c->nout[j], t),
				.dy = dy, .term = m, .nterms = (int)fix_pick(&r, 3), .btype = PT_F32,
				.transposed = fix_once_in(&r, 3), .acc_y = false };
			if (fix_once_in(&r, 3))
				l->bias = own(c, fix_floats(&r, l->n, 1));
			for (int i = 0; i < l->nterms; i++) {
				m[i].r = 1 + fix_pick(&r, 9);
				m[i].a = own(c, fix_floats(&r, m[i].r * k, 0.4f));
				m[i].b = own(c, fix_floats(&r, m[i].r * l->n, 0.4f));
				m[i].scale = 1.5f;
				m[i].dropout = fix_once_in(&r, 2) ? 0.3f : 0;
				m[i].site = (uint64_t)(e * 10 + j * 2 + i);
			}
		}
	}
	c->grad = own(c, fix_floats(&r, (c->g.rows + 70) * 200, 1));
}

/* All that is written, of linear i in its own block; separately: one call for each expert. */
static void run_experts(struct pt_device *dev, const struct experts_case *c, bool separately, float *y[LINS], float **dx,
			float *grads[E * LINS][7])
{
	struct pt_k_lowrank term[E * LINS][2];
	struct pt_k_linear lin[E * LINS];
	struct pt_k_linear_group g = c->g;
	struct pt_error err = PT_ERROR_INIT;

	memcpy(lin, c->lin, sizeof lin);
	memcpy(term, c->term, sizeof term);
	g.lin = lin;
	*dx = fix_dup(c->grad, (size_t)(g.rows * g.k) * 4);
	for (int j = 0; j < g.n; j++)
		y[j] = fix_dup(c->grad, (size_t)(g.rows * c->nout[j]) * 4);
	for (int i = 0; i < E * g.n; i++) {
		lin[i].term = term[i];
		lin[i].y = y[i % g.n];
		lin[i].dw = grads[i][0] = fix_dup(c->grad, (size_t)(lin[i].n * g.k) * 4);
		lin[i].dbias = grads[i][1] = fix_dup(c->grad, (size_t)lin[i].n * 4);
		for (int t = 0; t < lin[i].nterms; t++) {
			term[i][t].da = grads[i][2 + 2 * t] = fix_dup(c->grad, (size_t)(term[i][t].r * g.k) * 4);
			term[i][t].db = grads[i][3 + 2 * t] = fix_dup(c->grad, (size_t)(term[i][t].r * lin[i].n) * 4);
		}
	}
	for (int pass = 0; pass < 2; pass++) {
		bool back = pass == 1;
		int (*fn)(struct pt_device *, const struct pt_k_linear_group *, struct pt_error *) =
			back ? dev->k->linear_bwd : dev->k->linear_fwd;

		g.dx = back ? *dx : NULL;
		for (int e = 0; e < (separately ? E : 1); e++) {
			struct pt_k_linear one[8];
			struct pt_k_linear_group s = separately ? ref_expert(&g, e, one) : g;
			size_t n = dev->k->linear_scratch(dev, &s, back);

			s.scratch = aligned_alloc(64, (n + 64) / 64 * 64);
			memset(s.scratch, 0xff, n);
			assert_ok(fn(dev, &s, &err), &err);
			free(s.scratch);
		}
	}
}

static void equal(const struct experts_case *c, float *a, float *b, int64_t n, const char *what, int d, uint64_t seed)
{
	(void)c;
	if (memcmp(a, b, (size_t)n * 4))
		fail_msg("device %d, seed %d: %s is not what one call for each expert gives", d, (int)seed, what);
	free(a);
	free(b);
}

static void experts(void **state)
{
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 30; seed++) {
		struct experts_case c;

		make_experts(&c, seed);
		for (int d = 0; d < cpus.n; d++) {
			float *y[2][LINS], *dx[2], *grads[2][E * LINS][7];

			memset(grads, 0, sizeof grads);
			/* The first of each path, on one thread, says what is right. */
			run_experts(cpus.dev[d / 3 * 3], &c, true, y[0], &dx[0], grads[0]);
			run_experts(cpus.dev[d], &c, false, y[1], &dx[1], grads[1]);
			equal(&c, dx[0], dx[1], c.g.rows * c.g.k, "dx", d, seed);
			for (int j = 0; j < c.g.n; j++)
				equal(&c, y[0][j], y[1][j], c.g.rows * c.nout[j], "y", d, seed);
			for (int i = 0; i < E * c.g.n; i++) {
				const struct pt_k_linear *l = &c.lin[i];

				equal(&c, grads[0][i][0], grads[1][i][0], l->n * c.g.k, "dw", d, seed);
				equal(&c, grads[0][i][1], grads[1][i][1], l->n, "dbias", d, seed);
				for (int t = 0; t < l->nterms; t++) {
					equal(&c, grads[0][i][2 + 2 * t], grads[1][i][2 + 2 * t],
					      l->term[t].r * c.g.k, "da", d, seed);
					equal(&c, grads[0][i][3 + 2 * t], grads[1][i][3 + 2 * t],
					      l->term[t].r * l->n, "db", d, seed);
				}
			}
		}
		while (c.nmem)
			free(c.mem[--c.nmem]);
	}
	fix_cpus_close(&cpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes),
		cmocka_unit_test(ties),
		cmocka_unit_test(experts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
