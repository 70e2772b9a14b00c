/* SPDX-License-Identifier: MIT */
/*
 * record.c - a record: a safetensors file that ends in a checksummed "_tail"
 * (formats/stream.md, section 1).
 */
#include <string.h>

#include "base/hash.h"
#include "io/record.h"

static void put64(char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (char)(v >> 8 * i);
}

static uint64_t get64(const void *data)
{
	const unsigned char *p = data;
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

int pt_record_build(struct pt_st_build *b, const char *pts, struct pt_buf *out, struct pt_error *err)
{
	size_t bytes = pt_st_build_bytes(b), pad, all;
	const struct pt_st_tensor *t;
	int status;

	if (bytes > PT_RECORD_MAX - PT_RECORD_MAX_HEADER)
		return pt_error(err, PT_FAIL, "a record of %zu bytes is beyond the limit of 1 GiB", bytes);
	pad = (PT_RECORD_ALIGN - (bytes + 16) % PT_RECORD_ALIGN) % PT_RECORD_ALIGN;
	pt_st_build_meta_first(b, "pts", pts);
	pt_st_build_array(b, "_tail", PT_U8, (int64_t)(pad + 16), NULL);
	pt_buf_clear(out);
	status = pt_st_build_header(b, PT_RECORD_ALIGN, out, &all, err);
	if (!status && out->len > PT_RECORD_MAX_HEADER)
		status = pt_error(err, PT_FAIL, "the header of a record is beyond the limit of 16 MiB");
	if (status)
		goto done;
	all += out->len;
	if (!pt_buf_reserve(out, all - out->len + 1)) {
		status = pt_error(err, PT_FAIL, "out of memory: %zu bytes", all);
		goto done;
	}
	for (size_t i = 0; (t = pt_st_build_item(b, i)) != NULL; i++)
		if (t->data)
			pt_buf_add(out, t->data, t->bytes);
	pt_buf_zero(out, pad + 16);
	status = pt_buf_check(out, err);
	if (status)
		goto done;
	if (out->len != all) {
		status = pt_error(err, PT_FAIL, "a tensor of a record has no data");
		goto done;
	}
	put64(out->data + all - 16, all);
	put64(out->data + all - 8, pt_hash64(out->data, all - 8));
done:
	pt_st_build_drop(b, "_tail");
	return status;
}

size_t pt_record_header_size(const void *first8)
{
	uint64_t n = get64(first8);

	/* 8: what keeps every type aligned; our writer pads to 64. */
	return n >= 2 && n <= PT_RECORD_MAX_HEADER && n % 8 == 0 ? (size_t)n + 8 : 0;
}

int pt_record_verify(struct pt_st *st, const void *data, struct pt_error *err)
{
	const struct pt_st_tensor *tail = st->ntensors ? &st->tensor[st->ntensors - 1] : NULL;
	const unsigned char *p = data;
	size_t size = st->size, at = st->header_size;

	if (!tail || strcmp(tail->name, "_tail") || tail->dtype != PT_U8 || tail->ndim != 1)
		return pt_error(err, PT_DATA, "no \"_tail\" ends the record");
	if (tail->bytes < 16 || tail->bytes >= 16 + PT_RECORD_ALIGN || size % PT_RECORD_ALIGN)
		return pt_error(err, PT_DATA, "its \"_tail\" has a wrong size");
	if (get64(p + size - 8) != pt_hash64(p, size - 8))
		return pt_error(err, PT_DATA, "its checksum is wrong: the data is damaged");
	if (get64(p + size - 16) != size)
		return pt_error(err, PT_DATA, "it says it has %llu bytes and has %zu",
				(unsigned long long)get64(p + size - 16), size);
	for (size_t i = size - tail->bytes; i < size - 16; i++)
		if (p[i])
			return pt_error(err, PT_DATA, "its padding is not zero");
	for (size_t i = 0; i < st->ntensors; at += st->tensor[i++].bytes)
		if (at % pt_dtype_size(st->tensor[i].dtype))
			return pt_error(err, PT_DATA, "tensor %.100s is not aligned", st->tensor[i].name);
	pt_st_bind(st, data);
	st->ntensors--;
	return 0;
}
