/* SPDX-License-Identifier: MIT */
/*
 * elem.c - fill, copy, scale and add, convert; rows picked, averaged, scaled by channel.
 */
#include "device/cpu/cpu.h"

#include <string.h>

#include "block.h"
#include "column.h"

int pt_cpu_fill(struct pt_device *dev, enum pt_dtype type, void *to, size_t n, float value,
		struct pt_error *err)
{
	float *x = to;

	(void)type, (void)err;
	PT_PARALLEL(dev, n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks((int64_t)n, PT_BLOCK); b++)
		for (int64_t i = b * PT_BLOCK; i < pt_min((int64_t)n, (b + 1) * PT_BLOCK); i++)
			x[i] = value;
	return 0;
}

int pt_cpu_copy(struct pt_device *dev, void *dst, const void *src, size_t bytes, struct pt_error *err)
{
	const int64_t size = 4 * PT_BLOCK, n = (int64_t)bytes;

	(void)err;
	PT_PARALLEL(dev, n > size)
	for (int64_t b = 0; b < pt_blocks(n, size); b++)
		memmove((char *)dst + b * size, (const char *)src + b * size,
			(size_t)pt_min(size, n - b * size));
	return 0;
}

int pt_cpu_axpby(struct pt_device *dev, enum pt_dtype type, size_t n, float alpha, const void *in,
		 float beta, void *out, struct pt_error *err)
{
	const float *x = in;
	float *y = out;

	(void)type, (void)err;
	PT_PARALLEL(dev, n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks((int64_t)n, PT_BLOCK); b++) {
		int64_t from = b * PT_BLOCK, to = pt_min((int64_t)n, from + PT_BLOCK);

		if (beta == 0)
			for (int64_t i = from; i < to; i++)
				y[i] = alpha * x[i];
		else
			for (int64_t i = from; i < to; i++)
				y[i] = alpha * x[i] + beta * y[i];
	}
	return 0;
}

int pt_cpu_convert(struct pt_device *dev, void *dst, enum pt_dtype dt, const void *src,
		   enum pt_dtype st, size_t n, struct pt_error *err)
{
	const int64_t total = (int64_t)n;

	(void)err;
	PT_PARALLEL(dev, n > PT_BLOCK)
	for (int64_t b = 0; b < pt_blocks(total, PT_TILE); b++) {
		int64_t at = b * PT_TILE, m = pt_min(PT_TILE, total - at);
		float buf[PT_TILE];

		pt_from_f32((char *)dst + (size_t)at * pt_dtype_size(dt), dt, pt_weights(src, st, at, m, buf),
			    (size_t)m);
	}
	return 0;
}

/* Rows that a thread takes at once. */
static int64_t some_rows(int64_t c)
{
	return pt_max(1, PT_BLOCK / pt_max(c, 1));
}

int pt_cpu_affine_fwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *x,
		      const float *w, const float *b, void *y, struct pt_error *err)
{
	int64_t rows = some_rows(c);

	(void)type, (void)err;
	PT_PARALLEL(dev, n > rows)
	for (int64_t i = 0; i < n; i++) {
		const float *xi = (const float *)x + i * c;
		float *yi = (float *)y + i * c;

		if (w && b)
			for (int64_t j = 0; j < c; j++)
				yi[j] = xi[j] * w[j] + b[j];
		else if (w)
			for (int64_t j = 0; j < c; j++)
				yi[j] = xi[j] * w[j];
		else
			for (int64_t j = 0; j < c; j++)
				yi[j] = xi[j] + (b ? b[j] : 0);
	}
	return 0;
}

static void affine_dx(const float *dy, const float *w, float *dx, bool acc, int64_t c)
{
	for (int64_t j = 0; j < c; j++) {
		float v = w ? dy[j] * w[j] : dy[j];

		dx[j] = acc ? dx[j] + v : v;
	}
}

int pt_cpu_affine_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *x,
		      const float *w, const void *dy, void *dx, bool acc_dx, float *dw, float *db,
		      struct pt_error *err)
{
	int64_t rows = some_rows(c);

