/* SPDX-License-Identifier: MIT */
/*
 * ops.h - the differentiable operations. Each returns its output, or NULL
 * after a failure (run->err). x [N,C] are activations of packed rows; weights
 * are leaves of any stored type; a leaf with needs_grad gets its gradient
 * added to leaf->grad.
 */
#ifndef PT_TENSOR_OPS_H
#define PT_TENSOR_OPS_H

#include "device/kernels.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

/* y += scale * b (a drop(x)) [+ scale * bias]. Host struct, copied. */
struct pt_lowrank {
	struct pt_tensor *a;		/* [R,K] f32 */
	struct pt_tensor *b;		/* [Nout,R] f32 */
	struct pt_tensor *bias;		/* [Nout] f32 or NULL */
	float scale;
	float dropout;			/* acts only while run->train */
	uint64_t site;			/* random site */
};

struct pt_linear {
	struct pt_tensor *w;		/* [Nout,K], or [K,Nout] where transposed */
	struct pt_tensor *bias;		/* [Nout] or NULL */
	bool transposed;
	const struct pt_lowrank *term;
	int nterms;
	const struct pt_turn *turn;	/* y is rotated as by pt_op_rope(); NULL: not */
};

/* Heads and tables of a rotary embedding. */
struct pt_turn {
	const struct pt_rope *rope;
	int heads, head_dim;
};

/* The linears that share x [N,K], as one call: y[i] [N,Nout_i]. Returns 0 or a status (also in run->err). */
int pt_op_linear_group(struct pt_run *run, struct pt_tensor *x, const struct pt_linear *lin, int n,
		       struct pt_tensor **y);
/* Two linears and what a gated unit makes of them, act(y[0]) * y[1], in one call; NULL: failed. */
struct pt_tensor *pt_op_linear_glu(struct pt_run *run, struct pt_tensor *x, const struct pt_linear lin[2], enum pt_act act,
				   struct pt_tensor *y[2]);
struct pt_tensor *pt_op_linear(struct pt_run *run, struct pt_tensor *x, const struct pt_linear *lin);

/* scale * w[ids]; ids device [n]. The row of the id pad gets no gradient (torch's padding_idx); -1: none. */
struct pt_tensor *pt_op_embed(struct pt_run *run, struct pt_tensor *w, bool transposed,
			      const int32_t *ids, const struct pt_rows *rows, float scale, int64_t pad);

struct pt_tensor *pt_op_add(struct pt_run *run, struct pt_tensor *a, struct pt_tensor *b);
struct pt_tensor *pt_op_scale(struct pt_run *run, struct pt_tensor *x, float s);
/* x[i,j] * w[j] + b[j]; w, b f32 [C] or NULL. */
struct pt_tensor *pt_op_affine(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *w,
			       struct pt_tensor *b);
/*
 * The factor m[j] inv[j] on a linear's output x but for its bias (NULL: it has none), with inv (device f32 [C])
 * held constant: y[i,j] = b[j] + m[j] inv[j] (x[i,j] - b[j]).
 */
struct pt_tensor *pt_op_rescale(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *m, const float *inv,
				struct pt_tensor *bias);
/*
 * inv[j] = 1 / || row j of W + scale B A ||, of lin's weight and its first term, from sumsq[j] = || row j of W ||^2;
 * device f32 [Nout] both. The rows of a table are those of its transpose. Nothing is recorded.
 */
int pt_op_row_norms(struct pt_run *run, const struct pt_linear *lin, const float *sumsq, float *inv);
/* [1] f32: || T T' - I ||, of T' T where columns, in Frobenius's norm; t f32 [R,C]. */
struct pt_tensor *pt_op_orthogonality(struct pt_run *run, struct pt_tensor *t, bool columns);
/*
 * x times the blocks of a block-diagonal matrix, m [n,b*b], or one for all
 * [1,b*b]: x is [N,n*b], or stacked blocks [n,b*b] itself.
 */
struct pt_tensor *pt_op_blocks(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *m, int64_t b, bool stacked);
/*
 * Skew blocks [n,b*b] from what is above their diagonals, v [n,b(b-1)/2] f32, row by row. places (device) are those
 * that pt_skew_places() lists, [2,n*b(b-1)/2], malloced.
 */
struct pt_tensor *pt_op_skew(struct pt_run *run, struct pt_tensor *v, int64_t b, const int32_t *places);
int32_t *pt_skew_places(int64_t n, int64_t b, struct pt_error *err);
/*
 * R - I of rotations R = (I - Q) (I + Q)^-1, with skew blocks q [n,b*b]; the same on the host, and the inverses of
 * I + Q (NULL: not wanted).
 */
struct pt_tensor *pt_op_cayley(struct pt_run *run, struct pt_tensor *q, int64_t b);
int pt_cayley_inverses(const float *q, int64_t n, int64_t b, float *inverse, float *turn, struct pt_error *err);
/* The elements of x as [rows,cols]; x [R,C] as [C,R]. */
struct pt_tensor *pt_op_reshape(struct pt_run *run, struct pt_tensor *x, int64_t rows, int64_t cols);
struct pt_tensor *pt_op_transpose(struct pt_run *run, struct pt_tensor *x);
/* The Kronecker product of a [L,M] and b [K,N]: [L*K,M*N]. */
struct pt_tensor *pt_op_kron(struct pt_run *run, struct pt_tensor *a, struct pt_tensor *b);
/* p counts only while run->train; identity (x itself) otherwise. */
struct pt_tensor *pt_op_dropout(struct pt_run *run, struct pt_tensor *x, float p, uint64_t site);

