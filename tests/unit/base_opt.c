/* SPDX-License-Identifier: MIT */
/*
 * Options: values, ranges, what is refused and how it is said, --help.
 */
#include "test.h"

#include <math.h>

#include "base/opt.h"

static struct values {
	bool fast, slow, given, factor_given;
	int verbose, kind;
	int64_t n, any;
	double x, y, factor;
	const char *file;
	struct pt_opt_list list;
} v;

static const struct pt_opt opts[] = {
	{ .name = "fast", .letter = 'f', .type = PT_OPT_FLAG, .value = &v.fast, .negatable = true,
	  .given = &v.given, .help = "be fast" },
	{ .name = "slow", .type = PT_OPT_FLAG, .value = &v.slow, .help = "be slow" },
	{ .name = "verbose", .letter = 'v', .type = PT_OPT_COUNT, .value = &v.verbose, .help = "more" },
	{ .name = "number", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &v.n,
	  .min = 1, .max = 1e6, .help = "how many" },
	{ .name = "any", .type = PT_OPT_INT, .arg = "N", .value = &v.any, .help = "any number" },
	{ .name = "rate", .letter = 'x', .type = PT_OPT_FLOAT, .arg = "X", .value = &v.x,
	  .min = 0, .max = 1, .help = "a rate" },
	{ .name = "real", .type = PT_OPT_FLOAT, .arg = "X", .value = &v.y, .help = "any real number" },
	{ .name = "factor", .type = PT_OPT_FLOAT, .arg = "X", .value = &v.factor, .max = 2, .optional = true,
	  .given = &v.factor_given, .help = "a factor" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &v.file,
	  .empty = true,
	  .help = "where to" },
	{ .name = "kind", .letter = 'k', .type = PT_OPT_CHOICE, .choices = "red|green|blue",
	  .value = &v.kind, .help = "which" },
	{ .name = "add-a-very-long-name-here", .letter = 'l', .type = PT_OPT_LIST, .arg = "WORD",
	  .value = &v.list, .help = "one more" },
	{ 0 }
};
static const struct pt_opt_spec spec = { "peft-x", "[options] [FILE ...]", "Does x.", opts };

static struct pt_error err;
static int operand;
static bool help, version;

/* Arguments up to NULL. */
static int parse(const char *first, ...)
{
	char *argv[32] = { (char *)"peft-x" };
	int argc = 1;
	va_list ap;

	err = (struct pt_error)PT_ERROR_INIT;
	va_start(ap, first);
	for (const char *a = first; a; a = va_arg(ap, const char *))
		argv[argc++] = (char *)(uintptr_t)a;
	va_end(ap);
	pt_opt_list_release(&v.list);
	v = (struct values){ 0 };
	return pt_opt_parse(&spec, argc, argv, &operand, &help, &version, &err);
}

static void values(void **state)
{
	(void)state;
	assert_ok(parse("-f", "-vv", "-n", "12", "--rate=0.25", "-ofile", "--kind", "green",
			"-l", "a", "-lb", "in", "-f", "out", NULL), &err);
	assert_true(v.fast && v.given && !v.slow);
	assert_int_equal(v.verbose, 2);
	assert_int_equal(v.n, 12);
	assert_true(v.x == 0.25);
	assert_string_equal(v.file, "file");
	assert_int_equal(v.kind, 1);
	assert_int_equal(v.list.n, 2);
	assert_string_equal(v.list.item[0], "a");
	assert_string_equal(v.list.item[1], "b");
	/* The operands are the last. */
	assert_int_equal(operand, 13);
	assert_false(help || version);

	assert_ok(parse("--fast", "--no-fast", "--", "-n", NULL), &err);
	assert_false(v.fast);
	assert_true(v.given);
	assert_int_equal(operand, 4);
	assert_ok(parse(NULL), &err);
	assert_int_equal(operand, 1);
	assert_false(v.given);
	assert_ok(parse("-", "x", NULL), &err);
	assert_int_equal(operand, 1);
	assert_ok(parse("-h", NULL), &err);
	assert_true(help);
	assert_ok(parse("--version", NULL), &err);
	assert_true(version && !help);
	/* An argument that may be left out stands behind a sign. */
	assert_ok(parse("--factor", "1", NULL), &err);
	assert_true(v.factor_given && v.factor == 0);
	assert_int_equal(operand, 2);
	assert_ok(parse("--factor=1.5", "1", NULL), &err);
	assert_true(v.factor_given && v.factor == 1.5);
	assert_ok(parse("--outp", "x", NULL), &err);
	assert_string_equal(v.file, "x");
	assert_ok(parse("-o", "", NULL), &err);
	assert_string_equal(v.file, "");
}

