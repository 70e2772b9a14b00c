/* SPDX-License-Identifier: MIT */
/*
 * data_pattern.c - patterns of paths.
 */
#include "test.h"

#include "data/pattern.h"

static void matches(const char *pattern, const char *file, const char *label)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_patterns p;
	const char *s;
	size_t n;

	assert_ok(pt_patterns_init(&p, &pattern, 1, &err), &err);
	if (!pt_patterns_match(&p, file, &s, &n))
		fail_msg("'%s' does not match '%s'", pattern, file);
	if (label) {
		assert_int_equal(n, strlen(label));
		assert_memory_equal(s, label, n);
	} else {
		assert_null(s);
	}
	pt_patterns_release(&p);
}

static void differs(const char *pattern, const char *file)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_patterns p;
	const char *s;
	size_t n;

	assert_ok(pt_patterns_init(&p, &pattern, 1, &err), &err);
	assert_false(pt_patterns_match(&p, file, &s, &n));
	pt_patterns_release(&p);
}

static void no_pattern(const char *pattern, const char *part)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_patterns p;

	assert_fails(pt_patterns_init(&p, &pattern, 1, &err), PT_USAGE, part, &err);
	pt_patterns_release(&p);
}

static void test_patterns(void **state)
{
	static const char *const mixed[] = { "{label}/*", "README" };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_patterns p;

	(void)state;
	matches("a.txt", "a.txt", NULL);
	matches("a.txt", "x/y/a.txt", NULL);
	differs("a.txt", "xa.txt");
	differs("a.txt", "a_txt");
	differs("a.txt", "a.txt/b");
	matches("/a.txt", "a.txt", NULL);
	matches("/a.txt", "/a.txt", NULL);
	differs("/a.txt", "x/a.txt");
	matches("train/{label}/*.txt", "set/train/pos/0_9.txt", "pos");
	differs("train/{label}/*.txt", "set/train/pos/x/0_9.txt");
	differs("train/{label}/*.txt", "set/train/0_9.txt");
	matches("train/{label:neg|pos}/*", "train/neg/1", "neg");
	differs("train/{label:neg|pos}/*", "train/unsup/1");
	differs("train/{label:neg|pos}/*", "train/negpos/1");
	matches("*_{label}.txt", "train/pos/0_10.txt", "10");
	matches("?[0-9][!a].{label}", "x1b.c++", "c++");
	differs("?[0-9][!a].{label}", "x1a.c");
	differs("a?b", "a/b");
	differs("a[!x]b", "a/b");
	matches("{label:a.b|c+}", "c+", "c+");
	differs("{label:a.b|c+}", "aXb");
	matches("a\\*b", "a*b", NULL);
	differs("a\\*b", "axb");
	matches("a|b(c)^$", "a|b(c)^$", NULL);
	no_pattern("", "empty");
	no_pattern("{label", "{label:A|B}");
	no_pattern("{lable}", "{label:A|B}");
	no_pattern("{label}/{label}", "two labels");
	no_pattern("{label:}", "an empty label");
	no_pattern("{label:a||b}", "an empty label");
	no_pattern("{label:a|}", "an empty label");
	no_pattern("[abc", "']'");
	no_pattern("[z-a]", "no pattern");
	assert_fails(pt_patterns_init(&p, mixed, 2, &err), PT_USAGE, "'{label}/*' names a label, 'README' does not", &err);
	pt_patterns_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_patterns) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
