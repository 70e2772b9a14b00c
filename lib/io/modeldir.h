/* SPDX-License-Identifier: MIT */
/*
 * modeldir.h - a model directory as transformers writes it: config.json, one
 * model.safetensors or shards with model.safetensors.index.json, tokenizer
 * files. Weights are mapped read-only and used in place.
 *
 * "org/name" that is no directory is looked up in the local hub cache
 * (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub); nothing touches the
 * network. pytorch_model.bin is refused with the command that converts it.
 */
#ifndef PT_IO_MODELDIR_H
#define PT_IO_MODELDIR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "io/safetensors.h"

/* Files of a model directory. */
#define PT_MODEL_CONFIG "config.json"
#define PT_MODEL_WEIGHTS "model.safetensors"
#define PT_MODEL_INDEX "model.safetensors.index.json"
#define PT_ADAPTER_CONFIG "adapter_config.json"	/* of an adapter's directory, whatever the library */

struct pt_modeldir {
	char *given;		/* as the user wrote it */
	char *path;		/* directory */
	bool hub;		/* given was a hub name */
	cJSON *config;		/* config.json */
	struct pt_st *shard;	/* open files */
	int nshards;
	bool weights;		/* false: a directory without weights (allowed where asked for) */
	void *priv;		/* tensor name -> shard, tensor */
};

enum { PT_MODELDIR_NO_WEIGHTS = 1 /* weights may be missing */ };

int pt_modeldir_open(struct pt_modeldir *m, const char *name, int flags, struct pt_error *err);
void pt_modeldir_close(struct pt_modeldir *m);

/* NULL: absent. */
const struct pt_st_tensor *pt_modeldir_find(const struct pt_modeldir *m, const char *name);

/* All tensors, sorted by name: i from 0; NULL past the last. */
const struct pt_st_tensor *pt_modeldir_tensor(const struct pt_modeldir *m, size_t i);

/* Digest of config.json, the shards' headers and sizes, and a sample of each tensor. */
uint64_t pt_modeldir_digest(const struct pt_modeldir *m);

/* Resolve a name to a directory without opening it; freed by free(). */
char *pt_modeldir_resolve(const char *name, bool *hub, struct pt_error *err);

#endif
