/* SPDX-License-Identifier: MIT */
/*
 * device_cpu_linear.c - products, linear groups with low-rank terms, token_nll
 * and dropout of the CPU against plain loops, on random odd shapes, on every
 * path, and the same bits with any number of threads.
 */
#include "device_fix.h"

#define OUTS 40
#define TOL 2e-6	/* of the largest value; f32 sums against sums in double */

/* Everything that a call writes, by name. */
struct outs {
	const char *name[OUTS];
	float *x[OUTS];
	int64_t n[OUTS];
	int count;
};

/* An output that begins as a copy of from (what may be added to), or of NaN. */
static float *out(struct outs *o, const char *name, const float *from, int64_t n)
{
	float *x = malloc(((size_t)n + 1) * sizeof *x);

	memset(x, 0xff, (size_t)n * sizeof *x);
	if (from)
		memcpy(x, from, (size_t)n * sizeof *x);
	assert_true(o->count < OUTS);
	o->name[o->count] = name;
	o->n[o->count] = n;
	return o->x[o->count++] = x;
}

static void outs_free(struct outs *o)
{
	while (o->count)
		free(o->x[--o->count]);
}

typedef void run_fn(struct pt_device *dev, const void *c, struct outs *o);

/* run on all devices: near to want, and equal in bits for all numbers of threads of a path. */
static void compare(const struct fix_cpus *cpus, run_fn *run, const void *c, const char *text, double tol)
{
	struct pt_device *ref = ref_device_new();
	struct outs want = { .count = 0 }, first = { .count = 0 };
	char what[500];

	run(ref, c, &want);
	for (int d = 0; d < cpus->n; d++) {
		struct pt_device *dev = cpus->dev[d];
		struct outs got = { .count = 0 };
		bool again = fix_again(cpus, d);

		run(dev, c, &got);
		for (int i = 0; i < got.count; i++) {
			snprintf(what, sizeof what, "%s, %s: %s", dev->path, text, got.name[i]);
			fix_near(what, got.x[i], want.x[i], want.n[i], tol);
			if (again && memcmp(got.x[i], first.x[i], (size_t)got.n[i] * sizeof(float)))
				fail_msg("%s: other bits with other threads or lanes", what);
		}
		if (again) {
			outs_free(&got);
		} else {
			outs_free(&first);
			first = got;
		}
	}
	outs_free(&first);
	outs_free(&want);
	ref->close(ref);
}

static const int64_t odd[] = { 1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 48, 64, 65, 96, 97, 100, 130, 200, 385 };

static int64_t size(struct fix_rnd *r)
{
	return odd[fix_pick(r, sizeof odd / sizeof *odd)];
}

/* Random weights of a random stored type; round: values that bf16 holds. */
static void *weights(struct fix_rnd *r, int64_t n, float std, enum pt_dtype t, bool round)
{
	float *x = fix_floats(r, n, std);
	void *w;

	for (int64_t i = 0; i < n && round; i++)
		x[i] = pt_bf16_to_f32(pt_f32_to_bf16(x[i]));
	if (t == PT_F32)
		return x;
	w = malloc(((size_t)n + 1) * 2);
	pt_from_f32(w, t, x, (size_t)n);
	free(x);
	return w;
}

static enum pt_dtype stored(struct fix_rnd *r)
{
	return (enum pt_dtype[]){ PT_F32, PT_BF16, PT_F16 }[fix_pick(r, 3)];
}

struct gemm_case {
	struct pt_k_gemm k;
	float *c;
};

static void run_gemm(struct pt_device *dev, const void *arg, struct outs *o)
{
	const struct gemm_case *c = arg;
	struct pt_error err = PT_ERROR_INIT;
	struct pt_k_gemm k = c->k;

	k.c = out(o, "c", c->c, k.m * k.ldc);
	assert_ok(dev->k->gemm(dev, &k, &err), &err);
}

