/* SPDX-License-Identifier: MIT */
/*
 * norm_replace.c - Replace: every match of a string or a regular expression
 * by a fixed text.
 */
#define _GNU_SOURCE	/* memmem */
#include <string.h>

#include "base/mem.h"
#include "text/normalizer.h"

static int parse(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const cJSON *pattern = pt_json_get(j, "pattern");
	const char *string, *regex, *content;
	int status;

	if ((status = pt_json_str(pattern, "String", NULL, &string, err)) ||
	    (status = pt_json_str(pattern, "Regex", NULL, &regex, err)) ||
	    (status = pt_json_str(j, "content", NULL, &content, err)))
		return status;
	if (!string == !regex)
		return pt_error(err, PT_DATA, "\"pattern\" must have either \"String\" or \"Regex\"");
	if (!content)
		return pt_error(err, PT_DATA, "\"content\" is missing");
	pt_hash_str(h, string ? "String" : "Regex");
	pt_hash_str(h, string ? string : regex);
	pt_hash_str(h, content);
	s->ncontent = strlen(content);
	s->content = pt_strdup(content, err);
	if (!s->content)
		return PT_FAIL;
	/* An empty string matches before every character, as an empty expression does. */
	if (regex || !*string)
		return pt_regex_new(&s->regex, regex ? regex : "(?:)", err);
	s->nstring = strlen(string);
	s->string = pt_strdup(string, err);
	return s->string ? 0 : PT_FAIL;
}

/* The match [from, to) of t; what was before it, behind prev, is copied. New text has the place of the last byte. */
static void put(const struct pt_norm_step *s, const struct pt_stretch *t, size_t prev, size_t from, size_t to,
		struct pt_draft *out)
{
	struct pt_range front = { t->start, t->start };

	pt_draft_copy(out, t, prev, from);
	pt_draft_add(out, s->content, s->ncontent, t->at && to ? t->at + to - 1 : t->at ? &front : NULL);
}

static int run(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
	       struct pt_draft *out, bool *same, struct pt_error *err)
{
	size_t prev = 0, from, to;
	struct pt_find find;
	bool found = false;
	int status = 0;

	*same = true;
	if (s->regex) {
		pt_find_init(&find, s->regex, &w->match, t->s, t->n);
		while (!(status = pt_find_next(&find, &found, &from, &to, err)) && found) {
			put(s, t, prev, from, to, out);
			prev = to;
			*same = false;
		}
	} else {
		const char *hit;

		while (prev < t->n && (hit = memmem(t->s + prev, t->n - prev, s->string, s->nstring))) {
			from = (size_t)(hit - t->s);
			put(s, t, prev, from, from + s->nstring, out);
			prev = from + s->nstring;
			*same = false;
		}
	}
	if (!status && !*same)
		pt_draft_copy(out, t, prev, t->n);
	return status;
}

const struct pt_norm_kind pt_norm_replace = { "Replace", parse, run };
