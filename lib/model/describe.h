/* SPDX-License-Identifier: MIT */
/*
 * describe.h - what a configuration was understood to say, in words: the
 * sizes and those switches that are on.
 */
#ifndef PT_MODEL_DESCRIBE_H
#define PT_MODEL_DESCRIBE_H

#include "base/buf.h"
#include "model/config.h"

/* One line: a key of a word or two, and text. Both live for the call only. */
typedef void (*pt_describe_fn)(void *arg, const char *key, const char *text);

/* Calls fn for each line; task: what the model is opened for. */
int pt_config_describe(const struct pt_config *c, enum pt_task task, pt_describe_fn fn, void *arg,
		       struct pt_error *err);

/* "linear", "embedding", ... */
const char *pt_site_kind_name(int kind);

#endif
