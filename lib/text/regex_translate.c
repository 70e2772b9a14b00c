/* SPDX-License-Identifier: MIT */
/*
 * regex_translate.c - where Oniguruma (default syntax, UTF-8) and PCRE2 (UTF,
 * UCP) read the same pattern differently.
 *
 * \s is White_Space for Oniguruma; PCRE2 takes U+180E as well. A class within
 * a class is a union. Patterns with what means something else and is not in
 * use (\h, {n,m}+, &&, (?m), (?x)) are refused.
 */
#include "text/regex_translate.h"

#include <stdbool.h>
#include <string.h>

/* White_Space and its complement, as they stand inside a class. */
#define WS "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_WS "\\x00-\\x08\\x0e-\\x1f\\x21-\\x84\\x86-\\x9f\\xa1-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
	"\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"

struct translator {
	const char *start, *p;
	struct pt_buf *out;
	struct pt_error *err;
};

static int refuse(const struct translator *t, const char *what)
{
	return pt_error(t->err, PT_DATA, "the regular expression '%.200s' is not supported: %s at byte %zu", t->start,
			what, (size_t)(t->p - t->start));
}

/* At a backslash; within a class or not. */
static int escape(struct translator *t, bool class)
{
	char c = t->p[1];

	switch (c) {
	case '\0':
		return refuse(t, "a backslash at the end");
	case 's':
		pt_buf_str(t->out, class ? WS : "[" WS "]");
		break;
	case 'S':
		pt_buf_str(t->out, class ? NOT_WS : "[^" WS "]");
		break;
	case 'p':
	case 'P':
		if (t->p[2] != '{' || !strchr(t->p, '}'))
			return refuse(t, "a property without braces");
		for (; *t->p != '}'; t->p++)
			pt_buf_char(t->out, *t->p);
		pt_buf_char(t->out, '}');
		t->p++;
		return 0;
	case 'h':
	case 'H':
	case 'w':
	case 'W':
	case 'b':
	case 'B':
	case 'd':
	case 'D':
	case 'R':
	case 'X':
	case 'O':
	case 'N':
	case 'K':
	case 'G':
	case 'Z':
	case 'k':
	case 'g':
	case 'c':
	case 'C':
	case 'M':
	case 'y':
	case 'Y':
		return refuse(t, "an escape that is not supported");
	default:
		pt_buf_char(t->out, '\\');
		pt_buf_char(t->out, c);
	}
	t->p += 2;
	return 0;
}

/* At '['. A class inside a class adds what is in it. */
static int class(struct translator *t, int depth)
{
	bool negated = t->p[1] == '^';
	int status = 0;

	if (negated && depth)
		return refuse(t, "a negated class within a class");
	if (!depth)
		pt_buf_str(t->out, negated ? "[^" : "[");
	t->p += 1 + negated;
	for (bool first = true; *t->p && (*t->p != ']' || first); first = false) {
		if (t->p[0] == '[' && t->p[1] == ':')
			return refuse(t, "a POSIX class");
		if (t->p[0] == '&' && t->p[1] == '&')
			return refuse(t, "an intersection of classes");
		if (*t->p == '\\')
			status = escape(t, true);
		else if (*t->p == '[')
			status = class(t, depth + 1);
		else if (*t->p == ']')	/* first in its class it is a plain character */
			pt_buf_str(t->out, "\\]"), t->p++;
		else
			pt_buf_char(t->out, *t->p++);
		if (status)
			return status;
	}
	if (*t->p != ']')
		return refuse(t, "a class that does not end");
	t->p++;
	if (!depth)
		pt_buf_char(t->out, ']');
	return 0;
}

/* At "(?": lookaround, groups without capture and (?i) mean the same. */
static int group(struct translator *t)
{
	static const char *const same[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?i)", "(?-i:", "(?-i)" };

	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		size_t n = strlen(same[i]);

		if (strncmp(t->p, same[i], n) == 0) {
			pt_buf_add(t->out, same[i], n);
			t->p += n;
			return 0;
		}
	}
	return refuse(t, "a kind of group that is not supported");
}

/* At '{': after an interval Oniguruma reads '+' as another repetition, PCRE2 as possessive. */
static int interval(struct translator *t)
{
	const char *end = t->p + 1 + strspn(t->p + 1, "0123456789,");

	if (*end == '}' && end[1] == '+')
		return refuse(t, "an interval with '+'");
	pt_buf_char(t->out, *t->p++);
	return 0;
}

int pt_regex_translate(struct pt_buf *out, const char *pattern, struct pt_error *err)
{
	struct translator t = { pattern, pattern, out, err };
	int status = 0;

	while (*t.p && !status) {
		if (*t.p == '\\')
			status = escape(&t, false);
		else if (*t.p == '[')
			status = class(&t, 0);
		else if (t.p[0] == '(' && t.p[1] == '?')
			status = group(&t);
		else if (*t.p == '{')
			status = interval(&t);
		else
			pt_buf_char(out, *t.p++);
	}
	return status ? status : pt_buf_check(out, err);
}
