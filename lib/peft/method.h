/* SPDX-License-Identifier: MIT */
/*
 * method.h - a PEFT method is one file with one const struct pt_method; the
 * registry lists them.
 *
 * A method says which sites it acts on and which tensors it has there, under
 * the names of HF PEFT's files; everything else about files, sites, training
 * and switching off is done for it (adapter.h). Its formulas act through the
 * hooks of model/site.h and differentiate themselves.
 *
 * To add one: its file, and its word in registry.c. Options, the help, the
 * configuration's keys, --plan, resuming and refusals follow from its struct.
 * Then tests say what they miss: an entry and two rows of peft-methods(7)
 * (peft_registry), its options in peft-init(1) (t0001), a golden on each shape
 * of model that it fits (tests/golden/cases_*.py; peft_shapes), with a change
 * of each key that matters (tests/unit/lora_KIN.c), a directory of PEFT's
 * (cases_conform.py; peft_conform), a rate in pipelines/methods.tsv (t0404,
 * which trains, stops, merges and damages each method of the registry). Names
 * of new tensors stand in formats/adapter.md.
 *
 * What is unlike LoRA has its place too: tensors that sites share (prepare),
 * methods without target modules (match), tensors that do not train or that
 * PEFT's file cannot hold (PT_TENSOR_FROZEN, PT_TENSOR_STATE), files that
 * hold something else than what trains (save, and create by what is stored).
 */
#ifndef PT_PEFT_METHOD_H
#define PT_PEFT_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "io/safetensors.h"
#include "model/model.h"
#include "tensor/param.h"

struct pt_adapter;
struct pt_combiner;
struct pt_layout;

#define PT_SITE_MAX_TENSORS 64

/* An adapter's part at one site. */
struct pt_adapter_site {
	struct pt_site *site;
	struct pt_hook hook;		/* .ops is set by create; .state is this struct */
	struct pt_param *param[PT_SITE_MAX_TENSORS];	/* the method's tensors here, in order of pt_adapter_tensor_at() */
	int nparams;
	uint64_t rng;			/* random site: that of the site, another at each level of a stack */
	int rank;			/* 0 where there is none */
	float scale;
	struct pt_adapter_site *twin;	/* the other end of a tied table, whose update, as large, is this one's too; NULL: none */
	void *state;			/* the method's */
	/* PARAM: hooks of the linears that it holds, [site->npieces], made by create in place of hook; freed when
	 * the adapter is closed */
	struct pt_hook *piece;
};

/* What text an option of peft-init takes, and what becomes of it in the configuration. */
enum pt_option_kind {
	PT_OPTION_INT,			/* a whole number, min..max */
	PT_OPTION_FLOAT,		/* a number, min..max */
	PT_OPTION_FLAG,			/* true; --no-NAME: false */
	PT_OPTION_WORD,			/* one of .words; WORD=VALUE stands for true, false, null or another word */
	PT_OPTION_TEXT,
	PT_OPTION_NAMES,		/* a,b: a list */
	PT_OPTION_TARGETS,		/* names, or one regular expression, or all-linear */
	PT_OPTION_NUMBERS,		/* 0-3,7: a list */
	PT_OPTION_INT_BY,		/* EXPRESSION=N, may be repeated: an object */
	PT_OPTION_FLOAT_BY,
};

/* An option of peft-init: the key of the configuration that it sets. A name means one kind in all methods. */
struct pt_option {
	const char *name;		/* NULL with a key: only preset */
	char letter;
	const char *key;		/* "object.key": of an object in it. NULL: the end of a table */
	enum pt_option_kind kind;
	const char *arg;		/* placeholder in the help */
	double min, max;
	const char *words;
	const char *preset;		/* what peft-init takes unless it is given, or a configuration is; NULL: the default */
	bool passing;			/* the key is for the making alone: no file has it */
	const char *wants;		/* "NAME" or "NAME=WORD" of another option, without which it has no effect: refused then */
	const char *help;
};

/* Which modules are targets, and what trains whole beside them. */
#define PT_OPTIONS_TARGETS \
	{ .name = "targets", .key = "target_modules", .kind = PT_OPTION_TARGETS, .arg = "LIST|REGEX", \
	  .help = "modules to adapt by the ends of their names, or all-linear (by model)" }, \
	{ .name = "exclude", .key = "exclude_modules", .kind = PT_OPTION_TARGETS, .arg = "LIST|REGEX", \
	  .help = "targets to leave out" }, \
	PT_OPTION_SAVE_MODULES
