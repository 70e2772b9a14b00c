/* SPDX-License-Identifier: MIT */
/*
 * view_rows.c - examples, micro-batches and predictions as rows: one an
 * example, its tensors in the order of formats/stream.md.
 */
#include "view.h"

#include <stdio.h>
#include <string.h>

#include "decode.h"

static const char *const batch_keys[] = { "step", "micro", "micros", "epoch" };
enum { N_BATCH_KEYS = sizeof batch_keys / sizeof *batch_keys };

struct columns {
	const struct pt_kind_tensor *entry[PT_KIND_TENSORS];
	const struct pt_st_tensor *tensor[PT_KIND_TENSORS];
	int n;
	const int64_t *offsets, *decoder;
	const int32_t *cls;		/* classes that have names */
};

static const int64_t *data_of(const struct pt_st *st, const char *name, const char *in_batch)
{
	const struct pt_st_tensor *t = pt_st_find(st, name);

	if (!t)
		t = pt_st_find(st, in_batch);
	return t ? t->data : NULL;
}

static void find_columns(struct columns *c, const struct view *v, enum pt_kind kind, const struct pt_st *st)
{
	const struct pt_st_tensor *cls = pt_st_find(st, "class");

	c->n = 0;
	c->cls = cls && v->labels ? cls->data : NULL;
	c->offsets = data_of(st, "offsets", "cu_seqlens");
	c->decoder = data_of(st, "decoder_offsets", "decoder_cu_seqlens");
	for (const struct pt_kind_tensor *k = pt_kind_table(kind); k->name; k++) {
		const struct pt_st_tensor *t = pt_st_find(st, k->name);

		/* The lengths of what they bound say it. */
		if (!t || k->shape == PT_OFFSETS || k->shape == PT_DECODER_OFFSETS || !view_wanted(v, k->name))
			continue;
		c->entry[c->n] = k;
		c->tensor[c->n++] = t;
	}
}

/* Values of example i of a column: from, and how many. */
static size_t extent(const struct columns *c, int k, int64_t i, size_t *from)
{
	const int64_t *o = c->entry[k]->shape == PT_PER_TOKEN ? c->offsets : c->decoder;
	size_t row;

	if (c->entry[k]->shape == PT_PER_TOKEN || c->entry[k]->shape == PT_PER_DECODER) {
		*from = (size_t)o[i];
		return (size_t)(o[i + 1] - o[i]);
	}
	row = c->tensor[k]->count / (size_t)c->tensor[k]->shape[0];
	*from = row * (size_t)i;
	return row;
}

static bool is_list(const struct columns *c, int k)
{
	switch (c->entry[k]->shape) {
	case PT_PER_EXAMPLE:
		return false;
	case PT_PER_EXAMPLE_OR_K:
		return c->tensor[k]->ndim == 2;
	default:
		return true;
	}
}

static const char *label(const struct view *v, const struct columns *c, int64_t i)
{
	const char *s = view_label(v, c->cls[i]);

	return s ? s : "";
}

static void tsv_head(struct view *v, struct rows *r, const struct columns *c)
{
	char line[sizeof r->columns] = "";
	size_t n = 0;

	for (int i = 0; r->batch && i < N_BATCH_KEYS; i++)
		n += (size_t)snprintf(line + n, sizeof line - n, "%s\t", batch_keys[i]);
	for (int k = 0; k < c->n; k++)
		n += (size_t)snprintf(line + n, sizeof line - n, "%s%s", k ? "\t" : "", c->entry[k]->name);
	if (c->cls)
		n += (size_t)snprintf(line + n, sizeof line - n, "\tlabel");
	if (v->decode)
		snprintf(line + n, sizeof line - n, "\ttext");
	if (!strcmp(line, r->columns))
		return;
	memcpy(r->columns, line, sizeof line);
	pt_buf_str(&v->out, line);
	pt_buf_char(&v->out, '\n');
}

static int tsv_row(struct view *v, const struct rows *r, const struct columns *c, const struct pt_st *st, int64_t i,
		   struct pt_error *err)
{
	size_t from, n;

