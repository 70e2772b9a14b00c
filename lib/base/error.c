/* SPDX-License-Identifier: MIT */
/*
 * error.c - filling struct pt_error. A message that does not fit is cut
 * at its end and marked, since its beginning names what failed.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Append to msg at used, cutting with "..." when it does not fit. */
static void append(struct pt_error *err, size_t used, const char *fmt, va_list ap)
{
	size_t room = sizeof err->msg - used;
	int n = vsnprintf(err->msg + used, room, fmt, ap);

	if (n < 0)
		err->msg[used] = '\0';
	else if ((size_t)n >= room)
		memcpy(err->msg + sizeof err->msg - 4, "...", 4);
}

static void append_str(struct pt_error *err, size_t used, const char *s)
{
	size_t n = strlen(s), room = sizeof err->msg - used - 1;

	if (n > room)
		n = room;
	memcpy(err->msg + used, s, n);
	err->msg[used + n] = '\0';
}

int pt_error(struct pt_error *err, int status, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return status;
	va_start(ap, fmt);
	append(err, 0, fmt, ap);
	va_end(ap);
	err->status = status;
	return status;
}

int pt_error_errno(struct pt_error *err, const char *fmt, ...)
{
	int saved = errno;
	char text[128];
	va_list ap;

	if (!err)
		return PT_FAIL;
	va_start(ap, fmt);
	append(err, 0, fmt, ap);
	va_end(ap);
	if (strerror_r(saved, text, sizeof text) != 0)
		snprintf(text, sizeof text, "error %d", saved);
	append_str(err, strlen(err->msg), ": ");
	append_str(err, strlen(err->msg), text);
	err->status = PT_FAIL;
	errno = saved;
	return PT_FAIL;
}

int pt_error_add(struct pt_error *err, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return PT_FAIL;
	va_start(ap, fmt);
	append(err, strlen(err->msg), fmt, ap);
	va_end(ap);
	return err->status;
}

int pt_error_prefix(struct pt_error *err, const char *fmt, ...)
{
	char old[sizeof err->msg];
	va_list ap;

	if (!err)
		return PT_FAIL;
	memcpy(old, err->msg, sizeof old);
	va_start(ap, fmt);
	append(err, 0, fmt, ap);
	va_end(ap);
	append_str(err, strlen(err->msg), ": ");
	append_str(err, strlen(err->msg), old);
	return err->status;
}

void pt_error_rename(struct pt_error *err, const char *from, const char *to)
{
	char *at = strstr(err->msg, from);
	char rest[sizeof err->msg];

	if (!at)
		return;
	memcpy(rest, at + strlen(from), strlen(at + strlen(from)) + 1);
	*at = '\0';
	append_str(err, strlen(err->msg), to);
	append_str(err, strlen(err->msg), rest);
}

void pt_error_clear(struct pt_error *err)
{
	err->status = 0;
	err->msg[0] = '\0';
}

int pt_stopped(int (*stop)(void), struct pt_error *err)
{
	return stop && stop() ? pt_error(err, PT_FAIL, "stopped") : 0;
}
