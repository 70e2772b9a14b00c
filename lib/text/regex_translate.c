/* SPDX-License-Identifier: MIT */
/*
 * regex_translate.c - where Oniguruma (default syntax, UTF-8) and PCRE2 (UTF,
 * UCP) read the same pattern differently.
 *
 * \s is White_Space for Oniguruma; PCRE2 takes U+180E as well. Oniguruma's
 * Unicode is the newer one: letters, marks, numbers and so on that PCRE2 may
 * not know are added to each property. A class within a class is a union.
 * Patterns with what means something else and is not in use (\h, \b, {n,m}+,
 * &&, (?m), (?x)) are refused.
 */
#include "text/regex_translate.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "text/unicode.h"

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

/* What a property is in the table of unicode.h. */
struct property {
	const char *name;	/* in braces, or the letter of an escape */
	const char *pcre;	/* what PCRE2 has for it, as it stands inside a class */
	unsigned cats;		/* bits of general categories */
	unsigned flag;		/* or a flag */
};

static const struct property properties[] = {
	{ "L", "\\p{L}", 1u << PT_CAT_LU | 1u << PT_CAT_LL | 1u << PT_CAT_LT | 1u << PT_CAT_LM | 1u << PT_CAT_LO, 0 },
	{ "Lu", "\\p{Lu}", 1u << PT_CAT_LU, 0 }, { "Ll", "\\p{Ll}", 1u << PT_CAT_LL, 0 },
	{ "Lt", "\\p{Lt}", 1u << PT_CAT_LT, 0 }, { "Lm", "\\p{Lm}", 1u << PT_CAT_LM, 0 },
	{ "Lo", "\\p{Lo}", 1u << PT_CAT_LO, 0 }, { "M", "\\p{M}", 1u << PT_CAT_M, 0 },
	{ "N", "\\p{N}", 1u << PT_CAT_ND | 1u << PT_CAT_N, 0 }, { "Nd", "\\p{Nd}", 1u << PT_CAT_ND, 0 },
	{ "P", "\\p{P}", 1u << PT_CAT_P, 0 }, { "S", "\\p{S}", 1u << PT_CAT_S, 0 },
	{ "d", "\\p{Nd}", 1u << PT_CAT_ND, 0 },
	{ "w", "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}", 0, PT_UC_ONIG_WORD },
};

static const struct property *find_property(const char *name, size_t n)
{
	for (size_t i = 0; i < sizeof properties / sizeof *properties; i++)
		if (strlen(properties[i].name) == n && memcmp(properties[i].name, name, n) == 0)
			return &properties[i];
	return NULL;
}

/* The code points of a property that PCRE2 may not have in it. */
static bool extra(unsigned u, const void *arg)
{
	const struct property *p = arg;
	unsigned cat = u & PT_CAT_MASK;

	if (p->flag)	/* letters, marks, digits and connectors are there, unless they are new */
		return u & p->flag && (u & PT_UC_NEW || cat == PT_CAT_S || cat == PT_CAT_N || cat == PT_CAT_OTHER);
	return u & PT_UC_NEW && p->cats >> cat & 1;
}

static void add_range(uint32_t from, uint32_t to, void *arg)
{
	pt_buf_printf(arg, from == to ? "\\x{%x}" : "\\x{%x}-\\x{%x}", (unsigned)from, (unsigned)to);
}

/* Within a class Oniguruma's \w lacks the numbers of Latin-1 (U+00B2, U+00BC ...) that it has elsewhere. */
static void add_beyond_latin(uint32_t from, uint32_t to, void *arg)
{
	if (from > 0xff)
		add_range(from, to, arg);
}

/* A property or its complement, in a class or as one. */
static int put_property(struct translator *t, const struct property *p, bool negated, bool class)
{
	if (class && negated)
		return refuse(t, "the complement of a property within a class");
	if (!class)
		pt_buf_str(t->out, negated ? "[^" : "[");
	pt_buf_str(t->out, p->pcre);
	pt_unicode_ranges(extra, p, class ? add_beyond_latin : add_range, t->out);
	if (!class)
		pt_buf_char(t->out, ']');
	return 0;
}

/* At \p or \P. Others than the properties above go to PCRE2 as they are. */
static int property(struct translator *t, bool class)
{
	bool negated = t->p[1] == 'P';
	const char *name = t->p + 3, *end = t->p[2] == '{' ? strchr(name, '}') : NULL;
	const struct property *p;
	int status = 0;

	if (!end)
		return refuse(t, "a property without braces");
	if (*name == '^') {
		negated = !negated;
		name++;
	}
	p = *name == 'w' || *name == 'd' ? NULL : find_property(name, (size_t)(end - name));
	if (p)
		status = put_property(t, p, negated, class);
	else
		pt_buf_add(t->out, t->p, (size_t)(end + 1 - t->p));
	t->p = end + 1;
	return status;
}

/* At a backslash; within a class or not. */
static int escape(struct translator *t, bool class)
{
	char c = t->p[1];
	int status = 0;

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
		return property(t, class);
	case 'w':
	case 'W':
	case 'd':
	case 'D':
		status = put_property(t, find_property(c == 'w' || c == 'W' ? "w" : "d", 1), c == 'W' || c == 'D', class);
		break;
	default:
		if (strchr("bBhHRXONKGZkgcCMyYvVQEuUl", c))
			return refuse(t, "an escape that is not supported");
		pt_buf_char(t->out, '\\');
		pt_buf_char(t->out, c);
	}
	t->p += 2;
	return status;
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
	if (*end == '}' && t->p[1] == ',')
		return refuse(t, "an interval without a lower bound");
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
