/* SPDX-License-Identifier: MIT */
/*
 * dtype.c - element types: names, sizes, conversions.
 *
 * The loops have no branches on data, so that the compiler vectorises them;
 * the half-precision formulas are those of F. Giesen ("float->half variants").
 */
#include "base/dtype.h"

#include <math.h>

static const struct {
	const char *name;
	int size;
	int order;	/* safetensors sorts by its own enum, from the last entry to the first */
} types[PT_DTYPES] = {
	[PT_U64] = { "U64", 8, 0 },
	[PT_I64] = { "I64", 8, 1 },
	[PT_F64] = { "F64", 8, 2 },
	[PT_F32] = { "F32", 4, 3 },
	[PT_U32] = { "U32", 4, 4 },
	[PT_I32] = { "I32", 4, 5 },
	[PT_BF16] = { "BF16", 2, 6 },
	[PT_F16] = { "F16", 2, 7 },
	[PT_U16] = { "U16", 2, 8 },
	[PT_I16] = { "I16", 2, 9 },
	[PT_F8_E4M3] = { "F8_E4M3", 1, 10 },
	[PT_F8_E5M2] = { "F8_E5M2", 1, 11 },
	[PT_I8] = { "I8", 1, 12 },
	[PT_U8] = { "U8", 1, 13 },
	[PT_BOOL] = { "BOOL", 1, 14 },
};

const char *pt_dtype_name(enum pt_dtype t)
{
	return (unsigned)t < PT_DTYPES ? types[t].name : "?";
}

int pt_dtype_parse(const char *name)
{
	for (int t = 0; t < PT_DTYPES; t++)
		if (strcmp(types[t].name, name) == 0)
			return t;
	return -1;
}

size_t pt_dtype_size(enum pt_dtype t)
{
	return (unsigned)t < PT_DTYPES ? (size_t)types[t].size : 0;
}

int pt_dtype_order(enum pt_dtype t)
{
	return (unsigned)t < PT_DTYPES ? types[t].order : PT_DTYPES;
}

static inline float bits_to_f32(uint32_t u)
{
	float f;

	memcpy(&f, &u, sizeof f);
	return f;
}

static inline uint32_t f32_to_bits(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof u);
	return u;
}

static inline float half_to_f32(uint16_t h)
{
	const uint32_t infexp = 0x7c00u << 13;
	uint32_t u = (uint32_t)(h & 0x7fff) << 13;
	uint32_t exp = u & infexp;
	/* Subnormal: one exponent too many, then the hidden bit taken away again. */
	float sub = bits_to_f32(u + ((127 - 15 + 1) << 23)) - bits_to_f32(113u << 23);

	u += (127 - 15) << 23;
	if (exp == infexp)
		u += (128 - 16) << 23;
	if (exp == 0)
		u = f32_to_bits(sub);
	return bits_to_f32(u | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t f32_to_half(float f)
{
	const uint32_t inf16 = 0x7c00, max16 = (127 + 16) << 23;
	const uint32_t magic = ((127 - 15) + (23 - 10) + 1) << 23;
	uint32_t u = f32_to_bits(f), sign = u & 0x80000000u, nan, norm, sub, r;

	u ^= sign;
	/* A NaN keeps its upper payload bits and becomes quiet. */
	nan = 0x7e00 | (u >> 13 & 0x3ff);
	/* The addition rounds a subnormal at the right bit. */
	sub = f32_to_bits(bits_to_f32(u) + bits_to_f32(magic)) - magic;
	norm = (u + ((uint32_t)(15 - 127) << 23) + 0xfff + (u >> 13 & 1)) >> 13;
	r = u < (113u << 23) ? sub : norm;
	r = u >= max16 ? inf16 : r;
	r = u > 0x7f800000u ? nan : r;
	return (uint16_t)(r | sign >> 16);
}

double pt_plain_nan(double v)
{
	return isnan(v) ? (double)NAN : v;
}

float pt_f16_to_f32(uint16_t h)
{
	return half_to_f32(h);
}

uint16_t pt_f32_to_f16(float f)
{
	return f32_to_half(f);
}

void pt_to_f32(float *dst, const void *src, enum pt_dtype t, size_t n)
{
	const uint16_t *h = src;
	const double *d = src;

	switch (t) {
	case PT_BF16:
		for (size_t i = 0; i < n; i++)
			dst[i] = pt_bf16_to_f32(h[i]);
		break;
	case PT_F16:
		for (size_t i = 0; i < n; i++)
			dst[i] = half_to_f32(h[i]);
		break;
	case PT_F64:
		for (size_t i = 0; i < n; i++)
			dst[i] = (float)d[i];
		break;
	case PT_F32:
		if (n)
			memmove(dst, src, n * sizeof *dst);
		break;
	default:
		/* Not a type of floats: nothing is read. */
		for (size_t i = 0; i < n; i++)
			dst[i] = NAN;
		break;
	}
}

void pt_from_f32(void *dst, enum pt_dtype t, const float *src, size_t n)
{
	uint16_t *h = dst;
	double *d = dst;

	switch (t) {
	case PT_BF16:
		for (size_t i = 0; i < n; i++)
			h[i] = pt_f32_to_bf16(src[i]);
		break;
	case PT_F16:
		for (size_t i = 0; i < n; i++)
			h[i] = f32_to_half(src[i]);
		break;
	case PT_F64:
		for (size_t i = 0; i < n; i++)
			d[i] = src[i];
		break;
	default:
		if (n)
			memmove(dst, src, n * sizeof *src);
		break;
	}
}
