/* SPDX-License-Identifier: MIT */
/*
 * nf.c - normalization forms by utf8proc, whose Unicode version is a newer
 * one. Code points that were not assigned in 9.0 did not decompose, compose or
 * move there: the text is cut at each of them. The stretches between are as
 * they were, since normalization is stable.
 */
#include "text/nf.h"

#include <stdint.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/unicode.h"
#include "text/utf8.h"

static const utf8proc_option_t options[] = {
	[PT_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
	[PT_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
	[PT_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
	[PT_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

static int segment(struct pt_buf *out, enum pt_nf form, const char *s, size_t n, struct pt_error *err)
{
	int32_t *cp = NULL;
	utf8proc_ssize_t len, got;
	size_t cap = n + 32;
	int status = 0;
	char *to;

	for (;;) {
		int32_t *more = pt_realloc(cp, cap, sizeof *cp, err);

		if (!more) {
			status = PT_FAIL;
			goto out;
		}
		cp = more;
		got = utf8proc_decompose((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)n, cp, (utf8proc_ssize_t)cap,
					 options[form]);
		if (got < 0) {
			status = pt_error(err, PT_FAIL, "normalization: %s", utf8proc_errmsg(got));
			goto out;
		}
		if ((size_t)got <= cap)
			break;
		cap = (size_t)got;
	}
	len = utf8proc_normalize_utf32(cp, got, options[form]);
	if (len < 0)
		status = pt_error(err, PT_FAIL, "normalization: %s", utf8proc_errmsg(len));
	for (utf8proc_ssize_t i = 0; i < len && !status; i++) {
		to = pt_buf_reserve(out, 4);
		if (to)
			out->len += pt_utf8_put((uint32_t)cp[i], to);
		if (out->data)
			out->data[out->len] = '\0';
	}
out:
	free(cp);
	return status;
}

int pt_nf(struct pt_draft *out, enum pt_nf form, const struct pt_stretch *t, struct pt_error *err)
{
	size_t from = 0, i = 0;
	int status = 0;

	if (t->at)
		return pt_nf_mapped(out, form, t, err);
	while (i < t->n && !status) {
		unsigned len;
		uint32_t c = pt_utf8_get(t->s + i, &len);

		if (c >= 0x80 && pt_unicode(c) & PT_UC_YOUNG) {
			if (i > from)
				status = segment(&out->text, form, t->s + from, i - from, err);
			pt_buf_add(&out->text, t->s + i, len);
			from = i + len;
		}
		i += len;
	}
	if (!status && t->n > from)
		status = segment(&out->text, form, t->s + from, t->n - from, err);
	return status ? status : pt_buf_check(&out->text, err);
}
