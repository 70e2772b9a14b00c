/* SPDX-License-Identifier: MIT */
/*
 * classes.c - see classes.h.
 */
#include "data/classes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void pt_classes_init(struct pt_classes *l)
{
	memset(l, 0, sizeof *l);
}

void pt_classes_release(struct pt_classes *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->name[i]);
	free(l->name);
	pt_map_release(&l->map);
	memset(l, 0, sizeof *l);
}

int32_t pt_classes_find(const struct pt_classes *l, const char *name)
{
	return (int32_t)pt_map_get(&l->map, name, strlen(name));
}

int pt_classes_add(struct pt_classes *l, const char *name, struct pt_error *err)
{
	char *copy;

	if (pt_classes_find(l, name) >= 0)
		return 0;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return pt_error(err, PT_DATA, "label '%.200s' has a control character", name);
	if (l->n == INT32_MAX)
		return pt_error(err, PT_DATA, "more than 2^31 labels");
	if ((!l->map.slot && pt_map_init(&l->map, 16, err)) ||
	    pt_grow(&l->name, &l->cap, l->n + 1, sizeof *l->name, err))
		return err->status;
	copy = pt_strdup(name, err);
	if (!copy)
		return err->status;
	l->name[l->n] = copy;
	return pt_map_put(&l->map, copy, strlen(copy), (int64_t)l->n++, NULL, err);
}

static bool number(const char *s, double *v)
{
	char *end;

	/* strtod also takes names of infinities, hexadecimal and leading space. */
	if (!*s || s[strspn(s, "+-.0123456789eE")])
		return false;
	*v = strtod(s, &end);
	return !*end && isfinite(*v);
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_value(const void *a, const void *b)
{
	double x = 0, y = 0;

	number(*(char *const *)a, &x);
	number(*(char *const *)b, &y);
	return x < y ? -1 : x > y ? 1 : by_bytes(a, b);
}

int pt_classes_sort(struct pt_classes *l, struct pt_error *err)
{
	bool numbers = true;
	double v;

	for (size_t i = 0; i < l->n; i++)
		numbers = numbers && number(l->name[i], &v);
	if (l->n)
		qsort(l->name, l->n, sizeof *l->name, numbers ? by_value : by_bytes);
	for (size_t i = 0; i < l->n; i++)
		if (pt_map_put(&l->map, l->name[i], strlen(l->name[i]), (int64_t)i, NULL, err))
			return err->status;
	return 0;
}

void pt_classes_json(const struct pt_classes *l, struct pt_buf *out)
{
	pt_buf_char(out, '[');
	for (size_t i = 0; i < l->n; i++) {
		if (i)
			pt_buf_char(out, ',');
		pt_buf_json(out, l->name[i], strlen(l->name[i]));
	}
	pt_buf_char(out, ']');
}

const char *pt_classes_name(const cJSON *v, struct pt_buf *scratch)
{
	if (cJSON_IsString(v))
		return v->valuestring;
	if (cJSON_IsBool(v))
		return cJSON_IsTrue(v) ? "true" : "false";
	if (!cJSON_IsNumber(v))
		return NULL;
	pt_buf_clear(scratch);
	pt_json_print(scratch, v, 0);
	return scratch->failed ? NULL : scratch->data;
}
