/* SPDX-License-Identifier: MIT */
/*
 * tensor_param.c - operations on parameters against finite differences, and
 * in f32 while activations are something else.
 */
#include "tensor_fix.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

static struct pt_tensor *orthogonality(struct fix *f)
{
	struct pt_tensor *rows = pt_op_orthogonality(&f->run, par(f, "a"), false);
	struct pt_tensor *cols = pt_op_orthogonality(&f->run, par(f, "b"), true);

	return pt_op_add(&f->run, pt_op_scale(&f->run, rows, 0.7f), cols);
}

static void test_orthogonality(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_param(&f, "a", 3, 7, 0.5f);
		fix_param(&f, "b", 5, 4, 0.5f);
		fix_check(&f, orthogonality, 1e-2, 3e-4);
		fix_release(&f);
	}
}

static struct pt_tensor *kron(struct fix *f)
{
	return pt_op_kron(&f->run, par(f, "a"), par(f, "b"));
}

static struct pt_tensor *transpose(struct fix *f)
{
	return pt_op_transpose(&f->run, par(f, "a"));
}

static void test_transpose(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct pt_tensor *y;
		float *v, *a;
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_param(&f, "a", 3, 5, 0.5f);
		fix_check(&f, transpose, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = transpose(&f);
		assert_int_equal(y->shape[0], 5);
		v = fix_read(&f, y);
		a = fix_read(&f, par(&f, "a"));
		for (int k = 0; k < 15; k++)
			assert_true(v[k] == a[k % 3 * 5 + k / 3]);
		free(v);
		free(a);
		fix_release(&f);
	}
}

static void test_kron(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct pt_tensor *y;
		float *v, *a, *b;
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_param(&f, "a", 2, 3, 0.5f);
		fix_param(&f, "b", 4, 5, 0.5f);
		fix_check(&f, kron, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = kron(&f);
		assert_int_equal(y->shape[0], 8);
		assert_int_equal(y->shape[1], 15);
		v = fix_read(&f, y);
		a = fix_read(&f, par(&f, "a"));
		b = fix_read(&f, par(&f, "b"));
		for (int k = 0; k < 8 * 15; k++)
			assert_true(fabsf(v[k] - a[k / 15 / 4 * 3 + k % 15 / 5] * b[k / 15 % 4 * 5 + k % 5]) < 1e-6f);
		free(v);
		free(a);
		free(b);
		fix_release(&f);
	}
}

/* Of activations and of stacked blocks; two blocks, or one for all. */
static struct pt_tensor *blocks(struct fix *f)
{
	struct pt_tensor *m = par(f, "m"), *square = pt_op_blocks(&f->run, m, m, 3, true);

	return pt_op_blocks(&f->run, pt_op_blocks(&f->run, par(f, "x"), m, 3, false), square, 3, false);
}

static void test_blocks(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		for (int n = 1; n <= 2; n++) {
			struct fix f;

			fix_init(&f, devices[i], FIX_ARENA);
			fix_param(&f, "x", 4, 6, 0.5f);
			fix_param(&f, "m", n, 9, 0.5f);
			fix_check(&f, blocks, 1e-2, 3e-4);
			fix_release(&f);
		}
	}
}

static struct pt_tensor *skew(struct fix *f)
{
	return pt_op_skew(&f->run, par(f, "v"), 4, f->arg);
}

/* Each element above the diagonal, and less it below; zero on it. */
static void test_skew(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		int32_t *places;
		float *y, *v;
		struct fix f;

		fix_init(&f, devices[i], FIX_ARENA);
		places = pt_skew_places(3, 4, &f.err);
		assert_non_null(places);
		f.arg = fix_put(&f, places, 2 * 3 * 6 * sizeof *places);
		free(places);
		fix_param(&f, "v", 3, 6, 0.5f);
		fix_check(&f, skew, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = fix_read(&f, skew(&f));
		v = fix_read(&f, par(&f, "v"));
		for (int m = 0, k = 0; m < 3; m++) {
			for (int r = 0; r < 4; r++) {
				assert_true(y[16 * m + 5 * r] == 0);
				for (int c = r + 1; c < 4; c++, k++)
					assert_true(y[16 * m + 4 * r + c] == v[k] && y[16 * m + 4 * c + r] == -v[k]);
			}
		}
		free(y);
		free(v);
		assert_null(pt_skew_places(2, 1 << 15, &f.err));
		fix_release(&f);
	}
}

/* Orthonormal rows are at distance 0, where the gradient is none; a zero matrix at sqrt(rows). */
static void test_orthonormal(void **state)
{
	static const float rotation[6] = { 0.6f, 0.8f, 0, 0, 0, 1 }, zero[6];

	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct fix f;
		struct pt_param *p;
		struct pt_tensor *y;
		float v, *g;

		fix_init(&f, devices[i], FIX_ARENA);
		fix_param(&f, "a", 2, 3, 1);
		p = f.params.item[0];
		for (int k = 0; k < 2; k++) {
			assert_ok(pt_param_write(&f.params, p, k ? zero : rotation, &f.err), &f.err);
			assert_ok(pt_params_zero_grad(&f.params, &f.err), &f.err);
			pt_run_reset(&f.run);
			f.run.record = true;
			y = pt_op_orthogonality(&f.run, &p->t, false);
			assert_ok(pt_tensor_read(&f.run, y, &v, &f.err), &f.err);
			assert_true(fabsf(v - (k ? sqrtf(2) : 0)) < 1e-6f);
			assert_ok(pt_backward(&f.run, y, NULL, &f.err), &f.err);
			g = fix_grad(&f, p);
			for (int j = 0; j < 6; j++)
				assert_true(fabsf(g[j]) < 3);
			free(g);
		}
		fix_release(&f);
	}
}

/* While the two stand around it, operations take and make f32. */
static void test_exact(void **state)
{
	struct pt_compute was;
	struct pt_tensor *y;
	struct fix f;

	(void)state;
	fix_init(&f, "cpu", FIX_ARENA);
	fix_param(&f, "a", 2, 3, 1);
	f.run.act_type = PT_BF16;
	f.run.round_bf16 = true;
	was = pt_run_exact(&f.run);
	y = pt_op_scale(&f.run, par(&f, "a"), 2);
	assert_non_null(y);
	assert_int_equal(y->type, PT_F32);
	assert_false(f.run.round_bf16);
	pt_run_resume(&f.run, was);
	assert_true(f.run.round_bf16);
	assert_null(pt_op_scale(&f.run, par(&f, "a"), 2));
	pt_run_compute(&f.run, false);
	fix_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orthogonality), cmocka_unit_test(test_kron), cmocka_unit_test(test_transpose), cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_skew), cmocka_unit_test(test_orthonormal), cmocka_unit_test(test_exact),
	};

	return cmocka_run_group_tests_name("tensor_param", tests, NULL, NULL);
}
