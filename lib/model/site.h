/* SPDX-License-Identifier: MIT */
/*
 * site.h - the places of a model where a PEFT method may act, and how the
 * model calls what is hooked in there.
 *
 * A site carries its HF module path; fused modules are one site, as HF fuses
 * them. The model's formulas go through the pt_site_*() calls and know no
 * method; a method fills a struct pt_hook and knows no model. Several hooks
 * may be active at one site, applied in order.
 */
#ifndef PT_MODEL_SITE_H
#define PT_MODEL_SITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tensor/experts.h"

enum pt_site_kind {
	PT_SITE_LINEAR,		/* y = x W' + b */
	PT_SITE_EMBEDDING,	/* y = E[ids] */
	PT_SITE_NORM,
	PT_SITE_TABLE,		/* values that a kernel looks up (relative bias): trained whole or not at all */
	PT_SITE_KV,		/* keys and values of an attention: prefixes */
	PT_SITE_BLOCK,		/* output of a sub-block, where it meets the residual stream */
	PT_SITE_INPUT,		/* input embeddings of the whole model: virtual tokens */
	PT_SITE_STREAM,		/* the residual stream outside blocks: what the first one reads, what words are written from */
	PT_SITE_PARAM,		/* a parameter that is the weights of several linears, its pieces */
	PT_SITE_KINDS
};

enum pt_sub_block { PT_SUB_ATTENTION, PT_SUB_CROSS, PT_SUB_FFN };

/* One parameter of the base: where it is stored and what the forward pass reads. */
struct pt_weight {
	char *path;		/* HF parameter path in memory, "model.layers.0.self_attn.q_proj.weight" */
	char *file;		/* what files call it; NULL: as path */
	char *old;		/* name in older checkpoints, or NULL */
	const char *stored;	/* name in the checkpoint; NULL: not there (a new head) */
	const struct pt_site *param;	/* the parameter that files keep it in, a piece of it; NULL: it is by itself */
	struct pt_tensor t;	/* the base value, as stored, where kernels read it: while its block is needed, see body.h */
	const void *host;	/* the same where it is mapped; NULL: it is on the device alone */
	struct pt_tensor *use;	/* what forward reads: &t, or a trainable copy that stands in for it.
				 * A tied weight does not follow its twin: who trains the base sets both */
	struct pt_weight *tied;	/* the weight whose storage this one shares (tied head), or NULL */
	int64_t mapped;		/* number of its bytes among those that are placed (body.h); -1: they are not mapped */
	int readers;		/* of the bytes: itself and its twins, less those that pt_model_spare() says */
	bool spare;
	bool fresh;		/* initialised here: the checkpoint has no value */
	bool norm;		/* of a norm: ones, never decayed */
	bool bias;
};

struct pt_hook;

struct pt_site {
	char *path;		/* HF module path, "model.layers.0.self_attn.q_proj"; several kinds may stand at one */
	const char *module;	/* HF class: "Linear", "Conv1D", "Embedding", "LayerNorm", "RMSNorm", ... */
	enum pt_site_kind kind;
	int layer;		/* block number, -1 outside blocks */
	int stack;		/* of an encoder-decoder 0 or 1; -1: of the head */
	enum pt_sub_block sub;	/* KV, BLOCK: of which sub-block */
	int64_t in, out;	/* features; EMBEDDING: rows (vocabulary) and width */
	bool transposed;	/* weight stored [in,out] */
	bool output;		/* the output embedding: all-linear skips it */
	bool expert;		/* a linear of an expert: only low-rank terms can act there */
	bool packed;		/* of experts or a router: HF's memory has a parameter in its place, PEFT no module */
	bool head;		/* a task head (score, classifier) */
	float embed_scale;	/* EMBEDDING: factor on the output, 1 by default */
	int64_t pad;		/* EMBEDDING: the id whose row never trains (padding_idx); -1: none */
	struct pt_weight *weight, *bias;	/* NULL: none */
	/*
	 * PARAM: a parameter of three dimensions in HF's memory, [experts, out, in], whose rows [out] are those of
	 * npieces / experts linears one after the other; or [out, in] of one. in and out are those of one expert.
	 */
	const char *param;	/* its name in the module at path, "gate_up_proj" */
	char *file;		/* PARAM: what files call it, where they keep the pieces together; NULL: each by itself */
	struct pt_site *const *piece;	/* expert by expert */
	int npieces, experts;
	uint64_t rng;		/* random site: mixed from the path */
	double init_std;	/* of a fresh weight */
	struct pt_hook **hook;	/* active hooks in order */
	int nhooks;
};

/*
 * Where the output of a sub-block meets the residual stream: what a method
 * there may want beside the output. Both are read, and stay the model's.
 */
struct pt_joint {
	/* What the output is added to; NULL of a feed-forward beside an attention, whose sum is taken first. */
	struct pt_tensor *x;
	/* The norm behind: of that sum, or, in some families, of the output alone; NULL: there is none. */
	struct pt_site *norm;
	enum pt_norm_kind kind;
	float eps;
	/*
	 * Set by a hook: its result is what goes on, in place of the sum and its norm; the last hook decides. Only
	 * where may_replace.
	 */
	bool whole, may_replace;
};

/*
 * What a method does at a site; every function is optional. What it returns
 * in place of x or y takes over: the model reads the old one no more, and
 * pt_tensor_done() is said for it.
 */
