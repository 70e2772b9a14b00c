/* SPDX-License-Identifier: MIT */
/*
 * tensor_tape.c - whole blocks: against finite differences, in recomputed and
 * nested scopes, with evaluation in between, accumulated; and the failures
 * that the tape must notice.
 */
#include "tensor_blocks.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

static void decoder_block(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct dec_arg d;
		struct fix f;

		dec_start(&f, devices[i], FIX_ARENA, &d);
		fix_check(&f, decoder, 1e-2, 3e-3);
		fix_release(&f);
	}
	(void)state;
}

static void t5_block(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct t5_arg a;
		struct fix f;

		t5_start(&f, devices[i], FIX_ARENA, &a);
		fix_check(&f, t5, 1e-2, 3e-3);
		fix_release(&f);
	}
	(void)state;
}

/* All devices give the gradients of the plain loops. */
static void devices_agree(void **state)
{
	float *want[2] = { NULL, NULL };

	for (int i = 0; devices[i]; i++) {
		for (int m = 0; m < 2; m++) {
			struct dec_arg d;
			struct t5_arg a;
			struct fix f;
			size_t at = 0;
			float *g;

			if (m)
				t5_start(&f, devices[i], FIX_ARENA, &a);
			else
				dec_start(&f, devices[i], FIX_ARENA, &d);
			g = fix_backward(&f, m ? t5 : decoder, PLAIN);
			if (!i)
				want[m] = g;
			for (int j = 0; j < f.params.n; j++) {
				size_t n = (size_t)pt_tensor_count(&f.params.item[j]->t);
				double off = 0, top = 0;

				for (size_t k = at; k < at + n; k++) {
					off = fmax(off, fabs((double)g[k] - want[m][k]));
					top = fmax(top, fabs((double)want[m][k]));
				}
				if (!(off <= 1e-5 * top))
					fail_msg("%s, %s: off by %g of %g", devices[i],
						 f.params.item[j]->name, off, top);
				at += n;
			}
			if (i)
				free(g);
			fix_release(&f);
		}
	}
	free(want[0]);
	free(want[1]);
	(void)state;
}

/* Scopes and saying what is done with change the memory, never the bits. */
static void same_bits(void **state)
{
	for (int i = 0; devices[i]; i++) {
		size_t peak[6];
		struct dec_arg d;
		float *want;
		struct fix f;
		size_t n;

		dec_start(&f, devices[i], FIX_ARENA, &d);
		n = (size_t)pt_params_count(&f.params) * sizeof *want;
		want = fix_backward(&f, decoder, PLAIN);
		for (int v = 0; v < 6; v++) {
			float *g;

			d.scopes = v % 3;
			d.done = v / 3;
			f.run.arena.peak = 0;
			g = fix_backward(&f, decoder, PLAIN);
			peak[v] = f.run.arena.peak;
			assert_memory_equal(g, want, n);
			free(g);
		}
		assert_true(peak[1] < peak[0]);
		assert_true(peak[3] <= peak[0]);
		/* Where kernels want more scratch than the plain loops do, that may be the peak of both. */
		assert_true(i ? peak[4] <= peak[1] : peak[4] < peak[1]);
		free(want);
		fix_release(&f);
	}
	(void)state;
}

/* With frozen weights done() frees more, and what trains nothing keeps nothing. */
static void frozen(void **state)
{
	/* Of tensors this small a GPU's scratch, in pieces of 256 bytes, is the most. */
	if (getenv("PEFT_TEST_DEVICE"))
		skip();
	for (int i = 0; devices[i]; i++) {
		struct dec_arg d;
		float *want, *g;
		struct fix f;
		size_t peak;

		dec_start(&f, devices[i], FIX_ARENA, &d);
		f.frozen = true;
		for (int j = 0; j < f.params.n; j++) {
			const char *s = f.params.item[j]->name;

			/* Only q and v of the last layer have terms that train. */
			f.params.item[j]->t.needs_grad = !strncmp(s, "1.q", 3) || !strcmp(s, "1.va");
		}
		want = fix_backward(&f, decoder, PLAIN);
		peak = f.run.arena.peak;
		d.done = true;
		f.run.arena.peak = 0;
		g = fix_backward(&f, decoder, PLAIN);
		assert_memory_equal(g, want, (size_t)pt_params_count(&f.params) * sizeof *g);
		/* Scratch of packed kernels, which is as large as these tensors, is in both. */
		assert_true(f.run.arena.peak * 10 < peak * (i ? 10 : 8));
		free(g);
		free(want);

		/* Nothing trains at all: no node. */
		for (int j = 0; j < f.params.n; j++)
			f.params.item[j]->t.needs_grad = false;
		pt_run_reset(&f.run);
		f.run.record = true;
		d.scopes = 1;
		assert_fails(pt_backward(&f.run, decoder(&f), NULL, &f.err), PT_NUMERIC, "nothing", &f.err);
		assert_int_equal(f.run.tape->n, 0);
		fix_release(&f);
	}
	(void)state;
}

