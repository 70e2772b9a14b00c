/* SPDX-License-Identifier: MIT */
/*
 * config.h - config.json as numbers and switches. What the code cannot do is
 * refused here, by the name of the key, so that nothing is computed wrongly
 * in silence.
 */
#ifndef PT_MODEL_CONFIG_H
#define PT_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/json.h"
#include "model/family.h"

enum pt_rope_type { PT_ROPE_DEFAULT, PT_ROPE_LINEAR, PT_ROPE_DYNAMIC, PT_ROPE_LLAMA3, PT_ROPE_YARN };

/* rope_parameters (transformers 5) or rope_theta + rope_scaling (4). */
struct pt_rope_config {
	enum pt_rope_type type;
	double theta;
	double factor;
	double low_freq, high_freq;	/* llama3 */
	int64_t original;		/* original_max_position_embeddings */
	double beta_fast, beta_slow;	/* yarn */
	double attention_factor;	/* on cos and sin; 1 but for yarn */
	bool truncate;			/* yarn */
	int64_t positions;		/* max_position_embeddings: where dynamic begins */
	int dims;			/* of a head that are rotated */
};

#define PT_CONFIG_MAX_EOS 16

struct pt_config {
	const struct pt_family *family;
	const cJSON *json;		/* borrowed */
	enum pt_task task;		/* of architectures[0]; PT_TASK_NONE where it tells none */

	int64_t vocab, hidden, ffn, positions, types;
	int layers, heads, kv_heads, head_dim;

	bool causal;
	enum pt_block_form form;
	enum pt_norm_kind norm;
	float eps;
	enum pt_position position;
	struct pt_rope_config rope;
	enum pt_ffn_form ffn_form;
	enum pt_act act;
	bool bias_qkv, bias_o, bias_ffn;
	int *window;			/* [layers], 0: none */
	float scale;			/* of attention scores */

	bool tie;			/* output embedding is the input embedding */
	float drop_embed, drop_hidden, drop_attn, drop_class;	/* act while run->train */
	double init_std;

	int pad, bos;			/* -1: none */
	int eos[PT_CONFIG_MAX_EOS], neos;
	int dtype;			/* enum pt_dtype of "dtype", -1: not said */

	int num_labels;			/* num_labels, else the size of id2label, else 2 */
	char **label;			/* id2label [num_labels], NULL: not in the file */
	enum pt_problem problem;
};

/* Status PT_DATA naming the key that is wrong or not supported. json stays open. */
int pt_config_read(struct pt_config *c, const cJSON *json, struct pt_error *err);
void pt_config_release(struct pt_config *c);

/* Activation by its name in config.json; -1: unknown. */
int pt_act_parse(const char *name);

#endif
