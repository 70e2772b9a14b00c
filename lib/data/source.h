/* SPDX-License-Identifier: MIT */
/*
 * source.h - the lines of text, JSONL and TSV files, one file after the
 * other, in blocks of lines that know which file and which line they are.
 * The members of an archive are files, in the order in which they are stored.
 *
 * Lines end in a newline, or CR and newline; a byte order mark at the start
 * of a file is passed over, as are empty lines. Nothing of a line is
 * interpreted but the header of a TSV file, nor is its UTF-8 checked.
 */
#ifndef PT_DATA_SOURCE_H
#define PT_DATA_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "data/files.h"
#include "data/pattern.h"

enum pt_source_format {
	PT_SOURCE_AUTO,		/* by the name (.jsonl, .ndjson, .json, .tsv, .csv, .txt), else JSONL where '{' comes first */
	PT_SOURCE_JSONL,
	PT_SOURCE_TEXT,		/* a text a line */
	PT_SOURCE_TSV,		/* a header of names, then fields between tabs; quotes mean nothing */
	PT_SOURCE_CSV,		/* the same with commas; fields in quotes as RFC 4180 has them */
	PT_SOURCE_WHOLE,	/* as AUTO, but a text file is one text */
};

struct pt_source_options {
	enum pt_source_format format;
	const char *columns;		/* of TSV and CSV files: "a,b" where they have no header, "text=a" renames; NULL: as it is */
	struct pt_patterns path;	/* which files and members, and their class */
	int64_t unpacked;		/* bytes that an operand may unpack to; 0: as io/unpack.h has it */
};

/* What the lines of a file share. */
struct pt_text_file {
	char *name;		/* for messages: "a.txt", "reviews.tar.gz:pos/1.txt" */
	int64_t source;		/* ordinal of the file, from 0 */
	enum pt_source_format format;	/* any but AUTO */
	char **column;		/* TSV, CSV: the names, NULL-terminated */
	char *label;		/* the class, from the path; or NULL */
	struct pt_text_file *next;
};

struct pt_line {
	const char *text;	/* not NUL-terminated */
	size_t n;
	int64_t row;		/* line of the file, from 1; of a record of several the first */
	const struct pt_text_file *of;
};

/* Some lines; valid until the next call. */
struct pt_block {
	bool live;		/* from a terminal */
	const struct pt_line *line;
	size_t n;		/* 0: the end */
};

struct pt_source {
	const struct pt_source_options *o;
	const char *const *path;
	int npaths, cur;
	struct pt_files in;	/* of path[cur], where opened */
	bool opened, in_file, begun, eof;
	struct pt_text_file *file;	/* the current one; behind it those of the last block */
	int64_t files;
	struct pt_buf buf;	/* from the first byte not yet handed out */
	size_t done;		/* bytes of buf that were handed out, or are lines of this block */
	size_t seen;		/* bytes of buf after which a newline may come */
	int64_t row;		/* lines of this file that were handed out */
	struct pt_line *line;
	size_t *at;		/* where in buf they begin */
	size_t n, cap, cap_at;
	struct pt_error late;	/* what failed behind the lines of this block */
	uint64_t *digest;	/* [cur]: of the operands that were read to their end */
};

/* o and paths are borrowed; npaths 0 or "-": standard input. Fails at once where one cannot be read. */
int pt_source_open(struct pt_source *s, const char *const *paths, int npaths, const struct pt_source_options *o,
		   struct pt_error *err);
void pt_source_close(struct pt_source *s);

/* What is there by now, at least a line. PT_DATA: not text, a JSON array, damaged. PT_STOPPED: by a signal. */
int pt_source_block(struct pt_source *s, struct pt_block *b, struct pt_error *err);

/* PT_DATA "what" of the input by its name: the first of several. */
int pt_source_none(const char *const *paths, int npaths, const char *what, struct pt_error *err);

/* Whether all files are regular, so that they can be read twice. */
bool pt_source_regular(const char *const *paths, int npaths);

#endif
