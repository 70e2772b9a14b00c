/* SPDX-License-Identifier: MIT */
/*
 * nf_mapped.c - normalization forms with the place of every character.
 *
 * Every character that comes out says how many of those before it it has used
 * up: the first of a decomposition one, the others none, a composed one the
 * sum of its parts. What comes out stands for the next ones not yet used,
 * even where marks changed places: so `tokenizers` counts, and so do we.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"
#include "text/nf.h"
#include "text/unicode.h"
#include "text/utf8.h"

struct unit {
	int32_t c;
	uint32_t uses;		/* characters of the source */
	uint8_t order;		/* combining class */
	bool young;		/* not known to Unicode 9.0: it neither moves nor composes */
};

struct units {
	struct unit *at;
	size_t n, cap;
};

/* The characters that c stands for, each with its class. */
static int decompose(struct units *u, enum pt_nf form, uint32_t c, struct pt_error *err)
{
	int options = UTF8PROC_DECOMPOSE | (form == PT_NFKC || form == PT_NFKD ? UTF8PROC_COMPAT : 0), bound = 0;
	bool young = c >= 0x80 && pt_unicode(c) & PT_UC_YOUNG;
	int32_t part[32] = { (int32_t)c };
	utf8proc_ssize_t n = 1;

	if (!young)
		n = utf8proc_decompose_char((int32_t)c, part, 32, (utf8proc_option_t)options, &bound);
	if (n < 0 || n > 32)
		return pt_error(err, PT_FAIL, "normalization: U+%04X", (unsigned)c);
	if (pt_grow(&u->at, &u->cap, u->n + (size_t)n, sizeof *u->at, err))
		return PT_FAIL;
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		uint8_t order = young ? 0 : (uint8_t)utf8proc_get_property(part[i])->combining_class;

		u->at[u->n++] = (struct unit){ part[i], i == 0, order, young };
	}
	return 0;
}

/* n marks by their class, equal ones as they stood. */
static void order_run(struct unit *run, size_t n, struct unit *tmp)
{
	size_t at[257] = { 0 };

	for (size_t i = 0; i < n; i++)
		at[run[i].order + 1]++;
	for (int k = 0; k < 256; k++)
		at[k + 1] += at[k];
	for (size_t i = 0; i < n; i++)
		tmp[at[run[i].order]++] = run[i];
	memcpy(run, tmp, n * sizeof *run);
}

/* Marks behind each character. */
static int order(struct units *u, struct pt_error *err)
{
	struct unit *tmp = NULL;
	size_t cap = 0;
	int status = 0;

	for (size_t i = 0, n; i < u->n && !status; i += n ? n : 1) {
		bool sorted = true;

		for (n = 0; i + n < u->n && u->at[i + n].order; n++)
			sorted &= n == 0 || u->at[i + n - 1].order <= u->at[i + n].order;
		if (sorted)
			continue;
		status = pt_grow(&tmp, &cap, n, sizeof *tmp, err);
		if (!status)
			order_run(u->at + i, n, tmp);
	}
	free(tmp);
	return status;
}

/* The one character that a and b make; -1: there is none. */
static int32_t pair(const struct unit *a, const struct unit *b)
{
	int32_t both[2] = { a->c, b->c };

	if (a->young || b->young || b->c < 0x300)
		return -1;
	return utf8proc_normalize_utf32(both, 2, UTF8PROC_STABLE | UTF8PROC_COMPOSE) == 1 ? both[0] : -1;
}

static void compose(struct units *u)
{
	size_t n = 0, base = SIZE_MAX;	/* base: the last character of class 0 */

	for (size_t i = 0; i < u->n; i++) {
		struct unit x = u->at[i];
		/* Nothing stands between, or only marks of lower class. */
		bool near = base != SIZE_MAX && (n == base + 1 || u->at[n - 1].order < x.order);
		int32_t c = near ? pair(&u->at[base], &x) : -1;

		if (c >= 0) {
			u->at[base].c = c;
			u->at[base].uses += x.uses;
			continue;
		}
		if (!x.order)
			base = n;
		u->at[n++] = x;
	}
	u->n = n;
}

int pt_nf_mapped(struct pt_draft *out, enum pt_nf form, const struct pt_stretch *t, struct pt_error *err)
{
	struct units u = { NULL, 0, 0 };
	size_t first = out->text.len;
	uint32_t *uses = NULL;
	unsigned len;
	int status = 0;

	for (size_t i = 0; i < t->n && !status; i += len)
		status = decompose(&u, form, pt_utf8_get(t->s + i, &len), err);
	if (!status) {
		status = order(&u, err);
		if (!status && (form == PT_NFC || form == PT_NFKC))
			compose(&u);
		uses = status ? NULL : pt_malloc(u.n + 1, sizeof *uses, err);
		status = uses ? 0 : PT_FAIL;
	}
	for (size_t i = 0; i < u.n && !status; i++) {
		char utf8[4];

		pt_buf_add(&out->text, utf8, pt_utf8_put((uint32_t)u.at[i].c, utf8));
		uses[i] = u.at[i].uses;
	}
	if (!status)
		pt_draft_follow(out, first, t, uses);
	free(u.at);
	free(uses);
	return status ? status : pt_buf_check(&out->text, err);
}
