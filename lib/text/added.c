/* SPDX-License-Identifier: MIT */
/*
 * added.c - the list of added tokens: ids and flags as `tokenizers` gives
 * them out when it loads a file.
 */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

void pt_added_init(struct pt_added *a)
{
	memset(a, 0, sizeof *a);
	a->max_id = -1;
}

void pt_added_release(struct pt_added *a)
{
	for (size_t i = 0; i < a->n; i++) {
		free(a->token[i].s);
		free(a->token[i].shown);
	}
	free(a->token);
	free(a->by_id);
	pt_trie_release(&a->trie[0]);
	pt_trie_release(&a->trie[1]);
	pt_added_init(a);
}

const struct pt_added_token *pt_added_find(const struct pt_added *a, const char *s, size_t n)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->token[i].n == n && memcmp(a->token[i].s, s, n) == 0)
			return &a->token[i];
	return NULL;
}

int pt_added_parse(struct pt_added_token *t, const cJSON *j, bool all, struct pt_error *err)
{
	const struct {
		const char *key;
		bool *to;
	} flags[] = {
		{ "single_word", &t->single_word }, { "lstrip", &t->lstrip }, { "rstrip", &t->rstrip },
		{ "normalized", &t->normalized }, { "special", &t->special },
	};
	const char *content;
	int status;

	if (!cJSON_IsObject(j))
		return pt_error(err, PT_DATA, "an object expected");
	status = pt_json_str(j, "content", NULL, &content, err);
	if (status)
		return status;
	if (!content)
		return pt_error(err, PT_DATA, "\"content\" is missing");
	t->s = (char *)content;
	t->n = strlen(content);
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		if (all && !pt_json_get(j, flags[i].key))
			return pt_error(err, PT_DATA, "\"%s\" of \"%s\" is missing", flags[i].key, content);
		status = pt_json_bool(j, flags[i].key, *flags[i].to, flags[i].to, err);
		if (status)
			return status;
	}
	return 0;
}

/* The id that `tokenizers` would give to a token. */
static int32_t next_id(const struct pt_added *a, const struct pt_vocab *v, const struct pt_added_token *t)
{
	const struct pt_added_token *known = pt_added_find(a, t->s, t->n);
	int32_t id = known ? known->id : pt_vocab_id(v, t->s, t->n);

	if (id >= 0)
		return id;
	return a->max_id >= v->count ? a->max_id + 1 : v->count;
}

int pt_added_add(struct pt_added *a, const struct pt_vocab *v, const struct pt_added_token *t, struct pt_error *err)
{
	struct pt_added_token *to;
	bool special = t->special;
	size_t cap = 0, old = (size_t)a->max_id + 1;
	int32_t id;

	if (t->n == 0)
		return 0;
	id = next_id(a, v, t);
	if (id >= PT_VOCAB_MAX)
		return pt_error(err, PT_DATA, "the id %d of added token \"%s\" is out of range", id, t->s);
	if (pt_added_get(a, id)) {
		to = &a->token[a->by_id[id]];
		special = special || to->named_special;
		free(to->s);
		free(to->shown);
	} else {
		if (id > a->max_id) {
			int32_t *by_id = pt_realloc(a->by_id, (size_t)id + 1, sizeof *by_id, err);

			if (!by_id)
				return PT_FAIL;
			cap = (size_t)id + 1;
			memset(by_id + old, 0xff, (cap - old) * sizeof *by_id);
			a->by_id = by_id;
			a->max_id = id;
		}
		if (pt_grow(&a->token, &a->cap, a->n + 1, sizeof *a->token, err))
			return PT_FAIL;
		a->by_id[id] = (int32_t)a->n;
		to = &a->token[a->n++];
	}
	*to = *t;
	to->id = id;
	to->named_special = special;
	to->shown = NULL;
	to->s = pt_strndup(t->s, t->n, err);
	return to->s ? 0 : PT_FAIL;
}

static int by_id(const void *a, const void *b)
{
	const struct pt_added_token *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* The pattern of a token with normalized=true is its normalized form. */
static int show(struct pt_added_token *t, const struct pt_normalizer *norm, struct pt_norm_work *w,
		struct pt_error *err)
{
	struct pt_stretch st = { t->s, t->n, NULL, 0 };
	int status = t->normalized ? pt_normalize(norm, w, &st, err) : 0;

	if (status)
		return status;
	if (st.n == 0)
		return pt_error(err, PT_DATA, "the normalizer leaves nothing of it, so it would match everywhere");
	t->nshown = st.n;
	t->shown = pt_strndup(st.s, st.n, err);
	return t->shown ? 0 : PT_FAIL;
}

static int build(struct pt_added *a, bool normalized, struct pt_trie_key *keys, struct pt_error *err)
{
	struct pt_trie *trie = &a->trie[normalized];
	size_t n = 0, len;
	int status;

	for (size_t i = 0; i < a->n; i++)
		if (a->token[i].normalized == normalized)
			keys[n++] = (struct pt_trie_key){ a->token[i].shown, a->token[i].nshown, (int32_t)i };
	status = pt_trie_init(trie, keys, n, err);
	for (size_t i = 0; !status && i < n; i++)
		if (pt_trie_longest(trie, keys[i].s, keys[i].n, &len) != keys[i].value)
			pt_log(PT_WARN, "added tokens \"%s\" and \"%s\" are equal once normalized: the first is used",
			       a->token[pt_trie_longest(trie, keys[i].s, keys[i].n, &len)].s,
			       a->token[keys[i].value].s);
	return status;
}

int pt_added_finish(struct pt_added *a, const struct pt_normalizer *norm, struct pt_hash *h, struct pt_error *err)
{
	struct pt_trie_key *keys = pt_malloc(a->n, sizeof *keys, err);
	struct pt_norm_work w = { .match = { NULL, NULL, NULL } };
	int status = keys ? 0 : PT_FAIL;

	if (a->n)
		qsort(a->token, a->n, sizeof *a->token, by_id);
	for (size_t i = 0; i < a->n && !status; i++) {
		struct pt_added_token *t = &a->token[i];

		a->by_id[t->id] = (int32_t)i;
		status = show(t, norm, &w, err);
		if (status)
			pt_error_prefix(err, "added token \"%s\"", t->s);
		pt_hash_u64(h, (uint64_t)t->id);
		pt_hash_str(h, t->s);
		pt_hash_u64(h, (uint64_t)(t->single_word | t->lstrip << 1 | t->rstrip << 2 | t->normalized << 3 |
					  t->special << 4));
	}
	if (!status)
		status = build(a, false, keys, err);
	if (!status)
		status = build(a, true, keys, err);
	free(keys);
	pt_norm_work_release(&w);
	return status;
}
