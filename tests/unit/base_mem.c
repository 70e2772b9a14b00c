/* SPDX-License-Identifier: MIT */
/*
 * Errors, checked memory, buffers, digests, the map, UTF-8, logging.
 */
#include "test.h"

#include <errno.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

static void errors(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	char big[3000];

	(void)state;
	assert_int_equal(pt_error(&err, PT_DATA, "%s: bad", "f"), PT_DATA);
	assert_int_equal(err.status, PT_DATA);
	assert_string_equal(err.msg, "f: bad");
	assert_int_equal(pt_error_prefix(&err, "step %d", 3), PT_DATA);
	assert_string_equal(err.msg, "step 3: f: bad");
	errno = ENOENT;
	assert_int_equal(pt_error_errno(&err, "%s", "g"), PT_FAIL);
	assert_string_equal(err.msg, "g: No such file or directory");
	pt_error(&err, PT_FAIL, "a/.b.tmp/c: cannot write a/.b.tmp");
	pt_error_rename(&err, "a/.b.tmp", "a/new-name");
	assert_string_equal(err.msg, "a/new-name/c: cannot write a/.b.tmp");
	pt_error_rename(&err, "not there", "x");
	assert_string_equal(err.msg, "a/new-name/c: cannot write a/.b.tmp");
	assert_int_equal(err.status, PT_FAIL);
	assert_int_equal(pt_error(NULL, PT_NUMERIC, "x"), PT_NUMERIC);
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	pt_error(&err, PT_FAIL, "%s", big);
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	assert_string_equal(err.msg + sizeof err.msg - 4, "...");
	pt_error_prefix(&err, "front");
	assert_memory_equal(err.msg, "front: xxx", 10);
	pt_error_rename(&err, "front", big);
	assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
	assert_true(memchr(err.msg, 0, sizeof err.msg) != NULL);
	errno = EIO;
	pt_error_errno(&err, "%s", big);
	assert_true(memchr(err.msg, 0, sizeof err.msg) != NULL);
}

static void memory(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	size_t n, cap = 0;
	int *a = NULL;
	char *p;

	(void)state;
	assert_false(pt_mul_size(SIZE_MAX / 2, 3, &n));
	assert_false(pt_add_size(SIZE_MAX, 1, &n));
	assert_true(pt_mul_size(6, 7, &n) && n == 42);
	assert_null(pt_malloc(SIZE_MAX, 2, &err));
	assert_int_equal(err.status, PT_FAIL);
	assert_null(pt_calloc(SIZE_MAX / 2, 1, &err));
	assert_null(pt_realloc(NULL, (size_t)1 << 62, 4, &err));
	p = pt_malloc(0, 8, &err);
	assert_non_null(p);
	free(p);
	for (int i = 0; i < 1000; i++) {
		assert_ok(pt_grow(&a, &cap, (size_t)i + 1, sizeof *a, &err), &err);
		a[i] = i;
	}
	for (int i = 0; i < 1000; i++)
		assert_int_equal(a[i], i);
	assert_true(cap < 4000);
	assert_int_equal(pt_grow(&a, &cap, SIZE_MAX / 2, sizeof *a, &err), PT_FAIL);
	assert_int_equal(a[999], 999);
	free(a);
	p = pt_strndup("hello", 3, &err);
	assert_string_equal(p, "hel");
	free(p);
	p = pt_strndup("hi", 30, &err);
	assert_string_equal(p, "hi");
	free(p);
	p = pt_format(&err, "%d-%s", 5, "x");
	assert_string_equal(p, "5-x");
	free(p);
}

