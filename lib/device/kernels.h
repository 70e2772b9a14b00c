/* SPDX-License-Identifier: MIT */
/*
 * kernels.h - the one table of functions that a device fills.
 *
 * All pointers are device memory unless a comment says host. Matrices are
 * row-major. Activations and their gradients have the type .type (or type;
 * F32 on the CPU); weights have the type in which they are stored (F32, BF16,
 * F16) and are converted tile by tile, their gradients are f32; accumulation is
 * f32. acc_* = true adds to what is
 * there, false overwrites. Work is cut into blocks that depend on shapes
 * alone, sums run in a fixed order: the same bits with any number of threads.
 * round_bf16 asks that operands of products be rounded as bf16 rounds them.
 *
 * Letters: N rows (tokens of all sequences), B sequences, C channels,
 * H heads, G key/value heads, D head size, V vocabulary, R rank, E experts.
 * A kernel returns 0 or a status with err filled.
 */
#ifndef PT_DEVICE_KERNELS_H
#define PT_DEVICE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

struct pt_device;

/* C[M,N] = alpha op(A)[M,K] op(B)[K,N] + beta C */
struct pt_k_gemm {
	int64_t m, n, k;
	const void *a, *b;
	void *c;
	enum pt_dtype at, bt, ct;	/* ct: F32 (or the activations' type) */
	int64_t lda, ldb, ldc;		/* elements between rows as stored */
	bool ta, tb;			/* A stored [K,M], B stored [N,K] */
	float alpha, beta;
	bool round_bf16;
};

/* Which random numbers a row takes: key identifies seed, epoch, example and draw; pos the token in it. */
struct pt_k_rows {
	const uint64_t *key;		/* [N] */
	const int32_t *pos;		/* [N] */
};

/* Keep probability 1-p, scaled by 1/(1-p); element (row, channel) by Philox(key[row] mixed with site; channel/4, pos). */
struct pt_k_dropout {
	const void *x;
	void *y;
	enum pt_dtype type;
	int64_t n, c;
	struct pt_k_rows rows;
	uint64_t site;
	float p;
	bool acc_y;			/* backward adds */
};

/* A low-rank term of a linear: y += scale * B (A drop(x)) [+ scale * bias]. */
struct pt_k_lowrank {
	int64_t r;
	const float *a;			/* [R,K] */
	const float *b;			/* [Nout,R] */
	const float *bias;		/* [Nout] or NULL */
	float scale;
	float dropout;			/* 0: none */
	uint64_t site;			/* random site of the dropout */
	void *u;			/* [N,R] A drop(x): written by forward, read by backward; NULL in forward: not kept */
	float *da, *db, *dbias;		/* backward: accumulated into, or NULL */
};

enum pt_act { PT_ACT_NONE, PT_ACT_GELU, PT_ACT_GELU_TANH, PT_ACT_SILU, PT_ACT_RELU, PT_ACT_TANH,
	      PT_ACT_QUICK_GELU, PT_ACT_RELU2, PT_ACT_SIGMOID };

/* One linear of a group: y = x W' + bias + terms. W [Nout,K], or [K,Nout] where transposed (Conv1D). */
struct pt_k_linear {
	int64_t n;			/* outputs */
	const void *w;
	enum pt_dtype wtype;
	bool transposed;
	const void *bias;		/* [Nout] or NULL */
	enum pt_dtype btype;
	void *y;			/* [N,Nout] forward */
	bool acc_y;
	const struct pt_k_rope *turn;	/* forward: y is rotated, where it stands (n, x, type unused); NULL: not */
	void *dy;			/* [N,Nout] backward; read, unless dz is given */
	float *dw, *dbias;		/* accumulated into, or NULL */
	const struct pt_k_lowrank *term;	/* host array */
	int nterms;
};

/*
 * With experts the rows of x are sorted by expert: those of e stand at
 * offset[e]..offset[e+1] and go through n linears of its own, lin[e*n+j]. Of
 * one j all have the same outputs and the same y and dy, whose rows are those
 * of x. Terms keep no u; nothing is rotated, and there is no z.
 */
