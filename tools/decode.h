/* SPDX-License-Identifier: MIT */
/*
 * decode.h - the text of an example, with what is learned marked.
 */
#ifndef PT_DECODE_H
#define PT_DECODE_H

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "io/kinds.h"

struct decode;

/* model: a model directory, a hub name, or a tokenizer.json. */
int decode_open(struct decode **d, const char *model, struct pt_error *err);
void decode_close(struct decode *d);

/* What a HEAD says of task, labels and tokenizer; another tokenizer than this one is a warning. */
void decode_head(struct decode *d, const struct pt_st *head);

/*
 * Append the text of example i of a record of kind examples, batch or predictions: special tokens as they
 * are, tokens with loss between DECODE_OPEN and DECODE_CLOSE; where the target is another token
 * or a class, it stands behind an arrow. Predicted classes of tokens are their names. A decoder's targets follow on "=>". Control characters are escaped.
 */
#define DECODE_OPEN "\xe2\x9f\xa6"	/* U+27E6 */
#define DECODE_CLOSE "\xe2\x9f\xa7"	/* U+27E7 */
int decode_example(struct decode *d, enum pt_kind kind, const struct pt_st *st, int64_t i, struct pt_buf *out,
		   struct pt_error *err);

#endif
