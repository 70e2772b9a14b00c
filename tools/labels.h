/* SPDX-License-Identifier: MIT */
/*
 * labels.h - the argument of --labels: class names separated by commas, a file
 * with one a line, or a stream whose HEAD lists them.
 */
#ifndef PT_TOOLS_LABELS_H
#define PT_TOOLS_LABELS_H

#include "base/error.h"

/* Names by id on the heap; PT_USAGE: fewer than one, an empty one, one twice. */
int labels_parse(const char *arg, char ***labels, int *n, struct pt_error *err);
void labels_free(char **labels, int n);

#endif
