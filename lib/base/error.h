/* SPDX-License-Identifier: MIT */
/*
 * error.h - how every function of the library reports failure.
 *
 * A function that can fail returns 0 or one of the positive codes below,
 * and fills the struct pt_error that its caller passed. The codes are the
 * exit statuses of the tools, so that a tool returns what it was told.
 * The library never prints and never exits.
 */
#ifndef PT_BASE_ERROR_H
#define PT_BASE_ERROR_H

enum pt_status {
	PT_OK = 0,
	PT_FAIL = 1,		/* runtime failure: I/O, memory */
	PT_USAGE = 2,		/* options that contradict each other or the input */
	PT_DATA = 3,		/* bad, truncated or failed input */
	PT_NUMERIC = 4,		/* NaN, infinity, nothing to train */
	PT_DEVICE = 5,		/* device missing or failed */
	PT_STOPPED = 75,	/* stopped by a signal, state saved */
};

struct pt_error {
	int status;		/* 0 while nothing failed */
	char msg[2000];		/* one line: what failed, the thing, the cure */
};

#define PT_ERROR_INIT { 0, "" }

/* Set status and message; returns status, so that "return pt_error(...)" works. */
int pt_error(struct pt_error *err, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As if nothing had failed: what comes next says more. */
void pt_error_clear(struct pt_error *err);

/* The same, with ": " and strerror(errno) appended; the status is PT_FAIL. */
int pt_error_errno(struct pt_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Put more behind the message; returns the status it holds. */
int pt_error_add(struct pt_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Put "context: " before the message; returns the status it holds. */
int pt_error_prefix(struct pt_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Where stop (NULL: nobody asks) is not 0, say after a signal, PT_FAIL "stopped"; else 0. Long work asks now and then. */
int pt_stopped(int (*stop)(void), struct pt_error *err);

/* Put to in place of from where the message first names it: what was being made by the name that it was to have. */
void pt_error_rename(struct pt_error *err, const char *from, const char *to);

#endif
