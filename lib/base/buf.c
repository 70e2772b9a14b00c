/* SPDX-License-Identifier: MIT */
/*
 * buf.c - a growable byte string.
 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

void pt_buf_release(struct pt_buf *b)
{
	free(b->data);
	*b = (struct pt_buf)PT_BUF_INIT;
}

void pt_buf_clear(struct pt_buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->data)
		b->data[0] = '\0';
}

char *pt_buf_reserve(struct pt_buf *b, size_t n)
{
	size_t need;

	if (!pt_add_size(b->len, n, &need) || !pt_add_size(need, 1, &need)) {
		b->failed = true;
		return NULL;
	}
	if (need > b->cap) {
		/* Doubling from 64 bytes keeps a run of appends linear. */
		if (pt_grow(&b->data, &b->cap, need < 64 ? 64 : need, 1, NULL)) {
			b->failed = true;
			return NULL;
		}
		b->data[b->len] = '\0';
	}
	return b->data + b->len;
}

void pt_buf_add(struct pt_buf *b, const void *data, size_t n)
{
	char *p = pt_buf_reserve(b, n);

	if (!p)
		return;
	if (n)
		memcpy(p, data, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void pt_buf_str(struct pt_buf *b, const char *s)
{
	pt_buf_add(b, s, strlen(s));
}

void pt_buf_char(struct pt_buf *b, char c)
{
	pt_buf_add(b, &c, 1);
}

void pt_buf_zero(struct pt_buf *b, size_t n)
{
	char *p = pt_buf_reserve(b, n);

	if (!p)
		return;
	memset(p, 0, n + 1);
	b->len += n;
}

void pt_buf_printf(struct pt_buf *b, const char *fmt, ...)
{
	va_list ap;
	char *p = pt_buf_reserve(b, 128);
	int n;

	if (!p)
		return;
	va_start(ap, fmt);
	n = vsnprintf(p, 129, fmt, ap);
	va_end(ap);
	if (n < 0) {
		*p = '\0';
		b->failed = true;
		return;
	}
	if (n > 128) {
		p = pt_buf_reserve(b, (size_t)n);
		if (!p) {
			b->data[b->len] = '\0';
			return;
		}
		va_start(ap, fmt);
		vsnprintf(p, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->len += (size_t)n;
}

void pt_buf_json(struct pt_buf *b, const char *s, size_t n)
{
	size_t i = 0;

	pt_buf_char(b, '"');
	while (i < n) {
		uint32_t cp;
		size_t len = pt_utf8_next(s + i, n - i, &cp);

		if (cp == UINT32_MAX)
			pt_buf_str(b, "\xef\xbf\xbd");
		else if (cp == '"' || cp == '\\')
			pt_buf_printf(b, "\\%c", (int)cp);
		else if (cp == '\n')
			pt_buf_str(b, "\\n");
		else if (cp == '\r')
			pt_buf_str(b, "\\r");
		else if (cp == '\t')
			pt_buf_str(b, "\\t");
		else if (cp == '\b')
			pt_buf_str(b, "\\b");
		else if (cp == '\f')
			pt_buf_str(b, "\\f");
		else if (cp < 0x20)
			pt_buf_printf(b, "\\u%04x", (unsigned)cp);
		else
			pt_buf_add(b, s + i, len);
		i += len;
	}
	pt_buf_char(b, '"');
}

void pt_buf_printable(struct pt_buf *b, const char *s, size_t n)
{
	size_t i = 0;

	while (i < n) {
		uint32_t cp;
		size_t len = pt_utf8_next(s + i, n - i, &cp);

		/* C0, DEL and C1 steer terminals; so do bytes that are not UTF-8. */
		if (cp == UINT32_MAX || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
			for (size_t k = 0; k < len; k++)
				pt_buf_printf(b, "\\x%02X", (unsigned)(unsigned char)s[i + k]);
		} else {
			pt_buf_add(b, s + i, len);
		}
		i += len;
	}
}

int pt_buf_check(const struct pt_buf *b, struct pt_error *err)
{
	if (b->failed)
		return pt_error(err, PT_FAIL, "out of memory after %zu bytes", b->len);
	return 0;
}
