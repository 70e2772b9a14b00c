/* SPDX-License-Identifier: MIT */
/*
 * What JSON is accepted, what survives a parse and a print, how numbers are
 * spelled (Python's repr), and typed access.
 */
#include "test.h"

#include <math.h>

#include "base/json.h"

static int parse(const char *text, size_t n, int flags, struct pt_error *err)
{
	/* A copy of the exact size: sanitizers see reads beyond it. */
	char *copy = malloc(n ? n : 1);
	cJSON *j;

	memcpy(copy, text, n);
	j = pt_json_parse(copy, n, flags, "f.json", err);
	free(copy);
	if (!j)
		return err->status;
	pt_json_free(j);
	return 0;
}

static void accepts(void **state)
{
	static const char *const texts[] = {
		"{}", "[]", " \t\r\n[ ] ", "0", "-0", "1.5e+3", "\"\"", "null", "true", "false",
		"[1,2,[3,{\"a\":[]}]]", "{\"\":1}", "\"\\u00e9\\ud83d\\ude00\\\"\\/\"",
		"\"caf\xc3\xa9 \xf0\x9f\x98\x80\"", "1E5", "123456789012345678901234567890",
		"{\"a\":{\"a\":1},\"b\":{\"a\":1}}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct pt_error err = PT_ERROR_INIT;

		assert_ok(parse(texts[i], strlen(texts[i]), 0, &err), &err);
	}
}

static void refuses(void **state)
{
	static const struct { const char *text, *part; } cases[] = {
		{ "", "ends too early" }, { "  ", "ends too early" }, { "[", "ends too early" },
		{ "[1", "expected" }, { "[1,]", "value expected" }, { "[,1]", "value expected" },
		{ "{\"a\"}", "':' expected" }, { "{\"a\":}", "value expected" },
		{ "{\"a\":1,}", "key in quotes" }, { "{a:1}", "key in quotes" },
		{ "{\"a\":1 \"b\":2}", "expected" }, { "01", "not a number" }, { "-", "not a number" },
		{ "+1", "value expected" }, { ".5", "value expected" }, { "1.", "not a number" },
		{ "1e", "not a number" }, { "1e+", "not a number" }, { "0x10", "bytes after" },
		{ "-01", "not a number" }, { "1e999", "range of a double" },
		{ "NaN", "value expected" }, { "Infinity", "value expected" },
		{ "nul", "value expected" }, { "truex", "bytes after" },
		{ "\"abc", "does not end" }, { "\"a\nb\"", "control character" },
		{ "\"a\tb\"", "control character" }, { "\"\\x41\"", "unknown escape" },
		{ "\"\\u12g4\"", "hexadecimal" }, { "\"\\", "unknown escape" },
		{ "\"\\u12", "hexadecimal" }, { "\"\\ud800\"", "surrogate" },
		{ "\"\\udc00\"", "surrogate" }, { "\"\\ud800\\u0041\"", "surrogate" },
		{ "\"\\u0000\"", "NUL" }, { "{} {}", "bytes after" }, { "{}x", "bytes after" },
		{ "1 // comment", "bytes after" }, { "\xef\xbb\xbf{}", "byte order mark" },
		{ "\"\xff\"", "not UTF-8" }, { "\"\xc0\xaf\"", "not UTF-8" },
		{ "\"\xed\xa0\x80\"", "not UTF-8" }, { "\"\xf4\x90\x80\x80\"", "not UTF-8" },
		{ "\"\xc3\"", "not UTF-8" }, { "\xe2\x80\xa8", "value expected" },
		{ "{\"a\":1,\"a\":2}", "key \"a\"" }, { "{\"a\":1,\"\\u0061\":2}", "duplicate" },
		{ "[[{\"x\":{\"a\":1,\"b\":1,\"a\":1}}]]", "duplicate" },
		{ "'a'", "value expected" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pt_error err = PT_ERROR_INIT;

		assert_fails(parse(cases[i].text, strlen(cases[i].text), 0, &err), PT_DATA,
			     cases[i].part, &err);
		assert_memory_equal(strstr(err.msg, "f.json"), "f.json", 6);
	}
	struct pt_error err = PT_ERROR_INIT;

	assert_fails(parse("1\0", 2, 0, &err), PT_DATA, "NUL", &err);
	assert_fails(parse("\"a\0b\"", 5, 0, &err), PT_DATA, "control character", &err);
	assert_fails(parse("\n\n  x", 5, 0, &err), PT_DATA, "line 3, column 3", &err);
}

/* Every prefix of a text with all kinds of values is refused, and never read beyond. */
static void refuses_every_cut(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2.5e-3,true,false,null],\"\\u00e9\\ud83d\\ude00\":{\"k\":\"v\xc3\xa9\"},\"c\":0}";

	(void)state;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		struct pt_error err = PT_ERROR_INIT;

		assert_int_equal(parse(text, n, 0, &err), PT_DATA);
	}
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(parse(text, sizeof text - 1, 0, &err), &err);
}

