/* SPDX-License-Identifier: MIT */
/*
 * modelsave.h - write a model directory as transformers writes it: the
 * tokenizer's files of the model it came from, config.json, and
 * model.safetensors or shards with their index.
 *
 * Tensors are described first and streamed when they are written, so that no
 * more than one piece of one tensor need be in memory. Every file appears
 * whole; the one that makes the directory a model (the only shard, or the
 * index) comes last and may be held back.
 */
#ifndef PT_IO_MODELSAVE_H
#define PT_IO_MODELSAVE_H

#include "base/json.h"
#include "io/modeldir.h"
#include "io/safetensors.h"

#define PT_MODELSAVE_SHARD 50000000000u	/* bytes a shard, as save_pretrained() of transformers 5 */

struct pt_modelsave {
	size_t max_shard;		/* bytes of tensors a file; may be set after init */
	struct pt_st_build *shard;	/* tensors by file */
	int nshards;
	size_t cap;
	size_t last;			/* bytes of the tensors of the last one */
};

enum {
	PT_MODELSAVE_REST = 1,		/* everything but the last file */
	PT_MODELSAVE_LAST = 2,		/* the only shard, or the index */
	PT_MODELSAVE_ALL = 3,
};

void pt_modelsave_init(struct pt_modelsave *s);
void pt_modelsave_release(struct pt_modelsave *s);

/* A tensor, in the order of modules. data is borrowed until written; NULL: asked of fill then. */
int pt_modelsave_tensor(struct pt_modelsave *s, const char *name, enum pt_dtype dtype, int ndim,
			const int64_t *shape, const void *data, struct pt_error *err);

/*
 * Write parts of the directory dir, which exists. from: where tokenizer
 * files and generation_config.json are copied from; NULL: none. fill writes
 * each tensor without data by pt_out_write(), all of its bytes.
 * PT_MODELSAVE_LAST removes weight files of an earlier model in dir that
 * would be taken for this one's.
 */
int pt_modelsave_write(struct pt_modelsave *s, const char *dir, int parts, const cJSON *config,
		       const struct pt_modeldir *from, pt_st_fill_fn fill, void *arg,
		       struct pt_error *err);

/*
 * By its name, the part of a model directory that a file is:
 * PT_MODELSAVE_LAST, PT_MODELSAVE_REST (config.json, a shard), or 0: none
 * that says what the weights are.
 */
int pt_modelsave_part(const char *name);

/* Copy the files of a tokenizer, and generation_config.json, from a model's directory to dir: those there are. */
int pt_modelsave_tokenizer(const struct pt_modeldir *from, const char *dir, struct pt_error *err);

#endif
