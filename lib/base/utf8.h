/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - one step through UTF-8 (Unicode 15, table 3-7: no overlong forms,
 * no surrogates, nothing above U+10FFFF).
 */
#ifndef PT_BASE_UTF8_H
#define PT_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The code point at s (n > 0 bytes are left) in *cp; returns its length, 1..4.
 * Where s is not UTF-8, *cp is UINT32_MAX and the length is that of the
 * maximal subpart: what one U+FFFD stands for in Python's errors='replace'.
 */
size_t pt_utf8_next(const char *s, size_t n, uint32_t *cp);

/* Writes cp (a scalar value) to out[4]; returns the length. */
size_t pt_utf8_put(uint32_t cp, char *out);

/* Offset of the first byte that is not UTF-8, or n. */
size_t pt_utf8_valid(const char *s, size_t n);

#endif
