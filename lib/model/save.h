/* SPDX-License-Identifier: MIT */
/*
 * save.h - what a model on disk is made of (io/modelsave.h): the description
 * with what training changed, and the parameters under HF's names.
 */
#ifndef PT_MODEL_SAVE_H
#define PT_MODEL_SAVE_H

#include "io/modelsave.h"
#include "model/model.h"

struct pt_model_save {
	char *const *label;	/* class names [m->num_labels]; NULL: those of config.json, else LABEL_0 ... */
	enum pt_problem problem;	/* PT_PROBLEM_UNSET: as it was */
	int dtype;		/* enum pt_dtype of the file: what "dtype" says; -1: as it was */
	int tie;		/* tie_word_embeddings 0 or 1; -1: as it was */
};

/*
 * config.json of m's class with these changes: architectures is that of the
 * task, id2label and label2id are set for classification. Keys that are not
 * known and their order stay. Freed by pt_json_free(); NULL and err on failure.
 */
cJSON *pt_model_save_config(const struct pt_model *m, const struct pt_model_save *o,
			    struct pt_error *err);

/*
 * A tensor of the files: a weight, or those of all pieces of a parameter
 * (site.h), one after the other, where the model was read so.
 */
struct pt_model_tensor {
	const char *name;
	int ndim;
	int64_t shape[PT_MAX_DIMS];
	int n;				/* weights that it is made of */
	struct pt_weight *first;
};

/* Of the tensor that begins with weight i of m; false: i stands inside another. By name; false: there is none. */
bool pt_model_tensor_at(const struct pt_model *m, int i, struct pt_model_tensor *out);
bool pt_model_tensor_find(const struct pt_model *m, const char *name, struct pt_model_tensor *out);
struct pt_weight *pt_model_tensor_weight(const struct pt_model_tensor *t, int k);

/*
 * All parameters of m to s, a tied one once, without data: fill is asked.
 * dtype: of all; -1: of what the forward pass reads (f32 where it trained or is
 * fresh, else as stored; f32 for pieces of unlike types).
 */
int pt_model_save_list(const struct pt_model *m, int dtype, struct pt_modelsave *s, struct pt_error *err);

/* A pt_st_fill_fn: arg is the struct pt_model; what the forward pass reads (weight->use), in pieces. */
int pt_model_save_fill(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err);

#endif
