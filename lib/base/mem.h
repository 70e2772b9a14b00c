/* SPDX-License-Identifier: MIT */
/*
 * mem.h - checked sizes and checked memory. Everything that comes from a
 * file is multiplied and added through these helpers.
 */
#ifndef PT_BASE_MEM_H
#define PT_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* *out = a * b, a + b; false when it does not fit. */
static inline bool pt_mul_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

static inline bool pt_add_size(size_t a, size_t b, size_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

/* n * size bytes, not initialised / zeroed. NULL and err when there are none left
 * or the product overflows. n * size == 0 gives a pointer that can be freed. Freed by free(). */
void *pt_malloc(size_t n, size_t size, struct pt_error *err);
void *pt_calloc(size_t n, size_t size, struct pt_error *err);

/* As realloc(); the old block stays valid (and the caller's) on failure. */
void *pt_realloc(void *old, size_t n, size_t size, struct pt_error *err);

/* Grow *array of *cap elements so that it holds at least need of them (doubling). */
int pt_grow(void *array_ptr, size_t *cap, size_t need, size_t size, struct pt_error *err);

char *pt_strdup(const char *s, struct pt_error *err);
char *pt_strndup(const char *s, size_t n, struct pt_error *err);

/* A formatted string on the heap, freed by free(); NULL and err without memory. */
char *pt_format(struct pt_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
