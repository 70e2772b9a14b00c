/* SPDX-License-Identifier: MIT */
/*
 * adapter_priv.h - inside of peft/: what the files of the adapter share.
 */
#ifndef PT_PEFT_ADAPTER_PRIV_H
#define PT_PEFT_ADAPTER_PRIV_H

#include "peft/adapter.h"

#define PT_ADAPTER_FILE "adapter_model.safetensors"
#define PT_ADAPTER_STATE "peft_state.safetensors"
#define PT_ADAPTER_LABELS "labels.json"
#define PT_FULL_CONFIG "full.json"
#define PT_KEY_PREFIX "base_model.model."

/* Of the keys of whole modules. */
static inline const char *pt_key_prefix(const struct pt_method *m)
{
	return m && m->prefix ? m->prefix : PT_KEY_PREFIX;
}

/* Of a method's directories. NULL: full training. */
static inline const struct pt_layout *pt_method_layout(const struct pt_method *m)
{
	return m && m->layout ? m->layout : &pt_layout_peft;
}

/* Where an adapter comes from, and how it stands. */
struct pt_adapter_origin {
	const char *dir;		/* NULL: it is fresh */
	bool trainable;
	uint64_t seed;
	const struct pt_sources *from;	/* NULL: nothing */
	struct pt_adapter *below;	/* becomes its own, but for a failure */
	bool under;
};

/* adapter.c: an adapter of this method. config_take is taken over, also on failure. */
int pt_adapter_make(struct pt_adapter **out, struct pt_model *m, const struct pt_method *method,
		    cJSON *config_take, const struct pt_adapter_origin *from, struct pt_error *err);
/* Its sites, and their tensors: of a directory as its files are open. */
int pt_adapter_create(struct pt_adapter *a, struct pt_error *err);

/* open.c: what stands in dir, into an adapter that has its configuration and nothing else. */
int pt_adapter_read(struct pt_adapter *a, const char *dir, struct pt_error *err);
/* From its directory, whatever it is. */
int pt_adapter_open_from(struct pt_adapter **out, struct pt_model *m, const struct pt_adapter_origin *from,
			 struct pt_error *err);
/* stacked.c: whether a parameter is of a head, which an adapter under others leaves to them. */
bool pt_adapter_leaves(const struct pt_adapter *a, const char *path);

/* task.c: PT_USAGE: the configuration is for another task than the model's. */
int pt_adapter_check_task(struct pt_adapter *a, struct pt_error *err);
/* task_type of a fresh adapter: the model's. */
int pt_adapter_set_task(struct pt_adapter *a, struct pt_error *err);
/*
 * What modules_to_save holds without being asked: as in PEFT the names of
 * heads, and of a fresh adapter every module that the model had to make up.
 */
int pt_adapter_list_heads(struct pt_adapter *a, struct pt_error *err);

/* config.c: given with every key of defaults that it lacks, keys sorted as PEFT sorts them. */
int pt_adapter_config_complete(cJSON *given, const char *defaults, struct pt_error *err);
/* Members in the order of their names. */
void pt_config_sort(cJSON *obj);
/* A list of strings, or one string: item i, NULL past the end. */
const char *pt_config_item(const cJSON *v, int i);
/* Whether it has this name; the name behind those of a list, unless it is there. */
bool pt_config_lists(const cJSON *v, const char *name);
int pt_config_add_name(cJSON *list, const char *name, struct pt_error *err);
/* The value of a key, in its place, is another; value_take is taken over, NULL: there was no memory for it. */
int pt_config_set(cJSON *config, const char *key, cJSON *value_take, struct pt_error *err);
/* target.c: the key becomes the list of names that commas separate. */
int pt_config_set_names(cJSON *config, const char *key, const char *names, struct pt_error *err);

/* target.c: matched[i] for each site of the model, by the configuration; the default targets are written into it. */
int pt_targets_select(struct pt_adapter *a, bool *matched, struct pt_error *err);
/* Whether what modules_to_save names is there. */
int pt_targets_saved(const struct pt_adapter *a, struct pt_error *err);
/* target_layers.c: whether layers_to_transform lets the module at this path pass; whether the model has those layers. */
int pt_layers_hold(const cJSON *config, const char *path, bool *yes, struct pt_error *err);
int pt_layers_check(const struct pt_adapter *a, struct pt_error *err);

