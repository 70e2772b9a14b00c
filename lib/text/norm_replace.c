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

/* The match [from, to) of t; what was before it, behind prev, is copied. */
static void put(const struct pt_norm_step *s, const struct pt_stretch *t, size_t prev, size_t from, size_t to,
		struct pt_buf *out, size_t *zero)
{
	pt_buf_add(out, t->s + prev, from - prev);
	if (t->zero > prev)
		*zero = t->zero < from ? out->len - (from - t->zero) : out->len;
	pt_buf_add(out, s->content, s->ncontent);
	/* New text has the place of the last byte that it stands for. */
	if (t->zero && to <= t->zero)
		*zero = out->len;
}

static int run(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
	       struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	size_t prev = 0, from, to;
	struct pt_find find;
	bool found = false;
	int status = 0;

	if (s->regex) {
		pt_find_init(&find, s->regex, &w->match, t->s, t->n);
		while (!(status = pt_find_next(&find, &found, &from, &to, err)) && found) {
			put(s, t, prev, from, to, out, zero);
			prev = to;
		}
	} else {
		const char *hit;

		while (prev < t->n && (hit = memmem(t->s + prev, t->n - prev, s->string, s->nstring))) {
			from = (size_t)(hit - t->s);
			put(s, t, prev, from, from + s->nstring, out, zero);
			prev = from + s->nstring;
		}
	}
	*same = !status && prev == 0 && out->len == 0;
	if (status || *same)
		return status;
	pt_buf_add(out, t->s + prev, t->n - prev);
	if (t->zero > prev)
		*zero = out->len - (t->n - t->zero);
	return 0;
}

const struct pt_norm_kind pt_norm_replace = { "Replace", parse, run };
