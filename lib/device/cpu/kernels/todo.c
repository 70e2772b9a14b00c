/* SPDX-License-Identifier: MIT */
/*
 * todo.c - kernels that are not there yet. A file that brings one takes its
 * line away here; the file goes with the last.
 */
#include "device/cpu/cpu.h"

int pt_cpu_fill(struct pt_device *dev, float *x, size_t n, float value, struct pt_error *err)
{
	(void)dev, (void)x, (void)n, (void)value;
	return pt_error(err, PT_DEVICE, "fill: not built yet");
}

int pt_cpu_copy(struct pt_device *dev, void *dst, const void *src, size_t bytes, struct pt_error
	*err)
{
	(void)dev, (void)dst, (void)src, (void)bytes;
	return pt_error(err, PT_DEVICE, "copy: not built yet");
}

int pt_cpu_axpby(struct pt_device *dev, size_t n, float alpha, const float *x, float beta, float
	*y, struct pt_error *err)
{
	(void)dev, (void)n, (void)alpha, (void)x, (void)beta, (void)y;
	return pt_error(err, PT_DEVICE, "axpby: not built yet");
}

int pt_cpu_affine_fwd(struct pt_device *dev, int64_t n, int64_t c, const float *x, const float *w,
	const float *b, float *y, struct pt_error *err)
{
	(void)dev, (void)n, (void)c, (void)x, (void)w, (void)b, (void)y;
	return pt_error(err, PT_DEVICE, "affine_fwd: not built yet");
}

int pt_cpu_affine_bwd(struct pt_device *dev, int64_t n, int64_t c, const float *x, const float *w,
	const float *dy, float *dx, bool acc_dx, float *dw, float *db, struct pt_error *err)
{
	(void)dev, (void)n, (void)c, (void)x, (void)w, (void)dy, (void)dx, (void)acc_dx, (void)dw, (void)db;
	return pt_error(err, PT_DEVICE, "affine_bwd: not built yet");
}

int pt_cpu_gather_fwd(struct pt_device *dev, int64_t n, int64_t c, const float *x, const int32_t
	*idx, float *y, struct pt_error *err)
{
	(void)dev, (void)n, (void)c, (void)x, (void)idx, (void)y;
	return pt_error(err, PT_DEVICE, "gather_fwd: not built yet");
}

int pt_cpu_gather_bwd(struct pt_device *dev, int64_t n, int64_t c, const float *dy, const int32_t
	*idx, float *dx, struct pt_error *err)
{
	(void)dev, (void)n, (void)c, (void)dy, (void)idx, (void)dx;
	return pt_error(err, PT_DEVICE, "gather_bwd: not built yet");
}

int pt_cpu_mean_fwd(struct pt_device *dev, int batch, int64_t c, const float *x, const int32_t
	*cu, float *y, struct pt_error *err)
{
	(void)dev, (void)batch, (void)c, (void)x, (void)cu, (void)y;
	return pt_error(err, PT_DEVICE, "mean_fwd: not built yet");
}

int pt_cpu_mean_bwd(struct pt_device *dev, int batch, int64_t c, const float *dy, const int32_t
	*cu, float *dx, bool acc_dx, struct pt_error *err)
{
	(void)dev, (void)batch, (void)c, (void)dy, (void)cu, (void)dx, (void)acc_dx;
	return pt_error(err, PT_DEVICE, "mean_bwd: not built yet");
}

int pt_cpu_convert(struct pt_device *dev, void *dst, enum pt_dtype dt, const void *src, enum
	pt_dtype st, size_t n, struct pt_error *err)
{
	(void)dev, (void)dst, (void)dt, (void)src, (void)st, (void)n;
	return pt_error(err, PT_DEVICE, "convert: not built yet");
}

int pt_cpu_gemm(struct pt_device *dev, const struct pt_k_gemm *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "gemm: not built yet");
}

int pt_cpu_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "dropout: not built yet");
}

size_t pt_cpu_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool
	backward)
{
	(void)dev, (void)g, (void)backward;
	return 0;
}

int pt_cpu_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error
	*err)
{
	(void)dev, (void)g;
	return pt_error(err, PT_DEVICE, "linear_fwd: not built yet");
}

int pt_cpu_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error
	*err)
{
	(void)dev, (void)g;
	return pt_error(err, PT_DEVICE, "linear_bwd: not built yet");
}

int pt_cpu_norm_fwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "norm_fwd: not built yet");
}

int pt_cpu_norm_bwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "norm_bwd: not built yet");
}

int pt_cpu_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "rope: not built yet");
}

int pt_cpu_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "act_fwd: not built yet");
}

int pt_cpu_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "act_bwd: not built yet");
}

size_t pt_cpu_attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	(void)dev, (void)k, (void)backward;
	return 0;
}

int pt_cpu_attn_fwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "attn_fwd: not built yet");
}

int pt_cpu_attn_bwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "attn_bwd: not built yet");
}

size_t pt_cpu_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	(void)dev, (void)k, (void)backward;
	return 0;
}

int pt_cpu_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "nll_fwd: not built yet");
}

int pt_cpu_nll_bwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "nll_bwd: not built yet");
}

int pt_cpu_class_fwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "class_fwd: not built yet");
}

int pt_cpu_class_bwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "class_bwd: not built yet");
}

int pt_cpu_embed_fwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "embed_fwd: not built yet");
}

int pt_cpu_embed_bwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "embed_bwd: not built yet");
}

int pt_cpu_adamw(struct pt_device *dev, const struct pt_k_adamw *k, struct pt_error *err)
{
	(void)dev, (void)k;
	return pt_error(err, PT_DEVICE, "adamw: not built yet");
}

int pt_cpu_sumsq(struct pt_device *dev, const float *x, size_t n, double *out, struct pt_error
	*err)
{
	(void)dev, (void)x, (void)n, (void)out;
	return pt_error(err, PT_DEVICE, "sumsq: not built yet");
}

int pt_cpu_nonfinite(struct pt_device *dev, const float *x, size_t n, int64_t *out, struct
	pt_error *err)
{
	(void)dev, (void)x, (void)n, (void)out;
	return pt_error(err, PT_DEVICE, "nonfinite: not built yet");
}
