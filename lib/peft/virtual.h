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
#define PT_VIRTUAL_ENCODER "prompt_encoder."
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
	struct pt_param *table;		/* prompt_embeddings, where no encoder makes it; else NULL */
	float *made;			/* what an encoder made of it for the file */
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
/*
 * An encoder, of state tensors named "prompt_encoder.NAME", makes the table
 * while it trains, and is kept beside it for that. It is there where the
 * adapter is fresh or its directory holds it; else, and wherever nothing
 * trains, the table stands for itself: *makes is false, and s has the table.
 */
int pt_virtual_encoder(struct pt_adapter *a, struct pt_adapter_site *s, int64_t rows, int64_t width, bool *has,
		       bool *makes, struct pt_error *err);
/* A tensor of it, as the site's next; cols 0: a vector. */
int pt_virtual_part(struct pt_adapter *a, struct pt_adapter_site *s, const char *name, int64_t rows, int64_t cols,
		    struct pt_error *err);
/* pt_method.save of what an encoder makes: table(run, a) is [rows,width] of the file. */
int pt_virtual_save(struct pt_adapter *a, struct pt_st_build *file,
		    struct pt_tensor *(*table)(struct pt_run *run, struct pt_adapter *a), int64_t rows, int64_t width,
		    struct pt_error *err);
/* Normal values of deviation 1, as torch's Embedding has, and uniform ones within 1/sqrt(fan). */
int pt_virtual_normal(struct pt_adapter *a, struct pt_param *p, uint64_t seed, struct pt_error *err);
int pt_virtual_uniform(struct pt_adapter *a, struct pt_param *p, int64_t fan, uint64_t seed, struct pt_error *err);
/* The first n ids of a text, which is repeated where again says so, and else must have as many. */
int pt_virtual_text(struct pt_adapter *a, const char *text, int32_t *id, int64_t n, bool again, struct pt_error *err);
/* x W' + b, of parameters. */
struct pt_tensor *pt_virtual_linear(struct pt_run *run, struct pt_tensor *x, struct pt_param *w, struct pt_param *b);
/* A number of the configuration; what is null becomes def there too. */
int pt_virtual_number(struct pt_adapter *a, const char *key, int64_t def, int64_t *out, struct pt_error *err);
void pt_virtual_release(struct pt_adapter *a);

#endif
