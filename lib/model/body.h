/* SPDX-License-Identifier: MIT */
/*
 * body.h - inside of model/: the parts of a model by role, and the pieces of
 * the forward pass that its files share.
 */
#ifndef PT_MODEL_BODY_H
#define PT_MODEL_BODY_H

#include "base/hash.h"
#include "device/parts.h"
#include "model/model.h"
#include "model/rope.h"

struct pt_layer {
	struct pt_site *part[PT_ROLES];	/* NULL: this family has none */
	int index;
	const struct pt_layer_config *cfg;
	/* linears of experts, expert by expert: [experts*2] gate and up, [experts] down; NULL: none */
	struct pt_site **expert_in, **expert_out;
	/* random sites of the base's dropouts */
	uint64_t rng_attn, rng_attn_out, rng_cross, rng_cross_out, rng_act, rng_ffn_out;
};

struct pt_stack {
	const struct pt_stack_config *cfg;
	int first;			/* its first block among those of all stacks */
	struct pt_site *part[PT_ROLES];	/* those outside the blocks */
	struct pt_layer *layer;		/* [cfg->layers] */
	struct pt_tensor bias;		/* its relative bias in f32 where it is stored in another type; data NULL: none */
	uint64_t rng_embed, rng_final;
};

struct pt_owned {
	void *p;
	size_t n;
};

struct pt_own_step {
	struct pt_site *dense, *norm;	/* norm NULL: none */
	uint64_t rng;
};

struct pt_body {
	struct pt_stack stack[PT_MAX_STACKS];
	int nstacks;			/* the head may want the first one alone */
	const struct pt_head *head;	/* of m->task; NULL: a bare body */
	struct pt_head own_head;	/* where that is not the class's */
	char *own_out;			/* its path */
	struct pt_own_step *own;	/* [nown] what stands before its last linear */
	int nown;
	enum pt_act own_act;
	bool own_dropout;
	float own_eps;
	struct pt_site *part[PT_ROLES];	/* of the head */
	uint64_t rng_dense, rng_head;	/* of the head's dropouts */
	enum pt_pooling pool;		/* of the head, or of the directory of a sentence-transformer */
	struct pt_rope_table rope[PT_MAX_ROPES];
	float *slopes;			/* device [heads], where positions are slopes */
	struct pt_map names;		/* of weights, and, counted on from there, of sites whose pieces are one tensor of files */
	struct pt_map read;		/* while weights are loaded: names of tensors of the checkpoint that are some weight's */
	struct pt_parts parts;		/* mapped weights on the device: a part is a block, counted as pt_model_blocks() does */
	struct pt_owned *owned;		/* device memory of weights that are not mapped */
	size_t nowned, cap_owned;
	struct pt_rows picked;		/* packing of the rows that the head read last */
	bool head_is_new;
	bool unit;			/* the directory asks for embeddings of length 1 */
	struct pt_tensor **stat;	/* [nstats] of the routers in the last pt_model_hidden(), from the run's pool */
	int nstats;
	int64_t stat_rows;		/* rows of each */
};

/* build.c: sites and weights of m->task from the family's table; no values yet. */
int pt_body_build(struct pt_model *m, const struct pt_head_spec *head, struct pt_error *err);
void pt_body_free(struct pt_model *m);

/*
 * sites.c: the next site of the model, with its weights, at prefix.path with the numbers of layer and expert in it
 * (-1: none), and where the formulas look for it. stack NULL: of the head. Then all parts of a stack's table.
 */
int pt_sites_add(struct pt_model *m, struct pt_stack *stack, enum pt_role role, const char *prefix, const char *path,
		 int layer, int expert, struct pt_error *err);
int pt_sites_add_stack(struct pt_model *m, struct pt_stack *stack, const char *prefix, struct pt_error *err);

/* weights.c: values of all weights, from the checkpoint or fresh. */
int pt_weights_load(struct pt_model *m, const struct pt_model_options *o, struct pt_error *err);
/* Rows of the weight of a head in the checkpoint; 0: it has none. */
int64_t pt_weights_head_rows(const struct pt_model *m, const char *head_path);
/*
 * unread.c: PT_DATA where the checkpoint has more blocks or experts than config.json; a warning where it has other
 * tensors that neither this task nor another has a use for. read: names of those that are some weight's.
 */
int pt_weights_unread(const struct pt_model *m, const struct pt_map *read, struct pt_error *err);
/* body.c: slopes of positions and relative biases, where the model has them, as attention reads them. */
int pt_body_positions(struct pt_model *m, struct pt_error *err);
/* Device memory that the model owns, filled from host. */
int pt_body_own(struct pt_model *m, const void *host, size_t bytes, void **out, struct pt_error *err);

