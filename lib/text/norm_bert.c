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

/* ASCII s[n] to out. */
static void ascii(int flags, const char *s, size_t n, struct pt_buf *out)
{
	char *p = pt_buf_reserve(out, n), *from = p;

	if (!p)
		return;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];

		if (flags & CLEAN && (c < ' ' || c == 0x7f)) {
			if (c != '\t' && c != '\n' && c != '\r')
				continue;
			c = ' ';
		}
		if (flags & LOWER && c >= 'A' && c <= 'Z')
			c = (char)(c + ('a' - 'A'));
		*p++ = c;
	}
	out->len += (size_t)(p - from);
	out->data[out->len] = '\0';
}

/* Any other text; tmp is scratch. */
static int other(int flags, const char *s, size_t n, struct pt_buf tmp[2], struct pt_buf *out, struct pt_error *err)
{
	unsigned len;
	int status;

	pt_buf_clear(&tmp[0]);
	pt_buf_clear(&tmp[1]);
	for (size_t i = 0; i < n; i += len) {
		uint32_t c = pt_utf8_get(s + i, &len);

		if (flags & CLEAN && pt_unicode(c) & PT_UC_CONTROL8)
			continue;
		if (flags & CLEAN && pt_is_white(c)) {
			pt_buf_char(&tmp[0], ' ');
		} else if (flags & CHINESE && ideograph(c)) {
			pt_buf_char(&tmp[0], ' ');
			pt_buf_add(&tmp[0], s + i, len);
			pt_buf_char(&tmp[0], ' ');
		} else {
			pt_buf_add(&tmp[0], s + i, len);
		}
	}
	if (!tmp[0].len)
		return pt_buf_check(&tmp[0], err);
	status = flags & STRIP ? pt_nf(&tmp[1], PT_NFD, tmp[0].data, tmp[0].len, err) : pt_buf_check(&tmp[0], err);
	s = flags & STRIP ? tmp[1].data : tmp[0].data;
	n = flags & STRIP ? tmp[1].len : tmp[0].len;
	for (size_t i = 0; i < n && !status; i += len) {
		uint32_t c = pt_utf8_get(s + i, &len);

		if (flags & STRIP && c >= 0x80 && pt_unicode(c) & PT_UC_MN8)
			continue;
		if (flags & LOWER)
			pt_norm_lower(out, c, s + i, len);
		else
			pt_buf_add(out, s + i, len);
	}
	return status;
}

static int stretch(int flags, const char *s, size_t n, struct pt_buf tmp[2], struct pt_buf *out, struct pt_error *err)
{
	size_t i = 0;
	int status = 0;

	while (i < n && !status) {
		size_t from = i;

		while (i < n && (unsigned char)s[i] < 0x80)
			i++;
		ascii(flags, s + from, i - from, out);
		from = i;
		while (i < n && (unsigned char)s[i] >= 0x80)
			i++;
		if (i > from)
			status = other(flags, s + from, i - from, tmp, out, err);
	}
	return status;
}

static int run(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
	       struct pt_buf *out, size_t *zero, bool *same, struct pt_error *err)
{
	int status = stretch(s->flags, t->s, t->zero, w->tmp, out, err);

	(void)same;
	*zero = out->len;
	return status ? status : stretch(s->flags, t->s + t->zero, t->n - t->zero, w->tmp, out, err);
}

const struct pt_norm_kind pt_norm_bert = { "BertNormalizer", parse, run };
