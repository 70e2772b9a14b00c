/* SPDX-License-Identifier: MIT */
/*
 * zst.c - see zst.h. The library says how many bytes it wants next; reading
 * just those, the decoder stops at the end of a frame and what follows on the
 * pipe is left for the next record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/mem.h"
#include "io/zst.h"

enum { LEVEL = 3 };

struct pt_zst_writer {
	ZSTD_CCtx *ctx;
};

int pt_zst_writer_new(struct pt_zst_writer **out, struct pt_error *err)
{
	struct pt_zst_writer *w = pt_calloc(1, sizeof *w, err);

	*out = NULL;
	if (!w)
		return err->status;
	w->ctx = ZSTD_createCCtx();
	if (!w->ctx || ZSTD_isError(ZSTD_CCtx_setParameter(w->ctx, ZSTD_c_checksumFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(w->ctx, ZSTD_c_compressionLevel, LEVEL))) {
		pt_zst_writer_free(w);
		return pt_error(err, PT_FAIL, "zstd: cannot start");
	}
	*out = w;
	return 0;
}

void pt_zst_writer_free(struct pt_zst_writer *w)
{
	if (!w)
		return;
	ZSTD_freeCCtx(w->ctx);
	free(w);
}

int pt_zst_compress(struct pt_zst_writer *w, const void *data, size_t n, struct pt_buf *out,
		    struct pt_error *err)
{
	size_t bound = ZSTD_compressBound(n), got;
	char *to;

	pt_buf_clear(out);
	to = pt_buf_reserve(out, bound);
	if (!to)
		return pt_error(err, PT_FAIL, "out of memory: %zu bytes", bound);
	got = ZSTD_compress2(w->ctx, to, bound, data, n);
	if (ZSTD_isError(got))
		return pt_error(err, PT_FAIL, "zstd: %s", ZSTD_getErrorName(got));
	out->len = got;
	return 0;
}

struct pt_zst_reader {
	ZSTD_DCtx *ctx;
	pt_zst_read_fn read;
	void *arg;
	char *in;			/* compressed bytes */
	size_t have, pos, cap;
	size_t want;			/* bytes that the library asks for next; 0: the frame has ended */
};

int pt_zst_reader_new(struct pt_zst_reader **out, pt_zst_read_fn read, void *arg, struct pt_error *err)
{
	struct pt_zst_reader *r = pt_calloc(1, sizeof *r, err);

	*out = NULL;
	if (!r)
		return err->status;
	r->read = read;
	r->arg = arg;
	r->cap = ZSTD_DStreamInSize();
	r->in = pt_malloc(r->cap, 1, err);
	r->ctx = ZSTD_createDCtx();
	if (!r->in || !r->ctx ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(r->ctx, ZSTD_d_windowLogMax, PT_ZST_WINDOW_LOG))) {
		pt_zst_reader_free(r);
		return pt_error(err, PT_FAIL, "zstd: cannot start");
	}
	*out = r;
	return 0;
}

void pt_zst_reader_free(struct pt_zst_reader *r)
{
	if (!r)
		return;
	ZSTD_freeDCtx(r->ctx);
	free(r->in);
	free(r);
}

void pt_zst_begin(struct pt_zst_reader *r, const void *first, size_t n)
{
	ZSTD_DCtx_reset(r->ctx, ZSTD_reset_session_only);
	memcpy(r->in, first, n);
	r->have = n;
	r->pos = 0;
	r->want = 1;
}

/* One round of the decoder into out; more compressed bytes are read when there are none. */
static int round_trip(struct pt_zst_reader *r, ZSTD_outBuffer *out, struct pt_error *err)
{
	ZSTD_inBuffer in;
	size_t hint, before = out->pos, consumed = r->pos;

	in = (ZSTD_inBuffer){ r->in, r->have, r->pos };
	hint = ZSTD_decompressStream(r->ctx, out, &in);
	if (ZSTD_isError(hint))
		return pt_error(err, PT_DATA, "damaged zstd frame: %s", ZSTD_getErrorName(hint));
	r->pos = in.pos;
	r->want = hint;
	if (!hint || out->pos > before || out->pos == out->size)
		return 0;
	if (r->pos < r->have && r->pos > consumed)
		return 0;
	if (r->pos < r->have)
		return pt_error(err, PT_DATA, "damaged zstd frame: no progress");
	ssize_t k = r->read(r->arg, r->in, hint < r->cap ? hint : r->cap);

	if (k < 0 && errno == EINTR)
		return pt_error(err, PT_STOPPED, "stopped while reading");
	if (k < 0)
		return pt_error_errno(err, "cannot read");
	if (!k)
		return pt_error(err, PT_DATA, "cut short in a zstd frame");
	r->have = (size_t)k;
	r->pos = 0;
	return 0;
}

ssize_t pt_zst_read(struct pt_zst_reader *r, void *data, size_t n, struct pt_error *err)
{
	ZSTD_outBuffer out = { data, n, 0 };

	while (out.pos < n && r->want)
		if (round_trip(r, &out, err))
			return -1;
	return (ssize_t)out.pos;
}
