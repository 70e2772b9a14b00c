/* SPDX-License-Identifier: MIT */
/*
 * labels.c - labels.json: the class names of an adapter, an array in the
 * order of their ids. HF's file has no place for them.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

void pt_labels_free(char **labels, int n)
{
	for (int i = 0; labels && i < n; i++)
		free(labels[i]);
	free(labels);
}

static int read_list(const cJSON *j, const char *path, char ***labels, int *n, struct pt_error *err)
{
	int count = cJSON_IsArray(j) ? cJSON_GetArraySize(j) : 0, i = 0;
	char **l;

	if (count < 1 || count > PT_MAX_LABELS)
		return pt_error(err, PT_DATA, "%s: not an array of class names", path);
	l = pt_calloc((size_t)count, sizeof(char *), err);
	for (const cJSON *v = j->child; l && v; v = v->next, i++) {
		if (!cJSON_IsString(v))
			pt_error(err, PT_DATA, "%s: class name %d is not a string", path, i);
		else
			l[i] = pt_strdup(v->valuestring, err);
		if (!l[i]) {
			pt_labels_free(l, count);
			return err->status;
		}
	}
	*labels = l;
	*n = l ? count : 0;
	return l ? 0 : err->status;
}

int pt_labels_read(const char *dir, char ***labels, int *n, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_ADAPTER_LABELS, err);
	cJSON *j = NULL;
	int st = path ? 0 : PT_FAIL;

	*labels = NULL;
	*n = 0;
	if (!st && pt_is_file(path)) {
		j = pt_json_read(path, 0, err);
		st = j ? read_list(j, path, labels, n, err) : err->status;
	}
	pt_json_free(j);
	free(path);
	return st;
}

int pt_labels_find(const struct pt_layout *l, const char *dir, const cJSON *config, enum pt_task task, char ***labels,
		   int *n, struct pt_error *err)
{
	*labels = NULL;
	*n = 0;
	if (!l->labels)
		return pt_labels_read(dir, labels, n, err);
	return pt_task_labels(task) ? l->labels(config, labels, n, err) : 0;
}

int pt_labels_write(const char *dir, char *const *labels, int n, struct pt_error *err)
{
	cJSON *j = cJSON_CreateStringArray((const char *const *)labels, n);
	int st = j ? pt_json_write(j, dir, PT_ADAPTER_LABELS, err) : pt_error(err, PT_FAIL, "out of memory");

	cJSON_Delete(j);
	return st;
}
