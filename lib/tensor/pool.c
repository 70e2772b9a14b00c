/* SPDX-License-Identifier: MIT */
/*
 * pool.c - chunks of host memory, filled from the start and rewound.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/pool.h"

#define CHUNK ((size_t)64 << 10)

struct pt_pool_chunk {
	char *data;
	size_t size;
};

void pt_pool_release(struct pt_pool *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->chunk[i].data);
	free(p->chunk);
	memset(p, 0, sizeof *p);
}

void *pt_pool_alloc(struct pt_pool *p, size_t bytes, struct pt_error *err)
{
	char *out;

	if (!pt_add_size(bytes, 15, &bytes)) {
		pt_error(err, PT_FAIL, "out of memory");
		return NULL;
	}
	bytes &= ~(size_t)15;
	while (p->cur < p->n && p->chunk[p->cur].size - p->used < bytes) {
		p->cur++;
		p->used = 0;
	}
	if (p->cur == p->n) {
		size_t size = bytes > CHUNK ? bytes : CHUNK;

		if (pt_grow(&p->chunk, &p->cap, p->n + 1, sizeof *p->chunk, err))
			return NULL;
		p->chunk[p->n].data = pt_malloc(size, 1, err);
		if (!p->chunk[p->n].data)
			return NULL;
		p->chunk[p->n++].size = size;
	}
	out = p->chunk[p->cur].data + p->used;
	p->used += bytes;
	memset(out, 0, bytes);
	return out;
}

struct pt_pool_mark pt_pool_mark(const struct pt_pool *p)
{
	return (struct pt_pool_mark){ p->cur, p->used };
}

void pt_pool_rewind(struct pt_pool *p, struct pt_pool_mark m)
{
	p->cur = m.cur;
	p->used = m.used;
}
