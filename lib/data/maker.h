/* SPDX-License-Identifier: MIT */
/*
 * maker.h - a line of a source becomes examples: tokens, truncation or
 * pieces, and what is learned of them.
 *
 * Plain texts and completions end in the EOS token, added as an id and
 * learned. Of a prompt and its completion, tokenized as one string, learned
 * is what comes after the ids that the prompt alone has too (TRL's rule).
 * A text that is cut has no EOS where it was cut.
 *
 * A line may make a set: the texts of a contrastive example, the pieces of a
 * document that is asked. Its examples are numbered 0, 1, ... in "group";
 * whoever numbers the examples makes of it one number a set.
 */
#ifndef PT_DATA_MAKER_H
#define PT_DATA_MAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "data/gather.h"
#include "data/classes.h"
#include "data/sample.h"
#include "data/source.h"
#include "io/task.h"
#include "text/tokenizer.h"

/* What is to be made of the lines. */
struct pt_maker_task {
	enum pt_task task;		/* NONE: by the first line */
	enum pt_problem problem;	/* of SEQ_CLS, never UNSET there; of no other task */
};

/* By HEAD's names, and "auto"; PT_USAGE: none of these. */
int pt_maker_task_parse(struct pt_maker_task *t, const char *name, struct pt_error *err);
/* That of a head: SEQ_CLS learns one class where nobody says more. */
struct pt_maker_task pt_maker_task_of(enum pt_task task, enum pt_problem problem);
const char *pt_maker_task_name(const struct pt_maker_task *t);
bool pt_maker_task_labelled(const struct pt_maker_task *t);	/* its lines may have a "label": a class, numbers, a score */
bool pt_maker_task_classes(const struct pt_maker_task *t);	/* has names of classes: class, multilabel, token-class */

/* An option that only some tasks have a use for. */
struct pt_maker_only {
	const char *option;		/* "--max-target"; NULL: the end of a table */
	bool given;
	unsigned tasks;			/* bits 1 << enum pt_task */
};

/* The same for all lines, shared by all threads. */
struct pt_maker_options {
	const struct pt_tokenizer *tok;
	struct pt_maker_task task;	/* may be NONE until pt_maker_choose() */
	struct pt_maker_task fallback;	/* what the model is for, where the line does not tell; NONE: lm */
	const struct pt_classes *labels;	/* NULL: none are known */
	int64_t max_length;		/* ids of an example, special tokens included */
	int64_t max_target;		/* ids of a target, seq2seq */
	int64_t chunk, stride;		/* chunk 0: texts make no pieces; ids that a piece shares with the one before,
					 * -1: as the task has it */
	int32_t eos;			/* -1: none is added */
	bool replace;			/* invalid UTF-8 by U+FFFD */
	bool split_special;		/* special tokens typed in a text are text */
	const struct pt_maker_only *only;	/* options that are refused where the task is another; NULL: none */

	/* set by pt_maker_schema() */
	uint32_t have;			/* tensors (pt_gather_have()) */
	int64_t k;			/* columns of target */
	bool labelled;			/* lines have a "label" */
	bool ids_labels, types, weights, groups, spans, decoder;	/* there are such tensors */
	bool sets;			/* a line makes a set */
	bool word_space;		/* words that come one by one want a space before them */
	int special, before;		/* tokens that the template adds, before the text */
	int pair_before, pair_between;	/* of a pair: before the first text, and between the two */
};

/*
 * The first line decides the task, where it is NONE, and then, with the
 * labels known, which tensors there are. PT_USAGE where options and tokenizer
 * leave no room for a text.
 */
int pt_maker_choose(struct pt_maker_options *o, const struct pt_sample *first, struct pt_error *err);
int pt_maker_schema(struct pt_maker_options *o, const struct pt_sample *first, struct pt_error *err);

/* What happened to the lines. */
struct pt_maker_counts {
	int64_t cut;		/* examples that were truncated */
	int64_t dropped;	/* examples of which nothing would be learned */
	int64_t replaced;	/* lines with invalid UTF-8 */
};

struct pt_maker {
	const struct pt_maker_options *o;
	struct pt_encoder *enc;
	struct pt_encoding text, pair, wrapped;
	struct pt_buf utf8, joined, name, what;
	struct pt_encoding decoder;	/* seq2seq: the target */
	int32_t *labels, *decoder_labels;
	size_t cap, decoder_cap;
	float *target;
	struct pt_maker_counts counts;
};

int pt_maker_init(struct pt_maker *m, const struct pt_maker_options *o, struct pt_error *err);
void pt_maker_release(struct pt_maker *m);

/* Parse a line; *what names it ("file:3"), valid until the next one. replace counts here. */
int pt_maker_parse(struct pt_maker *m, const struct pt_line *l, struct pt_sample *s, struct pt_error *err);

/*
 * Append the examples of one line to g, indices 0. PT_DATA, with file and line: a bad line; then g is
 * as it was.
 */
int pt_maker_line(struct pt_maker *m, const struct pt_line *l, struct pt_gather *g, struct pt_error *err);

#endif
