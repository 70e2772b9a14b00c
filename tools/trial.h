/* SPDX-License-Identifier: MIT */
/*
 * trial.h - peft-step without training: --plan and --dry-run, as text on
 * standard output.
 */
#ifndef PT_TOOLS_TRIAL_H
#define PT_TOOLS_TRIAL_H

#include "load.h"
#include "train/step.h"

/*
 * Memory of a run of total steps within limit, with evaluations on the batches in the file eval (NULL: none), the
 * largest micro-batch that fits, and what the method will do. PT_USAGE, when that is printed, where it does not fit,
 * with the least that it takes.
 */
int trial_plan(struct pt_step *s, const struct pt_record *head, const char *eval, const struct load *l, int64_t total,
	       size_t limit, struct pt_error *err);

/* The first micro-batch: its first example decoded with what is learned marked, its loss, the gradient's norm. */
int trial_step(struct pt_step *s, struct pt_reader *in, const struct load *l, size_t limit, struct pt_error *err);

#endif
