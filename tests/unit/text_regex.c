/* SPDX-License-Identifier: MIT */
/*
 * Regular expressions: properties on every code point against the table of what Oniguruma has, matches in
 * order as its find_iter gives them, and refusal of what PCRE2 would read differently.
 */
#include "test.h"

#include "base/buf.h"
#include "text/regex.h"
#include "text/unicode.h"
#include "text/utf8.h"

static struct pt_error err;

enum { LETTER = 0x3e, WHITE = 0x10000 };

static void properties_are_onigurumas(void **state)
{
	static const struct {
		const char *pattern;
		unsigned cats, flag;
		bool negated;
	} t[] = {
		{ "\\p{L}", LETTER, 0, false }, { "[^\\p{L}]", LETTER, 0, true }, { "\\P{L}", LETTER, 0, true },
		{ "[\\p{N}x]", 1u << PT_CAT_ND | 1u << PT_CAT_N, 0, false }, { "\\p{M}", 1u << PT_CAT_M, 0, false },
		{ "\\p{P}", 1u << PT_CAT_P, 0, false }, { "\\p{S}", 1u << PT_CAT_S, 0, false },
		{ "\\p{Lu}", 1u << PT_CAT_LU, 0, false }, { "\\p{Ll}", 1u << PT_CAT_LL, 0, false },
		{ "\\d", 1u << PT_CAT_ND, 0, false }, { "\\w", 0, PT_UC_ONIG_WORD, false },
		{ "\\s", 0, WHITE, false }, { "[^\\S]", 0, WHITE, false },
	};
	struct pt_match m = { NULL, NULL, NULL };

	(void)state;
	pt_unicode_init();
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct pt_regex *re;

		assert_ok(pt_regex_new(&re, t[i].pattern, &err), &err);
		for (uint32_t c = 0; c < 0x110000; c += c < 0x3000 || (c >= 0xa000 && c < 0xac00) || c > 0x10000 ? 1 : 7) {
			struct pt_find f;
			unsigned u;
			size_t start, end;
			bool found, want;
			char s[4];

			if (c >= 0xd800 && c < 0xe000)
				continue;
			if (c > 0x34000 && c < 0xe0000)
				c = 0xe0000;
			u = pt_unicode(c) | (pt_is_white(c) ? WHITE : 0);
			want = t[i].flag ? u & t[i].flag : t[i].cats >> (u & PT_CAT_MASK) & 1;
			if (t[i].pattern[1] == '\\' && t[i].pattern[6] == 'x')
				want = want || c == 'x';
			pt_find_init(&f, re, &m, s, pt_utf8_put(c, s));
			assert_ok(pt_find_next(&f, &found, &start, &end, &err), &err);
			if (found != (want != t[i].negated))
				fail_msg("%s at U+%04X", t[i].pattern, (unsigned)c);
		}
		pt_regex_free(re);
	}
	pt_match_release(&m);
}

/* Random text of the characters that make a difference; a group around it makes an expression an unknown one. */
static void code_splits_as_expressions_do(void **state)
{
	static const char *const digits[] = { "", "\\p{N}{1,3}", "\\p{N}" };
	static const char *const chars[] = {
		" ", " ", " ", "\n", "\r", "\t", "'", "'", "s", "T", "r", "e", "E", "v", "m", "l", "L", "d", "x", "1", "2", ".", "-",
		"\xc2\xa0", "\xe3\x80\x80", "\xc5\xbf", "\xe2\x84\xaa", "\xc3\xa9", "\xcc\x81", "\xe4\xb8\xad", "\xd9\xa1",
		"\xc2\xb2", "\xe1\xa0\x8e", "\xe2\x80\x8b", "\xf0\xb2\x84\xb0", "\xf0\x9f\x98\x80", "\xc2\x85", "_",
	};
	struct pt_match m = { NULL, NULL, NULL };
	uint64_t r = 1;

	(void)state;
	pt_unicode_init();
	for (int k = 0; k < 3; k++) {
		struct pt_buf pattern = PT_BUF_INIT, text = PT_BUF_INIT, group = PT_BUF_INIT;
		struct pt_regex *code, *compiled;

		if (k == 0)
			pt_buf_str(&pattern, pt_regex_gpt2);
		else
			pt_buf_printf(&pattern, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|%s"
				      "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", digits[k]);
		pt_buf_printf(&group, "(?:%s)", pattern.data);
		assert_ok(pt_regex_new(&code, pattern.data, &err), &err);
		assert_ok(pt_regex_new(&compiled, group.data, &err), &err);
		assert_non_null(pt_regex_splitter(code));
		assert_null(pt_regex_splitter(compiled));
		for (int i = 0; i < 20000; i++) {
			struct pt_find a, b;
			size_t s[2], e[2];
			bool found[2];

			pt_buf_clear(&text);
			for (int n = i % 12; n >= 0; n--) {
				r = r * 6364136223846793005u + 1442695040888963407u;
				pt_buf_str(&text, chars[(r >> 33) % (sizeof chars / sizeof *chars)]);
			}
			pt_find_init(&a, code, &m, text.data, text.len);
			pt_find_init(&b, compiled, &m, text.data, text.len);
			do {
				assert_ok(pt_find_next(&a, &found[0], &s[0], &e[0], &err), &err);
				assert_ok(pt_find_next(&b, &found[1], &s[1], &e[1], &err), &err);
				if (found[0] != found[1] || (found[0] && (s[0] != s[1] || e[0] != e[1])))
					fail_msg("expression %d on '%s': %zu to %zu, not %zu to %zu", k, text.data, s[0], e[0],
						 s[1], e[1]);
			} while (found[0]);
		}
		pt_regex_free(code);
		pt_regex_free(compiled);
		pt_buf_release(&pattern);
		pt_buf_release(&group);
		pt_buf_release(&text);
	}
	pt_match_release(&m);
}

