/* SPDX-License-Identifier: MIT */
/*
 * digest.h - the canonical digest of a stream and its counts (formats/stream.md,
 * section 6): the same for the same content, wherever records end and however
 * they are compressed.
 */
#ifndef PT_IO_DIGEST_H
#define PT_IO_DIGEST_H

#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "io/kinds.h"
#include "io/safetensors.h"

struct pt_digest {
	struct pt_hash hash;
	enum pt_kind kind;
	/* counts of what was fed */
	uint64_t records;
	uint64_t examples;
	uint64_t tokens;
	uint64_t steps;			/* batch, metrics */
	uint64_t micro_batches;
};

/* Begin with the metadata of a HEAD (parsed, or still to be written). */
void pt_digest_head(struct pt_digest *d, const struct pt_st *head);
void pt_digest_head_build(struct pt_digest *d, const struct pt_st_build *head);

/* A DATA record of the kind of the HEAD, checked by pt_kind_check(). */
int pt_digest_data(struct pt_digest *d, const struct pt_st *st, struct pt_error *err);

uint64_t pt_digest_value(const struct pt_digest *d);	/* may go on afterwards */

/* The digest of segments read one after the other: first (or so far), next. */
uint64_t pt_digest_join(uint64_t d, uint64_t next);

/* Name and value of the i-th count that END holds for this kind; NULL past the last. */
const char *pt_digest_count(const struct pt_digest *d, int i, uint64_t *value);

#endif
