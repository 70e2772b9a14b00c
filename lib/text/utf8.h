/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - UTF-8 as Python has it, beside base/utf8.h (pt_utf8_valid() checks, pt_utf8_next() steps through
 * anything): replacement of what is invalid, and fast steps through text that is known to be valid.
 */
#ifndef PT_TEXT_UTF8_H
#define PT_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/utf8.h"

/* Append s with invalid sequences as U+FFFD, as bytes.decode("utf-8", errors="replace"); returns how many. */
size_t pt_utf8_replace(struct pt_buf *out, const char *s, size_t n);

/* The code point at s of valid UTF-8 that has not ended; *len its bytes. */
static inline uint32_t pt_utf8_get(const char *s, unsigned *len)
{
	const unsigned char *p = (const unsigned char *)s;

	if (p[0] < 0x80) {
		*len = 1;
		return p[0];
	}
	if (p[0] < 0xe0) {
		*len = 2;
		return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
	}
	if (p[0] < 0xf0) {
		*len = 3;
		return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
	}
	*len = 4;
	return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

/* Bytes of the sequence that starts with c. */
static inline unsigned pt_utf8_len(char c)
{
	unsigned char u = (unsigned char)c;

	return u < 0x80 ? 1 : u < 0xe0 ? 2 : u < 0xf0 ? 3 : 4;
}

/* Bytes of the sequence that ends before s[end], end > 0. */
static inline unsigned pt_utf8_back(const char *s, size_t end)
{
	unsigned len = 1;

	while (((unsigned char)s[end - len] & 0xc0) == 0x80)
		len++;
	return len;
}

/* The code point that ends before s[end], end > 0. */
static inline uint32_t pt_utf8_before(const char *s, size_t end, unsigned *len)
{
	return pt_utf8_get(s + end - pt_utf8_back(s, end), len);
}

#endif
