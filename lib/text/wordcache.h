/* SPDX-License-Identifier: MIT */
/*
 * wordcache.h - words already encoded, of one encoder. Language repeats
 * itself: nine words of ten are found here.
 */
#ifndef PT_TEXT_WORDCACHE_H
#define PT_TEXT_WORDCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PT_WORDCACHE_LONGEST = 128 };	/* bytes of a word */

struct pt_wordcache_slot {
	uint64_t k0, k1;	/* a word of up to 16 bytes; of a longer one the first 8 and a hash */
	uint16_t len;		/* 0: free */
	uint16_t n;		/* ids */
	uint32_t at;		/* in store: the ids where there are more than 2, then the word if it is long */
	int32_t id[2];
};

struct pt_wordcache {
	struct pt_wordcache_slot *slot;
	size_t used;
	int32_t *store;
	size_t nstore, store_cap;
};

/* Where a word is or belongs. */
struct pt_wordcache_key {
	uint64_t k0, k1;
	struct pt_wordcache_slot *slot;
};

int pt_wordcache_init(struct pt_wordcache *c, struct pt_error *err);
void pt_wordcache_release(struct pt_wordcache *c);

/* The ids of w[n], n from 1 to PT_WORDCACHE_LONGEST; NULL: not known. */
const int32_t *pt_wordcache_get(struct pt_wordcache *c, const char *w, size_t n, struct pt_wordcache_key *key,
				size_t *count);
/* Keep them, unless memory is short; key is of the get before. */
void pt_wordcache_put(struct pt_wordcache *c, const struct pt_wordcache_key *key, const char *w, size_t n,
		      const int32_t *ids, size_t count);

#endif
