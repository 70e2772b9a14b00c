/* SPDX-License-Identifier: MIT */
/*
 * draft.h - text that is being rewritten, and, where somebody asks for it,
 * which part of the original text each of its bytes stands for.
 */
#ifndef PT_TEXT_DRAFT_H
#define PT_TEXT_DRAFT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct pt_range {
	size_t from, to;
};

/* A text on its way through the normalizers. */
struct pt_stretch {
	const char *s;
	size_t n;
	const struct pt_range *at;	/* of each byte: the characters of the original that it stands for; NULL: nobody asks */
	size_t start;			/* of all of it, in the original: what is put in front stands there */
};

static inline const struct pt_range *pt_stretch_at(const struct pt_stretch *t, size_t i)
{
	return t->at ? t->at + i : NULL;
}

/* A text that is being written. */
struct pt_draft {
	struct pt_buf text;
	struct pt_range *at;	/* of each byte, if every append said so */
	size_t cap;
};

#define PT_DRAFT_INIT { PT_BUF_INIT, NULL, 0 }

void pt_draft_release(struct pt_draft *d);

static inline void pt_draft_clear(struct pt_draft *d)
{
	pt_buf_clear(&d->text);
}

/* The bytes appended since text.len was len stand for *at; for at[0], at[1], ... where each. */
void pt_draft_mark(struct pt_draft *d, size_t len, const struct pt_range *at);
void pt_draft_mark_each(struct pt_draft *d, size_t len, const struct pt_range *at);

/* Append s[n], all of which stands for *at (NULL: nobody asks). */
static inline void pt_draft_add(struct pt_draft *d, const char *s, size_t n, const struct pt_range *at)
{
	size_t len = d->text.len;

	pt_buf_add(&d->text, s, n);
	if (at)
		pt_draft_mark(d, len, at);
}

/* Append t's bytes [from, to) as they are. */
static inline void pt_draft_copy(struct pt_draft *d, const struct pt_stretch *t, size_t from, size_t to)
{
	size_t len = d->text.len;

	pt_buf_add(&d->text, t->s + from, to - from);
	if (t->at && from < to)
		pt_draft_mark_each(d, len, t->at + from);
}

/*
 * The same where characters are composed, divided or moved: those appended since text.len was len use up uses[0],
 * uses[1], ... characters of t each, and stand for the next one not yet used, or where they use none, for the last.
 */
void pt_draft_follow(struct pt_draft *d, size_t len, const struct pt_stretch *t, const uint32_t *uses);

/* The range of each character of s[n], the original, for each of its bytes. */
int pt_ranges(struct pt_draft *d, const char *s, size_t n, struct pt_error *err);

#endif
