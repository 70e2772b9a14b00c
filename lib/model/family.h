/* SPDX-License-Identifier: MIT */
/*
 * family.h - model families as rows of data: which keys of config.json mean
 * what, which switches of the block are set, and where the modules stand.
 *
 * A new family of a known shape is a row in family.c. Code elsewhere never
 * asks for a family, only for its switches.
 */
#ifndef PT_MODEL_FAMILY_H
#define PT_MODEL_FAMILY_H

#include <stdbool.h>
#include <stdint.h>

#include "device/kernels.h"
#include "model/task.h"

/* What a module does in the formula; the order of a family's table is HF's order of modules. */
enum pt_role {
	PT_ROLE_EMBED, PT_ROLE_POS, PT_ROLE_TYPE, PT_ROLE_EMBED_NORM, PT_ROLE_INPUT,
	/* of each block */
	PT_ROLE_Q, PT_ROLE_K, PT_ROLE_V, PT_ROLE_O, PT_ROLE_KV, PT_ROLE_ATTN_OUT,
	PT_ROLE_GATE, PT_ROLE_UP, PT_ROLE_DOWN, PT_ROLE_FFN_OUT,
	PT_ROLE_ATTN_NORM, PT_ROLE_FFN_NORM,
	/* after the blocks */
	PT_ROLE_FINAL_NORM,
	/* of the task head */
	PT_ROLE_HEAD_DENSE, PT_ROLE_HEAD_OUT,
	PT_ROLES
};

/* A module: '#' in the path stands for the block's number. Paths of the body lack the base prefix. */
struct pt_part {
	enum pt_role role;
	const char *path;
};

enum pt_block_form {
	PT_BLOCK_PRE,		/* x += f(norm(x)) */
	PT_BLOCK_POST,		/* x = norm(x + f(x)) */
};

enum pt_position { PT_POS_ROPE, PT_POS_LEARNED };
enum pt_ffn_form { PT_FFN_GATED, PT_FFN_PLAIN };

enum pt_window_rule {
	PT_WINDOW_NEVER,	/* sliding_window is not a key of this family */
	PT_WINDOW_ALL,		/* every layer slides when sliding_window is set */
	PT_WINDOW_FROM,		/* with use_sliding_window: layers from max_window_layers on */
};

enum pt_pooling { PT_POOL_LAST, PT_POOL_FIRST };

/* The head of sequence classification: pool, [dense, act,] [dropout,] out. Its paths are whole. */
struct pt_head_row {
	enum pt_pooling pool;
	const char *dense;	/* NULL: none */
	bool dense_in_body;	/* dense is the body's (a pooler): path under the base prefix */
	enum pt_act act;	/* after dense */
	bool dropout;		/* classifier_dropout before out */
	const char *out;
	bool out_bias;
};

/* Names of the keys of config.json; NULL: this family has no such key. */
struct pt_keys {
	const char *hidden, *layers, *heads, *kv_heads, *head_dim, *ffn, *positions, *types;
	const char *eps, *act, *std;
	const char *drop_embed, *drop_hidden, *drop_attn, *drop_class;
	const char *bias_attn, *bias_ffn;	/* booleans that switch biases on */
};

/* What a missing key means. */
struct pt_defaults {
	int64_t vocab, hidden, layers, heads;
	int64_t kv_heads;	/* 0: as heads */
	int64_t ffn, positions, types;
	int64_t window;		/* 0: none */
	double eps;
	const char *act;
	double drop_embed, drop_hidden, drop_attn;
	bool tie;
	int pad, bos, eos;	/* -1: none */
};

struct pt_family {
	const char *model_type;
	const char *stem;	/* of class names: "Llama" + "ForCausalLM" */
	const char *prefix;	/* base_model_prefix, "model" */
	const struct pt_keys *keys;
	struct pt_defaults def;

	bool causal;
	enum pt_block_form form;
	enum pt_norm_kind norm;
	enum pt_position position;
	enum pt_ffn_form ffn;
	bool bias_qkv, bias_o, bias_ffn;	/* always there; keys.bias_* may add them */
	enum pt_window_rule window;

	const struct pt_part *part;	/* ends in a NULL path */
	const char *lm_head;		/* path; NULL: no causal language model */
	const struct pt_head_row *seq_cls;	/* NULL: none */
	const char *lora_targets;	/* PEFT's default target_modules, separated by commas */
};

const struct pt_family *pt_family_find(const char *model_type);	/* NULL: unknown */
const struct pt_family *pt_family_at(int i);			/* NULL past the last */

/* "LlamaForCausalLM": as config.json's architectures has it; buf holds it; NULL: no such class. */
const char *pt_family_class(const struct pt_family *f, enum pt_task task, char *buf, int size);

#endif
