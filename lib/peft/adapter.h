/* SPDX-License-Identifier: MIT */
/*
 * adapter.h - an adapter: a method's configuration bound to the sites of a
 * model, with its tensors; read from and written to a directory in the layout
 * of HF PEFT (adapter_config.json, adapter_model.safetensors) or of another
 * library (layout.h), plus our labels.json, provenance.json and
 * peft_state.safetensors; formats/adapter.md has them.
 *
 * Full training is the same interface over a model directory: base weights
 * train themselves. The model must have been opened from that directory.
 */
#ifndef PT_PEFT_ADAPTER_H
#define PT_PEFT_ADAPTER_H

#include "io/modelsave.h"
#include "io/prov.h"
#include "peft/layout.h"
#include "peft/method.h"

/* Which file a tensor stands in: the layout's weights, peft_state.safetensors, the layout's head. */
enum pt_adapter_in { PT_IN_WEIGHTS, PT_IN_STATE, PT_IN_HEAD, PT_INS };

/* A tensor of the files. */
struct pt_adapter_tensor {
	char *key;			/* name in the file */
	struct pt_param *param;
	enum pt_adapter_in in;
	bool optional;			/* the directory may lack it */
	bool memory;			/* of the state: no part of any formula */
	bool up, table;			/* LoRA's B; what trains on an embedding: see pt_adapter_loraplus() */
	bool twin;			/* the same values under a second name (tied weights) */
	int groups;			/* of columns, see pt_adapter_grouped(); 0: none */
};

/* A key of the layout's weights that is made of others when they are written. */
struct pt_adapter_made {
	char *key;
	bool optional;			/* as above */
};

/* A weight of the base that an adapter replaces: modules_to_save, biases, all of full training. */
struct pt_adapter_weight {
	struct pt_weight *weight;
	struct pt_param *param;
};

/* A weight of the base, and a site of the adapter that acts on it. */
struct pt_adapter_act {
	const struct pt_weight *weight;
	int site;
};

struct pt_adapter {
	const struct pt_method *method;	/* NULL: full training */
	const struct pt_layout *layout;	/* of the files */
	struct pt_model *model;
	cJSON *config;			/* in the form of memory (layout.h), unknown keys kept; NULL: full */
	void *state;			/* the method's */
	struct pt_adapter_site *site;	/* in the order of the model's sites */
	int nsites;
	struct pt_adapter_act *act;	/* sorted: acts.c */
	size_t nacts;
	struct pt_adapter_weight *weight;
	size_t nweights, cap_weights;
	struct pt_token_rows **rows;	/* tokens.h */
	int nrows;
	struct pt_adapter_tensor *tensor;	/* all of the files, in the order of creation */
	size_t ntensors, cap_tensors;
	struct pt_adapter_made *made;	/* what the method's save() makes */
	size_t nmade, cap_made;
	struct pt_params params;	/* what trains */
	struct pt_params frozen;	/* what does not: everything when opened for inference */
	char **labels;			/* class names by id, or NULL */
	int nlabels;
	enum pt_task task;
	enum pt_problem problem;	/* full: problem_type that is written */
	bool full;
	bool trainable;
	bool fresh;			/* made now, not read */
	const struct pt_tokenize *tokenize;	/* of who makes it; NULL: there is none */
	const struct pt_batches *batches;	/* likewise */
	int (*stop)(void);		/* likewise */
	char **modules;			/* full: modules that train; NULL: all */
	int nmodules;
	struct pt_prov prov;		/* provenance.json; whoever adds a step sets prov_id */
	uint64_t prov_id;
	struct pt_adapter *below;	/* the next one of a stack: acts before it, stands still; its own. NULL: none */
	int level;			/* in a stack: how many are below */
	bool under;			/* of a stack not the last: without its head and its labels, whatever its task */
	char *dir;			/* what it was opened from, as given; NULL: it is fresh */
	bool file_experts, file_routers;	/* its file has linears that HF keeps as parameters */
	const struct pt_st *file[PT_INS];	/* while it is being opened; NULL: not there */
	struct pt_precondition *precondition;	/* lorafa.c */
	int npreconditions;
};

/*
 * What -a names, before the model is opened: reads the configuration only.
 * Tells the task, the number of labels and whether it is an adapter or a
 * (full) model directory. PT_DATA where dir is neither.
 */
struct pt_adapter_info {
	bool full;
	enum pt_task task;
	char **labels;			/* NULL: none are named */
	int nlabels;			/* also without names: rows of the head; 0: no head */
	struct pt_head_spec head;	/* the head that it brings, of other linears than the class's; .out NULL: none */
	char *base;			/* base_model_name_or_path, may be NULL */
	int64_t front;			/* virtual tokens before each sequence */
};
int pt_adapter_peek(const char *dir, struct pt_adapter_info *info, struct pt_error *err);
void pt_adapter_info_release(struct pt_adapter_info *info);

