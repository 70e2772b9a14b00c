/* SPDX-License-Identifier: MIT */
/*
 * eigen.h - what is done in double with symmetric matrices as large as a
 * layer, on the host.
 */
#ifndef PT_TENSOR_EIGEN_H
#define PT_TENSOR_EIGEN_H

#include <stdint.h>

#include "base/error.h"

/* stop is asked now and then (pt_stopped()). */

/* a [n,n] symmetric becomes its eigenvectors, one a row; value [n] rising. */
int pt_eigen_symmetric(double *a, int64_t n, double *value, int (*stop)(void), struct pt_error *err);

/* a [n,n] positive definite becomes its factor L, below and on the diagonal. PT_NUMERIC: it is not. */
int pt_cholesky(double *a, int64_t n, int (*stop)(void), struct pt_error *err);
/* x [n] becomes the solution of L L' y = x. */
void pt_cholesky_solve(const double *l, int64_t n, double *x);

#endif
