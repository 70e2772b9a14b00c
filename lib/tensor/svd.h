/* SPDX-License-Identifier: MIT */
/*
 * svd.h - the largest singular values of a matrix with their vectors, and the
 * first columns of its QR decomposition, for what is initialised from weights.
 */
#ifndef PT_TENSOR_SVD_H
#define PT_TENSOR_SVD_H

#include "device/device.h"

/*
 * W [rows,cols] ~ U diag(S) V with the r largest: u [rows,r], s [r] falling,
 * v [r,cols]; all on the host. r is at most the lesser of rows and cols.
 * Products with W run on the device. Signs of vectors are arbitrary. stop is
 * asked now and then (pt_stopped()).
 */
int pt_svd_largest(struct pt_device *dev, const float *w, int64_t rows, int64_t cols, int r, float *u, float *s,
		   float *v, int (*stop)(void), struct pt_error *err);

/* W = Q R: q [rows,r] are the first columns of Q, rr [r,cols] the first rows of R; signs as LAPACK has them. */
int pt_qr_first(const float *w, int64_t rows, int64_t cols, int r, float *q, float *rr, struct pt_error *err);

#endif
