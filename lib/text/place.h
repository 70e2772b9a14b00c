/* SPDX-License-Identifier: MIT */
/*
 * place.h - where in the text the ids of one side (a text, or one of a pair)
 * come from, before the post-processor adds its own.
 */
#ifndef PT_TEXT_PLACE_H
#define PT_TEXT_PLACE_H

#include "text/tok.h"
#include "text/work.h"

struct pt_side {
	struct pt_encoding e;		/* origin NULL: nobody asks, and the rest is not used */
	/* White space that each token begins and ends with, in characters, ByteLevel's among them. */
	struct pt_spaces {
		size_t front, back;
	} *spaces;
	size_t cap;
};

void pt_side_release(struct pt_side *s);
/* Keep the n ids from first on. */
void pt_side_cut(struct pt_side *s, size_t first, size_t n);

/* Append the id of an added token that was found as t. */
int pt_side_added(struct pt_side *s, int32_t id, const struct pt_stretch *t, struct pt_error *err);
/*
 * The tokens from first on are of a piece of w, of which the model has counted *done bytes before: say where
 * they come from, and count on.
 */
int pt_side_place(struct pt_side *s, const struct pt_tokenizer *tok, const struct pt_work *w,
		  const struct pt_piece *p, size_t *done, size_t first, struct pt_error *err);
/* Take white space out of the places, as the post-processor wants it; text is what was encoded. */
void pt_side_trim(struct pt_side *s, const struct pt_post *post, const char *text);

/* In what pt_wrap() has made: indices become places. */
void pt_place_wrapped(struct pt_encoding *out, const struct pt_side *a, const struct pt_side *b);

#endif
