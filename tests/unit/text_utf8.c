/* SPDX-License-Identifier: MIT */
/*
 * Replacement of invalid UTF-8; the expected strings are what Python's bytes.decode("utf-8", "replace") gives.
 */
#include "test.h"

#include "text/utf8.h"

#define R "\xef\xbf\xbd"

static void replaces_as_python_does(void **state)
{
	static const struct {
		const char *in, *out;
		size_t n, replaced;
	} t[] = {
		{ "", "", 0, 0 },
		{ "plain \xe2\x82\xac", "plain \xe2\x82\xac", 9, 0 },
		{ "a\xff" "b", "a" R "b", 3, 1 },
		{ "\xc0\x80", R R, 2, 2 },			/* overlong */
		{ "\xe2\x82" "x", R "x", 3, 1 },		/* cut short: one for the maximal subpart */
		{ "\xe2\x82", R, 2, 1 },
		{ "\xf0\x9f\x98", R, 3, 1 },
		{ "\xed\xa0\x80", R R R, 3, 3 },		/* surrogate */
		{ "\xf4\x90\x80\x80", R R R R, 4, 4 },		/* above U+10FFFF */
		{ "\xf0\x80\x80\x80", R R R R, 4, 4 },
		{ "\x80\x80" "abcdefgh\xe2", R R "abcdefgh" R, 11, 3 },
	};
	struct pt_buf b = PT_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		pt_buf_clear(&b);
		assert_int_equal(pt_utf8_replace(&b, t[i].in, t[i].n), t[i].replaced);
		assert_string_equal(b.data ? b.data : "", t[i].out);
		assert_int_equal(pt_utf8_valid(t[i].in, t[i].n) == t[i].n, t[i].replaced == 0);
	}
	pt_buf_release(&b);
}

static void steps_through_valid_text(void **state)
{
	static const uint32_t cps[] = { 0, 0x41, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff };

	(void)state;
	for (size_t i = 0; i < sizeof cps / sizeof *cps; i++) {
		char s[8] = "";
		unsigned len = 0;
		size_t n = pt_utf8_put(cps[i], s + 1);

		assert_int_equal(pt_utf8_get(s + 1, &len), cps[i]);
		assert_int_equal(len, n);
		assert_int_equal(pt_utf8_len(s[1]), n);
		assert_int_equal(pt_utf8_before(s, 1 + n, &len), cps[i]);
		assert_int_equal(len, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replaces_as_python_does),
		cmocka_unit_test(steps_through_valid_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
