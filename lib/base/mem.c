/* SPDX-License-Identifier: MIT */
/*
 * mem.c - checked memory.
 */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool total(size_t n, size_t size, size_t *out, struct pt_error *err)
{
	/* PTRDIFF_MAX: larger blocks break pointer differences. */
	if (!pt_mul_size(n, size, out) || *out > PTRDIFF_MAX) {
		pt_error(err, PT_FAIL, "out of memory: %zu elements of %zu bytes", n, size);
		return false;
	}
	if (*out == 0)
		*out = 1;
	return true;
}

static void *checked(void *p, size_t bytes, struct pt_error *err)
{
	if (!p)
		pt_error(err, PT_FAIL, "out of memory: %zu bytes", bytes);
	return p;
}

void *pt_malloc(size_t n, size_t size, struct pt_error *err)
{
	size_t bytes;

	return total(n, size, &bytes, err) ? checked(malloc(bytes), bytes, err) : NULL;
}

void *pt_calloc(size_t n, size_t size, struct pt_error *err)
{
	size_t bytes;

	return total(n, size, &bytes, err) ? checked(calloc(1, bytes), bytes, err) : NULL;
}

void *pt_realloc(void *old, size_t n, size_t size, struct pt_error *err)
{
	size_t bytes;

	return total(n, size, &bytes, err) ? checked(realloc(old, bytes), bytes, err) : NULL;
}

int pt_grow(void *array_ptr, size_t *cap, size_t need, size_t size, struct pt_error *err)
{
	void *array;
	size_t want = *cap < 8 ? 8 : *cap;

	if (need <= *cap)
		return 0;
	while (want < need)
		if (!pt_mul_size(want, 2, &want))
			want = need;
	memcpy(&array, array_ptr, sizeof array);
	array = pt_realloc(array, want, size, err);
	if (!array)
		return PT_FAIL;
	memcpy(array_ptr, &array, sizeof array);
	*cap = want;
	return 0;
}

char *pt_strdup(const char *s, struct pt_error *err)
{
	return pt_strndup(s, strlen(s), err);
}

char *pt_strndup(const char *s, size_t n, struct pt_error *err)
{
	size_t len = strnlen(s, n);
	char *p = pt_malloc(len + 1, 1, err);

	if (p) {
		memcpy(p, s, len);
		p[len] = '\0';
	}
	return p;
}

char *pt_format(struct pt_error *err, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0) {
		pt_error(err, PT_FAIL, "out of memory: a formatted string");
		return NULL;
	}
	p = pt_malloc((size_t)n + 1, 1, err);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