static void refused(void **state)
{
	(void)state;
	assert_fails(parse("-n", "0", NULL), PT_USAGE, "option -n: 0 is out of range (1 to 1000000)", &err);
	assert_fails(parse("--number=1000001", NULL), PT_USAGE, "option --number", &err);
	assert_fails(parse("-n", "x", NULL), PT_USAGE, "'x' is not a whole number", &err);
	assert_fails(parse("-n", "", NULL), PT_USAGE, "not a whole number", &err);
	assert_fails(parse("-n", "1.5", NULL), PT_USAGE, "not a whole number", &err);
	assert_fails(parse("-n", NULL), PT_USAGE, "option -n needs an argument: N", &err);
	assert_fails(parse("--number", NULL), PT_USAGE, "option --number needs an argument: N", &err);
	assert_fails(parse("-x", "1.01", NULL), PT_USAGE, "out of range (0 to 1)", &err);
	assert_fails(parse("-x", "nan", NULL), PT_USAGE, "not a number", &err);
	assert_fails(parse("-x", "0x1", NULL), PT_USAGE, "not a number", &err);
	assert_fails(parse("--factor=3", NULL), PT_USAGE, "option --factor: 3 is out of range", &err);
	assert_fails(parse("--factor=", NULL), PT_USAGE, "not a number", &err);
	assert_fails(parse("--real", "inf", NULL), PT_USAGE, "not a number", &err);
	assert_fails(parse("--real", "1e999", NULL), PT_USAGE, "too large", &err);
	assert_fails(parse("-k", "gree", NULL), PT_USAGE, "'gree' is none of red|green|blue", &err);
	assert_fails(parse("-k", "red|green", NULL), PT_USAGE, "none of", &err);
	assert_fails(parse("-k", "", NULL), PT_USAGE, "none of", &err);
	assert_fails(parse("-z", NULL), PT_USAGE, "unknown option -z", &err);
	assert_fails(parse("-fz", NULL), PT_USAGE, "unknown option -z", &err);
	assert_fails(parse("--nope", NULL), PT_USAGE, "'--nope'", &err);
	assert_fails(parse("--no-slow", NULL), PT_USAGE, "'--no-slow'", &err);
	assert_fails(parse("--fast=1", NULL), PT_USAGE, "--fast takes no argument", &err);
	assert_fails(parse("--no-fast=1", NULL), PT_USAGE, "--no-fast takes no argument", &err);
	assert_fails(parse("--help=1", NULL), PT_USAGE, "takes no argument", &err);
	assert_fails(parse("--r", "1", NULL), PT_USAGE, "ambiguous", &err);
}

static int number(const char *text, int64_t *out)
{
	err = (struct pt_error)PT_ERROR_INIT;
	return pt_parse_int(text, INT64_MIN, INT64_MAX, out, &err);
}

static void suffixes(void **state)
{
	static const struct { const char *text; int64_t want; } good[] = {
		{ "0", 0 }, { "-5", -5 }, { "+5", 5 }, { "2k", 2000 }, { "3M", 3000000 },
		{ "4G", INT64_C(4000000000) }, { "2Ki", 2048 }, { "3Mi", 3 << 20 },
		{ "4Gi", INT64_C(4) << 30 }, { "007", 7 },
		{ "9223372036854775807", INT64_MAX }, { "-9223372036854775808", INT64_MIN },
	};
	static const char *const bad[] = {
		"", "-", "k", "1K", "1m", "1g", "1kk", "1k ", " 1", "1 k", "0x10", "1e3", "--1", "1i",
		"9223372036854775808", "9223372036854775807k", "10000000000G", "-9223372036854775809",
	};
	int64_t x = 0;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_ok(number(good[i].text, &x), &err);
		assert_true(x == good[i].want);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (number(bad[i], &x) != PT_USAGE)
			fail_msg("'%s' was taken for %lld", bad[i], (long long)x);
	/* A table without a range takes every number, one with a huge one too. */
	assert_ok(parse("--any", "-9223372036854775808", "--real", "-1e300", NULL), &err);
	assert_true(v.any == INT64_MIN && v.y == -1e300);
}

