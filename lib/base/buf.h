/* SPDX-License-Identifier: MIT */
/*
 * buf.h - a growable byte string. A failed append is remembered in the
 * buffer, so that a run of appends is checked once, by pt_buf_check().
 */
#ifndef PT_BASE_BUF_H
#define PT_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct pt_buf {
	char *data;		/* always NUL-terminated once something was appended */
	size_t len;
	size_t cap;
	bool failed;		/* memory ran out in some append since init or clear */
};

#define PT_BUF_INIT { NULL, 0, 0, false }

void pt_buf_release(struct pt_buf *b);
void pt_buf_clear(struct pt_buf *b);			/* keeps the memory */
void pt_buf_add(struct pt_buf *b, const void *data, size_t n);
void pt_buf_str(struct pt_buf *b, const char *s);
void pt_buf_char(struct pt_buf *b, char c);
void pt_buf_zero(struct pt_buf *b, size_t n);		/* n zero bytes */
void pt_buf_printf(struct pt_buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The string as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
void pt_buf_json(struct pt_buf *b, const char *s, size_t n);
/* For messages and terminals: control characters as \xHH, UTF-8 kept. */
void pt_buf_printable(struct pt_buf *b, const char *s, size_t n);
/* Room for n more bytes at data + len; NULL when there is no memory. */
char *pt_buf_reserve(struct pt_buf *b, size_t n);
/* 0, or PT_FAIL when an append failed. */
int pt_buf_check(const struct pt_buf *b, struct pt_error *err);

#endif
