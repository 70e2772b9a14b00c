/* SPDX-License-Identifier: MIT */
/*
 * spool.h - bytes that are written once and read in any order: in memory up to
 * a bound, beyond it in an unlinked file in $TMPDIR (else /tmp).
 */
#ifndef PT_DATA_SPOOL_H
#define PT_DATA_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct pt_spool {
	size_t bound;		/* bytes to keep in memory */
	struct pt_buf mem;
	uint64_t size;		/* of all that was added */
	uint64_t flushed;	/* of the file */
	int fd;			/* -1: no file yet */
	struct pt_buf pending;	/* not yet in the file */
};

void pt_spool_init(struct pt_spool *s, size_t bound);
void pt_spool_release(struct pt_spool *s);

/* Append n bytes; they begin at *at. PT_FAIL names the directory that is full. */
int pt_spool_add(struct pt_spool *s, const void *data, size_t n, uint64_t *at, struct pt_error *err);

/* n bytes from at, which one call added; valid until the next call, perhaps in scratch. */
int pt_spool_get(struct pt_spool *s, uint64_t at, size_t n, const void **data, struct pt_buf *scratch,
		 struct pt_error *err);

#endif
