/* SPDX-License-Identifier: MIT */
/*
 * tensor_ops.c - every operation against finite differences, at odd sizes,
 * with empty sequences and sequences of one, alone and inside a recomputed
 * scope.
 */
#include "tensor_fix.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

static const int lens[] = { 3, 0, 1, 5 };
#define N 11				/* rows: 9 of sequences, 2 of none */

static void start(struct fix *f, const char *dev)
{
	fix_init(f, dev, FIX_ARENA);
	fix_rows(f, &f->rows, lens, 4, 2);
}

/* Two linears that share x: one with two terms and bias, dropout in the first; one frozen and transposed. */
static struct pt_tensor *linear(struct fix *f)
{
	struct pt_tensor *frozen = par(f, "w2");
	struct pt_lowrank term[2] = {
		{ par(f, "a1"), par(f, "b1"), NULL, 0.7f, 0.3f, 11 },
		{ par(f, "a2"), par(f, "b2"), par(f, "tb"), -1.3f, 0, 12 },
	};
	struct pt_linear lin[3] = {
		{ par(f, "w1"), par(f, "bias"), false, term, 2, NULL },
		{ frozen, NULL, true, NULL, 0, NULL },
		{ par(f, "w3"), NULL, false, NULL, 0, NULL },		/* output unused */
	};
	struct pt_tensor *y[3], *x = act(f, "x", &f->rows);

	f->run.train = true;
	if (pt_op_linear_group(&f->run, x, lin, 3, y))
		return NULL;
	return pt_op_add(&f->run, y[0], y[1]);
}

static void linear_group(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct fix f;

		start(&f, devices[i]);
		fix_param(&f, "x", N, 7, 1);
		fix_param(&f, "w1", 5, 7, 0.5f);
		fix_param(&f, "w2", 7, 5, 0.5f);
		fix_param(&f, "w3", 3, 7, 0.5f);
		fix_param(&f, "bias", 5, 0, 1);
		fix_param(&f, "a1", 3, 7, 0.5f);
		fix_param(&f, "b1", 5, 3, 0.5f);
		fix_param(&f, "a2", 1, 7, 0.5f);
		fix_param(&f, "b2", 5, 1, 0.5f);
		fix_param(&f, "tb", 5, 0, 1);
		fix_check(&f, linear, 1e-2, 3e-4);
		fix_release(&f);
	}
	(void)state;
}

/* A gated unit of two linears; its inputs are used beside it in odd variants, nothing of the gate trains from 2 on. */
static struct pt_tensor *unit(struct fix *f)
{
	struct pt_lowrank term = { par(f, "a"), par(f, "b"), NULL, 0.7f, 0, 0 };
	struct pt_linear lin[2] = {
		{ par(f, "w1"), NULL, false, NULL, 0, NULL },
		{ par(f, "w2"), NULL, false, &term, 1, NULL },
	};
	struct pt_tensor *y[2], *x = f->variant < 2 ? act(f, "x", &f->rows) : &f->leaf, *z;

	if (f->variant >= 2)
		lin[0].w = (struct pt_tensor *)f->arg;
	z = pt_op_linear_glu(&f->run, x, lin, PT_ACT_SILU, y);
	return z && f->variant % 2 ? pt_op_add(&f->run, z, pt_op_add(&f->run, y[0], pt_op_scale(&f->run, y[1], 0.3f))) : z;
}

