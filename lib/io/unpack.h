/* SPDX-License-Identifier: MIT */
/*
 * unpack.h - the bytes of a gzip, bzip2, xz or zstd file, decompressed as
 * they are read, with a bound on how much may come out.
 *
 * Several compressed streams one behind the other are one (gzip's manual);
 * the end is reported only when every checksum agreed and no other bytes
 * stand behind it. gzip is read by zlib, since libarchive compares no
 * checksum there; the others by libarchive's filters.
 */
#ifndef PT_IO_UNPACK_H
#define PT_IO_UNPACK_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "io/sniff.h"

/* Reads up to n bytes, at least one; 0 at the end; -1 and err. */
typedef ssize_t (*pt_unpack_read_fn)(void *arg, void *data, size_t n, struct pt_error *err);

/*
 * How much may come out of what went in. given 0: 256 MiB, or 200 times of what went in, and never more
 * than 256 GiB.
 */
struct pt_unpack_bound {
	int64_t given, in, out;
};
int pt_unpack_bound_check(const struct pt_unpack_bound *b, struct pt_error *err);

struct pt_unpack;

/* how: GZIP, BZIP2, XZ or ZSTD. limit: bytes that may come out, 0: as above. */
int pt_unpack_open(struct pt_unpack **u, enum pt_packed how, pt_unpack_read_fn read, void *arg, int64_t limit,
		   struct pt_error *err);
void pt_unpack_close(struct pt_unpack *u);

/* Up to n bytes; 0 at the end. -1 and err: PT_DATA where it is damaged, cut short or too much. */
ssize_t pt_unpack_read(struct pt_unpack *u, void *data, size_t n, struct pt_error *err);

#endif
