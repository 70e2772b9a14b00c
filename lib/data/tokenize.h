/* SPDX-License-Identifier: MIT */
/*
 * tokenize.h - lines of text or JSON to a stream of examples, by several
 * threads, with the same bytes for any number of them.
 */
#ifndef PT_DATA_TOKENIZE_H
#define PT_DATA_TOKENIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "data/classes.h"
#include "data/maker.h"
#include "data/source.h"
#include "io/stream.h"

struct pt_tokenize_options {
	struct pt_maker_options maker;	/* labels NULL: collected where the task has classes */
	struct pt_source_options source;
	bool skip_bad;			/* count bad lines instead of failing */
	int64_t limit;			/* stop after so many examples; 0: do not */
	size_t record;			/* bytes after which a record ends */
	int threads;			/* at least 1 */
};

struct pt_tokenize_counts {
	int64_t examples, tokens;
	int64_t bad;			/* lines passed over */
	struct pt_maker_counts maker;
	struct pt_error first_bad;	/* what was wrong with the first of them */
};

/*
 * The whole run, END included. A bad line is PT_DATA with file and line.
 * PT_USAGE: labels that nobody names, in input that cannot be read twice.
 */
int pt_tokenize_run(const struct pt_tokenize_options *o, const char *const *paths, int npaths,
		    struct pt_writer *out, struct pt_tokenize_counts *counts, struct pt_error *err);

#endif
