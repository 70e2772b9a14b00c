/* SPDX-License-Identifier: MIT */
/*
 * config.c - tokenizer_config.json and special_tokens_map.json: what
 * transformers adds on top of a tokenizer.json.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "text/tok.h"

static const char *const keys[PT_TOKEN_NAMES] = {
	"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"
};

/* An entry of added_tokens_decoder, by id. */
struct entry {
	int64_t id;
	const cJSON *j;
};

static int by_id(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int parse_key(const char *s, int64_t *id)
{
	char *end;

	*id = strtoll(s, &end, 10);
	return end == s || *end || *id < 0 || *id > INT32_MAX;
}

/* Whether transformers would leave out an entry because the same is there. */
static bool known(const struct pt_added_token *have, const struct pt_added_token *t)
{
	return have && have->single_word == t->single_word && have->lstrip == t->lstrip && have->rstrip == t->rstrip &&
	       have->normalized == t->normalized && have->special == t->special;
}

static int add(struct pt_tokenizer *tok, const struct pt_added_token *t, struct pt_error *err)
{
	return known(pt_added_find(&tok->added, t->s, t->n), t) ? 0 : pt_added_add(&tok->added, &tok->vocab, t, err);
}

static int add_decoder(struct pt_tokenizer *tok, const cJSON *table, struct pt_error *err)
{
	size_t n = 0, cap = 0;
	struct entry *list = NULL;
	int status = 0;

	if (table && !cJSON_IsObject(table))
		return pt_error(err, PT_DATA, "\"added_tokens_decoder\" must be an object");
	for (const cJSON *j = table ? table->child : NULL; j && !status; j = j->next) {
		if (pt_grow(&list, &cap, n + 1, sizeof *list, err))
			status = PT_FAIL;
		else if (parse_key(j->string, &list[n].id))
			status = pt_error(err, PT_DATA, "\"added_tokens_decoder\": \"%.40s\" is no id", j->string);
		else
			list[n++].j = j;
	}
	if (n)
		qsort(list, n, sizeof *list, by_id);
	for (size_t i = 0; i < n && !status; i++) {
		struct pt_added_token t = { .id = 0 };
		const struct pt_added_token *have;

		t.normalized = true;
		status = pt_added_parse(&t, list[i].j, false, err);
		if (status) {
			pt_error_prefix(err, "added_tokens_decoder.%" PRId64, list[i].id);
			break;
		}
		/* As AddedToken has it, special tokens are matched as they are unless told otherwise. */
		if (!pt_json_get(list[i].j, "normalized"))
			t.normalized = !t.special;
		status = add(tok, &t, err);
		have = pt_added_find(&tok->added, t.s, t.n);
		if (!status && have && have->id != list[i].id)
			pt_log(PT_WARN, "tokenizer_config.json: token \"%s\" gets the id %" PRId32 ", not %" PRId64, t.s,
			       have->id, list[i].id);
	}
	free(list);
	return status;
}

/* A named token is a string or an object with content; NULL: none. */
static const char *content(const cJSON *j)
{
	const cJSON *c = cJSON_IsObject(j) ? pt_json_get(j, "content") : j;

	return cJSON_IsString(c) ? c->valuestring : NULL;
}

static const char *named(const cJSON *config, const cJSON *map, int i, const cJSON **from)
{
	const char *s;

	*from = pt_json_get(config, keys[i]);
	s = content(*from);
	if (s)
		return s;
	*from = pt_json_get(map, keys[i]);
	return content(*from);
}

/* A special token that is not known yet is added. */
static int add_special(struct pt_tokenizer *tok, const cJSON *j, struct pt_error *err)
{
	struct pt_added_token t = { .special = true };
	const char *s = content(j);
	int status;

	if (!s || !*s)
		return 0;
	t.s = (char *)s;
	t.n = strlen(s);
	if (pt_added_find(&tok->added, t.s, t.n))
		return 0;
	if (cJSON_IsObject(j)) {
		status = pt_added_parse(&t, j, false, err);
		if (status)
			return status;
		t.special = true;
	}
	return pt_added_add(&tok->added, &tok->vocab, &t, err);
}

static int add_list(struct pt_tokenizer *tok, const cJSON *list, struct pt_error *err)
{
	const cJSON *j;
	int status = 0;

	cJSON_ArrayForEach(j, list) {
		status = add_special(tok, j, err);
		if (status)
			break;
	}
	return status;
}

int pt_tok_config_tokens(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, struct pt_error *err)
{
	int status = add_decoder(tok, pt_json_get(config, "added_tokens_decoder"), err);

	for (int i = 0; i < PT_TOKEN_NAMES && !status; i++) {
		const cJSON *from;

		if (named(config, map, i, &from))
			status = add_special(tok, from, err);
	}
	if (!status)
		status = add_list(tok, pt_json_get(config, "additional_special_tokens"), err);
	if (!status)
		status = add_list(tok, pt_json_get(config, "extra_special_tokens"), err);
	return status ? pt_error_prefix(err, "tokenizer_config.json") : 0;
}

/* The id of a named token, -1: none; where nobody names one, that of the recipe, which is added if need be. */
static int named_id(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, const char *const *names, int i,
		    int32_t *id, struct pt_error *err)
{
	const cJSON *from;
	const char *s = named(config, map, i, &from);
	struct pt_added_token t = { .special = true };
	int status = 0;

	if (!s && names && names[i]) {
		t.s = (char *)names[i];
		t.n = strlen(t.s);
		s = t.s;
		if (!pt_added_find(&tok->added, t.s, t.n))
			status = pt_added_add(&tok->added, &tok->vocab, &t, err);
	}
	*id = s ? pt_tokenizer_id(tok, s, strlen(s)) : -1;
	if (!status && *id < 0)
		return pt_error(err, PT_DATA, "tokenizer_config.json: \"add_%.3s_token\", but there is no \"%s\"", keys[i], keys[i]);
	return status;
}

int pt_tok_config_surround(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, const char *const *names,
			   struct pt_hash *h, struct pt_error *err)
{
	int32_t bos = -1, eos = -1;
	bool front, back;
	int status;

	if ((status = pt_json_bool(config, "add_bos_token", false, &front, err)) ||
	    (status = pt_json_bool(config, "add_eos_token", false, &back, err)))
		return pt_error_prefix(err, "tokenizer_config.json");
	if (!front && !back)
		return 0;
	if ((front && (status = named_id(tok, config, map, names, PT_TOKEN_BOS, &bos, err))) ||
	    (back && (status = named_id(tok, config, map, names, PT_TOKEN_EOS, &eos, err))))
		return status;
	return pt_post_surround(&tok->post, bos, eos, h, err);
}

int pt_tok_config_rest(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, const char *const *names,
		       struct pt_error *err)
{
	static const char *const masks[] = { "<mask>", "[MASK]" };
	const char *side;
	double max;
	int status;

	for (int i = 0; i < PT_TOKEN_NAMES; i++) {
		const cJSON *from;
		const char *s = named(config, map, i, &from);

		if (!s && names)
			s = names[i];
		if (s)
			tok->named[i] = pt_tokenizer_id(tok, s, strlen(s));
	}
	/* Files that name none leave it to the class, which for all that have one is one of these. */
	for (size_t i = 0; tok->named[PT_TOKEN_MASK] < 0 && i < sizeof masks / sizeof *masks; i++) {
		const struct pt_added_token *t = pt_added_find(&tok->added, masks[i], strlen(masks[i]));

		if (t && t->special)
			tok->named[PT_TOKEN_MASK] = t->id;
	}
	if (tok->named[PT_TOKEN_CLS] < 0)
		tok->named[PT_TOKEN_CLS] = tok->post.cls;
	if (tok->named[PT_TOKEN_SEP] < 0)
		tok->named[PT_TOKEN_SEP] = tok->post.sep;
	if ((status = pt_json_double(config, "model_max_length", 0, &max, err)) ||
	    (status = pt_json_str(config, "truncation_side", "right", &side, err)) ||
	    (status = pt_json_bool(config, "clean_up_tokenization_spaces", false, &tok->cleanup, err)))
		return pt_error_prefix(err, "tokenizer_config.json");
	/* transformers' stand-in for none is 10^30. */
	tok->max_length = max > 0 && max < 1e15 ? (int64_t)max : 0;
	tok->left = strcmp(side, "left") == 0;
	tok->cleanup = tok->cleanup && tok->model->cleans_up;
	return 0;
}
