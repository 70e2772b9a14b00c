/* SPDX-License-Identifier: MIT */
/*
 * splitter.h - the expressions by which most byte-level tokenizers split, as
 * plain code: compiled, they would take half of all time (GPT-2 on English:
 * 26 MB/s with PCRE2's JIT, 45 with this).
 */
#ifndef PT_TEXT_SPLITTER_H
#define PT_TEXT_SPLITTER_H

#include <stddef.h>

/*
 * Goes through valid UTF-8: the end of the match that begins at s[at], at < n.
 * These expressions match everywhere, so the next one begins there.
 */
typedef size_t (*pt_splitter)(const char *s, size_t n, size_t at);

/* That of an expression; NULL: not among those known. Needs pt_unicode_init(). */
pt_splitter pt_splitter_find(const char *pattern);

#endif
