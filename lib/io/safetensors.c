/* SPDX-License-Identifier: MIT */
/*
 * safetensors.c - whole files: parse, map, look up. The header's grammar is
 * in sthead.c, the writer in stbuild.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/sniff.h"
#include "io/sthead.h"

static uint64_t le64(const unsigned char *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/* "this is gzip data, not ...; zcat it", when the bytes are something else than safetensors. */
static int wrong_input(const void *data, size_t n, struct pt_error *err)
{
	const char *hint, *what = pt_sniff(data, n, &hint);

	return pt_error(err, PT_DATA, "this is %s, not safetensors%s%s", what, hint ? "; " : "",
			hint ? hint : "");
}

int pt_st_extent(const void *data, size_t have, size_t *need, size_t *total, struct pt_error *err)
{
	const unsigned char *d = data;
	struct pt_st st;
	uint64_t n;
	int status;

	*total = 0;
	if (have < 8) {
		*need = 8;
		return 0;
	}
	n = le64(d);
	if (n > PT_ST_MAX_HEADER || n < 2 || (have > 8 && d[8] != '{'))
		return wrong_input(data, have, err);
	*need = (size_t)n + 8;
	if (have < *need)
		return 0;
	status = pt_st_parse_header(&st, data, *need, err);
	if (status)
		return status;
	*need = *total = st.size;
	pt_st_release(&st);
	return 0;
}

int pt_st_parse(struct pt_st *st, const void *data, size_t size, struct pt_error *err)
{
	const unsigned char *d = data;
	uint64_t n = size >= 8 ? le64(d) : 0;
	int status;

	memset(st, 0, sizeof *st);
	if (!size)
		return pt_error(err, PT_DATA, "the file is empty");
	if (size < 10 || n > PT_ST_MAX_HEADER || n < 2 || d[8] != '{')
		return wrong_input(data, size, err);
	if (n > size - 8)
		return pt_error(err, PT_DATA, "the file is cut short: its header has %zu bytes, the file %zu",
				(size_t)n, size);
	status = pt_st_parse_header(st, data, (size_t)n + 8, err);
	if (status)
		return status;
	if (st->size != size) {
		status = pt_error(err, PT_DATA, "%s: its tensors end at %zu, the file at %zu",
				  st->size > size ? "the file is cut short" : "bytes follow the last tensor",
				  st->size, size);
		pt_st_release(st);
		return status;
	}
	pt_st_bind(st, data);
	return 0;
}

int pt_st_open(struct pt_st *st, const char *path, struct pt_error *err)
{
	struct pt_mapping map;
	int status;

	memset(st, 0, sizeof *st);
	status = pt_mapping_open(&map, path, err);
	if (status)
		return status;
	status = pt_st_parse(st, map.data, map.size, err);
	if (status) {
		pt_mapping_close(&map);
		return pt_error_prefix(err, "%s", path);
	}
	st->map = map;
	return 0;
}

void pt_st_release(struct pt_st *st)
{
	struct pt_st_priv *priv = st->priv;

	if (priv) {
		pt_map_release(&priv->index);
		free(priv->strings);
		free(priv);
	}
	free(st->tensor);
	free(st->meta);
	if (st->map.data)
		pt_mapping_close(&st->map);
	memset(st, 0, sizeof *st);
}

const struct pt_st_tensor *pt_st_find(const struct pt_st *st, const char *name)
{
	const struct pt_st_priv *priv = st->priv;
	int64_t i = priv ? pt_map_get(&priv->index, name, strlen(name)) : -1;

	/* A stream's reader hides "_tail" by lowering ntensors. */
	return i >= 0 && (size_t)i < st->ntensors ? &st->tensor[i] : NULL;
}

const char *pt_st_meta(const struct pt_st *st, const char *key)
{
	for (size_t i = 0; i < st->nmeta; i++)
		if (!strcmp(st->meta[i].key, key))
			return st->meta[i].value;
	return NULL;
}

int pt_meta_int(const char *text, const char *key, int64_t min, int64_t def, int64_t *out, struct pt_error *err)
{
	char *end;

	*out = def;
	if (!text)
		return 0;
	/* strtoll takes more than decimal digits: spaces, signs. */
	if (*text < '0' || *text > '9' || strlen(text) > 18)
		return pt_error(err, PT_DATA, "%s is '%.40s', not a number", key, text);
	*out = strtoll(text, &end, 10);
	if (*end || *out < min)
		return pt_error(err, PT_DATA, "%s is '%.40s', not a number of at least %lld", key, text,
				(long long)min);
	return 0;
}

void pt_st_shape_text(const struct pt_st_tensor *t, struct pt_buf *out)
{
	pt_buf_printf(out, "%s[", pt_dtype_name(t->dtype));
	for (int i = 0; i < t->ndim; i++)
		pt_buf_printf(out, "%s%lld", i ? "," : "", (long long)t->shape[i]);
	pt_buf_char(out, ']');
}

int pt_st_require(const struct pt_st *st, const char *name, enum pt_dtype dtype, int ndim,
		  const int64_t *shape, const struct pt_st_tensor **out, struct pt_error *err)
{
	const struct pt_st_tensor *t = pt_st_find(st, name);
	struct pt_buf want = PT_BUF_INIT, is = PT_BUF_INIT;
	bool ok;

	*out = NULL;
	if (!t)
		return pt_error(err, PT_DATA, "tensor %.200s is missing", name);
	ok = t->dtype == dtype && t->ndim == ndim;
	for (int i = 0; ok && i < ndim; i++)
		ok = shape[i] < 0 || shape[i] == t->shape[i];
	if (ok) {
		*out = t;
		return 0;
	}
	pt_buf_printf(&want, "%s[", pt_dtype_name(dtype));
	for (int i = 0; i < ndim; i++)
		if (shape[i] < 0)
			pt_buf_printf(&want, "%s*", i ? "," : "");
		else
			pt_buf_printf(&want, "%s%lld", i ? "," : "", (long long)shape[i]);
	pt_buf_char(&want, ']');
	pt_st_shape_text(t, &is);
	pt_error(err, PT_DATA, "tensor %.200s is %s, not %s", name, is.data ? is.data : "?",
		 want.data ? want.data : "?");
	pt_buf_release(&want);
	pt_buf_release(&is);
	return PT_DATA;
}

int pt_st_floats(const struct pt_st_tensor *t, float *out, struct pt_error *err)
{
	if (t->dtype != PT_F32 && t->dtype != PT_F16 && t->dtype != PT_BF16 && t->dtype != PT_F64)
		return pt_error(err, PT_DATA, "%s is stored as %s; F32, F16, BF16 and F64 are read", t->name,
				pt_dtype_name(t->dtype));
	if (out)
		pt_to_f32(out, t->data, t->dtype, t->count);
	return 0;
}
