/* SPDX-License-Identifier: MIT */
/*
 * hash.c - digests and a map from byte strings to integers.
 *
 * Numbers enter a digest in little-endian order, so that it is the same on
 * every machine.
 */
#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pt_hash_init(struct pt_hash *h)
{
	XXH64_reset(&h->state, 0);
}

void pt_hash_add(struct pt_hash *h, const void *data, size_t n)
{
	if (n)
		XXH64_update(&h->state, data, n);
}

void pt_hash_u64(struct pt_hash *h, uint64_t v)
{
	unsigned char b[8];

	for (int i = 0; i < 8; i++)
		b[i] = (unsigned char)(v >> 8 * i);
	pt_hash_add(h, b, 8);
}

void pt_hash_str(struct pt_hash *h, const char *s)
{
	size_t n = strlen(s);

	pt_hash_u64(h, n);
	pt_hash_add(h, s, n);
}

uint64_t pt_hash_value(const struct pt_hash *h)
{
	return XXH64_digest(&h->state);
}

uint64_t pt_hash64(const void *data, size_t n)
{
	return XXH64(n ? data : "", n, 0);
}

struct pt_hex pt_hex64(uint64_t v)
{
	struct pt_hex h;

	for (int i = 15; i >= 0; i--, v >>= 4)
		h.s[i] = "0123456789abcdef"[v & 15];
	h.s[16] = '\0';
	return h;
}

bool pt_unhex64(const char *s, uint64_t *v)
{
	uint64_t x = 0;

	for (int i = 0; i < 16; i++) {
		char c = s[i];

		if (c >= '0' && c <= '9')
			x = x << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			x = x << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	if (s[16])
		return false;
	*v = x;
	return true;
}

struct pt_map_slot {
	const char *key;	/* NULL: free */
	size_t n;
	uint64_t hash;
	int64_t value;
};

static struct pt_map_slot *find(const struct pt_map *m, const char *key, size_t n, uint64_t hash)
{
	size_t i = (size_t)hash & (m->cap - 1);

	for (;; i = (i + 1) & (m->cap - 1)) {
		struct pt_map_slot *s = &m->slot[i];

		if (!s->key || (s->hash == hash && s->n == n && memcmp(s->key, key, n) == 0))
			return s;
	}
}

static int resize(struct pt_map *m, size_t cap, struct pt_error *err)
{
	struct pt_map old = *m;

	m->slot = pt_calloc(cap, sizeof *m->slot, err);
	if (!m->slot) {
		*m = old;
		return PT_FAIL;
	}
	m->cap = cap;
	for (size_t i = 0; i < old.cap; i++)
		if (old.slot[i].key)
			*find(m, old.slot[i].key, old.slot[i].n, old.slot[i].hash) = old.slot[i];
	free(old.slot);
	return 0;
}

int pt_map_init(struct pt_map *m, size_t expected, struct pt_error *err)
{
	size_t cap = 16, need;

	*m = (struct pt_map){ 0 };
	if (!pt_mul_size(expected, 2, &need) || need > SIZE_MAX / 4)
		return pt_error(err, PT_FAIL, "out of memory: a map of %zu keys", expected);
	while (cap < need)
		cap *= 2;
	return resize(m, cap, err);
}

void pt_map_release(struct pt_map *m)
{
	free(m->slot);
	*m = (struct pt_map){ 0 };
}

int pt_map_put(struct pt_map *m, const char *key, size_t n, int64_t value, int64_t *old,
	       struct pt_error *err)
{
	struct pt_map_slot *s;
	uint64_t hash;

	if (!key)
		key = "";
	hash = pt_hash64(key, n);
	/* At most two thirds full. */
	if (m->count >= m->cap - m->cap / 3 && resize(m, m->cap * 2, err))
		return PT_FAIL;
	s = find(m, key, n, hash);
	if (old)
		*old = s->key ? s->value : -1;
	if (!s->key) {
		m->count++;
		s->key = key;
		s->n = n;
		s->hash = hash;
	}
	s->value = value;
	return 0;
}

int64_t pt_map_get(const struct pt_map *m, const char *key, size_t n)
{
	const struct pt_map_slot *s;

	if (m->count == 0)
		return -1;
	if (!key)
		key = "";
	s = find(m, key, n, pt_hash64(key, n));
	return s->key ? s->value : -1;
}
