/* SPDX-License-Identifier: MIT */
/*
 * wrap.h - all kernels as a list, for devices that put something around those
 * of another: PT_WRAP(X) is X(name, parameters, arguments) for each, without
 * the device before them and the error behind them. The three functions that
 * ask for scratch are not among them.
 */
#ifndef PT_DEVICE_WRAP_H
#define PT_DEVICE_WRAP_H

#include "device/kernels.h"

#define PT_WRAP_LIST(...) __VA_ARGS__

#define PT_WRAP(X) \
	X(fill, PT_WRAP_LIST(float *x, size_t n, float value), PT_WRAP_LIST(x, n, value)) \
	X(copy, PT_WRAP_LIST(void *dst, const void *src, size_t bytes), PT_WRAP_LIST(dst, src, bytes)) \
	X(axpby, PT_WRAP_LIST(size_t n, float alpha, const float *x, float beta, float *y), \
	  PT_WRAP_LIST(n, alpha, x, beta, y)) \
	X(affine_fwd, PT_WRAP_LIST(int64_t n, int64_t c, const float *x, const float *w, const float *b, float *y), \
	  PT_WRAP_LIST(n, c, x, w, b, y)) \
	X(affine_bwd, PT_WRAP_LIST(int64_t n, int64_t c, const float *x, const float *w, const float *dy, \
				   float *dx, bool acc_dx, float *dw, float *db), \
	  PT_WRAP_LIST(n, c, x, w, dy, dx, acc_dx, dw, db)) \
	X(gather_fwd, PT_WRAP_LIST(int64_t n, int64_t c, const float *x, const int32_t *idx, float *y), \
	  PT_WRAP_LIST(n, c, x, idx, y)) \
	X(gather_bwd, PT_WRAP_LIST(int64_t n, int64_t c, const float *dy, const int32_t *idx, float *dx), \
	  PT_WRAP_LIST(n, c, dy, idx, dx)) \
	X(mean_fwd, PT_WRAP_LIST(int batch, int64_t c, const float *x, const int32_t *cu, float *y), \
	  PT_WRAP_LIST(batch, c, x, cu, y)) \
	X(mean_bwd, PT_WRAP_LIST(int batch, int64_t c, const float *dy, const int32_t *cu, float *dx, bool acc_dx), \
	  PT_WRAP_LIST(batch, c, dy, cu, dx, acc_dx)) \
	X(convert, PT_WRAP_LIST(void *dst, enum pt_dtype dt, const void *src, enum pt_dtype st, size_t n), \
	  PT_WRAP_LIST(dst, dt, src, st, n)) \
	X(gemm, const struct pt_k_gemm *k, k) \
	X(dropout, const struct pt_k_dropout *k, k) \
	X(linear_fwd, const struct pt_k_linear_group *k, k) \
	X(linear_bwd, const struct pt_k_linear_group *k, k) \
	X(norm_fwd, const struct pt_k_norm *k, k) \
	X(norm_bwd, const struct pt_k_norm *k, k) \
	X(rope, const struct pt_k_rope *k, k) \
	X(act_fwd, const struct pt_k_act *k, k) \
	X(act_bwd, const struct pt_k_act *k, k) \
	X(attn_fwd, const struct pt_k_attn *k, k) \
	X(attn_bwd, const struct pt_k_attn *k, k) \
	X(nll_fwd, const struct pt_k_nll *k, k) \
	X(nll_bwd, const struct pt_k_nll *k, k) \
	X(class_fwd, const struct pt_k_class *k, k) \
	X(class_bwd, const struct pt_k_class *k, k) \
	X(embed_fwd, const struct pt_k_embed *k, k) \
	X(embed_bwd, const struct pt_k_embed *k, k) \
	X(adamw, const struct pt_k_adamw *k, k) \
	X(sumsq, PT_WRAP_LIST(const float *x, size_t n, double *out), PT_WRAP_LIST(x, n, out)) \
	X(nonfinite, PT_WRAP_LIST(const float *x, size_t n, int64_t *out), PT_WRAP_LIST(x, n, out))

#endif