#define PT_OPTION_SAVE_MODULES \
	{ .name = "save-modules", .key = "modules_to_save", .kind = PT_OPTION_NAMES, .arg = "LIST", \
	  .help = "modules that train whole and are saved with the adapter" }
/* Of which layers. */
#define PT_OPTIONS_LAYERS \
	{ .name = "layers", .key = "layers_to_transform", .kind = PT_OPTION_NUMBERS, .arg = "LIST", \
	  .help = "adapt only these layers, as in 0-3,7" }, \
	{ .name = "layers-pattern", .key = "layers_pattern", .kind = PT_OPTION_TEXT, .arg = "NAME", \
	  .wants = "layers", .help = "name before a layer's number, where it is not the first number" }

/* The ids of a text by the base's tokenizer, special tokens included: malloced, the caller's. */
struct pt_tokenize {
	int (*ids)(void *arg, const char *text, int32_t **ids, size_t *n, struct pt_error *err);
	void *arg;
};

/* Micro-batches, one after the other, for what is initialised from data. */
struct pt_batches {
	/* The next, as pt_model_hidden() reads it in *run; *in is NULL at the end. */
	int (*next)(void *arg, struct pt_run **run, const struct pt_input **in, struct pt_error *err);
	void *arg;
};

/* What the making of an adapter may ask for; NULL: there is none. */
struct pt_sources {
	const struct pt_tokenize *tokenize;
	const struct pt_batches *batches;
	int (*stop)(void);		/* asked now and then (pt_stopped()) */
};

/* A step of a run. */
struct pt_method_step {
	int64_t step;			/* counts from 1 */
	int64_t total;			/* of the run; 0: not known */
	float clip;			/* what the optimiser multiplied gradients by; 1 before it has them */
};

struct pt_method {
	const char *name;		/* -t NAME: "lora" */
	const char *peft_type;		/* in the form of memory (layout.h), "LORA"; several methods may share one */
	/*
	 * The keys that tell it from others of its peft_type, a JSON object: a configuration is the first method's
	 * all of whose keys it has, as given or by default. NULL: none are needed; such a method comes last.
	 */
	const char *sets;
	const char *paper;		/* NULL: there is none */
	unsigned kinds;			/* bit set of 1 << enum pt_site_kind that it fits */
	bool merges;
	bool stacks;			/* adds to what is there, by hooks alone: it may stand in a stack with others */
	bool lowrank;			/* what it adds to a weight is of the site's rank, at most: more than its smaller side is waste */
	bool no_conv1d;			/* PEFT has it for no module that stores its weight transposed */
	const char *prefix;		/* of the keys of whole modules in its file; NULL: "base_model.model." */
	const struct pt_layout *layout;	/* of its directories; NULL: HF PEFT's */

	/* Its configuration with all defaults, as PEFT writes it: a JSON text. */
	const char *defaults;
	const struct pt_option *options;	/* peft-init's, ending in a zeroed one */
	/* Default target_modules of a model, separated by commas; NULL: there are none. */
	const char *(*targets)(const struct pt_model *m);
	/* Optional: the sites it acts on, instead of those that the configuration's target_modules name. */
	bool (*match)(const struct pt_adapter *a, const struct pt_site *s);

