/* SPDX-License-Identifier: MIT */
/*
 * tensor_select.c - operations that pick rows and pieces of features, against
 * finite differences and by value.
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

static struct pt_tensor *gathered(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", &f->rows);

	return pt_op_add(&f->run, pt_op_gather(&f->run, x, f->arg, 4, NULL),
			 pt_op_gather(&f->run, x, (const int32_t *)f->arg + 4, 4, NULL));
}

static void gather(void **state)
{
	static const int32_t idx[8] = { 8, 0, 3, 4, 4, 10, 2, 1 };

	for (int i = 0; devices[i]; i++) {
		struct fix f;

		start(&f, devices[i]);
		f.arg = fix_put(&f, idx, sizeof idx);
		fix_param(&f, "x", N, 3, 1);
		fix_check(&f, gathered, 1e-2, 3e-4);
		fix_release(&f);
	}
	(void)state;
}

/* Of 5 pieces of 3 features the last, then two that change places. */
static struct pt_tensor *taken(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", &f->rows), *y[2];

	for (int i = 0; i < 2; i++)
		y[i] = pt_op_pieces(&f->run, x, 5, (const int32_t *)f->arg + i * 2 * N, 2);
	return pt_op_add(&f->run, y[0], pt_op_scale(&f->run, y[1], -0.7f));
}

static void pieces(void **state)
{
	int32_t idx[4 * N];

	for (int r = 0; r < N; r++) {
		idx[2 * r] = 5 * r + 4;
		idx[2 * r + 1] = 5 * r;
		idx[2 * N + 2 * r] = 5 * r + 2;
		idx[2 * N + 2 * r + 1] = 5 * r + 1;
	}
	for (int i = 0; devices[i]; i++) {
		struct pt_tensor *x, *y;
		float *a, *b;
		struct fix f;

		start(&f, devices[i]);
		fix_param(&f, "x", N, 15, 1);
		x = par(&f, "x");
		f.arg = fix_put(&f, idx, sizeof idx);
		fix_check(&f, taken, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = pt_op_pieces(&f.run, x, 5, pt_pieces_index(&f.run, N, 5, (int[]){ 3, 1, 2 }, 3), 3);
		assert_ok(pt_run_check(&f.run, &f.err), &f.err);
		assert_int_equal(y->shape[1], 9);
		a = fix_read(&f, x);
		b = fix_read(&f, y);
		for (int r = 0; r < N; r++) {
			assert_memory_equal(b + 9 * r, a + 15 * r + 9, 3 * sizeof *a);
			assert_memory_equal(b + 9 * r + 3, a + 15 * r + 3, 6 * sizeof *a);
		}
		free(a);
		free(b);
		assert_null(pt_op_pieces(&f.run, x, 4, NULL, 1));
		assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "15 features are not 4", &f.err);
		pt_run_reset(&f.run);
		assert_null(pt_pieces_index(&f.run, INT32_MAX, 2, (int[]){ 0 }, 1));
		assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "too many", &f.err);
		fix_release(&f);
	}
	(void)state;
}

/* [2,3], [1,3] and the first again as rows of five. */
static struct pt_tensor *joined(struct fix *f)
{
	struct pt_tensor *a = act(f, "a", NULL), *x[3] = { a, act(f, "b", NULL), a };

	return pt_op_join(&f->run, x, 3, 3, 5);
}

static void join(void **state)
{
	for (int i = 0; devices[i]; i++) {
		struct pt_tensor *y;
		float *a, *b, *c;
		struct fix f;

		start(&f, devices[i]);
		fix_param(&f, "a", 2, 3, 1);
		fix_param(&f, "b", 1, 3, 1);
		fix_check(&f, joined, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = joined(&f);
		assert_ok(pt_run_check(&f.run, &f.err), &f.err);
		a = fix_read(&f, par(&f, "a"));
		b = fix_read(&f, par(&f, "b"));
		c = fix_read(&f, y);
		assert_memory_equal(c, a, 6 * sizeof *a);
		assert_memory_equal(c + 6, b, 3 * sizeof *b);
		assert_memory_equal(c + 9, a, 6 * sizeof *a);
		free(a);
		free(b);
		free(c);
		assert_null(pt_op_join(&f.run, &y, 1, 4, 4));
		assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "15 elements are not 4 rows of 4", &f.err);
		fix_release(&f);
	}
	(void)state;
}

/* Two rows before each sequence, an empty one and rows of none included. */
static struct pt_tensor *prepended(struct fix *f)
{
	struct pt_rows *two = (struct pt_rows *)(uintptr_t)f->arg;
	struct pt_tensor *x = act(f, "x", &f->rows), *front = act(f, "front", two);

	return pt_op_prepend(&f->run, front, x, &f->rows_k);
}

static void prepend(void **state)
{
	static const int where[N] = { 2, 3, 4, 9, 12, 13, 14, 15, 16, 17, 18 };
	struct pt_rows two = { .n = 2 };

	for (int i = 0; devices[i]; i++) {
		const struct pt_rows *rows;
		struct pt_tensor *y;
		float *a, *b, *c;
		struct fix f;

		start(&f, devices[i]);
		f.arg = &two;
		fix_param(&f, "x", N, 3, 1);
		fix_param(&f, "front", 2, 3, 1);
		fix_rows(&f, &f.rows_k, (int[]){ 5, 2, 3, 7 }, 4, 2);
		fix_check(&f, prepended, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = prepended(&f);
		rows = pt_rows_lengthen(&f.run, &f.rows, 2);
		assert_ok(pt_run_check(&f.run, &f.err), &f.err);
		assert_int_equal(rows->n, N + 8);
		assert_int_equal(rows->max_len, 7);
		a = fix_read(&f, par(&f, "x"));
		b = fix_read(&f, par(&f, "front"));
		c = fix_read(&f, y);
		for (int s = 0; s < 4; s++) {
			assert_int_equal(rows->host_cu[s], f.rows_k.host_cu[s]);
			assert_memory_equal(c + 3 * rows->host_cu[s], b, 6 * sizeof *b);
		}
		for (int r = 0; r < N; r++)
			assert_memory_equal(c + 3 * where[r], a + 3 * r, 3 * sizeof *a);
		free(a);
		free(b);
		free(c);
		assert_null(pt_op_prepend(&f.run, y, y, rows));
		assert_fails(pt_run_check(&f.run, &f.err), PT_FAIL, "do not fit before", &f.err);
		fix_release(&f);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gather),
		cmocka_unit_test(pieces),
		cmocka_unit_test(prepend),
		cmocka_unit_test(join),
	};

	return cmocka_run_group_tests_name("tensor_select", tests, NULL, NULL);
}