	(void)type, (void)err;
	if (dx) {
		PT_PARALLEL(dev, n > rows)
		for (int64_t i = 0; i < n; i++)
			affine_dx((const float *)dy + i * c, w, (float *)dx + i * c, acc_dx, c);
	}
	if (dw || db) {
		PT_PARALLEL(dev, n * c > PT_BLOCK)
		for (int64_t t = 0; t < pt_blocks(c, PT_COLUMNS); t++)
			pt_columns(n, c, t * PT_COLUMNS, dy, x, NULL, dw ? dw + t * PT_COLUMNS : NULL,
				   db ? db + t * PT_COLUMNS : NULL);
	}
	return 0;
}

int pt_cpu_gather_fwd(struct pt_device *dev, int64_t n, size_t bytes, const void *x, const int32_t *idx,
		      void *y, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, n > some_rows((int64_t)(bytes / sizeof(float))))
	for (int64_t i = 0; i < n; i++)
		memcpy((char *)y + (size_t)i * bytes, (const char *)x + (size_t)idx[i] * bytes, bytes);
	return 0;
}

/* Shares of a scattered sum, by the row that is added to. */
#define SCATTERS 16

static void scatter(int64_t n, int64_t c, const float *dy, const int32_t *idx, float *dx, int share, int shares)
{
	for (int64_t i = 0; i < n; i++) {
		const float *from = dy + i * c;
		float *to = dx + idx[i] * c;

		if (idx[i] % shares != share)
			continue;
		for (int64_t j = 0; j < c; j++)
			to[j] += from[j];
	}
}

int pt_cpu_gather_bwd(struct pt_device *dev, enum pt_dtype type, int64_t n, int64_t c, const void *dy,
		      const int32_t *idx, bool distinct, void *dx, struct pt_error *err)
{
	(void)type, (void)err;
	if (!distinct) {
		PT_PARALLEL(dev, n > some_rows(c))
		for (int t = 0; t < SCATTERS; t++)
			scatter(n, c, dy, idx, dx, t, SCATTERS);
		return 0;
	}
	PT_PARALLEL(dev, n > some_rows(c))
	for (int64_t i = 0; i < n; i++)
		scatter(1, c, (const float *)dy + i * c, idx + i, dx, 0, 1);
	return 0;
}

int pt_cpu_mean_fwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *x,
		    const int32_t *cu, void *y, struct pt_error *err)
{
	const int64_t tiles = pt_blocks(c, PT_COLUMNS);

	(void)type, (void)err;
	PT_PARALLEL(dev, cu[batch] * c > PT_BLOCK)
	for (int64_t t = 0; t < batch * tiles; t++) {
		int64_t b = t / tiles, at = t % tiles * PT_COLUMNS, n = cu[b + 1] - cu[b];
		int64_t m = pt_min(PT_COLUMNS, c - at);
		float sum[PT_COLUMNS] = { 0 }, *to = (float *)y + b * c + at;

		pt_columns(n, c, at, (const float *)x + cu[b] * c, NULL, NULL, NULL, sum);
		for (int64_t j = 0; j < m; j++)
			to[j] = n ? sum[j] / (float)n : 0;
	}
	return 0;
}

int pt_cpu_mean_bwd(struct pt_device *dev, enum pt_dtype type, int batch, int64_t c, const void *dy,
		    const int32_t *cu, void *dx, bool acc_dx, struct pt_error *err)
{
	(void)type, (void)err;
	PT_PARALLEL(dev, cu[batch] * c > PT_BLOCK)
	for (int64_t b = 0; b < batch; b++) {
		float f = 1.0f / (float)pt_max(cu[b + 1] - cu[b], 1);
		const float *from = (const float *)dy + b * c;

		for (int64_t i = cu[b]; i < cu[b + 1]; i++) {
			float *to = (float *)dx + i * c;

			for (int64_t j = 0; j < c; j++)
				to[j] = (acc_dx ? to[j] : 0) + from[j] * f;
		}
	}
	return 0;
}
