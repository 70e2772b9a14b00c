/* SPDX-License-Identifier: MIT */
/*
 * task.h - what a model is used for, and the names that options, HEADs
 * (formats/stream.md), PEFT and transformers have for it. One row a task
 * (task.c): what the stream, the data, the model and the loss ask of it.
 */
#ifndef PT_IO_TASK_H
#define PT_IO_TASK_H

#include <stdbool.h>

enum pt_task {
	PT_TASK_NONE,		/* body only */
	PT_TASK_CAUSAL_LM,
	PT_TASK_SEQ_CLS,	/* problem: single label, regression, multi-label */
	PT_TASK_TOKEN_CLS,
	PT_TASK_MASKED_LM,
	PT_TASK_SEQ2SEQ_LM,
	PT_TASK_QA,		/* the first and the last token of an answer */
	PT_TASK_CONTRASTIVE,	/* embeddings of texts, near or far by group */
	PT_TASKS
};

enum { PT_MAX_LABELS = 1 << 20 };	/* more are refused */

/* problem_type of config.json: what the logits of PT_TASK_SEQ_CLS mean. */
enum pt_problem {
	PT_PROBLEM_UNSET,	/* one label: regression; else decided by the labels' type */
	PT_PROBLEM_REGRESSION, PT_PROBLEM_SINGLE, PT_PROBLEM_MULTI,
};

/* What a task asks of model, loss and data. Code elsewhere asks these, never lists tasks. */
bool pt_task_vocab(enum pt_task t);	/* logits over the vocabulary, labels are ids: lm, mlm, seq2seq */
bool pt_task_labels(enum pt_task t);	/* a head of named classes: class, token-class */
int pt_task_outputs(enum pt_task t);	/* of the head where neither of these says: qa has 2, no head 0 */
bool pt_task_per_token(enum pt_task t);	/* a target a token: those with a vocabulary, token-class */
bool pt_task_shifts(enum pt_task t);	/* a token's target is learned at the token before: lm */
bool pt_task_decoder(enum pt_task t);	/* targets are what a decoder writes behind a source: seq2seq */
bool pt_task_text(enum pt_task t);	/* generates text: lm, seq2seq */
bool pt_task_bare(enum pt_task t);	/* the body alone, its modules without a prefix: none, contrastive */

/* As in HEADs and options: "lm", "class", "token-class", "mlm", "seq2seq", "qa", "contrastive"; "none" of a body. */
const char *pt_task_name(enum pt_task t);
/* The same where the problem tells more: "regression", "multilabel". */
const char *pt_task_problem_name(enum pt_task t, enum pt_problem p);
const char *pt_task_peft(enum pt_task t);	/* PEFT's task_type: "CAUSAL_LM", ...; NULL: it has none */

/* HEAD's or PEFT's spelling; -1: unknown. "regression" and "multilabel" are PT_TASK_SEQ_CLS. */
int pt_task_parse(const char *name);
/* The same of a HEAD that may have none: PT_TASK_NONE where name is NULL or unknown. */
enum pt_task pt_task_of_head(const char *name);
/* What such a name says of the problem; PT_PROBLEM_UNSET where nothing. */
enum pt_problem pt_task_parse_problem(const char *name);
/* The i-th name of a task in HEADs; NULL past the last. */
const char *pt_task_list(int i);

/* As config.json spells it: "regression", "single_label_classification", ...; NULL: unset. */
const char *pt_problem_type(enum pt_problem p);
int pt_problem_type_parse(const char *s);	/* -1: unknown */

/* Of a transformers class name, "LlamaForCausalLM", of a model with a second stack or without; a body's is PT_TASK_NONE; -1: none that is known. */
int pt_task_of_class(const char *architecture, bool decoder);
/* The ending of class names: "ForCausalLM". */
const char *pt_task_class(enum pt_task t);

#endif
