/* SPDX-License-Identifier: MIT */
/*
 * unicode.h - properties of code points, as the parts of `tokenizers` see
 * them, each with the Unicode version of its library.
 */
#ifndef PT_TEXT_UNICODE_H
#define PT_TEXT_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

/* The low four bits: general category (Oniguruma's version, Unicode 16). */
enum {
	PT_CAT_OTHER, PT_CAT_LU, PT_CAT_LL, PT_CAT_LT, PT_CAT_LM, PT_CAT_LO,	/* up to LO: letters */
	PT_CAT_M, PT_CAT_ND, PT_CAT_N, PT_CAT_P, PT_CAT_S,			/* N: numbers but decimal digits */
	PT_CAT_MASK = 15
};

/* The others. */
enum {
	PT_UC_WORD = 0x10,	/* \w of Rust's regex */
	PT_UC_NUMERIC = 0x20,	/* Rust's char::is_numeric, category N */
	PT_UC_PUNCT8 = 0x40,	/* punctuation, ASCII's included (Unicode 8) */
	PT_UC_CONTROL8 = 0x80,	/* what BertNormalizer cleans away (Cc, Cf, Co of Unicode 8, U+FFFD) */
	PT_UC_MN8 = 0x100,	/* category Mn (Unicode 8) */
	PT_UC_MARK9 = 0x200,	/* category M (Unicode 9) */
	PT_UC_YOUNG = 0x400,	/* not assigned in Unicode 9: normalization forms leave it alone */
	PT_UC_ONIG_WORD = 0x800,	/* \w of Oniguruma */
	PT_UC_NEW = 0x1000,	/* not assigned in Unicode 14: unknown to the oldest PCRE2 in use (10.40) */
	PT_UC_CLUSTERS = 0x2000	/* part of one grapheme cluster with the character before it */
};

enum { PT_UNICODE_FLAT = 0x34000 };	/* planes 0 to 2, and the ideographs of plane 3 */
extern uint8_t pt_unicode_flat[PT_UNICODE_FLAT];
extern const uint16_t pt_unicode_class[];

/* Before the first look-up, from any thread, as often as one likes: pt_tokenizer_open() does it. */
void pt_unicode_init(void);
unsigned pt_unicode_high(uint32_t c);

/* The properties of c, below 0x110000. */
static inline unsigned pt_unicode(uint32_t c)
{
	return c < PT_UNICODE_FLAT ? pt_unicode_class[pt_unicode_flat[c]] : pt_unicode_high(c);
}

/* Calls found(from, to, to_arg) for every range of code points whose properties want() accepts, in order. */
void pt_unicode_ranges(bool (*want)(unsigned u, const void *arg), const void *arg,
		       void (*found)(uint32_t from, uint32_t to, void *to_arg), void *to_arg);

static inline bool pt_is_word(uint32_t c)
{
	return pt_unicode(c) & PT_UC_WORD;
}

/* The property White_Space. */
static inline bool pt_is_white(uint32_t c)
{
	if (c < 0x80)
		return c == ' ' || (c >= 9 && c <= 13);
	if (c < 0x1680)
		return c == 0x85 || c == 0xa0;
	return c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	       c == 0x205f || c == 0x3000;
}

/* Lower case without context; U+0130 becomes two characters, "i" and U+0307, of which this is the first. */
uint32_t pt_lower(uint32_t c);

#endif
