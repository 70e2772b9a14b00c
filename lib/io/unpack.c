/* SPDX-License-Identifier: MIT */
/*
 * unpack.c - see unpack.h.
 */
#include "io/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"

enum { BUFFER = 1 << 16, GZIP_WRAPPER = 16 };

#define FREE_OUT ((int64_t)256 << 20)
#define MOST_OUT ((int64_t)256 << 30)
enum { RATIO = 200 };

static const char *const names[] = {
	[PT_PACKED_GZIP] = "gzip", [PT_PACKED_BZIP2] = "bzip2", [PT_PACKED_XZ] = "xz", [PT_PACKED_ZSTD] = "zstd",
};

struct pt_unpack {
	enum pt_packed how;
	pt_unpack_read_fn read;
	void *arg;
	struct pt_unpack_bound bound;
	struct pt_error err;		/* of read(), which libarchive would forget */
	bool source_end, end;
	unsigned char *buf;
	z_stream z;			/* gzip */
	bool z_begun, between, padding;
	struct archive *a;		/* the others */
};

int pt_unpack_bound_check(const struct pt_unpack_bound *b, struct pt_error *err)
{
	int64_t most = b->given;

	if (!most) {
		most = b->in < MOST_OUT / RATIO ? b->in * RATIO : MOST_OUT;
		most = most < FREE_OUT ? FREE_OUT : most;
	}
	if (b->out <= most)
		return 0;
	return pt_error(err, PT_DATA, "%lld bytes unpack to more than %lld (--unpacked raises the bound)",
			(long long)b->in, (long long)most);
}

/* The next bytes into buf; 0 at the end. */
static ssize_t fill(struct pt_unpack *u, struct pt_error *err)
{
	ssize_t k = u->source_end ? 0 : u->read(u->arg, u->buf, BUFFER, err);

	if (k > 0)
		u->bound.in += k;
	u->source_end = k == 0;
	return k;
}

/* --- gzip --- */

static int gzip_failed(struct pt_unpack *u, int status, struct pt_error *err)
{
	if (status == Z_MEM_ERROR)
		return pt_error(err, PT_FAIL, "gzip: out of memory");
	return pt_error(err, PT_DATA, "damaged gzip data%s%s", u->z.msg ? ": " : "", u->z.msg ? u->z.msg : "");
}

/* Behind one stream: another, zeros up to the end (of a tape's block), or nothing. */
static int gzip_between(struct pt_unpack *u, struct pt_error *err)
{
	for (; u->z.avail_in && !*u->z.next_in; u->z.avail_in--, u->z.next_in++)
		u->padding = true;
	if (!u->z.avail_in)
		return 0;
	if (u->padding || *u->z.next_in != 0x1f)
		return pt_error(err, PT_DATA, "other bytes stand behind the gzip data");
	u->between = false;
	return inflateReset(&u->z) == Z_OK ? 0 : pt_error(err, PT_FAIL, "gzip: cannot start");
}

static ssize_t gzip_read(struct pt_unpack *u, void *data, size_t n, struct pt_error *err)
{
	u->z.next_out = data;
	u->z.avail_out = n < BUFFER ? (uInt)n : BUFFER;
	n = u->z.avail_out;
	while (u->z.avail_out == n) {
		if (!u->z.avail_in) {
			ssize_t k = fill(u, err);

			if (k < 0)
				return -1;
			if (!k && u->between)
				break;
			if (!k) {
				pt_error(err, PT_DATA, "the gzip data is cut short");
				return -1;
			}
			u->z.next_in = u->buf;
			u->z.avail_in = (uInt)k;
		}
		if (u->between) {
			if (gzip_between(u, err))
				return -1;
			continue;
		}
		int status = inflate(&u->z, Z_NO_FLUSH);

		if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
			gzip_failed(u, status, err);
			return -1;
		}
		u->between = status == Z_STREAM_END;
	}
	return (ssize_t)(n - u->z.avail_out);
}

/* --- bzip2, xz, zstd --- */

static la_ssize_t give(struct archive *a, void *arg, const void **data)
{
	struct pt_unpack *u = arg;
	ssize_t k = u->err.status ? -1 : fill(u, &u->err);

	if (k < 0) {
		archive_set_error(a, EIO, "cannot read");
		return ARCHIVE_FATAL;
	}
	*data = u->buf;
	return k;
}