/*
 * A fresh adapter from a configuration, which is completed by the method's
 * defaults and taken over, also on failure. seed: initialisation; from (NULL:
 * nothing) where that is by a text or by data. PT_USAGE names the entry that
 * matches nothing.
 */
int pt_adapter_new(struct pt_adapter **a, struct pt_model *m, cJSON *config_take, uint64_t seed,
		   const struct pt_sources *from, struct pt_error *err);
/* Full training of m: of the modules whose names end in one of these; n = 0: of all. */
int pt_adapter_new_full(struct pt_adapter **a, struct pt_model *m, const char *const *modules, int n,
			struct pt_error *err);

/* Read dir, match sites, load tensors, hook in. trainable: make gradients (else inference only). Errors
 * name the unknown peft_type, the missing or mis-shaped tensor, the key that nothing uses. */
int pt_adapter_open(struct pt_adapter **a, struct pt_model *m, const char *dir, bool trainable,
		    struct pt_error *err);
/*
 * Several, one on the other: dir[0] acts first where they meet, as in AdapterHub's Stack(dir[0], dir[1], ...) and as
 * PEFT's active adapters add up. *a is the last, which alone trains, is saved and has the head; the others are
 * a->below and so on. PT_USAGE names those that cannot stand so. n = 1: pt_adapter_open().
 */
int pt_adapter_open_stack(struct pt_adapter **a, struct pt_model *m, const char *const *dir, int n, bool trainable,
			  struct pt_error *err);
/* Whether it stands on the adapters that it was last trained on, as far as its provenance knows; *trained: their number. */
bool pt_adapter_stands(const struct pt_adapter *a, int *trained);
/* With those below. */
void pt_adapter_close(struct pt_adapter *a);
/*
 * A run goes on from the directory dir that pt_adapter_save() made of a: the
 * values of its state that does not train. What trains is restored by whoever
 * keeps the moments with it.
 */
int pt_adapter_restore(struct pt_adapter *a, const char *dir, struct pt_error *err);

/* Class names by id: copied. */
int pt_adapter_set_labels(struct pt_adapter *a, const char *const *labels, int n, struct pt_error *err);

/* Switch all hooks (and modules_to_save, biases) on or off, those below too: evaluation of the bare base. */
void pt_adapter_enable(struct pt_adapter *a, bool on);

/*
 * Write the directory's files one by one, each to appear whole, the layout's
 * weights (of a full model: model.safetensors) last. dir
 * exists. PT_SAVE_BUT_LAST leaves that one out, PT_SAVE_LAST writes it alone.
 */
enum { PT_SAVE_ALL, PT_SAVE_BUT_LAST, PT_SAVE_LAST };
int pt_adapter_save(struct pt_adapter *a, const char *dir, int part, struct pt_error *err);

/*
 * By its name, the part of such a directory that a file is: PT_MODELSAVE_LAST
 * (what readers wait for), PT_MODELSAVE_REST, or 0: not one of ours.
 */
int pt_adapter_part(const char *name);

/* Digest of configuration (without names of bases), labels and tensors, of this one alone: identity for resume and provenance. */
int pt_adapter_digest(struct pt_adapter *a, uint64_t *out, struct pt_error *err);

/* PT_USAGE: the method cannot be merged. */
int pt_adapter_merges(const struct pt_adapter *a, struct pt_error *err);

/*
 * The value of one weight of the base with everything of the adapter merged
 * into it, in f32, in place: value holds the base's own, as stored. *changed
 * is false where the adapter leaves it alone. PT_USAGE: the method cannot be merged.
 */
int pt_adapter_merge(struct pt_adapter *a, const struct pt_weight *w, float *value, bool *changed,
		     struct pt_error *err);

/* The method's part of a run, and of a step, where it has one: see struct pt_method. */
int pt_adapter_begin(struct pt_adapter *a, int64_t total, struct pt_error *err);
int pt_adapter_plan(const struct pt_adapter *a, int64_t total, struct pt_buf *out, struct pt_error *err);
struct pt_tensor *pt_adapter_loss(struct pt_run *run, struct pt_adapter *a);	/* NULL: none, or run->err */
int pt_adapter_gradient(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err);
int pt_adapter_after_step(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err);

/*
 * LoRA+: the rate of every lora_B, and of vectors, is ratio times the run's; that of what trains on an embedding
 * is embedding times the run's. PT_USAGE: the adapter trains no lora_B.
 */
int pt_adapter_loraplus(struct pt_adapter *a, double ratio, double embedding, struct pt_error *err);

/*
 * LoRA-FA: A stands still, and pt_adapter_precondition() turns the gradients
 * of B, after clipping's norm is known and before the update. PT_USAGE: the
 * adapter trains no lora_B of linears.
 */
int pt_adapter_lorafa(struct pt_adapter *a, struct pt_error *err);
int pt_adapter_precondition(struct pt_adapter *a, struct pt_error *err);

/* The table of what was matched, as text: sites, shapes, trainable parameters, share. */
void pt_adapter_describe(const struct pt_adapter *a, struct pt_buf *out);

#endif
