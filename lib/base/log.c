/* SPDX-License-Identifier: MIT */
/*
 * log.c - the callback for warnings and facts.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static pt_log_fn log_fn;
static void *log_arg;

void pt_log_set(pt_log_fn fn, void *arg)
{
	log_fn = fn;
	log_arg = arg;
}

void pt_log(enum pt_log_level level, const char *fmt, ...)
{
	char msg[2000];
	va_list ap;

	if (!log_fn)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	log_fn(level, msg, log_arg);
}
