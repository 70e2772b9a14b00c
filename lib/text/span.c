/* SPDX-License-Identifier: MIT */
/*
 * span.c - the reader of vocabularies and merges, the long lists of a
 * tokenizer.json: strict JSON (RFC 8259), nothing allocated by element.
 */
#include <string.h>

#include "base/utf8.h"
#include "text/tokfile.h"

static void skip_space(struct pt_walk *w)
{
	while (w->p < w->end && (*w->p == ' ' || *w->p == '\n' || *w->p == '\t' || *w->p == '\r'))
		w->p++;
}

static int fail(const struct pt_walk *w, const char *why, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "model.%s: %s at its byte %zu", w->what, why, (size_t)(w->p - w->start));
}

bool pt_span_at(const struct pt_walk *w, char c)
{
	return w->p < w->end && *w->p == c;
}

static int open_list(struct pt_walk *w, char kind, struct pt_error *err)
{
	if (!pt_span_at(w, kind))
		return fail(w, kind == '{' ? "an object expected" : "an array expected", err);
	w->p++;
	w->close = kind == '{' ? '}' : ']';
	w->first = true;
	return 0;
}

int pt_span_open(struct pt_walk *w, struct pt_span span, const char *what, char kind, struct pt_error *err)
{
	*w = (struct pt_walk){ .start = span.s, .p = span.s, .end = span.s + span.n, .what = what };
	if (!span.s)
		return pt_error(err, PT_DATA, "model.%s is missing", what);
	return open_list(w, kind, err);
}

int pt_span_next(struct pt_walk *w, bool *more, struct pt_error *err)
{
	skip_space(w);
	*more = !pt_span_at(w, w->close);
	if (!*more) {
		w->p++;
		return 0;
	}
	if (!w->first) {
		if (!pt_span_at(w, ','))
			return fail(w, "',' or the end of the list expected", err);
		w->p++;
		skip_space(w);
	}
	w->first = false;
	return 0;
}

static int hex4(struct pt_walk *w, uint32_t *out, struct pt_error *err)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++, w->p++) {
		char c = w->p < w->end ? *w->p : '\0';

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return fail(w, "four hexadecimal digits expected", err);
	}
	*out = v;
	return 0;
}

/* After a backslash. */
static int escape(struct pt_walk *w, struct pt_buf *out, struct pt_error *err)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = w->p < w->end ? *w->p : '\0', utf8[4];
	const char *hit = c ? strchr(from, c) : NULL;
	uint32_t cp, low;
	int status;

	if (hit) {
		w->p++;
		pt_buf_char(out, to[hit - from]);
		return 0;
	}
	if (c != 'u')
		return fail(w, "unknown escape", err);
	w->p++;
	status = hex4(w, &cp, err);
	if (status)
		return status;
	if (cp >= 0xd800 && cp < 0xe000) {
		if (cp >= 0xdc00 || w->end - w->p < 2 || w->p[0] != '\\' || w->p[1] != 'u')
			return fail(w, "half of a surrogate pair", err);
		w->p += 2;
		status = hex4(w, &low, err);
		if (status)
			return status;
		if (low < 0xdc00 || low > 0xdfff)
			return fail(w, "half of a surrogate pair", err);
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
	}
	pt_buf_add(out, utf8, pt_utf8_put(cp, utf8));
	return 0;
}

int pt_span_string(struct pt_walk *w, struct pt_buf *out, struct pt_error *err)
{
	int status;

	if (!pt_span_at(w, '"'))
		return fail(w, "a string expected", err);
	w->p++;
	for (;;) {
		const char *s = w->p;

		while (s < w->end && *s != '"' && *s != '\\' && (unsigned char)*s >= 0x20)
			s++;
		pt_buf_add(out, w->p, (size_t)(s - w->p));
		w->p = s;
		if (s == w->end)
			return fail(w, "a string does not end", err);
		w->p++;
		if (*s == '"')
			return 0;
		if (*s != '\\') {
			w->p--;
			return fail(w, "a control character in a string", err);
		}
		status = escape(w, out, err);
		if (status)
			return status;
	}
}

int pt_span_colon(struct pt_walk *w, struct pt_error *err)
{
	skip_space(w);
	if (!pt_span_at(w, ':'))
		return fail(w, "':' expected", err);
	w->p++;
	skip_space(w);
	return 0;
}

int pt_span_id(struct pt_walk *w, uint32_t *id, struct pt_error *err)
{
	const char *s = w->p;
	uint64_t v = 0;

	while (s < w->end && *s >= '0' && *s <= '9' && s - w->p < 11)
		v = v * 10 + (uint64_t)(*s++ - '0');
	if (s == w->p || v > UINT32_MAX || (*w->p == '0' && s > w->p + 1) ||
	    (s < w->end && (*s == '.' || *s == 'e' || *s == 'E')))
		return fail(w, "an id, an integer below 2^32, expected", err);
	w->p = s;
	*id = (uint32_t)v;
	return 0;
}

int pt_span_enter(struct pt_walk *w, struct pt_walk *outer, struct pt_error *err)
{
	*outer = *w;
	return open_list(w, '[', err);
}

void pt_span_leave(struct pt_walk *w, const struct pt_walk *outer)
{
	w->close = outer->close;
	w->first = false;
}
