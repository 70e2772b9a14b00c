/* SPDX-License-Identifier: MIT */
/*
 * wordcache.c - two-way set-associative; a word and its ids are one line of
 * the processor's cache.
 */
#include "text/wordcache.h"

#include <stdlib.h>

#include "base/error.h"

int pt_wordcache_init(struct pt_wordcache *c, struct pt_error *err)
{
	size_t bytes = PT_WORDCACHE_LINES * sizeof *c->line;

	_Static_assert(sizeof(struct pt_wordcache_line) == 64, "a line is a line");
	c->line = aligned_alloc(64, bytes);
	if (!c->line)
		return pt_error(err, PT_FAIL, "out of memory: %zu bytes", bytes);
	memset(c->line, 0, bytes);
	return 0;
}

void pt_wordcache_release(struct pt_wordcache *c)
{
	free(c->line);
	c->line = NULL;
}

void pt_wordcache_put(struct pt_wordcache_line *pair, const uint64_t key[4], size_t n, const int32_t *ids, size_t count)
{
	if (count > PT_WORDCACHE_IDS)
		return;
	pair[1] = pair[0];
	memcpy(pair[0].key, key, sizeof pair[0].key);
	pair[0].len = (uint16_t)n;
	pair[0].n = (uint16_t)count;
	if (count)
		memcpy(pair[0].id, ids, count * sizeof *ids);
}
