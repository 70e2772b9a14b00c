/* SPDX-License-Identifier: MIT */
/*
 * nf.h - the Unicode normalization forms as `tokenizers` has them: those of
 * Unicode 9.0.
 */
#ifndef PT_TEXT_NF_H
#define PT_TEXT_NF_H

#include <stddef.h>

#include "base/error.h"
#include "text/draft.h"

enum pt_nf { PT_NFC, PT_NFD, PT_NFKC, PT_NFKD };

/* Append the form of t to out. */
int pt_nf(struct pt_draft *out, enum pt_nf form, const struct pt_stretch *t, struct pt_error *err);

/*
 * The same for t with places, character by character: slower. A character
 * that was composed or moved stands where `tokenizers` says that it does,
 * which is not always where it came from.
 */
int pt_nf_mapped(struct pt_draft *out, enum pt_nf form, const struct pt_stretch *t, struct pt_error *err);

#endif
