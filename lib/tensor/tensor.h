/* SPDX-License-Identifier: MIT */
/*
 * tensor.h - tensors, and the run that owns what a step needs: device,
 * arena, tape, random seed.
 *
 * Operations (ops.h) are called eagerly and return their output. The first
 * failure stays in run->err; after it every operation returns NULL and NULL
 * inputs are passed through, so that a model's formula is written without
 * checks and checked once at its end by pt_run_check().
 */
#ifndef PT_TENSOR_TENSOR_H
#define PT_TENSOR_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "device/device.h"
#include "tensor/arena.h"
#include "tensor/pool.h"

#define PT_MAX_DIMS 3

/*
 * How the rows of an activation belong to sequences: packed, ragged, no
 * padding. Filled on the host, uploaded once per micro-batch.
 */
struct pt_rows {
	int64_t n;			/* rows */
	int batch;			/* sequences */
	int max_len;			/* longest sequence */
	const int32_t *cu;		/* [B+1] device */
	const int32_t *host_cu;		/* [B+1] host */
	const int32_t *pos;		/* [N] device: position inside the sequence (from 0, offset added where decoding) */
	const uint64_t *key;		/* [N] device: random key of the row's example; NULL when nothing is random */
};

struct pt_run;

struct pt_tensor {
	enum pt_dtype type;
	int ndim;
	int64_t shape[PT_MAX_DIMS];
	void *data;			/* device; NULL only for size 0 */
	const struct pt_rows *rows;	/* of activations; inherited by operations */
	bool needs_grad;
	void *grad;			/* device, same shape; activations: NULL until the first consumer wrote it */
	struct pt_tensor *twin;		/* has the same gradient, in the same memory, until one of the two adds to it */
	enum pt_dtype grad_type;	/* of activations their type, of leaves f32 */
	bool external;			/* grad lives outside the arena (trainable tensors): always added to */
	const char *name;		/* for messages; borrowed; may be NULL */
	int saved;			/* nodes that keep the data for backward (in-place check, pt_tensor_done) */
	struct pt_node *node;		/* producer on the tape, NULL for leaves */
	int depth;			/* scope in which the activation was made */
	bool owned;			/* an activation of the run: data is a block of its arena */
	/*
	 * Makes the data again where backward reads it: once the formula is done with t, nothing is kept. NULL: it is.
	 */
	int (*again)(struct pt_run *run, const struct pt_tensor *t, void *data);
	bool unit_grad;			/* grad is exactly the ones that pt_backward() seeded */
};

static inline int64_t pt_tensor_count(const struct pt_tensor *t)
{
	int64_t n = 1;

	for (int i = 0; i < t->ndim; i++)
		n *= t->shape[i];
	return n;
}

struct pt_tape;
struct pt_parked;

/* Host memory where inputs of scopes wait for backward (PT_SCOPE_AWAY). */
struct pt_away {
	char *base;			/* pinned; NULL: none, or of a plan, which only counts */
	size_t capacity, used, peak;
	struct pt_parked *top;		/* the last that went and is not yet back */
	uint64_t ticket;		/* of the last copy */
};

struct pt_run {
	struct pt_device *dev;
	struct pt_arena arena;
	struct pt_tape *tape;
	bool record;			/* push nodes (false: inference) */
	bool train;			/* dropout acts */
	bool trace;			/* first run of a recomputed scope: needs_grad is passed on, no nodes */
	bool round_bf16;		/* operands of products rounded as bf16 (--dtype bf16 on a device without it) */
	enum pt_dtype act_type;		/* type of activations: f32, or bf16 by pt_run_compute() */
	struct pt_error err;		/* first failure */
	struct pt_pool pool;		/* tensors and nodes, reused from step to step */
	struct pt_away away;
	int depth;			/* scopes that are open */
	void **upload;			/* blocks of pt_run_upload(), released at the end of their scope */
	size_t nuploads, cap_uploads;
};

/* capacity: bytes of the arena; 0 with a plan device: unbounded, only counted. */
int pt_run_init(struct pt_run *run, struct pt_device *dev, size_t capacity, struct pt_error *err);
void pt_run_release(struct pt_run *run);
/*
 * fn(run, arg, true) on dev, in a run of its own that is as large as it takes: fn(run, arg, false) comes first, where
 * nothing is computed. What became of the run is returned.
 */
int pt_run_once(struct pt_device *dev, void (*fn)(struct pt_run *run, void *arg, bool real), void *arg, struct pt_error *err);
/* Once, after that: pinned host memory for what waits for backward there. 0 is none. */
int pt_run_away(struct pt_run *run, size_t capacity, struct pt_error *err);

/* The compute type: bf16 or f32, the latter from the start. What activations are then is the device's. */
void pt_run_compute(struct pt_run *run, bool bf16);

/*
 * Operations between the two are on parameters, in f32 whatever activations
 * are; what they make may be a weight or a term of a linear.
 */
struct pt_compute {
	enum pt_dtype act_type;
	bool round_bf16;
};
struct pt_compute pt_run_exact(struct pt_run *run);
void pt_run_resume(struct pt_run *run, struct pt_compute was);

/* Forget all tensors, nodes and arena contents: the start of a micro-batch. */
void pt_run_reset(struct pt_run *run);

/* The first failure since reset: its status with *err filled, else 0. */
int pt_run_check(struct pt_run *run, struct pt_error *err);

/*
 * A leaf over memory that the caller owns: weights, uploads, trainable
 * tensors. The struct is the caller's. With needs_grad set and not external
 * it gets a gradient in the arena, which lives until reset.
 */
void pt_tensor_init(struct pt_tensor *t, enum pt_dtype type, int ndim, const int64_t *shape, void *data);

/* An activation of the run (low end while recording, so that backward finds it). */
struct pt_tensor *pt_tensor_new(struct pt_run *run, int ndim, const int64_t *shape,
				const struct pt_rows *rows);
/* The same of f32, whatever activations are: losses. */
struct pt_tensor *pt_tensor_new_f32(struct pt_run *run, int ndim, const int64_t *shape,
				    const struct pt_rows *rows);
/* The same of any type: bytes that an operation keeps, which need no gradient. */
struct pt_tensor *pt_tensor_new_as(struct pt_run *run, enum pt_dtype type, int ndim, const int64_t *shape,
				   const struct pt_rows *rows);

/*
 * The formula reads t no more. Its memory is free at once unless a node keeps
 * it for backward; using it again is a failure. Nothing happens for leaves and
 * for tensors from outside the scope. An operation may return its input itself
 * (dropout of 0, rope): say it for the result only.
 */
void pt_tensor_done(struct pt_run *run, struct pt_tensor *t);
/* y, computed from x, which is read no more (they may be one). */
static inline struct pt_tensor *pt_then(struct pt_run *run, struct pt_tensor *y, struct pt_tensor *x)
{
	if (y != x)
		pt_tensor_done(run, x);
	return y;
}

/* Device bytes that live until reset (or the enclosing scope's end): uploads of a micro-batch. */
void *pt_run_upload(struct pt_run *run, const void *host, size_t bytes);

/* Copy an activation to host f32. After pt_backward() activations are gone: read a loss before. */
int pt_tensor_read(struct pt_run *run, const struct pt_tensor *t, float *host, struct pt_error *err);

#endif
