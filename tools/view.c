/* SPDX-License-Identifier: MIT */
/*
 * view.c - pieces that all parts of peft-view use, and the tensors of files
 * and directories.
 */
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "io/prov.h"

int view_flush(struct view *v, struct pt_error *err)
{
	if (pt_buf_check(&v->out, err))
		return err->status;
	if (v->out.len && fwrite(v->out.data, 1, v->out.len, stdout) != v->out.len)
		return pt_error_errno(err, "standard output: cannot write");
	pt_buf_clear(&v->out);
	return 0;
}

bool view_wanted(const struct view *v, const char *name)
{
	for (int i = 0; i < v->only.n; i++)
		if (!strcmp(v->only.item[i], name))
			return true;
	return v->only.n == 0;
}

const char *view_label(const struct view *v, int32_t cls)
{
	return cls < 0 ? NULL : cJSON_GetStringValue(cJSON_GetArrayItem(v->labels, cls));
}

void view_name(struct view *v, const char *name)
{
	if (v->format == VIEW_JSON)
		pt_buf_json(&v->out, name, strlen(name));
	else
		pt_buf_printable(&v->out, name, strlen(name));
}

void view_pair(struct view *v, const char *key, const char *value, int width)
{
	size_t start = v->out.len;

	pt_buf_str(&v->out, "  ");
	view_name(v, key);
	while (v->out.len < start + 2 + (size_t)width && !v->out.failed)
		pt_buf_char(&v->out, ' ');
	pt_buf_char(&v->out, ' ');
	pt_buf_printable(&v->out, value, strlen(value));
	pt_buf_char(&v->out, '\n');
}

void view_values(struct view *v, const struct pt_st_tensor *t, size_t from, size_t n, const char *between)
{
	for (size_t i = 0; i < n; i++) {
		if (i)
			pt_buf_str(&v->out, between);
		values_text(t, from + i, v->format == VIEW_JSON, &v->out);
	}
}

void view_first_values(struct view *v, const struct pt_st_tensor *t)
{
	enum { FIRST = 6 };
	size_t n = t->count < FIRST ? t->count : FIRST;

	view_values(v, t, 0, n, " ");
	if (n < t->count)
		pt_buf_str(&v->out, " ...");
}

void view_stats_head(struct view *v)
{
	if (v->format == VIEW_TSV)
		pt_buf_str(&v->out, "name\ttensor\tvalues\tmin\tmax\tmean\tnan\tinf\n");
	else if (v->format == VIEW_TEXT)
		pt_buf_printf(&v->out, "%-*s %-20s %12s %12s %12s %8s %8s\n", v->width, "name", "tensor", "min", "max",
			      "mean", "nan", "inf");
}

void view_stats_row(struct view *v, const char *name, const char *form, const struct stats *s)
{
	struct pt_buf shown = PT_BUF_INIT;

	if (v->format == VIEW_TEXT) {
		pt_buf_printable(&shown, name, strlen(name));
		pt_buf_printf(&v->out, "%-*s %-20s %12.6g %12.6g %12.6g %8llu %8llu\n", v->width,
			      shown.data ? shown.data : "", form, s->min, s->max, s->mean, (unsigned long long)s->nan,
			      (unsigned long long)s->inf);
		pt_buf_release(&shown);
		return;
	}
	pt_buf_str(&v->out, v->format == VIEW_JSON ? "{\"name\":" : "");
	view_name(v, name);
	pt_buf_printf(&v->out, v->format == VIEW_JSON ? ",\"tensor\":\"%s\",\"values\":%llu,\"min\":" : "\t%s\t%llu\t",
		      form, (unsigned long long)(s->n + s->nan + s->inf));
	values_double(s->min, v->format == VIEW_JSON, &v->out);
	pt_buf_str(&v->out, v->format == VIEW_JSON ? ",\"max\":" : "\t");
	values_double(s->max, v->format == VIEW_JSON, &v->out);
	pt_buf_str(&v->out, v->format == VIEW_JSON ? ",\"mean\":" : "\t");
	values_double(s->mean, v->format == VIEW_JSON, &v->out);
	pt_buf_printf(&v->out, v->format == VIEW_JSON ? ",\"nan\":%llu,\"inf\":%llu}\n" : "\t%llu\t%llu\n",
		      (unsigned long long)s->nan, (unsigned long long)s->inf);
}

/* A tensor's values as nested JSON arrays. */
static void nested(struct view *v, const struct pt_st_tensor *t, int dim, size_t *at)
{
	if (dim == t->ndim) {
		values_text(t, (*at)++, true, &v->out);
		return;
	}
	pt_buf_char(&v->out, '[');
	for (int64_t i = 0; i < t->shape[dim]; i++) {
		if (i)
			pt_buf_char(&v->out, ',');
		nested(v, t, dim + 1, at);
	}
	pt_buf_char(&v->out, ']');
}

