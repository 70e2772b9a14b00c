/* SPDX-License-Identifier: MIT */
/*
 * stream_priv.h - the reader's insides, shared by stream_read.c (bytes to
 * records) and stream_state.c (records to a stream).
 */
#ifndef PT_IO_STREAM_PRIV_H
#define PT_IO_STREAM_PRIV_H

#include "io/digest.h"
#include "io/kinds.h"
#include "io/stream.h"
#include "io/zst.h"

enum pt_reader_state { PT_START, PT_IN, PT_BETWEEN, PT_DONE };

struct pt_reader {
	/* inputs */
	char **path;
	int npaths, cur;
	int flags;
	char *want_kind;
	const char *mem;
	size_t mem_size, mem_at;
	int fd;
	bool opened;			/* path[cur] */

	/* the record */
	char *data;
	size_t len, cap;
	struct pt_record rec;
	uint64_t ordinal;		/* of the next record */
	uint64_t in_input;		/* records read from this input */
	bool bare;			/* rec is a bare file, not yet handed out or the last */
	bool bare_done;
	struct pt_error bare_error;	/* why the input is no bare file either */
	struct pt_zst_reader *zst;
	bool in_frame, has_peek;
	char peek;

	/* the stream */
	enum pt_reader_state state;
	struct pt_error failed;		/* status 0: not yet */
	bool pending;			/* rec was read by pt_reader_head() */
	char *head_bytes;		/* first HEAD */
	struct pt_record head;
	char *head_name;		/* the input it came from */
	struct pt_kind_bounds bounds;
	uint32_t have;			/* pt_kind_same() */
	struct pt_digest digest;	/* of this segment */
	uint64_t joined;		/* of the segments that have ended */
	int segments;			/* HEADs read */
	bool limited;
	bool fail_read;
	char *fail_tool, *fail_version, *fail_message, *fail_signal;
	int fail_status;

	/* provenance */
	struct pt_prov ended;
	uint64_t *end_id;
	size_t nend, cap_end;
	struct pt_prov begun;		/* of the segment that has not ended */
	uint64_t begun_id;
};

/* The next verified record into r->rec; type not set. *eof: the input ended before it. */
int pt_reader_record(struct pt_reader *r, bool *eof, struct pt_error *err);
int pt_reader_open_input(struct pt_reader *r, struct pt_error *err);
void pt_reader_close_input(struct pt_reader *r);

#endif