static void gemm(void **state)
{
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 90; seed++) {
		struct fix_rnd r = { pt_rng_mix(3, seed), 0 };
		struct gemm_case c;
		struct pt_k_gemm *k = &c.k;
		char text[200];

		memset(&c, 0, sizeof c);
		k->m = size(&r), k->n = size(&r), k->k = size(&r);
		if (seed == 0)		/* several rounds of k */
			k->m = 5, k->n = 19, k->k = 9001;
		if (seed == 1)		/* more columns than the packing buffer holds */
			k->m = 3, k->n = 1700, k->k = 800;
		k->ta = fix_once_in(&r, 2), k->tb = fix_once_in(&r, 2);
		k->at = stored(&r), k->bt = stored(&r), k->ct = PT_F32;
		k->round_bf16 = fix_once_in(&r, 4);
		k->lda = (k->ta ? k->m : k->k) + fix_pick(&r, 4);
		k->ldb = (k->tb ? k->k : k->n) + fix_pick(&r, 4);
		k->ldc = k->n + fix_pick(&r, 4);
		k->alpha = fix_once_in(&r, 2) ? 1 : -0.5f;
		k->beta = (float[]){ 0, 1, 0.25f }[fix_pick(&r, 3)];
		k->a = weights(&r, (k->ta ? k->k : k->m) * k->lda, 1, k->at, k->round_bf16);
		k->b = weights(&r, (k->tb ? k->n : k->k) * k->ldb, 1, k->bt, k->round_bf16);
		c.c = fix_floats(&r, k->m * k->ldc, 1);
		snprintf(text, sizeof text, "case %d: %dx%dx%d, ta %d tb %d, types %d %d, alpha %g beta %g, round %d",
			 (int)seed, (int)k->m, (int)k->n, (int)k->k, k->ta, k->tb, (int)k->at, (int)k->bt,
			 (double)k->alpha, (double)k->beta, k->round_bf16);
		compare(&cpus, run_gemm, &c, text, TOL);
		free((void *)(uintptr_t)k->a);
		free((void *)(uintptr_t)k->b);
		free(c.c);
	}
	fix_cpus_close(&cpus);
}

#define LINS 3
#define TERMS 2

/* A group, or token_nll where nll is set; what is accumulated into begins as grad. */
struct linear_case {
	struct pt_k_linear_group g;
	struct pt_k_linear lin[LINS];
	struct pt_k_lowrank term[LINS][TERMS];
	float *grad;		/* longer than every gradient */
	bool dw[LINS], dbias[LINS], ta[LINS][TERMS], tb[LINS][TERMS], tbias[LINS][TERMS], dx, keep;
	struct pt_k_nll nll;
	bool weights_first;
	void *mem[64];
	int nmem;
	uint64_t *key;
	int32_t *pos, *row, *label;
	char text[300];
};

static void *own(struct linear_case *c, void *p)
{
	assert_true(c->nmem < 64);
	return c->mem[c->nmem++] = p;
}

static void make_linear(struct linear_case *c, struct fix_rnd *r, int j, int64_t nout)
{
	struct pt_k_linear *l = &c->lin[j];
	int64_t k = c->g.k;
	bool round = c->g.round_bf16;

	l->n = nout;
	l->wtype = stored(r);
	l->btype = stored(r);
	l->transposed = fix_once_in(r, 4);
	l->w = own(c, weights(r, k * nout, 0.3f, l->wtype, round));
	if (fix_once_in(r, 2))
		l->bias = own(c, weights(r, nout, 1, l->btype, false));
	l->acc_y = fix_once_in(r, 4);
	l->dy = own(c, weights(r, c->g.rows * nout, 1, PT_F32, round));
	c->dw[j] = fix_once_in(r, 2);
	c->dbias[j] = fix_once_in(r, 2);
	l->nterms = (int)fix_pick(r, TERMS + 1);
	l->term = c->term[j];
	for (int t = 0; t < l->nterms; t++) {
		struct pt_k_lowrank *m = &c->term[j][t];

		m->r = (int64_t[]){ 1, 3, 8, 16, 21 }[fix_pick(r, 5)];
		m->a = own(c, weights(r, m->r * k, 0.5f, PT_F32, round));
		m->b = own(c, weights(r, m->r * nout, 0.5f, PT_F32, round));
		if (fix_once_in(r, 3))
			m->bias = own(c, fix_floats(r, nout, 1));
		m->scale = round ? 2 : 1.7f;
		m->dropout = fix_once_in(r, 2) ? 0.3f : 0;
		m->site = (uint64_t)(j * 10 + t);
		c->ta[j][t] = !fix_once_in(r, 4);
		c->tb[j][t] = !fix_once_in(r, 4);
		c->tbias[j][t] = fix_once_in(r, 2);
	}
}

