/* SPDX-License-Identifier: MIT */
/*
 * layout.h - whose library's files an adapter directory holds: a row each.
 *
 * All have adapter_config.json. In memory a configuration has one form, that
 * of HF PEFT: peft_type, task_type, base_model_name_or_path, modules_to_save
 * and the keys of the method. A layout whose files say it otherwise turns it
 * round as it is read (decode, read) and written (encode, write); what it
 * cannot place it keeps. So methods and tools know one form, whatever the files.
 *
 * labels.json, provenance.json and peft_state.safetensors are ours, and stand
 * beside the files of any.
 */
#ifndef PT_PEFT_LAYOUT_H
#define PT_PEFT_LAYOUT_H

#include <stdbool.h>

#include "base/json.h"

struct pt_adapter;
struct pt_head_spec;

struct pt_layout {
	const char *library;		/* "HF PEFT" */
	const char *mark;		/* the member of adapter_config.json by which it is known */
	const char *weights;		/* the tensors: the file that readers wait for */
	const char *pickle, *convert;	/* what may stand in its place, and what the user does then */
	/* What the base lacks or what trains beside the adapter, where that has files of its own; else NULL. */
	const char *head, *head_config;

	/* All optional: the configuration from its file's form to that of memory and back, in place. */
	int (*decode)(cJSON *config, struct pt_error *err);
	int (*encode)(cJSON *config, struct pt_error *err);
	/* What further files of dir add to a decoded configuration. */
	int (*read)(const char *dir, cJSON *config, struct pt_error *err);
	/* What a fresh one says of the model. */
	int (*describe)(struct pt_adapter *a, struct pt_error *err);
	/* The further files, where the configuration or the tensors ask for them. */
	int (*write)(const struct pt_adapter *a, const char *dir, struct pt_error *err);
	/* Class names of a decoded configuration, to be freed; NULL with *n > 0: without names. NULL: they are in labels.json. */
	int (*labels)(const cJSON *config, char ***labels, int *n, struct pt_error *err);
	/* The head that a decoded configuration describes, to be released; .out NULL: there is none. */
	int (*spec)(const cJSON *config, struct pt_head_spec *out, struct pt_error *err);
};

extern const struct pt_layout pt_layout_peft, pt_layout_hub;

/* By the file's form of adapter_config.json: HF PEFT's where nothing else marks it. i-th of all; NULL past the end. */
const struct pt_layout *pt_layout_of(const cJSON *config);
const struct pt_layout *pt_layout_at(int i);

/* adapter_config.json of dir, with what further files add, in the form of memory; the caller's. */
int pt_layout_read(const char *dir, const struct pt_layout **layout, cJSON **config, struct pt_error *err);
/* A configuration by itself, from the form of its file to that of memory. */
int pt_layout_decode(cJSON *config, struct pt_error *err);
/* PT_DATA where dir holds a pickle in place of weights. */
int pt_layout_no_pickle(const struct pt_layout *l, const char *dir, struct pt_error *err);

#endif
