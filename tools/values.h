/* SPDX-License-Identifier: MIT */
/*
 * values.h - values of a tensor of any type: as numbers, as text, and what
 * can be said of all of them.
 */
#ifndef PT_VALUES_H
#define PT_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "io/safetensors.h"

/* n values from the given one on as doubles; 64-bit integers beyond 2^53 are rounded. t->data may be unaligned. */
void values_load(const struct pt_st_tensor *t, size_t from, size_t n, double *out);

/* Append value i, with as few digits as say which value of its type it is. json: NaN and infinities are strings. */
void values_text(const struct pt_st_tensor *t, size_t i, bool json, struct pt_buf *out);

/* A double likewise. */
void values_double(double v, bool json, struct pt_buf *out);

struct stats {
	uint64_t n;		/* values that are numbers */
	double min, max, mean;	/* of those; 0 where there are none */
	uint64_t nan, inf;	/* infinities count as neither number nor NaN */
	size_t first_bad;	/* the first NaN or infinity */
};

void values_stats(const struct pt_st_tensor *t, struct stats *s);

/* "[1,2]" for the i-th value in row-major order. */
void values_where(const struct pt_st_tensor *t, size_t i, struct pt_buf *out);

#endif
