/* SPDX-License-Identifier: MIT */
/*
 * newdir.c - for tests: replaces DIR by a directory of empty files of these
 * names, as peft-init -f and peft-merge -f do.
 *
 *     newdir DIR NAME ...
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "newdir.h"

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct newdir d;
	bool same;
	int st;

	if (argc < 2)
		return PT_USAGE;
	st = newdir_open(&d, argv[1], &err);
	for (int i = 2; i < argc && !st; i++) {
		char *path = pt_path_join(d.tmp, argv[i], &err);

		st = path ? pt_file_write(path, "", 0, &err) : err.status;
		free(path);
	}
	if (!st)
		st = newdir_publish(&d, true, &same, &err);
	else
		newdir_abort(&d, &err);
	if (st)
		fprintf(stderr, "%s\n", err.msg);
	return st;
}
