/* SPDX-License-Identifier: MIT */
/*
 * wrap.h - what devices that put something around those of another share.
 *
 * PT_WRAP(X) is the list of kernels, X(name, parameters, arguments) for each,
 * without the device before them and the error behind them. The functions that
 * ask for scratch are not among them: PT_WRAP_SCRATCH has them ask the device
 * inside.
 */
#ifndef PT_DEVICE_WRAP_H
#define PT_DEVICE_WRAP_H

#include "device/device.h"
#include "device/kernels.h"

/* The head of .self of such a device. */
struct pt_wrap {
	struct pt_device *in;
};

static inline struct pt_device *pt_wrap_in(struct pt_device *dev)
{
	return ((struct pt_wrap *)dev->self)->in;
}

static inline size_t pt_wrap_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *k,
					    bool backward)
{
	return pt_wrap_in(dev)->k->linear_scratch(pt_wrap_in(dev), k, backward);
}

static inline size_t pt_wrap_attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	return pt_wrap_in(dev)->k->attn_scratch(pt_wrap_in(dev), k, backward);
}

static inline size_t pt_wrap_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	return pt_wrap_in(dev)->k->nll_scratch(pt_wrap_in(dev), k, backward);
}

#define PT_WRAP_SCRATCH \
	.linear_scratch = pt_wrap_linear_scratch, \
	.attn_scratch = pt_wrap_attn_scratch, \
	.nll_scratch = pt_wrap_nll_scratch

#define PT_WRAP_LIST(...) __VA_ARGS__

#define PT_WRAP(X) \
	X(fill, PT_WRAP_LIST(enum pt_dtype type, void *x, size_t n, float value), PT_WRAP_LIST(type, x, n, value)) \
	X(copy, PT_WRAP_LIST(void *dst, const void *src, size_t bytes), PT_WRAP_LIST(dst, src, bytes)) \
	X(axpby, PT_WRAP_LIST(enum pt_dtype type, size_t n, float alpha, const void *x, float beta, void *y), \
	  PT_WRAP_LIST(type, n, alpha, x, beta, y)) \
	X(affine_fwd, PT_WRAP_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w, \
				   const float *b, void *y), \
	  PT_WRAP_LIST(type, n, c, x, w, b, y)) \
	X(affine_bwd, PT_WRAP_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w, \
				   const void *dy, void *dx, bool acc_dx, float *dw, float *db), \
	  PT_WRAP_LIST(type, n, c, x, w, dy, dx, acc_dx, dw, db)) \
	X(gather_fwd, PT_WRAP_LIST(int64_t n, size_t bytes, const void *x, const int32_t *idx, void *y), \
	  PT_WRAP_LIST(n, bytes, x, idx, y)) \
	X(gather_bwd, PT_WRAP_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *dy, const int32_t *idx, \
				   bool distinct, void *dx), \
	  PT_WRAP_LIST(type, n, c, dy, idx, distinct, dx)) \
	X(mean_fwd, PT_WRAP_LIST(enum pt_dtype type, int batch, int64_t c, const void *x, const int32_t *cu, \
				 void *y), \
	  PT_WRAP_LIST(type, batch, c, x, cu, y)) \
	X(mean_bwd, PT_WRAP_LIST(enum pt_dtype type, int batch, int64_t c, const void *dy, const int32_t *cu, \
				 void *dx, bool acc_dx), \
	  PT_WRAP_LIST(type, batch, c, dy, cu, dx, acc_dx)) \
	X(convert, PT_WRAP_LIST(void *dst, enum pt_dtype dt, const void *src, enum pt_dtype st, size_t n), \
	  PT_WRAP_LIST(dst, dt, src, st, n)) \
	X(gemm, const struct pt_k_gemm *k, k) \
	X(dropout, const struct pt_k_dropout *k, k) \
	X(linear_fwd, const struct pt_k_linear_group *k, k) \
	X(linear_bwd, const struct pt_k_linear_group *k, k) \
	X(route_fwd, const struct pt_k_route *k, k) \
	X(route_bwd, const struct pt_k_route *k, k) \
	X(combine_fwd, const struct pt_k_combine *k, k) \
	X(combine_bwd, const struct pt_k_combine *k, k) \
	X(gate_fwd, const struct pt_k_gate *k, k) \
	X(gate_bwd, const struct pt_k_gate *k, k) \
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
	X(unit_fwd, const struct pt_k_unit *k, k) \
	X(unit_bwd, const struct pt_k_unit *k, k) \
	X(dots_fwd, const struct pt_k_dots *k, k) \
	X(dots_bwd, const struct pt_k_dots *k, k) \
	X(span_fwd, const struct pt_k_span *k, k) \
	X(span_bwd, const struct pt_k_span *k, k) \
	X(embed_fwd, const struct pt_k_embed *k, k) \
	X(embed_bwd, const struct pt_k_embed *k, k) \
	X(adamw, PT_WRAP_LIST(int count, const struct pt_k_adamw *k), PT_WRAP_LIST(count, k)) \
	X(inv_norm, PT_WRAP_LIST(int64_t n, int64_t r, const float *sumsq, const float *b, const float *p, float *inv), \
	  PT_WRAP_LIST(n, r, sumsq, b, p, inv)) \
	X(sumsq, PT_WRAP_LIST(int count, const struct pt_k_sumsq *k), PT_WRAP_LIST(count, k)) \
	X(nonfinite, PT_WRAP_LIST(const float *x, size_t n, int64_t *out), PT_WRAP_LIST(x, n, out))

#endif
