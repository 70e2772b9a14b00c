/* SPDX-License-Identifier: MIT */
/*
 * stbuild.c - the writer of safetensors files: equal tensors and metadata
 * give equal bytes (formats/safetensors.md, The writer).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/safetensors.h"

struct pt_st_item {
	struct pt_st_tensor t;
	char *name;
};

struct pt_st_pair {
	char *key, *value;
	bool first;
	size_t order;		/* among those that lead */
};

void pt_st_build_init(struct pt_st_build *b)
{
	memset(b, 0, sizeof *b);
}

void pt_st_build_clear(struct pt_st_build *b)
{
	for (size_t i = 0; i < b->nitems; i++)
		free(b->item[i].name);
	for (size_t i = 0; i < b->npairs; i++) {
		free(b->pair[i].key);
		free(b->pair[i].value);
	}
	b->nitems = b->npairs = 0;
	memset(&b->err, 0, sizeof b->err);
}

void pt_st_build_release(struct pt_st_build *b)
{
	pt_st_build_clear(b);
	free(b->item);
	free(b->pair);
	memset(b, 0, sizeof *b);
}

/* Of equal keys the last value counts; its place (leading or not) is that of the first. */
static void add_pair(struct pt_st_build *b, const char *key, const char *value, bool first)
{
	struct pt_st_pair *p;

	if (b->err.status)
		return;
	for (size_t i = 0; i < b->npairs; i++)
		if (!strcmp(b->pair[i].key, key)) {
			char *v = pt_strdup(value, &b->err);

			if (v) {
				free(b->pair[i].value);
				b->pair[i].value = v;
			}
			return;
		}
	if (pt_grow(&b->pair, &b->cap_pairs, b->npairs + 1, sizeof *b->pair, &b->err))
		return;
	p = &b->pair[b->npairs];
	p->first = first;
	p->order = b->npairs;
	p->key = pt_strdup(key, &b->err);
	p->value = p->key ? pt_strdup(value, &b->err) : NULL;
	if (!p->value) {
		free(p->key);
		return;
	}
	b->npairs++;
}

void pt_st_build_meta(struct pt_st_build *b, const char *key, const char *value)
{
	add_pair(b, key, value, false);
}

void pt_st_build_meta_int(struct pt_st_build *b, const char *key, int64_t value)
{
	char text[24];

	snprintf(text, sizeof text, "%lld", (long long)value);
	add_pair(b, key, text, false);
}

void pt_st_build_meta_first(struct pt_st_build *b, const char *key, const char *value)
{
	add_pair(b, key, value, true);
}

const char *pt_st_build_get_meta(const struct pt_st_build *b, const char *key)
{
	for (size_t i = 0; i < b->npairs; i++)
		if (!strcmp(b->pair[i].key, key))
			return b->pair[i].value;
	return NULL;
}

void pt_st_build_tensor(struct pt_st_build *b, const char *name, enum pt_dtype dtype, int ndim,
			const int64_t *shape, const void *data)
{
	struct pt_st_item *it;

	if (b->err.status)
		return;
	if (ndim < 0 || ndim > PT_ST_MAX_DIMS) {
		pt_error(&b->err, PT_FAIL, "tensor %.200s has %d dimensions", name, ndim);
		return;
	}
	if (pt_grow(&b->item, &b->cap_items, b->nitems + 1, sizeof *b->item, &b->err))
		return;
	it = &b->item[b->nitems];
	memset(it, 0, sizeof *it);
	it->t.dtype = dtype;
	it->t.ndim = ndim;
	it->t.count = 1;
	it->t.data = data;
	for (int i = 0; i < ndim; i++) {
		it->t.shape[i] = shape[i];
		if (shape[i] < 0 || !pt_mul_size(it->t.count, (size_t)shape[i], &it->t.count)) {
			pt_error(&b->err, PT_FAIL, "shape of tensor %.200s does not fit", name);
			return;
		}
	}
	if (!pt_mul_size(it->t.count, pt_dtype_size(dtype), &it->t.bytes)) {
		pt_error(&b->err, PT_FAIL, "shape of tensor %.200s does not fit", name);
		return;
	}
	it->name = pt_strdup(name, &b->err);
	if (!it->name)
		return;
	it->t.name = it->name;
	b->nitems++;
}

void pt_st_build_array(struct pt_st_build *b, const char *name, enum pt_dtype dtype, int64_t n,
		       const void *data)
{
	pt_st_build_tensor(b, name, dtype, 1, &n, data);
}

size_t pt_st_build_bytes(const struct pt_st_build *b)
{
	size_t n = 0;

	for (size_t i = 0; i < b->nitems; i++)
		if (!pt_add_size(n, b->item[i].t.bytes, &n))
			return SIZE_MAX;
	return n;
}

void pt_st_build_drop(struct pt_st_build *b, const char *name)
{
	for (size_t i = 0; i < b->nitems; i++) {
		if (strcmp(b->item[i].name, name))
			continue;
		free(b->item[i].name);
		b->nitems--;
		memmove(b->item + i, b->item + i + 1, (b->nitems - i) * sizeof *b->item);
		return;
	}
}

