/* SPDX-License-Identifier: MIT */
/*
 * hash.h - XXH64 digests (xxHash), and a map from byte strings to integers.
 */
#ifndef PT_BASE_HASH_H
#define PT_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define XXH_STATIC_LINKING_ONLY	/* the complete type of the state; its layout is stable since 0.8 */
#include <xxhash.h>

#include "base/error.h"

struct pt_hash {
	XXH64_state_t state;
};

void pt_hash_init(struct pt_hash *h);
void pt_hash_add(struct pt_hash *h, const void *data, size_t n);
void pt_hash_str(struct pt_hash *h, const char *s);	/* length, then bytes: unambiguous */
void pt_hash_u64(struct pt_hash *h, uint64_t v);	/* little-endian */
uint64_t pt_hash_value(const struct pt_hash *h);	/* may go on afterwards */

uint64_t pt_hash64(const void *data, size_t n);

/* 16 lower-case hexadecimal digits and NUL. */
struct pt_hex { char s[17]; };
struct pt_hex pt_hex64(uint64_t v);
bool pt_unhex64(const char *s, uint64_t *v);		/* exactly 16 digits */

/* Open addressing; keys are borrowed and must outlive the map. */
struct pt_map {
	struct pt_map_slot *slot;
	size_t cap;
	size_t count;
};

int pt_map_init(struct pt_map *m, size_t expected, struct pt_error *err);
void pt_map_release(struct pt_map *m);
/* Insert or replace; *old is the previous value or -1 (old may be NULL). value >= 0. */
int pt_map_put(struct pt_map *m, const char *key, size_t n, int64_t value, int64_t *old,
	       struct pt_error *err);
int64_t pt_map_get(const struct pt_map *m, const char *key, size_t n);	/* -1: absent */

#endif
