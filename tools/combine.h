/* SPDX-License-Identifier: MIT */
/*
 * combine.h - peft-merge --combine: several adapters become one.
 */
#ifndef PT_TOOLS_COMBINE_H
#define PT_TOOLS_COMBINE_H

#include "base/opt.h"
#include "load.h"
#include "peft/combine.h"

/* -a DIR[=WEIGHT], one after the other. */
struct combine_inputs {
	char **dir;
	double *weight;			/* 1 where none is given */
	int n;
	bool weighted;			/* one is */
};

/* A name that is a directory's as a whole has no weight. */
int combine_inputs(struct combine_inputs *in, const struct pt_opt_list *given, struct pt_error *err);
void combine_inputs_release(struct combine_inputs *in);

struct combine {
	const char *kind;
	int sign;			/* 1: elected by frequency */
	int64_t rank, seed;
	double density;
	bool rank_given, density_given, sign_given, seed_given;
	const char *output;
	bool force;
};

/* l is open with the first of the adapters. *same: the output is there already. */
int combine_run(const struct combine *c, const struct combine_inputs *in, struct load *l, bool *same,
		struct pt_error *err);

#endif
