/* SPDX-License-Identifier: MIT */
/*
 * decoders.h - decoders: stages that turn a list of tokens into text. A
 * Sequence is flattened into a list of stages.
 */
#ifndef PT_TEXT_DECODERS_H
#define PT_TEXT_DECODERS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "text/regex.h"

/* Strings one behind the other in text: string i ends at end[i]. */
struct pt_strings {
	struct pt_buf text;
	size_t *end;
	size_t n, cap;
};

void pt_strings_release(struct pt_strings *s);
int pt_strings_end(struct pt_strings *s, struct pt_error *err);	/* what was appended to text is a string */

struct pt_decoder_stage {
	const struct pt_decoder_kind *kind;
	struct pt_regex *regex;
	char *string;		/* pattern, prefix, suffix, character */
	size_t nstring;
	char *content;		/* replacement */
	size_t ncontent;
	size_t start, stop;
	bool flag;		/* as the kind says */
};

struct pt_decoders {
	struct pt_decoder_stage *stage;
	size_t n, cap;
	bool late;		/* any token can change what those before it give */
};

int pt_decoders_parse(struct pt_decoders *d, const cJSON *j, struct pt_error *err);	/* NULL: none */
void pt_decoders_release(struct pt_decoders *d);

/* Append the text of the tokens to out; the list is used up. Without stages they are joined with spaces. */
int pt_decoders_run(const struct pt_decoders *d, struct pt_strings *tokens, struct pt_buf *out, struct pt_error *err);

/* Whether what a token gives stays undecided until the next one is known: a byte of a run, or all of them. */
bool pt_decoders_waits(const struct pt_decoders *d, const char *token, size_t n);

/* One type of stage. */
struct pt_decoder_kind {
	const char *type;
	int (*parse)(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err);
	int (*run)(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		   struct pt_error *err);
};

extern const struct pt_decoder_kind pt_decoder_bytelevel, pt_decoder_fallback, pt_decoder_fuse, pt_decoder_strip,
	pt_decoder_replace, pt_decoder_metaspace, pt_decoder_wordpiece, pt_decoder_bpe, pt_decoder_ctc;

/* "<0x41>": its byte; -1: not of this form. */
int pt_decoder_byte(const char *token, size_t n);

/* English spaces: " ." becomes "." and so on; do_not: " do not" becomes " don't" too, as WordPiece has it. */
void pt_decoder_cleanup(struct pt_buf *b, bool do_not);

static inline const char *pt_strings_get(const struct pt_strings *s, size_t i, size_t *n)
{
	size_t from = i ? s->end[i - 1] : 0;

	*n = s->end[i] - from;
	return s->text.data ? s->text.data + from : "";
}

#endif
