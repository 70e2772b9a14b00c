/* SPDX-License-Identifier: MIT */
/*
 * source.h - the lines of text files and JSONL files, one file after the
 * other, in blocks that know which file and which line they are.
 *
 * Lines end in a newline, or CR and newline; a byte order mark at the start
 * of a file is passed over, as are empty lines. Nothing of a line is
 * interpreted, nor is its UTF-8 checked.
 */
#ifndef PT_DATA_SOURCE_H
#define PT_DATA_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

enum pt_source_format {
	PT_SOURCE_AUTO,		/* by the name (.jsonl, .ndjson, .json, .txt), else JSONL where '{' comes first */
	PT_SOURCE_JSONL,
	PT_SOURCE_TEXT,		/* a text a line */
	PT_SOURCE_WHOLE,	/* as AUTO, but a text file is one text */
};

struct pt_line {
	const char *text;	/* not NUL-terminated */
	size_t n;
	int64_t row;		/* line of the file, from 1 */
};

/* Some lines of one file; valid until the next call. */
struct pt_block {
	const char *name;	/* of the file, for messages */
	int64_t source;		/* ordinal of the file, from 0 */
	bool json;
	bool live;		/* from a terminal */
	const struct pt_line *line;
	size_t n;		/* 0: the end */
};

struct pt_source {
	const char *const *path;
	int npaths, cur;
	enum pt_source_format format;
	int fd;
	bool opened, begun, eof, json, whole;
	struct pt_buf buf;	/* of this file, from the first byte not yet handed out */
	size_t done;		/* bytes of buf that were handed out */
	size_t seen;		/* bytes of buf after which a newline may come */
	int64_t row;		/* lines that were handed out */
	struct pt_line *line;
	size_t cap;
	struct pt_hash hash;	/* of this file */
	uint64_t *digest;	/* [cur]: of the files that were read to their end */
};

/* paths are borrowed; npaths 0 or "-": standard input. Fails at once where one cannot be read. */
int pt_source_open(struct pt_source *s, const char *const *paths, int npaths, enum pt_source_format format,
		   struct pt_error *err);
void pt_source_close(struct pt_source *s);

/* What is there by now, at least a line. PT_DATA: not text, or a JSON array. PT_STOPPED: by a signal. */
int pt_source_block(struct pt_source *s, struct pt_block *b, struct pt_error *err);

/* Whether all files are regular, so that they can be read twice. */
bool pt_source_regular(const char *const *paths, int npaths);

#endif
