/* SPDX-License-Identifier: MIT */
/*
 * Conversions over all 16-bit values, and at all their midpoints.
 */
#include "test.h"

#include <math.h>

#include "base/dtype.h"

static float half_reference(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 0x3ff;
	double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

	return (float)(h & 0x8000 ? -v : v);
}

static float bf16_reference(uint16_t h)
{
	int e = h >> 7 & 255, m = h & 0x7f;
	double v = e == 255 ? (m ? NAN : INFINITY) : e ? ldexp(128 + m, e - 134) : ldexp(m, -133);

	return (float)(h & 0x8000 ? -v : v);
}

struct format {
	float (*reference)(uint16_t h);
	float (*up)(uint16_t h);
	uint16_t (*down)(float f);
	uint16_t inf;
	enum pt_dtype type;
};

static float bf16_up(uint16_t h)
{
	return pt_bf16_to_f32(h);
}

static uint16_t bf16_down(float f)
{
	return pt_f32_to_bf16(f);
}

static const struct format formats[] = {
	{ half_reference, pt_f16_to_f32, pt_f32_to_f16, 0x7c00, PT_F16 },
	{ bf16_reference, bf16_up, bf16_down, 0x7f80, PT_BF16 },
};

static void all_values(const struct format *f)
{
	for (uint32_t h = 0; h < 65536; h++) {
		float want = f->reference((uint16_t)h), got = f->up((uint16_t)h);

		if (isnan(want)) {
			uint16_t back = f->down(got);

			assert_true(isnan(got));
			assert_true((back & 0x7fff) > f->inf);
			assert_int_equal(back & 0x8000, h & 0x8000);
		} else {
			assert_memory_equal(&want, &got, sizeof want);
			assert_int_equal(f->down(got), h);
		}
	}
}

/* Between two neighbours: the nearer, and at the midpoint the even one. */
static void all_midpoints(const struct format *f)
{
	for (uint16_t h = 0; h < f->inf; h++) {
		/* Beyond the largest value rounding goes on as if another exponent followed. */
		double a = f->reference(h);
		double b = h + 1 < f->inf ? f->reference((uint16_t)(h + 1))
					  : a + (a - f->reference((uint16_t)(h - 1)));
		float mid = (float)((a + b) / 2);
		uint16_t even = h & 1 ? (uint16_t)(h + 1) : h;

		if ((double)mid == (a + b) / 2) {
			assert_int_equal(f->down(mid), even);
			assert_int_equal(f->down(-mid), even | 0x8000);
		}
		assert_int_equal(f->down(nextafterf(mid, 0)), h);
		assert_int_equal(f->down(nextafterf(mid, INFINITY)), h + 1);
		assert_int_equal(f->down(-nextafterf(mid, INFINITY)), (h + 1) | 0x8000);
	}
	assert_int_equal(f->down(INFINITY), f->inf);
	assert_int_equal(f->down(-INFINITY), f->inf | 0x8000);
	assert_int_equal(f->down(3.4028235e38f), f->inf);
	assert_int_equal(f->down(-0.0f), 0x8000);
	assert_int_equal(f->down(1e-45f), 0);
}

static void values(void **state)
{
	(void)state;
	all_values(&formats[0]);
	all_values(&formats[1]);
}

static void midpoints(void **state)
{
	(void)state;
	all_midpoints(&formats[0]);
	all_midpoints(&formats[1]);
}

/* NaNs whose payload lies in the low bits only must not become infinity. */
static void small_nans(void **state)
{
	uint32_t u = 0x7f800001;
	float f;

	(void)state;
	memcpy(&f, &u, sizeof f);
	assert_true((pt_f32_to_bf16(f) & 0x7fff) > 0x7f80);
	assert_true((pt_f32_to_f16(f) & 0x7fff) > 0x7c00);
}

/* The loops say what the single conversions say, at all lengths around a vector's. */
static void loops(void **state)
{
	static uint16_t h[65536], back[65536];
	static float x[65536];

	(void)state;
	for (int i = 0; i < 65536; i++)
		h[i] = (uint16_t)i;
	for (int k = 0; k < 2; k++) {
		const struct format *f = &formats[k];

		pt_to_f32(x, h, f->type, 65536);
		for (int i = 0; i < 65536; i++) {
			float one = f->up((uint16_t)i);

			assert_memory_equal(&x[i], &one, sizeof one);
		}
		pt_from_f32(back, f->type, x, 65536);
		for (int i = 0; i < 65536; i++)
			assert_int_equal(back[i], f->down(x[i]));
		for (size_t n = 0; n < 40; n++) {
			memset(back, 0xee, sizeof back);
			pt_from_f32(back, f->type, x + 15000, n);
			assert_memory_equal(back, h + 15000, n * 2);
			assert_int_equal(back[n], 0xeeee);
		}
	}
	double d[3] = { 0.1, -1e300, 1.0 };
	float y[3];

	pt_to_f32(y, d, PT_F64, 3);
	assert_true(y[0] == 0.1f && isinf(y[1]) && y[2] == 1);
	pt_from_f32(d, PT_F64, y, 1);
	assert_true(d[0] == (double)0.1f);
	pt_to_f32(y, x + 100, PT_F32, 3);
	assert_memory_equal(y, x + 100, sizeof y);
}

static void names(void **state)
{
	(void)state;
	for (int t = 0; t < PT_DTYPES; t++) {
		assert_int_equal(pt_dtype_parse(pt_dtype_name((enum pt_dtype)t)), t);
		assert_in_range(pt_dtype_size((enum pt_dtype)t), 1, 8);
		for (int u = 0; u < t; u++)
			assert_int_not_equal(pt_dtype_order((enum pt_dtype)t), pt_dtype_order((enum pt_dtype)u));
	}
	assert_int_equal(pt_dtype_parse("f32"), -1);
	assert_int_equal(pt_dtype_parse(""), -1);
	assert_int_equal(pt_dtype_size(PT_BF16), 2);
	/* safetensors' writer lays out F32 before BF16 before F16 before U8. */
	assert_true(pt_dtype_order(PT_I64) < pt_dtype_order(PT_F32));
	assert_true(pt_dtype_order(PT_F32) < pt_dtype_order(PT_I32));
	assert_true(pt_dtype_order(PT_BF16) < pt_dtype_order(PT_F16));
	assert_true(pt_dtype_order(PT_F16) < pt_dtype_order(PT_U8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(midpoints),
		cmocka_unit_test(small_nans),
		cmocka_unit_test(loops),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