static int filter_failed(struct pt_unpack *u, struct pt_error *err)
{
	const char *why = archive_error_string(u->a);

	if (u->err.status) {
		*err = u->err;
		return err->status;
	}
	if (archive_errno(u->a) == ENOMEM)
		return pt_error(err, PT_FAIL, "%s: out of memory", names[u->how]);
	return pt_error(err, PT_DATA, "damaged or cut short %s data%s%s", names[u->how], why ? ": " : "", why ? why : "");
}

/* All of it decoded? A filter that finds no further stream ends without a word. */
static int filter_finish(struct pt_unpack *u, struct pt_error *err)
{
	int64_t used = archive_filter_bytes(u->a, -1);
	ssize_t k = fill(u, err);

	if (k < 0)
		return err->status;
	if (k > 0 || used != u->bound.in)
		return pt_error(err, PT_DATA, "damaged %s data, or other bytes stand behind it", names[u->how]);
	return 0;
}

static int filter_start(struct pt_unpack *u, struct pt_error *err)
{
	struct archive_entry *entry;
	int status;

	u->a = archive_read_new();
	if (!u->a)
		return pt_error(err, PT_FAIL, "out of memory");
	archive_read_support_format_raw(u->a);
	archive_read_support_format_empty(u->a);
	if ((u->how == PT_PACKED_BZIP2 ? archive_read_support_filter_bzip2(u->a)
	     : u->how == PT_PACKED_XZ ? archive_read_support_filter_xz(u->a)
	     : archive_read_support_filter_zstd(u->a)) != ARCHIVE_OK)
		return pt_error(err, PT_FAIL, "libarchive reads no %s here", names[u->how]);
	if (archive_read_open(u->a, u, NULL, give, NULL) != ARCHIVE_OK)
		return filter_failed(u, err);
	status = archive_read_next_header(u->a, &entry);
	if (status != ARCHIVE_OK && status != ARCHIVE_EOF)
		return filter_failed(u, err);
	/* What no filter knows would come out as it is. */
	if (archive_filter_count(u->a) < 2)
		return pt_error(err, PT_DATA, "damaged %s data", names[u->how]);
	u->end = status == ARCHIVE_EOF;
	return u->end ? filter_finish(u, err) : 0;
}

static ssize_t filter_read(struct pt_unpack *u, void *data, size_t n, struct pt_error *err)
{
	la_ssize_t k = archive_read_data(u->a, data, n);

	if (k < 0)
		filter_failed(u, err);
	else if (!k)
		filter_finish(u, err);
	return err->status ? -1 : (ssize_t)k;
}

/* --- all --- */

int pt_unpack_open(struct pt_unpack **out, enum pt_packed how, pt_unpack_read_fn read, void *arg, int64_t limit,
		   struct pt_error *err)
{
	struct pt_unpack *u = pt_calloc(1, sizeof *u, err);
	int status = 0;

	*out = u;
	if (!u)
		return err->status;
	u->how = how;
	u->read = read;
	u->arg = arg;
	u->bound.given = limit;
	u->err = (struct pt_error)PT_ERROR_INIT;
	u->buf = pt_malloc(BUFFER, 1, err);
	if (!u->buf) {
		status = err->status;
	} else if (how != PT_PACKED_GZIP) {
		status = filter_start(u, err);
	} else if (inflateInit2(&u->z, MAX_WBITS + GZIP_WRAPPER) != Z_OK) {
		status = pt_error(err, PT_FAIL, "gzip: out of memory");
	} else {
		u->z_begun = true;
	}
	return status;
}

void pt_unpack_close(struct pt_unpack *u)
{
	if (!u)
		return;
	if (u->z_begun)
		inflateEnd(&u->z);
	archive_read_free(u->a);
	free(u->buf);
	free(u);
}

ssize_t pt_unpack_read(struct pt_unpack *u, void *data, size_t n, struct pt_error *err)
{
	ssize_t k;

	if (u->end)
		return 0;
	k = u->how == PT_PACKED_GZIP ? gzip_read(u, data, n, err) : filter_read(u, data, n, err);
	if (k < 0)
		return -1;
	u->end = k == 0;
	u->bound.out += k;
	return pt_unpack_bound_check(&u->bound, err) ? -1 : k;
}