struct pt_hook_ops {
	/* Replaces the input of a linear (it then leaves the group that shares x). */
	struct pt_tensor *(*input)(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x);
	/* Low-rank terms, computed inside the product: fills term[], at most max; returns their number. */
	int (*terms)(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max);
	/* From the input and the output (base and terms) of a linear to its new output; of a norm likewise. */
	struct pt_tensor *(*output)(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x,
				    struct pt_tensor *y);
	/* BLOCK: from the output of a sub-block, and what it meets, to what is added in its place. */
	struct pt_tensor *(*join)(struct pt_run *run, struct pt_hook *h, struct pt_joint *at, struct pt_tensor *y);
	struct pt_tensor *(*embed)(struct pt_run *run, struct pt_hook *h, const int32_t *ids,
				   const struct pt_rows *rows, struct pt_tensor *y);
	/* KV: the prefix of this attention of rows; pt_tensor_done() is said for its keys and values. */
	int (*prefix)(struct pt_run *run, struct pt_hook *h, const struct pt_rows *rows, struct pt_prefix *out);
	/* STREAM: from what goes by there to what goes on. */
	struct pt_tensor *(*pass)(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x);
	/* INPUT: rows put before each sequence; *rows becomes the new packing. Where decoding, before the first ones alone. */
	struct pt_tensor *(*prepend)(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x,
				     const struct pt_rows **rows);
	/* INPUT, KV: the positions that prepend or prefix takes before each sequence. NULL: none. */
	int (*front)(const struct pt_hook *h);
};

struct pt_hook {
	const struct pt_hook_ops *ops;
	struct pt_site *site;
	bool enabled;		/* false: this adapter is switched off */
	void *state;		/* the method's, for this site */
};

/* Most low-rank terms of one hook. */
#define PT_HOOK_MAX_TERMS 2
/* Most linears that share one input. */
#define PT_SITE_MAX_GROUP 4

/* Appended; h->site is set. The hook stays the caller's. */
int pt_site_add_hook(struct pt_site *s, struct pt_hook *h, struct pt_error *err);
void pt_site_remove_hook(struct pt_site *s, struct pt_hook *h);

/* The linears that share x: y[i] for site[i], hooks applied. Failure is in run->err. */
void pt_site_linear(struct pt_run *run, struct pt_site *const *site, int n, struct pt_tensor *x,
		    struct pt_tensor **y);
/* The same, y[i] rotated by turn[i] where it has a rope. */
void pt_site_turned(struct pt_run *run, struct pt_site *const *site, const struct pt_turn *turn, int n,
		    struct pt_tensor *x, struct pt_tensor **y);
/* act(y of the first) * y of the second of two that share x. */
struct pt_tensor *pt_site_glu(struct pt_run *run, struct pt_site *const site[2], enum pt_act act, struct pt_tensor *x);
struct pt_tensor *pt_site_linear1(struct pt_run *run, struct pt_site *site, struct pt_tensor *x);
/* The linears of experts, site[e*n+j]: y[j] for the rows of each. A hook may have terms there, nothing else. */
void pt_site_experts(struct pt_run *run, struct pt_site *const *site, int n, struct pt_tensor *x,
		     struct pt_route *r, struct pt_tensor **y);
struct pt_tensor *pt_site_embed(struct pt_run *run, struct pt_site *site, const int32_t *ids,
				const struct pt_rows *rows);
struct pt_tensor *pt_site_norm(struct pt_run *run, struct pt_site *site, enum pt_norm_kind kind,
			       float eps, struct pt_tensor *x);
/* norm(x + delta) with *sum = x + delta, fused while nothing is hooked in. */
struct pt_tensor *pt_site_add_norm(struct pt_run *run, struct pt_site *site, enum pt_norm_kind kind,
				   float eps, struct pt_tensor *x, struct pt_tensor *delta,
				   struct pt_tensor **sum);
/* y, the output of a sub-block, through the hooks; at->whole says whether it is still to be added to at->x. */
struct pt_tensor *pt_site_block(struct pt_run *run, struct pt_site *site, struct pt_joint *at,
				struct pt_tensor *y);
/* A tensor of the stream's width through the norm behind; itself where there is none. */
struct pt_tensor *pt_joint_norm(struct pt_run *run, const struct pt_joint *at, struct pt_tensor *x);
/* The prefix of an attention of rows: true when a hook gave one. Two at once are a failure. */
bool pt_site_prefix(struct pt_run *run, struct pt_site *site, const struct pt_rows *rows, struct pt_prefix *out);
/* Input embeddings through the hooks; *rows becomes the packing of the result. */
struct pt_tensor *pt_site_input(struct pt_run *run, struct pt_site *site, struct pt_tensor *x,
				const struct pt_rows **rows);
/* What goes by a site (NULL: there is none) through the hooks; whether there are any. */
struct pt_tensor *pt_site_pass(struct pt_run *run, struct pt_site *site, struct pt_tensor *x);
bool pt_site_passes(const struct pt_site *site);
/* The positions that hooks take before each sequence: virtual tokens, a prefix. */
int pt_site_front(const struct pt_site *site);
/* The head as token_nll wants it: weight, bias, terms (PT_FAIL in run->err when a hook cannot be expressed as terms). */
void pt_site_nll_head(struct pt_run *run, struct pt_site *site, struct pt_linear *out);

#endif
