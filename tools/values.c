/* SPDX-License-Identifier: MIT */
/*
 * values.c - see values.h.
 */
#include "values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 8-bit floats: e exponent bits of bias b; E4M3 has NaN at the top only and no infinities. */
static double f8(uint8_t v, int mantissa, int bias, bool ieee)
{
	int e = (v & 0x7f) >> mantissa, m = v & ((1 << mantissa) - 1), top = 0x7f >> mantissa;
	double x;

	if (e == top && ieee)
		x = m ? NAN : INFINITY;
	else if (!ieee && (v & 0x7f) == 0x7f)
		x = NAN;
	else
		x = e ? ldexp((1 << mantissa) + m, e - bias - mantissa) : ldexp(m, 1 - bias - mantissa);
	return v & 0x80 ? -x : x;
}

#define LOAD(type, expression) do {				\
	for (size_t i = 0; i < n; i++) {			\
		type v;						\
		memcpy(&v, p + i * sizeof v, sizeof v);		\
		out[i] = (double)(expression);			\
	}							\
} while (0)

void values_load(const struct pt_st_tensor *t, size_t from, size_t n, double *out)
{
	const char *p = (const char *)t->data + from * pt_dtype_size(t->dtype);

	switch (t->dtype) {
	case PT_F64: LOAD(double, v); break;
	case PT_F32: LOAD(float, v); break;
	case PT_F16: LOAD(uint16_t, pt_f16_to_f32(v)); break;
	case PT_BF16: LOAD(uint16_t, pt_bf16_to_f32(v)); break;
	case PT_F8_E4M3: LOAD(uint8_t, f8(v, 3, 7, false)); break;
	case PT_F8_E5M2: LOAD(uint8_t, f8(v, 2, 15, true)); break;
	case PT_I64: LOAD(int64_t, v); break;
	case PT_U64: LOAD(uint64_t, v); break;
	case PT_I32: LOAD(int32_t, v); break;
	case PT_U32: LOAD(uint32_t, v); break;
	case PT_I16: LOAD(int16_t, v); break;
	case PT_U16: LOAD(uint16_t, v); break;
	case PT_I8: LOAD(int8_t, v); break;
	case PT_U8: LOAD(uint8_t, v); break;
	case PT_BOOL: LOAD(uint8_t, v != 0); break;
	case PT_DTYPES: break;
	}
}

static bool not_finite(double v, bool json, struct pt_buf *out)
{
	const char *s = isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity";

	if (isfinite(v))
		return false;
	pt_buf_printf(out, json ? "\"%s\"" : "%s", s);
	return true;
}

void values_double(double v, bool json, struct pt_buf *out)
{
	char text[32];
	int digits = 15;

	if (not_finite(v, json, out))
		return;
	do {
		snprintf(text, sizeof text, "%.*g", digits, v);
	} while (strtod(text, NULL) != v && ++digits <= 17);
	pt_buf_str(out, text);
}

static void single(float v, bool json, struct pt_buf *out)
{
	char text[32];
	int digits = 6;

	if (not_finite(v, json, out))
		return;
	do {
		snprintf(text, sizeof text, "%.*g", digits, (double)v);
	} while (strtof(text, NULL) != v && ++digits <= 9);
	pt_buf_str(out, text);
}

void values_text(const struct pt_st_tensor *t, size_t i, bool json, struct pt_buf *out)
{
	size_t size = pt_dtype_size(t->dtype);
	uint64_t bits;
	double d;

	switch (t->dtype) {
	case PT_U64:
		memcpy(&bits, (const char *)t->data + i * size, size);
		pt_buf_printf(out, "%llu", (unsigned long long)bits);
		return;
	case PT_I64:
		memcpy(&bits, (const char *)t->data + i * size, size);
		pt_buf_printf(out, "%lld", (long long)bits);
		return;
	default:
		values_load(t, i, 1, &d);
	}
	if (t->dtype == PT_F64)
		values_double(d, json, out);
	else if (t->dtype == PT_BOOL)
		pt_buf_str(out, d != 0 ? "true" : "false");
	else if (t->dtype >= PT_I64 && t->dtype <= PT_U8)
		pt_buf_printf(out, "%.0f", d);
	else
		single((float)d, json, out);
}

void values_stats(const struct pt_st_tensor *t, struct stats *s)
{
	enum { CHUNK = 4096 };
	double v[CHUNK], sum = 0, rest = 0;

	*s = (struct stats){ 0 };
	for (size_t from = 0, n; from < t->count; from += n) {
		double part = 0, y, next;

		n = t->count - from < CHUNK ? t->count - from : CHUNK;
		values_load(t, from, n, v);
		for (size_t i = 0; i < n; i++) {
			if (!isfinite(v[i])) {
				if (!s->nan && !s->inf)
					s->first_bad = from + i;
				*(isnan(v[i]) ? &s->nan : &s->inf) += 1;
				continue;
			}
			if (!s->n || v[i] < s->min)
				s->min = v[i];
			if (!s->n || v[i] > s->max)
				s->max = v[i];
			part += v[i];
			s->n++;
		}
		/* Kahan's sum over the chunks: large tensors keep their digits. */
		y = part - rest;
		next = sum + y;
		rest = next - sum - y;
		sum = next;
	}
	s->mean = s->n ? sum / (double)s->n : 0;
}

void values_where(const struct pt_st_tensor *t, size_t i, struct pt_buf *out)
{
	size_t at[PT_ST_MAX_DIMS];

	for (int d = t->ndim - 1; d >= 0; d--) {
		at[d] = i % (size_t)t->shape[d];
		i /= (size_t)t->shape[d];
	}
	for (int d = 0; d < t->ndim; d++)
		pt_buf_printf(out, "%c%zu", d ? ',' : '[', at[d]);
	pt_buf_str(out, t->ndim ? "]" : "[]");
}
