/* SPDX-License-Identifier: MIT */
/*
 * kinds.h - the kinds of streams (formats/stream.md, section 4): which tensors
 * a DATA record holds, checked, and as typed pointers.
 *
 * pt_reader_next() has checked every record of a known kind before it hands
 * it out, so that a view of such a record fails only for lack of sense in
 * the caller (another kind).
 */
#ifndef PT_IO_KINDS_H
#define PT_IO_KINDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "io/safetensors.h"

enum pt_kind { PT_KIND_OTHER, PT_KIND_EXAMPLES, PT_KIND_BATCH, PT_KIND_METRICS, PT_KIND_PREDICTIONS };

enum pt_kind pt_kind_parse(const char *name);		/* PT_KIND_OTHER: unknown or NULL */

/* What part of a tensor belongs to one example. */
enum pt_kind_shape {
	PT_PER_EXAMPLE,		/* [n] */
	PT_PER_EXAMPLE_K,	/* [n, k] */
	PT_PER_EXAMPLE_2,	/* [n, 2] */
	PT_PER_EXAMPLE_OR_K,	/* [n] or [n, k] */
	PT_PER_TOKEN,		/* [N] */
	PT_PER_DECODER,		/* [M] */
	PT_OFFSETS,		/* [n+1], ends with N */
	PT_DECODER_OFFSETS,	/* [n+1], ends with M */
};

struct pt_kind_tensor {
	const char *name;
	enum pt_dtype dtype;
	enum pt_kind_shape shape;
	bool always;
};

/* The table of a kind, in the order of the document; ends with a NULL name. NULL for PT_KIND_OTHER. */
const struct pt_kind_tensor *pt_kind_table(enum pt_kind kind);
const struct pt_kind_tensor *pt_kind_entry(enum pt_kind kind, const char *name);	/* NULL: not in the table */
/* Examples, predictions or steps of a DATA record that was checked; 1 of a batch or an unknown kind. */
int64_t pt_kind_count(enum pt_kind kind, const struct pt_st *st);
#define PT_KIND_TENSORS 20	/* no table is longer */

/*
 * Examples, or a micro-batch of them. Pointers are borrowed from the record;
 * NULL where the tensor is not there.
 */
struct pt_examples {
	int64_t n;			/* examples */
	int64_t tokens;			/* N */
	int64_t decoder_tokens;		/* M */
	int64_t k;			/* columns of target */
	const int64_t *index;		/* [n] */
	const int32_t *input_ids;	/* [N] */
	const int64_t *offsets;		/* [n+1]; in a batch: cu_seqlens */
	const int32_t *labels;		/* [N] */
	const int32_t *token_type_ids;	/* [N] */
	const int32_t *cls;		/* [n] tensor "class" */
	const float *target;		/* [n, k] */
	const int32_t *decoder_ids;	/* [M] */
	const int64_t *decoder_offsets;	/* [n+1] */
	const int32_t *decoder_labels;	/* [M] */
	const int64_t *span;		/* [n, 2] */
	const int64_t *group;		/* [n] */
	const float *weight;		/* [n] */
	const int32_t *adapter;		/* [n] */
	const int32_t *draw;		/* [n] */
	const int64_t *source;		/* [n] */
	const int64_t *row;		/* [n] */

	/* of a micro-batch */
	int64_t step, micro, micros, epoch;	/* from 1 */
	int64_t step_examples, step_tokens;	/* of the whole step */
	double step_weight;
};

/* Predictions. */
struct pt_predictions {
	int64_t n, tokens, k;
	const int64_t *index;
	const int32_t *cls;		/* [n] or NULL */
	const int32_t *ids;		/* [N] or NULL */
	const int64_t *offsets;		/* [n+1] with ids */
	const float *probability;	/* [n], or [n, k] where k_probability is set */
	bool k_probability;
	const float *logits;		/* [n, k] */
	const float *loss;		/* [n] */
};

/* What the HEAD says that values are checked against; 0 where it says nothing. */
struct pt_kind_bounds {
	int64_t vocab_size;
	int64_t nlabels;
	bool labels_are_ids;		/* of labels: lm, seq2seq, mlm */
};

int pt_kind_bounds(struct pt_kind_bounds *b, const struct pt_st *head, struct pt_error *err);

/* Check a DATA record of this kind: names, types, shapes, offsets, ids, metadata. PT_DATA names the tensor. */
int pt_kind_check(enum pt_kind kind, const struct pt_st *st, const struct pt_kind_bounds *bounds,
		  struct pt_error *err);

/* Typed pointers of a record that was checked. kind: PT_KIND_EXAMPLES or PT_KIND_BATCH. */
int pt_examples_view(struct pt_examples *x, enum pt_kind kind, const struct pt_st *st, struct pt_error *err);
int pt_predictions_view(struct pt_predictions *p, const struct pt_st *st, struct pt_error *err);

/* The reverse: tensors (those that are not NULL), and the metadata of a batch. Data is borrowed. */
void pt_examples_build(const struct pt_examples *x, enum pt_kind kind, struct pt_st_build *b);
void pt_predictions_build(const struct pt_predictions *p, struct pt_st_build *b);

/*
 * Which tensors a record has, as a bit set by place in the table: all records
 * of a segment must agree (PT_DATA names the tensor). *have is 0 at the start.
 */
int pt_kind_same(enum pt_kind kind, const struct pt_st *st, uint32_t *have, struct pt_error *err);

#endif
