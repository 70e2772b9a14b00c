/* SPDX-License-Identifier: MIT */
/*
 * log.h - what the library has to say goes to a callback that the program set;
 * without one it is dropped. Warnings are things that a user must see; facts
 * appear with -v, details with -vv.
 */
#ifndef PT_BASE_LOG_H
#define PT_BASE_LOG_H

enum pt_log_level { PT_WARN, PT_FACT, PT_DETAIL };

typedef void (*pt_log_fn)(enum pt_log_level level, const char *msg, void *arg);

/* Set at the start of main, before threads. */
void pt_log_set(pt_log_fn fn, void *arg);
void pt_log(enum pt_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
