/* SPDX-License-Identifier: MIT */
/*
 * data_source.c - lines of text and JSONL, however the bytes come; labels.
 */
#include "test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "data/classes.h"
#include "data/source.h"

static char path[64];

static const char *write_as(const char *ending, const char *text, size_t n)
{
	static char name[96];
	struct pt_error err = PT_ERROR_INIT;

	snprintf(name, sizeof name, "%s%s", path, ending);
	assert_ok(pt_file_write(name, text, n, &err), &err);
	return name;
}

/* All lines as "row=text|", "J" before those of a JSONL file. */
static int slurp(const char *const *paths, int n, enum pt_source_format format, struct pt_buf *out,
		 struct pt_error *err)
{
	const struct pt_source_options o = { .format = format };
	struct pt_source s;
	struct pt_block b;

	*err = (struct pt_error)PT_ERROR_INIT;
	pt_buf_clear(out);
	if (!pt_source_open(&s, paths, n, &o, err))
		while (!pt_source_block(&s, &b, err) && b.n)
			for (size_t i = 0; i < b.n; i++) {
				pt_buf_printf(out, "%s%lld.%lld=", b.line[i].of->format == PT_SOURCE_JSONL ? "J" : "",
					      (long long)b.line[i].of->source,
					      (long long)b.line[i].row);
				pt_buf_add(out, b.line[i].text, b.line[i].n);
				pt_buf_char(out, '|');
			}
	pt_source_close(&s);
	return err->status;
}

static void lines(const char *ending, const char *text, enum pt_source_format format, const char *want)
{
	const char *name = write_as(ending, text, strlen(text));
	struct pt_buf out = PT_BUF_INIT;
	struct pt_error err;

	assert_ok(slurp(&name, 1, format, &out, &err), &err);
	assert_string_equal(out.data ? out.data : "", want);
	pt_buf_release(&out);
	unlink(name);
}

static void test_lines(void **state)
{
	(void)state;
	lines(".txt", "a\nb\n", PT_SOURCE_AUTO, "0.1=a|0.2=b|");
	lines(".txt", "a\n\n\r\nb", PT_SOURCE_AUTO, "0.1=a|0.4=b|");
	lines(".txt", "\xef\xbb\xbf" "a\r\nb\rc\r\n", PT_SOURCE_AUTO, "0.1=a|0.2=b\rc|");
	lines(".txt", " \n", PT_SOURCE_AUTO, "0.1= |");		/* a space is text */
	lines(".txt", "", PT_SOURCE_AUTO, "");
	lines(".txt", "a\n\nb\n", PT_SOURCE_WHOLE, "0.1=a\n\nb\n|");
	lines(".jsonl", "{}\n \t\n{}\n", PT_SOURCE_AUTO, "J0.1={}|J0.3={}|");
	lines("", "\n {\"a\":1}\n", PT_SOURCE_AUTO, "J0.2= {\"a\":1}|");
	lines("", "x {\n", PT_SOURCE_AUTO, "0.1=x {|");
	lines(".txt", "{}\n", PT_SOURCE_AUTO, "0.1={}|");		/* the name decides */
	lines("", "{}\n", PT_SOURCE_TEXT, "0.1={}|");
	lines(".txt", "{}\n", PT_SOURCE_JSONL, "J0.1={}|");
	lines(".jsonl", "{}\n{}\n", PT_SOURCE_WHOLE, "J0.1={}|J0.2={}|");
}

static void test_files(void **state)
{
	char first[96], second[96];
	const char *both[] = { first, second };
	struct pt_buf out = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	strcpy(first, write_as(".a.txt", "no newline at the end", 21));
	strcpy(second, write_as(".b.jsonl", "{}\n", 3));
	assert_true(pt_source_regular(both, 2));
	assert_false(pt_source_regular(both, 0));
	assert_ok(slurp(both, 2, PT_SOURCE_AUTO, &out, &err), &err);
	assert_string_equal(out.data, "0.1=no newline at the end|J1.1={}|");
	/* A file that is missing is named before the first line is read. */
	unlink(second);
	assert_fails(slurp(both, 2, PT_SOURCE_AUTO, &out, &err), PT_FAIL, ".b.jsonl: No such file", &err);
	assert_int_equal(out.len, 0);
	both[1] = "/tmp";
	assert_fails(slurp(both, 2, PT_SOURCE_AUTO, &out, &err), PT_FAIL, "is a directory", &err);
	unlink(first);
	pt_buf_release(&out);
}

