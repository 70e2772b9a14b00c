/* SPDX-License-Identifier: MIT */
/*
 * splitter.c - GPT-2's expression, and that of cl100k as Llama 3 (numbers in
 * threes) and Qwen 2 (digits alone) have it.
 */
#include "text/splitter.h"

#include <stdbool.h>
#include <string.h>

#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum kind { OTHER, LETTER, NUMBER, SPACE };

#define CL100K(digits)										\
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits			\
	"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static inline enum kind kind_at(const char *s, size_t i, unsigned *len)
{
	uint32_t c = pt_utf8_get(s + i, len);
	unsigned cat = pt_unicode(c) & PT_CAT_MASK;

	if (cat >= PT_CAT_LU && cat <= PT_CAT_LO)
		return LETTER;
	if (cat == PT_CAT_ND || cat == PT_CAT_N)
		return NUMBER;
	return cat == PT_CAT_OTHER && pt_is_white(c) ? SPACE : OTHER;
}

/* The end of the characters of one kind from i on, at most max. */
static inline size_t run(const char *s, size_t n, size_t i, enum kind kind, size_t max)
{
	unsigned len;

	for (; max && i < n && kind_at(s, i, &len) == kind; max--)
		i += len;
	return i;
}

/* White space from at on: up to a last one that stands before something else. */
static size_t spaces(const char *s, size_t n, size_t at)
{
	size_t end = at, last = at;
	unsigned len;

	while (end < n && kind_at(s, end, &len) == SPACE) {
		last = end;
		end += len;
	}
	return end == n || last == at ? end : last;
}

/* The length of a contraction at s[at], an apostrophe: 's 't 're 've 'm 'll 'd. 0: none. */
static size_t contraction(const char *s, size_t n, size_t at, bool any_case)
{
	char c = at + 1 < n ? s[at + 1] : '\0', d = at + 2 < n ? s[at + 2] : '\0';

	if (any_case) {
		if ((unsigned char)c == 0xc5 && (unsigned char)d == 0xbf)	/* the long s */
			return 3;
		c = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		d = (char)(d >= 'A' && d <= 'Z' ? d | 0x20 : d);
	}
	if (c == 's' || c == 't' || c == 'm' || c == 'd')
		return 2;
	return (c == 'r' && d == 'e') || (c == 'v' && d == 'e') || (c == 'l' && d == 'l') ? 3 : 0;
}

static size_t gpt2(const char *s, size_t n, size_t at)
{
	unsigned len;
	size_t k;
	enum kind kind = kind_at(s, at, &len);

	if (s[at] == '\'' && (k = contraction(s, n, at, false)))
		return at + k;
	k = at;
	if (s[at] == ' ' && at + 1 < n) {
		kind = kind_at(s, at + 1, &len);
		k = at + 1;
	}
	return kind == SPACE ? spaces(s, n, at) : run(s, n, k + len, kind, n);
}

static bool newline(char c)
{
	return c == '\r' || c == '\n';
}

static inline size_t cl100k(const char *s, size_t n, size_t at, size_t digits)
{
	unsigned len, next = 0;
	enum kind kind = kind_at(s, at, &len), then;
	size_t k;

	if (kind == LETTER)
		return run(s, n, at + len, LETTER, n);
	if (kind == NUMBER)
		return run(s, n, at + len, NUMBER, digits - 1);
	if (s[at] == '\'' && (k = contraction(s, n, at, true)))
		return at + k;
	then = at + len < n ? kind_at(s, at + len, &next) : SPACE;
	if (then == LETTER && !newline(s[at]))
		return run(s, n, at + len + next, LETTER, n);
	if (kind == OTHER || (s[at] == ' ' && then == OTHER)) {
		k = run(s, n, at + len, OTHER, n);
		while (k < n && newline(s[k]))
			k++;
		return k;
	}
	/* White space: up to its last newline, if there is one. */
	k = run(s, n, at, SPACE, n);
	while (k > at && !newline(s[k - 1]))
		k--;
	return k > at ? k : spaces(s, n, at);
}

static size_t llama3(const char *s, size_t n, size_t at)
{
	return cl100k(s, n, at, 3);
}

static size_t qwen2(const char *s, size_t n, size_t at)
{
	return cl100k(s, n, at, 1);
}

pt_splitter pt_splitter_find(const char *pattern)
{
	if (strcmp(pattern, pt_regex_gpt2) == 0)
		return gpt2;
	if (strcmp(pattern, CL100K("\\p{N}{1,3}")) == 0)
		return llama3;
	return strcmp(pattern, CL100K("\\p{N}")) == 0 ? qwen2 : NULL;
}
