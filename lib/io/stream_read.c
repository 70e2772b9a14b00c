/* SPDX-License-Identifier: MIT */
/*
 * stream_read.c - the reader of streams: bytes to verified records. What the
 * records mean to each other is in stream_state.c.
 *
 * It never reads beyond the record that is asked for, so that a record is
 * handed out as soon as it is there, and memory grows with the bytes that
 * came, never with those that were promised.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "io/record.h"
#include "io/sniff.h"
#include "io/stream_priv.h"

enum { FIRST_CHUNK = 1 << 16, SNIFF = 512 };
#define DRAIN_BYTES ((size_t)64 << 20)
#define DRAIN_SECONDS 1.0

/* Bytes of the input as they stand. */
static ssize_t raw_read(void *arg, void *data, size_t n)
{
	struct pt_reader *r = arg;
	ssize_t k;

	if (r->mem) {
		if (n > r->mem_size - r->mem_at)
			n = r->mem_size - r->mem_at;
		memcpy(data, r->mem + r->mem_at, n);
		r->mem_at += n;
		return (ssize_t)n;
	}
	k = pt_read_full(r->fd, data, n);
	return k;
}

/* Up to n bytes of the record, from the frame where one is open. -1: failed. */
static ssize_t plain_read(struct pt_reader *r, void *data, size_t n, struct pt_error *err)
{
	size_t got = 0;
	ssize_t k;

	if (!r->in_frame) {
		k = raw_read(r, data, n);
		if (k < 0 && errno == EINTR)
			pt_error(err, PT_STOPPED, "stopped while reading");
		else if (k < 0)
			pt_error_errno(err, "cannot read");
		return k;
	}
	if (r->has_peek && n) {
		*(char *)data = r->peek;
		r->has_peek = false;
		got = 1;
	}
	k = pt_zst_read(r->zst, (char *)data + got, n - got, err);
	return k < 0 ? k : (ssize_t)got + k;
}

/* Have n bytes of the record in r->data, or as many as there are. */
static int fill(struct pt_reader *r, size_t n, struct pt_error *err)
{
	while (r->len < n) {
		size_t want = r->len < FIRST_CHUNK ? FIRST_CHUNK : r->len;
		ssize_t k;

		if (want > n - r->len)
			want = n - r->len;
		if (r->len + want > r->cap) {
			char *p = pt_realloc(r->data, r->len + want, 1, err);

			if (!p)
				return err->status;
			r->data = p;
			r->cap = r->len + want;
		}
		k = plain_read(r, r->data + r->len, want, err);
		if (k < 0)
			return err->status;
		r->len += (size_t)k;
		if ((size_t)k < want)
			break;
	}
	return 0;
}

/* The input does not begin with a record: say what it is. */
static int not_a_stream(struct pt_reader *r, struct pt_error *err)
{
	struct pt_error ignored = PT_ERROR_INIT;
	const char *hint, *what;

	fill(r, SNIFF, &ignored);
	what = pt_sniff(r->data, r->len, &hint);
	if (!strcmp(what, "a tensor stream"))
		return pt_error(err, PT_DATA, "damaged at its start");
	/* A bare file was welcome, and this would be one. */
	if (r->bare_error.status && !strcmp(what, PT_SNIFF_SAFETENSORS)) {
		*err = r->bare_error;
		return err->status;
	}
	return pt_error(err, PT_DATA, "this is %s, not a tensor stream%s%s", what, hint ? "; " : "",
			hint ? hint : "");
}

static int truncated(struct pt_reader *r, struct pt_error *err)
{
	const char *hint;

	if (r->in_input == 0 && (r->len < 9 || (r->bare_error.status &&
						!strcmp(pt_sniff(r->data, r->len, &hint), PT_SNIFF_SAFETENSORS))))
		return not_a_stream(r, err);
	return pt_error(err, PT_DATA, "cut short in record %llu: its producer died, or the file is incomplete",
			(unsigned long long)r->in_input);
}

/* Open a frame when one begins here; *eof at the end of the input. */
static int begin(struct pt_reader *r, bool *eof, struct pt_error *err)
{
	*eof = false;
	r->len = 0;
	if (fill(r, 8, err))
		return err->status;
	if (r->in_frame)
		return 0;
	*eof = r->len == 0;
	if (r->len < 4 || memcmp(r->data, PT_ZST_MAGIC, 4))
		return 0;
	if (!r->zst && pt_zst_reader_new(&r->zst, raw_read, r, err))
		return err->status;
	pt_zst_begin(r->zst, r->data, r->len);
	r->in_frame = true;
	r->has_peek = false;
	r->len = 0;
	return fill(r, 8, err);
}

static int in_record(struct pt_reader *r, struct pt_error *err)
{
	return pt_error_prefix(err, "record %llu", (unsigned long long)r->in_input);
}