struct pt_norm {
	enum pt_norm_kind kind;
	/* [C]; b NULL for RMS. Narrower than the rows of x: each piece of that width is normed alone (heads) */
	struct pt_tensor *w, *b;
	float eps;
};

struct pt_tensor *pt_op_norm(struct pt_run *run, struct pt_tensor *x, const struct pt_norm *norm);
/* What a norm gave is made again in backward, not kept, where linears alone read it there: it costs one pass over x. */
void pt_op_norm_again(struct pt_tensor *y);
/* *sum = x + delta; returns norm(*sum): the fused residual of pre-norm blocks. */
struct pt_tensor *pt_op_add_norm(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *delta,
				 const struct pt_norm *norm, struct pt_tensor **sum);

/* Rotary embedding in place on x [N,heads*head_dim]; returns x. */
struct pt_rope {
	const float *cos, *sin;		/* device [positions, rot_dim/2] */
	int64_t positions;
	int rot_dim;
	const int32_t *pos;		/* device [N]: row of the tables for each row of x; NULL: x->rows->pos */
};
struct pt_tensor *pt_op_rope(struct pt_run *run, struct pt_tensor *x, int heads, int head_dim,
			     const struct pt_rope *rope);

struct pt_tensor *pt_op_act(struct pt_run *run, struct pt_tensor *x, enum pt_act act);
/* act(gate) * up */
struct pt_tensor *pt_op_glu(struct pt_run *run, struct pt_tensor *gate, struct pt_tensor *up,
			    enum pt_act act);

/* A table of key/value prefixes of any lengths, one index (or -1) a sequence. */
struct pt_prefix {
	struct pt_tensor *k, *v;	/* [rows, G*D] */
	int n;				/* entries */
	const int32_t *cu, *host_cu;	/* [n+1] */
	const int32_t *index, *host_index;	/* [B] */
};

struct pt_attn {
	int heads, kv_heads, head_dim;
	bool causal;
	int window;
	float scale, softcap;
	enum pt_attn_bias bias;
	struct pt_tensor *bias_table;	/* BUCKETS [buckets,H] (may train), SLOPES and KEY_SLOPES [H] */
	int buckets, max_distance;
	bool bidirectional;
	const struct pt_prefix *prefix;	/* NULL: none */
	float dropout;
	uint64_t site;
};

/* q [Nq,H*D] by q->rows, k and v [Nk,G*D] by k->rows (another packing for cross attention and caches). */
struct pt_tensor *pt_op_attn(struct pt_run *run, struct pt_tensor *q, struct pt_tensor *k,
			     struct pt_tensor *v, const struct pt_attn *attn);

/* Rows idx[n] of x, each as often as it is named; rows describes the result (may be NULL). */
struct pt_tensor *pt_op_gather(struct pt_run *run, struct pt_tensor *x, const int32_t *idx, int64_t n,
			       const struct pt_rows *rows);
/*
 * Pieces of the features of x [N,C], taken as `total` of equal width: y has
 * those listed, in that order, none twice. So q, k and v come out of a fused
 * projection, heads in any order. The index is made once for all layers;
 * device memory until reset.
 */
const int32_t *pt_pieces_index(struct pt_run *run, int64_t rows, int total, const int *piece, int n);
struct pt_tensor *pt_op_pieces(struct pt_run *run, struct pt_tensor *x, int total, const int32_t *index,
			       int n);
/*
 * The packing of rows with so many more before each sequence, whose random
 * keys are the sequence's; in place until reset.
 */
const struct pt_rows *pt_rows_lengthen(struct pt_run *run, const struct pt_rows *rows, int front);
/* front [P,C] before each sequence of x: rows is x's packing, lengthened by P. The gradient of front is their sum, in f32. */
struct pt_tensor *pt_op_prepend(struct pt_run *run, struct pt_tensor *front, struct pt_tensor *x,
				const struct pt_rows *rows);
/* The elements of x[n], one behind the other, as rows of cols. */
struct pt_tensor *pt_op_join(struct pt_run *run, struct pt_tensor *const *x, int n, int64_t rows, int64_t cols);
/* Mean over each sequence: [B,C]. */
struct pt_tensor *pt_op_mean(struct pt_run *run, struct pt_tensor *x, const struct pt_rows *rows);

/* See struct pt_k_nll. */
struct pt_nll {
	struct pt_linear head;		/* w [V,C] */
	float scale, cap, smoothing;
	int64_t rows;			/* labelled rows */
	const int32_t *row, *label;	/* device [rows] */
	const float *weight;		/* device [rows] or NULL. Given while recording: the gradients are
					 * computed in the forward pass, and pt_backward() seeds of 1 mean these weights */
	int32_t *argmax;		/* device [rows] or NULL */
};
/* nll [rows] f32. */
struct pt_tensor *pt_op_token_nll(struct pt_run *run, struct pt_tensor *x, const struct pt_nll *nll);

struct pt_class {
	enum pt_class_loss kind;
	const int32_t *cls;		/* device [B] */
	const float *target;		/* device [B,K] */
	float smoothing;
};
/* loss [B] f32 of logits [B,K]. */
struct pt_tensor *pt_op_class_loss(struct pt_run *run, struct pt_tensor *logits,
				   const struct pt_class *c);

#endif
