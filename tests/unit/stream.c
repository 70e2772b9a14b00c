/* SPDX-License-Identifier: MIT */
/*
 * stream.c - the stream's reader and writer: round trips, every cut and every
 * flipped bit refused, segments, FAIL, the canonical digest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "io/kinds.h"
#include "io/record.h"
#include "io/stream.h"

static char path[64];

static struct pt_buf slurp(void)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;

	assert_int_equal(pt_file_read(path, 1u << 30, &b, &err), 0);
	return b;
}

/* Examples first..last, each of a length of its own, in records of per examples. */
static void put_examples(struct pt_writer *w, int first, int last, int per, bool classes)
{
	struct pt_error err = PT_ERROR_INIT;
	int64_t index[64], offsets[65];
	int32_t ids[2048], cls[64];

	for (int i = first; i < last; i += per) {
		struct pt_examples x = { .index = index, .offsets = offsets, .input_ids = ids };
		struct pt_st_build b;

		offsets[0] = 0;
		for (int k = i; k < last && k < i + per; k++) {
			int64_t len = k % 5;

			index[x.n] = k;
			cls[x.n] = k % 3;
			for (int64_t t = 0; t < len; t++)
				ids[x.tokens++] = (int32_t)(k * 7 + t) % 100;
			offsets[++x.n] = x.tokens;
		}
		x.cls = classes ? cls : NULL;
		pt_st_build_init(&b);
		pt_examples_build(&x, PT_KIND_EXAMPLES, &b);
		assert_int_equal(pt_writer_data(w, &b, &err), 0);
		pt_st_build_release(&b);
	}
}

static struct pt_writer *open_examples(bool zstd, const char *vocab)
{
	struct pt_writer_options o = { .path = path, .tool = "peft-tokenize", .kind = "examples", .zstd = zstd };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_writer *w;
	struct pt_st_build b;

	assert_int_equal(pt_writer_open(&w, &o, &err), 0);
	pt_st_build_init(&b);
	pt_st_build_meta(&b, "tokenizer", "0123456789abcdef");
	pt_st_build_meta(&b, "vocab_size", vocab);
	pt_st_build_meta(&b, "task", "class");
	pt_st_build_meta(&b, "labels", "[\"a\",\"b\",\"c\"]");
	assert_int_equal(pt_writer_head(w, &b, NULL, 0, "--max-length 8", &err), 0);
	pt_st_build_release(&b);
	return w;
}

static struct pt_buf make(bool zstd, int n, int per, const char *vocab)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_writer *w = open_examples(zstd, vocab);

	put_examples(w, 0, n, per, true);
	if (pt_writer_end(w, NULL, NULL, 0, false, &err))
		fail_msg("%s", err.msg);
	pt_writer_close(w);
	return slurp();
}

/* Reads all; the status, and what came. */
static int consume(const void *data, size_t n, uint64_t *digest, int *records, struct pt_error *err)
{
	const struct pt_record *rec;
	struct pt_reader *r;
	int status;

	*err = (struct pt_error)PT_ERROR_INIT;
	if (records)
		*records = 0;
	status = pt_reader_open_memory(&r, data, n, NULL, 0, err);
	if (status)
		return status;
	do {
		status = pt_reader_next(r, &rec, err);
		if (!status && rec && rec->type == PT_RECORD && records)
			++*records;
	} while (!status && rec);
	if (digest)
		*digest = pt_reader_digest(r);
	if (!status)
		assert_true(pt_reader_ended(r));
	else
		assert_int_equal(pt_reader_next(r, &rec, err), status);	/* failed once, failed for good */
	pt_reader_close(r);
	return status;
}

static void test_round_trip(void **state)
{
	struct pt_error err;
	uint64_t digest[4];
	int records;
	struct pt_buf b;

	(void)state;
	b = make(false, 20, 20, "100");
	assert_int_equal(b.len % 64, 0);
	assert_memory_equal(b.data + 8, "{\"__metadata__\":{\"pts\":\"head\"", 29);
	assert_int_equal(consume(b.data, b.len, &digest[0], &records, &err), 0);
	assert_int_equal(records, 1);
	pt_buf_release(&b);
	/* Other boundaries, compressed: the same digest. */
	b = make(false, 20, 3, "100");
	assert_int_equal(consume(b.data, b.len, &digest[1], &records, &err), 0);
	assert_int_equal(records, 7);
	pt_buf_release(&b);
	b = make(true, 20, 7, "100");
	assert_memory_equal(b.data, "\x28\xb5\x2f\xfd", 4);
	assert_int_equal(consume(b.data, b.len, &digest[2], &records, &err), 0);
	pt_buf_release(&b);
	assert_true(digest[0] == digest[1] && digest[0] == digest[2]);
	/* Other content, another digest. */
	b = make(false, 19, 19, "100");
	assert_int_equal(consume(b.data, b.len, &digest[3], NULL, &err), 0);
	pt_buf_release(&b);
	assert_true(digest[0] != digest[3]);
	b = make(false, 20, 20, "101");
	assert_int_equal(consume(b.data, b.len, &digest[3], NULL, &err), 0);
	pt_buf_release(&b);
	assert_true(digest[0] != digest[3]);
}