static void gated_unit(void **state)
{
	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 4; v++) {
			float some[N * 7];
			struct pt_tensor w;
			struct fix f;

			start(&f, devices[i]);
			f.variant = v;
			f.arg = &w;
			pt_rng_normal(5, some, N * 7, 0, 0.8f);
			pt_tensor_init(&f.leaf, PT_F32, 2, (int64_t[]){ N, 7 }, fix_put(&f, some, sizeof some));
			pt_tensor_init(&w, PT_F32, 2, (int64_t[]){ 5, 7 }, f.leaf.data);
			f.leaf.rows = &f.rows;
			if (v < 2) {
				fix_param(&f, "x", N, 7, 1);
				fix_param(&f, "w1", 5, 7, 0.5f);
			}
			fix_param(&f, "w2", 5, 7, 0.5f);
			fix_param(&f, "a", 3, 7, 0.5f);
			fix_param(&f, "b", 5, 3, 0.5f);
			fix_check(&f, unit, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static struct pt_tensor *embed(struct fix *f)
{
	bool t = f->variant & 1;
	struct pt_tensor *y = pt_op_embed(&f->run, par(f, t ? "wt" : "w"), t, f->arg, &f->rows, 1.5f, -1);

	f->run.train = true;
	y = pt_op_dropout(&f->run, y, 0.4f, 3);
	f->made[f->nmade++] = y;
	return pt_op_mean(&f->run, pt_op_affine(&f->run, y, par(f, "s"), par(f, "b")), &f->rows);
}

static void embed_mean_affine_dropout(void **state)
{
	static const int32_t ids[N] = { 4, 0, 4, 6, 1, 1, 2, 3, 4, 0, 0 };

	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 2; v++) {
			struct fix f;

			start(&f, devices[i]);
			f.variant = v;
			f.arg = fix_put(&f, ids, sizeof ids);
			fix_param(&f, v ? "wt" : "w", v ? 5 : 7, v ? 7 : 5, 1);
			fix_param(&f, "s", 5, 0, 1);
			fix_param(&f, "b", 5, 0, 1);
			fix_check(&f, embed, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static struct pt_tensor *norms(struct fix *f)
{
	struct pt_norm n = { (enum pt_norm_kind)(f->variant % 3), par(f, "w"), par(f, "b"), 1e-5f };
	struct pt_tensor *x = act(f, "x", &f->rows), *d = act(f, "d", &f->rows), *sum, *y;

	if (f->variant / 3 == 0)
		return pt_op_norm(&f->run, x, &n);
	y = pt_op_add_norm(&f->run, x, d, &n, &sum);
	if (f->variant / 3 == 2)
		return y;			/* the sum itself is not used */
	return pt_op_add(&f->run, pt_op_scale(&f->run, sum, 0.3f), y);
}

static void norm_kinds(void **state)
{
	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 9; v++) {
			struct fix f;

			start(&f, devices[i]);
			f.variant = v;
			fix_param(&f, "x", N, 7, 1);
			fix_param(&f, "d", N, 7, 1);
			fix_param(&f, "w", 7, 0, 1);
			if (v % 3 == PT_NORM_LAYER)
				fix_param(&f, "b", 7, 0, 1);
			fix_check(&f, norms, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static struct pt_tensor *acts(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", NULL), *u = act(f, "u", NULL);
	enum pt_act a = (enum pt_act)(f->variant / 2);

	return f->variant % 2 ? pt_op_glu(&f->run, x, u, a) : pt_op_act(&f->run, x, a);
}

static void activations(void **state)
{
	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v <= 2 * PT_ACT_SIGMOID + 1; v++) {
			struct fix f;
			struct pt_tensor *x;
			float *h;

			fix_init(&f, devices[i], FIX_ARENA);
			f.variant = v;
			x = fix_param(&f, "x", 3, 13, 1.5f);
			fix_param(&f, "u", 3, 13, 1);
			/* Away from the kinks. */
			h = fix_read(&f, x);
			for (int j = 0; j < 39; j++)
				h[j] += h[j] > 0 ? 0.1f : -0.1f;
			assert_ok(pt_param_write(&f.params, pt_params_find(&f.params, "x"), h, &f.err), &f.err);
			free(h);
			fix_check(&f, acts, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static struct pt_tensor *rope(struct fix *f)
{
	const float *const *table = f->arg;
	struct pt_rope r = { table[0], table[1], 8, 4, NULL };
	struct pt_tensor *x = act(f, "x", &f->rows), *y;

	/* Read before the rotation by a node that keeps nothing, and after it by two. */
	y = pt_op_scale(&f->run, x, 0.5f);
	if (!pt_op_rope(&f->run, x, 2, 5, &r))
		return NULL;
	return pt_op_add(&f->run, pt_op_add(&f->run, y, x), pt_op_act(&f->run, x, PT_ACT_TANH));
}

static void rotary(void **state)
{
	float cs[16], sn[16];

	for (int i = 0; i < 16; i++) {
		cs[i] = cosf((float)i * 0.7f);
		sn[i] = sinf((float)i * 0.7f);
	}
	for (int i = 0; devices[i]; i++) {
		const float *table[2];
		struct fix f;

		start(&f, devices[i]);
		table[0] = fix_put(&f, cs, sizeof cs);
		table[1] = fix_put(&f, sn, sizeof sn);
		f.arg = table;
		fix_param(&f, "x", N, 10, 1);
		fix_check(&f, rope, 1e-2, 3e-4);
		fix_release(&f);
	}
	(void)state;
}

struct attn_arg {
	struct pt_attn a;
	bool cross, prefix;
	struct pt_prefix p;
};

static struct pt_tensor *attention(struct fix *f)
{
	const struct attn_arg *arg = f->arg;
	struct pt_attn a = arg->a;
	struct pt_prefix p = arg->p;
	struct pt_tensor *q = act(f, "q", &f->rows);
	struct pt_tensor *k = act(f, "k", arg->cross ? &f->rows_k : &f->rows);
	struct pt_tensor *v = act(f, "v", arg->cross ? &f->rows_k : &f->rows);

	f->run.train = true;
	a.bias_table = a.bias >= PT_BIAS_SLOPES ? &f->leaf : par(f, "table");
	if (arg->prefix) {
		p.k = par(f, "pk");
		p.v = act(f, "pv", NULL);	/* one a leaf, one an activation */
		a.prefix = &p;
	}
	return pt_op_attn(&f->run, q, k, v, &a);
}

static void attention_forms(void **state)
{
	static const int lens_k[4] = { 4, 2, 0, 7 };	/* the third has no keys */
	static const int32_t cu_p[4] = { 0, 2, 2, 5 }, index[4] = { 2, 0, -1, 1 };
	static const struct attn_arg form[] = {
		{ .a = { 4, 4, 3, .scale = 0.6f } },
		{ .a = { 4, 2, 3, .causal = true, .scale = 0.6f } },
		{ .a = { 3, 1, 4, .causal = true, .window = 2, .scale = 0.5f, .softcap = 1.5f } },
		{ .a = { 2, 2, 3, .window = 2, .scale = 0.6f, .dropout = 0.3f, .site = 4 } },
		{ .a = { 2, 2, 3, .scale = 1, .bias = PT_BIAS_BUCKETS, .buckets = 8, .max_distance = 4,
			 .bidirectional = true } },
		{ .a = { 2, 1, 3, .causal = true, .scale = 1, .bias = PT_BIAS_BUCKETS, .buckets = 4,
			 .max_distance = 5, .dropout = 0.2f, .site = 9 }, .prefix = true },
		{ .a = { 2, 1, 3, .causal = true, .scale = 1, .bias = PT_BIAS_SLOPES } },
		{ .a = { 2, 1, 3, .causal = true, .scale = 0.6f, .bias = PT_BIAS_KEY_SLOPES } },
		{ .a = { 2, 2, 3, .scale = 0.7f }, .cross = true },
		{ .a = { 4, 2, 3, .causal = true, .scale = 0.7f, .softcap = 2 }, .cross = true, .prefix = true },
	};

	for (int i = 0; devices[i]; i++) {
		for (size_t v = 0; v < sizeof form / sizeof *form; v++) {
			struct attn_arg arg = form[v];
			int64_t c = arg.a.heads * arg.a.head_dim, ck = arg.a.kv_heads * arg.a.head_dim;
			struct fix f;

			start(&f, devices[i]);
			fix_rows(&f, &f.rows_k, lens_k, 4, 0);
			fix_param(&f, "q", N, c, 1);
			fix_param(&f, "k", arg.cross ? 13 : N, ck, 1);
			fix_param(&f, "v", arg.cross ? 13 : N, ck, 1);
			if (arg.a.bias == PT_BIAS_BUCKETS)
				fix_param(&f, "table", arg.a.buckets, arg.a.heads, 1);
			if (arg.a.bias >= PT_BIAS_SLOPES)
				pt_tensor_init(&f.leaf, PT_F32, 1, (int64_t[]){ 2 },
					       fix_put(&f, (float[]){ 0.5f, 0.25f }, 8));
			if (arg.prefix) {
				fix_param(&f, "pk", 5, ck, 1);
				fix_param(&f, "pv", 5, ck, 1);
				arg.p = (struct pt_prefix){ .n = 3, .host_cu = cu_p, .host_index = index,
					.cu = fix_put(&f, cu_p, sizeof cu_p),
					.index = fix_put(&f, index, sizeof index) };
			}
			f.arg = &arg;
			fix_check(&f, attention, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

struct nll_arg {
	const int32_t *row, *label;
	const float *weight;
	float cap, smoothing;
	int64_t rows;
	bool transposed;
};

static struct pt_tensor *nll(struct fix *f)
{
	const struct nll_arg *arg = f->arg;
	struct pt_lowrank term = { par(f, "a"), par(f, "b"), NULL, 0.5f, 0.25f, 21 };
	struct pt_nll n = { .head = { par(f, "w"), par(f, "bias"), arg->transposed, &term, 1 },
		.scale = 0.8f, .cap = arg->cap, .smoothing = arg->smoothing, .rows = arg->rows,
		.row = arg->row, .label = arg->label };

	f->run.train = true;
	return pt_op_token_nll(&f->run, act(f, "x", &f->rows), &n);
}

static void token_nll(void **state)
{
	static const int32_t row[5] = { 0, 2, 3, 7, 8 }, label[5] = { 8, 0, 3, 3, 5 };
	static const struct nll_arg form[] = {
		{ .rows = 5 }, { .rows = 5, .cap = 1.5f, .smoothing = 0.2f }, { .rows = 1, .transposed = true },
	};

	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 3; v++) {
			struct nll_arg arg = form[v];
			struct fix f;

			start(&f, devices[i]);
			arg.row = fix_put(&f, row, sizeof row);
			arg.label = fix_put(&f, label, sizeof label);
			f.arg = &arg;
			fix_param(&f, "x", N, 5, 1);
			fix_param(&f, "w", arg.transposed ? 5 : 9, arg.transposed ? 9 : 5, 0.7f);
			fix_param(&f, "bias", 9, 0, 1);
			fix_param(&f, "a", 2, 5, 0.5f);
			fix_param(&f, "b", 9, 2, 0.5f);
			fix_check(&f, nll, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

static void near(const float *a, const float *b, int n)
{
	for (int i = 0; i < n; i++)
		if (!(fabsf(a[i] - b[i]) <= 1e-6f * (1 + fabsf(a[i]))))
			fail_msg("element %d: %g is not %g", i, (double)a[i], (double)b[i]);
}

/* Weights in the forward pass give the gradients that seeds in the backward pass give. */
static void token_nll_forward_written(void **state)
{
	static const int32_t row[3] = { 0, 2, 7 }, label[3] = { 8, 0, 3 };
	float *seed = fix_seed(3);

	for (int i = 0; devices[i]; i++) {
		for (int twice = 0; twice < 2; twice++) {
			struct pt_nll n = { .scale = 1, .rows = 3 };
			struct pt_tensor *x, *y;
			float *g[2][2];
			struct fix f;

			start(&f, devices[i]);
			fix_param(&f, "x", N, 5, 1);
			fix_param(&f, "w", 9, 5, 0.7f);
			n.row = fix_put(&f, row, sizeof row);
			n.label = fix_put(&f, label, sizeof label);
			n.head.w = par(&f, "w");
			f.run.record = true;
			for (int fw = 0; fw < 2; fw++) {
				const float *w;

				pt_run_reset(&f.run);
				assert_ok(pt_params_zero_grad(&f.params, &f.err), &f.err);
				w = pt_run_upload(&f.run, seed, 12);
				x = act(&f, "x", &f.rows);
				if (twice)	/* another consumer of x, met first by backward or last */
					x = pt_op_add(&f.run, x, pt_op_scale(&f.run, x, 0.5f));
				n.weight = fw ? w : NULL;
				y = pt_op_token_nll(&f.run, x, &n);
				pt_tensor_done(&f.run, x);
				assert_int_equal(x->data == NULL, fw);	/* x need not stay */
				assert_ok(pt_backward(&f.run, y, fw ? NULL : w, &f.err), &f.err);
				assert_int_equal(f.run.arena.low.n, 0);
				g[fw][0] = fix_grad(&f, f.params.item[0]);
				g[fw][1] = fix_grad(&f, f.params.item[1]);
			}
			near(g[0][0], g[1][0], N * 5);
			near(g[0][1], g[1][1], 9 * 5);
			for (int j = 0; j < 4; j++)
				free(g[j / 2][j % 2]);
			/* Other seeds than ones cannot be honoured. */
			pt_run_reset(&f.run);
			n.weight = pt_run_upload(&f.run, seed, 12);
			y = pt_op_token_nll(&f.run, act(&f, "x", &f.rows), &n);
			assert_fails(pt_backward(&f.run, y, n.weight, &f.err), PT_FAIL, "weights", &f.err);
			fix_release(&f);
		}
	}
	free(seed);
	(void)state;
}

static struct pt_tensor *class_loss(struct fix *f)
{
	const void *const *arg = f->arg;
	struct pt_class c = { (enum pt_class_loss)(f->variant % 3), arg[0], arg[1],
			      f->variant >= 3 ? 0.1f : 0 };

	return pt_op_class_loss(&f->run, act(f, "z", NULL), &c);
}

static void class_losses(void **state)
{
	static const int32_t cls[4] = { 2, 0, -100, 1 };
	static const float target[12] = { 1, 0, 1, 0, 0, 1, 0.5f, 1, 0, 1, 1, 1 };

	for (int i = 0; devices[i]; i++) {
		for (int v = 0; v < 4; v++) {
			const void *arg[2];
			struct fix f;

			fix_init(&f, devices[i], FIX_ARENA);
			f.variant = v;
			arg[0] = fix_put(&f, cls, sizeof cls);
			arg[1] = fix_put(&f, target, sizeof target);
			f.arg = arg;
			fix_param(&f, "z", 4, 3, 1);
			fix_check(&f, class_loss, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
	(void)state;
}

/* No rows at all: nothing is computed, nothing fails. */
static struct pt_tensor *empty(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", &f->rows), *k, *v, *y;
	struct pt_lowrank term = { par(f, "a"), par(f, "b"), NULL, 1, 0.1f, 0 };
	struct pt_linear lin = { par(f, "w"), NULL, false, &term, 1, NULL };
	struct pt_attn a = { 1, 1, 4, .causal = true, .scale = 1 };
	struct pt_norm n = { PT_NORM_RMS, NULL, NULL, 1e-5f };

	f->run.train = true;
	y = pt_op_linear(&f->run, x, &lin);
	k = pt_op_norm(&f->run, y, &n);
	v = pt_op_act(&f->run, k, PT_ACT_GELU);
	return pt_op_mean(&f->run, pt_op_attn(&f->run, y, k, v, &a), &f->rows);
}

static void no_rows(void **state)
{
	static const int none[2] = { 0, 0 };

	for (int i = 0; devices[i]; i++) {
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_rows(&f, &f.rows, none, 2, 0);
		fix_param(&f, "x", 0, 4, 1);
		fix_param(&f, "w", 4, 4, 1);
		fix_param(&f, "a", 2, 4, 1);
		fix_param(&f, "b", 4, 2, 1);
		fix_check(&f, empty, 1e-2, 3e-4);
		fix_release(&f);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(linear_group),
		cmocka_unit_test(gated_unit),
		cmocka_unit_test(embed_mean_affine_dropout),
		cmocka_unit_test(norm_kinds),
		cmocka_unit_test(activations),
		cmocka_unit_test(rotary),
		cmocka_unit_test(attention_forms),
		cmocka_unit_test(token_nll),
		cmocka_unit_test(token_nll_forward_written),
		cmocka_unit_test(class_losses),
		cmocka_unit_test(no_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
