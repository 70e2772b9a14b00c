/* SPDX-License-Identifier: MIT */
/*
 * norm_simple.c - normalizers of a few lines: Lowercase, Strip, StripAccents,
 * Nmt, Prepend, ByteLevel.
 */
#include <string.h>

#include "base/mem.h"
#include "text/bytelevel.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

static int parse_none(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	(void)s;
	(void)j;
	(void)h;
	(void)err;
	return 0;
}

void pt_norm_lower(struct pt_draft *out, uint32_t c, const struct pt_range *at)
{
	char utf8[4];

	pt_draft_add(out, utf8, pt_utf8_put(pt_lower(c), utf8), at);
	if (c == 0x130)
		pt_draft_add(out, "\xcc\x87", 2, at);
}

static int run_lowercase(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			 struct pt_draft *out, bool *same, struct pt_error *err)
{
	unsigned len;

	(void)s;
	(void)w;
	(void)err;
	(void)same;
	for (size_t i = 0; i < t->n; i += len) {
		uint32_t c = pt_utf8_get(t->s + i, &len);

		pt_norm_lower(out, c, pt_stretch_at(t, i));
	}
	return 0;
}

const struct pt_norm_kind pt_norm_lowercase = { "Lowercase", parse_none, run_lowercase };

static int run_strip_accents(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			     struct pt_draft *out, bool *same, struct pt_error *err)
{
	size_t from = 0;	/* of what is kept and not yet written */
	unsigned len;

	(void)s;
	(void)w;
	(void)err;
	(void)same;
	for (size_t i = 0; i < t->n; i += len) {
		uint32_t c = pt_utf8_get(t->s + i, &len);

		if (c < 0x80 || !(pt_unicode(c) & PT_UC_MARK9))
			continue;
		pt_draft_copy(out, t, from, i);
		from = i + len;
	}
	pt_draft_copy(out, t, from, t->n);
	return 0;
}

const struct pt_norm_kind pt_norm_strip_accents = { "StripAccents", parse_none, run_strip_accents };

static int run_nmt(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		   struct pt_draft *out, bool *same, struct pt_error *err)
{
	unsigned len;

	(void)s;
	(void)w;
	(void)err;
	(void)same;
	for (size_t i = 0; i < t->n; i += len) {
		uint32_t c = pt_utf8_get(t->s + i, &len);

		if ((c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f)
			continue;
		if (c == 9 || c == 0xa || c == 0xc || c == 0xd || c == 0x1680 || (c >= 0x200b && c <= 0x200f) ||
		    c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xfeff || c == 0xfffd)
			pt_draft_add(out, " ", 1, pt_stretch_at(t, i));
		else
			pt_draft_copy(out, t, i, i + len);
	}
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
		     struct pt_draft *out, bool *same, struct pt_error *err)
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
	if (!*same)
		pt_draft_copy(out, t, from, to);
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

/* What is put in front has the place of the character behind it. */
static int run_prepend(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
		       struct pt_draft *out, bool *same, struct pt_error *err)
{
	(void)w;
	(void)err;
	(void)same;
	pt_draft_add(out, s->string, s->nstring, t->at);
	pt_draft_copy(out, t, 0, t->n);
	return 0;
}

const struct pt_norm_kind pt_norm_prepend = { "Prepend", parse_prepend, run_prepend };

static int run_bytelevel(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
			 struct pt_draft *out, bool *same, struct pt_error *err)
{
	(void)s;
	(void)w;
	(void)err;
	(void)same;
	pt_bytelevel_draft(out, t->s, t->n, t->at);
	return 0;
}

const struct pt_norm_kind pt_norm_bytelevel = { "ByteLevel", parse_none, run_bytelevel };
