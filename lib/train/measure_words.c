/* SPDX-License-Identifier: MIT */
/*
 * measure_words.c - the words of an answer as SQuAD's evaluation script
 * compares them (evaluate-v1.1.py and evaluate-v2.0.py, normalize_answer):
 * lower case, without ASCII punctuation, without the words a, an and the,
 * divided at white space. Python's lower case of a sigma at the end of a word
 * is the only thing left out. A word stands for itself by its hash.
 */
#include "train/measure_priv.h"

#include <string.h>

#include "base/hash.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* Python's string.punctuation. */
static bool is_punctuation(uint32_t c)
{
	return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Where Python's str.split() divides: the separators of ASCII, too. */
static bool is_space(uint32_t c)
{
	return (c >= 0x1c && c <= 0x1f) || pt_is_white(c);
}

/* Letters and numbers: \w of Python's re, the underscore being gone. */
static bool is_alnum(uint32_t c)
{
	unsigned cat = pt_unicode(c) & PT_CAT_MASK;

	return (cat >= PT_CAT_LU && cat <= PT_CAT_LO) || cat == PT_CAT_ND || cat == PT_CAT_N;
}

static bool is_article(const char *s, size_t n)
{
	return (n == 1 && s[0] == 'a') || (n == 2 && !memcmp(s, "an", 2)) || (n == 3 && !memcmp(s, "the", 3));
}

static void put(struct pt_buf *b, uint32_t c)
{
	char utf8[4];

	pt_buf_add(b, utf8, pt_utf8_put(c, utf8));
}

static void lower(struct pt_buf *out, const char *s, size_t n)
{
	unsigned len;

	for (size_t i = 0; i < n; i += len) {
		uint32_t c = pt_utf8_get(s + i, &len);

		if (is_punctuation(c))
			continue;
		put(out, pt_lower(c));
		if (c == 0x130)
			put(out, 0x307);
	}
}

static void end_word(struct pt_buf *words, const char *s, size_t n)
{
	uint64_t h;

	if (!n)
		return;
	h = pt_hash64(s, n);
	pt_buf_add(words, &h, sizeof h);
}

/* Divide what is lower case; a run of letters and numbers that is an article divides as a space does. */
static void divide(struct pt_buf *words, const char *s, size_t n)
{
	size_t begin = 0, end;
	unsigned len;

	for (size_t i = 0; i < n; i = end) {
		uint32_t c = pt_utf8_get(s + i, &len);

		end = i + len;
		while (is_alnum(c) && end < n && is_alnum(pt_utf8_get(s + end, &len)))
			end += len;
		if (!is_space(c) && !is_article(s + i, end - i))
			continue;
		end_word(words, s + begin, i - begin);
		begin = end;
	}
	end_word(words, s + begin, n - begin);
}

int pt_measure_words(struct pt_buf *words, struct pt_buf *scratch, const char *text, size_t n, struct pt_error *err)
{
	pt_buf_clear(scratch);
	lower(scratch, text, n);
	if (pt_buf_check(scratch, err))
		return err->status;
	if (scratch->len)
		divide(words, scratch->data, scratch->len);
	return pt_buf_check(words, err);
}
