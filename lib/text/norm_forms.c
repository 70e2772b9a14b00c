/* SPDX-License-Identifier: MIT */
/*
 * norm_forms.c - the Unicode normalization forms as normalizers.
 */
#include "text/nf.h"
#include "text/normalizer.h"

static int parse(struct pt_norm_step *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	(void)s;
	(void)j;
	(void)h;
	(void)err;
	return 0;
}

/* ASCII is in every form already, below U+0300 all is in NFC. */
static bool is_normal(enum pt_nf form, const char *s, size_t n)
{
	unsigned char limit = form == PT_NFC ? 0xcc : 0x80;

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] >= limit)
			return false;
	return true;
}

static int run(enum pt_nf form, const struct pt_stretch *t, struct pt_draft *out, bool *same, struct pt_error *err)
{
	*same = is_normal(form, t->s, t->n);
	return *same ? 0 : pt_nf(out, form, t, err);
}

#define FORM(name)								\
static int run_##name(const struct pt_norm_step *s, struct pt_norm_work *w, const struct pt_stretch *t,	\
		      struct pt_draft *out, bool *same, struct pt_error *err)	\
{										\
	(void)s;								\
	(void)w;								\
	return run(PT_##name, t, out, same, err);				\
}										\
const struct pt_norm_kind pt_norm_##name = { #name, parse, run_##name }

FORM(NFC);
FORM(NFD);
FORM(NFKC);
FORM(NFKD);
