/* SPDX-License-Identifier: MIT */
/*
 * sthead.c - the JSON header of a safetensors file (formats/safetensors.md).
 *
 * Hostile bytes meet this parser first, before any checksum. It accepts one
 * form of JSON only, so it needs no tree: one pass, memory in proportion to
 * the header, no recursion. JSON of any other shape goes through base/json.h.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "io/sthead.h"

struct scan {
	const unsigned char *begin, *p, *end;
	struct pt_st *st;
	struct pt_st_priv *priv;
	size_t used;			/* of priv->strings */
	size_t cap_tensors, cap_meta;
	struct pt_error *err;
};

static int bad(struct scan *s, const char *what)
{
	return pt_error(s->err, PT_DATA, "header, byte %zu: %s", (size_t)(s->p - s->begin), what);
}

static void skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}

/* The next character that is no space, consumed if it is c. */
static bool take(struct scan *s, char c)
{
	skip_space(s);
	if (s->p < s->end && *s->p == (unsigned char)c) {
		s->p++;
		return true;
	}
	return false;
}

static int expect(struct scan *s, char c)
{
	char what[] = "expected 'x'";

	if (take(s, c))
		return 0;
	what[10] = c;
	return bad(s, what);
}

static int hex4(struct scan *s, unsigned *out)
{
	unsigned v = 0;

	if (s->end - s->p < 4)
		return bad(s, "string does not end");
	for (int i = 0; i < 4; i++, s->p++) {
		unsigned char c = *s->p;

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v * 16 + ((c | 32) - 'a' + 10);
		else
			return bad(s, "bad \\u escape");
	}
	*out = v;
	return 0;
}

/* After the backslash; never longer than what it stands for. */
static int escape(struct scan *s, char *d, size_t *n)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *f;
	unsigned u = 0, low = 0;

	if (s->p >= s->end)
		return bad(s, "string does not end");
	if (*s->p != 'u') {
		f = *s->p ? strchr(from, *s->p) : NULL;
		if (!f)
			return bad(s, "bad escape");
		s->p++;
		*d = to[f - from];
		*n = 1;
		return 0;
	}
	s->p++;
	if (hex4(s, &u))
		return PT_DATA;
	if (u >= 0xd800 && u <= 0xdbff) {
		if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
			return bad(s, "half of a surrogate pair");
		s->p += 2;
		if (hex4(s, &low))
			return PT_DATA;
		if (low < 0xdc00 || low > 0xdfff)
			return bad(s, "half of a surrogate pair");
		u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
	} else if (u >= 0xdc00 && u <= 0xdfff) {
		return bad(s, "half of a surrogate pair");
	}
	if (!u)
		return bad(s, "NUL in a string");
	*n = pt_utf8_put(u, d);
	return 0;
}

/*
 * A string, unescaped into priv->strings. That area has as many bytes as the
 * header: a string with its NUL is shorter than what stands in the JSON.
 */
static int string(struct scan *s, const char **out, size_t *len)
{
	char *start = s->priv->strings + s->used, *d = start;
	uint32_t cp;
	size_t n = 0;

	if (expect(s, '"'))
		return PT_DATA;
	for (;;) {
		if (s->p >= s->end)
			return bad(s, "string does not end");
		if (*s->p == '"')
			break;
		if (*s->p == '\\') {
			s->p++;
			if (escape(s, d, &n))
				return PT_DATA;
			d += n;
			continue;
		}
		if (*s->p < 0x20)
			return bad(s, "control character in a string");
		n = pt_utf8_next((const char *)s->p, (size_t)(s->end - s->p), &cp);
		if (cp == UINT32_MAX)
			return bad(s, "invalid UTF-8");
		memcpy(d, s->p, n);
		d += n;
		s->p += n;
	}
	s->p++;
	*d = '\0';
	*out = start;
	*len = (size_t)(d - start);
	s->used += *len + 1;
	return 0;
}

static int number(struct scan *s, uint64_t *out)
{
	uint64_t v = 0;
	const unsigned char *first;

	skip_space(s);
	first = s->p;
	while (s->p < s->end && *s->p >= '0' && *s->p <= '9') {
		unsigned digit = *s->p - '0';

		if (v > ((uint64_t)INT64_MAX - digit) / 10)
			return bad(s, "number too large");
		v = v * 10 + digit;
		s->p++;
	}
	if (s->p == first || (*first == '0' && s->p - first > 1) ||
	    (s->p < s->end && (*s->p == '.' || (*s->p | 32) == 'e')))
		return bad(s, "expected a non-negative integer");
	*out = v;
	return 0;
}

