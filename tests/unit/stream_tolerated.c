/* SPDX-License-Identifier: MIT */
/*
 * stream_tolerated.c - what formats/tolerated.md lists is accepted; what it
 * says is not, is refused.
 */
#include "test.h"

#include <zstd.h>

#include "base/hash.h"
#include "io/digest.h"
#include "io/record.h"
#include "io/stream.h"

static int consume(const struct pt_buf *b, struct pt_error *err)
{
	const struct pt_record *rec;
	struct pt_reader *r;
	int status;

	*err = (struct pt_error)PT_ERROR_INIT;
	status = pt_reader_open_memory(&r, b->data, b->len, NULL, 0, err);
	while (!status && !(status = pt_reader_next(r, &rec, err)) && rec)
		;
	pt_reader_close(r);
	return status;
}

static void add(struct pt_buf *out, const char *pts, struct pt_st_build *b)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf rec = PT_BUF_INIT;

	assert_ok(pt_record_build(b, pts, &rec, &err), &err);
	pt_buf_add(out, rec.data, rec.len);
	pt_buf_release(&rec);
}

/* The least that is a stream: no kind_v, options, id, provenance, counts but "records". n DATA records. */
static struct pt_buf least(int n)
{
	static const float x[3] = { 1, 2, 3 };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf out = PT_BUF_INIT;
	struct pt_digest digest;
	struct pt_st_build b;
	struct pt_st st;
	char number[16];

	pt_st_build_init(&b);
	pt_st_build_meta(&b, "v", "1");
	pt_st_build_meta(&b, "kind", "other");
	pt_digest_head_build(&digest, &b);
	add(&out, "head", &b);
	pt_st_build_clear(&b);
	for (int i = 0; i < n; i++) {
		size_t at = out.len;

		pt_st_build_array(&b, "x", PT_F32, 3, x);
		add(&out, "data", &b);
		pt_st_build_clear(&b);
		assert_ok(pt_st_parse(&st, out.data + at, out.len - at, &err), &err);
		assert_ok(pt_digest_data(&digest, &st, &err), &err);
		pt_st_release(&st);
	}
	snprintf(number, sizeof number, "%d", n);
	pt_st_build_meta(&b, "records", number);
	pt_st_build_meta(&b, "digest", pt_hex64(pt_digest_value(&digest)).s);
	add(&out, "end", &b);
	pt_st_build_release(&b);
	return out;
}

static void test_least(void **state)
{
	struct pt_error err;

	(void)state;
	for (int n = 0; n < 3; n++) {
		struct pt_buf b = least(n);

		assert_ok(consume(&b, &err), &err);
		pt_buf_release(&b);
	}
}

/* What the zstd command makes of a stream: one frame of all records, of unknown size. */
static struct pt_buf frame(const struct pt_buf *b, bool checksum, bool size)
{
	struct pt_buf out = PT_BUF_INIT;
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_inBuffer in = { b->data, b->len, 0 };
	ZSTD_outBuffer to = { NULL, ZSTD_compressBound(b->len) + 64, 0 };

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size);
	if (size)
		ZSTD_CCtx_setPledgedSrcSize(c, b->len);
	to.dst = pt_buf_reserve(&out, to.size);
	assert_int_equal(ZSTD_compressStream2(c, &to, &in, ZSTD_e_end), 0);
	out.len = to.pos;
	ZSTD_freeCCtx(c);
	return out;
}

static void test_frames(void **state)
{
	struct pt_buf b = least(2), two = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	for (int how = 0; how < 4; how++) {
		struct pt_buf f = frame(&b, how & 1, how & 2);

		assert_ok(consume(&f, &err), &err);
		/* Frames and plain records follow each other. */
		pt_buf_clear(&two);
		pt_buf_add(&two, f.data, f.len);
		pt_buf_add(&two, b.data, b.len);
		pt_buf_add(&two, f.data, f.len);
		assert_ok(consume(&two, &err), &err);
		/* A frame of all that is cut, or has something behind the last record in it. */
		f.len -= 3;
		assert_fails(consume(&f, &err), PT_DATA, "cut short", &err);
		pt_buf_release(&f);
	}
	pt_buf_clear(&two);
	pt_buf_add(&two, b.data, b.len);
	pt_buf_char(&two, 'x');
	struct pt_buf f = frame(&two, true, true);

	assert_int_equal(consume(&f, &err), PT_DATA);
	pt_buf_release(&f);
	f = frame(&b, true, false);
	f.data[5] = (char)((28 - 10) << 3);	/* a window of 2^28 bytes */
	assert_fails(consume(&f, &err), PT_DATA, "zstd", &err);
	pt_buf_release(&f);
	pt_buf_release(&two);
	pt_buf_release(&b);
}