/* pattern.c: whether a regular expression matches all of text, or its beginning, up to *end. */
int pt_regex_match(const char *pattern, const char *text, bool *match, struct pt_error *err);
int pt_regex_begins(const char *pattern, const char *text, bool *match, size_t *end, struct pt_error *err);

/* rank.c: a site's number of the first pattern that matches; *out stays where none does. */
int pt_pattern_number(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *key, double *out,
		      struct pt_error *err);
/* Its rank: r, or that of rank_pattern. */
int pt_pattern_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t r, int *out, struct pt_error *err);
/* Says once where the ranks of a fresh adapter are more than its modules have. */
void pt_rank_warn(const struct pt_adapter *a);
/* The rank that tensors of a file have, where r or any pattern says so too: PT_DATA. */
int pt_stored_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t r, int64_t rank, int *out,
		   struct pt_error *err);

/* weights.c: weights of the base that the adapter replaces. */
void pt_adapter_spare(struct pt_adapter *a, bool spare);	/* for good, or no more: pt_model_spare() */
int pt_adapter_replace_all(struct pt_adapter *a, struct pt_error *err);	/* modules_to_save, bias */
struct pt_adapter_weight *pt_adapter_replaced(const struct pt_adapter *a, const struct pt_weight *w);
/*
 * Whether a name is the end of the path of w's module or of one around it.
 * whole: of whole parts of the path; else as in PEFT's modules_to_save, where
 * "norm" means "input_layernorm" too.
 */
bool pt_module_holds(const char *name, const struct pt_weight *w, bool whole);
/* A base value as f32 on the host; count elements. */
int pt_weight_value(const struct pt_model *m, const struct pt_weight *w, float *out, struct pt_error *err);
/* One row of a matrix likewise. */
int pt_weight_row(const struct pt_model *m, const struct pt_weight *w, int64_t row, float *out, struct pt_error *err);

/* acts.c: once the sites are known; then the n of them, in order, that are at w's module or parameter. */
int pt_adapter_index_acts(struct pt_adapter *a, struct pt_error *err);
const struct pt_adapter_act *pt_adapter_acts(const struct pt_adapter *a, const struct pt_weight *w, size_t *n);

/* tensors.c: to the order of files, or from it, of a tensor with groups. */
void pt_adapter_regroup(const struct pt_adapter_tensor *t, const float *from, float *to, bool to_file);
/* tensors.c: p once more under another name, which a file need not have. */
int pt_adapter_twin(struct pt_adapter *a, const char *key, struct pt_param *p, struct pt_error *err);
/* tensors.c: values of all tensors from the open files; every key must be used. */
int pt_adapter_load(struct pt_adapter *a, struct pt_error *err);
/* tensors.c: what the method's save() makes of the state is what the file of weights has, or PT_DATA. */
int pt_adapter_check_made(struct pt_adapter *a, struct pt_error *err);

/* full.c: weights that train, the names of their modules */
int pt_full_make(struct pt_adapter *a, struct pt_error *err);
int pt_full_names(struct pt_adapter *a, const char *const *name, int n, struct pt_error *err);
int pt_full_open(struct pt_adapter *a, const char *dir, struct pt_error *err);
int pt_full_save(struct pt_adapter *a, const char *dir, int part, struct pt_error *err);
int pt_full_peek(const char *dir, struct pt_adapter_info *info, struct pt_error *err);

/* lorafa.c */
void pt_adapter_precondition_release(struct pt_adapter *a);

/* tensors.c: what a file of the directory is called. */
const char *pt_adapter_file_name(const struct pt_adapter *a, enum pt_adapter_in in);

/* save.c */
/* Whether a tensor stands in that file. */
bool pt_adapter_has(const struct pt_adapter *a, enum pt_adapter_in in);

/* labels.c */
int pt_labels_read(const char *dir, char ***labels, int *n, struct pt_error *err);	/* absent: none */
/* Of a directory in this layout, with its configuration: none where the task has none. NULL with *n > 0: without names. */
int pt_labels_find(const struct pt_layout *l, const char *dir, const cJSON *config, enum pt_task task, char ***labels,
		   int *n, struct pt_error *err);
int pt_labels_write(const char *dir, char *const *labels, int n, struct pt_error *err);
void pt_labels_free(char **labels, int n);

#endif
