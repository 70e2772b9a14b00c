/* SPDX-License-Identifier: MIT */
/*
 * batch.h - a stream of examples to a stream of micro-batches: sizes, packing,
 * accumulation, shuffling, epochs, held-out splits, masks.
 */
#ifndef PT_DATA_BATCH_H
#define PT_DATA_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/mask.h"
#include "io/stream.h"

enum pt_batch_part { PT_PART_ALL, PT_PART_TRAIN, PT_PART_HELD };

struct pt_batch_options {
	int64_t examples;	/* of a micro-batch; 0: by tokens */
	int64_t tokens;		/* of a micro-batch; 0: by examples */
	int64_t accumulate;	/* micro-batches a step, at least 1 */
	int64_t epochs;		/* at least 1 */
	bool shuffle;
	uint64_t seed;
	enum pt_batch_part part;
	double split;		/* share of the examples (groups) that is held out */
	uint64_t split_seed;
	bool stream;		/* one epoch, as it comes */
	int64_t steps;		/* stop after so many; 0: do not */
	bool masks;		/* masks are asked for: an input that is not to be masked is refused */
	struct pt_mask_options mask;	/* of the task mlm; its seed is of no account: that above is taken */
	size_t memory;		/* bytes kept out of the temporary file */
};

/* The whole run, END included; PT_USAGE for options that contradict each other. */
int pt_batch_run(const struct pt_batch_options *o, struct pt_reader *in, struct pt_writer *out,
		 struct pt_error *err);

#endif
