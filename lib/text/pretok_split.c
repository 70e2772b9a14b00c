/* SPDX-License-Identifier: MIT */
/*
 * pretok_split.c - Split: at every match of a string or a regular expression;
 * and CharDelimiterSplit, a simple case of it.
 */
#define _GNU_SOURCE	/* memmem */
#include <string.h>

#include "base/mem.h"
#include "text/pretok.h"
#include "text/utf8.h"

int pt_pretok_regex(struct pt_work *w, const struct pt_piece *p, const struct pt_regex *re,
		    enum pt_behavior behavior, bool invert, struct pt_error *err)
{
	pt_splitter next = pt_regex_splitter(re);
	struct pt_split split;
	struct pt_find find;
	size_t prev = 0, start, end;
	bool found;
	int status = 0;

	if (next && behavior == PT_SPLIT_ISOLATED) {
		for (start = 0; start < p->n && !status; start = end) {
			end = next(w->base + p->off, p->n, start);
			status = pt_work_part(w, p, start, end, err);
		}
		return status;
	}
	pt_split_init(&split, w, p, behavior);
	pt_find_init(&find, re, &w->match, w->base + p->off, p->n);
	for (;;) {
		status = pt_find_next(&find, &found, &start, &end, err);
		if (status || !found)
			break;
		if (start > prev)
			status = pt_split_range(&split, prev, start, invert, err);
		if (!status)
			status = pt_split_range(&split, start, end, !invert, err);
		if (status)
			break;
		prev = end;
	}
	if (!status && prev < p->n)
		status = pt_split_range(&split, prev, p->n, invert, err);
	return status ? status : pt_split_end(&split, err);
}

/* At every occurrence of s->string. */
static int split_string(const struct pt_pretok_stage *s, struct pt_work *w, const struct pt_piece *p,
			struct pt_error *err)
{
	const char *text = w->base + p->off;
	struct pt_split split;
	size_t prev = 0;
	int status = 0;

	pt_split_init(&split, w, p, s->behavior);
	for (size_t i = 0; i < p->n && !status;) {
		const char *hit = memmem(text + i, p->n - i, s->string, s->nstring);
		size_t at;

		if (!hit)
			break;
		at = (size_t)(hit - text);
		if (at > prev)
			status = pt_split_range(&split, prev, at, s->invert, err);
		if (!status)
			status = pt_split_range(&split, at, at + s->nstring, !s->invert, err);
		prev = i = at + s->nstring;
	}
	if (!status && prev < p->n)
		status = pt_split_range(&split, prev, p->n, s->invert, err);
	return status ? status : pt_split_end(&split, err);
}

static int parse(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const cJSON *pattern = pt_json_get(j, "pattern");
	const char *string, *regex;
	int status;

	if ((status = pt_json_str(pattern, "String", NULL, &string, err)) ||
	    (status = pt_json_str(pattern, "Regex", NULL, &regex, err)) ||
	    (status = pt_json_bool(j, "invert", false, &s->invert, err)) ||
	    (status = pt_behavior_parse(j, "behavior", -1, &s->behavior, err)))
		return status;
	if (!string == !regex)
		return pt_error(err, PT_DATA, "\"pattern\" must have either \"String\" or \"Regex\"");
	pt_hash_str(h, string ? "String" : "Regex");
	pt_hash_str(h, string ? string : regex);
	pt_hash_u64(h, (uint64_t)s->behavior << 1 | s->invert);
	/* An empty string matches before every character, as an empty expression does. */
	if (regex || !*string)
		return pt_regex_new(&s->regex, regex ? regex : "(?:)", err);
	s->nstring = strlen(string);
	s->string = pt_strdup(string, err);
	return s->string ? 0 : PT_FAIL;
}

/* CharDelimiterSplit: Split at a character that goes. */
static int parse_delimiter(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const char *delimiter;
	int status = pt_json_str(j, "delimiter", NULL, &delimiter, err);

	if (status)
		return status;
	if (!delimiter || !*delimiter || pt_utf8_len(*delimiter) != strlen(delimiter))
		return pt_error(err, PT_DATA, "\"delimiter\" must be one character");
	pt_hash_str(h, delimiter);
	s->behavior = PT_SPLIT_REMOVED;
	s->nstring = strlen(delimiter);
	s->string = pt_strdup(delimiter, err);
	return s->string ? 0 : PT_FAIL;
}

static int run(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	int status = 0;

	(void)text;
	for (size_t i = 0; i < w->n && !status; i++)
		status = s->regex ? pt_pretok_regex(w, &w->piece[i], s->regex, s->behavior, s->invert, err)
				  : split_string(s, w, &w->piece[i], err);
	return status;
}

const struct pt_pretok_kind pt_pretok_split = { "Split", parse, run };
const struct pt_pretok_kind pt_pretok_delimiter = { "CharDelimiterSplit", parse_delimiter, run };
