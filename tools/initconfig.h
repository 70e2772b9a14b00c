/* SPDX-License-Identifier: MIT */
/*
 * initconfig.h - peft-init's options about a method as the keys of
 * adapter_config.json: the tables that the methods have, joined.
 */
#ifndef PT_TOOLS_INITCONFIG_H
#define PT_TOOLS_INITCONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/opt.h"
#include "peft/method.h"

/* An option of any method, and what was given. */
struct init_value {
	const struct pt_option *o;	/* the first method's that has it */
	char *help;
	bool given, flag;
	const char *text;
	struct pt_opt_list list;
};

/* What was not given stays as --config has it, else as the method's default. */
struct init_options {
	const char *config;		/* --config FILE */
	const char *method;		/* -t; NULL: that of --config, else lora */
	struct init_value *value;
	int n;
};

/* The tool's own options (ending in a zeroed one) and those of all methods behind them, into *all on the heap. */
int init_options_join(struct init_options *o, const struct pt_opt *own, struct pt_opt **all, struct pt_error *err);
void init_options_release(struct init_options *o);

/* "lora, dora, ... or full" */
int init_method_names(struct pt_buf *out, struct pt_error *err);

/*
 * The configuration, to be completed by pt_adapter_new(); freed by
 * pt_json_free(). PT_USAGE: a method that is not known, an option that it has
 * not or that has no effect. *full: -t full; the result is NULL then, and status 0.
 */
int init_config(const struct init_options *o, cJSON **out, bool *full, struct pt_error *err);

/* What a method says of keys of its configuration is said of the options they came from, where no file was given. */
void init_explain(const struct init_options *o, struct pt_error *err);

/* "a,b" as a list on the heap of strings that point into *store; both freed by free(). */
int init_names(const char *text, const char ***names, int *n, char **store, struct pt_error *err);

#endif
