/* SPDX-License-Identifier: MIT */
/*
 * pretok.c - the list of pre-tokenizers, parsing and running their stages.
 */
#include "text/pretok.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/component.h"

static const struct pt_pretok_kind *const kinds[] = {
	&pt_pretok_bert, &pt_pretok_bytelevel, &pt_pretok_delimiter, &pt_pretok_digits, &pt_pretok_length,
	&pt_pretok_metaspace, &pt_pretok_punctuation, &pt_pretok_scripts, &pt_pretok_split, &pt_pretok_whitespace,
	&pt_pretok_whitespace_split,
};

int pt_behavior_parse(const cJSON *j, const char *key, int def, enum pt_behavior *out, struct pt_error *err)
{
	static const char *const names[] = {
		"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"
	};
	const char *name;
	int status = pt_json_str(j, key, NULL, &name, err);

	if (status)
		return status;
	if (!name && def >= 0) {
		*out = (enum pt_behavior)def;
		return 0;
	}
	for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
		if (strcmp(name, names[i]) == 0) {
			*out = (enum pt_behavior)i;
			return 0;
		}
	return pt_error(err, PT_DATA, "\"%s\": %s%s%s", key, name ? "\"" : "", name ? name : "it is missing",
			name ? "\" is not supported" : "");
}

/* Where a parsed component goes. */
struct parse {
	struct pt_pretok *to;
	struct pt_hash *h;
};

static int take(void *arg, const char *type, const cJSON *j, struct pt_error *err)
{
	struct parse *a = arg;
	struct pt_pretok *p = a->to;

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(type, kinds[i]->type) != 0)
			continue;
		if (pt_grow(&p->stage, &p->cap, p->n + 1, sizeof *p->stage, err))
			return PT_FAIL;
		p->stage[p->n] = (struct pt_pretok_stage){ .kind = kinds[i] };
		pt_hash_str(a->h, type);
		return kinds[i]->parse(&p->stage[p->n++], j, a->h, err);
	}
	return PT_UNKNOWN;
}

int pt_pretok_parse(struct pt_pretok *p, const cJSON *j, bool raw, struct pt_hash *h, struct pt_error *err)
{
	struct parse a = { p, h };
	int status;

	*p = (struct pt_pretok){ .stage = NULL };
	if (!j)
		return 0;
	status = pt_components(j, "pretokenizers", take, &a, err);
	if (status) {
		pt_pretok_release(p);
		return pt_error_prefix(err, "pre_tokenizer");
	}
	for (size_t i = 0; i < p->n; i++) {
		p->places = p->places || p->stage[i].places;
		p->late = p->late || (p->stage[i].places && i > 0);
	}
	if (raw && p->n && p->stage[p->n - 1].kind == &pt_pretok_bytelevel) {
		p->raw = true;
		p->stage[p->n - 1].mapped = false;
	}
	return 0;
}

void pt_pretok_release(struct pt_pretok *p)
{
	for (size_t i = 0; i < p->n; i++) {
		pt_regex_free(p->stage[i].regex);
		free(p->stage[i].string);
	}
	free(p->stage);
	*p = (struct pt_pretok){ .stage = NULL };
}

int pt_pretok_run(const struct pt_pretok *p, struct pt_work *w, struct pt_error *err)
{
	int status = 0;

	for (size_t i = 0; i < p->n && !status; i++) {
		bool text = false;

		w->nnext = 0;
		status = p->stage[i].kind->run(&p->stage[i], w, &text, err);
		if (!status)
			status = pt_work_swap(w, text, err);
	}
	return status;
}