static void buffers(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;
	char big[500];

	(void)state;
	pt_buf_str(&b, "");
	assert_string_equal(b.data, "");
	pt_buf_str(&b, "ab");
	pt_buf_char(&b, 'c');
	pt_buf_add(&b, "\0d", 2);
	pt_buf_zero(&b, 2);
	assert_int_equal(b.len, 7);
	assert_memory_equal(b.data, "abc\0d\0\0", 8);
	pt_buf_clear(&b);
	memset(big, 'y', sizeof big - 1);
	big[sizeof big - 1] = '\0';
	for (size_t n = 120; n < 140; n++) {
		pt_buf_clear(&b);
		pt_buf_printf(&b, "%.*s|", (int)n, big);
		assert_int_equal(b.len, n + 1);
		assert_int_equal(b.data[n], '|');
		assert_int_equal(b.data[n + 1], 0);
	}
	pt_buf_clear(&b);
	pt_buf_printf(&b, "%s%s", big, big);
	assert_int_equal(b.len, 998);
	assert_ok(pt_buf_check(&b, &err), &err);
	/* A failure is remembered, and what was there stays. */
	assert_null(pt_buf_reserve(&b, SIZE_MAX - 100));
	assert_int_equal(pt_buf_check(&b, &err), PT_FAIL);
	assert_int_equal(b.len, 998);
	pt_buf_clear(&b);
	assert_ok(pt_buf_check(&b, &err), &err);
	pt_buf_json(&b, "a\"\\\n\x01\xff\xc3\xa9\xe2\x82", 10);
	assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\"");
	pt_buf_clear(&b);
	pt_buf_printable(&b, "a\x1b[31m\xc3\xa9\xff\xc2\x9b\x7f", 12);
	assert_string_equal(b.data, "a\\x1B[31m\xc3\xa9\\xFF\\xC2\\x9B\\x7F");
	pt_buf_release(&b);
	pt_buf_release(&b);
}

static void digests(void **state)
{
	struct pt_hash a, b;
	uint64_t v;

	(void)state;
	/* XXH64 with seed 0, from its specification. */
	assert_true(pt_hash64("", 0) == UINT64_C(0xef46db3751d8e999));
	assert_true(pt_hash64("a", 1) == UINT64_C(0xd24ec4f1a98c6e5b));
	assert_true(pt_hash64("abc", 3) == UINT64_C(0x44bc2cf5ad770999));
	pt_hash_init(&a);
	assert_true(pt_hash_value(&a) == UINT64_C(0xef46db3751d8e999));
	pt_hash_add(&a, "a", 1);
	(void)pt_hash_value(&a);
	pt_hash_add(&a, "bc", 2);
	assert_true(pt_hash_value(&a) == UINT64_C(0x44bc2cf5ad770999));
	/* Strings carry their length. */
	pt_hash_init(&a);
	pt_hash_init(&b);
	pt_hash_str(&a, "ab");
	pt_hash_str(&a, "c");
	pt_hash_str(&b, "a");
	pt_hash_str(&b, "bc");
	assert_true(pt_hash_value(&a) != pt_hash_value(&b));
	pt_hash_init(&a);
	pt_hash_init(&b);
	pt_hash_u64(&a, UINT64_C(0x0807060504030201));
	pt_hash_add(&b, "\1\2\3\4\5\6\7\10", 8);
	assert_true(pt_hash_value(&a) == pt_hash_value(&b));
	assert_string_equal(pt_hex64(UINT64_C(0x0123456789abcdef)).s, "0123456789abcdef");
	assert_true(pt_unhex64("0123456789abcdef", &v) && v == UINT64_C(0x0123456789abcdef));
	assert_false(pt_unhex64("0123456789abcde", &v));
	assert_false(pt_unhex64("0123456789abcdef0", &v));
	assert_false(pt_unhex64("0123456789ABCDEF", &v));
	assert_false(pt_unhex64("", &v));
}