struct pt_k_linear_group {
	int64_t rows, k;		/* x [rows, K] */
	const void *x;
	enum pt_dtype type;
	struct pt_k_rows rng;		/* for the terms' dropout */
	const struct pt_k_linear *lin;	/* host array [n], or [experts*n] */
	int n;
	int experts;			/* 0: none */
	const int32_t *offset;		/* [experts+1] */
	void *dx;			/* backward: NULL when not wanted */
	bool acc_dx;
	enum pt_act act;
	void *z;			/* [N,Nout] forward: act(y of the first) * y of the second, of two; NULL: not wanted */
	const void *dz;			/* backward: dy of both are made of it first, and of their y; that of the first may be dz; NULL: they are there */
	bool round_bf16;
	void *scratch;			/* scratch bytes as linear_scratch() asks; what it asks is enough for fewer rows */
};

#define PT_EXPERTS_MAX 1024

/*
 * Routing of mixtures of experts: of p = softmax(z) in f32 each row chooses
 * the k largest, of equal ones the lower number; their weights are p, divided
 * by the sum of the k where renorm. Choice j of row i stands at place[i,j]
 * when the N*k choices are sorted by expert, stably.
 */
struct pt_k_route {
	int64_t n;			/* rows */
	int64_t live;			/* rows before this count in stat (those behind belong to no sequence) */
	int experts, k;			/* at most PT_EXPERTS_MAX */
	enum pt_dtype type;
	const void *z;			/* [N,E] */
	bool renorm;
	float *p;			/* [N,E] */
	float *weight;			/* [N,k] */
	int32_t *expert;		/* [N,k] */
	int32_t *place;			/* [N,k] */
	int32_t *row;			/* [N*k] row of x at each place */
	int32_t *offset;		/* [E+1] first place of each expert, and N*k */
	struct pt_k_rows rng;		/* of the rows, and [N*k] of the places; key NULL: not wanted */
	uint64_t *key;
	int32_t *pos;
	float *stat;			/* [2,E] sums of p over rows, and numbers of choices; NULL: not wanted */
	/* backward */
	const float *dweight, *dstat;	/* NULL: none */
	void *dz;
	bool acc_dz;
};

/* y[i] = sum over j of weight[i,j] x[place[i,j]]: what experts made of a row, put together. */
struct pt_k_combine {
	int64_t n, c;
	int k;
	enum pt_dtype type;
	const void *x;			/* [N*k,C] */
	const int32_t *place;		/* [N,k] */
	const float *weight;		/* [N,k]; NULL: ones */
	void *y;
	bool acc_y;
	/* backward */
	const void *dy;
	void *dx;			/* NULL: not wanted */
	bool acc_dx;
	float *dweight;			/* NULL: not wanted */
	bool acc_dweight;
};

/* y[i,:] = sigmoid(g[i]) x[i,:]; backward: dx, dg, NULL where not wanted. */
struct pt_k_gate {
	int64_t n, c;
	enum pt_dtype type;
	const void *x, *g;		/* [N,C], [N] */
	void *y;
	const void *dy;
	void *dx, *dg;
	bool acc_dx, acc_dg;
};

enum pt_norm_kind { PT_NORM_RMS, PT_NORM_RMS1P, PT_NORM_LAYER };

/* sum = x + delta (delta NULL: x itself, nothing written); y = norm(sum). */
struct pt_k_norm {
	enum pt_norm_kind kind;
	int64_t n, c;
	enum pt_dtype type;
	const void *x, *delta;
	void *sum;			/* [N,C] or NULL when delta is NULL; may be x */
	const void *w, *b;		/* [C]; b only for LAYER; w may be NULL (no affine) */
	enum pt_dtype wtype, btype;	/* two where one of them trains */
	float eps;
	void *y;
	float *stat;			/* [N,2] mean and 1/std, kept for backward; NULL: not kept */
	/* backward: from dy and the sum, passed as x; dx (NULL: not wanted) is the gradient of the sum */
	const void *dy;
	void *dx;
	bool acc_dx;
	float *dw, *db;			/* accumulated into, or NULL */
};

/* Rotary embedding, half-split pairs (i, i + d/2), in place on x [N, H*D]; inverse for backward. */
struct pt_k_rope {
	int64_t n;
	int heads, head_dim, rot_dim;
	enum pt_dtype type;
	void *x;
	const int32_t *pos;		/* [N] */
	const float *cos, *sin;		/* [positions, rot_dim/2], attention factor included */
	bool inverse;
};