static void test_same_bytes(void **state)
{
	struct pt_buf a = make(false, 12, 4, "100"), b = make(false, 12, 4, "100");

	(void)state;
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	pt_buf_release(&a);
	pt_buf_release(&b);
}

static void every_cut(bool zstd)
{
	struct pt_buf b = make(zstd, 9, 3, "100");
	struct pt_error err;

	for (size_t n = 0; n < b.len; n++) {
		char *copy = malloc(n + 1);	/* of this size, so that sanitizers see a read beyond */

		memcpy(copy, b.data, n);
		if (consume(copy, n, NULL, NULL, &err) != PT_DATA)
			fail_msg("cut at %zu of %zu: status %d %s", n, b.len, err.status, err.msg);
		assert_null(strchr(err.msg, '\n'));
		free(copy);
	}
	/* What follows the end is refused as well. */
	pt_buf_zero(&b, 1);
	assert_int_equal(consume(b.data, b.len, NULL, NULL, &err), PT_DATA);
	pt_buf_release(&b);
}

static void test_cuts(void **state)
{
	(void)state;
	every_cut(false);
	every_cut(true);
}

static void every_flip(bool zstd)
{
	struct pt_buf b = make(zstd, 9, 3, "100");
	struct pt_error err;
	uint64_t digest, is;
	int harmless = 0;

	assert_int_equal(consume(b.data, b.len, &digest, NULL, &err), 0);
	for (size_t i = 0; i < b.len * 8; i++) {
		int status;

		b.data[i / 8] ^= (char)(1 << i % 8);
		status = consume(b.data, b.len, &is, NULL, &err);
		if (status == 0 && zstd && is == digest)
			harmless++;		/* a bit that zstd does not use */
		else if (status != PT_DATA)
			fail_msg("bit %zu of byte %zu: status %d %s", i % 8, i / 8, status, err.msg);
		b.data[i / 8] ^= (char)(1 << i % 8);
	}
	/* Reserved bits of frame headers and the like: few. */
	assert_true(harmless * 100 < (int)b.len * 8);
	pt_buf_release(&b);
}

static void test_flips(void **state)
{
	(void)state;
	every_flip(false);
	every_flip(true);
}

static void test_records_missing(void **state)
{
	struct pt_buf b = make(false, 9, 3, "100"), c = PT_BUF_INIT;
	size_t at[8], n = 0, need, total;
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < b.len; i += total) {
		assert_int_equal(pt_st_extent(b.data + i, b.len - i, &need, &total, &err), 0);
		at[n++] = i;
	}
	at[n] = b.len;
	assert_int_equal(n, 5);		/* HEAD, three, END */
	/* Each record left out, or there twice. */
	for (size_t k = 0; k < n; k++) {
		pt_buf_clear(&c);
		pt_buf_add(&c, b.data, at[k]);
		pt_buf_add(&c, b.data + at[k + 1], b.len - at[k + 1]);
		assert_int_equal(consume(c.data, c.len, NULL, NULL, &err), PT_DATA);
		pt_buf_clear(&c);
		pt_buf_add(&c, b.data, at[k + 1]);
		pt_buf_add(&c, b.data + at[k], b.len - at[k]);
		assert_int_equal(consume(c.data, c.len, NULL, NULL, &err), PT_DATA);
	}
	/* Two exchanged. */
	pt_buf_clear(&c);
	pt_buf_add(&c, b.data, at[1]);
	pt_buf_add(&c, b.data + at[2], at[3] - at[2]);
	pt_buf_add(&c, b.data + at[1], at[2] - at[1]);
	pt_buf_add(&c, b.data + at[3], b.len - at[3]);
	assert_int_equal(consume(c.data, c.len, NULL, NULL, &err), PT_DATA);
	assert_non_null(strstr(err.msg, "digest"));
	pt_buf_release(&c);
	pt_buf_release(&b);
}