static void map(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	enum { N = 5000 };
	static char keys[N][16];
	struct pt_map m;
	int64_t old;

	(void)state;
	assert_ok(pt_map_init(&m, 0, &err), &err);
	assert_int_equal(pt_map_get(&m, "x", 1), -1);
	for (int i = 0; i < N; i++) {
		snprintf(keys[i], sizeof keys[i], "key%d", i);
		assert_ok(pt_map_put(&m, keys[i], strlen(keys[i]), i, &old, &err), &err);
		assert_int_equal(old, -1);
	}
	assert_int_equal(m.count, N);
	for (int i = 0; i < N; i++)
		assert_int_equal(pt_map_get(&m, keys[i], strlen(keys[i])), i);
	assert_int_equal(pt_map_get(&m, "key", 3), -1);
	assert_ok(pt_map_put(&m, "key7", 4, 99, &old, &err), &err);
	assert_int_equal(old, 7);
	assert_int_equal(pt_map_get(&m, "key7", 4), 99);
	assert_int_equal(m.count, N);
	/* Any bytes are keys, the empty string too. */
	assert_ok(pt_map_put(&m, "", 0, 5, NULL, &err), &err);
	assert_ok(pt_map_put(&m, "a\0b", 3, 6, NULL, &err), &err);
	assert_int_equal(pt_map_get(&m, NULL, 0), 5);
	assert_int_equal(pt_map_get(&m, "a\0b", 3), 6);
	assert_int_equal(pt_map_get(&m, "a\0c", 3), -1);
	pt_map_release(&m);
	assert_int_equal(pt_map_get(&m, "a", 1), -1);
}

static void utf8(void **state)
{
	/* Ill-formed text, and the lengths of what one U+FFFD replaces in Python. */
	static const struct { const char *s; size_t n; int lengths[6]; } bad[] = {
		{ "\x80", 1, { 1 } }, { "\xff", 1, { 1 } }, { "\xc0\xaf", 2, { 1, 1 } },
		{ "\xe2\x82", 2, { 2 } }, { "\xf0\x9f\x98", 3, { 3 } }, { "\xe0\x80\x80", 3, { 1, 1, 1 } },
		{ "\xed\xa0\x80", 3, { 1, 1, 1 } }, { "\xf4\x90\x80\x80", 4, { 1, 1, 1, 1 } },
		{ "\xf0\x80\x80", 3, { 1, 1, 1 } }, { "\xc3\xc3", 2, { 1, 1 } },
		{ "\xe2\x82\xe2\x82", 4, { 2, 2 } }, { "\xf5\x80", 2, { 1, 1 } },
	};
	uint32_t cp;
	char out[4];

	(void)state;
	for (uint32_t c = 0; c < 0x110000; c++) {
		if (c >= 0xd800 && c < 0xe000)
			continue;
		size_t n = pt_utf8_put(c, out);

		assert_int_equal(pt_utf8_next(out, n, &cp), n);
		assert_int_equal(cp, c);
		for (size_t k = 1; k < n; k++) {
			assert_int_equal(pt_utf8_next(out, k, &cp), k);
			assert_int_equal(cp, UINT32_MAX);
		}
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		size_t at = 0;

		assert_int_equal(pt_utf8_valid(bad[i].s, bad[i].n), 0);
		for (int k = 0; at < bad[i].n; k++) {
			size_t n = pt_utf8_next(bad[i].s + at, bad[i].n - at, &cp);

			assert_int_equal(cp, UINT32_MAX);
			assert_int_equal(n, bad[i].lengths[k]);
			at += n;
		}
	}
	for (size_t at = 0; at < 20; at++) {
		char text[21] = "abcdefghijklmnopqrst";

		assert_int_equal(pt_utf8_valid(text, 20), 20);
		text[at] = (char)0xff;
		assert_int_equal(pt_utf8_valid(text, 20), at);
	}
	assert_int_equal(pt_utf8_valid("", 0), 0);
}

static char logged[100];

static void on_log(enum pt_log_level level, const char *msg, void *arg)
{
	snprintf(logged, sizeof logged, "%d %s %s", level, (const char *)arg, msg);
}

static void logging(void **state)
{
	char arg[] = "arg";

	(void)state;
	pt_log(PT_WARN, "dropped");
	pt_log_set(on_log, arg);
	pt_log(PT_FACT, "n=%d", 3);
	assert_string_equal(logged, "1 arg n=3");
	pt_log_set(NULL, NULL);
	pt_log(PT_WARN, "dropped");
	assert_string_equal(logged, "1 arg n=3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors),
		cmocka_unit_test(memory),
		cmocka_unit_test(buffers),
		cmocka_unit_test(digests),
		cmocka_unit_test(map),
		cmocka_unit_test(utf8),
		cmocka_unit_test(logging),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