/* y = act(x) [* u]; backward: dx = dy act'(x) [* u], du = dy act(x); dx may be dy. */
struct pt_k_act {
	enum pt_act act;
	int64_t n;			/* elements */
	enum pt_dtype type;
	const void *x, *u;		/* u NULL: not gated */
	void *y;
	const void *dy;
	void *dx, *du;
	bool acc_dx, acc_du;
};

enum pt_attn_bias {
	PT_BIAS_NONE,
	PT_BIAS_BUCKETS,
	PT_BIAS_SLOPES,			/* -slope times the distance */
	PT_BIAS_KEY_SLOPES,		/* scale times the slope times the key's position, all rounded to bf16: Falcon */
};

/*
 * softmax(scale q k' [soft cap] + bias + mask) v, blocked, never S x S.
 * Query i of a sequence with lq queries and lk keys stands at key position
 * i + (lk - lq) (causal mask aligned at the end); window w > 0 lets it see
 * keys within w positions back, itself counted (two-sided when not causal).
 * A prefix of P rows stands before the keys, outside mask and window; biases
 * count it as positions.
 * Rows of no sequence (behind cu[B]) are left alone, in o and in gradients.
 */
struct pt_k_attn {
	int64_t nq, nk;			/* rows of q and of k, v */
	int batch, heads, kv_heads, head_dim;
	enum pt_dtype type;
	const void *q, *k, *v;		/* [Nq,H*D], [Nk,G*D]; row strides below */
	int64_t ldq, ldk, ldv, ldo;
	const int32_t *cu_q, *cu_k;	/* [B+1] device */
	const int32_t *host_cu_q, *host_cu_k;	/* the same on the host, for scheduling */
	bool causal;
	int window;			/* 0: none */
	float scale, softcap;		/* softcap 0: none */
	enum pt_attn_bias bias;
	const float *bias_table;	/* BUCKETS [buckets,H]; SLOPES, KEY_SLOPES [H] */
	int buckets, max_distance;
	bool bidirectional;		/* BUCKETS: T5's encoder form */
	int prefixes;			/* entries of the prefix table, 0: none */
	const void *prefix_k, *prefix_v;	/* [rows, G*D] */
	const int32_t *cu_prefix, *host_cu_prefix;	/* [prefixes+1] */
	const int32_t *prefix_index, *host_prefix_index;	/* [B], -1: none */
	float dropout;
	uint64_t site;
	struct pt_k_rows rng;		/* of the query rows */
	void *o;			/* [Nq,H*D] */
	float *lse;			/* [H,Nq] log-sum-exp, kept for backward; NULL: not kept */
	/* backward */
	const void *doo;		/* gradient of o */
	void *dq, *dk, *dv;		/* as q, k, v; NULL: not wanted */
	bool acc_dq, acc_dk, acc_dv;
	/* By which q and k were rotated: dq and dk, not added to, become those before (n, x, inverse unused). NULL: not. */
	const struct pt_k_rope *turn_q, *turn_k;
	float *dbias;			/* gradient of the table, accumulated into; NULL: not wanted */
	void *dprefix_k, *dprefix_v;	/* accumulated into; NULL: not wanted */
	void *scratch;			/* attn_scratch() bytes */
};

#define PT_NLL_MAX_TERMS 16

/*
 * Negative log-likelihood of labelled rows without whole logits:
 * z = cap(scale (x W' + bias + terms)); nll = (1-s)(lse z - z[label]) + s (lse z - mean z).
 * Rows are gathered: row[i] indexes x, label[i] is the target.
 */
