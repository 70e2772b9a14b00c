/* SPDX-License-Identifier: MIT */
/*
 * sequence.h - what formats/stream.md asks of the records of a segment
 * together, which readers that only pass by do not check: an index is there
 * once (in a batch: once an epoch and draw), steps and micro-batches follow each other and
 * keep to what HEAD promises.
 */
#ifndef PT_SEQUENCE_H
#define PT_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/bounds.h"
#include "io/kinds.h"
#include "io/stream.h"

struct sequence {
	enum pt_kind kind;
	struct sequence_key { int64_t epoch, draw, index; } *key;	/* 24 bytes an example */
	size_t n, cap;
	struct pt_examples last;	/* of a batch: numbers only */
	int64_t examples;		/* of the step so far */
	bool partial;			/* the segment began inside of this step */
	struct pt_bounds bounds;	/* of HEAD */
	int64_t total_steps;		/* of HEAD; -1: not there */
};

#define SEQUENCE_INIT { .kind = PT_KIND_OTHER }

int sequence_begin(struct sequence *s, const struct pt_st *head, struct pt_error *err);
int sequence_record(struct sequence *s, const struct pt_record *rec, struct pt_error *err);
int sequence_end(struct sequence *s, const struct pt_st *end, struct pt_error *err);
void sequence_release(struct sequence *s);

#endif
