/* SPDX-License-Identifier: MIT */
/*
 * objective.h - inside of train/: what is learned of a task. One const struct
 * pt_objective a kind of target, in the file that has all of it: the targets
 * of a micro-batch, the loss, what an evaluation says, and predictions.
 * objective.c has the rows: which task learns which.
 */
#ifndef PT_TRAIN_OBJECTIVE_H
#define PT_TRAIN_OBJECTIVE_H

#include "train/loss.h"
#include "train/predict.h"

/* What struct pt_measure counts. */
enum pt_counting {
	PT_COUNT_NONE,
	PT_COUNT_CLASSES,	/* one is true */
	PT_COUNT_LABELS,	/* any number are */
};

/* The functions that are optional say so. */
struct pt_objective {
	enum pt_counting counting;

	/* Targets of x: f->rows of them, in arrays that pt_feed_room() made; the packing is there already. */
	int (*fill)(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err);
	/* The most targets that a micro-batch of so many sequences within b has, without contents. */
	int (*plan)(struct pt_feed *f, const struct pt_bounds *b, int64_t seqs, struct pt_error *err);
	/* What the loss reads beside weights; optional. Not without targets. */
	void (*upload)(struct pt_feed *f, struct pt_run *run);
	/* The example in the micro-batch whose weight and name target i has. */
	int64_t (*example)(const struct pt_feed *f, int64_t i);

	void (*loss)(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden,
		     bool argmax, struct pt_loss *out);

	/* Before the first target; optional. */
	void (*start)(struct pt_measure *m);
	/* Counts target i; false: it is none, and its loss is not counted. Optional. */
	bool (*count)(struct pt_measure *m, const struct pt_feed *f, int64_t i, const float *logits,
		      const int32_t *argmax);
	/* Counts what is more than a target; optional. */
	int (*count_all)(struct pt_measure *m, const struct pt_feed *f, const float *logits, const int32_t *argmax,
			 struct pt_error *err);
	/* The i-th result, from 1 on (pt_measure_result()). */
	const char *(*result)(const struct pt_measure *m, int i, double *value);

	/* Columns of the record for the examples of x, index among them. */
	int (*predict)(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		       struct pt_error *err);
};

/* Of SEQ_CLS by its problem. */
const struct pt_objective *pt_objective_of(enum pt_task task, enum pt_problem problem);

/* objective_tokens.c: ids, and classes of tokens. */
extern const struct pt_objective pt_objective_ids, pt_objective_tags;
/* objective_classes.c: of an example one class, several labels, numbers. */
extern const struct pt_objective pt_objective_class, pt_objective_labels, pt_objective_numbers;
/* objective_spans.c: answers. */
extern const struct pt_objective pt_objective_spans;
/* objective_sets.c: texts near to each other. */
extern const struct pt_objective pt_objective_sets;

/* That of an example where there is a target of each. */
int64_t pt_objective_own_example(const struct pt_feed *f, int64_t i);

#endif
