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

enum pt_rope_type { PT_ROPE_DEFAULT, PT_ROPE_LINEAR, PT_ROPE_DYNAMIC, PT_ROPE_LLAMA3, PT_ROPE_YARN,
	PT_ROPE_LONG };

/* rope_parameters (transformers 5) or rope_theta + rope_scaling (4). */
struct pt_rope_config {
	enum pt_rope_type type;
	double theta;
	double factor;
	double low_freq, high_freq;	/* llama3 */
	int64_t original;		/* original_max_position_embeddings */
	double beta_fast, beta_slow;	/* yarn */
	float *ext[2];			/* longrope: factors [dims / 2] up to original positions, and beyond */
	double attention_factor;	/* on cos and sin; 1 but for yarn and longrope */
	bool truncate;			/* yarn */
	int64_t positions;		/* max_position_embeddings: where dynamic begins */
	int dims;			/* of a head that are rotated */
};

#define PT_CONFIG_MAX_EOS 16
#define PT_MAX_LAYERS 4096
#define PT_MAX_STACKS 2
#define PT_MAX_ROPES 2

struct pt_layer_config {
	bool slides;
	int window;			/* 0: none */
	int rope;			/* which of pt_config.rope; -1: not rotated */
	float scale;			/* of attention scores */
	bool sparse;			/* the feed-forward is a mixture of experts */
};

/* A run of blocks: the body of most models; an encoder-decoder has a second. */
struct pt_stack_config {
	const struct pt_part *part;	/* the family's, unless keys choose another table */
	bool causal;
	int layers;
	struct pt_layer_config *layer;	/* [layers] */
};

struct pt_config {
	const struct pt_family *family;
	const cJSON *json;		/* borrowed */
	enum pt_task task;		/* of architectures[0]; PT_TASK_NONE where it tells none */

	int64_t vocab, hidden, ffn, types;
	int64_t embed_width;		/* of embeddings and of what the head reads; hidden but for projections */
	int64_t positions;		/* longest sequence */
	int heads, kv_heads, head_dim;
	struct pt_stack_config stack[PT_MAX_STACKS];
	int nstacks;

	enum pt_block_form form;
	enum pt_norm_kind norm;
	bool norm_weight, norm_bias;	/* norms have them: by the kind of norm, unless keys say otherwise */
	bool wide_head_norms;		/* those of queries and keys are of all heads together */
	bool normed_residual;		/* PRE: the sum goes on from what the norm makes of it */
	float eps;
	uint64_t absent;		/* roles of the table that this model lacks, as bits */
	int window;			/* of layers that slide; 0: none */
	enum pt_position position;
	int pos_offset;			/* LEARNED: row of the first position */
	struct pt_rope_config rope[PT_MAX_ROPES];
	int nropes;
	int buckets, max_distance;	/* BUCKETS */
	bool key_slopes;		/* SLOPES: Falcon's, rounded at every key */
	enum pt_ffn_form ffn_form;
	enum pt_qkv_layout qkv;
	enum pt_act act;
	bool bias_qkv, bias_o, bias_ffn;
	bool transposed;		/* linears of blocks */
	/* Mixtures of experts, in sparse layers: numbers, widths, weights of the chosen divided by their sum */
	int experts, expert_choices;
	int64_t expert_ffn, shared_ffn;
	bool expert_renorm;
	double router_loss;		/* factor of the loss that keeps experts in balance, and whether it is */
	bool router_loss_on;		/* part of the loss unasked */
	float attn_softcap, final_softcap;	/* 0: none */
	float embed_scale;		/* on word embeddings, in the type of their weights */
	float input_scale;		/* on what the first block reads, virtual tokens too */
	float residual_scale;		/* PRE: on the output of a sub-block, before it is added */
	float logit_scale;		/* on hidden states before the language-model head */

	bool tie;			/* output embedding is the input embedding */
	bool tie_forced;		/* whatever tie_word_embeddings says: it means something else and stays */
	/* These act while run->train: after the embeddings, on attention's shares, on the outputs of attention and
	 * feed-forward, after the activation, after the last norm, in front of a classifier. */
	float drop_embed, drop_attn, drop_attn_out, drop_ffn_out, drop_act, drop_final, drop_class;
	float drop_sum;			/* PARALLEL: on both outputs together */
	double init_std;

	int pad, bos;			/* -1: none */
	int decoder_start;		/* of an encoder-decoder: the first id that its decoder reads; -1: not said */
	int eos[PT_CONFIG_MAX_EOS], neos;
	int dtype;			/* enum pt_dtype of "dtype", -1: not said */

	int num_labels;			/* num_labels, else the size of id2label, else 2 */
	char **label;			/* id2label [num_labels], NULL: not in the file */
	enum pt_problem problem;
};

/* Status PT_DATA naming the key that is wrong or not supported. json stays open. */
int pt_config_read(struct pt_config *c, const cJSON *json, struct pt_error *err);
void pt_config_release(struct pt_config *c);

/* For the config() of families: one more stack; its layers have no window, the usual scale, the first rotation. */
int pt_config_stack(struct pt_config *c, int stack, const struct pt_part *part, bool causal, int layers,
		    struct pt_error *err);

/* For the config() of families. */
static inline void pt_config_lacks(struct pt_config *c, enum pt_role role)
{
	c->absent |= UINT64_C(1) << role;
}

/* Activation by its name in config.json; -1: unknown. */
int pt_act_parse(const char *name);
const char *pt_act_name(enum pt_act act);	/* the first of its names; "none" */
/* As rope_type has it. */
const char *pt_rope_type_name(enum pt_rope_type type);

#endif