static int show_tensor(struct view *v, const struct pt_st_tensor *t, int width, struct pt_error *err)
{
	struct pt_buf form = PT_BUF_INIT;
	size_t row = t->ndim && t->shape[t->ndim - 1] > 0 ? (size_t)t->shape[t->ndim - 1] : 1, at = 0, start;
	struct stats s;

	pt_st_shape_text(t, &form);
	if (pt_buf_check(&form, err))
		goto out;
	if (v->stats) {
		values_stats(t, &s);
		view_stats_row(v, t->name, form.data, &s);
	} else if (v->format == VIEW_JSON) {
		pt_buf_str(&v->out, "{\"name\":");
		view_name(v, t->name);
		pt_buf_printf(&v->out, ",\"dtype\":\"%s\",\"shape\":[", pt_dtype_name(t->dtype));
		for (int i = 0; i < t->ndim; i++)
			pt_buf_printf(&v->out, "%s%lld", i ? "," : "", (long long)t->shape[i]);
		pt_buf_printf(&v->out, "],\"bytes\":%zu", t->bytes);
		if (v->values) {
			pt_buf_str(&v->out, ",\"values\":");
			nested(v, t, 0, &at);
		}
		pt_buf_str(&v->out, "}\n");
	} else if (v->format == VIEW_TSV) {
		view_name(v, t->name);
		pt_buf_printf(&v->out, "\t%s\t%zu", form.data, t->bytes);
		if (v->values) {
			pt_buf_char(&v->out, '\t');
			view_values(v, t, 0, t->count, " ");
		}
		pt_buf_char(&v->out, '\n');
	} else {
		start = v->out.len;
		view_name(v, t->name);
		while (v->out.len < start + (size_t)width && !v->out.failed)
			pt_buf_char(&v->out, ' ');
		pt_buf_printf(&v->out, "  %-18s ", form.data);
		if (!v->values)
			view_first_values(v, t);
		for (; v->values && at < t->count; at += row) {
			pt_buf_str(&v->out, "\n  ");
			view_values(v, t, at, row, " ");
			if (v->out.len > 1 << 16 && view_flush(v, err))
				break;
		}
		pt_buf_char(&v->out, '\n');
	}
	view_flush(v, err);
out:
	pt_buf_release(&form);
	return err->status;
}

/* config.json, adapter_config.json: one line a key. */
static void show_config(struct view *v, const struct operand *o)
{
	struct pt_buf b = PT_BUF_INIT;
	int width = VIEW_KEY, n;
	const cJSON *e;

	cJSON_ArrayForEach(e, o->config) {
		n = (int)strnlen(e->string, 60);
		width = n > width ? n : width;
	}
	if (v->format == VIEW_JSON) {
		pt_buf_str(&v->out, o->type == OPERAND_ADAPTER ? "{\"adapter_config\":" : "{\"config\":");
		pt_json_print(&v->out, o->config, 0);
		pt_buf_str(&v->out, "}\n");
	} else if (v->format == VIEW_TEXT) {
		pt_buf_str(&v->out, o->type == OPERAND_ADAPTER ? "adapter\n" : "config.json\n");
		cJSON_ArrayForEach(e, o->config) {
			pt_buf_clear(&b);
			pt_json_print(&b, e, 0);
			if (!b.failed)
				view_pair(v, e->string, b.data, width);
		}
	}
	pt_buf_release(&b);
}

static int show_dir(struct view *v, const struct operand *o, struct pt_error *err)
{
	char *path = pt_path_join(o->dir, PT_PROV_FILE, err);
	struct pt_prov prov = PT_PROV_INIT;
	uint64_t id;

	if (o->type == OPERAND_MODEL) {
		if (v->format == VIEW_TEXT)
			pt_buf_str(&v->out, "model\n");
		if (view_model(v, &o->model, err))
			goto out;
	}
	if (!v->sites)
		show_config(v, o);
	if (!v->sites && path && !pt_prov_read(&prov, path, &id, err) && prov.n && v->format == VIEW_TEXT) {
		pt_buf_str(&v->out, "provenance\n");
		pt_prov_tree(&prov, id, &v->out, err);
	}
out:
	pt_prov_release(&prov);
	free(path);
	return err->status;
}

/* Each name that is asked for is there. */
static int check_only(const struct view *v, const struct operand *o, struct pt_error *err)
{
	for (int k = 0; k < v->only.n; k++) {
		size_t i = 0;

		while (i < o->n && strcmp(o->tensor[i]->name, v->only.item[k]) != 0)
			i++;
		if (i == o->n)
			return pt_error(err, PT_USAGE, "%s has no tensor %s", o->name, v->only.item[k]);
	}
	return 0;
}

int view_tensors(struct view *v, struct operand *o, struct pt_error *err)
{
	size_t width = 4, values = 0, bytes = 0, shown = 0, n;

	if (check_only(v, o, err))
		return err->status;
	if (o->type != OPERAND_FILE) {
		if (show_dir(v, o, err))
			return err->status;
		if (v->sites)
			return view_flush(v, err);
	} else if (v->format == VIEW_TEXT) {
		pt_buf_str(&v->out, "safetensors\n");
		for (size_t i = 0; i < o->file->nmeta; i++)
			view_pair(v, o->file->meta[i].key, o->file->meta[i].value, VIEW_KEY);
	}
	for (size_t i = 0; i < o->n; i++) {
		n = strlen(o->tensor[i]->name);
		width = n > width && n <= 80 ? n : width;
	}
	v->width = (int)width;
	if (v->stats)
		view_stats_head(v);
	else if (v->format == VIEW_TSV)
		pt_buf_printf(&v->out, "name\ttensor\tbytes%s\n", v->values ? "\tvalues" : "");
	for (size_t i = 0; i < o->n; i++) {
		if (!view_wanted(v, o->tensor[i]->name))
			continue;
		if (show_tensor(v, o->tensor[i], (int)width, err))
			return err->status;
		shown++;
		values += o->tensor[i]->count;
		bytes += o->tensor[i]->bytes;
	}
	if (v->format == VIEW_TEXT)
		pt_buf_printf(&v->out, "%zu tensors, %zu values, %zu bytes\n", shown, values, bytes);
	return view_flush(v, err);
}