struct pt_k_nll {
	int64_t rows;			/* labelled rows L */
	int64_t n;			/* rows of x, N */
	int64_t c, v;
	const void *x;			/* [N,C] */
	enum pt_dtype type;
	const int32_t *row, *label;	/* [L] device */
	struct pt_k_linear head;	/* w, bias, at most PT_NLL_MAX_TERMS terms; y, dy, term.u unused; dw, dbias, term.da ... accumulated */
	struct pt_k_rows rng;		/* of x's rows, for the terms' dropout */
	float scale, cap, smoothing;	/* scale 1, cap 0, smoothing 0: plain */
	float *nll;			/* [L] */
	float *lse;			/* [L], kept for backward */
	int32_t *argmax;		/* [L] or NULL */
	/* backward: dz = weight[i] * (softmax - target) */
	const float *weight;		/* [L] */
	void *dx;			/* [N,C], rows without label untouched unless !acc_dx (then zero); NULL: not wanted */
	bool acc_dx;
	bool round_bf16;
	void *scratch;			/* nll_scratch() bytes */
};

enum pt_class_loss { PT_LOSS_CE, PT_LOSS_MSE, PT_LOSS_BCE };

/* Loss of each row of logits z [B,K]: CE against cls, MSE and BCE (mean over K) against target [B,K]. */
struct pt_k_class {
	enum pt_class_loss kind;
	int64_t n, k;
	enum pt_dtype type;		/* of z and dz */
	const void *z;
	const int32_t *cls;		/* [B], CE; -100: no loss */
	const float *target;		/* [B,K], MSE and BCE */
	float smoothing;
	float *loss;			/* [B] */
	const float *weight;		/* backward [B] */
	void *dz;
	bool acc_dz;
};

/* y = x / max(|x|, eps), row by row. */
struct pt_k_unit {
	int64_t n, c;
	enum pt_dtype type;
	const void *x;
	void *y;			/* backward reads it */
	float eps;
	float *norm;			/* [N] what divided, kept for backward */
	const void *dy;
	void *dx;
	bool acc_dx;
};

/* z[i,j] = scale <x[a[i]], x[b[i,j]]>: products of listed pairs of rows. */
struct pt_k_dots {
	int64_t n, k, c;
	enum pt_dtype type;
	const void *x;			/* [rows,C] */
	const int32_t *a, *b;		/* [n], [n,k] rows of x */
	float scale;
	void *z;			/* [n,k] */
	const void *dz;
	void *dx;			/* accumulated into */
};

/*
 * Cross entropy over the rows of each sequence, column by column:
 * loss[b] = mean over j of (lse over cu[b]..cu[b+1] of z[:,j]) - z[row[b,j],j].
 */
struct pt_k_span {
	int batch;
	int64_t n, k;			/* z [N,K] */
	enum pt_dtype type;
	const void *z;
	const int32_t *cu;		/* [B+1] */
	const int32_t *row;		/* [B,K]; -1: no loss */
	float *loss;			/* [B] */
	const float *weight;		/* backward [B] */
	void *dz;			/* accumulated into */
};

struct pt_k_embed {
	int64_t n, c, v;
	const int32_t *ids;		/* [N] */
	const void *w;			/* [V,C], or [C,V] where transposed */
	enum pt_dtype wtype;
	bool transposed;
	float scale;
	int64_t pad;			/* rows with this id give no gradient; -1: none */
	void *y;
	enum pt_dtype type;
	bool acc_y;
	const void *dy;
	float *dw;			/* as w, accumulated in a fixed order */
};

/*
 * AdamW on f32; g is multiplied by *gscale (device, clip) first. t counts from 1.
 * The constants are doubles: 1 - beta2 of an f32 0.999 would be off by 1e-5.
 */
struct pt_k_adamw {
	size_t n;
	float *p, *m, *v;
	float *g;
	bool clear;			/* g is zero afterwards */
	double lr, beta1, beta2, eps, decay;
	int64_t t;
	const float *gscale;		/* device scalar or NULL */
};

/* *out (device) = sum x^2 in fixed blocks; NaN and infinity show in it. */
struct pt_k_sumsq {
	const float *x;
	size_t n;
	double *out;
};

/*
 * The kernels, X(name, parameters, arguments): the device stands before these,
 * the error behind them. Tables, declarations and what stands around a device
 * (wrap.h) are made from this list; only cpu/cpu.h has their names once more.
 */
