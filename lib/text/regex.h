/* SPDX-License-Identifier: MIT */
/*
 * regex.h - the regular expressions of tokenizer files: written for
 * Oniguruma, translated for PCRE2 and compiled by its JIT.
 */
#ifndef PT_TEXT_REGEX_H
#define PT_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "text/splitter.h"

struct pt_regex;

/* PT_DATA for what is not valid, or means something else to PCRE2. Needs pt_unicode_init(). */
int pt_regex_new(struct pt_regex **re, const char *pattern, struct pt_error *err);
void pt_regex_free(struct pt_regex *re);
/* The code that stands for it; NULL: there is none. */
pt_splitter pt_regex_splitter(const struct pt_regex *re);

/* Memory for matching, of one thread; zero-initialised is fine. */
struct pt_match {
	void *data;
	void *context;
	void *stack;
};

void pt_match_release(struct pt_match *m);

/* Goes over the matches of re in s[n], valid UTF-8, as Oniguruma's find_iter does. */
struct pt_find {
	const struct pt_regex *re;
	struct pt_match *match;
	const char *s;
	size_t n;
	size_t from;		/* where the search goes on */
	size_t last;		/* end of the last match, or SIZE_MAX */
};

void pt_find_init(struct pt_find *f, const struct pt_regex *re, struct pt_match *match, const char *s, size_t n);
/* *found false: there is none left. A match may be empty. */
int pt_find_next(struct pt_find *f, bool *found, size_t *start, size_t *end, struct pt_error *err);

/* The expression that GPT-2 splits with; ByteLevel's own. */
extern const char pt_regex_gpt2[];

#endif