static void refused(const char *ending, const char *bytes, size_t n, const char *part)
{
	const char *name = write_as(ending, bytes, n);
	struct pt_buf out = PT_BUF_INIT;
	struct pt_error err;

	assert_fails(slurp(&name, 1, PT_SOURCE_AUTO, &out, &err), PT_DATA, part, &err);
	unlink(name);
	pt_buf_release(&out);
}

static void test_wrong(void **state)
{
	(void)state;
	refused(".jsonl", "[\n{}]\n", 6, "jq -c '.[]'");
	refused(".gz", "\x1f\x8b\x08\0\0\0\0\0\0\0", 10, "the gzip data is cut short");
	refused("", "PAR1xxxxxxxx", 12, "Parquet");
	refused("", "GGUF\3\0\0\0", 8, "GGUF");
}

/* Through a pipe, in pieces of any size: the same lines. */
static void test_pieces(void **state)
{
	static const int sizes[] = { 1, 3, 1000, 100000 };
	const char *name = write_as(".fifo", "", 0);
	struct pt_buf text = PT_BUF_INIT, want = PT_BUF_INIT, out = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	for (int i = 1; i < 400; i++) {
		for (int k = 0; k < i * 7 % 50 + (i == 200) * 70000; k++) {
			pt_buf_char(&text, (char)('a' + k % 26));
		}
		pt_buf_str(&text, i % 3 ? "\n" : "\r\n");
	}
	pt_buf_str(&text, "end");
	assert_ok(pt_file_write(name, text.data, text.len, &err), &err);
	assert_ok(slurp(&name, 1, PT_SOURCE_TEXT, &want, &err), &err);
	unlink(name);
	for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
		pid_t pid;

		/* Byte by byte the long line takes its time. */
		assert_int_equal(mkfifo(name, 0600), 0);
		pid = fork();
		if (!pid) {
			int fd = open(name, O_WRONLY);

			for (size_t at = 0, n; at < text.len; at += n) {
				n = text.len - at < (size_t)sizes[s] ? text.len - at : (size_t)sizes[s];
				if (write(fd, text.data + at, n) != (ssize_t)n)
					_exit(1);
			}
			_exit(0);
		}
		assert_ok(slurp(&name, 1, PT_SOURCE_TEXT, &out, &err), &err);
		waitpid(pid, NULL, 0);
		unlink(name);
		assert_string_equal(out.data, want.data);
	}
	pt_buf_release(&text);
	pt_buf_release(&want);
	pt_buf_release(&out);
}

static void sorted(const char *given, const char *want)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf json = PT_BUF_INIT;
	struct pt_classes l;
	char names[100];

	pt_classes_init(&l);
	snprintf(names, sizeof names, "%s", given);
	for (char *p = strtok(names, ","); p; p = strtok(NULL, ","))
		assert_ok(pt_classes_add(&l, p, &err), &err);
	assert_ok(pt_classes_sort(&l, &err), &err);
	pt_classes_json(&l, &json);
	assert_string_equal(json.data, want);
	for (size_t i = 0; i < l.n; i++)
		assert_int_equal(pt_classes_find(&l, l.name[i]), i);
	assert_int_equal(pt_classes_find(&l, "never"), -1);
	pt_buf_release(&json);
	pt_classes_release(&l);
}

static void test_labels(void **state)
{
	(void)state;
	sorted("10,9,-1,2.5,1e1x", "[\"-1\",\"10\",\"1e1x\",\"2.5\",\"9\"]");	/* one is no number: bytes */
	sorted("10,9,-1,2.5,1e2", "[\"-1\",\"2.5\",\"9\",\"10\",\"1e2\"]");
	sorted("b,a,B,\xc3\xa9", "[\"B\",\"a\",\"b\",\"\xc3\xa9\"]");
	sorted("inf,1", "[\"1\",\"inf\"]");
	sorted("a,b,a", "[\"a\",\"b\"]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_labels),
	};

	snprintf(path, sizeof path, "/tmp/peft-source.%d", (int)getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