#define PT_LIST(...) __VA_ARGS__
#define PT_KERNELS(X) \
	X(fill, PT_LIST(enum pt_dtype type, void *x, size_t n, float value), PT_LIST(type, x, n, value)) \
	X(copy, PT_LIST(void *dst, const void *src, size_t bytes), PT_LIST(dst, src, bytes)) \
	/* y = alpha x + beta y; y is not read where beta is 0 */ \
	X(axpby, PT_LIST(enum pt_dtype type, size_t n, float alpha, const void *x, float beta, void *y), \
	  PT_LIST(type, n, alpha, x, beta, y)) \
	/* \
	 * y[i,j] = x[i,j] * (w ? w[j] : 1) + (b ? b[j] : 0); backward: dx (+)= dy * w, dw += sum_i dy x, \
	 * db += sum_i dy, each of them NULL where not wanted \
	 */ \
	X(affine_fwd, PT_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w, \
		const float *b, void *y), PT_LIST(type, n, c, x, w, b, y)) \
	X(affine_bwd, PT_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *x, const float *w, \
		const void *dy, void *dx, bool acc_dx, float *dw, float *db), \
	  PT_LIST(type, n, c, x, w, dy, dx, acc_dx, dw, db)) \
	/* \
	 * y[i] = x[idx[i]], rows of any contents, bytes long (a multiple of 2); \
	 * backward: dx[idx[i],:] += dy[i,:], rows of c elements, in the order of i where indices are not distinct \
	 */ \
	X(gather_fwd, PT_LIST(int64_t n, size_t bytes, const void *x, const int32_t *idx, void *y), \
	  PT_LIST(n, bytes, x, idx, y)) \
	X(gather_bwd, PT_LIST(enum pt_dtype type, int64_t n, int64_t c, const void *dy, \
		const int32_t *idx, bool distinct, void *dx), PT_LIST(type, n, c, dy, idx, distinct, dx)) \
	/* y[b,:] = mean of x[cu[b]..cu[b+1]) */ \
	X(mean_fwd, PT_LIST(enum pt_dtype type, int batch, int64_t c, const void *x, const int32_t *cu, \
		void *y), PT_LIST(type, batch, c, x, cu, y)) \
	X(mean_bwd, PT_LIST(enum pt_dtype type, int batch, int64_t c, const void *dy, const int32_t *cu, \
		void *dx, bool acc_dx), PT_LIST(type, batch, c, dy, cu, dx, acc_dx)) \
	X(convert, PT_LIST(void *dst, enum pt_dtype dt, const void *src, enum pt_dtype st, size_t n), \
	  PT_LIST(dst, dt, src, st, n)) \
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
	/* of count tensors (host array) */ \
	X(adamw, PT_LIST(int count, const struct pt_k_adamw *k), PT_LIST(count, k)) \
	/* inv[i] = 1 / sqrt(sumsq[i] + sum_k b[i,k] p[i,k]) of n rows of r; 0 where the sum is not positive */ \
	X(inv_norm, PT_LIST(int64_t n, int64_t r, const float *sumsq, const float *b, const float *p, \
		float *inv), PT_LIST(n, r, sumsq, b, p, inv)) \
	X(sumsq, PT_LIST(int count, const struct pt_k_sumsq *k), PT_LIST(count, k)) \
	/* *out (device, i64) = number of elements that are NaN or infinite */ \
	X(nonfinite, PT_LIST(const float *x, size_t n, int64_t *out), PT_LIST(x, n, out))

/* Bytes of scratch that some of them ask for: the device stands before the parameters. */
#define PT_KERNEL_SCRATCH(X) \
	X(linear_scratch, PT_LIST(const struct pt_k_linear_group *k, bool backward), PT_LIST(k, backward)) \
	X(attn_scratch, PT_LIST(const struct pt_k_attn *k, bool backward), PT_LIST(k, backward)) \
	X(nll_scratch, PT_LIST(const struct pt_k_nll *k, bool backward), PT_LIST(k, backward))

struct pt_kernels {
#define PT_KERNEL_MEMBER(name, params, args) int (*name)(struct pt_device *, params, struct pt_error *);
	PT_KERNELS(PT_KERNEL_MEMBER)
#undef PT_KERNEL_MEMBER
#define PT_KERNEL_MEMBER(name, params, args) size_t (*name)(struct pt_device *, params);
	PT_KERNEL_SCRATCH(PT_KERNEL_MEMBER)
#undef PT_KERNEL_MEMBER
};

#endif
