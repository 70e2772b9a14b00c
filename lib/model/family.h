/* SPDX-License-Identifier: MIT */
/*
 * family.h - model families as rows of data: which keys of config.json mean
 * what, which switches of the block are set, and where the modules stand.
 *
 * A new family of a known shape is a row in the file of its kin. Code
 * elsewhere never asks for a family, only for the switches of struct
 * pt_config and for the parts that are there.
 *
 * Heads, adapters, files, decoding and memory follow from the row
 * (model_registry tries them). Then tests say what they miss: goldens in
 * tests/golden/cases_KIN.py and cases_drop.py (model_registry), a line of
 * peft-models(7) (t0001). Those that need asking for are a change of each key
 * (tests/unit/model_KIN.c) and of each new switch (model_switches.c), a text
 * (make_generate.py), cases of PEFT's files (cases_conform.py, exchange_peft.py).
 */
#ifndef PT_MODEL_FAMILY_H
#define PT_MODEL_FAMILY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "device/kernels.h"
#include "io/task.h"

/* What a module does in the formula; the order of a family's table is HF's order of modules. */
enum pt_role {
	PT_ROLE_SHARED,		/* the table of several embeddings, itself not looked up */
	PT_ROLE_EMBED, PT_ROLE_POS, PT_ROLE_TYPE, PT_ROLE_EMBED_NORM, PT_ROLE_INPUT,
	PT_ROLE_PROJ_IN,	/* embeddings to the width of the blocks */
	PT_ROLE_EMBEDDED,	/* what the first block reads */
	/* of each block */
	PT_ROLE_QKV,		/* in place of the three */
	PT_ROLE_Q, PT_ROLE_K, PT_ROLE_V, PT_ROLE_O, PT_ROLE_KV, PT_ROLE_ATTN_OUT,
	PT_ROLE_Q_NORM, PT_ROLE_K_NORM,		/* of every head alone, or of all together */
	PT_ROLE_REL_BIAS,
	/* attention to the other stack's output, between the two sub-blocks */
	PT_ROLE_CROSS_Q, PT_ROLE_CROSS_K, PT_ROLE_CROSS_V, PT_ROLE_CROSS_O, PT_ROLE_CROSS_KV,
	PT_ROLE_CROSS_OUT, PT_ROLE_CROSS_NORM,
	PT_ROLE_GATE_UP,	/* in place of the two: rows of the gate first */
	PT_ROLE_GATE, PT_ROLE_UP, PT_ROLE_DOWN, PT_ROLE_FFN_OUT,
	/* of blocks whose feed-forward is a mixture of experts (in place of the three above) */
	PT_ROLE_ROUTER,
	PT_ROLE_EXPERT_GATE, PT_ROLE_EXPERT_UP, PT_ROLE_EXPERT_DOWN,
	PT_ROLE_SHARED_GATE, PT_ROLE_SHARED_UP, PT_ROLE_SHARED_DOWN,	/* of the expert that every row goes through */
	PT_ROLE_SHARED_MIX,	/* how much of that is added */
	/* the same weights as the parameters that newer classes of transformers keep them in: "module:parameter" */
	PT_ROLE_ROUTER_PARAM, PT_ROLE_EXPERTS_IN, PT_ROLE_EXPERTS_OUT,
	PT_ROLE_ATTN_NORM, PT_ROLE_FFN_NORM,
	PT_ROLE_ATTN_POST_NORM, PT_ROLE_FFN_POST_NORM,	/* on the output, before the residual is added */
	/* after the blocks */
	PT_ROLE_FINAL_NORM,
	PT_ROLE_PROJ_OUT,	/* back to the width of the embeddings */
	/* of the task head */
	PT_ROLE_HEAD_DENSE, PT_ROLE_HEAD_NORM, PT_ROLE_HEAD_OUT,
	PT_ROLE_HEAD_IN,	/* what the head of a vocabulary reads last */
	PT_ROLE_OWN_DENSE, PT_ROLE_OWN_NORM,	/* of a head that an adapter brings: there may be several */
	PT_ROLES
};

