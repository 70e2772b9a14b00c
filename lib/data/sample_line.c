/* SPDX-License-Identifier: MIT */
/*
 * sample_line.c - a line of a source as a sample: text as it stands, JSON, or
 * the fields of a TSV or CSV file, which become the JSON object that they would be;
 * with the class that the path names.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/fields.h"
#include "data/sample.h"

/* Whose fields may be numbers; all others are text. */
static bool may_be_number(const char *column)
{
	static const char *const numbers[] = { "label", "labels", "score", "weight", "group" };

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (!strcmp(column, numbers[i]))
			return true;
	return false;
}

/* Text, or a number as JSON spells it. */
static cJSON *value(const char *s, size_t n, bool number, struct pt_error *err)
{
	struct pt_error none = PT_ERROR_INIT;
	cJSON *v = NULL;
	char *copy;

	if (number && n && strchr("-0123456789", *s))
		v = pt_json_parse(s, n, 0, "", &none);
	if (v)
		return v;
	copy = pt_strndup(s, n, err);
	if (copy)
		v = cJSON_CreateString(copy);
	if (copy && !v)
		pt_error(err, PT_FAIL, "out of memory");
	free(copy);
	return v;
}

static int add(cJSON *object, const char *key, const char *s, size_t n, struct pt_error *err)
{
	cJSON *v;

	if (pt_json_get(object, key))
		return pt_error(err, PT_DATA, "two columns of \"%s\"", key);
	if (memchr(s, '\0', n))
		return pt_error(err, PT_DATA, "NUL in \"%s\"", key);
	v = value(s, n, may_be_number(key), err);
	if (!v)
		return err->status;
	if (cJSON_AddItemToObject(object, key, v))
		return 0;
	cJSON_Delete(v);
	return pt_error(err, PT_FAIL, "out of memory");
}

static int add_fields(cJSON *object, char *const *column, struct pt_fields *f, struct pt_error *err)
{
	size_t columns = 0, fields = 0, n;
	const char *text;
	bool more;

	while (column[columns])
		columns++;
	while (!pt_fields_next(f, &text, &n, &more, err) && more) {
		if (fields++ < columns && strcmp(column[fields - 1], "-") && add(object, column[fields - 1], text, n, err))
			break;
	}
	if (!err->status && fields != columns)
		pt_error(err, PT_DATA, "%zu fields, the header has %zu", fields, columns);
	return err->status;
}

static int read_fields(struct pt_sample *s, const struct pt_text_file *f, const char *text, size_t n, const char *what,
		       struct pt_error *err)
{
	struct pt_fields fields;

	memset(s, 0, sizeof *s);
	s->json = cJSON_CreateObject();
	if (!s->json)
		return pt_error(err, PT_FAIL, "out of memory");
	pt_fields_init(&fields, text, n, f->format == PT_SOURCE_CSV);
	add_fields(s->json, f->column, &fields, err);
	pt_fields_release(&fields);
	if (!err->status)
		return pt_sample_take(s, what, err);
	pt_sample_release(s);
	return pt_error_prefix(err, "%s", what);
}

static int add_label(struct pt_sample *s, const char *label, struct pt_error *err)
{
	if (s->label)
		return pt_error(err, PT_DATA, "a \"label\" in the line and one in the path");
	if (!s->json)
		s->json = cJSON_CreateObject();
	if (!s->json)
		return pt_error(err, PT_FAIL, "out of memory");
	if (add(s->json, "label", label, strlen(label), err))
		return err->status;
	s->label = pt_json_get(s->json, "label");
	return 0;
}

int pt_sample_line(struct pt_sample *s, const struct pt_text_file *f, const char *text, size_t n, const char *what,
		   struct pt_error *err)
{
	int status = 0;

	if (f->format == PT_SOURCE_JSONL)
		status = pt_sample_parse(s, text, n, what, err);
	else if (f->format == PT_SOURCE_TSV || f->format == PT_SOURCE_CSV)
		status = read_fields(s, f, text, n, what, err);
	else
		pt_sample_plain(s, text, n);
	if (!status && f->label && add_label(s, f->label, err)) {
		pt_sample_release(s);
		status = pt_error_prefix(err, "%s", what);
	}
	return status;
}
