/* SPDX-License-Identifier: MIT */
/*
 * op.h - what the operations share among themselves; private to lib/tensor.
 *
 * The shape of every operation: check inputs, mark the low end, make outputs,
 * run the kernel, and push a node when recording and an output needs a
 * gradient. All failures go to run->err, the first one stays.
 */
#ifndef PT_TENSOR_OP_H
#define PT_TENSOR_OP_H

#include "device/kernels.h"
#include "tensor/ops.h"
#include "tensor/tape.h"
#include "tensor/tensor.h"

/* Note a failure unless there is one already; returns the status that stands. */
int pt_op_fail(struct pt_run *run, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* True when op may go on with input t of ndim dimensions (0: any). */
bool pt_op_in(struct pt_run *run, const char *op, const struct pt_tensor *t, int ndim);

/* True when x is of the run's type of activations; a failure else. */
bool pt_op_act_type(struct pt_run *run, const char *op, const struct pt_tensor *x);

/* A tensor that backward may have to write a gradient for, in this mode. */
bool pt_op_wants(const struct pt_run *run, const struct pt_tensor *t);

/* Memory of the high end for one kernel call; *p is NULL for 0 bytes. */
bool pt_op_scratch(struct pt_run *run, size_t bytes, void **p);
void pt_op_scratch_drop(struct pt_run *run, void *p);
/* Memory of the low end that backward reads. */
void *pt_op_keep(struct pt_run *run, int64_t n, size_t size);

/* An output like x: same shape and rows. */
struct pt_tensor *pt_op_like(struct pt_run *run, const struct pt_tensor *x);

/*
 * away.c: t on its way to host memory; NULL where it stays, or on failure. When
 * the scope that reads it has run, and a node saved it, its memory is released.
 */
struct pt_parked {
	struct pt_tensor *t;
	size_t at, bytes;		/* in the host's memory */
	uint64_t ticket;
	struct pt_parked *below;	/* the one that went before */
};
struct pt_parked *pt_away_begin(struct pt_run *run, struct pt_tensor *t);
int pt_away_end(struct pt_run *run, struct pt_parked *p);
/* Backward reads p (may be NULL) from here on, and next the one that went before: that is fetched ahead. */
int pt_away_back(struct pt_run *run, struct pt_parked *p);
void pt_away_release(struct pt_run *run, struct pt_parked *p);
/* For the run. */
void pt_away_reset(struct pt_run *run);
void pt_away_close(struct pt_run *run);

/* A node with one input and one output, at the mark taken before out was made. */
struct pt_node *pt_op_node1(struct pt_run *run, const char *name, pt_backward_fn fn, size_t mark,
			    struct pt_tensor *in, struct pt_tensor *out, size_t ctx_bytes);

/* Random rows of x for dropout p; p of 0 gives nothing. False after failure (no keys). */
bool pt_op_rng(struct pt_run *run, const char *op, const struct pt_rows *rows, float p,
	       struct pt_k_rows *out);

/* Rotary embedding of x, described to a kernel, and its node when it was done. */
bool pt_op_rope_fill(struct pt_run *run, const struct pt_tensor *x, int heads, int head_dim, const struct pt_rope *rope,
		     struct pt_k_rope *k);
bool pt_op_rope_record(struct pt_run *run, struct pt_tensor *x, const struct pt_k_rope *k);

/* Check one linear against K inputs and describe it to a kernel; term[] has room for lin->nterms. */
bool pt_op_linear_fill(struct pt_run *run, const char *op, const struct pt_linear *lin, int64_t k,
		       struct pt_k_linear *out, struct pt_k_lowrank *term);
/* Any trainable part, and whether x's data is needed for it. */
bool pt_op_linear_trains(const struct pt_run *run, const struct pt_linear *lin);
bool pt_op_linear_reads_x(const struct pt_run *run, const struct pt_linear *lin);
/* A copy of lin with its terms in the run's pool. */
bool pt_op_linear_copy(struct pt_run *run, const struct pt_linear *lin, struct pt_linear *out);
/* Point the gradients of a kernel's linear at those of lin's trainable parts. */
void pt_op_linear_grads(struct pt_run *run, const struct pt_linear *lin, struct pt_k_linear *k);
/* Tensors of lin that may get a gradient, appended to in[] (room for 2 + 3 per term); returns the new count. */
int pt_op_linear_inputs(const struct pt_linear *lin, struct pt_tensor **in, int n);

#endif