/*
 * A module: in the path, of one in a block, '#' stands for the block's number, '@' for the expert's, '^' for that of the first block, whose
 * module all blocks of the stack read. Paths of the body lack the base prefix.
 */
struct pt_part {
	enum pt_role role;
	const char *path;
};

enum pt_block_form {
	PT_BLOCK_PRE,		/* x += f(norm(x)) */
	PT_BLOCK_POST,		/* x = norm(x + f(x)) */
	PT_BLOCK_PARALLEL,	/* x += attention(norm(x)) + ffn(norm(x)), with one norm or two */
};

enum pt_position {
	PT_POS_NONE,
	PT_POS_ROPE,
	PT_POS_LEARNED,
	PT_POS_SLOPES,		/* ALiBi */
	PT_POS_BUCKETS,		/* T5's relative bias */
};

enum pt_ffn_form { PT_FFN_GATED, PT_FFN_PLAIN };

/* The outputs of a fused projection of queries, keys and values, in heads. */
enum pt_qkv_layout {
	PT_QKV_ROWS,		/* all q, all k, all v */
	PT_QKV_GROUPS,		/* of each key/value head: its q, its k, its v */
};

enum pt_window_rule {
	PT_WINDOW_NEVER,	/* sliding_window is not a key of this family */
	PT_WINDOW_ALL,		/* every layer slides when sliding_window is set */
	PT_WINDOW_FROM,		/* with use_sliding_window: layers from max_window_layers on */
	PT_WINDOW_OWN,		/* with use_sliding_window: layers that the family's config() marks */
	PT_WINDOW_PATTERN,	/* all but every so many: sliding_window_pattern, the row's default */
};

/* Which rows of the hidden states a head reads. */
enum pt_pooling {
	PT_POOL_ROWS,		/* every one */
	PT_POOL_LAST,		/* of each sequence the last that is no padding */
	PT_POOL_FIRST,
	PT_POOL_EOS,		/* of each sequence the last end token */
	PT_POOL_MEAN,
};

/* What a task puts on the body: pool, [[dropout,] dense, act, [norm,]] [dropout,] out. Its paths are whole. */
struct pt_head {
	enum pt_task task;	/* PT_TASK_NONE: the end of a table */
	const char *class_name;	/* of transformers; NULL: the family's stem and the task's ending */
	const char *prefix;	/* of the body under this class; NULL: the family's */
	bool first_stack;	/* the body is the first stack alone: an encoder-decoder's encoder */
	enum pt_pooling pool;
	const char *file;	/* what out is called in files; NULL: the same */
	const char *dense;	/* NULL: none */
	bool dense_in_body;	/* dense is the body's (a pooler): path under the base prefix */
	bool dense_idle;	/* it is not computed, but is there where the checkpoint has it */
	enum pt_act act;	/* after dense; NONE: that of the blocks */
	const char *norm;	/* after that; NULL: none */
	bool dropout_dense, dropout;	/* the classifier's dropout, before dense and before out */
	const char *drop_key;	/* key of its probability and what it means where it is missing; NULL: keys.drop_class */
	double drop;
	const char *out;	/* NULL: what was pooled is the result */
	bool out_bias;
	const char *bias_path;	/* of out's bias; NULL: out's */
	bool router_loss;	/* output_router_logits adds the loss of the routers to that of the task */
};

/* Names of the keys of config.json, others behind a '|', the first that is there counting; NULL: this family has no
 * such key. */
struct pt_keys {
	const char *hidden, *layers, *heads, *kv_heads, *head_dim, *ffn, *positions, *types;
	const char *eps, *act, *std;
	const char *drop_embed, *drop_hidden, *drop_attn, *drop_class;
	const char *bias_qkv, *bias_o, *bias_ffn;	/* booleans, in place of the row's switches where they are there */
	const char *theta, *partial;	/* NULL: rope_theta, partial_rotary_factor */
	const char *theta_local;	/* of a second rotation, for sliding layers */
};

