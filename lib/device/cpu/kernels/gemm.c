/* SPDX-License-Identifier: MIT */
/*
 * gemm.c - one product of the table, and dropout.
 */
#include "mm.h"
#include "pack.h"

int pt_cpu_gemm(struct pt_device *dev, const struct pt_k_gemm *k, struct pt_error *err)
{
	struct pt_mm_part part = { .k = k->k, .a = k->a, .at = k->at, .lda = k->lda, .ta = k->ta, .b = k->b,
		.bt = k->bt, .ldb = k->ldb, .tb = k->tb, .scale = k->alpha };
	struct pt_mm mm = { .m = k->m, .n = k->n, .c = k->c, .ldc = k->ldc, .acc = k->beta != 0, .part = &part,
		.nparts = 1, .round = k->round_bf16 };

	if (k->ct != PT_F32)
		return pt_error(err, PT_DEVICE, "gemm: the CPU writes F32, not %s", pt_dtype_name(k->ct));
	if (k->beta != 1 && (k->beta != 0 || k->k == 0))
		for (int64_t i = 0; i < k->m; i++)
			for (int64_t j = 0; j < k->n; j++)
				mm.c[i * k->ldc + j] = k->beta == 0 ? 0 : mm.c[i * k->ldc + j] * k->beta;
	pt_cpu_mm(dev, &mm, 1);
	return 0;
}

int pt_cpu_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	const float *x = k->x;
	float *y = k->y;

	(void)err;
#pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(static)
	for (int64_t i = 0; i < k->n; i++) {
		for (int64_t c = 0; c < k->c; c += 512) {
			int64_t n = k->c - c < 512 ? k->c - c : 512;
			float mask[PACK_MASK];
			const float *f = pack_mask(mask, &k->rows, k->site, i, c, n, k->p);
			const float *from = x + i * k->c + c;
			float *to = y + i * k->c + c;

			for (int64_t j = 0; j < n; j++)
				to[j] = (k->acc_y ? to[j] : 0) + from[j] * f[j];
		}
	}
	return 0;
}