static void help_text(void **state)
{
	struct pt_buf b = PT_BUF_INIT;

	(void)state;
	pt_opt_help(&spec, &b);
	assert_string_equal(b.data,
		"Usage: peft-x [options] [FILE ...]\n"
		"Does x.\n"
		"\n"
		"Options:\n"
		"  -f, --[no-]fast             be fast\n"
		"      --slow                  be slow\n"
		"  -v, --verbose               more\n"
		"  -n, --number N              how many\n"
		"      --any N                 any number\n"
		"  -x, --rate X                a rate\n"
		"      --real X                any real number\n"
		"      --factor[=X]            a factor\n"
		"  -o, --output FILE           where to\n"
		"  -k, --kind red|green|blue   which\n"
		"  -l, --add-a-very-long-name-here WORD\n"
		"                              one more\n"
		"  -h, --help                  show this text\n"
		"  -V, --version               show the version\n");
	pt_buf_release(&b);
}

static int teardown(void **state)
{
	(void)state;
	pt_opt_list_release(&v.list);
	return 0;
}

/* What goes together, and what is in vain. */
static void together(void **state)
{
	static int64_t a, b, c;
	static bool d, e;
	static const char *text, *any;
	static const struct pt_opt some[] = {
		{ .name = "a", .type = PT_OPT_INT, .arg = "N", .value = &a, .excludes = "c|b" },
		{ .name = "b", .type = PT_OPT_INT, .arg = "N", .value = &b },
		{ .name = "c", .type = PT_OPT_INT, .arg = "N", .value = &c, .wants = "text|bb" },
		{ .name = "d", .type = PT_OPT_FLAG, .value = &d, .wants = "b" },
		{ .name = "e", .type = PT_OPT_FLAG, .value = &e, .wants = "b", .negatable = true },
		{ .name = "text", .letter = 't', .type = PT_OPT_STRING, .arg = "X", .value = &text },
		{ .name = "any", .type = PT_OPT_STRING, .arg = "X", .value = &any, .empty = true },
		{ .name = "bb", .type = PT_OPT_STRING, .arg = "X", .value = &any },
		{ 0 }
	};
	static const struct { const char *arg[3], *message; } cases[] = {
		{ { "--a=1", "--text=x" }, NULL },
		{ { "--a=1", "--b=1" }, "--a and --b do not go together" },
		{ { "--bb=x", "--a=1" }, NULL },
		{ { "--c=1" }, "--c has no effect without --text" },
		{ { "--c=1", "-tx" }, NULL },
		{ { "--c=1", "--bb=1" }, NULL },
		{ { "--c=1", "--b=1" }, "--c has no effect without --text" },
		{ { "--d" }, "--d has no effect without --b" },
		{ { "--d", "--b=1" }, NULL },
		{ { "--e" }, "--e has no effect without --b" },
		{ { "--no-e" }, NULL },
		{ { "--e", "--no-e" }, NULL },
		{ { "--d", "--help" }, NULL },
		{ { "--text=" }, "option --text: the argument is empty" },
		{ { "-t", "" }, "option -t: the argument is empty" },
		{ { "--any=" }, NULL },
	};
	struct pt_opt_spec its = { "peft-x", "", "", some };

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *argv[5] = { (char *)"peft-x" };
		int argc = 1;

		for (int k = 0; k < 3 && cases[i].arg[k]; k++)
			argv[argc++] = (char *)(uintptr_t)cases[i].arg[k];
		err = (struct pt_error)PT_ERROR_INIT;
		if (cases[i].message)
			assert_fails(pt_opt_parse(&its, argc, argv, &operand, &help, &version, &err), PT_USAGE, cases[i].message, &err);
		else
			assert_ok(pt_opt_parse(&its, argc, argv, &operand, &help, &version, &err), &err);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(refused),
		cmocka_unit_test(suffixes),
		cmocka_unit_test(help_text),
		cmocka_unit_test(together),
	};

	return cmocka_run_group_tests(tests, NULL, teardown);
}
