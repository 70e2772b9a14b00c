/* SPDX-License-Identifier: MIT */
/*
 * fields.c - see fields.h.
 */
#include "data/fields.h"

#include <string.h>

void pt_fields_init(struct pt_fields *f, const char *line, size_t n, bool csv)
{
	*f = (struct pt_fields){ .at = line, .end = line + n, .quotes = csv, .own = PT_BUF_INIT };
}

void pt_fields_release(struct pt_fields *f)
{
	pt_buf_release(&f->own);
}

/* A field in quotes, from behind the first; f->at is what follows it. */
static int quoted(struct pt_fields *f, const char **text, size_t *n, struct pt_error *err)
{
	const char *p = f->at + 1, *q;

	pt_buf_clear(&f->own);
	for (;; p = q + 2) {
		q = memchr(p, '"', (size_t)(f->end - p));
		if (!q)
			return pt_error(err, PT_DATA, "a quote that is not closed");
		if (q + 1 == f->end || q[1] != '"')
			break;
		pt_buf_add(&f->own, p, (size_t)(q - p) + 1);
	}
	pt_buf_add(&f->own, p, (size_t)(q - p));
	f->at = q + 1;
	*text = f->own.data ? f->own.data : "";
	*n = f->own.len;
	if (f->at < f->end && *f->at != ',')
		return pt_error(err, PT_DATA, "text behind the quote that closes a field; a quote in a field is written twice");
	return pt_buf_check(&f->own, err);
}

int pt_fields_next(struct pt_fields *f, const char **text, size_t *n, bool *more, struct pt_error *err)
{
	const char *end;

	*more = f->at != NULL;
	if (!f->at)
		return 0;
	if (f->quotes && f->at < f->end && *f->at == '"') {
		if (quoted(f, text, n, err))
			return err->status;
	} else {
		end = memchr(f->at, f->quotes ? ',' : '\t', (size_t)(f->end - f->at));
		end = end ? end : f->end;
		*text = f->at;
		*n = (size_t)(end - f->at);
		if (f->quotes && memchr(*text, '"', *n))
			return pt_error(err, PT_DATA, "a quote in a field that does not begin with one; such a field stands in quotes, and a quote in it is written twice");
		f->at = end;
	}
	f->at = f->at < f->end ? f->at + 1 : NULL;
	return 0;
}

size_t pt_fields_record(const char *s, size_t n)
{
	bool inside = false;

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '"')
			inside = !inside;
		else if (s[i] == '\n' && !inside)
			return i + 1;
	}
	return 0;
}
