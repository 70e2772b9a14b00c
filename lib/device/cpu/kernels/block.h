/* SPDX-License-Identifier: MIT */
/*
 * block.h - how the kernels of one value at a time cut their work: into
 * blocks whose size depends on shapes alone.
 */
#ifndef PT_CPU_BLOCK_H
#define PT_CPU_BLOCK_H

#include <stdint.h>

#include "base/dtype.h"

#define PT_BLOCK 16384		/* elements a thread takes at once */
#define PT_TILE 512		/* weights converted at once */

/* "omp parallel for" over blocks b of total n in steps of size; small work stays in the calling thread. */
#define PT_PRAGMA(x) _Pragma(#x)
#define PT_PARALLEL(dev, many) \
	PT_PRAGMA(omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static) if (many))

static inline int64_t pt_blocks(int64_t n, int64_t size)
{
	return (n + size - 1) / size;
}

static inline int64_t pt_min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t pt_max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* Elements at.. of a stored vector as f32: in place, or converted into buf. */
static inline const float *pt_weights(const void *w, enum pt_dtype t, int64_t at, int64_t n, float *buf)
{
	if (t == PT_F32)
		return (const float *)w + at;
	pt_to_f32(buf, (const char *)w + (size_t)at * pt_dtype_size(t), t, (size_t)n);
	return buf;
}

#endif
