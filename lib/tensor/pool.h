/* SPDX-License-Identifier: MIT */
/*
 * pool.h - host memory for tensors, nodes and their contexts: chunks filled
 * from the start, rewound as a whole, kept from step to step. Addresses are
 * stable until rewound.
 */
#ifndef PT_TENSOR_POOL_H
#define PT_TENSOR_POOL_H

#include <stddef.h>

#include "base/error.h"

struct pt_pool_chunk;

struct pt_pool {
	struct pt_pool_chunk *chunk;
	size_t n, cap;
	size_t cur, used;		/* chunk being filled, bytes used of it */
};

struct pt_pool_mark {
	size_t cur, used;
};

void pt_pool_release(struct pt_pool *p);
/* Zeroed, 16-aligned; NULL and err without memory. */
void *pt_pool_alloc(struct pt_pool *p, size_t bytes, struct pt_error *err);
struct pt_pool_mark pt_pool_mark(const struct pt_pool *p);
void pt_pool_rewind(struct pt_pool *p, struct pt_pool_mark m);

#endif
