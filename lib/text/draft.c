/* SPDX-License-Identifier: MIT */
/*
 * draft.c - the ranges beside a text that is being written.
 */
#include "text/draft.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

void pt_draft_release(struct pt_draft *d)
{
	pt_buf_release(&d->text);
	free(d->at);
	d->at = NULL;
	d->cap = 0;
}

/* Room for a range of each byte; without memory the text has failed. */
static bool grow(struct pt_draft *d)
{
	struct pt_error err = PT_ERROR_INIT;

	if (!d->text.failed && d->text.len > d->cap)
		d->text.failed = pt_grow(&d->at, &d->cap, d->text.len, sizeof *d->at, &err) != 0;
	return !d->text.failed;
}

void pt_draft_mark(struct pt_draft *d, size_t len, const struct pt_range *at)
{
	if (grow(d))
		for (size_t i = len; i < d->text.len; i++)
			d->at[i] = *at;
}

void pt_draft_mark_each(struct pt_draft *d, size_t len, const struct pt_range *at)
{
	if (grow(d))
		memcpy(d->at + len, at, (d->text.len - len) * sizeof *at);
}

void pt_draft_follow(struct pt_draft *d, size_t len, const struct pt_stretch *t, const uint32_t *uses)
{
	const struct pt_range front = { t->start, t->start };
	size_t next = 0;	/* in t */

	if (!grow(d))
		return;
	for (size_t i = len; i < d->text.len; uses++) {
		const struct pt_range *at = *uses && next < t->n ? t->at + next : next ? t->at + next - 1 : &front;

		for (size_t end = i + pt_utf8_len(d->text.data[i]); i < end; i++)
			d->at[i] = *at;
		for (uint32_t k = 0; k < *uses && next < t->n; k++)
			next += pt_utf8_len(t->s[next]);
	}
}

int pt_ranges(struct pt_draft *d, const char *s, size_t n, struct pt_error *err)
{
	if (pt_grow(&d->at, &d->cap, n, sizeof *d->at, err))
		return PT_FAIL;
	for (size_t i = 0; i < n;) {
		struct pt_range r = { i, i + pt_utf8_len(s[i]) };

		for (; i < r.to; i++)
			d->at[i] = r;
	}
	return 0;
}
