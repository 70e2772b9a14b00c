/* SPDX-License-Identifier: MIT */
/*
 * method.h - a PEFT method is one file with one const struct pt_method; the
 * registry lists them. Formulas act through the hooks of model/site.h and
 * differentiate themselves.
 */
#ifndef PT_PEFT_METHOD_H
#define PT_PEFT_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "model/model.h"
#include "tensor/param.h"

struct pt_adapter;

/* An adapter's part at one site. */
struct pt_adapter_site {
	struct pt_site *site;
	struct pt_hook hook;
	struct pt_param **param;	/* the method's tensors here, by role */
	int nparams;
	int rank;			/* after rank_pattern; 0 where there is none */
	float scale;			/* after alpha_pattern */
	void *state;			/* the method's */
};

struct pt_method {
	const char *name;		/* -t NAME: "lora" */
	const char *peft_type;		/* "LORA" */
	const char *paper;
	unsigned kinds;			/* bit set of 1 << enum pt_site_kind that it fits */
	bool merges;
	/* Method-specific keys of adapter_config.json into a->config_state, checked; unknown keys survive elsewhere. */
	int (*parse)(struct pt_adapter *a, const cJSON *config, struct pt_error *err);
	/* The same keys written (a fresh object holds the common ones). */
	int (*print)(const struct pt_adapter *a, cJSON *config, struct pt_error *err);
	/* Parameters and hook of one matched site; *taken false: this kind of site is not for it. */
	int (*create)(struct pt_adapter *a, struct pt_adapter_site *s, bool *taken, struct pt_error *err);
	/* Fresh values, from a key mixed from seed and path. */
	int (*init)(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t key, struct pt_error *err);
	/* HF's key (after "base_model.model.") of parameter i at s into buf; the loader and writer share it. */
	int (*key)(const struct pt_adapter *a, const struct pt_adapter_site *s, int i, struct pt_buf *out);
	/* delta: the base weight w [out,in] f32 (as stored: transposed where the site is) becomes the merged one, in place; bias likewise or NULL. */
	int (*merge)(const struct pt_adapter *a, const struct pt_adapter_site *s, float *w, float *bias,
		     struct pt_error *err);
	/* Optional, for methods to come: loss of parameters alone, per step; after the optimiser's step. */
	struct pt_tensor *(*loss)(struct pt_run *run, struct pt_adapter *a);
	int (*after_step)(struct pt_adapter *a, int64_t step, int64_t total, struct pt_error *err);
	float (*lr_scale)(const struct pt_adapter *a, const struct pt_param *p);
	void (*release)(struct pt_adapter *a);
};

/* By -t name or by peft_type; NULL: unknown. i-th of all; NULL past the end. */
const struct pt_method *pt_method_find(const char *name);
const struct pt_method *pt_method_by_type(const char *peft_type);
const struct pt_method *pt_method_at(int i);

#endif
