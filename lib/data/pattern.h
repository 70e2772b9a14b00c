/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - patterns of paths, which choose files and members of archives
 * and may name the part of the path that is the class.
 *
 *     train/{label}/[0-9]*.txt      * ? [a-z] as in the shell, none of them matches a '/'
 *     train/{label:neg|pos}/x_*     one of these names only
 *
 * A pattern matches a path whose last components it fits; one that begins
 * with a '/' must fit all of it, but for that '/'.
 */
#ifndef PT_DATA_PATTERN_H
#define PT_DATA_PATTERN_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct pt_pattern {
	const char *text;
	regex_t re;
	int label;		/* which group it is; 0: none */
};

struct pt_patterns {
	struct pt_pattern *p;
	int n;
	bool labels;		/* all name a label; else none does */
};

/* text[i] is borrowed. PT_USAGE: no pattern, or only some with a label. */
int pt_patterns_init(struct pt_patterns *ps, const char *const *text, int n, struct pt_error *err);
void pt_patterns_release(struct pt_patterns *ps);

/* By the first that matches: *label in path, NULL where none is named. Without patterns all paths match. */
bool pt_patterns_match(const struct pt_patterns *ps, const char *path, const char **label, size_t *n);

#endif