/* A HEAD with this header, where T stands for the length of "_tail" (more: so many bytes too long), and an END. */
static struct pt_buf with_header(const char *form, size_t more)
{
	struct pt_buf out = PT_BUF_INIT, b = least(0);
	size_t n = strlen(form) + 2, tail, all, need, total;	/* two T of two digits each */
	struct pt_error err = PT_ERROR_INIT;
	char digits[8];
	uint64_t v;

	n += (8 - n % 8) % 8;
	tail = 16 + (64 - (8 + n + 16) % 64) % 64 + more;
	snprintf(digits, sizeof digits, "%zu", tail);
	v = n;
	pt_buf_add(&out, &v, 8);
	for (const char *p = form; *p; p++)
		pt_buf_add(&out, *p == 'T' ? digits : p, *p == 'T' ? 2 : 1);
	while (out.len < 8 + n)
		pt_buf_char(&out, ' ');
	all = out.len + tail;
	pt_buf_zero(&out, tail);
	v = all;
	memcpy(out.data + all - 16, &v, 8);
	v = pt_hash64(out.data, all - 8);
	memcpy(out.data + all - 8, &v, 8);
	assert_ok(pt_st_extent(b.data, b.len, &need, &total, &err), &err);
	pt_buf_add(&out, b.data + total, b.len - total);
	pt_buf_release(&b);
	return out;
}

#define TAIL "\"_tail\":{\"dtype\":\"U8\",\"shape\":[T],\"data_offsets\":[0,T]}"

static void test_headers(void **state)
{
	static const struct { const char *form; size_t more; const char *says; } cases[] = {
		/* another order, white space */
		{ "{\"__metadata__\":{\"pts\":\"head\",\"kind\":\"other\",\"v\":\"1\"}," TAIL "}", 0, NULL },
		{ "{" TAIL ",\"__metadata__\":{\"kind\":\"other\",\"v\":\"1\",\"pts\":\"head\"}}", 0, NULL },
		{ "{ " TAIL " ,\n\"__metadata__\" : {\"v\":\"1\",\t\"kind\":\"other\",\"pts\":\"head\"} }", 0, NULL },
		{ "{" TAIL ",\"__metadata__\":{\"kind\":\"other\",\"v\":\"1\",\"pts\":\"head\"}}", 64, "wrong size" },
		{ "{\"_tail\":{\"dtype\":\"I8\",\"shape\":[T],\"data_offsets\":[0,T]},"
		  "\"__metadata__\":{\"kind\":\"other\",\"v\":\"1\",\"pts\":\"head\"}}", 0, "no \"_tail\"" },
		{ "{" TAIL ",\"__metadata__\":{\"kind\":\"other\",\"v\":\"2\",\"pts\":\"head\"}}", 0, "version" },
		{ "{" TAIL ",\"__metadata__\":{\"kinx\":\"other\",\"v\":\"1\",\"pts\":\"head\"}}", 0, "no kind" },
		{ "{" TAIL ",\"__metadata__\":{\"kind\":\"other\",\"v\":\"1\",\"pts\":\"haed\"}}", 0, "unknown sort" },
		{ "{" TAIL ",\"__metadata__\":{\"v\":\"1\",\"v\":\"1\",\"pts\":\"head\"}}", 0, "two keys" },
		{ "{" TAIL ",\"__metadata__\":{\"v\":1,\"pts\":\"head\"}}", 0, "header" },
		{ "{" TAIL ",\"__metadata__\":{\"pts\":\"head\"},}", 0, "header" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pt_buf b = with_header(cases[i].form, cases[i].more);
		struct pt_error err;
		int status = consume(&b, &err);

		if (cases[i].says ? status != PT_DATA || !strstr(err.msg, cases[i].says) : status)
			fail_msg("header %zu: status %d: %s", i, status, err.msg);
		pt_buf_release(&b);
	}
}

static void test_not_tolerated(void **state)
{
	/* A skippable frame; an empty frame. */
	static const char skippable[] = "\x50\x2a\x4d\x18\x04\0\0\0abcd";
	static const char empty_frame[] = "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00";
	struct pt_buf b = least(1), c = PT_BUF_INIT;
	struct pt_error err;

	(void)state;
	pt_buf_add(&c, b.data, b.len);
	pt_buf_add(&c, skippable, sizeof skippable - 1);
	assert_int_equal(consume(&c, &err), PT_DATA);
	pt_buf_clear(&c);
	pt_buf_add(&c, skippable, sizeof skippable - 1);
	pt_buf_add(&c, b.data, b.len);
	assert_fails(consume(&c, &err), PT_DATA, "skippable", &err);
	pt_buf_clear(&c);
	pt_buf_add(&c, b.data, b.len);
	pt_buf_add(&c, empty_frame, sizeof empty_frame - 1);
	assert_int_equal(consume(&c, &err), PT_DATA);
	pt_buf_clear(&c);
	pt_buf_add(&c, b.data, b.len);
	pt_buf_zero(&c, 4096);
	assert_int_equal(consume(&c, &err), PT_DATA);
	pt_buf_release(&c);
	pt_buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_not_tolerated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
