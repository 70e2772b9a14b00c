/* SPDX-License-Identifier: MIT */
/*
 * labels.c - see labels.h.
 */
#include "labels.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "io/stream.h"
#include "io/task.h"

enum { MAX_FILE = 64 << 20 };

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
		if (!st && pt_utf8_valid(labels[i], strlen(labels[i])) < strlen(labels[i]))
			st = pt_error(err, PT_USAGE, "label %d is not UTF-8", i + 1);
		if (!st && !*labels[i])
			st = pt_error(err, PT_USAGE, "label %d is empty", i + 1);
		for (const unsigned char *p = (const unsigned char *)labels[i]; !st && *p; p++)
			if (*p < ' ' || *p == 127)
				st = pt_error(err, PT_USAGE, "label '%s' has a control character", labels[i]);
		if (!st && old >= 0)
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

		if (count == PT_MAX_LABELS) {
			pt_error(err, PT_USAGE, "more than %d labels", PT_MAX_LABELS);
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

/* The list in a stream's HEAD, one a line. *found false: no stream. */
static int of_stream(const char *path, struct pt_buf *text, bool *found, struct pt_error *err)
{
	struct pt_error other = PT_ERROR_INIT;
	const struct pt_record *head = NULL;
	struct pt_reader *r;
	const char *list;
	cJSON *json;

	*found = !pt_reader_open(&r, &path, 1, NULL, PT_READ_ANY_KIND, &other) && !pt_reader_head(r, &head, &other) && head;
	list = *found ? pt_st_meta(&head->st, "labels") : NULL;
	json = list ? pt_json_parse(list, strlen(list), 0, path, err) : NULL;
	for (const cJSON *v = json ? json->child : NULL; v; v = v->next) {
		if (!cJSON_IsString(v) || strpbrk(v->valuestring, "\r\n"))
			pt_error(err, PT_USAGE, "a label of the stream %s has a line break", path);
		else
			pt_buf_printf(text, "%s\n", v->valuestring);
	}
	if (*found && !list)
		pt_error(err, PT_USAGE, "the stream %s has no labels", path);
	pt_json_free(json);
	pt_reader_close(r);
	return err->status ? err->status : pt_buf_check(text, err);
}

int labels_parse(const char *arg, char ***labels, int *n, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	bool stream = false;
	int st;

	*labels = NULL;
	*n = 0;
	if (pt_is_file(arg)) {
		st = of_stream(arg, &text, &stream, err);
		if (!st && !stream)
			st = pt_file_read(arg, MAX_FILE, &text, err);
		if (!st)
			st = split(text.len ? text.data : "", '\n', labels, n, err);
	} else {
		st = split(arg, ',', labels, n, err);
		if (!st && *n == 1)
			st = pt_error(err, PT_USAGE, "'%s' is no file, and one class is nothing to tell apart", arg);
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
