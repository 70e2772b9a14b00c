/* SPDX-License-Identifier: MIT */
/*
 * pattern.c - see pattern.h: a pattern becomes a POSIX regular expression.
 */
#include "data/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum { ANCHOR = 1, GROUPS = 3 };	/* group 1: what stands before the pattern; 2: the label */

static int bad(const char *text, const char *why, struct pt_error *err)
{
	return pt_error(err, PT_USAGE, "--path '%s': %s", text, why);
}

static void add_literal(struct pt_buf *re, char c)
{
	if (strchr("\\^.[$()|*+?{", c))
		pt_buf_char(re, '\\');
	pt_buf_char(re, c);
}

/* At "{label"; *p is set behind the brace. */
static int add_label(struct pt_buf *re, const char *text, const char **p, struct pt_error *err)
{
	const char *s = *p, *end = strchr(s, '}');

	if (!end || strncmp(s, "{label", 6) || (s[6] != '}' && s[6] != ':'))
		return bad(text, "'{' begins {label} or {label:A|B}", err);
	*p = end + 1;
	if (s[6] == '}') {
		pt_buf_str(re, "([^/]+)");
		return 0;
	}
	pt_buf_char(re, '(');
	for (s += 7; s < end; s++) {
		if (*s == '|' && (s[-1] == ':' || s[-1] == '|' || s + 1 == end))
			return bad(text, "an empty label", err);
		if (*s == '|')
			pt_buf_char(re, '|');
		else
			add_literal(re, *s);
	}
	pt_buf_char(re, ')');
	return s[-1] == ':' ? bad(text, "an empty label", err) : 0;
}

/* At '[': a set of characters, as regular expressions have it but for '!'. */
static int add_set(struct pt_buf *re, const char *text, const char **p, struct pt_error *err)
{
	const char *s = *p + 1, *end;
	bool no = *s == '!' || *s == '^';

	s += no;
	end = *s ? strchr(s + 1, ']') : NULL;
	if (!end || memchr(s, '/', (size_t)(end - s)))
		return bad(text, "'[' without ']'", err);
	pt_buf_str(re, no ? "[^/" : "[");
	pt_buf_add(re, s, (size_t)(end - s));
	pt_buf_char(re, ']');
	*p = end + 1;
	return 0;
}

static int translate(struct pt_pattern *p, struct pt_buf *re, struct pt_error *err)
{
	const char *s = p->text;

	if (!*s)
		return bad(s, "empty", err);
	pt_buf_str(re, *s == '/' ? "^(/?)" : "^(.*/|)");
	s += *s == '/';
	while (*s) {
		if (*s == '{') {
			if (p->label)
				return bad(p->text, "two labels", err);
			p->label = ANCHOR + 1;
			if (add_label(re, p->text, &s, err))
				return err->status;
		} else if (*s == '[') {
			if (add_set(re, p->text, &s, err))
				return err->status;
		} else {
			if (*s == '*' || *s == '?')
				pt_buf_str(re, *s == '*' ? "[^/]*" : "[^/]");
			else if (*s == '\\' && s[1])
				add_literal(re, *++s);
			else
				add_literal(re, *s);
			s++;
		}
	}
	pt_buf_char(re, '$');
	return pt_buf_check(re, err);
}

int pt_patterns_init(struct pt_patterns *ps, const char *const *text, int n, struct pt_error *err)
{
	struct pt_buf re = PT_BUF_INIT;

	*ps = (struct pt_patterns){ .p = pt_calloc((size_t)n, sizeof *ps->p, err) };
	if (!ps->p)
		return err->status;
	for (int i = 0; i < n; i++) {
		struct pt_pattern *p = &ps->p[i];

		p->text = text[i];
		pt_buf_clear(&re);
		if (translate(p, &re, err))
			break;
		if (regcomp(&p->re, re.data, REG_EXTENDED)) {
			bad(p->text, "no pattern", err);
			break;
		}
		ps->n++;
		ps->labels = p->label != 0;
		if (ps->labels != (ps->p[0].label != 0)) {
			pt_error(err, PT_USAGE, "--path '%s' names %s label, '%s' %s", ps->p[0].text,
				 ps->labels ? "no" : "a", p->text, ps->labels ? "does" : "does not");
			break;
		}
	}
	pt_buf_release(&re);
	return err->status;
}

void pt_patterns_release(struct pt_patterns *ps)
{
	for (int i = 0; i < ps->n; i++)
		regfree(&ps->p[i].re);
	free(ps->p);
	*ps = (struct pt_patterns){ 0 };
}

bool pt_patterns_match(const struct pt_patterns *ps, const char *path, const char **label, size_t *n)
{
	regmatch_t m[GROUPS];

	*label = NULL;
	*n = 0;
	for (int i = 0; i < ps->n; i++) {
		if (regexec(&ps->p[i].re, path, GROUPS, m, 0))
			continue;
		if (ps->p[i].label) {
			*label = path + m[ANCHOR + 1].rm_so;
			*n = (size_t)(m[ANCHOR + 1].rm_eo - m[ANCHOR + 1].rm_so);
		}
		return true;
	}
	return ps->n == 0;
}
