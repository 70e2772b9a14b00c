/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - UTF-8 as Python has it: surrogates, overlong forms and anything
 * above U+10FFFF are invalid.
 */
#ifndef PT_TEXT_UTF8_H
#define PT_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Offset of the first byte that is not part of valid UTF-8; n when all is. */
size_t pt_utf8_check(const char *s, size_t n);

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

/* Writes 1..4 bytes; returns how many. c is a valid scalar value. */
static inline unsigned pt_utf8_put(char *s, uint32_t c)
{
	if (c < 0x80) {
		s[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	s[0] = (char)(0xf0 | c >> 18);
	s[1] = (char)(0x80 | (c >> 12 & 0x3f));
	s[2] = (char)(0x80 | (c >> 6 & 0x3f));
	s[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

#endif
