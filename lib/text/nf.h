/* SPDX-License-Identifier: MIT */
/*
 * nf.h - the Unicode normalization forms as `tokenizers` has them: those of
 * Unicode 9.0.
 */
#ifndef PT_TEXT_NF_H
#define PT_TEXT_NF_H

#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

enum pt_nf { PT_NFC, PT_NFD, PT_NFKC, PT_NFKD };

/* Append the form of s[n] to out. */
int pt_nf(struct pt_buf *out, enum pt_nf form, const char *s, size_t n, struct pt_error *err);

#endif
