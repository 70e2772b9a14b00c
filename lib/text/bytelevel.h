/* SPDX-License-Identifier: MIT */
/*
 * bytelevel.h - GPT-2's alphabet: every byte has a printable character of its
 * own, U+0100 and up for those that are not printable in Latin-1.
 */
#ifndef PT_TEXT_BYTELEVEL_H
#define PT_TEXT_BYTELEVEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "text/draft.h"

uint32_t pt_bytelevel_char(uint8_t byte);
int pt_bytelevel_byte(uint32_t cp);		/* -1: not of the alphabet */

/* UTF-8 bytes of a byte's character. */
static inline unsigned pt_bytelevel_len(uint8_t byte)
{
	return byte > 0x20 && byte < 0x7f ? 1 : 2;
}

/* Append each byte of s as its character. */
void pt_bytelevel_map(struct pt_buf *out, const char *s, size_t n);
/* The same, with the range at[i] of each s[i]; at NULL: nobody asks. */
void pt_bytelevel_draft(struct pt_draft *out, const char *s, size_t n, const struct pt_range *at);
/* Append the bytes that the characters of s stand for; false (and nothing appended) when one is of no byte. */
bool pt_bytelevel_unmap(struct pt_buf *out, const char *s, size_t n);

#endif
