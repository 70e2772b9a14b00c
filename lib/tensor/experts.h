/* SPDX-License-Identifier: MIT */
/*
 * experts.h - the operations of a mixture of experts:
 *
 *     r = pt_op_route(router logits)      which rows go where, how much each counts
 *     x = pt_op_dispatch(x, r)            a row for each choice, sorted by expert
 *     pt_op_experts(x, r, linears, ...)   each expert's rows through linears of its own
 *     y = pt_op_combine(x, r)             weighted sums, one row each again
 *
 * N rows, E experts, k choices of each row.
 */
#ifndef PT_TENSOR_EXPERTS_H
#define PT_TENSOR_EXPERTS_H

#include "tensor/ops.h"

/* Of the run: gone when it is reset or the scope ends. */
struct pt_route {
	int64_t n;
	int experts, k;
	struct pt_tensor *weight;	/* [N,k] f32 */
	struct pt_tensor *stat;		/* [2,E] f32: sums of probabilities over the rows of sequences, and numbers of
					 * choices; NULL where not asked for */
	struct pt_tensor *index;	/* memory of what follows, on the device */
	const int32_t *place;		/* [N,k] where each choice stands among the sorted */
	const int32_t *row;		/* [N*k] row of each place */
	const int32_t *offset;		/* [E+1] first place of each expert, and N*k */
	struct pt_rows rows;		/* of the sorted rows: random keys alone */
};

/*
 * z [N,E] router logits: softmax in f32, the k largest of each row (of equal
 * ones the lower number), their probabilities as weights, divided by their sum
 * where renorm. Gradients reach z through the weights and through stat.
 */
struct pt_route *pt_op_route(struct pt_run *run, struct pt_tensor *z, int k, bool renorm, bool stat);
/* The formula reads weight and index no more (stat is apart). */
void pt_op_route_done(struct pt_run *run, struct pt_route *r);

/* x [N,C] -> [N*k,C] sorted by expert. */
struct pt_tensor *pt_op_dispatch(struct pt_run *run, struct pt_tensor *x, struct pt_route *r);
/* x [N*k,K] sorted: lin [E*n], lin[e*n+j] the j-th linear of expert e; y[j] [N*k,Nout_j] for j < n. */
int pt_op_experts(struct pt_run *run, struct pt_tensor *x, struct pt_route *r, const struct pt_linear *lin, int n,
		  struct pt_tensor **y);
/* x [N*k,C] sorted -> [N,C]: sum over the choices of each row of weight times x. */
struct pt_tensor *pt_op_combine(struct pt_run *run, struct pt_tensor *x, struct pt_route *r,
				const struct pt_rows *rows);

/* sigmoid(g[i]) x[i,:] with g [N,1]. */
struct pt_tensor *pt_op_gate_rows(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *g);

/*
 * The loss that keeps experts in balance, [1] f32, from the stat of n layers:
 * scale * sum over e of (sum of stat[0,e]) (sum of stat[1,e]). With T rows in
 * each layer scale is E / (n T)^2 (Fedus et al. 2021, "Switch transformers",
 * (4) to (6)).
 */
struct pt_tensor *pt_op_balance(struct pt_run *run, struct pt_tensor *const *stat, int n, float scale);

#endif
