/* SPDX-License-Identifier: MIT */
/*
 * zst.h - zstd frames: one call to compress a record, and a decoder that
 * pulls its bytes from a function and never asks for more than the frame has.
 */
#ifndef PT_IO_ZST_H
#define PT_IO_ZST_H

#include <stddef.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"

#define PT_ZST_MAGIC "\x28\xb5\x2f\xfd"
#define PT_ZST_WINDOW_LOG 27		/* larger windows are refused */

/* Compressing contexts are kept between calls. */
struct pt_zst_writer;
int pt_zst_writer_new(struct pt_zst_writer **w, struct pt_error *err);
void pt_zst_writer_free(struct pt_zst_writer *w);
/* Replace out by one frame with checksum. */
int pt_zst_compress(struct pt_zst_writer *w, const void *data, size_t n, struct pt_buf *out,
		    struct pt_error *err);

/* Reads up to n bytes; 0 at the end; -1 with errno. */
typedef ssize_t (*pt_zst_read_fn)(void *arg, void *data, size_t n);

struct pt_zst_reader;
int pt_zst_reader_new(struct pt_zst_reader **r, pt_zst_read_fn read, void *arg, struct pt_error *err);
void pt_zst_reader_free(struct pt_zst_reader *r);
/* Begin a frame of which the first n (<= 8) bytes were read already. */
void pt_zst_begin(struct pt_zst_reader *r, const void *first, size_t n);
/* Exactly n bytes, or fewer at the end of the frame; -1 and err: PT_DATA (damaged, cut short), or PT_FAIL. */
ssize_t pt_zst_read(struct pt_zst_reader *r, void *data, size_t n, struct pt_error *err);

#endif
