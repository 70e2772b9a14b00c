/* SPDX-License-Identifier: MIT */
/*
 * adapter.h - an adapter: a method's configuration bound to the sites of a
 * model, with its trainable tensors; read from and written to HF PEFT's
 * directory (adapter_config.json, adapter_model.safetensors) plus our
 * labels.json and provenance.json. "-t full" is the same interface over a
 * model directory: named base weights train themselves.
 */
#ifndef PT_PEFT_ADAPTER_H
#define PT_PEFT_ADAPTER_H

#include "peft/method.h"

struct pt_adapter {
	const struct pt_method *method;	/* NULL: full training */
	struct pt_model *model;
	cJSON *config;			/* adapter_config.json as read, unknown keys kept; NULL: full */
	void *config_state;		/* the method's parsed keys */
	struct pt_adapter_site *site;
	int nsites;
	struct pt_params params;	/* everything that trains, modules_to_save and biases included */
	char **labels;			/* class names by id, or NULL */
	int nlabels;
	enum pt_task task;
	bool full;
	void *priv;
};

/*
 * What -a names, before the model is opened: reads the configuration only.
 * Tells the task, the number of labels and whether it is an adapter or a
 * (full) model directory.
 */
struct pt_adapter_info {
	bool full;
	enum pt_task task;
	char **labels;
	int nlabels;
	char *base;			/* base_model_name_or_path, may be NULL */
};
int pt_adapter_peek(const char *dir, struct pt_adapter_info *info, struct pt_error *err);
void pt_adapter_info_release(struct pt_adapter_info *info);

/* A fresh adapter from a configuration (the JSON text's meaning is adapter_config.json's). seed: initialisation. */
int pt_adapter_new(struct pt_adapter **a, struct pt_model *m, cJSON *config_take, uint64_t seed,
		   struct pt_error *err);

/* Read dir, match sites, load tensors, hook in. trainable: make gradients (else inference only). Errors
 * name the unknown peft_type, the missing or mis-shaped tensor, the key that nothing uses. */
int pt_adapter_open(struct pt_adapter **a, struct pt_model *m, const char *dir, bool trainable,
		    struct pt_error *err);
void pt_adapter_close(struct pt_adapter *a);

/* Switch all hooks (and modules_to_save, biases) on or off: evaluation of the bare base. */
void pt_adapter_enable(struct pt_adapter *a, bool on);

/*
 * Write the directory's files one by one, each to appear whole,
 * adapter_model.safetensors (of a full model: its only shard or index) last.
 * last = false leaves that one out (call again with only_last).
 */
enum { PT_SAVE_ALL, PT_SAVE_BUT_LAST, PT_SAVE_LAST };
int pt_adapter_save(struct pt_adapter *a, const char *dir, int part, struct pt_error *err);

/* Digest of configuration (without names of bases) and tensors: identity for resume and provenance. */
uint64_t pt_adapter_digest(const struct pt_adapter *a);

/* The table of what was matched, as text: sites, shapes, trainable parameters, share. */
void pt_adapter_describe(const struct pt_adapter *a, struct pt_buf *out);

#endif