	for (int b = 0; r->batch && b < N_BATCH_KEYS; b++) {
		view_name(v, pt_st_meta(st, batch_keys[b]));
		pt_buf_char(&v->out, '\t');
	}
	for (int k = 0; k < c->n; k++) {
		if (k)
			pt_buf_char(&v->out, '\t');
		n = extent(c, k, i, &from);
		view_values(v, c->tensor[k], from, n, " ");
	}
	if (c->cls) {
		pt_buf_char(&v->out, '\t');
		view_name(v, label(v, c, i));
	}
	if (v->decode) {
		pt_buf_char(&v->out, '\t');
		if (decode_example(v->decode, r->kind, st, i, &v->out, err))
			return err->status;
	}
	pt_buf_char(&v->out, '\n');
	return 0;
}

static int json_row(struct view *v, const struct rows *r, const struct columns *c, const struct pt_st *st, int64_t i,
		    struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	const char *between = "{";
	size_t from, n;

	for (int b = 0; r->batch && b < N_BATCH_KEYS; b++, between = ",")
		pt_buf_printf(&v->out, "%s\"%s\":%s", between, batch_keys[b], pt_st_meta(st, batch_keys[b]));
	for (int k = 0; k < c->n; k++, between = ",") {
		pt_buf_printf(&v->out, "%s\"%s\":%s", between, c->entry[k]->name, is_list(c, k) ? "[" : "");
		n = extent(c, k, i, &from);
		view_values(v, c->tensor[k], from, n, ",");
		pt_buf_str(&v->out, is_list(c, k) ? "]" : "");
	}
	if (c->cls && view_label(v, c->cls[i])) {
		pt_buf_printf(&v->out, "%s\"label\":", between);
		view_name(v, label(v, c, i));
		between = ",";
	}
	if (v->decode && !decode_example(v->decode, r->kind, st, i, &text, err)) {
		pt_buf_printf(&v->out, "%s\"text\":", between);
		pt_buf_json(&v->out, text.data ? text.data : "", text.len);
		between = ",";
	}
	pt_buf_str(&v->out, *between == '{' ? "{}\n" : "}\n");
	pt_buf_release(&text);
	return err->status;
}

/* What is single on one line, lists below it. */
static int text_row(struct view *v, const struct rows *r, const struct columns *c, const struct pt_st *st, int64_t i,
		    struct pt_error *err)
{
	const char *between = "";
	size_t from, n;

	for (int k = 0; k < c->n; k++) {
		if (is_list(c, k))
			continue;
		n = extent(c, k, i, &from);
		pt_buf_printf(&v->out, "%s%s ", between, c->entry[k]->name);
		between = "  ";
		view_values(v, c->tensor[k], from, n, " ");
		if (c->cls && c->tensor[k]->data == (const void *)c->cls && view_label(v, c->cls[i])) {
			pt_buf_str(&v->out, " = ");
			view_name(v, label(v, c, i));
		}
	}
	pt_buf_char(&v->out, '\n');
	for (int k = 0; v->values && k < c->n; k++) {
		if (!is_list(c, k))
			continue;
		n = extent(c, k, i, &from);
		pt_buf_printf(&v->out, "  %-16s ", c->entry[k]->name);
		view_values(v, c->tensor[k], from, n, " ");
		pt_buf_char(&v->out, '\n');
	}
	if (v->decode) {
		pt_buf_str(&v->out, "  ");
		if (decode_example(v->decode, r->kind, st, i, &v->out, err))
			return err->status;
		pt_buf_char(&v->out, '\n');
	}
	return 0;
}

int view_rows(struct view *v, struct rows *r, const struct pt_record *rec, int64_t n, struct pt_error *err)
{
	const struct pt_st *st = &rec->st;
	struct columns c;
	int status = 0;

	r->batch = r->kind == PT_KIND_BATCH;
	find_columns(&c, v, r->kind, st);
	if (v->format == VIEW_TSV)
		tsv_head(v, r, &c);
	for (int64_t i = 0; i < n && !status; i++) {
		if (v->format == VIEW_TSV)
			status = tsv_row(v, r, &c, st, i, err);
		else if (v->format == VIEW_JSON)
			status = json_row(v, r, &c, st, i, err);
		else
			status = text_row(v, r, &c, st, i, err);
		if (!status)
			status = view_flush(v, err);
	}
	return status;
}
