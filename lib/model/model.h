/* SPDX-License-Identifier: MIT */
/*
 * model.h - a model: its description (config.h), weights, sites, and the
 * forward pass of its body and head. Families are rows of data (family.c);
 * one block with switches (block.c) is driven as encoder or decoder (stack.c),
 * or as both (encdec.c).
 */
#ifndef PT_MODEL_MODEL_H
#define PT_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/modeldir.h"
#include "io/task.h"
#include "model/config.h"
#include "model/site.h"
#include "tensor/ops.h"

/* [dropout,] dense, act[, norm] before a head's last linear; paths. */
struct pt_head_step {
	char *dense, *norm;	/* norm: LayerNorm; NULL: none */
};

/* A head in place of that of the task's class, where an adapter brings its own: [pooler,] steps, [dropout,] out. */
struct pt_head_spec {
	struct pt_head_step *step;	/* [nsteps] */
	int nsteps;
	char *out;		/* path of its last linear; NULL: there is no such head */
	enum pt_act act;
	bool pooler;		/* it reads what the body's pooler makes */
	bool out_bias;
	bool dropout;
	double drop;		/* probability of that; below 0: the class's */
};
void pt_head_spec_release(struct pt_head_spec *s);

struct pt_model_options {
	enum pt_task task;
	int num_labels;		/* of a head that the checkpoint lacks; 0: from config.json */
	bool head_may_lack;	/* a missing task head is created (initialised under seed), not an error */
	const struct pt_head_spec *head;	/* copied; NULL: that of the class */
	uint64_t seed;
	bool structure;		/* sites and shapes alone: weights have no values */
	bool random;		/* all weights initialised as transformers does, from config.json alone */
	bool defer;		/* mapped weights are not on the device before pt_model_place() */
};

struct pt_body;

struct pt_model {
	struct pt_config cfg;
	enum pt_task task;
	int num_labels;
	struct pt_device *dev;
	const struct pt_modeldir *dir;	/* borrowed; stays open: weights are used in place */
	uint64_t digest;		/* pt_modeldir_digest() */
	struct pt_weight *weight;	/* all parameters, in HF's order of modules */
	int nweights;
	struct pt_site *site;		/* all sites, in HF's order of modules */
	int nsites;
	int recompute;			/* so many blocks, an encoder's before a decoder's, run in a recomputed scope each */
	int away;			/* of these so many leave their input in host memory until backward */
	double router_loss;		/* factor of the loss that keeps experts in balance; 0: what pt_model_router_loss()
					 * needs is not kept */
	struct pt_body *body;		/* body.h: parts by role, memory that the model owns */
};

int pt_model_open(struct pt_model **m, struct pt_device *dev, const struct pt_modeldir *dir,
		  const struct pt_model_options *o, struct pt_error *err);
void pt_model_close(struct pt_model *m);

/* Blocks of all its stacks. */
int pt_model_blocks(const struct pt_model *m);

/*
 * Mapped weights to the device, so many blocks of them in turns (device/parts.h); anew where another number took
 * turns. pt_model_open() does it with 0, unless that is deferred. Nothing happens where kernels read them in place.
 */
int pt_model_place(struct pt_model *m, int turns, struct pt_error *err);
/*
 * From the next pt_model_place() on nothing but w->use is read in w's stead, or (false) w again: where all
 * who share the value are spared, it is not on the device.
 */
void pt_model_spare(struct pt_model *m, struct pt_weight *w, bool spare);
/* Device memory that weights take as they are placed now. */
size_t pt_model_place_held(const struct pt_model *m);
/* Device memory for a placing; and the fewest turns that keep within room, -1: there is no such number. */
size_t pt_model_place_bytes(const struct pt_model *m, int turns);
int pt_model_place_turns(const struct pt_model *m, size_t room);
/*
 * An arena for what a plan counted so many bytes of, in run (zeroed, or one that was made so: anew), and the weights
 * beside it: both in limit bytes (0: all that the device has), with what is allocated already. Blocks take turns as
 * far as it takes; those that do stay so. PT_USAGE when it is too little, with the bytes.
 */
int pt_model_run(struct pt_model *m, struct pt_run *run, size_t bytes, size_t limit, bool bf16, struct pt_error *err);

/* n bytes of a weight of the base, from byte at on, to the host. */
int pt_weight_read(const struct pt_model *m, const struct pt_weight *w, size_t at, size_t n, void *out,
		   struct pt_error *err);

/* Head tensors that were created because the checkpoint has none ("score.weight", ...). */
bool pt_model_head_is_new(const struct pt_model *m);

/* Whether the head is one that an adapter brought (struct pt_head_spec). */
bool pt_model_head_is_own(const struct pt_model *m);

/* The base prefix of the body's paths under the class of m->task, "model": "" of a bare body. */
const char *pt_model_prefix(const struct pt_model *m);

/* First site at a path, NULL: none. Several kinds may share a path: pt_model_site_kind() tells them apart. */
struct pt_site *pt_model_site(const struct pt_model *m, const char *path);
struct pt_site *pt_model_site_kind(const struct pt_model *m, const char *path,
				   enum pt_site_kind kind);
