/* SPDX-License-Identifier: MIT */
/*
 * files.h - the files that an operand stands for: itself, decompressed where
 * it is compressed, or the members of an archive that are chosen.
 *
 * Passed over in archives are directories and what macOS puts beside files
 * ("._NAME", ".DS_Store", "__MACOSX/"). A chosen member that is a link or a
 * device, encrypted, or of a path that no file should have is refused.
 */
#ifndef PT_DATA_FILES_H
#define PT_DATA_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "data/pattern.h"
#include "io/archive.h"
#include "io/unpack.h"

struct pt_files {
	const char *path;
	const struct pt_patterns *choose;
	int64_t limit;			/* bytes that may be unpacked; 0: as unpack.h has it */
	int fd;
	bool regular, live;		/* a regular file; a terminal */
	struct pt_buf head;		/* the first bytes, which tell what it is */
	size_t head_at;
	struct pt_hash hash;		/* of all bytes of the operand */
	struct pt_unpack *unpack;
	struct pt_archive *archive;
	struct pt_buf packed;		/* the first bytes that were decompressed */
	size_t packed_at;
	bool begun;
	int64_t chosen;
	struct pt_buf first;		/* name of the first member, for messages */

	/* of the current file */
	struct pt_buf name;		/* for messages: "reviews.tar.gz:train/pos/1.txt" */
	struct pt_buf plain;		/* its own name, without the archive's and the suffix of a compressor */
	char *label;			/* from the path, owned; NULL: none */
};

/* path "-": standard input. choose may be NULL. */
int pt_files_open(struct pt_files *in, const char *path, const struct pt_patterns *choose, int64_t limit,
		  struct pt_error *err);
void pt_files_close(struct pt_files *in);

/* The next file; *more is false behind the last, when all of the operand has been read. */
int pt_files_next(struct pt_files *in, bool *more, struct pt_error *err);
/* Up to n bytes, what is there by now; 0 at the end of the file; -1 and err. */
ssize_t pt_files_read(struct pt_files *in, void *data, size_t n, struct pt_error *err);

#endif
