/* SPDX-License-Identifier: MIT */
/*
 * dtype.h - element types, under the names of safetensors.
 */
#ifndef PT_BASE_DTYPE_H
#define PT_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum pt_dtype {
	PT_F32, PT_BF16, PT_F16, PT_F64,
	PT_I64, PT_U64, PT_I32, PT_U32, PT_I16, PT_U16, PT_I8, PT_U8, PT_BOOL,
	PT_F8_E4M3, PT_F8_E5M2,
	PT_DTYPES
};

const char *pt_dtype_name(enum pt_dtype t);		/* "F32", "BF16", ... */
int pt_dtype_parse(const char *name);			/* -1: unknown */
size_t pt_dtype_size(enum pt_dtype t);			/* bytes an element */
/* Rank of the type in the order safetensors' writer lays tensors out (widest first). */
int pt_dtype_order(enum pt_dtype t);

static inline float pt_bf16_to_f32(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;

	memcpy(&f, &u, sizeof f);
	return f;
}

/* Round to nearest even; NaN stays NaN. */
static inline uint16_t pt_f32_to_bf16(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof u);
	if ((u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)((u >> 16) | 0x40);
	return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

static inline float pt_round_bf16(float f)
{
	return pt_bf16_to_f32(pt_f32_to_bf16(f));
}

/* v; of a NaN without the sign, which depends on the machine: for what is printed or written. */
double pt_plain_nan(double v);

float pt_f16_to_f32(uint16_t h);
uint16_t pt_f32_to_f16(float f);

/* n elements of type t at src to f32 and back (round to nearest even). Types: F32, BF16, F16, F64. */
void pt_to_f32(float *dst, const void *src, enum pt_dtype t, size_t n);
void pt_from_f32(void *dst, enum pt_dtype t, const float *src, size_t n);

#endif
