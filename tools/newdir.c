/* SPDX-License-Identifier: MIT */
/*
 * newdir.c - see newdir.h.
 */
#include "newdir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "tool.h"

int newdir_open(struct newdir *d, const char *path, struct pt_error *err)
{
	size_t n = strlen(path);
	const char *slash;

	*d = (struct newdir){ NULL, NULL };
	while (n > 1 && path[n - 1] == '/')
		n--;
	d->path = pt_strndup(path, n, err);
	if (!d->path)
		return err->status;
	if (!access(d->path, F_OK) && !pt_is_dir(d->path)) {
		newdir_abort(d);
		return pt_error(err, PT_FAIL, "%s is not a directory", path);
	}
	slash = strrchr(d->path, '/');
	n = slash ? (size_t)(slash - d->path) + 1 : 0;
	d->tmp = pt_format(err, "%.*s.%.200s.tmp.%ld", (int)n, d->path, d->path + n, (long)getpid());
	if (!d->tmp || pt_dir_remove(d->tmp, err) || pt_dir_make(d->tmp, err)) {
		newdir_abort(d);
		return err->status;
	}
	return 0;
}

void newdir_abort(struct newdir *d)
{
	struct pt_error ignored = PT_ERROR_INIT;

	if (d->tmp)
		pt_dir_remove(d->tmp, &ignored);
	free(d->tmp);
	free(d->path);
	*d = (struct newdir){ NULL, NULL };
}

/* Calls fn for each file of dir until it says no. */
static int each_file(const char *dir, int (*fn)(void *arg, const char *name, struct pt_error *err), void *arg,
		     struct pt_error *err)
{
	DIR *list = opendir(dir);
	struct dirent *e;
	int st = 0;

	if (!list)
		return pt_error_errno(err, "%s", dir);
	while (!st && (e = readdir(list))) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			st = fn(arg, e->d_name, err);
	}
	closedir(list);
	return st;
}

static bool equal_bytes(const char *a, const char *b, struct pt_error *err)
{
	struct pt_mapping x = { 0 }, y = { 0 };
	bool same;

	if (pt_mapping_open(&x, a, err) || pt_mapping_open(&y, b, err)) {
		pt_mapping_close(&x);
		return false;
	}
	same = x.size == y.size && (!x.size || !memcmp(x.data, y.data, x.size));
	pt_mapping_close(&x);
	pt_mapping_close(&y);
	return same;
}

/* The name of the base is where it was found, not what it is. */
static bool equal_json(const char *a, const char *b, struct pt_error *err)
{
	cJSON *x = pt_json_read(a, 0, err), *y = pt_json_read(b, 0, err);
	bool same = false;

	if (x && y) {
		cJSON_DeleteItemFromObjectCaseSensitive(x, "base_model_name_or_path");
		cJSON_DeleteItemFromObjectCaseSensitive(y, "base_model_name_or_path");
		same = cJSON_Compare(x, y, true);
	}
	pt_json_free(x);
	pt_json_free(y);
	return same;
}

struct compare {
	const struct newdir *d;
	bool same;
};

static int compare_file(void *arg, const char *name, struct pt_error *err)
{
	struct compare *c = arg;
	char *a = pt_path_join(c->d->tmp, name, err), *b = pt_path_join(c->d->path, name, err);
	size_t n = strlen(name);

	if (a && b) {
		/* What cannot be read is not the same. */
		struct pt_error ignored = PT_ERROR_INIT;

		c->same = c->same && pt_is_file(b) &&
			  (n > 5 && !strcmp(name + n - 5, ".json") ? equal_json(a, b, &ignored)
								   : equal_bytes(a, b, &ignored));
	}
	free(a);
	free(b);
	return err->status;
}

static int count_file(void *arg, const char *name, struct pt_error *err)
{
	(void)name;
	(void)err;
	++*(int *)arg;
	return 0;
}

static int move(const struct newdir *d, const char *name, struct pt_error *err)
{
	char *from = pt_path_join(d->tmp, name, err), *to = pt_path_join(d->path, name, err);
	int st = from && to ? 0 : err->status;

	if (!st && rename(from, to) && errno != ENOENT)
		st = pt_error_errno(err, "%s: cannot rename", to);
	free(from);
	free(to);
	return st;
}

struct replace {
	const struct newdir *d;
	const char *last;
};

static int move_file(void *arg, const char *name, struct pt_error *err)
{
	const struct replace *r = arg;

	return strcmp(name, r->last) ? move(r->d, name, err) : 0;
}

static int remove_stale(const struct newdir *d, const char *const *stale, struct pt_error *err)
{
	for (; *stale; stale++) {
		char *new = pt_path_join(d->tmp, *stale, err), *old = pt_path_join(d->path, *stale, err);
		int st = new && old ? 0 : err->status;

		if (!st && !pt_is_file(new) && unlink(old) && errno != ENOENT)
			st = pt_error_errno(err, "%s: cannot remove", old);
		free(new);
		free(old);
		if (st)
			return st;
	}
	return 0;
}

static int replace(const struct newdir *d, const char *last, const char *const *stale, struct pt_error *err)
{
	struct replace r = { d, last };
	int st = remove_stale(d, stale, err);

	if (!st)
		st = each_file(d->tmp, move_file, &r, err);
	if (!st)
		st = move(d, last, err);
	return st ? st : pt_dir_sync(d->path, err);
}

static int put(const struct newdir *d, bool force, const char *last, const char *const *stale, bool *same,
	       struct pt_error *err)
{
	struct compare c = { d, true };
	int files = 0, st = 0;

	*same = false;
	if (pt_is_dir(d->path))
		st = each_file(d->path, count_file, &files, err);
	if (st)
		return st;
	if (!files) {
		if (rename(d->tmp, d->path))
			return pt_error_errno(err, "%s: cannot rename", d->path);
		return 0;
	}
	st = each_file(d->tmp, compare_file, &c, err);
	if (st)
		return st;
	*same = c.same;
	if (c.same)
		return 0;
	if (!force)
		return pt_error(err, PT_FAIL, "%s exists and holds something else; -f replaces it", d->path);
	return replace(d, last, stale, err);
}

int newdir_publish(struct newdir *d, bool force, const char *last, const char *const *stale, bool *same,
		   struct pt_error *err)
{
	int st = tool_signal() ? pt_error(err, PT_STOPPED, "stopped by a signal") :
				 put(d, force, last, stale, same, err);

	newdir_abort(d);
	return st;
}
