/* SPDX-License-Identifier: MIT */
/*
 * archive.h - the members of a tar or zip archive, one after the other as
 * they are stored, without anything written to disk.
 *
 * tar comes from a function, so from pipes and decompressors (unpack.h) too,
 * and ends in the two blocks of zeros that POSIX asks for: libarchive takes
 * an archive cut between two members for a whole one, this does not. zip is
 * a regular file, since its directory is at the end (zipdir.h).
 */
#ifndef PT_IO_ARCHIVE_H
#define PT_IO_ARCHIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "io/unpack.h"

enum { PT_MEMBER_NAME = 4096, PT_MEMBERS = 10000000 };	/* longest name, most members */

/* Valid until the next call. */
struct pt_member {
	const char *name;	/* fit to be printed; without leading "./" */
	bool dir;
	const char *refused;	/* why it must not be read ("a symbolic link"), or NULL */
};

struct pt_archive;

/* limit: bytes that may come out of all members, as pt_unpack_open() has it. */
int pt_archive_open_tar(struct pt_archive **a, pt_unpack_read_fn read, void *arg, int64_t limit, struct pt_error *err);
int pt_archive_open_zip(struct pt_archive **a, int fd, int64_t limit, struct pt_error *err);
void pt_archive_close(struct pt_archive *a);

/* *more is false at the end, which is whole. PT_DATA: damaged or cut short. */
int pt_archive_next(struct pt_archive *a, struct pt_member *m, bool *more, struct pt_error *err);
/* Up to n bytes of this member; 0 at its end; -1 and err. */
ssize_t pt_archive_read(struct pt_archive *a, void *data, size_t n, struct pt_error *err);

#endif