struct eval_arg {
	struct fix *f;
	struct dec_arg *d;
	float *out;
};

/* Evaluation as the loop does it: no dropout, the result read inside the scope. */
static int evaluate(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
		    struct pt_tensor **out, int nout)
{
	struct eval_arg *e = arg;
	struct pt_tensor *y;

	(void)in, (void)nin, (void)out, (void)nout;
	e->d->train = false;
	y = decoder(e->f);
	e->d->train = true;
	assert_false(run->record);
	assert_false(y && y->needs_grad);
	return pt_tensor_read(run, y, e->out, &run->err);
}

static void evaluation_inside_training(void **state)
{
	for (int i = 0; devices[i]; i++) {
		float alone[4], inside[4], *want, *g, *seed = fix_seed(4);
		struct eval_arg e;
		struct dec_arg d;
		struct fix f;
		struct pt_tensor *y;
		size_t low;

		dec_start(&f, devices[i], FIX_ARENA, &d);
		d.scopes = 1;
		e = (struct eval_arg){ &f, &d, alone };
		assert_ok(pt_scope(&f.run, PT_SCOPE_NOGRAD, evaluate, &e, sizeof e, NULL, 0, NULL, NULL, 0),
			  &f.run.err);
		assert_int_equal(f.run.arena.low.n + f.run.arena.high.n, 0);
		want = fix_backward(&f, decoder, PLAIN);
		assert_ok(pt_params_zero_grad(&f.params, &f.err), &f.err);
		pt_run_reset(&f.run);
		f.run.record = true;
		y = decoder(&f);
		low = f.run.arena.low.extent;
		e.out = inside;
		assert_ok(pt_scope(&f.run, PT_SCOPE_NOGRAD, evaluate, &e, sizeof e, NULL, 0, NULL, NULL, 0),
			  &f.run.err);
		assert_int_equal(f.run.arena.low.extent, low);
		assert_true(f.run.record && f.run.train);
		assert_ok(pt_backward(&f.run, y, pt_run_upload(&f.run, seed, 16), &f.err), &f.err);
		assert_memory_equal(alone, inside, sizeof alone);
		g = calloc((size_t)pt_params_count(&f.params), sizeof *g);
		for (int j = 0, at = 0; j < f.params.n; j++) {
			float *part = fix_grad(&f, f.params.item[j]);

			memcpy(g + at, part, (size_t)pt_tensor_count(&f.params.item[j]->t) * sizeof *g);
			at += (int)pt_tensor_count(&f.params.item[j]->t);
			free(part);
		}
		assert_memory_equal(g, want, (size_t)pt_params_count(&f.params) * sizeof *g);
		free(g);
		free(want);
		free(seed);
		fix_release(&f);
	}
	(void)state;
}

/* Two backward calls, without and with reset between them, add up. */
static void accumulation(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct dec_arg d;
		struct fix f;
		float *once;
		int at = 0;

		dec_start(&f, devices[i], FIX_ARENA, &d);
		once = fix_backward(&f, decoder, PLAIN);	/* leaves its gradients: one call */
		for (int j = 0; j < 2; j++) {
			float *seed = fix_seed(4);
			struct pt_tensor *y;

			if (j)
				pt_run_reset(&f.run);
			y = decoder(&f);
			assert_ok(pt_backward(&f.run, y, pt_run_upload(&f.run, seed, 16), &f.err), &f.err);
			free(seed);
		}
		for (int j = 0; j < f.params.n; j++) {
			float *g = fix_grad(&f, f.params.item[j]);

			for (int k = 0; k < pt_tensor_count(&f.params.item[j]->t); k++, at++)
				if (fabsf(g[k] - 3 * once[at]) > 1e-5f * (1 + fabsf(g[k])))
					fail_msg("%s: %g is not three times %g", f.params.item[j]->name,
						 (double)g[k], (double)once[at]);
			free(g);
		}
		free(once);
		fix_release(&f);
	}
	(void)state;
}