static void test_segments(void **state)
{
	struct pt_buf a = make(false, 9, 3, "100"), z = make(true, 5, 5, "100"), other = make(false, 5, 5, "99");
	struct pt_buf both = PT_BUF_INIT;
	struct pt_error err;
	uint64_t d1, d2, joined;
	int records;

	(void)state;
	pt_buf_add(&both, a.data, a.len);
	pt_buf_add(&both, z.data, z.len);
	assert_int_equal(consume(both.data, both.len, &joined, &records, &err), 0);
	assert_int_equal(records, 4);
	consume(a.data, a.len, &d1, NULL, &err);
	consume(z.data, z.len, &d2, NULL, &err);
	assert_true(joined != d1 && joined != d2);
	pt_buf_clear(&both);
	pt_buf_add(&both, a.data, a.len);
	pt_buf_add(&both, other.data, other.len);
	assert_int_equal(consume(both.data, both.len, NULL, NULL, &err), PT_DATA);
	assert_non_null(strstr(err.msg, "another vocab_size"));
	assert_non_null(strstr(err.msg, "99, not 100"));
	pt_buf_release(&a);
	pt_buf_release(&z);
	pt_buf_release(&other);
	pt_buf_release(&both);
}

/* FAIL goes through a pipe; a regular file is not published. */
static void test_fail(void **state)
{
	struct pt_error err = PT_ERROR_INIT, cause = PT_ERROR_INIT;
	struct pt_writer_options o = { .tool = "peft-batch", .kind = "examples" };
	const struct pt_record *rec;
	struct pt_writer *w;
	struct pt_reader *r;
	char name[32], got[8192];
	ssize_t n;
	int fd[2];

	(void)state;
	assert_int_equal(pipe(fd), 0);
	snprintf(name, sizeof name, "/dev/fd/%d", fd[1]);
	o.path = name;
	assert_int_equal(pt_writer_open(&w, &o, &err), 0);
	pt_error(&cause, PT_NUMERIC, "the disk \"sda\" is on fire\nand more");
	pt_writer_fail(w, &cause, "TERM");
	pt_writer_close(w);
	close(fd[1]);
	n = read(fd[0], got, sizeof got);
	assert_true(n > 0);
	close(fd[0]);
	assert_int_equal(pt_reader_open_memory(&r, got, (size_t)n, NULL, 0, &err), 0);
	assert_int_equal(pt_reader_next(r, &rec, &err), PT_DATA);
	assert_string_equal(pt_reader_fail_signal(r), "TERM");
	assert_non_null(strstr(err.msg, "upstream peft-batch failed: the disk"));
	/* The next stage passes the first cause on. */
	assert_int_equal(pipe(fd), 0);
	snprintf(name, sizeof name, "/dev/fd/%d", fd[1]);
	o.tool = "peft-cat";
	assert_int_equal(pt_writer_open(&w, &o, &err), 0);
	pt_writer_fail_from(w, &r, 1, &err, NULL);
	pt_writer_close(w);
	close(fd[1]);
	pt_reader_close(r);
	n = read(fd[0], got, sizeof got);
	close(fd[0]);
	assert_true(n > 0);
	assert_int_equal(consume(got, (size_t)n, NULL, NULL, &err), PT_DATA);
	assert_non_null(strstr(err.msg, "upstream peft-batch failed: the disk"));
	assert_null(strstr(err.msg, "peft-cat"));
}

/* A message as long as they come stays within what a pipe takes at once. */
static void test_fail_long(void **state)
{
	struct pt_error err = PT_ERROR_INIT, cause = { .status = 1 };
	struct pt_writer_options o = { .tool = "peft-batch", .kind = "examples" };
	struct pt_writer *w;
	char name[32], got[65536];
	ssize_t n;
	int fd[2];

	(void)state;
	memset(cause.msg, 1, sizeof cause.msg - 1);	/* six bytes each in JSON */
	assert_int_equal(pipe(fd), 0);
	snprintf(name, sizeof name, "/dev/fd/%d", fd[1]);
	o.path = name;
	assert_int_equal(pt_writer_open(&w, &o, &err), 0);
	pt_writer_fail(w, &cause, NULL);
	pt_writer_close(w);
	close(fd[1]);
	n = read(fd[0], got, sizeof got);
	close(fd[0]);
	assert_true(n > 1000 && n <= PT_FAIL_MAX);
	assert_int_equal(consume(got, (size_t)n, NULL, NULL, &err), PT_DATA);
}

