/* SPDX-License-Identifier: MIT */
/*
 * tensor_experts.c - mixtures of experts against finite differences, with
 * low-rank terms, dropout and the loss that keeps them in balance; exact plans.
 */
#include "tensor_fix.h"

#include "tensor/experts.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };
static const int lens[] = { 3, 0, 1, 5 };

#define N 11				/* rows: 9 of sequences, 2 of none */
#define C 6
#define I 7
#define E 5
#define K 2

/* Variants: 1 renormalised, 2 balance alone, 4 balance besides, 8 frozen router. */
static struct pt_tensor *mixture(struct fix *f)
{
	static const char *const wn[3] = { "gate", "up", "down" };
	struct pt_tensor *x = act(f, "x", &f->rows), *z = act(f, "z", &f->rows), *xs, *h[2], *y, *b;
	struct pt_linear lin[3][2 * E];
	struct pt_lowrank term[3][E];
	struct pt_route *r;

	f->run.train = true;
	for (int m = 0; m < 3; m++) {
		for (int e = 0; e < E; e++) {
			struct pt_linear *l = m == 2 ? &lin[2][e] : &lin[0][2 * e + m];
			char s[4][20];

			snprintf(s[0], 20, "%s.%d", wn[m], e);
			snprintf(s[1], 20, "%s.a.%d", wn[m], e);
			snprintf(s[2], 20, "%s.b.%d", wn[m], e);
			snprintf(s[3], 20, "%s.bias.%d", wn[m], e);
			term[m][e] = (struct pt_lowrank){ par(f, s[1]), par(f, s[2]), NULL, 0.8f, e % 2 ? 0.3f : 0,
				(uint64_t)(e * 3 + m) };
			*l = (struct pt_linear){ par(f, s[0]), par(f, s[3]), false, &term[m][e], e != 2, NULL };
		}
	}
	r = pt_op_route(&f->run, f->variant & 8 ? &f->leaf : z, K, f->variant & 1, f->variant & 6);
	if (!r)
		return NULL;
	/* Once with the statistics of two layers. */
	if (f->variant == 2)
		return pt_op_balance(&f->run, (struct pt_tensor *[]){ r->stat,
			pt_op_route(&f->run, pt_op_scale(&f->run, z, 0.5f), 1, true, true)->stat }, 2, 0.3f);
	if (f->variant & 2)
		return pt_op_balance(&f->run, &r->stat, 1, 0.3f);
	xs = pt_op_dispatch(&f->run, x, r);
	if (pt_op_experts(&f->run, xs, r, lin[0], 2, h))
		return NULL;
	y = pt_op_glu(&f->run, h[0], h[1], PT_ACT_SILU);
	if (pt_op_experts(&f->run, y, r, lin[2], 1, &y))
		return NULL;
	y = pt_op_combine(&f->run, y, r, &f->rows);
	pt_op_route_done(&f->run, r);
	if (!(f->variant & 4))
		return y;
	/* Both ways into the router at once. */
	b = pt_op_balance(&f->run, &r->stat, 1, 0.02f);
	return pt_op_linear(&f->run, y, &(struct pt_linear){ .w = par(f, "head"), .bias = b });
}

static void params(struct fix *f, const char *name, int64_t nout, int64_t k)
{
	for (int e = 0; e < E; e++) {
		char s[40];

		snprintf(s, sizeof s, "%s.%d", name, e);
		fix_param(f, s, nout, k, 0.5f);
		snprintf(s, sizeof s, "%s.a.%d", name, e);
		fix_param(f, s, 1 + e % 3, k, 1);
		snprintf(s, sizeof s, "%s.b.%d", name, e);
		fix_param(f, s, nout, 1 + e % 3, 1);
		snprintf(s, sizeof s, "%s.bias.%d", name, e);
		if (e == 3)
			fix_param(f, s, nout, 0, 0.5f);
	}
}

/* Logits whose order no small step changes; expert 4 is never chosen, 2 by every row. */
static void logits(struct fix *f, bool frozen)
{
	struct pt_param *p;
	float v[N * E];

	for (int i = 0; i < N; i++) {
		v[i * E + 4] = -1.5f;
		v[i * E + 2] = 1.1f + 0.03f * (float)i;
		for (int e = 0; e < 4; e++)
			if (e != 2)
				v[i * E + e] = 0.4f * (float)((i * 7 + e) % 4) - 0.6f;
	}
	if (frozen) {
		pt_tensor_init(&f->leaf, PT_F32, 2, (int64_t[]){ N, E }, fix_put(f, v, sizeof v));
		f->leaf.rows = &f->rows;
	}
	fix_param(f, "z", N, E, 1);
	p = pt_params_find(&f->params, "z");
	assert_ok(pt_param_write(&f->params, p, v, &f->err), &f->err);
}

static void start(struct fix *f, const char *dev, int variant)
{
	fix_init(f, dev, FIX_ARENA);
	fix_rows(f, &f->rows, lens, 4, 2);
	f->variant = variant;
	fix_param(f, "x", N, C, 1);
	logits(f, variant & 8);
	params(f, "gate", I, C);
	params(f, "up", I, C);
	params(f, "down", C, I);
	fix_param(f, "head", 1, C, 0.5f);
}