/* Too little memory anywhere, forward, backward or in a re-run, is one clean failure. */
static void every_capacity(void **state)
{
	struct dec_arg d;
	struct fix f;
	size_t peak, failed = 0;
	float *want;

	dec_start(&f, "ref", FIX_ARENA, &d);
	d.scopes = 1;
	want = fix_backward(&f, decoder, PLAIN);
	peak = f.run.arena.peak;
	fix_release(&f);
	for (size_t cap = 256; cap <= peak; cap += 256 * 3) {
		struct pt_tensor *y;
		float *g;

		if (cap + 256 * 3 > peak)
			cap = peak;
		dec_start(&f, "ref", cap, &d);
		d.scopes = 1;
		if (cap == peak) {
			g = fix_backward(&f, decoder, PLAIN);
			assert_memory_equal(g, want, (size_t)pt_params_count(&f.params) * sizeof *g);
			free(g);
		} else {
			f.run.record = true;
			y = decoder(&f);
			if (y)
				assert_fails(pt_backward(&f.run, y, pt_run_upload(&f.run, want, 16), &f.err),
					     PT_DEVICE, "bytes wanted", &f.err);
			assert_int_equal(pt_run_check(&f.run, &f.err), PT_DEVICE);
			failed++;
			pt_run_reset(&f.run);
			assert_int_equal(pt_run_check(&f.run, &f.err), 0);
		}
		fix_release(&f);
	}
	assert_true(failed > 10);
	free(want);
	(void)state;
}

static float dropped_p = 0.5f;		/* of the term */

static int dropped(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
		   struct pt_tensor **out, int nout)
{
	struct pt_lowrank term = { par(*(struct fix **)arg, "a"), par(*(struct fix **)arg, "b"), NULL, 1, dropped_p, 7 };
	struct pt_linear lin = { .w = par(*(struct fix **)arg, "w"), .term = &term, .nterms = 1 };

	(void)nin, (void)nout;
	out[0] = pt_op_linear(run, pt_op_dropout(run, in[0], 0.5f, 3), &lin);
	return 0;
}

/* Dropout acts in training alone, the re-run remembers which it was, and scopes leave nothing behind. */
static void training_mode(void **state)
{
	static const int lens[] = { 3, 4 };

	for (int i = 0; devices[i]; i++) {
		struct pt_shape shape = { .ndim = 2, .dim = { 7, 5 }, .rows = NULL };
		float *y[4], *g[4], *seed = fix_seed(35);
		struct pt_tensor *x, *t;
		struct fix f, *arg = &f;
		size_t chunks;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_rows(&f, &f.rows, lens, 2, 0);
		fix_param(&f, "x", 7, 5, 1);
		fix_param(&f, "w", 5, 5, 0);
		fix_param(&f, "a", 2, 5, 1);
		fix_param(&f, "b", 5, 2, 1);
		for (int v = 0; v < 4; v++) {
			dropped_p = v < 3 ? 0.5f : 0;
			pt_run_reset(&f.run);
			assert_ok(pt_params_zero_grad(&f.params, &f.err), &f.err);
			f.run.record = true;
			f.run.train = v > 0;
			x = pt_op_scale(&f.run, par(&f, "x"), 1);
			x->rows = &f.rows;
			if (v != 2)
				dropped(&f.run, &arg, &x, 1, &t, 1);
			else
				pt_scope(&f.run, PT_SCOPE_RECOMPUTE, dropped, &arg, sizeof arg, &x, 1, &shape, &t, 1);
			y[v] = fix_read(&f, t);
			f.run.train = false;
			assert_ok(pt_backward(&f.run, t, pt_run_upload(&f.run, seed, 140), &f.err), &f.err);
			g[v] = fix_grad(&f, pt_params_find(&f.params, "x"));
		}
		assert_memory_not_equal(y[0], y[1], 35 * sizeof(float));
		assert_memory_equal(y[1], y[2], 35 * sizeof(float));
		assert_memory_equal(g[1], g[2], 35 * sizeof(float));
		assert_memory_not_equal(y[1], y[3], 35 * sizeof(float));
		for (int v = 0; v < 4; v++) {
			int zero = 0;

			for (int j = 0; j < 35; j++)
				zero += g[v][j] == 0;
			assert_true(v ? zero > 5 : zero == 0);
			free(y[v]);
			free(g[v]);
		}
		free(seed);

		f.run.record = false;
		chunks = f.run.pool.n;
		for (int j = 0; j < 1000; j++) {
			pt_run_reset(&f.run);
			for (int k = 0; k < 2; k++) {
				struct pt_pool_mark m;

				x = pt_op_scale(&f.run, par(&f, "x"), 1);
				x->rows = &f.rows;
				pt_scope(&f.run, PT_SCOPE_NOGRAD, dropped, &arg, sizeof arg, &x, 1, &shape, &t, 1);
				m = pt_pool_mark(&f.run.pool);
				pt_scope(&f.run, PT_SCOPE_NOGRAD, dropped, &arg, sizeof arg, &x, 1, &shape, &t, 1);
				assert_true(pt_pool_mark(&f.run.pool).used - m.used < 300);
			}
		}
		assert_int_equal(f.run.pool.n, chunks);
		fix_release(&f);
	}
	(void)state;
}