/* After a record from a frame: has the frame ended with it? */
static int end_frame(struct pt_reader *r, struct pt_error *err)
{
	ssize_t k = pt_zst_read(r->zst, &r->peek, 1, err);

	if (k < 0)
		return in_record(r, err);
	r->has_peek = k > 0;
	r->in_frame = k > 0;
	return 0;
}

int pt_reader_record(struct pt_reader *r, bool *eof, struct pt_error *err)
{
	struct pt_st *st = &r->rec.st;
	size_t head;

	pt_st_release(st);
	if (begin(r, eof, err))
		return r->in_input ? in_record(r, err) : err->status;
	if (*eof)
		return 0;
	head = r->len == 8 ? pt_record_header_size(r->data) : 0;
	if (!head && r->len < 8)
		return truncated(r, err);
	if (head && fill(r, head, err))
		return err->status;
	if (!head || (r->len > 8 && r->data[8] != '{'))
		return r->in_input == 0 ? not_a_stream(r, err)
			: pt_error(err, PT_DATA, "record %llu is damaged, or is none",
				   (unsigned long long)r->in_input);
	if (r->len < head)
		return truncated(r, err);
	if (pt_st_parse_header(st, r->data, head, err))
		return in_record(r, err);
	if (r->in_input == 0 && !pt_st_meta(st, "pts"))
		return not_a_stream(r, err);
	if (st->size > PT_RECORD_MAX)
		return pt_error(err, PT_DATA, "record %llu has %zu bytes, more than the limit of 1 GiB",
				(unsigned long long)r->in_input, st->size);
	if (fill(r, st->size, err))
		return err->status;
	if (r->len < st->size)
		return truncated(r, err);
	if (pt_record_verify(st, r->data, err))
		return in_record(r, err);
	if (r->in_frame && end_frame(r, err))
		return err->status;
	r->rec.bytes = r->data;
	r->rec.size = st->size;
	r->rec.ordinal = r->ordinal++;
	r->in_input++;
	return 0;
}

const char *pt_reader_name(const struct pt_reader *r)
{
	const char *p = r->mem ? "memory" : r->path[r->cur];

	return strcmp(p, "-") ? p : "standard input";
}

/* A bare safetensors file counts as one record where the caller said so. */
static int try_bare(struct pt_reader *r, struct pt_error *err)
{
	struct pt_st *st = &r->rec.st;
	struct pt_mapping map;

	pt_st_release(st);
	r->bare_error = (struct pt_error)PT_ERROR_INIT;
	if (pt_mapping_open(&map, r->path[r->cur], err))
		return err->status;
	if (pt_st_parse(st, map.data, map.size, &r->bare_error)) {
		pt_mapping_close(&map);
		return 0;		/* a stream, or something that the reader will name */
	}
	st->map = map;
	if (pt_st_meta(st, "pts")) {
		pt_st_release(st);
		return 0;
	}
	r->bare = true;
	r->rec.type = PT_RECORD;
	r->rec.bytes = st->map.data;
	r->rec.size = st->size;
	r->rec.ordinal = r->ordinal++;
	return 0;
}

int pt_reader_open_input(struct pt_reader *r, struct pt_error *err)
{
	const char *path = r->path[r->cur];
	struct stat st;

	r->in_input = 0;
	r->in_frame = r->has_peek = r->bare = false;
	if (!strcmp(path, "-")) {
		r->fd = STDIN_FILENO;
		return 0;
	}
	r->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (r->fd < 0)
		return pt_error_errno(err, "%s", path);
	if (fstat(r->fd, &st))
		return pt_error_errno(err, "%s", path);
	if (S_ISDIR(st.st_mode))
		return pt_error(err, PT_FAIL, "%s: a directory, not a tensor stream", path);
	if (S_ISREG(st.st_mode) && r->flags & PT_READ_BARE)
		return try_bare(r, err);
	return 0;
}

void pt_reader_close_input(struct pt_reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

void pt_reader_drain(struct pt_reader *r)
{
	double end = pt_now() + DRAIN_SECONDS, left;
	size_t total = 0;
	struct stat st;
	char *sink = malloc(FIRST_CHUNK);

	/* Nobody waits for the reader of a regular file. */
	if (sink && r->fd >= 0 && !fstat(r->fd, &st) && !S_ISREG(st.st_mode)) {
		while (total < DRAIN_BYTES && (left = end - pt_now()) > 0) {
			struct pollfd p = { r->fd, POLLIN, 0 };
			ssize_t k;

			if (poll(&p, 1, (int)(left * 1000) + 1) <= 0)
				break;
			k = read(r->fd, sink, FIRST_CHUNK);
			if (k <= 0)
				break;
			total += (size_t)k;
		}
	}
	free(sink);
	pt_reader_close_input(r);
}
