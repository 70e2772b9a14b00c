/* SPDX-License-Identifier: MIT */
/*
 * wordcache.c - open addressing; full, it starts anew. A word of up to 16
 * bytes is its own key, so most hits cost one cache line.
 */
#include "text/wordcache.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

enum { SLOTS = 1 << 16, FULL = SLOTS / 2, STORE = 1 << 21 };

int pt_wordcache_init(struct pt_wordcache *c, struct pt_error *err)
{
	*c = (struct pt_wordcache){ NULL, 0, NULL, 0, 0 };
	c->slot = pt_calloc(SLOTS, sizeof *c->slot, err);
	return c->slot ? 0 : PT_FAIL;
}

void pt_wordcache_release(struct pt_wordcache *c)
{
	free(c->slot);
	free(c->store);
}

/* The first bytes of w, up to eight. */
static uint64_t load(const char *w, size_t n)
{
	uint64_t v = 0;

	if (n >= 8)
		memcpy(&v, w, 8);
	else
		for (size_t i = 0; i < n; i++)
			v |= (uint64_t)(unsigned char)w[i] << 8 * i;
	return v;
}

static bool same(const struct pt_wordcache *c, const struct pt_wordcache_slot *s, const char *w, size_t n)
{
	return n <= 16 || memcmp(c->store + s->at + (s->n > 2 ? s->n : 0), w, n) == 0;
}

const int32_t *pt_wordcache_get(struct pt_wordcache *c, const char *w, size_t n, struct pt_wordcache_key *key,
				size_t *count)
{
	uint64_t k0 = load(w, n), k1 = n <= 8 ? 0 : n <= 16 ? load(w + 8, n - 8) : XXH3_64bits(w, n);
	uint64_t h = (k0 ^ (k1 << 23 | k1 >> 41) ^ n) * 0x9e3779b97f4a7c15u;
	size_t i = (h ^ h >> 29) >> 8 & (SLOTS - 1);

	for (;; i = (i + 1) & (SLOTS - 1)) {
		struct pt_wordcache_slot *s = &c->slot[i];

		if (!s->len) {
			*key = (struct pt_wordcache_key){ k0, k1, s };
			return NULL;
		}
		if (s->k0 == k0 && s->k1 == k1 && s->len == n && same(c, s, w, n)) {
			*count = s->n;
			return s->n > 2 ? c->store + s->at : s->id;
		}
	}
}

void pt_wordcache_put(struct pt_wordcache *c, const struct pt_wordcache_key *key, const char *w, size_t n,
		      const int32_t *ids, size_t count)
{
	size_t need = (count > 2 ? count : 0) + (n > 16 ? (n + 3) / 4 : 0);
	struct pt_wordcache_slot *s = key->slot;

	if (c->used >= FULL || c->nstore + need > STORE) {
		memset(c->slot, 0, SLOTS * sizeof *c->slot);
		c->used = c->nstore = 0;
		return;
	}
	if (need && pt_grow(&c->store, &c->store_cap, c->nstore + need, sizeof *c->store, NULL))
		return;
	*s = (struct pt_wordcache_slot){ key->k0, key->k1, (uint16_t)n, (uint16_t)count, (uint32_t)c->nstore, { 0, 0 } };
	c->used++;
	if (count > 2)
		memcpy(c->store + c->nstore, ids, count * sizeof *ids);
	else if (count)
		memcpy(s->id, ids, count * sizeof *ids);
	if (n > 16)
		memcpy(c->store + c->nstore + (count > 2 ? count : 0), w, n);
	c->nstore += need;
}
