/* SPDX-License-Identifier: MIT */
/*
 * norm_precompiled.c - Precompiled: sentencepiece's map of characters as
 * `tokenizers` applies it. What a reader sees as one character (a grapheme
 * cluster, UAX #29) is replaced as a whole by what its shortest known
 * beginning stands for, if it has less than 6 bytes; else each code point is.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/charsmap.h"
#include "text/normalizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { CLUSTER = 6 };	/* bytes: from here on code points are looked up alone */

/* Base64 with padding into out; false: it is something else. */
static bool decode(struct pt_buf *out, const char *s)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(s);

	if (n % 4)
		return false;
	for (size_t i = 0; i < n; i += 4) {
		int pad = i + 4 < n ? 0 : s[i + 2] == '=' ? 2 : s[i + 3] == '=';
		uint32_t v = 0;

		for (int k = 0; k < 4; k++) {
			const char *d = k < 4 - pad ? memchr(digits, s[i + (size_t)k], 64) : digits;

			if (!d || (k >= 4 - pad && s[i + (size_t)k] != '='))
				return false;
			v = v << 6 | (uint32_t)(d - digits);
		}
		for (int k = 0; k < 3 - pad; k++)
			pt_buf_char(out, (char)(v >> (16 - 8 * k)));
	}
	return true;
}

static int parse(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	const char *map;
	int status = pt_json_str(j, "precompiled_charsmap", NULL, &map, err);

	if (status)
		return status;
	if (!map)
		return pt_error(err, PT_DATA, "\"precompiled_charsmap\" is missing");
	if (!decode(&b, map))
		status = pt_error(err, PT_DATA, "\"precompiled_charsmap\" is not base64");
	if (!status)
		status = pt_buf_check(&b, err);
	if (!status)
		status = pt_charsmap_new(&s->map, b.data, b.len, err);
	if (!status)
		pt_hash_add(h, b.data, b.len);
	pt_buf_release(&b);
	return status;
}

/* The new text, and, where somebody asks, how many characters of the old each of its characters uses up. */
struct writer {
	struct pt_norm_work *w;
	struct pt_draft *out;
	size_t n;		/* characters written */
	bool mapped;
};

static int use(struct writer *x, uint32_t characters, struct pt_error *err)
{
	if (pt_grow(&x->w->uses, &x->w->uses_cap, x->n + 1, sizeof *x->w->uses, err))
		return PT_FAIL;
	x->w->uses[x->n++] = characters;
	return 0;
}

static uint32_t count(const char *s, size_t n)
{
	uint32_t c = 0;

	for (size_t i = 0; i < n; i++)
		c += ((unsigned char)s[i] & 0xc0) != 0x80;
	return c;
}

/* s[n] by new[m]. Characters that are too many use none, those that are missing are used by the last. */
static int replace(struct writer *x, const char *s, size_t n, const char *new, size_t m, struct pt_error *err)
{
	uint32_t old, now;
	int status = 0;

	pt_buf_add(&x->out->text, new, m);
	if (!x->mapped)
		return 0;
	old = count(s, n);
	now = count(new, m);
	for (uint32_t i = 0; i < now && !status; i++)
		status = use(x, i < old, err);
	if (!status && now < old && x->n)
		x->w->uses[x->n - 1] += old - now;
	return status;
}

static int copy(struct writer *x, const char *s, size_t n, struct pt_error *err)
{
	int status = 0;

	pt_buf_add(&x->out->text, s, n);
	for (size_t i = 0; x->mapped && i < n && !status; i += pt_utf8_len(s[i]))
		status = use(x, 1, err);
	return status;
}

/* A mark that utf8proc does not know yet, behind something that takes marks. */
static bool young_mark(uint32_t before, uint32_t c)
{
	unsigned class = utf8proc_get_property((utf8proc_int32_t)before)->boundclass;

	return c >= 0x80 && pt_unicode(c) & PT_UC_CLUSTERS && class != UTF8PROC_BOUNDCLASS_CONTROL &&
	       class != UTF8PROC_BOUNDCLASS_CR && class != UTF8PROC_BOUNDCLASS_LF;
}

/* The end of the cluster that begins at s[at]. */
static size_t cluster(const char *s, size_t n, size_t at)
{
	utf8proc_int32_t state = 0;
	unsigned len;
	uint32_t c = pt_utf8_get(s + at, &len);

	for (at += len; at < n; at += len) {
		uint32_t next = pt_utf8_get(s + at, &len);

		if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)next, &state) &&
		    !young_mark(c, next))
			break;
		c = next;
	}
	return at;
}

static int run_cluster(struct writer *x, const struct pt_charsmap *map, const char *s, size_t n, bool *same,
		       struct pt_error *err)
{
	const char *new;
	size_t m;
	int status = 0;

	if (n < CLUSTER && (new = pt_charsmap_find(map, s, n, &m))) {
		*same = false;
		return replace(x, s, n, new, m, err);
	}
	for (size_t i = 0, len; i < n && !status; i += len) {
		len = pt_utf8_len(s[i]);
		new = pt_charsmap_find(map, s + i, len, &m);
		*same = *same && !new;
		status = new ? replace(x, s + i, len, new, m, err) : copy(x, s + i, len, err);
	}
	return status;
}

/* Whether what stands at s[at] is ASCII and alone: nothing behind it belongs to it. */
static inline bool alone(const char *s, size_t n, size_t at)
{
	return !(s[at] & 0x80) && (at + 1 == n || (!(s[at + 1] & 0x80) && (s[at] != '\r' || s[at + 1] != '\n')));
}

static int run(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,
	       struct pt_draft *out, bool *same, struct pt_error *err)
{
	struct writer x = { w, out, 0, t->at != NULL };
	const struct pt_charsmap *map = s->map;
	size_t i = 0, from;
	int status = 0;

	*same = true;
	while (i < t->n && !status) {
		for (from = i; i < t->n && alone(t->s, t->n, i) && !map->ascii[(int)t->s[i]]; i++)
			;
		if (i > from)
			status = copy(&x, t->s + from, i - from, err);
		if (i == t->n || status)
			break;
		from = i;
		i = alone(t->s, t->n, i) ? i + 1 : cluster(t->s, t->n, i);
		status = run_cluster(&x, map, t->s + from, i - from, same, err);
	}
	if (*same)
		pt_draft_clear(out);
	else if (!status && x.mapped && x.n)
		pt_draft_follow(out, 0, t, w->uses);
	return status;
}

const struct pt_norm_kind pt_norm_precompiled = { "Precompiled", parse, run };
