/* SPDX-License-Identifier: MIT */
/*
 * normalizer.c - the list of normalizers, parsing and running their steps.
 */
#include "text/normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/charsmap.h"
#include "text/component.h"

static const struct pt_norm_kind *const kinds[] = {
	&pt_norm_bert, &pt_norm_bytelevel, &pt_norm_lowercase, &pt_norm_nmt, &pt_norm_precompiled, &pt_norm_prepend,
	&pt_norm_replace, &pt_norm_strip, &pt_norm_strip_accents, &pt_norm_NFC, &pt_norm_NFD, &pt_norm_NFKC, &pt_norm_NFKD,
};

/* Where a parsed component goes. */
struct parse {
	struct pt_normalizer *to;
	struct pt_hash *h;
};

static int take(void *arg, const char *type, const cJSON *j, struct pt_error *err)
{
	struct parse *a = arg;
	struct pt_normalizer *p = a->to;

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(type, kinds[i]->type) != 0)
			continue;
		if (pt_grow(&p->step, &p->cap, p->n + 1, sizeof *p->step, err))
			return PT_FAIL;
		p->step[p->n] = (struct pt_norm_step){ .kind = kinds[i] };
		pt_hash_str(a->h, type);
		return kinds[i]->parse(&p->step[p->n++], j, a->h, err);
	}
	return PT_UNKNOWN;
}

int pt_normalizer_parse(struct pt_normalizer *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	struct parse a = { p, h };
	int status;

	*p = (struct pt_normalizer){ NULL, 0, 0 };
	if (!j)
		return 0;
	status = pt_components(j, "normalizers", take, &a, err);
	if (status) {
		pt_normalizer_release(p);
		return pt_error_prefix(err, "normalizer");
	}
	return 0;
}

void pt_normalizer_release(struct pt_normalizer *p)
{
	for (size_t i = 0; i < p->n; i++) {
		pt_regex_free(p->step[i].regex);
		free(p->step[i].string);
		free(p->step[i].content);
		pt_charsmap_free(p->step[i].map);
	}
	free(p->step);
	*p = (struct pt_normalizer){ NULL, 0, 0 };
}

void pt_norm_work_release(struct pt_norm_work *w)
{
	for (int i = 0; i < 2; i++) {
		pt_draft_release(&w->draft[i]);
		pt_draft_release(&w->tmp[i]);
	}
	pt_match_release(&w->match);
	free(w->uses);
}

int pt_normalize(const struct pt_normalizer *p, struct pt_norm_work *w, struct pt_stretch *t, struct pt_error *err)
{
	int cur = 0, status;

	for (size_t i = 0; i < p->n && t->n; i++) {
		struct pt_draft *out = &w->draft[cur];
		bool same = false;

		pt_draft_clear(out);
		status = p->step[i].kind->run(&p->step[i], w, t, out, &same, err);
		if (!status)
			status = pt_buf_check(&out->text, err);
		if (status)
			return status;
		if (same)
			continue;
		t->s = out->text.data ? out->text.data : "";
		t->n = out->text.len;
		t->at = t->at ? out->at : NULL;
		cur = !cur;
	}
	return 0;
}