/* "[" numbers "]" of at most max of them. */
static int numbers(struct scan *s, uint64_t *v, int max, int *n)
{
	*n = 0;
	if (expect(s, '['))
		return PT_DATA;
	if (take(s, ']'))
		return 0;
	do {
		if (*n == max)
			return bad(s, "too many numbers in an array");
		if (number(s, &v[(*n)++]))
			return PT_DATA;
	} while (take(s, ','));
	return expect(s, ']');
}

static int metadata(struct scan *s)
{
	struct pt_st *st = s->st;
	size_t n;

	if (expect(s, '{'))
		return PT_DATA;
	if (take(s, '}'))
		return 0;
	do {
		struct pt_st_meta *m;

		if (pt_grow(&st->meta, &s->cap_meta, st->nmeta + 1, sizeof *st->meta, s->err))
			return s->err->status;
		m = &st->meta[st->nmeta];
		if (string(s, &m->key, &n))
			return PT_DATA;
		if (n > PT_ST_MAX_NAME)
			return bad(s, "metadata key too long");
		if (expect(s, ':') || string(s, &m->value, &n))
			return PT_DATA;
		st->nmeta++;
	} while (take(s, ','));
	return expect(s, '}');
}

static int entry_field(struct scan *s, struct pt_st_tensor *t, uint64_t off[2], unsigned *seen)
{
	const char *key, *word;
	uint64_t dim[PT_ST_MAX_DIMS];
	size_t n;
	unsigned bit;
	int count, type;

	if (string(s, &key, &n) || expect(s, ':'))
		return PT_DATA;
	if (!strcmp(key, "dtype")) {
		bit = 1;
		if (string(s, &word, &n))
			return PT_DATA;
		type = pt_dtype_parse(word);
		if (type < 0)
			return pt_error(s->err, PT_DATA, "tensor %.100s has the unknown type %.20s",
					t->name, word);
		t->dtype = (enum pt_dtype)type;
	} else if (!strcmp(key, "shape")) {
		bit = 2;
		if (numbers(s, dim, PT_ST_MAX_DIMS, &t->ndim))
			return PT_DATA;
		for (int i = 0; i < t->ndim; i++)
			t->shape[i] = (int64_t)dim[i];
	} else if (!strcmp(key, "data_offsets")) {
		bit = 4;
		if (numbers(s, off, 2, &count))
			return PT_DATA;
		if (count != 2)
			return bad(s, "data_offsets needs two numbers");
	} else {
		return bad(s, "unknown field of a tensor");
	}
	if (*seen & bit)
		return bad(s, "duplicate field of a tensor");
	*seen |= bit;
	return 0;
}

static int entry(struct scan *s, const char *name)
{
	struct pt_st *st = s->st;
	struct pt_st_tensor *t;
	uint64_t off[2] = { 0, 0 };
	unsigned seen = 0;
	size_t bytes;

	if (st->ntensors >= PT_ST_MAX_TENSORS)
		return bad(s, "too many tensors");
	if (pt_grow(&st->tensor, &s->cap_tensors, st->ntensors + 1, sizeof *st->tensor, s->err))
		return s->err->status;
	t = &st->tensor[st->ntensors];
	memset(t, 0, sizeof *t);
	t->name = name;
	if (expect(s, '{'))
		return PT_DATA;
	do {
		if (entry_field(s, t, off, &seen))
			return PT_DATA;
	} while (take(s, ','));
	if (expect(s, '}'))
		return PT_DATA;
	if (seen != 7)
		return bad(s, "a tensor needs dtype, shape and data_offsets");
	t->count = 1;
	for (int i = 0; i < t->ndim; i++)
		if (!pt_mul_size(t->count, (size_t)t->shape[i], &t->count))
			return pt_error(s->err, PT_DATA, "shape of %.100s is too large", name);
	if (!pt_mul_size(t->count, pt_dtype_size(t->dtype), &bytes))
		return pt_error(s->err, PT_DATA, "shape of %.100s is too large", name);
	if (off[1] < off[0] || off[1] - off[0] != bytes)
		return pt_error(s->err, PT_DATA, "offsets of %.100s do not fit its shape", name);
	t->bytes = bytes;
	t->data = (const void *)(uintptr_t)off[0];	/* becomes a pointer in pt_st_bind() */
	st->ntensors++;
	return 0;
}

