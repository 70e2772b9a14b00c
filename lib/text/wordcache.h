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
#include <string.h>

#include "base/error.h"

enum {
	PT_WORDCACHE_BYTES = 32,	/* longest word */
	PT_WORDCACHE_IDS = 7,		/* longest result */
	PT_WORDCACHE_LINES = 1 << 15
};

/* One line of the processor's cache. */
struct pt_wordcache_line {
	uint64_t key[4];	/* the word, by its length: see pt_wordcache_key() */
	int32_t id[PT_WORDCACHE_IDS];
	uint16_t len;		/* bytes of the word; 0: free */
	uint16_t n;		/* ids */
};

struct pt_wordcache {
	struct pt_wordcache_line *line;	/* pairs: a word is in either of its two */
};

int pt_wordcache_init(struct pt_wordcache *c, struct pt_error *err);
void pt_wordcache_release(struct pt_wordcache *c);

/* w[n] as numbers, n from 1 to PT_WORDCACHE_BYTES, read in parts that overlap; with n it says what w is. */
static inline void pt_wordcache_key(uint64_t key[4], const char *w, size_t n)
{
	uint32_t a, b;

	key[1] = key[2] = key[3] = 0;
	if (n >= 8) {
		memcpy(&key[0], w, 8);
		if (n > 16) {
			memcpy(&key[1], w + 8, 8);
			memcpy(&key[2], w + n - 16, 8);
		}
		memcpy(&key[3], w + n - 8, 8);
	} else if (n >= 4) {
		memcpy(&a, w, 4);
		memcpy(&b, w + n - 4, 4);
		key[0] = a | (uint64_t)b << 32;
	} else {
		key[0] = (uint64_t)(unsigned char)w[0] | (uint64_t)(unsigned char)w[n / 2] << 8 |
			 (uint64_t)(unsigned char)w[n - 1] << 16;
	}
}

/* The first of the two lines of a key. */
static inline struct pt_wordcache_line *pt_wordcache_pair(const struct pt_wordcache *c, const uint64_t key[4], size_t n)
{
	uint64_t h = (key[0] ^ n) * 0x9e3779b97f4a7c15u;

	if (n > 8) {
		h = (h ^ h >> 32 ^ key[3]) * 0x9e3779b97f4a7c15u;
		if (n > 16)
			h = (h ^ h >> 32 ^ key[1] ^ key[2] * 3) * 0x9e3779b97f4a7c15u;
	}
	return c->line + (h >> 40 & (PT_WORDCACHE_LINES - 2));
}

static inline bool pt_wordcache_is(const struct pt_wordcache_line *l, const uint64_t key[4], size_t n)
{
	return l->key[0] == key[0] && l->len == n && l->key[3] == key[3] && l->key[1] == key[1] && l->key[2] == key[2];
}

/* The line that has the key, moved to the front of its pair; NULL: neither. */
static inline const struct pt_wordcache_line *pt_wordcache_get(struct pt_wordcache_line *pair, const uint64_t key[4],
							       size_t n)
{
	struct pt_wordcache_line l;

	if (pt_wordcache_is(pair, key, n))
		return pair;
	if (!pt_wordcache_is(pair + 1, key, n))
		return NULL;
	l = pair[1];
	pair[1] = pair[0];
	pair[0] = l;
	return pair;
}

/* Keep a result of up to PT_WORDCACHE_IDS ids in the place of the older of two. */
void pt_wordcache_put(struct pt_wordcache_line *pair, const uint64_t key[4], size_t n, const int32_t *ids, size_t count);

#endif
