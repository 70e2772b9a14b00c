/* SPDX-License-Identifier: MIT */
/*
 * feed.h - from a micro-batch of the stream to what the model and the loss
 * read: packed rows with their random keys, ids, targets, and each target's
 * weight in the loss of its whole step.
 *
 * A language model's targets are shifted here: labels[t] is learned at the
 * row before it, so the first token of a sequence is never a target. What an
 * encoder-decoder's decoder reads is made here: its targets, one place to the
 * right, behind the start token, so the first one is a target, too.
 */
#ifndef PT_TRAIN_FEED_H
#define PT_TRAIN_FEED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "io/bounds.h"
#include "io/kinds.h"
#include "model/model.h"
#include "text/tokenizer.h"

/* What is learned; set once. */
struct pt_feed_options {
	enum pt_task task;		/* not PT_TASK_NONE */
	enum pt_problem problem;	/* of PT_TASK_SEQ_CLS: never PT_PROBLEM_UNSET */
	int nlabels;			/* of the model's head; 0 where it has no labels */
	char *const *labels;		/* [nlabels] their names, borrowed, for measures; NULL: unnamed */
	const struct pt_tokenizer *tok;	/* of the stream's ids, borrowed, for measures of words; NULL: unknown */
	const int32_t *class_map;	/* [nmap] class of the stream -> class of the model, borrowed; NULL: the same */
	int nmap;
	int32_t decoder_start;		/* of PT_TASK_SEQ2SEQ_LM: the first token that a decoder reads */
	uint64_t seed;			/* of dropout */
};

/* Targets that are places: rows of pairs of examples, or the tokens of spans. */
struct pt_feed_pairs {
	int64_t n, k;
	int32_t *a;			/* host [n] sets: the anchor's example */
	int32_t *b;			/* host [n,k] sets: examples it is compared with; spans [examples,2]: first and
					 * last token, counted in the example, -1: none */
	bool scored;			/* sets are pairs with a score */
	const int32_t *d_a, *d_b;	/* device, of sets */
	size_t cap_a, cap_b;
};

struct pt_feed {
	struct pt_feed_options o;
	const struct pt_objective *of;	/* of o's task */
	struct pt_input in;
	int64_t rows;			/* targets: labelled tokens, or examples; 0: nothing is learned here */
	bool labelled;			/* the micro-batch has targets */
	double share;			/* of the step's loss that is this micro-batch's: the sum of the targets' weights */
	int64_t first;			/* index of the first example, for messages */

	/* host, valid until the next fill */
	const struct pt_examples *x;	/* NULL when planned */
	int32_t *seq, *at;		/* [rows] tokens: sequence of the target, and the token in it that predicts it */
	int32_t *label;			/* [rows] tokens: the id or class; classes: class of the model, -100 none; sets: which of the candidates */
	float *target;			/* [examples, nlabels] regression and multi-label; [rows] scores of pairs */
	struct pt_feed_pairs pairs;	/* qa and contrastive */
	float *weight;			/* [rows] share in the step's loss */

	/* device, valid until the run's reset; NULL where the task has none */
	const int32_t *d_label;
	const float *d_target, *d_weight;

	struct pt_feed_mem *mem;
};

int pt_feed_init(struct pt_feed *f, const struct pt_feed_options *o, struct pt_error *err);
void pt_feed_release(struct pt_feed *f);

/*
 * Fill from a micro-batch and upload; run was reset before, x stays in place until the next reset. PT_DATA
 * for a class that the map lacks, targets of another width, a task that the tensors do not serve.
 */
int pt_feed_fill(struct pt_feed *f, struct pt_run *run, const struct pt_examples *x, struct pt_error *err);

/* The rows that targets are counted in: the decoder's where there is one. */
const struct pt_rows *pt_feed_target_rows(const struct pt_feed *f);

/* The largest micro-batch within bounds, without contents (run is on a plan device). */
int pt_feed_plan(struct pt_feed *f, struct pt_run *run, const struct pt_bounds *b, struct pt_error *err);

/* Key of an example's random numbers: a function of these alone. */
uint64_t pt_feed_key(uint64_t seed, int64_t epoch, int64_t index, int32_t draw);

#endif
