/* SPDX-License-Identifier: MIT */
/*
 * pattern.c - regular expressions of a configuration, as Python's re matches
 * them, and the value that one of several gives a module.
 */
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

/* whole: all of text must match; else its beginning, up to *end. */
static int match_regex(const char *pattern, const char *text, bool whole, bool *match, size_t *end,
		       struct pt_error *err)
{
	uint32_t options = PCRE2_ANCHORED | PCRE2_UTF | (whole ? PCRE2_ENDANCHORED : 0);
	pcre2_match_data *md = NULL;
	PCRE2_SIZE at;
	int code, n;
	pcre2_code *re = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, options, &code, &at, NULL);

	if (!re) {
		char why[120] = "";

		pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
		return pt_error(err, PT_USAGE, "'%s' is no regular expression: %s", pattern, why);
	}
	md = pcre2_match_data_create_from_pattern(re, NULL);
	n = md ? pcre2_match(re, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, 0, md, NULL) : PCRE2_ERROR_NOMEMORY;
	*match = n >= 0;
	if (n >= 0 && end)
		*end = pcre2_get_ovector_pointer(md)[1];
	pcre2_match_data_free(md);
	pcre2_code_free(re);
	if (n < 0 && n != PCRE2_ERROR_NOMATCH)
		return pt_error(err, PT_USAGE, "'%s' cannot be matched against %s", pattern, text);
	return 0;
}

int pt_regex_match(const char *pattern, const char *text, bool *match, struct pt_error *err)
{
	return match_regex(pattern, text, true, match, NULL, err);
}

int pt_regex_begins(const char *pattern, const char *text, bool *match, size_t *end, struct pt_error *err)
{
	return match_regex(pattern, text, false, match, end, err);
}

int pt_pattern_find(const cJSON *patterns, const char *path, const cJSON **value, struct pt_error *err)
{
	*value = NULL;
	if (!cJSON_IsObject(patterns))
		return 0;
	for (const cJSON *v = patterns->child; v; v = v->next) {
		char *re = pt_format(err, "(?:.*\\.)?(?:%s)", v->string);
		bool match = false;
		int st = re ? pt_regex_match(re, path, &match, err) : err->status;

		free(re);
		if (st)
			return st;
		if (match) {
			*value = v;
			return 0;
		}
	}
	return 0;
}
