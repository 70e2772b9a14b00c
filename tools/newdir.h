/* SPDX-License-Identifier: MIT */
/*
 * newdir.h - a directory of an adapter or a model that appears whole: written
 * beside its place, then renamed. One that is there already is left alone where it is the same,
 * and refused otherwise, unless it is to be replaced.
 */
#ifndef PT_TOOLS_NEWDIR_H
#define PT_TOOLS_NEWDIR_H

#include <stdbool.h>

#include "base/error.h"

struct newdir {
	char *path;		/* where it will stand */
	char *tmp;		/* where it is written: the caller fills it */
};

int newdir_open(struct newdir *d, const char *path, struct pt_error *err);

/* PT_USAGE: path is the directory input, which is read; what says what that is. */
int newdir_check(const char *path, const char *input, const char *what, struct pt_error *err);

/*
 * Put it in its place. *same: all files were there already, byte for byte
 * (JSON files but for base_model_name_or_path), and no others of an adapter
 * or a model: nothing was done. Without force a directory that has other
 * files is PT_FAIL; with it the files of an adapter or a model that the new
 * directory lacks are removed, all else stays. d is released, also on failure.
 */
int newdir_publish(struct newdir *d, bool force, bool *same, struct pt_error *err);
/* Removes what was written and releases d; err, where it is set, names the place where it would have stood. Its status. */
int newdir_abort(struct newdir *d, struct pt_error *err);

#endif