static void make_group(struct linear_case *c, uint64_t seed, int n, int64_t rows, int64_t k)
{
	struct fix_rnd r = { pt_rng_mix(5, seed), 0 };
	int64_t most = rows * k;

	memset(c, 0, sizeof *c);
	c->g = (struct pt_k_linear_group){ .rows = rows, .k = k, .type = PT_F32, .lin = c->lin, .n = n,
		.acc_dx = fix_once_in(&r, 2), .round_bf16 = fix_once_in(&r, 5) };
	c->dx = !fix_once_in(&r, 4);
	c->keep = !fix_once_in(&r, 4);
	c->g.x = own(c, weights(&r, rows * k, 1, PT_F32, c->g.round_bf16));
	c->key = own(c, malloc(((size_t)rows + 1) * sizeof *c->key));
	c->pos = own(c, malloc(((size_t)rows + 1) * sizeof *c->pos));
	for (int64_t i = 0; i < rows; i++) {
		c->key[i] = pt_rng_mix(seed, (uint64_t)(i / 9));
		c->pos[i] = (int32_t)(i % 9);
	}
	c->g.rng = (struct pt_k_rows){ c->key, c->pos };
	for (int j = 0; j < n; j++) {
		int64_t nout = size(&r);

		while (nout > 1 && rows * k * nout > 3000000)
			nout /= 2;
		make_linear(c, &r, j, nout);
		most = fmax((double)most, (double)(nout * (k > rows ? k : rows)));
		for (int t = 0; t < c->lin[j].nterms; t++)
			most = fmax((double)most, (double)(c->term[j][t].r * (nout > k ? nout : k)));
	}
	c->grad = own(c, fix_floats(&r, most, 1));
	snprintf(c->text, sizeof c->text, "case %d: %d rows, k %d, %d linears (n %d, type %d, %d terms, transposed %d ...)"
		 ", round %d", (int)seed, (int)rows, (int)k, n, (int)c->lin[0].n, (int)c->lin[0].wtype,
		 c->lin[0].nterms, c->lin[0].transposed, c->g.round_bf16);
}

static void free_linear(struct linear_case *c)
{
	while (c->nmem)
		free(c->mem[--c->nmem]);
}

static void grads(const struct linear_case *c, int j, struct pt_k_linear *l, struct pt_k_lowrank *term, struct outs *o)
{
	int64_t k = c->g.k;

	l->term = term;
	if (c->dw[j])
		l->dw = out(o, "dw", c->grad, l->n * k);
	if (c->dbias[j])
		l->dbias = out(o, "dbias", c->grad, l->n);
	for (int t = 0; t < l->nterms; t++) {
		if (c->ta[j][t])
			term[t].da = out(o, "da", c->grad, term[t].r * k);
		if (c->tb[j][t])
			term[t].db = out(o, "db", c->grad, term[t].r * l->n);
		if (c->tbias[j][t])
			term[t].dbias = out(o, "term dbias", c->grad, l->n);
	}
}

/* Scratch of the size asked for, filled with NaN; a byte behind it shows overruns under sanitizers. */
static void *scratch(size_t n)
{
	void *p = aligned_alloc(64, (n + 64) / 64 * 64);

	memset(p, 0xff, (n + 64) / 64 * 64);
	return p;
}

