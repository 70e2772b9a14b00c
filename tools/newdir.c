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
#include "peft/adapter.h"
#include "tool.h"

int newdir_abort(struct newdir *d, struct pt_error *err)
{
	struct pt_error ignored = PT_ERROR_INIT;

	if (d->tmp) {
		pt_error_rename(err, d->tmp, d->path);
		pt_dir_remove(d->tmp, &ignored);
	}
	free(d->tmp);
	free(d->path);
	*d = (struct newdir){ NULL, NULL };
	return err->status;
}

/* The directory that we are in stands in it, at whatever depth: the root always. */
static bool holds_us(const char *path)
{
	struct stat it, up, below = { 0 };
	char climb[3 * 300 + 1];

	if (stat(path, &it))
		return false;
	for (size_t n = 0; n + 3 < sizeof climb; n += 3) {
		memcpy(climb + n, "../", 4);
		if (stat(climb, &up))
			return false;
		if (up.st_dev == it.st_dev && up.st_ino == it.st_ino)
			return true;
		if (n && up.st_dev == below.st_dev && up.st_ino == below.st_ino)
			return false;
		below = up;
	}
	return false;
}

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
		pt_error(err, PT_FAIL, "%s is not a directory", path);
		return newdir_abort(d, err);
	}
	if (holds_us(d->path)) {
		pt_error(err, PT_USAGE, "%s holds the directory that this runs in: it is not replaced", path);
		return newdir_abort(d, err);
	}
	slash = strrchr(d->path, '/');
	n = slash ? (size_t)(slash - d->path) + 1 : 0;
	/* Another container may have a process of our number, at work on what is there. */
	for (int serial = 0; ; serial++) {
		d->tmp = pt_format(err, "%.*s.%.200s.tmp.%ld.%d", (int)n, d->path, d->path + n, (long)getpid(), serial);
		if (d->tmp && !mkdir(d->tmp, 0777))
			return 0;
		if (d->tmp && errno != EEXIST)
			pt_error_errno(err, "%s: cannot make the directory", d->path);
		free(d->tmp);
		d->tmp = NULL;
		if (err->status)
			return newdir_abort(d, err);
	}
}

int newdir_check(const char *path, const char *input, const char *what, struct pt_error *err)
{
	struct stat in, out;

	if (!stat(input, &in) && !stat(path, &out) && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
		return pt_error(err, PT_USAGE, "%s is the %s itself: give another -o", path, what);
	return 0;
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

/* The name of the base is where it was found, not what it is. */
static bool equal_json(const char *a, const char *b, struct pt_error *err)
{
	static const char *const names[] = { "base_model_name_or_path", "model_name" };
	cJSON *x = pt_json_read(a, 0, err), *y = pt_json_read(b, 0, err);
	bool same = false;

	for (size_t i = 0; x && y && i < sizeof names / sizeof names[0]; i++) {
		cJSON_DeleteItemFromObjectCaseSensitive(x, names[i]);
		cJSON_DeleteItemFromObjectCaseSensitive(y, names[i]);
	}
	if (x && y)
		same = cJSON_Compare(x, y, true);
	pt_json_free(x);
	pt_json_free(y);
	return same;
}

/* What each_file() works on. */
struct work {
	const struct newdir *d;
	bool last;			/* the files that readers wait for, or all others */
	bool same;
};

static bool is_last(const char *name)
{
	return pt_adapter_part(name) == PT_MODELSAVE_LAST;
}

static int compare_file(void *arg, const char *name, struct pt_error *err)
{
	struct work *w = arg;
	char *a = pt_path_join(w->d->tmp, name, err), *b = pt_path_join(w->d->path, name, err);
	size_t n = strlen(name);

	if (a && b) {
		/* What cannot be read is not the same. */
		struct pt_error ignored = PT_ERROR_INIT;

		w->same = w->same && pt_is_file(b) &&
			  (n > 5 && !strcmp(name + n - 5, ".json") ? equal_json(a, b, &ignored)
								   : pt_file_same(a, b));
	}
	free(a);
	free(b);
	return err->status;
}

/* A file of an adapter or a model that the new directory lacks: readers would take it for part of that. */
static int is_stale(const struct newdir *d, const char *name, bool *stale, struct pt_error *err)
{
	char *new = pt_path_join(d->tmp, name, err);
	int st = new ? 0 : err->status;

	*stale = new && pt_adapter_part(name) && !pt_is_file(new);
	free(new);
	return st;
}

static int look_for_stale(void *arg, const char *name, struct pt_error *err)
{
	struct work *w = arg;
	bool stale;
	int st = is_stale(w->d, name, &stale, err);

	w->same = w->same && !stale;
	return st;
}

static int count_file(void *arg, const char *name, struct pt_error *err)
{
	(void)name;
	(void)err;
	++*(int *)arg;
	return 0;
}

static int remove_file(void *arg, const char *name, struct pt_error *err)
{
	const struct work *w = arg;
	bool stale = w->last && is_last(name);
	int st = w->last ? 0 : is_stale(w->d, name, &stale, err);
	char *old;

	if (st || !stale)
		return st;
	old = pt_path_join(w->d->path, name, err);
	st = old ? 0 : err->status;
	if (!st && unlink(old) && errno != ENOENT)
		st = pt_error_errno(err, "%s: cannot remove", old);
	free(old);
	return st;
}

static int move_file(void *arg, const char *name, struct pt_error *err)
{
	const struct work *w = arg;
	char *from, *to;
	int st;

	if (is_last(name) != w->last)
		return 0;
	from = pt_path_join(w->d->tmp, name, err);
	to = pt_path_join(w->d->path, name, err);
	st = from && to ? 0 : err->status;
	if (!st && rename(from, to))
		st = pt_error_errno(err, "%s: cannot rename", to);
	free(from);
	free(to);
	return st;
}

/* At no time does a mix of both look complete: what readers wait for goes first and comes last. */
static int replace(const struct newdir *d, struct pt_error *err)
{
	struct work last = { d, true, false }, rest = { d, false, false };
	int st = each_file(d->path, remove_file, &last, err);

	if (!st)
		st = pt_dir_sync(d->path, err);
	if (!st)
		st = each_file(d->path, remove_file, &rest, err);
	if (!st)
		st = each_file(d->tmp, move_file, &rest, err);
	if (!st)
		st = pt_dir_sync(d->path, err);
	if (!st)
		st = each_file(d->tmp, move_file, &last, err);
	return st ? st : pt_dir_sync(d->path, err);
}

static int put(const struct newdir *d, bool force, bool *same, struct pt_error *err)
{
	struct work w = { d, false, true };
	int files = 0, st = pt_dir_sync(d->tmp, err);

	*same = false;
	if (!st && pt_is_dir(d->path))
		st = each_file(d->path, count_file, &files, err);
	if (st)
		return st;
	if (!files) {
		if (rename(d->tmp, d->path))
			return pt_error_errno(err, "%s: cannot rename", d->path);
		return pt_dir_sync_parent(d->path, err);
	}
	st = each_file(d->tmp, compare_file, &w, err);
	if (!st)
		st = each_file(d->path, look_for_stale, &w, err);
	if (st)
		return st;
	*same = w.same;
	if (w.same)
		return 0;
	if (!force)
		return pt_error(err, PT_FAIL, "%s exists and holds something else; -f replaces it", d->path);
	return replace(d, err);
}

int newdir_publish(struct newdir *d, bool force, bool *same, struct pt_error *err)
{
	if (tool_signal())
		pt_error(err, PT_STOPPED, "stopped by a signal");
	else
		put(d, force, same, err);
	return newdir_abort(d, err);
}
