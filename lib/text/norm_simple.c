/* SPDX-License-Identifier: MIT */
/*
 * norm_simple.c - normalizers of a few lines: Lowercase, Strip, StripAccents,
 * Nmt, Prepend, ByteLevel and the Unicode forms.
 */
#include <string.h>

#include "base/mem.h"
#include "text/bytelevel.h"
#include "text/nf.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

/* How a step that goes over the characters one by one treats each. */
typedef void (*each_fn)(struct pt_buf *out, uint32_t c, const char *s, unsigned len);

static void each(const struct pt_stretch *t, struct pt_buf *out, size_t *zero, each_fn fn)
{
	for (size_t i = 0; i < t->n;) {
		unsigned len;
		uint32_t c = pt_utf8_get(t->s + i, &len);

		fn(out, c, t->s + i, len);
		i += len;
		if (i <= t->zero)
			*zero = out->len;
	}
}

static int parse_none(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	(void)s;
	(void)j;
	(void)h;
	(void)err;
	return 0;
}

void pt_norm_lower(struct pt_buf *out, uint32_t c, const char *s, unsigned len)
{
	char utf8[4];

	(void)s;
	(void)len;
	pt_buf_add(out, utf8, pt_utf8_put(pt_lower(c), utf8));
	if (c == 0x130)
		pt_buf_str(out, "\xcc\x87");
}

static int run_lowercase(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			 struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	(void)s;
	(void)w;
	(void)err;
	(void)same;
	each(t, out, zero, pt_norm_lower);
	return 0;
}

const struct pt_norm_kind pt_norm_lowercase = { "Lowercase", parse_none, run_lowercase };

static void strip_accent(struct pt_buf *out, uint32_t c, const char *s, unsigned len)
{
	if (c < 0x80 || !(pt_unicode(c) & PT_UC_MARK9))
		pt_buf_add(out, s, len);
}

static int run_strip_accents(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			     struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	(void)s;
	(void)w;
	(void)err;
	(void)same;
	each(t, out, zero, strip_accent);
	return 0;
}

const struct pt_norm_kind pt_norm_strip_accents = { "StripAccents", parse_none, run_strip_accents };

static void nmt(struct pt_buf *out, uint32_t c, const char *s, unsigned len)
{
	if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
		return;
	if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) || c == 0x2028 ||
	    c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
		pt_buf_char(out, ' ');
	else
		pt_buf_add(out, s, len);
}

static int run_nmt(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		   struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	(void)s;
	(void)w;
	(void)err;
	(void)same;
	each(t, out, zero, nmt);
	return 0;
}

const struct pt_norm_kind pt_norm_nmt = { "Nmt", parse_none, run_nmt };

enum { STRIP_LEFT = 1, STRIP_RIGHT = 2 };

static int parse_strip(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	bool left, right;
	int status;

	if (!pt_json_get(j, "strip_left") || !pt_json_get(j, "strip_right"))
		return pt_error(err, PT_DATA, "\"strip_left\" and \"strip_right\" must stand there");
	if ((status = pt_json_bool(j, "strip_left", true, &left, err)) ||
	    (status = pt_json_bool(j, "strip_right", true, &right, err)))
		return status;
	s->flags = (left ? STRIP_LEFT : 0) | (right ? STRIP_RIGHT : 0);
	pt_hash_u64(h, (uint64_t)s->flags);
	return 0;
}

static int run_strip(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		     struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	size_t from = 0, to = t->n;
	unsigned len;

	(void)w;
	(void)err;
	if (s->flags & STRIP_LEFT)
		while (from < to && pt_is_white(pt_utf8_get(t->s + from, &len)))
			from += len;
	if (s->flags & STRIP_RIGHT)
		while (to > from && pt_is_white(pt_utf8_before(t->s, to, &len)))
			to -= len;
	*same = to - from == t->n;
	if (*same)
		return 0;
	pt_buf_add(out, t->s + from, to - from);
	*zero = t->zero > from ? t->zero - from : 0;
	return 0;
}

const struct pt_norm_kind pt_norm_strip = { "Strip", parse_strip, run_strip };

static int parse_prepend(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	const char *prefix;
	int status = pt_json_str(j, "prepend", NULL, &prefix, err);

	if (status)
		return status;
	if (!prefix)
		return pt_error(err, PT_DATA, "\"prepend\" is missing");
	pt_hash_str(h, prefix);
	s->nstring = strlen(prefix);
	s->string = pt_strdup(prefix, err);
	return s->string ? 0 : PT_FAIL;
}

static int run_prepend(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		       struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	(void)w;
	(void)err;
	(void)same;
	pt_buf_add(out, s->string, s->nstring);
	pt_buf_add(out, t->s, t->n);
	*zero = t->zero ? t->zero + s->nstring : 0;
	return 0;
}

const struct pt_norm_kind pt_norm_prepend = { "Prepend", parse_prepend, run_prepend };

static int run_bytelevel(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			 struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	(void)s;
	(void)w;
	(void)err;
	(void)same;
	pt_bytelevel_map(out, t->s, t->zero);
	*zero = out->len;
	pt_bytelevel_map(out, t->s + t->zero, t->n - t->zero);
	return 0;
}

const struct pt_norm_kind pt_norm_bytelevel = { "ByteLevel", parse_none, run_bytelevel };

/* ASCII is in every form already, below U+0300 all is in NFC. */
static bool is_normal(enum pt_nf form, const char *s, size_t n)
{
	unsigned char limit = form == PT_NFC ? 0xcc : 0x80;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= limit)
			return false;
	return true;
}

static int run_nf(enum pt_nf form, struct pt_norm_work *w, const struct pt_stretch *t, struct pt_buf *out,
		  size_t *zero, bool *same, struct pt_error *err)
{
	int status;

	*same = is_normal(form, t->s, t->n);
	if (*same)
		return 0;
	status = pt_nf(out, form, t->s, t->n, err);
	if (status || !t->zero)
		return status;
	/* What comes of the front alone, if the rest leaves it as it is; else one character. */
	pt_buf_clear(&w->tmp[0]);
	status = pt_nf(&w->tmp[0], form, t->s, t->zero, err);
	if (status || !out->len)
		return status;
	if (w->tmp[0].len <= out->len && memcmp(w->tmp[0].data, out->data, w->tmp[0].len) == 0)
		*zero = w->tmp[0].len;
	else
		*zero = pt_utf8_len(out->data[0]);
	return 0;
}

#define FORM(name)								\
static int run_##name(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,	\
		      struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)		\
{										\
	(void)s;								\
	return run_nf(PT_##name, w, t, out, zero, same, err);			\
}										\
const struct pt_norm_kind pt_norm_##name = { #name, parse_none, run_##name }

FORM(NFC);
FORM(NFD);
FORM(NFKC);
FORM(NFKD);
