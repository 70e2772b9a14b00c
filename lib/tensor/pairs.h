/* SPDX-License-Identifier: MIT */
/*
 * pairs.h - operations of embeddings and spans: rows of length 1, products of
 * listed pairs of rows, cross entropy over the rows of a sequence. As in ops.h.
 */
#ifndef PT_TENSOR_PAIRS_H
#define PT_TENSOR_PAIRS_H

#include "tensor/ops.h"

#define PT_UNIT_EPS 1e-12f	/* of torch's normalize() */

/* Each row divided by its length, or by PT_UNIT_EPS where that is more. */
struct pt_tensor *pt_op_unit(struct pt_run *run, struct pt_tensor *x);
/* [n,k]: scale times the product of row a[i] with row b[i*k+j] of x; a, b on the device. */
struct pt_tensor *pt_op_dots(struct pt_run *run, struct pt_tensor *x, const int32_t *a, const int32_t *b, int64_t n,
			     int64_t k, float scale);
/*
 * loss [B] f32: of each column of z [N,K] the cross entropy over the rows of a
 * sequence, against row[b*K+j] of z (device; -1: none), and the mean of the K.
 */
struct pt_tensor *pt_op_span_loss(struct pt_run *run, struct pt_tensor *z, const struct pt_rows *rows,
				  const int32_t *row);

#endif
