/* SPDX-License-Identifier: MIT */
/*
 * observe.h - a stream of batches run through a model that nothing is learned
 * of: what peft-init initialises from data by.
 */
#ifndef PT_TOOLS_OBSERVE_H
#define PT_TOOLS_OBSERVE_H

#include "io/stream.h"
#include "peft/method.h"
#include "text/tokenizer.h"
#include "train/feed.h"

struct observe {
	char *const *path;		/* no path: standard input */
	int npaths;
	struct pt_model *model;
	const struct pt_modeldir *dir;
	/* from the first call on */
	struct pt_reader *in;
	struct pt_device *plan;
	struct pt_feed feed;
	struct pt_bounds bounds;	/* that run has room for */
	struct pt_run run;
};

/* pt_batches.next with a struct observe: the stream is opened at the first call, and at its end was read to END. */
int observe_next(void *arg, struct pt_run **run, const struct pt_input **in, struct pt_error *err);
void observe_release(struct observe *o);

#endif
