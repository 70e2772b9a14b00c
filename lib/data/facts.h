/* SPDX-License-Identifier: MIT */
/*
 * facts.h - what a model's config.json says to those who make its data: how
 * long sequences may be, where texts end, what the classes are called. It is
 * asked of any model, also of one that this library cannot run.
 */
#ifndef PT_DATA_FACTS_H
#define PT_DATA_FACTS_H

#include <stdint.h>

#include "base/error.h"
#include "data/classes.h"
#include "data/maker.h"

struct pt_facts {
	int64_t positions;		/* longest sequence; 0: not said */
	int64_t sentence;		/* max_seq_length of sentence_bert_config.json; 0: not said */
	int32_t eos;			/* first of eos_token_id; -1: none */
	struct pt_maker_task task;	/* of its head; NONE: a body, or one that is not known */
	struct pt_classes labels;	/* id2label; empty where it is LABEL_0, LABEL_1 ... */
};

/* Of dir/config.json (and sentence_bert_config.json); nothing is known where there is none. */
int pt_facts_read(struct pt_facts *f, const char *dir, struct pt_error *err);
void pt_facts_release(struct pt_facts *f);

/* The longest example where nobody says: of the tokenizer's limit, the positions, that of a
 * sentence-transformer and 1024 the least. */
int64_t pt_facts_max_length(const struct pt_facts *f, const struct pt_tokenizer *tok, int64_t reserve);

#endif