static void gradients(void **state)
{
	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 10; v++) {
			struct fix f;

			if (v == 3)
				continue;
			start(&f, devices[i], v);
			fix_check(&f, mixture, 3e-2, 4e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static struct pt_tensor *gated(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", &f->rows), *g = act(f, "g", &f->rows);

	/* Both read again, so that gradients are added to. */
	return pt_op_add(&f->run, pt_op_gate_rows(&f->run, x, g), pt_op_scale(&f->run, x, 0.3f));
}

static void gate_rows(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_rows(&f, &f.rows, lens, 4, 2);
		fix_param(&f, "x", N, 13, 1);
		fix_param(&f, "g", N, 1, 2);
		fix_check(&f, gated, 3e-2, 4e-4);
		fix_release(&f);
	}
	(void)state;
}

/* The Switch loss of two layers from the sum of their statistics, against the formula. */
static void balance(void **state)
{
	struct fix f;
	struct pt_route *r[2];
	struct pt_tensor *z[2], *b;
	double p[E] = { 0 }, count[E] = { 0 }, want = 0;
	float *v, got;

	fix_init(&f, "cpu", FIX_ARENA);
	fix_rows(&f, &f.rows, lens, 4, 2);
	fix_param(&f, "z0", N, E, 2);
	fix_param(&f, "z1", N, E, 2);
	for (int l = 0; l < 2; l++) {
		z[l] = act(&f, l ? "z1" : "z0", &f.rows);
		r[l] = pt_op_route(&f.run, z[l], K, true, true);
		v = fix_read(&f, z[l]);
		for (int i = 0; i < 9; i++) {	/* the two rows of no sequence do not count */
			double sum = 0;

			for (int e = 0; e < E; e++)
				sum += exp((double)v[i * E + e]);
			for (int e = 0; e < E; e++) {
				int before = 0;

				for (int o = 0; o < E; o++)
					before += v[i * E + o] > v[i * E + e];
				p[e] += exp((double)v[i * E + e]) / sum / 18;
				count[e] += (before < K) / 18.0;
			}
		}
		free(v);
	}
	b = pt_op_balance(&f.run, (struct pt_tensor *[]){ r[0]->stat, r[1]->stat }, 2, E / (18.0f * 18.0f));
	for (int e = 0; e < E; e++)
		want += E * p[e] * count[e];
	v = fix_read(&f, b);
	got = v[0];
	free(v);
	if (fabs((double)got - want) > 1e-6 * want)
		fail_msg("%.9g, not %.9g", (double)got, want);
	fix_release(&f);
	(void)state;
}

static size_t peak(const char *dev, size_t arena, int variant, bool record, int *status)
{
	static const float seed[N * C] = { 0 };
	struct pt_tensor *y;
	struct fix f;
	size_t n;

	start(&f, dev, variant);
	pt_run_release(&f.run);
	assert_ok(pt_run_init(&f.run, f.dev, arena, &f.err), &f.err);
	f.run.record = record;
	y = mixture(&f);
	*status = pt_run_check(&f.run, &f.err);
	if (!*status && record)
		*status = pt_backward(&f.run, y, pt_run_upload(&f.run, seed, (size_t)pt_tensor_count(y) * 4), &f.err);
	n = f.run.arena.peak;
	fix_release(&f);
	return n;
}

/* Whatever the routing is, the plan knows what it takes. */
static void plan(void **state)
{
	for (fix_threads = 1; fix_threads <= 4; fix_threads *= 2) {
		for (int v = 0; v < 10; v++) {
			int status;
			size_t want = peak("plan", 0, v & 7, v < 8, &status);

			assert_int_equal(status, 0);
			assert_int_equal(peak("cpu", want, v & 7, v < 8, &status), want);
			assert_int_equal(status, 0);
			peak("cpu", want - 256, v & 7, v < 8, &status);
			assert_int_equal(status, PT_DEVICE);
		}
	}
	fix_threads = 1;
	(void)state;
}

/* Misuse is an error with a reason, not a crash. */
static void misuse(void **state)
{
	struct fix f;
	struct pt_route *r;

	(void)state;
	start(&f, "ref", 0);
	assert_null(pt_op_route(&f.run, act(&f, "z", &f.rows), E + 1, false, false));
	assert_non_null(strstr(f.run.err.msg, "11 rows to 6 of 5 experts"));
	pt_run_reset(&f.run);
	r = pt_op_route(&f.run, act(&f, "z", &f.rows), 2, false, false);
	assert_null(pt_op_combine(&f.run, act(&f, "x", &f.rows), r, NULL));
	assert_non_null(strstr(f.run.err.msg, "combine: 11 rows, the route has 22"));
	pt_run_reset(&f.run);
	assert_null(pt_op_dispatch(&f.run, act(&f, "x", &f.rows), NULL));
	assert_int_equal(f.run.err.status, PT_FAIL);
	fix_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients),
		cmocka_unit_test(gate_rows),
		cmocka_unit_test(balance),
		cmocka_unit_test(plan),
		cmocka_unit_test(misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
