/* SPDX-License-Identifier: MIT */
/*
 * lora.h - what LoRA's relatives share with it: keys, tensors, fresh values,
 * the low-rank term. a->state is a struct pt_lora.
 */
#ifndef PT_PEFT_LORA_H
#define PT_PEFT_LORA_H

#include "peft/adapter_priv.h"

enum pt_lora_init {
	PT_LORA_DEFAULT, PT_LORA_FALSE, PT_LORA_GAUSSIAN, PT_LORA_ORTHOGONAL, PT_LORA_PISSA, PT_LORA_OLORA,
	PT_LORA_EVA, PT_LORA_CORDA,
	PT_LORA_OTHER,			/* of a file: no matter now */
};

/* Places in pt_adapter_site.param. */
enum { PT_LORA_A, PT_LORA_B, PT_LORA_PARAMS };

struct pt_lora {
	int64_t r;
	double alpha, dropout;
	bool rslora, bias;
	bool warned;			/* of what PEFT makes of experts */
	enum pt_lora_init init;
	struct pt_lora_data *data;	/* lora_data.c, while it is made */
};

/* adapter_config.json as PEFT writes it, with these values as JSON; more: further keys, each with a comma behind. */
#define PT_LORA_DEFAULTS(bias, alpha, r, dora) PT_LORA_DEFAULTS_OF("LORA", bias, alpha, r, dora, "{}", "")
#define PT_LORA_DEFAULTS_OF(type, bias, alpha, r, dora, rank_pattern, more) \
	"{\"alora_invocation_tokens\":null,\"alpha_pattern\":{},\"arrow_config\":null,\"auto_mapping\":null," \
	"\"base_model_name_or_path\":null,\"bias\":" bias ",\"corda_config\":null,\"ensure_weight_tying\":false," \
	"\"eva_config\":null,\"exclude_modules\":null,\"fan_in_fan_out\":false,\"inference_mode\":true," \
	"\"init_lora_weights\":true,\"kasa_config\":null,\"layer_replication\":null,\"layers_pattern\":null," \
	"\"layers_to_transform\":null,\"loftq_config\":{},\"lora_alpha\":" alpha ",\"lora_bias\":false," \
	"\"lora_dropout\":0.0,\"lora_ga_config\":null,\"megatron_config\":null,\"megatron_core\":\"megatron.core\"," \
	"\"modules_to_save\":null,\"monteclora_config\":null,\"peft_type\":\"" type "\",\"qalora_group_size\":16,\"r\":" r "," \
	"\"rank_pattern\":" rank_pattern "," more "\"revision\":null,\"target_modules\":null,\"target_parameters\":null," \
	"\"task_type\":null,\"trainable_token_indices\":null,\"use_bdlora\":null,\"use_dora\":" dora "," \
	"\"use_qalora\":false,\"use_rslora\":false,\"velora_config\":null}"

/* Options that LoRA's relatives share. Alpha is twice the default rank: the scale of 2 that most recipes use. */
#define PT_LORA_OPTION_ALPHA \
	{ .name = "alpha", .key = "lora_alpha", .kind = PT_OPTION_FLOAT, .arg = "X", .min = -1e9, .max = 1e9, \
	  .preset = "16", .help = "the update is scaled by alpha/rank (16)" }
#define PT_LORA_OPTION_DROPOUT \
	{ .name = "dropout", .key = "lora_dropout", .kind = PT_OPTION_FLOAT, .arg = "P", .max = 0.999, \
	  .help = "dropout of the adapter's input (0)" }
#define PT_LORA_OPTION_BIAS \
	{ .name = "bias", .key = "bias", .kind = PT_OPTION_WORD, .arg = "WHICH", .words = "none|all|lora_only", \
	  .help = "biases that train: none, all or lora_only" }
#define PT_LORA_OPTION_TOKENS \
	{ .name = "tokens", .key = "trainable_token_indices", .kind = PT_OPTION_NUMBERS, .arg = "LIST", \
	  .help = "ids of tokens whose rows of the embedding train, as in 5,300-310" }

