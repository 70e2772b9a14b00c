/* SPDX-License-Identifier: MIT */
/*
 * filter.h - how a tool that reads and writes streams ends, and the copying
 * that peft-cat and peft-head share.
 */
#ifndef PT_FILTER_H
#define PT_FILTER_H

#include <stdint.h>

#include "base/error.h"
#include "io/stream.h"
#include "tool.h"

/*
 * The end of a program that writes a stream; call tool_catch_signals_briefly() before the first
 * read. err->status 0: all is well. Else the message is said, FAIL written where it can be,
 * and the output closed (no file is left). After a stop signal the program dies of it here.
 * Closes the readers and the writer (NULL entries are fine); the exit status.
 */
int filter_end(struct pt_writer *w, struct pt_reader *const *in, int nin, struct pt_error *err);

struct filter {
	const char *tool;
	const char *options;	/* for the provenance */
	const char *output;
	bool zstd;
	int64_t limit;		/* the first so many examples, micro-batches, steps or predictions; -1: all */
};

/*
 * All that the operands give as one segment, of whatever kind it is; the exit status. What describes the
 * data stays in HEAD as it was, "options" too, so that the digest of what was only copied is the same.
 */
int filter_run(const struct filter *f, const struct pt_tool *t);

#endif