/* What a missing key means. */
struct pt_defaults {
	int64_t vocab, hidden, layers, heads;
	int64_t kv_heads;	/* 0: as heads */
	int64_t head_dim;	/* 0: hidden / heads */
	int64_t ffn;		/* 0: 4 hidden */
	int64_t positions;	/* 0: any number */
	int64_t types;
	int64_t window;		/* 0: none */
	int pattern;		/* PT_WINDOW_PATTERN: every so many layers one sees all */
	int64_t original;	/* original_max_position_embeddings; 0: positions */
	double eps;
	double std;		/* 0: 0.02 */
	double theta;		/* of rotary embeddings; 0: 10000 */
	double partial;		/* share of a head that is rotated; 0: all of it */
	const char *act;
	double drop_embed, drop_hidden, drop_attn;
	bool tie;
	int pad, bos, eos;	/* -1: none */
};

/* Where AdapterHub's library has the adapters of a block. */
enum pt_hub_place {
	PT_HUB_UNSAID,		/* of no family: each says */
	PT_HUB_HOOKED,		/* in modules of the block, hooked in: the model keeps residuals and norms to itself */
	PT_HUB_BLOCK,		/* in modules of the block */
	PT_HUB_OUTPUT,		/* in the module at the output */
	PT_HUB_AROUND,		/* in the module around that */
};

struct pt_config;

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
	enum pt_qkv_layout qkv;
	bool bias_qkv, bias_o, bias_ffn;	/* unless keys.bias_* say otherwise */
	bool transposed;	/* the linears of blocks store [in, out] (Conv1D) */
	bool pad_row;		/* the row of the padding id in the embedding never trains */
	bool linear_experts;	/* PEFT takes adapters of an expert's linears, and of a router, for ones of parameters */
	enum pt_window_rule window;
	bool long_restart;	/* decoding: a text that grows beyond longrope's original positions is read anew */

	/*
	 * Optional: switches that only keys of this family set, or a check of
	 * such keys. All of c is read but rotary embeddings, ids and labels.
	 */
	int (*config)(struct pt_config *c, const cJSON *json, struct pt_error *err);

	/* Standard deviation of a fresh weight by its role; NULL: c->init_std for all. */
	double (*std)(const struct pt_config *c, enum pt_task task, enum pt_role role);

	const struct pt_part *part;	/* ends in a NULL path */
	const struct pt_head *head;	/* ends in PT_TASK_NONE */
	const char *idle;	/* modules and buffers that files hold for other classes or for nothing, separated by commas */
	/* PEFT's default modules of each method, separated by commas; NULL: it has none. Others take LoRA's */
	const char *lora_targets;
	const char *adalora_targets;
	const char *ia3_targets, *ia3_feedforward;	/* the second "": none of the first is a feed-forward module */
	const char *ln_targets;		/* where PEFT has none, the model's norms */
	enum pt_hub_place hub;
};

/* The rows, one table a kin; each ends in a NULL model_type. */
extern const struct pt_family pt_families_llama[], pt_families_gemma[], pt_families_moe[], pt_families_gpt[],
	pt_families_bert[], pt_families_t5[];

const struct pt_family *pt_family_find(const char *model_type);	/* NULL: unknown */
const struct pt_family *pt_family_at(int i);			/* NULL past the last */

/* NULL: this family has no such head; that of PT_TASK_NONE is always NULL. Embeddings are means where a family says nothing else. */
const struct pt_head *pt_family_head(const struct pt_family *f, enum pt_task task);

/* "LlamaForCausalLM": as config.json's architectures has it; buf holds it; NULL: no such class. */
const char *pt_family_class(const struct pt_family *f, enum pt_task task, char *buf, int size);

#endif
