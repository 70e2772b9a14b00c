/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a run tells while it goes: metrics on standard output (a
 * stream, or text where that is a terminal), a progress line on the terminal
 * of standard error.
 */
#ifndef PT_TOOLS_REPORT_H
#define PT_TOOLS_REPORT_H

#include <stdbool.h>

#include "io/stream.h"
#include "train/history.h"

struct report {
	struct pt_writer *w;		/* NULL: text, or standard output is gone */
	bool text, progress;
	bool broken;			/* standard output could not be written */
	struct pt_error why;
	int64_t total;			/* steps; 0: unknown */
	double began, shown;
	int64_t steps, tokens;		/* of this start */
};

/* At the start, so that whatever goes wrong has its FAIL. */
int report_open(struct report *r, bool quiet, struct pt_error *err);
/* HEAD of the metrics. A failure to write is said and noted, never returned: here and below. */
void report_head(struct report *r, const struct pt_record *head, const char *options, int64_t total);
/* Row i of h; again: from before a restart, no progress. */
int report_row(struct report *r, const struct pt_history *h, size_t i, bool again, struct pt_error *err);
/* END, or FAIL where err tells of a failure (and the signal's name or NULL). */
void report_close(struct report *r, struct pt_reader *in, bool limited, const struct pt_error *err,
		  const char *signal);

#endif