static void test_end_needs_end(void **state)
{
	struct pt_buf b = make(false, 9, 3, "100");
	struct pt_error err = PT_ERROR_INIT;
	const struct pt_record *rec;
	struct pt_reader *r;
	struct pt_writer *w;

	(void)state;
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pt_reader_open_memory(&r, b.data, b.len, "examples", 0, &err), 0);
	w = open_examples(false, "100");
	assert_int_equal(pt_reader_data(r, &rec, &err), 0);
	assert_int_equal(pt_writer_copy(w, rec, &err), 0);
	assert_int_equal(pt_writer_end(w, NULL, &r, 1, false, &err), PT_FAIL);
	pt_writer_close(w);
	assert_int_equal(access(path, F_OK), -1);	/* nothing was published */
	w = open_examples(false, "100");
	assert_int_equal(pt_writer_copy(w, rec, &err), 0);
	assert_int_equal(pt_writer_end(w, NULL, &r, 1, true, &err), 0);
	pt_writer_close(w);
	pt_reader_close(r);
	pt_buf_release(&b);
	b = slurp();
	assert_int_equal(pt_reader_open_memory(&r, b.data, b.len, "examples", 0, &err), 0);
	while (!pt_reader_next(r, &rec, &err) && rec)
		;
	assert_true(pt_reader_ended(r) && pt_reader_limited(r));
	pt_reader_close(r);
	pt_buf_release(&b);
}

static void test_wrong_input(void **state)
{
	static const struct { const char *data; size_t n; const char *says; } wrong[] = {
		{ "", 0, "empty input" },
		{ "\x1f\x8b\x08\0\0\0\0\0\0\x03" "abc", 13, "gzip data" },
		{ "\x80\x02}q\0.abcdefgh", 14, "a Python pickle" },
		{ "PK\x03\x04" "abcdefghijkl", 16, "zip archive" },
		{ "GGUF\x03\0\0\0\0\0\0\0\0\0\0\0", 16, "GGUF" },
		{ "{\"text\": \"hello\"}\n", 18, "JSON" },
		{ "hello, world\n", 13, "text" },
		{ "\x28\xb5\x2f\xfd\x04\x00\x69\x00\x00" "hello, worlds", 22, "text" },
		{ "\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b", 12, "unknown data" },
		{ "\x02\0\0\0\0\0\0\0{}", 10, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct pt_error err;

		assert_int_equal(consume(wrong[i].data, wrong[i].n, NULL, NULL, &err), PT_DATA);
		if (wrong[i].says && !strstr(err.msg, wrong[i].says))
			fail_msg("%zu: %s", i, err.msg);
	}
}

/* A file that promises far more than it has must not cost memory or time. */
static void test_promises(void **state)
{
	struct pt_st_build b;
	struct pt_buf rec = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;
	char byte = 0;
	char *at;

	(void)state;
	pt_st_build_init(&b);
	pt_st_build_array(&b, "x", PT_U8, 1, &byte);
	assert_int_equal(pt_record_build(&b, "data", &rec, &err), 0);
	pt_st_build_release(&b);
	/* {"dtype":"U8","shape":[1],"data_offsets":[0,1]} -> shape [9223372036854775807] does not fit the offsets */
	at = strstr(rec.data + 8, "\"shape\":[1]");
	assert_non_null(at);
	memcpy(at, "\"shape\":[9]", 11);
	assert_int_equal(consume(rec.data, rec.len, NULL, NULL, &err), PT_DATA);
	memset(rec.data, 0xff, 8);
	assert_int_equal(consume(rec.data, rec.len, NULL, NULL, &err), PT_DATA);
	memcpy(rec.data, "\0\0\0\1\0\0\0\0", 8);		/* a header of 16 MiB */
	assert_int_equal(consume(rec.data, rec.len, NULL, NULL, &err), PT_DATA);
	pt_buf_release(&rec);
}

static int setup(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/peft-stream-%ld.pts", (long)getpid());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_same_bytes),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_flips),
		cmocka_unit_test(test_records_missing),
		cmocka_unit_test(test_segments),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_fail_long),
		cmocka_unit_test(test_end_needs_end),
		cmocka_unit_test(test_wrong_input),
		cmocka_unit_test(test_promises),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