static void depth(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	char text[400];

	(void)state;
	memset(text, '[', 64);
	memset(text + 64, ']', 64);
	assert_ok(parse(text, 128, 0, &err), &err);
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	assert_fails(parse(text, 130, 0, &err), PT_DATA, "deeper than 64", &err);
	/* Depth counts open brackets, not brackets. */
	memcpy(text, "[[[]],[[]],[[]]", 15);
	text[15] = ']';
	assert_ok(parse(text, 16, 0, &err), &err);
}

static char *reprint(const char *text, int flags, int indent, struct pt_buf *b)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *j = pt_json_parse(text, strlen(text), flags, "f.json", &err);

	if (!j)
		fail_msg("%s", err.msg);
	pt_buf_clear(b);
	pt_json_print(b, j, indent);
	pt_json_free(j);
	assert_ok(pt_buf_check(b, &err), &err);
	return b->data;
}

/* Of equal keys the last value stands, at the first one's place, as in Python; in small and large objects. */
static void last_wins(void **state)
{
	struct pt_buf b = PT_BUF_INIT, big = PT_BUF_INIT, want = PT_BUF_INIT;

	(void)state;
	assert_string_equal(reprint("{\"a\":1,\"b\":2,\"a\":3}", PT_JSON_LAST_WINS, 0, &b),
			    "{\"a\":3,\"b\":2}");
	assert_string_equal(reprint("{\"a\":1,\"a\":2,\"a\":3}", PT_JSON_LAST_WINS, 0, &b), "{\"a\":3}");
	assert_string_equal(reprint("{\"b\":1,\"a\":1,\"a\":[2],\"c\":4}", PT_JSON_LAST_WINS, 0, &b),
			    "{\"b\":1,\"a\":[2],\"c\":4}");
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 100; i++)
			pt_buf_printf(&big, "%s\"k%d\":%d", big.len ? "," : "{", i, i * (round + 1));
	pt_buf_str(&big, ",\"z\":0}");
	for (int i = 0; i < 100; i++)
		pt_buf_printf(&want, "%s\"k%d\":%d", want.len ? "," : "{", i, i * 3);
	pt_buf_str(&want, ",\"z\":0}");
	assert_string_equal(reprint(big.data, PT_JSON_LAST_WINS, 0, &b), want.data);
	pt_buf_release(&b);
	pt_buf_release(&big);
	pt_buf_release(&want);
}

static void duplicates_in_large_objects(void **state)
{
	struct pt_buf b = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	for (int i = 0; i < 5000; i++)
		pt_buf_printf(&b, "%s\"k%d\":%d", i ? "," : "{", i, i);
	size_t n = b.len;

	pt_buf_str(&b, "}");
	assert_ok(parse(b.data, b.len, 0, &err), &err);
	for (int i = 0; i < 5000; i += 499) {
		b.len = n;
		pt_buf_printf(&b, ",\"k%d\":0}", i);
		assert_fails(parse(b.data, b.len, 0, &err), PT_DATA, "duplicate key", &err);
	}
	pt_buf_release(&b);
}

