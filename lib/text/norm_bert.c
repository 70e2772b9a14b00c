/* SPDX-License-Identifier: MIT */
/*
 * norm_bert.c - BertNormalizer: clean, spaces around ideographs, accents
 * stripped, lower case. ASCII, nearly all of it, takes a short way.
 */
#include "text/nf.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { CLEAN = 1, CHINESE = 2, STRIP = 4, LOWER = 8 };

static int parse(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	bool clean, chinese, strip, lower;
	int status;

	if (!pt_json_get(j, "clean_text") || !pt_json_get(j, "handle_chinese_chars") || !pt_json_get(j, "lowercase"))
		return pt_error(err, PT_DATA,
				"\"clean_text\", \"handle_chinese_chars\" and \"lowercase\" must stand there");
	if ((status = pt_json_bool(j, "clean_text", true, &clean, err)) ||
	    (status = pt_json_bool(j, "handle_chinese_chars", true, &chinese, err)) ||
	    (status = pt_json_bool(j, "lowercase", true, &lower, err)) ||
	    (status = pt_json_bool(j, "strip_accents", lower, &strip, err)))
		return status;
	s->flags = (clean ? CLEAN : 0) | (chinese ? CHINESE : 0) | (strip ? STRIP : 0) | (lower ? LOWER : 0);
	pt_hash_u64(h, (uint64_t)s->flags);
	return 0;
}

static bool ideograph(uint32_t c)
{
	/* The original has 2B820 to 2CEAF; this is the package's. */
	return c >= 0x3400 && ((c >= 0x4e00 && c <= 0x9fff) || c <= 0x4dbf || (c >= 0x20000 && c <= 0x2a6df) ||
			       (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
			       (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) ||
			       (c >= 0x2f800 && c <= 0x2fa1f));
}

/* ASCII t[from, to) to out. */
static void ascii(int flags, const struct pt_stretch *t, size_t from, size_t to, struct pt_draft *out)
{
	size_t len = out->text.len;
	char *p = pt_buf_reserve(&out->text, to - from), *first = p;

	if (!p)
		return;
	for (size_t i = from; i < to; i++) {
		char c = t->s[i];

		if (flags & CLEAN && (c < ' ' || c == 0x7f)) {
			if (c != '\t' && c != '\n' && c != '\r')
				continue;
			c = ' ';
		}
		if (flags & LOWER && c >= 'A' && c <= 'Z')
			c = (char)(c + ('a' - 'A'));
		*p++ = c;
		if (t->at) {
			out->text.len++;
			pt_draft_mark(out, out->text.len - 1, t->at + i);
		}
	}
	out->text.len = len + (size_t)(p - first);
	out->text.data[out->text.len] = '\0';
}

/* Any other text; tmp is scratch. */
static int other(int flags, const struct pt_stretch *t, size_t from, size_t to, struct pt_draft tmp[2],
		 struct pt_draft *out, struct pt_error *err)
{
	struct pt_stretch u;
	unsigned len;
	int status;

	pt_draft_clear(&tmp[0]);
	pt_draft_clear(&tmp[1]);
	for (size_t i = from; i < to; i += len) {
		uint32_t c = pt_utf8_get(t->s + i, &len);
		const struct pt_range *at = pt_stretch_at(t, i);

		if (flags & CLEAN && pt_unicode(c) & PT_UC_CONTROL8)
			continue;
		if (flags & CLEAN && pt_is_white(c)) {
			pt_draft_add(&tmp[0], " ", 1, at);
		} else if (flags & CHINESE && ideograph(c)) {
			pt_draft_add(&tmp[0], " ", 1, at);
			pt_draft_copy(&tmp[0], t, i, i + len);
			pt_draft_add(&tmp[0], " ", 1, at);
		} else {
			pt_draft_copy(&tmp[0], t, i, i + len);
		}
	}
	status = pt_buf_check(&tmp[0].text, err);
	u = (struct pt_stretch){ tmp[0].text.data, tmp[0].text.len, t->at ? tmp[0].at : NULL, t->start };
	if (!status && flags & STRIP && u.n) {
		status = pt_nf(&tmp[1], PT_NFD, &u, err);
		u = (struct pt_stretch){ tmp[1].text.data, tmp[1].text.len, t->at ? tmp[1].at : NULL, t->start };
	}
	for (size_t i = 0; i < u.n && !status; i += len) {
		uint32_t c = pt_utf8_get(u.s + i, &len);

		if (flags & STRIP && c >= 0x80 && pt_unicode(c) & PT_UC_MN8)
			continue;
		if (flags & LOWER)
			pt_norm_lower(out, c, pt_stretch_at(&u, i));
		else
			pt_draft_copy(out, &u, i, i + len);
	}
	return status;
}

static int run(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
	       struct pt_draft *out, bool *same, struct pt_error *err)
{
	size_t i = 0;
	int status = 0;

	(void)same;
	while (i < t->n && !status) {
		size_t from = i;

		while (i < t->n && (unsigned char)t->s[i] < 0x80)
			i++;
		ascii(s->flags, t, from, i, out);
		from = i;
		while (i < t->n && (unsigned char)t->s[i] >= 0x80)
			i++;
		if (i > from)
			status = other(s->flags, t, from, i, w->tmp, out, err);
	}
	return status;
}

const struct pt_norm_kind pt_norm_bert = { "BertNormalizer", parse, run };
