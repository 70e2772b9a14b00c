/* SPDX-License-Identifier: MIT */
/*
 * initconfig.h - peft-init's options about a method as the keys of
 * adapter_config.json.
 */
#ifndef PT_TOOLS_INITCONFIG_H
#define PT_TOOLS_INITCONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/opt.h"
#include "peft/method.h"

/* Each with whether it was given; what was not stays as --config has it, else as the method's default. */
struct init_options {
	const char *config;		/* --config FILE */
	const char *method;		/* -t; NULL: that of --config, else lora */
	int64_t r;
	double alpha, dropout;
	const char *targets, *exclude, *layers, *layers_pattern, *save_modules;
	int init, bias;			/* of the words below */
	bool rslora;
	struct pt_opt_list rank_pattern, alpha_pattern;	/* KEY=NUMBER */
	struct {
		bool r, alpha, dropout, init, bias, rslora;
	} given;
};

#define INIT_WORDS "default|false|gaussian|orthogonal"
#define BIAS_WORDS "none|all|lora_only"

/*
 * The configuration, to be completed by pt_adapter_new(); freed by
 * pt_json_free(). PT_USAGE: a method that is not known, an option that it has
 * not. *full: -t full; the result is NULL then, and status 0.
 */
int init_config(const struct init_options *o, cJSON **out, bool *full, struct pt_error *err);

/* "a,b" as a list on the heap of strings that point into *store; both freed by free(). */
int init_names(const char *text, const char ***names, int *n, char **store, struct pt_error *err);

#endif
