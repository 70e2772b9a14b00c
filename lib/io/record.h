/* SPDX-License-Identifier: MIT */
/*
 * record.h - one record in memory: laid out with its "_tail", and verified.
 * What stream_read.c and stream_write.c share; others use stream.h.
 */
#ifndef PT_IO_RECORD_H
#define PT_IO_RECORD_H

#include "base/buf.h"
#include "base/error.h"
#include "io/safetensors.h"

#define PT_RECORD_MAX_HEADER (16u << 20)
#define PT_RECORD_MAX ((size_t)1 << 30)
#define PT_RECORD_ALIGN 64
#define PT_FAIL_MAX 4096		/* of a FAIL record: PIPE_BUF, written whole or not at all */

/* Replace out by the record that b describes, with pts as given. b keeps its tensors. */
int pt_record_build(struct pt_st_build *b, const char *pts, struct pt_buf *out, struct pt_error *err);

/* The first 8 bytes: length of header and its 8 bytes; 0 when this cannot be a record. */
size_t pt_record_header_size(const void *first8);

/* st is the parsed header of the whole record at data: check the tail and bind; "_tail" is hidden. */
int pt_record_verify(struct pt_st *st, const void *data, struct pt_error *err);

#endif