static void finds_as_oniguruma_does(void **state)
{
	static const struct {
		const char *pattern, *text;
		int n;
		size_t at[12];		/* start, end, ... */
	} t[] = {
		{ "x*", "axxb", 3, { 0, 0, 1, 3, 4, 4 } },
		{ "(?=b)", "aabb", 2, { 2, 2, 3, 3 } },
		{ "(?:)", "\xc3\xa9z", 3, { 0, 0, 2, 2, 3, 3 } },
		{ "^b", "a\nb", 1, { 2, 3 } },
		{ "[a[bc]]+", "xabcx", 1, { 1, 4 } },
		{ "(?i:'S)", "'\xc5\xbf", 1, { 0, 3 } },
		{ "(a)(b)?", "aab", 2, { 0, 1, 1, 3 } },
		{ "[]x]", "]", 1, { 0, 1 } },
		{ "\\w+", "\xc2\xb2\xc2\xb8", 1, { 0, 2 } },		/* a superscript is a word character, ... */
		{ "[^\\w]+", "\xc2\xb2\xc2\xb8", 1, { 0, 4 } },	/* ... but not within a class */
	};
	struct pt_match m = { NULL, NULL, NULL };

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		struct pt_regex *re;
		struct pt_find f;
		size_t start, end;
		bool found;

		assert_ok(pt_regex_new(&re, t[i].pattern, &err), &err);
		pt_find_init(&f, re, &m, t[i].text, strlen(t[i].text));
		for (int k = 0; k <= t[i].n; k++) {
			assert_ok(pt_find_next(&f, &found, &start, &end, &err), &err);
			assert_int_equal(found, k < t[i].n);
			if (found) {
				assert_int_equal(start, t[i].at[2 * k]);
				assert_int_equal(end, t[i].at[2 * k + 1]);
			}
		}
		pt_regex_free(re);
	}
	pt_match_release(&m);
}

static void refuses_what_differs(void **state)
{
	static const char *const bad[][2] = {
		{ "\\h", "at byte 0" }, { "a\\b", "at byte 1" }, { "a{2,3}+", "interval" }, { "a{,3}", "lower bound" },
		{ "[a&&b]", "intersection" }, { "[[:alpha:]]", "POSIX" }, { "[a[^b]]", "negated class" }, { "(?m)a", "group" },
		{ "[ab", "does not end" }, { "(a", "'(a'" }, { "a\\", "backslash" }, { "\\pL", "braces" },
		{ "[\\P{L}]", "complement" }, { "(?<n>a)", "group" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct pt_regex *re;

		assert_fails(pt_regex_new(&re, bad[i][0], &err), PT_DATA, bad[i][1], &err);
		assert_null(re);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(properties_are_onigurumas),
		cmocka_unit_test(code_splits_as_expressions_do),
		cmocka_unit_test(finds_as_oniguruma_does),
		cmocka_unit_test(refuses_what_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
