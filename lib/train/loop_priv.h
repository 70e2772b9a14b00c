/* SPDX-License-Identifier: MIT */
/*
 * loop_priv.h - what loop.c (the run) and ends.c (its start and its end)
 * share.
 */
#ifndef PT_TRAIN_LOOP_PRIV_H
#define PT_TRAIN_LOOP_PRIV_H

#include "train/eval.h"
#include "train/guard.h"
#include "train/loop.h"

/* Steps after the warm-up at which every trained tensor should have had a gradient. */
#define PT_LOOK_AT_GRADIENTS 4
/* A run that ends before so many steps says nothing of them. */
#define PT_GRADIENTS_BY 3

struct pt_priv_loop {
	struct pt_bounds bounds;		/* of the stream's HEAD; zeros: none */
	struct pt_kept kept;
	struct pt_evaluator eval;
	bool evaluates;
	int64_t in_step, micro, micros;		/* place in the stream: step, micro-batch of it that was read last */
	double saved_at;
	bool told_unmoved;
	bool finished;				/* an earlier start ended the run at the newest checkpoint */
	struct pt_prov prov;			/* history of -a */
	uint64_t prov_id;
	struct pt_below *below;			/* [nbelow] what the identity of the run names */
	int nbelow;
};

/* Evaluate now, results into the last row; *best: the best so far. */
int pt_loop_evaluate(struct pt_loop *l, bool *best, struct pt_error *err);

/* This run as a step of the adapter's provenance; whole when its input was read to its end. */
int pt_loop_provenance(struct pt_loop *l, bool whole, struct pt_error *err);

/* The best or last checkpoint to the output directory, and a mark that the run has ended. */
int pt_loop_publish(struct pt_loop *l, struct pt_error *err);

#endif
