/* SPDX-License-Identifier: MIT */
/*
 * charsmap.h - sentencepiece's precompiled map of characters: a double-array
 * trie (Darts-clone) of what is replaced, and the texts that replace it. The
 * bytes come from a file: nothing in them is believed.
 */
#ifndef PT_TEXT_CHARSMAP_H
#define PT_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct pt_charsmap {
	uint32_t *unit;		/* the trie */
	size_t nunit;
	char *text;		/* replacements, each with a NUL behind it */
	size_t ntext;
	bool ascii[128];	/* which of ASCII are replaced */
};

/* From n bytes as sentencepiece writes them. */
int pt_charsmap_new(struct pt_charsmap **map, const void *data, size_t n, struct pt_error *err);
void pt_charsmap_free(struct pt_charsmap *map);

/* The replacement for the shortest text that s[n] begins with and that has one; NULL: none has. */
const char *pt_charsmap_find(const struct pt_charsmap *map, const char *s, size_t n, size_t *len);

#endif