extern const struct pt_option pt_lora_options[];
const char *pt_lora_targets(const struct pt_model *m);

/* The keys of a->config, checked, into l. */
int pt_lora_read(const struct pt_adapter *a, struct pt_lora *l, struct pt_error *err);
/* pt_method.parse, .create with flags of tensors (the hook is LoRA's), .merge, .release */
int pt_lora_parse(struct pt_adapter *a, struct pt_error *err);
int pt_lora_create(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err);
int pt_lora_merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		  struct pt_error *err);
void pt_lora_release(struct pt_adapter *a);

/* The same of a linear's weight, or a table, with A [r,in] and B [out,r] given. */
int pt_lora_merge_values(const struct pt_adapter_site *s, const float *va, const float *vb, float *value,
			 struct pt_error *err);
/* x [rows,cols] as [cols,rows]. */
void pt_lora_transpose(const float *x, int64_t rows, int64_t cols, float *out);
/* w[i,:] += scale * sum_k c[i,k] d[k,:], a row at a time with sum[cols] between. */
void pt_lora_add_product(float *w, int64_t rows, int64_t cols, float scale, const float *c, const float *d, int rank,
			 float *sum);

/* Rank and alpha of a site by the configuration, and of a file by its tensors. */
int pt_lora_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int *rank, double *alpha, struct pt_error *err);

/* lora_init.c: pt_method.init */
int pt_lora_init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err);

/* lora_data.c: pt_method.observe; A of a site where EVA has one; CorDA's A and B of W [out,in]. */
int pt_lora_observe(struct pt_adapter *a, struct pt_error *err);
bool pt_lora_eva(const struct pt_adapter_site *s, const struct pt_lora *l, float *va);
int pt_lora_corda(const struct pt_adapter *a, const struct pt_adapter_site *s, const float *w, float *va, float *vb,
		  struct pt_error *err);
void pt_lora_data_free(struct pt_lora_data *d);

/*
 * lora_residual.c: a site whose first update is taken out of the base; what
 * it is to begin with, made of the weight; pt_method.save and .settle.
 */
bool pt_lora_takes_out(const struct pt_lora *l);
bool pt_lora_residual(const struct pt_adapter_site *s);
int pt_lora_residual_wanted(const struct pt_adapter *a, const struct pt_adapter_site *s, bool *yes, struct pt_error *err);
int pt_lora_residual_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
int pt_lora_residual_init(struct pt_adapter *a, struct pt_adapter_site *s, float *va, float *vb, struct pt_error *err);
int pt_lora_residual_merge(struct pt_adapter *a, const struct pt_adapter_site *s, float *value, struct pt_error *err);
void pt_lora_residual_release(struct pt_adapter_site *s);
int pt_lora_save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err);
int pt_lora_settle(struct pt_adapter *a, struct pt_error *err);

/* lora_tied.c: a linear with the update of the table that it is tied to, s->twin; found, and as what becomes of it. */
int pt_lora_tied_wanted(const struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
int pt_lora_tied_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
bool pt_lora_tied(const struct pt_adapter_site *s);
int pt_lora_tied_save(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_st_build *file, struct pt_error *err);
int pt_lora_tied_merge(struct pt_adapter *a, const struct pt_adapter_site *s, float *value, struct pt_error *err);
void pt_lora_tied_release(struct pt_adapter_site *s);

/* lora_param.c: LoRA on a parameter (PT_SITE_PARAM); s->state is its own. */
int pt_lora_param_name(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *name, char **out,
		       struct pt_error *err);
int pt_lora_param_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
int pt_lora_param_merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w,
			float *value, struct pt_error *err);

/* The term s B A drop(x) of a linear's site. */
struct pt_lowrank pt_lora_term(const struct pt_lora *l, const struct pt_adapter_site *s);
/* y + s A'[ids] B'; there is no dropout, as in PEFT. */
struct pt_tensor *pt_lora_embed(struct pt_run *run, const struct pt_adapter_site *s, const int32_t *ids,
				const struct pt_rows *rows, struct pt_tensor *y);

#endif