static void survives(void **state)
{
	static const char *const same[] = {
		"{\"z\":1,\"a\":[true,false,null],\"unknown\":{\"x\":\"y\"}}",
		"[0,0.0,-0.0,1,1.0,1e-05,1E-5,1e30,100000000000000000000,0.1,3.14159]",
		"[9007199254740992,9007199254740993,-9007199254740993,1000000000000000019884624838656]",
		"\"caf\xc3\xa9 \xe2\x80\xa8 \xf0\x9f\x98\x80 \\\" \\\\ \\n\\r\\t\\b\\f \\u001f \x7f\"",
	};
	struct pt_buf b = PT_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		assert_string_equal(reprint(same[i], 0, 0, &b), same[i]);
	assert_string_equal(reprint(" [ 1 , \"\\u00e9\\/\" ] ", 0, 0, &b), "[1,\"\xc3\xa9/\"]");
	/* Python: json.dumps(..., indent=2). */
	assert_string_equal(reprint("{\"a\":[1,{}],\"b\":{\"c\":[]}}", 0, 2, &b),
			    "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": {\n    \"c\": []\n  }\n}");
	pt_buf_release(&b);
}

/* A number set anew prints as what it is now. */
static void set_number(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;
	cJSON *j = pt_json_parse("[0.0,1e30]", 10, 0, "x", &err);

	(void)state;
	cJSON_SetNumberValue(j->child, 0.25);
	cJSON_SetNumberValue(j->child->next, 7);
	pt_json_print(&b, j, 0);
	assert_string_equal(b.data, "[0.25,7]");
	pt_json_free(j);
	pt_buf_release(&b);
}

static void prints_as_repr(void **state)
{
	/* Values and what Python's repr() makes of them; whole numbers up to 2^53 as integers. */
	static const struct { double v; const char *text; } cases[] = {
		{ 0.1, "0.1" }, { 1.0 / 3, "0.3333333333333333" }, { 2.0 / 3, "0.6666666666666666" },
		{ 1e-4, "0.0001" }, { 1e-5, "1e-05" }, { 1.25e-7, "1.25e-07" }, { 5e-324, "5e-324" },
		{ 2.2250738585072014e-308, "2.2250738585072014e-308" },
		{ 1.7976931348623157e308, "1.7976931348623157e+308" }, { 1e22, "1e+22" },
		{ 1e16, "1e+16" }, { 9007199254740994.0, "9007199254740994.0" }, { 1.5e15, "1500000000000000" },
		{ 123456.789, "123456.789" }, { 0.30000000000000004, "0.30000000000000004" },
		{ -2.5, "-2.5" }, { 3, "3" }, { -7, "-7" }, { 9007199254740992.0, "9007199254740992" },
		{ 5e-05, "5e-05" }, { 0.999, "0.999" }, { 1e-8, "1e-08" }, { 1e100, "1e+100" },
		/* A power of two, whose lower neighbour is nearer. */
		{ 0x1p-1017, "7.120236347223045e-307" }, { 0x1p-44, "5.684341886080802e-14" },
		{ (double)0.1f, "0.10000000149011612" }, { 4.35, "4.35" }, { 0.1 + 0.7, "0.7999999999999999" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pt_buf b = PT_BUF_INIT;
		cJSON *j = cJSON_CreateNumber(cases[i].v);

		pt_json_print(&b, j, 0);
		assert_string_equal(b.data, cases[i].text);
		assert_true(strtod(b.data, NULL) == cases[i].v);
		cJSON_Delete(j);
		pt_buf_release(&b);
	}
}

static void typed_members(void **state)
{
	static const char text[] =
		"{\"i\":8,\"f\":0.5,\"e\":1e3,\"b\":true,\"s\":\"x\",\"n\":null,\"big\":1e30,"
		"\"beyond\":9007199254740993,\"edge\":9007199254740992,\"huge\":1000000000000000019884624838656,"
		"\"whole\":4.0}";
	struct pt_error err = PT_ERROR_INIT;
	cJSON *j = pt_json_parse(text, strlen(text), 0, "x", &err);
	const char *s;
	int64_t i;
	double d;
	bool b;

	(void)state;
	assert_non_null(j);
	assert_ok(pt_json_int(j, "i", 1, 8, 0, &i, &err), &err);
	assert_int_equal(i, 8);
	assert_ok(pt_json_int(j, "e", 0, INT64_MAX, 0, &i, &err), &err);
	assert_int_equal(i, 1000);
	assert_ok(pt_json_int(j, "whole", 0, 10, 0, &i, &err), &err);
	assert_int_equal(i, 4);
	assert_ok(pt_json_int(j, "edge", 0, INT64_MAX, 0, &i, &err), &err);
	assert_int_equal(i, INT64_C(9007199254740992));
	assert_ok(pt_json_int(j, "n", 0, 1, -5, &i, &err), &err);
	assert_int_equal(i, -5);
	assert_ok(pt_json_int(j, "absent", 0, 1, -6, &i, &err), &err);
	assert_int_equal(i, -6);
	assert_fails(pt_json_int(j, "i", 9, 20, 0, &i, &err), PT_DATA, "\"i\"", &err);
	assert_fails(pt_json_int(j, "i", 0, 7, 0, &i, &err), PT_DATA, "out of range", &err);
	assert_fails(pt_json_int(j, "f", 0, 7, 0, &i, &err), PT_DATA, "integer expected", &err);
	assert_fails(pt_json_int(j, "s", 0, 7, 0, &i, &err), PT_DATA, "a string", &err);
	assert_fails(pt_json_int(j, "b", 0, 7, 0, &i, &err), PT_DATA, "a boolean", &err);
	/* Published tokenizer_config.json files hold 10^30: refused only when asked for as integers. */
	assert_fails(pt_json_int(j, "big", 0, INT64_MAX, 0, &i, &err), PT_DATA, "\"big\"", &err);
	assert_fails(pt_json_int(j, "huge", 0, INT64_MAX, 0, &i, &err), PT_DATA, "out of range", &err);
	assert_fails(pt_json_int(j, "beyond", 0, INT64_MAX, 0, &i, &err), PT_DATA, "out of range", &err);
	assert_ok(pt_json_double(j, "big", 0, &d, &err), &err);
	assert_true(d == 1e30);
	assert_ok(pt_json_double(j, "i", 0, &d, &err), &err);
	assert_true(d == 8);
	assert_ok(pt_json_double(j, "absent", 2.5, &d, &err), &err);
	assert_true(d == 2.5);
	assert_fails(pt_json_double(j, "s", 0, &d, &err), PT_DATA, "a number expected", &err);
	assert_ok(pt_json_bool(j, "b", false, &b, &err), &err);
	assert_true(b);
	assert_fails(pt_json_bool(j, "i", false, &b, &err), PT_DATA, "true or false", &err);
	assert_ok(pt_json_str(j, "s", NULL, &s, &err), &err);
	assert_string_equal(s, "x");
	assert_ok(pt_json_str(j, "n", "dflt", &s, &err), &err);
	assert_string_equal(s, "dflt");
	assert_fails(pt_json_str(j, "i", NULL, &s, &err), PT_DATA, "\"i\"", &err);
	assert_null(pt_json_get(j, "n"));
	assert_null(pt_json_get(j->child, "i"));
	assert_null(pt_json_get(NULL, "i"));
	pt_json_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_every_cut),
		cmocka_unit_test(depth),
		cmocka_unit_test(last_wins),
		cmocka_unit_test(duplicates_in_large_objects),
		cmocka_unit_test(survives),
		cmocka_unit_test(set_number),
		cmocka_unit_test(prints_as_repr),
		cmocka_unit_test(typed_members),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
