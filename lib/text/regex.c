/* SPDX-License-Identifier: MIT */
/*
 * regex.c - PCRE2 with JIT behind regex.h, but plain code for what is known.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/regex.h"
#include "text/regex_translate.h"
#include "text/splitter.h"
#include "text/utf8.h"

const char pt_regex_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct pt_regex {
	pt_splitter split;	/* or, where there is none: */
	pcre2_code *code;
};

int pt_regex_new(struct pt_regex **out, const char *pattern, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	struct pt_regex *re;
	PCRE2_UCHAR msg[200];
	PCRE2_SIZE at;
	int code, status;

	*out = NULL;
	re = pt_calloc(1, sizeof *re, err);
	if (!re)
		return PT_FAIL;
	re->split = pt_splitter_find(pattern);
	if (re->split) {
		*out = re;
		return 0;
	}
	status = pt_regex_translate(&b, pattern, err);
	if (status)
		goto out;
	/* Oniguruma's ^ and $ always are of lines. */
	re->code = pcre2_compile((PCRE2_SPTR)b.data, b.len, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
				 &code, &at, NULL);
	if (!re->code) {
		pcre2_get_error_message(code, msg, sizeof msg);
		status = pt_error(err, PT_DATA, "the regular expression '%.200s' is not supported: %s",
				  pattern, (const char *)msg);
		goto out;
	}
	/* Without JIT (some machines forbid it) pcre2_match() interprets. */
	pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
out:
	pt_buf_release(&b);
	if (status)
		pt_regex_free(re);
	else
		*out = re;
	return status;
}

pt_splitter pt_regex_splitter(const struct pt_regex *re)
{
	return re->split;
}

void pt_regex_free(struct pt_regex *re)
{
	if (!re)
		return;
	pcre2_code_free(re->code);
	free(re);
}

void pt_match_release(struct pt_match *m)
{
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	pcre2_jit_stack_free(m->stack);
	*m = (struct pt_match){ NULL, NULL, NULL };
}

static int match_init(struct pt_match *m, struct pt_error *err)
{
	if (m->data)
		return 0;
	m->data = pcre2_match_data_create(1, NULL);
	m->context = pcre2_match_context_create(NULL);
	m->stack = pcre2_jit_stack_create(64 << 10, 64 << 20, NULL);
	if (!m->data || !m->context || !m->stack) {
		pt_match_release(m);
		return pt_error(err, PT_FAIL, "out of memory for matching");
	}
	pcre2_jit_stack_assign(m->context, NULL, m->stack);
	pcre2_set_match_limit(m->context, UINT32_MAX);
	return 0;
}

void pt_find_init(struct pt_find *f, const struct pt_regex *re, struct pt_match *match, const char *s, size_t n)
{
	*f = (struct pt_find){ re, match, s, n, 0, SIZE_MAX };
}

int pt_find_next(struct pt_find *f, bool *found, size_t *start, size_t *end, struct pt_error *err)
{
	const PCRE2_SIZE *v;
	int n, status;

	*found = false;
	if (f->re->split) {
		*found = f->from < f->n;
		*start = f->from;
		if (*found)
			*end = f->from = f->re->split(f->s, f->n, f->from);
		return 0;
	}
	status = match_init(f->match, err);
	while (!status && f->from <= f->n) {
		n = pcre2_match(f->re->code, (PCRE2_SPTR)f->s, f->n, f->from, PCRE2_NO_UTF_CHECK,
				f->match->data, f->match->context);
		if (n == PCRE2_ERROR_NOMATCH) {
			f->from = f->n + 1;
			break;
		}
		if (n < 0) {
			PCRE2_UCHAR msg[200];

			pcre2_get_error_message(n, msg, sizeof msg);
			return pt_error(err, PT_DATA, "a regular expression of the tokenizer fails: %s",
					(const char *)msg);
		}
		v = pcre2_get_ovector_pointer(f->match->data);
		if (v[0] == v[1] && v[1] == f->last) {
			/* An empty match right behind the last one does not count. */
			f->from += f->from < f->n ? pt_utf8_len(f->s[f->from]) : 1;
			continue;
		}
		f->from = f->last = v[1];
		*start = v[0];
		*end = v[1];
		*found = true;
		break;
	}
	return status;
}
