/* SPDX-License-Identifier: MIT */
/*
 * virtual.h - what methods with virtual tokens share: their part of the
 * configuration, the tensor prompt_embeddings, and rows that are put before
 * those of every sequence. a->state begins with a struct pt_virtual.
 */
#ifndef PT_PEFT_VIRTUAL_H
#define PT_PEFT_VIRTUAL_H

#include "peft/adapter_priv.h"

#define PT_VIRTUAL_KEY "prompt_embeddings"
/* Keys of whole modules beside it: PEFT wraps no module of the base. */
#define PT_VIRTUAL_PREFIX "base_model."

/* adapter_config.json as PEFT writes it, with the method's own keys between. */
#define PT_VIRTUAL_DEFAULTS(type, own) \
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"inference_mode\":true,\"modules_to_save\":null," \
	"\"num_attention_heads\":null,\"num_layers\":null,\"num_transformer_submodules\":null," \
	"\"num_virtual_tokens\":null,\"peft_type\":\"" type "\",\"revision\":null,\"task_type\":null," \
	"\"token_dim\":null," own "}"

#define PT_OPTION_VIRTUAL_TOKENS \
	{ .name = "virtual-tokens", .key = "num_virtual_tokens", .kind = PT_OPTION_INT, .arg = "N", .min = 1, \
	  .max = 1 << 20, .preset = "20", .help = "virtual tokens before each sequence (20)" }

struct pt_virtual {
	int64_t tokens;			/* before each sequence */
	int64_t parts;			/* num_transformer_submodules: the file's table has as many times the tokens */
	int64_t layers, heads, dim;	/* num_layers, num_attention_heads, token_dim */
	struct pt_param *table;		/* prompt_embeddings, where nothing else makes it; else NULL */
	/* INPUT: the rows [tokens,dim] of this adapter. */
	struct pt_tensor *(*front)(struct pt_run *run, const struct pt_adapter_site *s);
};

/*
 * The keys that all have, checked; those that are null get the model's:
 * heads and dim as given here.
 */
int pt_virtual_parse(struct pt_adapter *a, struct pt_virtual *v, int64_t heads, int64_t dim, struct pt_error *err);
/* pt_method.match: the input of the model's first stack, as in PEFT. */
bool pt_virtual_match(const struct pt_adapter *a, const struct pt_site *s);
/* The table [rows,width] of this name, which trains, as the site's next tensor. */
int pt_virtual_table(struct pt_adapter *a, struct pt_adapter_site *s, const char *key, int flags, int64_t rows,
		     int64_t width, struct pt_param **out, struct pt_error *err);
/* Rows first, first + step, ... of a table, n of them, as activations. */
struct pt_tensor *pt_virtual_rows(struct pt_run *run, struct pt_tensor *table, int64_t first, int64_t step, int64_t n);
/* Puts what v->front makes before each sequence. */
extern const struct pt_hook_ops pt_virtual_input;
/* Normal values of deviation 1, as torch's Embedding has. */
int pt_virtual_normal(struct pt_adapter *a, struct pt_param *p, uint64_t seed, struct pt_error *err);

#endif
