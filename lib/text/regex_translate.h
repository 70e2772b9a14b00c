/* SPDX-License-Identifier: MIT */
/*
 * regex_translate.h - an Oniguruma pattern in PCRE2's spelling.
 */
#ifndef PT_TEXT_REGEX_TRANSLATE_H
#define PT_TEXT_REGEX_TRANSLATE_H

#include "base/buf.h"
#include "base/error.h"

/* Append the translation to out; PT_DATA names what has no equivalent. */
int pt_regex_translate(struct pt_buf *out, const char *pattern, struct pt_error *err);

#endif