	/* Optional: keys of the making alone become keys of the configuration, before the defaults complete it. */
	int (*preset)(cJSON *config, struct pt_error *err);
	/* The method's keys of a->config into a->state, checked: PT_DATA names the key. */
	int (*parse)(struct pt_adapter *a, struct pt_error *err);
	/* Optional, of a fresh adapter: a->site[] is known and nothing is made. What is initialised from data looks at
	 * a->batches; sites may be dropped. */
	int (*observe)(struct pt_adapter *a, struct pt_error *err);
	/* Optional: tensors that sites share; a->site[] is known. Values too where a->fresh. */
	int (*prepare)(struct pt_adapter *a, struct pt_error *err);
	/* Tensors and hook of one site. Shapes that a file decides are asked of pt_adapter_stored(). */
	int (*create)(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
	/*
	 * Optional: fresh values, where tensors do not start as they were made (zero, or the base's). seed is the
	 * run's, to be mixed with the names of tensors.
	 */
	int (*init)(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err);

	/* Optional: values of a site that the directory holds in another form than the tensors have, see
	 * PT_TENSOR_OPTIONAL; after all others are loaded. */
	int (*load)(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);

	/* Optional: all sites of a fresh adapter have their values: what the configuration says then. */
	int (*settle)(struct pt_adapter *a, struct pt_error *err);

	/* The value of w, the site's weight or bias (f32, as stored: transposed where the site is), becomes the merged one. */
	int (*merge)(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w,
		     float *value, struct pt_error *err);

	/* How several become one, see combine.h; NULL: they do not. */
	const struct pt_combiner *combiner;

	/* Optional: what the directory holds differs from what trains: more tensors of adapter_model.safetensors
	 * (pt_adapter_made(); their data lives until the next save or the release of a) and other values in
	 * config, a copy. */
	int (*save)(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err);

	/* Optional: a run of total steps (0: not known) begins, before anything else of it; what it settles in
	 * a->config counts for the digest. What it will do step by step, as text, beforehand. */
	int (*begin)(struct pt_adapter *a, int64_t total, struct pt_error *err);
	int (*plan)(const struct pt_adapter *a, int64_t total, struct pt_buf *out, struct pt_error *err);
	/* Optional, called by the loop at every step: a loss of parameters alone, of shape [1]; after backward,
	 * before clipping and the update; after the update, with the gradients as they were. */
	struct pt_tensor *(*loss)(struct pt_run *run, struct pt_adapter *a);
	int (*gradient)(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err);
	int (*after_step)(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err);

	/* Frees a->state and what hangs on sites. */
	void (*release)(struct pt_adapter *a);
};

/* By -t name; by the keys of a configuration (PT_DATA: no peft_type, unknown). i-th of all; NULL past the end. */
const struct pt_method *pt_method_find(const char *name);
int pt_method_of_config(const cJSON *config, const struct pt_method **out, struct pt_error *err);
const struct pt_method *pt_method_at(int i);
/* Whether its configuration has such a key; false also where memory is short. */
bool pt_method_has_key(const struct pt_method *m, const char *key);

/* For methods: */

enum {
	PT_TENSOR_FROZEN = 1,		/* does not train */
	PT_TENSOR_STATE = 2,		/* stands in peft_state.safetensors */
	PT_TENSOR_OPTIONAL = 4,		/* where the directory lacks it, it stays as it was created */
	PT_TENSOR_UP = 8,		/* LoRA's B, or a bias behind it */
	PT_TENSOR_TABLE = 16,		/* it is on an embedding */
	PT_TENSOR_HEAD = 32,		/* of what the layout keeps in a file of its own */
};

/*
 * A tensor of the adapter under its name in the file, zeroed; values come
 * from the file that is being opened or from init. It trains unless it is
 * frozen or the adapter was opened for inference.
 */
int pt_adapter_tensor(struct pt_adapter *a, const char *key, int flags, int ndim, const int64_t *shape,
		      struct pt_param **out, struct pt_error *err);
/* The same as the next of s->param, named "base_model.model.PATH.NAME". */
int pt_adapter_tensor_at(struct pt_adapter *a, struct pt_adapter_site *s, const char *name, int flags,
			 int ndim, const int64_t *shape, struct pt_error *err);
/*
 * The tensor added last, [rows, R*groups], stands in memory group by group,
 * [groups,rows,R]; files have the column of rank i of group g at i*groups+g.
 */
void pt_adapter_grouped(struct pt_adapter *a, int groups);
/*
 * A tensor of adapter_model.safetensors that save() makes of others: the loader takes nothing from it, but wants it
 * there, unless flags has PT_TENSOR_OPTIONAL, and as save() makes it.
 */
int pt_adapter_made(struct pt_adapter *a, const char *key, int flags, struct pt_error *err);
/*
 * A weight of the base trains, or stands frozen, as a copy under this key of
 * the file; what the forward pass reads is switched with the adapter.
 */
int pt_adapter_replace(struct pt_adapter *a, struct pt_weight *w, const char *key, int flags,
		       struct pt_error *err);
/* What the directory that is being opened holds under a name, in either file; NULL: nothing, or a is fresh. */
const struct pt_st_tensor *pt_adapter_stored(const struct pt_adapter *a, const char *key);
/* Host values of a tensor, count elements of caller's memory. */
int pt_adapter_get(struct pt_adapter *a, const struct pt_param *p, float *host, struct pt_error *err);
int pt_adapter_set(struct pt_adapter *a, struct pt_param *p, const float *host, struct pt_error *err);

/*
 * The value of the first key of patterns (rank_pattern, alpha_pattern, ...)
 * that matches a path as PEFT matches them, NULL: none. PT_USAGE: a pattern
 * is no regular expression.
 */
int pt_pattern_find(const cJSON *patterns, const char *path, const cJSON **value, struct pt_error *err);

#endif
