/* SPDX-License-Identifier: MIT */
/*
 * tensor_pairs.c - operations of embeddings and spans, against finite
 * differences and by value.
 */
#include "tensor_fix.h"

#include "tensor/pairs.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

static const int lens[] = { 4, 1, 5 };
#define N 12				/* rows: 10 of sequences, 2 of none */
#define C 37

static void start(struct fix *f, const char *dev)
{
	fix_init(f, dev, FIX_ARENA);
	fix_rows(f, &f->rows, lens, 3, 2);
}

static struct pt_tensor *unit(struct fix *f)
{
	return pt_op_unit(&f->run, act(f, "x", &f->rows));
}

/* Lengths of 1, also where x is used twice. */
static struct pt_tensor *unit_twice(struct fix *f)
{
	struct pt_tensor *x = act(f, "x", &f->rows);

	return pt_op_add(&f->run, pt_op_unit(&f->run, x), pt_op_scale(&f->run, x, 0.3f));
}

static void units(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct fix f;
		float *y;

		start(&f, devices[i]);
		fix_param(&f, "x", N, C, 1);
		fix_check(&f, unit, 1e-2, 3e-4);
		fix_check(&f, unit_twice, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		y = fix_read(&f, pt_op_unit(&f.run, par(&f, "x")));
		for (int r = 0; r < N; r++) {
			double s = 0;

			for (int c = 0; c < C; c++)
				s += (double)y[r * C + c] * (double)y[r * C + c];
			assert_true(fabs(s - 1) < 1e-6);
		}
		free(y);
		fix_release(&f);
	}
}

/* A row of zeros stays one. */
static void zero_row(void **state)
{
	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct fix f;
		float *y;

		start(&f, devices[i]);
		fix_param(&f, "x", N, C, 0);
		f.run.record = false;
		y = fix_read(&f, pt_op_unit(&f.run, par(&f, "x")));
		for (int k = 0; k < N * C; k++)
			assert_true(y[k] == 0);
		free(y);
		fix_release(&f);
	}
}

/* Rows 1, 7, 1 with three others each; one with itself. */
static const int32_t left[3] = { 1, 7, 1 }, right[9] = { 2, 7, 11, 7, 0, 1, 1, 3, 2 };

static struct pt_tensor *dots(struct fix *f)
{
	const int32_t *a = f->arg;

	return pt_op_dots(&f->run, act(f, "x", &f->rows), a, a + 3, 3, 3, 1.7f);
}

static void products(void **state)
{
	int32_t both[12];

	(void)state;
	memcpy(both, left, sizeof left);
	memcpy(both + 3, right, sizeof right);
	for (int i = 0; devices[i]; i++) {
		struct fix f;
		float *x, *z;

		start(&f, devices[i]);
		f.arg = fix_put(&f, both, sizeof both);
		fix_param(&f, "x", N, C, 1);
		fix_check(&f, dots, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		x = fix_read(&f, par(&f, "x"));
		z = fix_read(&f, dots(&f));
		for (int k = 0; k < 9; k++) {
			double s = 0;

			for (int c = 0; c < C; c++)
				s += (double)x[left[k / 3] * C + c] * (double)x[right[k] * C + c];
			assert_true(fabs(1.7 * s - (double)z[k]) < 1e-5);
		}
		free(x);
		free(z);
		fix_release(&f);
	}
}

/* Spans: 1..3 of the first sequence, the only token of the second, none of the third. */
static struct pt_tensor *span(struct fix *f)
{
	return pt_op_span_loss(&f->run, act(f, "z", &f->rows), &f->rows, f->arg);
}

static void spans(void **state)
{
	static const int32_t row[6] = { 1, 3, 4, 4, -1, -1 };

	(void)state;
	for (int i = 0; devices[i]; i++) {
		struct fix f;
		float *z, *loss;
		double want = 0;

		start(&f, devices[i]);
		f.arg = fix_put(&f, row, sizeof row);
		fix_param(&f, "z", N, 2, 2);
		fix_check(&f, span, 1e-2, 3e-4);
		pt_run_reset(&f.run);
		f.run.record = false;
		z = fix_read(&f, par(&f, "z"));
		loss = fix_read(&f, span(&f));
		for (int j = 0; j < 2; j++) {
			double sum = 0;

			for (int k = 0; k < 4; k++)
				sum += exp((double)z[2 * k + j]);
			want += (log(sum) - (double)z[2 * row[j] + j]) / 2;
		}
		assert_true(fabs((double)loss[0] - want) < 1e-5);
		assert_true(loss[1] == 0 && loss[2] == 0);
		free(z);
		free(loss);
		fix_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units), cmocka_unit_test(zero_row), cmocka_unit_test(products), cmocka_unit_test(spans),
	};

	return cmocka_run_group_tests_name("tensor_pairs", tests, NULL, NULL);
}
