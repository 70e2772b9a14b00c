/* SPDX-License-Identifier: MIT */
/*
 * pretok_bytelevel.c - ByteLevel: an optional space in front, GPT-2's
 * expression, and bytes written as characters. Where it is the last stage the
 * characters are never written: the model knows which byte each stands for.
 */
#include "base/buf.h"
#include "text/bytelevel.h"
#include "text/pretok.h"

static int parse(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	bool regex;
	int status;

	if ((status = pt_json_bool(j, "add_prefix_space", true, &s->prefix, err)) ||
	    (status = pt_json_bool(j, "use_regex", true, &regex, err)))
		return status;
	s->mapped = true;
	pt_hash_u64(h, (uint64_t)(s->prefix | regex << 1));
	return regex ? pt_regex_new(&s->regex, pt_regex_gpt2, err) : 0;
}

/* Every piece begins with a space; one put in front has the place of the character behind it. */
static int add_prefix(struct pt_work *w, struct pt_error *err)
{
	struct pt_draft *out = pt_work_other(w);
	int status = 0;

	for (size_t i = 0; i < w->n && !status; i++) {
		struct pt_stretch t = pt_work_stretch(w, &w->piece[i]);
		size_t off = out->text.len;

		if (*t.s != ' ')
			pt_draft_add(out, " ", 1, t.at);
		pt_draft_copy(out, &t, 0, t.n);
		status = pt_work_emit(w, off, out->text.len - off, err);
	}
	return status ? status : pt_work_swap(w, true, err);
}

static int map(struct pt_work *w, struct pt_error *err)
{
	struct pt_draft *out = pt_work_other(w);
	int status = 0;

	w->nnext = 0;
	for (size_t i = 0; i < w->n && !status; i++) {
		struct pt_stretch t = pt_work_stretch(w, &w->piece[i]);
		size_t off = out->text.len;

		pt_bytelevel_draft(out, t.s, t.n, t.at);
		status = pt_work_emit(w, off, out->text.len - off, err);
	}
	return status;
}

static int run(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	int status = s->prefix ? add_prefix(w, err) : 0;

	for (size_t i = 0; i < w->n && !status; i++)
		status = s->regex ? pt_pretok_regex(w, &w->piece[i], s->regex, PT_SPLIT_ISOLATED, false, err)
				  : pt_work_emit(w, w->piece[i].off, w->piece[i].n, err);
	if (status || !s->mapped)
		return status;
	status = pt_work_swap(w, false, err);
	*text = true;
	return status ? status : map(w, err);
}

const struct pt_pretok_kind pt_pretok_bytelevel = { "ByteLevel", parse, run };