static void run_group(struct pt_device *dev, const void *arg, struct outs *o)
{
	const struct linear_case *c = arg;
	struct pt_k_linear_group g = c->g;
	struct pt_k_lowrank term[LINS][TERMS];
	struct pt_error err = PT_ERROR_INIT;
	struct pt_k_linear lin[LINS];

	memcpy(lin, c->lin, sizeof lin);
	memcpy(term, c->term, sizeof term);
	g.lin = lin;
	for (int j = 0; j < g.n; j++) {
		lin[j].term = term[j];
		lin[j].y = out(o, "y", c->grad, g.rows * lin[j].n);
		for (int t = 0; t < lin[j].nterms && c->keep; t++)
			term[j][t].u = out(o, "u", NULL, g.rows * term[j][t].r);
	}
	g.scratch = scratch(dev->k->linear_scratch(dev, &g, false));
	assert_ok(dev->k->linear_fwd(dev, &g, &err), &err);
	free(g.scratch);
	for (int j = 0; j < g.n; j++) {
		lin[j].y = NULL;
		grads(c, j, &lin[j], term[j], o);
	}
	if (c->dx)
		g.dx = out(o, "dx", g.acc_dx ? c->grad : NULL, g.rows * g.k);
	g.scratch = scratch(dev->k->linear_scratch(dev, &g, true));
	assert_ok(dev->k->linear_bwd(dev, &g, &err), &err);
	free(g.scratch);
}

static void linear(void **state)
{
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 70; seed++) {
		struct fix_rnd r = { pt_rng_mix(11, seed), 0 };
		int n = 1 + (int)fix_pick(&r, LINS);
		int64_t rows = seed == 3 ? 0 : size(&r), k = size(&r);
		struct linear_case c;

		if (seed == 0)
			rows = 450, k = 100;
		if (seed == 1)
			rows = 7, k = 5000;
		make_group(&c, seed, n, rows, k);
		/* u is rounded on its way into the second product, which plain loops do not do. */
		compare(&cpus, run_group, &c, c.text, c.g.round_bf16 ? 5e-2 : TOL);
		free_linear(&c);
	}
	fix_cpus_close(&cpus);
}

/* Without terms there is nothing between operands and result: rounding must be exact. */
static void linear_rounds(void **state)
{
	struct fix_cpus cpus;
	struct linear_case c;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 500; seed < 520; seed++) {
		make_group(&c, seed, 2, 37, 65);
		for (int j = 0; j < 2; j++) {
			int64_t n = c.lin[j].n * (c.g.k > c.g.rows ? c.g.k : c.g.rows);

			c.lin[j].nterms = 0;
			/* The oracle gets rounded operands, the kernel is told to round them. */
			c.lin[j].w = own(&c, weights(&(struct fix_rnd){ seed, 9 }, n, 1, PT_F32, !c.g.round_bf16));
		}
		if (!c.g.round_bf16)
			compare(&cpus, run_group, &c, c.text, TOL);
		free_linear(&c);
	}
	fix_cpus_close(&cpus);
}

static void run_nll(struct pt_device *dev, const void *arg, struct outs *o)
{
	const struct linear_case *c = arg;
	struct pt_k_nll k = c->nll;
	struct pt_k_lowrank term[TERMS];
	struct pt_error err = PT_ERROR_INIT;
	float *argmax;

	memcpy(term, c->term[0], sizeof term);
	k.head = c->lin[0];
	k.head.term = term;
	k.nll = out(o, "nll", NULL, k.rows);
	k.lse = out(o, "lse", NULL, k.rows);
	k.argmax = malloc(((size_t)k.rows + 1) * sizeof *k.argmax);
	if (c->weights_first) {
		grads(c, 0, &k.head, term, o);
		k.dx = c->dx ? out(o, "dx", k.acc_dx ? c->grad : NULL, k.n * k.c) : NULL;
	} else {
		k.weight = NULL;
	}
	k.scratch = scratch(dev->k->nll_scratch(dev, &k, false));
	assert_ok(dev->k->nll_fwd(dev, &k, &err), &err);
	free(k.scratch);
	/* A cap brings logits so close together that the largest is a matter of rounding. */
	argmax = out(o, "argmax", NULL, k.rows);
	for (int64_t i = 0; i < k.rows; i++)
		argmax[i] = k.cap > 0 ? 0 : (float)k.argmax[i];
	free(k.argmax);
	k.argmax = NULL;
	if (c->weights_first)
		return;
	grads(c, 0, &k.head, term, o);
	k.dx = c->dx ? out(o, "dx", k.acc_dx ? c->grad : NULL, k.n * k.c) : NULL;
	k.weight = c->nll.weight;
	k.nll = NULL;
	k.scratch = scratch(dev->k->nll_scratch(dev, &k, true));
	assert_ok(dev->k->nll_bwd(dev, &k, &err), &err);
	free(k.scratch);
}