static int rotate_outside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			  struct pt_tensor **out, int nout)
{
	const struct dec_arg *d = ((struct fix *)*(void **)arg)->arg;

	(void)nin, (void)nout;
	out[0] = pt_op_rope(run, in[0], 2, 4, &d->rope);
	return 0;
}

static void mistakes(void **state)
{
	struct pt_norm n = { PT_NORM_RMS, NULL, NULL, 1e-5f };
	struct pt_shape shape = { .ndim = 2, .dim = { 11, 8 }, .rows = NULL };
	struct pt_tensor *x, *y;
	struct dec_arg d;
	struct fix f;
	void *arg = &f;

	dec_start(&f, "ref", FIX_ARENA, &d);
	fix_param(&f, "x", 11, 8, 1);
	f.run.record = true;

	/* In place: on what backward reads, on a leaf, on what comes from outside a scope. */
	x = act(&f, "x", &f.rows);
	pt_op_norm(&f.run, x, &n);
	assert_null(pt_op_rope(&f.run, x, 2, 4, &d.rope));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "backward reads", &f.err);
	pt_run_reset(&f.run);
	par(&f, "x")->rows = &f.rows;
	assert_null(pt_op_rope(&f.run, par(&f, "x"), 2, 4, &d.rope));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "no activation", &f.err);
	pt_run_reset(&f.run);
	x = act(&f, "x", &f.rows);
	assert_fails(pt_scope(&f.run, PT_SCOPE_RECOMPUTE, rotate_outside, &arg, sizeof arg, &x, 1, &shape, &y, 1),
		     PT_FAIL, "outside the scope", &f.run.err);
	assert_null(y);

	/* The first failure stays, and everything after it is quiet. */
	assert_null(pt_op_add(&f.run, x, x));
	assert_null(pt_op_act(&f.run, NULL, PT_ACT_GELU));
	assert_null(pt_run_upload(&f.run, "", 1));
	assert_fails(pt_backward(&f.run, NULL, NULL, &f.err), PT_FAIL, "outside the scope", &f.err);
	pt_run_reset(&f.run);
	assert_int_equal(f.run.depth, 0);

	/* Used after it was done with; done is ignored for what backward reads. */
	x = act(&f, "x", &f.rows);
	pt_op_norm(&f.run, x, &n);
	pt_tensor_done(&f.run, x);
	assert_non_null(pt_op_add(&f.run, x, x));
	x = act(&f, "x", &f.rows);
	pt_tensor_done(&f.run, x);
	assert_null(pt_op_add(&f.run, x, x));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "done with", &f.err);
	pt_run_reset(&f.run);

	/* Shapes. */
	x = act(&f, "x", &f.rows);
	assert_null(pt_op_linear(&f.run, x, &(struct pt_linear){ .w = lay(&f, 0, "down") }));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "0.down is [8,13]", &f.err);
	pt_run_reset(&f.run);
	assert_null(pt_op_add(&f.run, act(&f, "x", NULL), lay(&f, 0, "wk")));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "differ", &f.err);
	pt_run_reset(&f.run);
	f.run.train = true;
	assert_null(pt_op_dropout(&f.run, act(&f, "x", NULL), 0.5f, 1));
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "random keys", &f.err);

	/* More saved tensors than the node has room for. */
	pt_run_reset(&f.run);
	f.run.train = false;
	x = act(&f, "x", NULL);
	y = pt_op_add(&f.run, x, act(&f, "x", NULL));
	assert_non_null(y->node);
	for (int i = 0; i < y->node->max_saved; i++)
		pt_tape_save(&f.run, y->node, x);
	assert_ok(f.run.err.status, &f.run.err);
	pt_tape_save(&f.run, y->node, x);
	assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "saves more than", &f.err);

	/* A name twice. */
	assert_fails(pt_params_add(&f.params, "x", 1, shape.dim, NULL, &f.err), PT_FAIL, "twice", &f.err);
	fix_release(&f);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decoder_block),
		cmocka_unit_test(t5_block),
		cmocka_unit_test(devices_agree),
		cmocka_unit_test(same_bits),
		cmocka_unit_test(frozen),
		cmocka_unit_test(evaluation_inside_training),
		cmocka_unit_test(accumulation),
		cmocka_unit_test(training_mode),
		cmocka_unit_test(every_capacity),
		cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