void pt_st_build_drop_meta(struct pt_st_build *b, const char *key)
{
	for (size_t i = 0; i < b->npairs; i++) {
		if (strcmp(b->pair[i].key, key))
			continue;
		free(b->pair[i].key);
		free(b->pair[i].value);
		b->npairs--;
		memmove(b->pair + i, b->pair + i + 1, (b->npairs - i) * sizeof *b->pair);
		return;
	}
}

/* "_tail" is last in every record, whatever its name and type say. */
static int by_layout(const void *a, const void *b)
{
	const struct pt_st_item *x = a, *y = b;
	bool tail_x = !strcmp(x->name, "_tail"), tail_y = !strcmp(y->name, "_tail");
	int ox = pt_dtype_order(x->t.dtype), oy = pt_dtype_order(y->t.dtype);

	if (tail_x != tail_y)
		return tail_x ? 1 : -1;
	return ox != oy ? (ox < oy ? -1 : 1) : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
	const struct pt_st_pair *x = a, *y = b;

	bool pts_x = !strcmp(x->key, "pts"), pts_y = !strcmp(y->key, "pts");

	if (pts_x != pts_y)
		return pts_x ? -1 : 1;		/* what makes a file a record comes first of all */
	if (x->first != y->first)
		return x->first ? -1 : 1;
	if (x->first)
		return x->order < y->order ? -1 : x->order > y->order;
	return strcmp(x->key, y->key);
}

static void header_tensor(struct pt_buf *out, const struct pt_st_tensor *t, size_t at)
{
	pt_buf_json(out, t->name, strlen(t->name));
	pt_buf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", pt_dtype_name(t->dtype));
	for (int d = 0; d < t->ndim; d++)
		pt_buf_printf(out, "%s%lld", d ? "," : "", (long long)t->shape[d]);
	pt_buf_printf(out, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
}

int pt_st_build_header(struct pt_st_build *b, size_t align, struct pt_buf *out, size_t *data_bytes,
		       struct pt_error *err)
{
	size_t start = out->len, at = 0, n;

	if (b->err.status) {
		*err = b->err;
		return err->status;
	}
	if (b->nitems)
		qsort(b->item, b->nitems, sizeof *b->item, by_layout);
	if (b->npairs)
		qsort(b->pair, b->npairs, sizeof *b->pair, by_key);
	for (size_t i = 0; i < b->npairs; i++)
		b->pair[i].order = i;		/* still in order if more are added */
	pt_buf_zero(out, 8);
	pt_buf_str(out, "{\"__metadata__\":{");
	for (size_t i = 0; i < b->npairs; i++) {
		if (i)
			pt_buf_char(out, ',');
		pt_buf_json(out, b->pair[i].key, strlen(b->pair[i].key));
		pt_buf_char(out, ':');
		pt_buf_json(out, b->pair[i].value, strlen(b->pair[i].value));
	}
	pt_buf_char(out, '}');
	for (size_t i = 0; i < b->nitems; i++) {
		const struct pt_st_tensor *t = &b->item[i].t;

		if (i && !strcmp(b->item[i].name, b->item[i - 1].name))
			return pt_error(err, PT_FAIL, "two tensors are called %.200s", t->name);
		pt_buf_char(out, ',');
		header_tensor(out, t, at);
		if (!pt_add_size(at, t->bytes, &at))
			return pt_error(err, PT_FAIL, "the tensors are too large");
	}
	pt_buf_char(out, '}');
	while ((out->len - start) % align && !out->failed)
		pt_buf_char(out, ' ');
	if (pt_buf_check(out, err))
		return err->status;
	n = out->len - start - 8;
	for (int i = 0; i < 8; i++)
		out->data[start + (size_t)i] = (char)(n >> 8 * i);
	*data_bytes = at;
	return 0;
}

const struct pt_st_tensor *pt_st_build_item(const struct pt_st_build *b, size_t i)
{
	return i < b->nitems ? &b->item[i].t : NULL;
}

int pt_st_build_write_fill(struct pt_st_build *b, const char *path, pt_st_fill_fn fill, void *arg,
			   struct pt_error *err)
{
	struct pt_buf head = PT_BUF_INIT;
	struct pt_out out;
	size_t bytes;
	int status;

	if (!b->npairs)
		pt_st_build_meta(b, "format", "pt");
	status = pt_st_build_header(b, 64, &head, &bytes, err);
	if (!status)
		status = pt_out_open(&out, path, err);
	if (status)
		goto done;
	status = pt_out_write(&out, head.data, head.len, err);
	for (size_t i = 0; i < b->nitems && !status; i++) {
		const struct pt_st_tensor *t = &b->item[i].t;

		if (t->data || !t->bytes || !fill)
			status = pt_out_write(&out, t->data, t->bytes, err);
		else
			status = fill(arg, &out, t, err);
	}
	if (status)
		pt_out_abort(&out);
	else
		status = pt_out_commit(&out, err);
done:
	pt_buf_release(&head);
	return status;
}

int pt_st_build_write(struct pt_st_build *b, const char *path, struct pt_error *err)
{
	return pt_st_build_write_fill(b, path, NULL, NULL, err);
}