/* By its path or its name in files. */
struct pt_weight *pt_model_weight(const struct pt_model *m, const char *path);

/* A micro-batch as the forward pass reads it; it stays in place until backward is done. Arrays are device
 * memory unless they say host. */
struct pt_input {
	struct pt_rows rows;
	const int32_t *ids;		/* [N] */
	const int32_t *types;		/* [N] token type ids, or NULL: zeros */
	/* host, NULL on the plan device: pooling positions, and checked against the model before a kernel looks
	 * them up. types as above; labels of a language model, -100: none */
	const int32_t *host_ids, *host_types, *host_labels;	/* [N] */
	/* What the decoder of an encoder-decoder reads, as many sequences: targets shifted right. NULL: the ids,
	 * shifted right. host_decoder_labels: its targets, to be checked. */
	struct pt_rows decoder_rows;
	const int32_t *decoder_ids, *host_decoder_ids, *host_decoder_labels;	/* [M] */
	struct pt_kvcache *cache;	/* decoding: earlier keys and values, extended by this call; else NULL */
	/* decoding: position behind the text's last, where more of it follows in later calls: rotations that depend on
	 * the length go by this; 0: none follows */
	int64_t reach;
};

/* Final hidden states [N,C], after the last norm where the model has one. */
struct pt_tensor *pt_model_hidden(struct pt_run *run, struct pt_model *m, const struct pt_input *in);

/*
 * Decoding with an encoder-decoder: the source's keys and values into
 * in->cache, once; pt_model_hidden() with that cache then reads decoder_ids.
 * Returns a status (also in run->err).
 */
int pt_model_encode(struct pt_run *run, struct pt_model *m, const struct pt_input *in);

/*
 * The loss [1] that keeps the experts of a mixture in balance, over the rows of all sequences and all sparse
 * layers of the last pt_model_hidden(), not yet times the factor; NULL where m->router_loss is 0 or the model has
 * no experts.
 */
struct pt_tensor *pt_model_router_loss(struct pt_run *run, const struct pt_model *m);
/* The factor that config.json asks for: that of transformers where output_router_logits is set and the class adds it, else 0. */
double pt_model_router_factor(const struct pt_model *m);

/* Class logits [B,K] of the pooled rows, or, where the head reads every row, [N,K]; one call a micro-batch. */
struct pt_tensor *pt_model_classify(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				    struct pt_tensor *hidden);

/*
 * What the last linear of the head reads of the rows that it picks, [B,C], or of all, [N,C]; and the linear that stands
 * before that one, NULL: there is none.
 */
struct pt_tensor *pt_model_head_input(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				      struct pt_tensor *hidden);
const struct pt_site *pt_model_head_dense(const struct pt_model *m);

/* Embeddings [B,C] of the sequences, as the head or the directory of a sentence-transformer pools them; not normalised. */
struct pt_tensor *pt_model_embed(struct pt_run *run, struct pt_model *m, const struct pt_input *in,
				 struct pt_tensor *hidden);
/* Whether that directory asks that embeddings be of length 1. */
bool pt_model_embeds_unit(const struct pt_model *m);

/*
 * The head of a task with a target a token, for token_nll, at rows[n] (host) of hidden: sets head, scale, cap,
 * row; no other field. Returns what token_nll reads: hidden, or what stands between it and the last linear.
 */
struct pt_tensor *pt_model_nll_head(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden,
				    const int32_t *rows, int64_t n, struct pt_nll *out);

/* Whole logits [n,V] f32 of rows idx[n] (device): generation. */
struct pt_tensor *pt_model_logits(struct pt_run *run, struct pt_model *m, struct pt_tensor *hidden,
				  const int32_t *idx, int64_t n);

/*
 * The positions that adapters take before each sequence of what the model
 * reads (decoder: writes), in all and as rows of its keys and values.
 */
void pt_model_front(const struct pt_model *m, bool decoder, int *positions, int *rows);
/* Tokens of a text that is written: as many as positions are left; any number where rotations are scaled by the length. */
int64_t pt_model_max_len(const struct pt_model *m);
/*
 * Position from which on the keys of shorter texts are of no use: one that
 * grows beyond is read anew. 0: none. Elsewhere earlier keys keep the rotation
 * of their time, as transformers' generate() leaves them.
 */
int64_t pt_model_restart(const struct pt_model *m);

/* Keys and values of all layers for one sequence up to max_len rows (generation). The source of an
 * encoder-decoder has as many as it needs. */
int pt_kvcache_new(struct pt_kvcache **c, const struct pt_model *m, enum pt_dtype type, int max_len,
		   struct pt_error *err);
void pt_kvcache_free(struct pt_kvcache *c);
int pt_kvcache_len(const struct pt_kvcache *c);
void pt_kvcache_reset(struct pt_kvcache *c);
/* Keys, as attention reads them, and values of a layer, [len,width] each, to host f32. */
int pt_kvcache_read(const struct pt_kvcache *c, int layer, float *k, float *v, struct pt_error *err);

#endif