static int object(struct scan *s)
{
	const char *name;
	size_t n;
	bool meta = false;

	if (expect(s, '{'))
		return PT_DATA;
	if (!take(s, '}')) {
		do {
			if (string(s, &name, &n) || expect(s, ':'))
				return PT_DATA;
			if (n > PT_ST_MAX_NAME)
				return bad(s, "name too long");
			if (!strcmp(name, "__metadata__")) {
				if (meta)
					return bad(s, "duplicate __metadata__");
				meta = true;
				if (metadata(s))
					return s->err->status;
			} else if (entry(s, name)) {
				return s->err->status;
			}
		} while (take(s, ','));
		if (expect(s, '}'))
			return PT_DATA;
	}
	skip_space(s);
	return s->p == s->end ? 0 : bad(s, "something follows the header's object");
}

static int by_offset(const void *a, const void *b)
{
	const struct pt_st_tensor *x = a, *y = b;
	uintptr_t i = (uintptr_t)x->data, j = (uintptr_t)y->data;

	if (i != j)
		return i < j ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Offsets without holes or overlaps; the names are distinct. */
static int check(struct pt_st *st, struct pt_st_priv *priv, struct pt_error *err)
{
	struct pt_map keys;
	size_t at = 0;
	int64_t old;
	int status;

	if (st->ntensors)
		qsort(st->tensor, st->ntensors, sizeof *st->tensor, by_offset);
	status = pt_map_init(&priv->index, st->ntensors, err);
	if (status)
		return status;
	for (size_t i = 0; i < st->ntensors; i++) {
		struct pt_st_tensor *t = &st->tensor[i];

		if ((uintptr_t)t->data != at)
			return pt_error(err, PT_DATA, "tensor %.100s begins at %zu, not at %zu", t->name,
					(size_t)(uintptr_t)t->data, at);
		at += t->bytes;		/* cannot overflow: the end was read as an integer below 2^63 */
		status = pt_map_put(&priv->index, t->name, strlen(t->name), (int64_t)i, &old, err);
		if (status)
			return status;
		if (old >= 0)
			return pt_error(err, PT_DATA, "two tensors are called %.100s", t->name);
	}
	if (!pt_add_size(st->header_size, at, &st->size))
		return pt_error(err, PT_DATA, "the tensors are too large");
	status = pt_map_init(&keys, st->nmeta, err);
	if (status)
		return status;
	for (size_t i = 0; i < st->nmeta && !status; i++) {
		status = pt_map_put(&keys, st->meta[i].key, strlen(st->meta[i].key), 0, &old, err);
		if (!status && old >= 0)
			status = pt_error(err, PT_DATA, "metadata has two keys %.100s", st->meta[i].key);
	}
	pt_map_release(&keys);
	return status;
}

int pt_st_parse_header(struct pt_st *st, const void *data, size_t header_size, struct pt_error *err)
{
	const unsigned char *d = data;
	struct scan s = { .begin = d, .p = d + 8, .end = d + header_size, .st = st, .err = err };
	int status;

	memset(st, 0, sizeof *st);
	st->header_size = header_size;
	if (header_size < 10)
		return pt_error(err, PT_DATA, "the header is too short");
	s.priv = st->priv = pt_calloc(1, sizeof *s.priv, err);
	if (!s.priv)
		return err->status;
	s.priv->strings = pt_malloc(header_size, 1, err);
	status = s.priv->strings ? object(&s) : err->status;
	if (!status)
		status = check(st, s.priv, err);
	if (status)
		pt_st_release(st);
	return status;
}

void pt_st_bind(struct pt_st *st, const void *data)
{
	const unsigned char *p = (const unsigned char *)data + st->header_size;

	for (size_t i = 0; i < st->ntensors; i++) {
		st->tensor[i].data = p;
		p += st->tensor[i].bytes;
	}
}
