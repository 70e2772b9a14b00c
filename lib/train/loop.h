/* SPDX-License-Identifier: MIT */
/*
 * loop.h - a whole run: from a stream of micro-batches to a trained adapter
 * directory, saved on the way, resumed where it was, evaluated, stopped early.
 */
#ifndef PT_TRAIN_LOOP_H
#define PT_TRAIN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/stream.h"
#include "train/checkpoint.h"
#include "train/history.h"
#include "train/schedule.h"
#include "train/step.h"

struct pt_loop_options {
	const char *out;		/* -o */
	const char *tool;		/* for provenance: name, options that change the result */
	const char *options;
	struct pt_schedule schedule;	/* total: pt_loop_total() */
	int64_t steps;			/* stop after so many; 0: at the stream's end */
	const char *eval;		/* a file of batches; NULL: none */
	int64_t eval_steps;		/* evaluate every so many steps, and at the last one where it is known */
	int64_t patience;		/* end after so many evaluations without a better one; 0: never */
	int64_t save_steps;		/* 0: not by steps */
	double save_seconds;		/* 0: not by time */
	int keep;
	size_t limit;			/* bytes that may be used; 0: any */
	bool loose_bounds;		/* the stream guarantees its bounds, but may never reach them */
	uint64_t base;			/* digest of -m */

	/* Called between micro-batches and steps; non-zero: save and return PT_STOPPED. NULL: never. */
	int (*stop)(void *arg);
	/* Row i of h stands: the whole run in order, from before a restart first. */
	int (*metric)(void *arg, const struct pt_history *h, size_t i, bool again, struct pt_error *err);
	void *arg;
};

struct pt_loop {
	struct pt_loop_options o;
	struct pt_step *s;		/* borrowed */
	struct pt_reader *r;		/* borrowed */
	const struct pt_record *head;
	struct pt_history h;
	struct pt_progress at;
	struct pt_identity id;
	int64_t saved;			/* step of the newest checkpoint */
	int64_t resumed;		/* step that this start took up; 0: a fresh run */
	bool finished_before;		/* nothing was left to do */
	bool limited;			/* ended before the stream did */
	bool early;			/* because evaluations did not get better */
	struct pt_priv_loop *priv;
};

/* Steps of the run as the HEAD tells them; 0: it does not. PT_DATA where it tells nonsense. */
int pt_loop_total(const struct pt_record *head, int64_t *total, struct pt_error *err);
/* PT_DATA naming the stream where its HEAD says that there is no step in it. */
int pt_loop_some(const struct pt_record *head, const char *name, struct pt_error *err);
/* Bounds of a batch stream; zeros where the HEAD has none. */
int pt_loop_bounds(const struct pt_record *head, struct pt_bounds *b, struct pt_error *err);
/* Bounds of the batches in a file to evaluate on; PT_USAGE where they do not fit a training stream's HEAD. */
int pt_loop_eval_bounds(const struct pt_record *train, const char *path, struct pt_bounds *b, struct pt_error *err);

/*
 * Create the output directory (*made: it was not there) and hold a lock in it, to be closed by pt_lock_close().
 * PT_USAGE: it has an adapter or a model that no run left there.
 */
int pt_loop_lock(const char *out, int *fd, bool *made, struct pt_error *err);
/* Under that lock: nothing came of it, and the directory goes away unless something is in it. */
void pt_loop_unmake(const char *out);

/*
 * Open under that lock: bounds planned, the newest checkpoint compared
 * (PT_USAGE with the cure: another base, adapter, input, other options) and
 * loaded. s is initialised and has the values of -a; a resumed run keeps the
 * compute type of its first start.
 */
int pt_loop_open(struct pt_loop *l, const struct pt_loop_options *o, struct pt_step *s, struct pt_reader *r,
		 struct pt_error *err);

/*
 * Run to the end; at every bad one save first. 0: the adapter is published.
 * PT_STOPPED: a stop was asked for. PT_DATA: the input is cut, failed or
 * wrong. PT_NUMERIC: see guard.h.
 */
int pt_loop_run(struct pt_loop *l, struct pt_error *err);
void pt_loop_close(struct pt_loop *l);

#endif
