/* SPDX-License-Identifier: MIT */
/*
 * pretok.h - pre-tokenizers: stages that divide a text into the words that
 * the model sees. A Sequence is flattened into a list of stages.
 */
#ifndef PT_TEXT_PRETOK_H
#define PT_TEXT_PRETOK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/regex.h"
#include "text/work.h"

struct pt_pretok_stage {
	const struct pt_pretok_kind *kind;
	struct pt_regex *regex;
	char *string;			/* pattern, replacement */
	size_t nstring;
	enum pt_behavior behavior;
	bool invert, prefix, mapped, flag;	/* flag: as the kind says */
	int scheme;
	size_t length;
	bool places;			/* it asks where in the original text a piece begins */
};

struct pt_pretok {
	struct pt_pretok_stage *stage;
	size_t n, cap;
	bool raw;	/* the last stage is ByteLevel and leaves the mapping to the model */
	bool places;	/* some stage asks where in the original text a piece begins, ... */
	bool late;	/* ... and it is not the first */
};

/*
 * Parse a tokenizer's "pre_tokenizer" (NULL: none). raw: the model can take
 * bytes where ByteLevel would give it their characters. What decides about
 * the result is added to h.
 */
int pt_pretok_parse(struct pt_pretok *p, const cJSON *j, bool raw, struct pt_hash *h, struct pt_error *err);
void pt_pretok_release(struct pt_pretok *p);

/* Divide w->piece, in place. */
int pt_pretok_run(const struct pt_pretok *p, struct pt_work *w, struct pt_error *err);

/* One type of stage. */
struct pt_pretok_kind {
	const char *type;
	int (*parse)(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err);
	/* From w->piece to w->next; *text: the pieces lie in pt_work_other() now. */
	int (*run)(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err);
};

extern const struct pt_pretok_kind pt_pretok_bert, pt_pretok_bytelevel, pt_pretok_delimiter, pt_pretok_digits,
	pt_pretok_length, pt_pretok_metaspace, pt_pretok_punctuation, pt_pretok_scripts, pt_pretok_split,
	pt_pretok_whitespace, pt_pretok_whitespace_split;

/* The member key as a behavior; absent: def, or an error where def < 0. */
int pt_behavior_parse(const cJSON *j, const char *key, int def, enum pt_behavior *out, struct pt_error *err);

/* Split the piece at the matches of re. */
int pt_pretok_regex(struct pt_work *w, const struct pt_piece *p, const struct pt_regex *re,
		    enum pt_behavior behavior, bool invert, struct pt_error *err);

#endif
