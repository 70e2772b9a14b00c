/* SPDX-License-Identifier: MIT */
/*
 * labels.c - see labels.h.
 */
#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

enum { MAX_LABELS = 1 << 20, MAX_FILE = 64 << 20 };

void labels_free(char **labels, int n)
{
	for (int i = 0; labels && i < n; i++)
		free(labels[i]);
	free(labels);
}

/* Each at most once: they are told apart by name. */
static int check(char **labels, int n, struct pt_error *err)
{
	struct pt_map map;
	int st = pt_map_init(&map, (size_t)n, err);

	for (int i = 0; i < n && !st; i++) {
		int64_t old;

		st = pt_map_put(&map, labels[i], strlen(labels[i]), i, &old, err);
		if (!st && !*labels[i])
			st = pt_error(err, PT_USAGE, "label %d is empty", i + 1);
		else if (!st && old >= 0)
			st = pt_error(err, PT_USAGE, "label '%s' is there twice", labels[i]);
	}
	pt_map_release(&map);
	return st;
}

static int split(const char *text, char at, char ***labels, int *n, struct pt_error *err)
{
	size_t count = 0, cap = 0;
	char **l = NULL;

	while (*text) {
		size_t len = strcspn(text, (char[2]){ at, '\0' });
		size_t keep = at == '\n' && len && text[len - 1] == '\r' ? len - 1 : len;

		if (count == MAX_LABELS) {
			pt_error(err, PT_USAGE, "more than %d labels", MAX_LABELS);
			break;
		}
		if (pt_grow(&l, &cap, count + 1, sizeof(char *), err) || !(l[count] = pt_strndup(text, keep, err)))
			break;
		count++;
		text += len;
		text += *text == at;
	}
	*labels = l;
	*n = (int)count;
	return err->status;
}

int labels_parse(const char *arg, char ***labels, int *n, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	int st;

	*labels = NULL;
	*n = 0;
	if (pt_is_file(arg)) {
		st = pt_file_read(arg, MAX_FILE, &text, err);
		if (!st)
			st = split(text.len ? text.data : "", '\n', labels, n, err);
	} else {
		st = split(arg, ',', labels, n, err);
	}
	pt_buf_release(&text);
	if (!st && !*n)
		st = pt_error(err, PT_USAGE, "'%s' holds no labels", arg);
	if (!st)
		st = check(*labels, *n, err);
	if (st) {
		labels_free(*labels, *n);
		*labels = NULL;
		*n = 0;
		if (st == PT_USAGE)
			pt_error_prefix(err, "--labels");
	}
	return st;
}
