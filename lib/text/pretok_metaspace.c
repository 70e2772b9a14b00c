/* SPDX-License-Identifier: MIT */
/*
 * pretok_metaspace.c - Metaspace: spaces become a visible character (U+2581),
 * one is put in front, and words begin with it.
 */
#include <string.h>

#include "base/mem.h"
#include "text/pretok.h"
#include "text/utf8.h"

enum { ALWAYS, FIRST, NEVER };

static int parse(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	static const char *const schemes[] = { "always", "first", "never" };
	const char *replacement, *scheme;
	bool split, legacy;
	int status;

	if ((status = pt_json_str(j, "replacement", NULL, &replacement, err)) ||
	    (status = pt_json_str(j, "prepend_scheme", "always", &scheme, err)) ||
	    (status = pt_json_bool(j, "split", true, &split, err)) ||
	    (status = pt_json_bool(j, "add_prefix_space", true, &legacy, err)))
		return status;
	if (!replacement || !*replacement || pt_utf8_len(*replacement) != strlen(replacement))
		return pt_error(err, PT_DATA, "\"replacement\" must be one character");
	for (s->scheme = ALWAYS; s->scheme <= NEVER && strcmp(scheme, schemes[s->scheme]) != 0; s->scheme++)
		;
	if (s->scheme > NEVER)
		return pt_error(err, PT_DATA, "\"prepend_scheme\": \"%s\" is not supported", scheme);
	if (!legacy && s->scheme != NEVER)
		return pt_error(err, PT_DATA, "\"add_prefix_space\": false contradicts \"prepend_scheme\": \"%s\"", scheme);
	s->flag = split;
	s->places = s->scheme == FIRST;
	s->nstring = strlen(replacement);
	s->string = pt_strdup(replacement, err);
	pt_hash_str(h, replacement);
	pt_hash_u64(h, (uint64_t)s->scheme << 1 | split);
	return s->string ? 0 : PT_FAIL;
}

/* A piece with its spaces replaced goes to out. */
static void replace(const struct pt_pretok_stage *s, struct pt_draft *out, const struct pt_stretch *t)
{
	size_t i = 0;

	while (i < t->n) {
		const char *space = memchr(t->s + i, ' ', t->n - i);
		size_t to = space ? (size_t)(space - t->s) : t->n;

		pt_draft_copy(out, t, i, to);
		if (space)
			pt_draft_add(out, s->string, s->nstring, pt_stretch_at(t, to));
		i = to + (space != NULL);
	}
}

/* The written piece begins anew at every replacement that follows something. */
static int emit(const struct pt_pretok_stage *s, struct pt_work *w, const char *t, const struct pt_piece *p,
		struct pt_error *err)
{
	size_t from = 0, i = 0;
	int status = 0;

	while (s->flag && i < p->n && !status) {
		const char *hit = memchr(t + i, s->string[0], p->n - i);

		if (!hit)
			break;
		i = (size_t)(hit - t);
		if (p->n - i < s->nstring || memcmp(hit, s->string, s->nstring) != 0) {
			i++;
			continue;
		}
		status = pt_work_part(w, p, from, i, err);
		from = i;
		i += s->nstring;
	}
	return status ? status : pt_work_part(w, p, from, p->n, err);
}

/* Whether a piece begins where the original text does. */
static bool at_start(const struct pt_work *w, const struct pt_piece *p)
{
	return w->at ? w->at[p->off].from == 0 : w->first && p->off == 0;
}

static int run(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	struct pt_draft *out = pt_work_other(w);
	int status = 0;

	for (size_t i = 0; i < w->n && !status; i++) {
		const struct pt_piece *p = &w->piece[i];
		struct pt_stretch t = pt_work_stretch(w, p);
		bool marked = *t.s == ' ' || (t.n >= s->nstring && memcmp(t.s, s->string, s->nstring) == 0);
		struct pt_piece to = { .off = out->text.len };

		if (!marked && (s->scheme == ALWAYS || (s->scheme == FIRST && at_start(w, p))))
			pt_draft_add(out, s->string, s->nstring, t.at);
		replace(s, out, &t);
		to.n = out->text.len - to.off;
		status = pt_buf_check(&out->text, err);
		if (!status)
			status = emit(s, w, out->text.data + to.off, &to, err);
	}
	*text = true;
	return status;
}

const struct pt_pretok_kind pt_pretok_metaspace = { "Metaspace", parse, run };
