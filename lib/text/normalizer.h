/* SPDX-License-Identifier: MIT */
/*
 * normalizer.h - normalizers: steps that rewrite a text. A Sequence is
 * flattened into a list of steps.
 */
#ifndef PT_TEXT_NORMALIZER_H
#define PT_TEXT_NORMALIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/draft.h"
#include "text/regex.h"

struct pt_norm_step {
	const struct pt_norm_kind *kind;
	struct pt_regex *regex;
	char *string;			/* pattern or prefix */
	size_t nstring;
	char *content;			/* replacement */
	size_t ncontent;
	struct pt_charsmap *map;
	int flags;			/* as the kind says */
};

struct pt_normalizer {
	struct pt_norm_step *step;
	size_t n, cap;
};

/* Scratch memory of one thread; zero-initialised is fine. */
struct pt_norm_work {
	struct pt_draft draft[2];
	struct pt_draft tmp[2];
	struct pt_match match;
	uint32_t *uses;			/* as for pt_draft_follow() */
	size_t uses_cap;
};

void pt_norm_work_release(struct pt_norm_work *w);

/* Parse a tokenizer's "normalizer" (NULL: none); what decides about the result is added to h. */
int pt_normalizer_parse(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err);
void pt_normalizer_release(struct pt_normalizer *p);

/* Replace *t by its normalized form, which lies in w until the next call. */
int pt_normalize(const struct pt_normalizer *p, struct pt_norm_work *w, struct pt_stretch *t, struct pt_error *err);

/* One type of step. */
struct pt_norm_kind {
	const char *type;
	int (*parse)(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err);
	/* Append the new text of t, which is not empty, to out; or only set *same: nothing changes. */
	int (*run)(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		   struct pt_draft *out, bool *same, struct pt_error *err);
};

extern const struct pt_norm_kind pt_norm_bert, pt_norm_bytelevel, pt_norm_lowercase, pt_norm_nmt, pt_norm_precompiled,
	pt_norm_prepend, pt_norm_replace, pt_norm_strip, pt_norm_strip_accents, pt_norm_NFC, pt_norm_NFD, pt_norm_NFKC, pt_norm_NFKD;

/* Append c in lower case; at as for pt_draft_add(). */
void pt_norm_lower(struct pt_draft *out, uint32_t c, const struct pt_range *at);

#endif
