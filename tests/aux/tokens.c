/* SPDX-License-Identifier: MIT */
/*
 * tokens DIR|FILE - a tokenizer behind a pipe, for comparison with another
 * one (tests/golden/compare_tokenizers.py).
 *
 * In: requests of u32 flags (enum pt_encode_flags), u32 max_length, u32 n,
 * n bytes, u32 m (0xffffffff: no pair), m bytes. All numbers are of this
 * machine. Out: u32 status, then u32 count, the ids and the types, with
 * PT_ENCODE_ORIGIN three i32 for each (from, to, text), u32 n and
 * the text that the ids decode to, u32 n and the text that they decode to one
 * by one without special tokens; or after a status that is not 0: u32 n and
 * the message. Invalid UTF-8 is replaced first.
 *
 * tokens --time DIR|FILE [N] - encode standard input line by line, N times
 * over, and print the megabytes, tokens and seconds of processor time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/file.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

static struct pt_error err = PT_ERROR_INIT;

static int trouble(void)
{
	fprintf(stderr, "tokens: %s\n", err.msg);
	return err.status ? err.status : 1;
}

static bool read_u32(uint32_t *v)
{
	return fread(v, sizeof *v, 1, stdin) == 1;
}

static void write_u32(uint32_t v)
{
	fwrite(&v, sizeof v, 1, stdout);
}

static void write_text(const struct pt_buf *b)
{
	write_u32((uint32_t)b->len);
	if (b->len)
		fwrite(b->data, 1, b->len, stdout);
}

/* n bytes of standard input, with invalid UTF-8 replaced. */
static bool read_text(struct pt_buf *out, uint32_t n)
{
	static struct pt_buf raw;
	char *p;

	pt_buf_clear(&raw);
	pt_buf_clear(out);
	p = pt_buf_reserve(&raw, n);
	if (!p || (n && fread(p, 1, n, stdin) != n))
		return false;
	pt_buf_reserve(out, 1);
	pt_utf8_replace(out, p, n);
	return !out->failed;
}

static int answer(const struct pt_tokenizer *tok, struct pt_encoder *enc, uint32_t flags, uint32_t max)
{
	static struct pt_encoding e;
	static struct pt_buf a, b, text, stream;
	static struct pt_decoder d;
	uint32_t n;
	bool pair;
	int status;

	if (!read_u32(&n) || !read_text(&a, n) || !read_u32(&n))
		return 1;
	pair = n != UINT32_MAX;
	if (pair && !read_text(&b, n))
		return 1;
	status = pair ? pt_encode_pair(enc, a.data, a.len, b.data, b.len, (int)flags, max, &e, &err)
		      : pt_encode(enc, a.data, a.len, (int)flags, max, &e, &err);
	write_u32((uint32_t)status);
	if (status) {
		write_u32((uint32_t)strlen(err.msg));
		fputs(err.msg, stdout);
		return 0;
	}
	write_u32((uint32_t)e.n);
	fwrite(e.ids, sizeof *e.ids, e.n, stdout);
	fwrite(e.types, sizeof *e.types, e.n, stdout);
	for (size_t i = 0; e.origin && i < e.n; i++) {
		write_u32((uint32_t)e.origin[i].from);
		write_u32((uint32_t)e.origin[i].to);
		write_u32((uint32_t)e.origin[i].text);
	}
	pt_buf_clear(&text);
	pt_buf_clear(&stream);
	if (pt_decode(tok, e.ids, e.n, false, &text, &err))
		return trouble();
	write_text(&text);
	pt_decoder_init(&d, tok, true);
	for (size_t i = 0; i < e.n; i++)
		if (pt_decoder_push(&d, e.ids[i], &stream, &err))
			return trouble();
	if (pt_decoder_flush(&d, &stream, &err))
		return trouble();
	pt_decoder_release(&d);
	write_text(&stream);
	return 0;
}

static int time_it(struct pt_encoder *enc, int times)
{
	struct pt_encoding e = PT_ENCODING_INIT;
	struct pt_buf text = PT_BUF_INIT;
	struct timespec from, to;
	char part[65536];
	size_t n, tokens = 0;
	double seconds;

	while ((n = fread(part, 1, sizeof part, stdin)) > 0)
		pt_buf_add(&text, part, n);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	for (int i = 0; i < times; i++)
		for (const char *s = text.data, *end = s + text.len; s < end;) {
			const char *stop = memchr(s, '\n', (size_t)(end - s));

			stop = stop ? stop : end;
			if (pt_encode(enc, s, (size_t)(stop - s), PT_ENCODE_SPECIAL, 0, &e, &err))
				return trouble();
			tokens += e.n;
			s = stop + 1;
		}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	seconds = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
	printf("%.3f MB, %zu tokens, %.4f s, %.1f MB/s\n", 1e-6 * (double)text.len * times, tokens, seconds,
	       1e-6 * (double)text.len * times / seconds);
	pt_encoding_release(&e);
	pt_buf_release(&text);
	return 0;
}

int main(int argc, char **argv)
{
	bool timing = argc > 1 && strcmp(argv[1], "--time") == 0;
	struct pt_tokenizer *tok;
	struct pt_encoder *enc;
	struct timespec from, to;
	uint32_t flags, max;
	int status = 0;

	argv += timing;
	argc -= timing;
	if (argc < 2) {
		fputs("usage: tokens [--time] DIR|FILE [N]\n", stderr);
		return 2;
	}
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	if (pt_tokenizer_open(&tok, argv[1], &err) || pt_encoder_new(&enc, tok, &err))
		return trouble();
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	if (timing) {
		printf("opened in %.1f ms, ", 1e3 * (double)(to.tv_sec - from.tv_sec) +
		       1e-6 * (double)(to.tv_nsec - from.tv_nsec));
		status = time_it(enc, argc > 2 ? atoi(argv[2]) : 1);
	} else {
		while (!status && read_u32(&flags) && read_u32(&max))
			status = answer(tok, enc, flags, max);
	}
	pt_encoder_free(enc);
	pt_tokenizer_close(tok);
	return status;
}
