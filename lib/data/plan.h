/* SPDX-License-Identifier: MIT */
/*
 * plan.h - units to micro-batches to optimiser steps. Units are pushed in the
 * order of an epoch; whenever the micro-batches of a step are complete, the
 * step is handed to a function that counts it (the dry run that finds the
 * bounds) or writes it.
 */
#ifndef PT_DATA_PLAN_H
#define PT_DATA_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/pack.h"
#include "data/store.h"

struct pt_plan_step {
	int64_t step;			/* from 1 */
	int64_t epoch;			/* from 1 */
	int nmicros;
	size_t *end;			/* [nmicros] of each micro-batch in unit */
	int64_t *unit;			/* [end[nmicros - 1]] */
	struct pt_extent *micro;	/* [nmicros] */
	struct pt_extent sum;
};

/* *stop: no further step is wanted. */
typedef int (*pt_plan_fn)(void *arg, const struct pt_plan_step *s, bool *stop, struct pt_error *err);

struct pt_plan {
	struct pt_pack pack;
	const struct pt_store *store;
	int64_t accumulate;
	pt_plan_fn fn;
	void *arg;
	bool stopped;
	struct pt_plan_step now;	/* being made */
	size_t nunits;
	struct {
		size_t end, unit, micro;
	} cap;
};

int pt_plan_init(struct pt_plan *p, const struct pt_store *store, int64_t examples, int64_t tokens,
		 int64_t accumulate, struct pt_error *err);
void pt_plan_release(struct pt_plan *p);

/* From step 1, epoch 1 again, with another function. */
void pt_plan_start(struct pt_plan *p, pt_plan_fn fn, void *arg);
/* After p->stopped nothing happens any more. */
int pt_plan_push(struct pt_plan *p, int64_t unit, struct pt_error *err);
/* The epoch ends: what is left is written, its last step may be short. */
int pt_plan_end_epoch(struct pt_plan *p, struct pt_error *err);

#endif