/* init.c: as transformers initialises: normal(0, std), ones for norms, zeros for biases; host f32. */
int pt_weight_fresh(struct pt_model *m, const struct pt_site *s, struct pt_weight *w, uint64_t seed,
		    struct pt_error *err);

/* What all blocks of a forward pass share. */
struct pt_pass {
	struct pt_model *m;
	const struct pt_stack *stack;
	const struct pt_rows *rows;
	struct pt_rope rope[PT_MAX_ROPES];
	const int32_t *qkv[3], *halves[2];	/* pieces of fused projections, where there are such */
	struct pt_tensor *memory;	/* what cross attention reads; NULL: none, or in the cache */
	struct pt_kvcache *cache;
	int64_t reach;			/* as in struct pt_input */
	struct pt_tensor **stat;	/* [layers] what each router did; NULL: nobody asks */
};

/* embed.c: of what the stack reads; *rows is its packing. */
struct pt_tensor *pt_embed(struct pt_run *run, struct pt_model *m, const struct pt_stack *s,
			   const struct pt_input *in, const struct pt_rows **rows);

/* body.c: the position of each sequence's first row: behind prefixes and what the cache (or NULL) holds. */
int64_t pt_stack_first(const struct pt_stack *s, const struct pt_kvcache *cache);
/* What the blocks of p->stack share, for p->rows. */
int pt_pass_prepare(struct pt_run *run, struct pt_pass *p);
/* All blocks in turn, as many in a recomputed scope as m->recompute says, the last norm and projection
 * where the model has them. x is done with. */
struct pt_tensor *pt_blocks(struct pt_run *run, const struct pt_pass *p, struct pt_tensor *x);
/*
 * body.c: the weights of block i of a stack are read from here on, up to the
 * leave; where they take turns (device/parts.h) backward finds them likewise.
 * alone: behind this stack's last block its first is read again, as a decoder
 * writes; else the model's.
 */
int pt_block_enter(struct pt_run *run, const struct pt_stack *s, const struct pt_model *m, int i, bool grad);
int pt_block_leave(struct pt_run *run, const struct pt_stack *s, const struct pt_model *m, int i, bool grad, bool alone);
/* norm(x + delta), without the norm or the delta where they are NULL; both are done with. */
struct pt_tensor *pt_sum_norm(struct pt_run *run, const struct pt_model *m, struct pt_site *norm,
			      struct pt_tensor *x, struct pt_tensor *delta);

/*
 * block.c: one block. x is the residual stream; *delta (NULL: nothing) is
 * what is still to be added to it, so that the sum is taken in the norm that
 * follows. Both are read and done with, and handed on.
 */
struct pt_tensor *pt_block(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			   struct pt_tensor *x, struct pt_tensor **delta);

/* Keys and values of cross attention. */
void pt_block_cross_kv(struct pt_run *run, const struct pt_layer *l, struct pt_tensor *memory,
		       struct pt_tensor *kv[2]);

/* experts.c: the feed-forward of a sparse layer; x stays. */
struct pt_tensor *pt_mixture(struct pt_run *run, const struct pt_pass *p, const struct pt_layer *l,
			     struct pt_tensor *x);

/* sentence.c: pooling as the files of sentence-transformers say, where there are such. */
int pt_sentence_read(struct pt_model *m, struct pt_error *err);

/* stack.c: the last hidden states of one stack. memory: what its cross attention reads, NULL: nothing, or in the cache. */
struct pt_tensor *pt_stack_hidden(struct pt_run *run, struct pt_model *m, const struct pt_stack *s,
				  const struct pt_input *in, struct pt_tensor *memory, struct pt_kvcache *cache);
/* encdec.c: of both stacks. */
struct pt_tensor *pt_encdec(struct pt_run *run, struct pt_model *m, const struct pt_input *in);

/* kvcache.c */
/* Room for n more positions in every layer; pt_kvcache_end() makes them count. */
int pt_kvcache_begin(struct pt_run *run, struct pt_kvcache *c, const struct pt_rows *rows);
/* Copies k and v of the new rows behind those that are there; *k and *v become all of them. */
void pt_kvcache_append(struct pt_run *run, struct pt_kvcache *c, int layer, struct pt_tensor **k,
		       struct pt_tensor **v);
void pt_kvcache_end(struct pt_kvcache *c);
/* A source of rows, whose keys and values are then kept, layer by layer, and seen by every later call. */
int pt_kvcache_source(struct pt_run *run, struct pt_kvcache *c, const struct pt_rows *rows);
void pt_kvcache_keep(struct pt_run *run, struct pt_kvcache *c, int layer, const struct pt_tensor *k,
		     const struct pt_tensor *v);
void pt_kvcache_kept(struct pt_kvcache *c, int layer, struct pt_tensor *kv[2]);

#endif
