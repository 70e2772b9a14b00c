/* SPDX-License-Identifier: MIT */
/*
 * operand.h - what a tool that looks at things was given: a stream, a
 * safetensors file, an adapter directory, a model directory.
 */
#ifndef PT_OPERAND_H
#define PT_OPERAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/json.h"
#include "io/modeldir.h"
#include "io/safetensors.h"
#include "io/stream.h"
#include "peft/layout.h"

enum operand_type { OPERAND_STREAM, OPERAND_FILE, OPERAND_ADAPTER, OPERAND_MODEL };

struct operand {
	enum operand_type type;
	const char *name;		/* as given, "standard input" for "-" */
	struct pt_reader *reader;	/* OPERAND_STREAM: nothing but the HEAD was read; OPERAND_FILE: holds it */
	const struct pt_st *file;	/* OPERAND_FILE */
	const struct pt_layout *layout;	/* OPERAND_ADAPTER */
	struct pt_st weights, state, head;	/* OPERAND_ADAPTER: its files, but for the first where there are such */
	struct pt_modeldir model;	/* OPERAND_MODEL */
	char *dir;			/* of a directory */
	cJSON *config;			/* config.json, adapter_config.json; borrowed of a model */
	/* all tensors of what is no stream, sorted by name */
	const struct pt_st_tensor **tensor;
	size_t n;
};

/* path "-": standard input, which is a stream. Streams of several kinds are taken. */
int operand_open(struct operand *o, const char *path, struct pt_error *err);
void operand_close(struct operand *o);

/* "a stream", "a safetensors file", ... */
const char *operand_what(const struct operand *o);

#endif
