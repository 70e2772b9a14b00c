/* SPDX-License-Identifier: MIT */
/*
 * rope.c - rotary position embeddings (Su et al. 2021), pairs half a rotation apart.
 */
#include "device/cpu/cpu.h"

#include "block.h"

static void rotate(float *restrict a, float *restrict b, const float *restrict c, const float *restrict s,
		   float sign, int n)
{
	for (int j = 0; j < n; j++) {
		float x = a[j], y = b[j], sj = sign * s[j];

		a[j] = x * c[j] - y * sj;
		b[j] = y * c[j] + x * sj;
	}
}

int pt_cpu_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *err)
{
	int64_t c = (int64_t)k->heads * k->head_dim, rows = pt_max(1, PT_BLOCK / 4 / pt_max(c, 1));
	int half = k->rot_dim / 2;

	(void)err;
	PT_PARALLEL(dev, k->n > rows)
	for (int64_t b = 0; b < pt_blocks(k->n, rows); b++) {
		for (int64_t i = b * rows; i < pt_min(k->n, (b + 1) * rows); i++) {
			int64_t at = (int64_t)k->pos[i] * half;
			float *x = (float *)k->x + i * c;

			for (int h = 0; h < k->heads; h++, x += k->head_dim)
				rotate(x, x + half, k->cos + at, k->sin + at, k->inverse ? -1 : 1, half);
		}
	}
	return 0;
}