static void token_nll(void **state)
{
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct fix_rnd r = { pt_rng_mix(23, seed), 0 };
		int64_t n = size(&r), rows = fix_pick(&r, n + 1);
		struct linear_case c;
		struct pt_k_nll *k = &c.nll;
		float *w;

		if (seed == 0)		/* several chunks: 200 rows of 70000 logits */
			n = 300, rows = 200;
		make_group(&c, 1000 + seed, 1, n, seed == 0 ? 1 : size(&r));
		if (seed == 0) {
			make_linear(&c, &r, 0, 70000);
			c.lin[0].nterms = 0;
			c.grad = own(&c, fix_floats(&r, 70000, 1));
		}
		c.g.round_bf16 = false;
		/* Small logits: the loss is no difference of large numbers. */
		for (int64_t i = 0; i < n * c.g.k; i++)
			((float *)(uintptr_t)c.g.x)[i] *= 0.1f;
		*k = (struct pt_k_nll){ .rows = rows, .n = n, .c = c.g.k, .v = c.lin[0].n, .x = c.g.x,
			.type = PT_F32, .rng = c.g.rng, .acc_dx = c.g.acc_dx };
		k->scale = fix_once_in(&r, 2) ? 1 : 0.7f;
		k->cap = fix_once_in(&r, 3) ? 3 : 0;
		k->smoothing = fix_once_in(&r, 3) ? 0.1f : 0;
		c.row = own(&c, malloc(((size_t)rows + 1) * sizeof *c.row));
		c.label = own(&c, malloc(((size_t)rows + 1) * sizeof *c.label));
		w = own(&c, fix_floats(&r, rows, 1));
		for (int64_t i = 0; i < rows; i++) {
			c.row[i] = (int32_t)(i * n / rows);
			c.label[i] = (int32_t)fix_pick(&r, k->v);
		}
		k->row = c.row;
		k->label = c.label;
		k->weight = w;
		c.weights_first = fix_once_in(&r, 2);
		snprintf(c.text, sizeof c.text, "case %d: %d of %d rows, c %d, v %d, %d terms, scale %g cap %g smooth %g, "
			 "weights %d", (int)seed, (int)rows, (int)n, (int)k->c, (int)k->v, c.lin[0].nterms,
			 (double)k->scale, (double)k->cap, (double)k->smoothing, c.weights_first);
		compare(&cpus, run_nll, &c, c.text, 4 * TOL);
		free_linear(&c);
	}
	fix_cpus_close(&cpus);
}

static void run_dropout(struct pt_device *dev, const void *arg, struct outs *o)
{
	const struct linear_case *c = arg;
	struct pt_error err = PT_ERROR_INIT;
	struct pt_k_dropout k = { .x = c->g.x, .type = PT_F32, .n = c->g.rows, .c = c->g.k, .rows = c->g.rng, .site = 8,
		.p = 0.4f, .acc_y = c->g.acc_dx };

	k.y = out(o, "y", k.acc_y ? c->grad : NULL, k.n * k.c);
	assert_ok(dev->k->dropout(dev, &k, &err), &err);
}

static void dropout(void **state)
{
	struct fix_cpus cpus;

	(void)state;
	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct fix_rnd r = { pt_rng_mix(31, seed), 0 };
		struct linear_case c;

		make_group(&c, 2000 + seed, 1, size(&r), seed == 0 ? 1200 : size(&r));
		compare(&cpus, run_dropout, &c, c.text, TOL);
		free_linear(&c);
	}
	fix_cpus_close(&cpus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gemm),
		cmocka_unit_test(linear),
		cmocka_unit_test(linear_rounds),
		cmocka_unit_test(token_nll),
		cmocka_unit_test(dropout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
