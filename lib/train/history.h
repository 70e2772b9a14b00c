/* SPDX-License-Identifier: MIT */
/*
 * history.h - the metrics of a run so far, one row a step, and their stream
 * (kind "metrics", formats/stream.md): written step by step, or as a file in
 * which steps that have the same columns share a record.
 */
#ifndef PT_TRAIN_HISTORY_H
#define PT_TRAIN_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/stream.h"
#include "train/measure.h"

#define PT_EVAL_MAX 6

struct pt_metric {
	int64_t step;			/* from 1 */
	double loss, lr, grad_norm;
	int64_t tokens, examples;
	double seconds;			/* that the step took */
	bool routed;
	double router;			/* loss of the routers, before its factor */
	bool evaluated;
	double eval[PT_EVAL_MAX];	/* by column, see pt_history.name */
};

struct pt_history {
	struct pt_metric *row;
	size_t n, cap;
	char name[PT_EVAL_MAX][24];	/* "eval_loss", ...: of all evaluations of the run */
	int names;
};

void pt_history_release(struct pt_history *h);
int pt_history_add(struct pt_history *h, const struct pt_metric *m, struct pt_error *err);

/* The results of an evaluation into the last row. */
int pt_history_eval(struct pt_history *h, const struct pt_measure *m, struct pt_error *err);

/* Row i as a DATA record. */
int pt_history_write(const struct pt_history *h, size_t i, struct pt_writer *w, struct pt_error *err);

/* All rows as a stream in a file; and back. An END with "limited": the run may go on. */
int pt_history_save(const struct pt_history *h, const char *path, struct pt_error *err);
int pt_history_load(struct pt_history *h, const char *path, struct pt_error *err);

#endif
