/* SPDX-License-Identifier: MIT */
/*
 * tape.h - reverse-mode differentiation over eager operations, and the scope.
 *
 * An operation pushes a node when recording and one of its inputs needs a
 * gradient. Backward walks the nodes from the last to the first; a gradient
 * of an activation is written by the first consumer that backward meets,
 * added to by the others, and released when its producer's backward is done;
 * then the low end is rewound to where it was before the node.
 */
#ifndef PT_TENSOR_TAPE_H
#define PT_TENSOR_TAPE_H

#include "tensor/tensor.h"

struct pt_node;

/* Backward of one node: reads the gradients of its outputs, writes or adds those of its inputs. */
typedef int (*pt_backward_fn)(struct pt_run *run, struct pt_node *node);

struct pt_node {
	pt_backward_fn backward;
	const char *name;
	size_t mark;			/* low end before the node's outputs */
	struct pt_tensor **out;		/* outputs; none for an operation in place */
	int nout;
	struct pt_tensor **in;		/* inputs whose gradients it may write */
	int nin;
	struct pt_tensor **saved;	/* tensors whose data backward reads */
	int nsaved, max_saved;
	void *ctx;			/* host bytes of the operation, from the pool */
};

struct pt_tape {
	struct pt_node **node;
	size_t n, cap;
};

/* For implementers of operations. The node starts with zeroed ctx; backward runs only if an output got a gradient. */
struct pt_node *pt_tape_push(struct pt_run *run, const char *name, pt_backward_fn fn, size_t mark,
			     struct pt_tensor *const *in, int nin, struct pt_tensor *const *out,
			     int nout, size_t ctx_bytes);
/*
 * The node's backward reads t's data: it stays, and may not be changed in
 * place. At most nin + nout tensors a node: one more is run->err (a bug).
 */
void pt_tape_save(struct pt_run *run, struct pt_node *node, struct pt_tensor *t);
/* The same of one whose data backward asks of t alone, not of what it noted before: t may make it again. */
void pt_tape_save_again(struct pt_run *run, struct pt_node *node, struct pt_tensor *t);
/*
 * Where to write t's gradient, of t->grad_type: *acc says add (true) or overwrite. NULL when t needs none or
 * on failure.
 */
void *pt_tape_grad(struct pt_run *run, struct pt_tensor *t, bool *acc);
/* The same for kernels that always add: a fresh gradient is zeroed. t may be NULL. */
void *pt_tape_grad_add(struct pt_run *run, struct pt_tensor *t);
/* t's gradient += g of the same shape and type. */
int pt_tape_give(struct pt_run *run, struct pt_tensor *t, const void *g);
/* The same from the gradient of out, which is done with: its memory moves where it can. */
int pt_tape_move(struct pt_run *run, struct pt_tensor *t, struct pt_tensor *out);
/* The same from the gradient of another tensor, which stays: they share its memory where they can. */
int pt_tape_share(struct pt_run *run, struct pt_tensor *t, struct pt_tensor *from);
/* t's gradient (NULL: there is none), to be changed where it stands: shared with no one from here on. */
void *pt_tape_grad_own(struct pt_run *run, struct pt_tensor *t);
/*
 * In-place operations call this first: refused (PT_FAIL, a bug) when a node
 * saved t's data, when t is a leaf, or when it comes from outside the scope
 * (running the scope again would change it twice).
 */
int pt_tape_check_inplace(struct pt_run *run, const struct pt_tensor *t);

/* Walk back down to floor nodes: what pt_backward() and scopes do once gradients are seeded. */
int pt_tape_walk(struct pt_run *run, size_t floor);

/* Forget the nodes and the gradients they hold; run->record is left alone. */
void pt_tape_reset(struct pt_tape *tape);

/*
 * Run backward from loss [n] with seed weights (device f32 [n]; NULL: ones)
 * down to the start of the tape. Gradients of external tensors are added up;
 * activations made since the first node are gone afterwards. PT_NUMERIC when
 * nothing that needs a gradient led to the loss.
 */
int pt_backward(struct pt_run *run, struct pt_tensor *loss, const float *weight, struct pt_error *err);

/*
 * One more loss t [1] that the next pt_backward() starts from, times weight.
 * Nothing happens where it needs no gradient.
 */
int pt_backward_also(struct pt_run *run, struct pt_tensor *t, float weight);

/*
 * The one primitive for no-grad parts, evaluation, checkpointing, decoding.
 * fn computes its outputs from in[] inside a scope; they are copied into
 * outputs reserved before it opened, and all inside is released. With
 * PT_SCOPE_RECOMPUTE (while recording) the scope becomes one node: backward
 * runs fn again with recording on, with the same random keys, and goes
 * through what it recorded. Without it, outputs need no gradient. in[] must
 * list every activation from outside that fn uses; trainable leaves need not be listed.
 * PT_SCOPE_AWAY beside that: unless something else keeps in[0] for backward, it
 * waits in host memory (pt_run_away()); the formula reads it no more.
 */
enum { PT_SCOPE_NOGRAD = 0, PT_SCOPE_RECOMPUTE = 1, PT_SCOPE_AWAY = 2 };

typedef int (*pt_scope_fn)(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			   struct pt_tensor **out, int nout);

struct pt_shape {
	int ndim;
	int64_t dim[PT_MAX_DIMS];
	const struct pt_rows *rows;
	bool f32;			/* whatever activations are */
};

/*
 * arg is copied (arg_bytes) so that backward can call fn again. out[i] gets
 * shape[i].rows. What fn sets in run->record and run->train ends with the
 * scope. In a scope that is not recorded, pt_tensor_done() inside keeps the
 * peak at what is alive.
 */
int pt_scope(struct pt_run *run, int flags, pt_scope_fn fn, const void *arg, size_t arg_bytes,
	     struct pt_tensor *const *in, int nin, const struct pt_shape *shape,
	     struct pt_tensor **out, int nout);

#endif
