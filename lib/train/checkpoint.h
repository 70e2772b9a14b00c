/* SPDX-License-Identifier: MIT */
/*
 * checkpoint.h - the state of a run on disk: OUT/checkpoints/step-NNNNNNNN,
 * complete by one rename. Each is an adapter (or model) directory that -a and
 * HF take; beside that training_state.safetensors holds values and moments,
 * training_state.json what is listed below, metrics.pts the metrics so far.
 */
#ifndef PT_TRAIN_CHECKPOINT_H
#define PT_TRAIN_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "peft/adapter.h"
#include "train/history.h"
#include "train/optimizer.h"

/* An adapter below the one that trains, as given: a directory, and its digest. */
struct pt_below {
	char *dir;
	uint64_t digest;
};

/* What a run is: equal in every start of it, compared on resume. */
struct pt_identity {
	const char *options;		/* "key=value key=value ...", what changes the result */
	uint64_t base, adapter, head;	/* digests: of -m, of -a, of the stream after its HEAD */
	const struct pt_below *below;	/* [nbelow], the lowest first */
	int nbelow;
	bool bf16;			/* compute type, resolved at the first start */
	const char *path;		/* what computed (pt_device.path); another one is a warning */
};

/* Where a run stands. */
struct pt_progress {
	int64_t step;			/* optimiser steps done */
	uint64_t digest;		/* running digest of the records consumed by them */
	int64_t best_step;		/* of the best evaluation; 0: none yet */
	double best_loss;
	int64_t stale;			/* evaluations since the best */
	uint64_t eval;			/* digest of the evaluation's stream; 0: not read yet */
};

/* A checkpoint that was found and read, but for its tensors. */
struct pt_checkpoint {
	char *dir;			/* NULL: there is none */
	struct pt_progress at;
	char *options, *path;
	uint64_t base, adapter, head;
	struct pt_below *below;
	int nbelow;
	bool bf16;
};

void pt_checkpoint_release(struct pt_checkpoint *c);
void pt_below_free(struct pt_below *b, int n);

/*
 * The newest complete checkpoint under out of a step before this one
 * (INT64_MAX: any); c->dir stays NULL where there is none. Damaged ones are
 * passed over with a warning.
 */
int pt_checkpoint_find(struct pt_checkpoint *c, const char *out, int64_t before, struct pt_error *err);

/*
 * Its values and moments into the optimiser's parameters, the state that does
 * not train into adapter (may be NULL), its metrics into h. Files are checked
 * first: but for PT_DEVICE, a failure leaves opt and adapter as they were and
 * h empty.
 */
int pt_checkpoint_load(const struct pt_checkpoint *c, struct pt_adapter *adapter, struct pt_optimizer *opt,
		       struct pt_history *h, struct pt_error *err);

/*
 * Write the checkpoint of at->step under out and make it durable; then drop
 * old ones, so that the newest keep and the best stay. One of the same step
 * is replaced. Without an adapter (tests) the state alone is written.
 */
int pt_checkpoint_save(const char *out, const struct pt_identity *id, const struct pt_progress *at,
		       struct pt_adapter *adapter, struct pt_optimizer *opt, const struct pt_history *h,
		       int keep, struct pt_error *err);

/* Path of the checkpoint of a step, on the heap. */
char *pt_checkpoint_path(const char *out, int64_t step, struct pt_error *err);

/* Rename those of steps after this one, which were passed over, to damaged-NNNNNNNN: they count no more. */
int pt_checkpoint_set_aside(const char *out, int64_t after, struct pt_error *err);

/* Leftovers of killed processes; the caller holds the lock. */
int pt_checkpoint_clean(const char *out, struct pt_error *err);

/*
 * Copy the adapter in the checkpoint dir to out, file by file, those that
 * differ, the one that others wait for last. prov replaces provenance.json.
 * PT_DATA, with nothing copied, when a file is not as it was saved.
 */
int pt_checkpoint_publish(const char *dir, const char *out, const struct pt_buf *prov, struct pt_error *err);

#endif
