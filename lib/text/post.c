/* SPDX-License-Identifier: MIT */
/*
 * post.c - all post-processors as templates.
 */
#include "text/post.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/component.h"

static int push(struct pt_post *p, int pair, int what, int32_t id, int32_t type, struct pt_error *err)
{
	struct pt_post_part *part;

	if (pt_grow(&p->part[pair], &p->cap[pair], p->n[pair] + 1, sizeof *part, err))
		return PT_FAIL;
	part = &p->part[pair][p->n[pair]++];
	part->what = what;
	part->id = id;
	part->type = type;
	return 0;
}

/* Parts from a spelling: A and B with the type behind, s sep and c cls of type 0, S sep of type 1. */
static int spell(struct pt_post *p, int pair, const char *parts, struct pt_error *err)
{
	int status = 0;

	p->n[pair] = 0;
	for (const char *s = parts; *s && !status; s++) {
		if (*s == 'A' || *s == 'B') {
			status = push(p, pair, *s == 'A' ? PT_POST_A : PT_POST_B, -1, s[1] - '0', err);
			s++;
		} else {
			status = push(p, pair, PT_POST_ID, *s == 'c' ? p->cls : p->sep, *s == 'S', err);
		}
	}
	return status;
}

/* ["[SEP]", 102]: the id counts. */
static int named(const cJSON *j, const char *key, int32_t *id, struct pt_error *err)
{
	const cJSON *pair = pt_json_get(j, key), *number = cJSON_GetArrayItem(pair, 1);
	int64_t v;

	if (!cJSON_IsArray(pair) || cJSON_GetArraySize(pair) != 2 || !cJSON_IsString(pair->child))
		return pt_error(err, PT_DATA, "\"%s\" must be a token and its id", key);
	if (pt_json_to_int(number, 0, INT32_MAX, &v, err))
		return pt_error_prefix(err, "\"%s\"", key);
	*id = (int32_t)v;
	return 0;
}

static int parse_bert(struct pt_post *p, const cJSON *j, bool roberta, struct pt_error *err)
{
	int status;

	if ((status = named(j, "sep", &p->sep, err)) || (status = named(j, "cls", &p->cls, err)) ||
	    (status = spell(p, 0, "cA0s", err)))
		return status;
	return spell(p, 1, roberta ? "cA0ssB0s" : "cA0sB1S", err);
}

/* The ids behind a name in "special_tokens". */
static int special(struct pt_post *p, int pair, const cJSON *table, const char *name, int32_t type,
		   struct pt_error *err)
{
	const cJSON *ids = pt_json_get(pt_json_get(table, name), "ids"), *id;
	int64_t v;
	int status = 0;

	if (!cJSON_IsArray(ids))
		return pt_error(err, PT_DATA, "\"%s\" has no ids in \"special_tokens\"", name);
	cJSON_ArrayForEach(id, ids) {
		if (pt_json_to_int(id, 0, INT32_MAX, &v, err))
			return pt_error_prefix(err, "ids of \"%s\"", name);
		status = push(p, pair, PT_POST_ID, (int32_t)v, type, err);
		if (status)
			break;
	}
	return status;
}

static int parse_template(struct pt_post *p, const cJSON *j, int pair, struct pt_error *err)
{
	const char *key = pair ? "pair" : "single", *id;
	const cJSON *list = pt_json_get(j, key), *c;
	int seen[2] = { 0, 0 }, status = 0;

	if (!cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "\"%s\" must be an array of pieces", key);
	p->n[pair] = 0;
	cJSON_ArrayForEach(c, list) {
		const cJSON *sequence = pt_json_get(c, "Sequence"), *token = pt_json_get(c, "SpecialToken");
		int64_t type;

		if (!sequence == !token)
			return pt_error(err, PT_DATA, "\"%s\": a piece is either Sequence or SpecialToken", key);
		if ((status = pt_json_str(sequence ? sequence : token, "id", NULL, &id, err)) ||
		    (status = pt_json_int(sequence ? sequence : token, "type_id", 0, INT32_MAX, 0, &type, err)))
			return status;
		if (!id || (sequence && strcmp(id, "A") != 0 && (!pair || strcmp(id, "B") != 0)))
			return pt_error(err, PT_DATA, "\"%s\": no sequence \"%s\" here", key, id ? id : "");
		if (sequence)
			seen[*id == 'B']++;
		status = sequence ? push(p, pair, *id == 'A' ? PT_POST_A : PT_POST_B, -1, (int32_t)type, err)
				  : special(p, pair, pt_json_get(j, "special_tokens"), id, (int32_t)type, err);
		if (status)
			return status;
	}
	if (seen[0] != 1 || seen[1] != pair)
		return pt_error(err, PT_DATA, "\"%s\": each sequence must stand there once", key);
	return 0;
}

/* ByteLevel and RobertaProcessing take spaces out of the places of tokens. */
static int parse_trim(struct pt_post *p, const cJSON *j, struct pt_error *err)
{
	bool trim, prefix;
	int status;

	if ((status = pt_json_bool(j, "trim_offsets", true, &trim, err)) ||
	    (status = pt_json_bool(j, "add_prefix_space", true, &prefix, err)) || !trim)
		return status;
	if (p->ntrim == PT_POST_TRIMS)
		return pt_error(err, PT_DATA, "more than %d of its kind are not supported", PT_POST_TRIMS);
	p->keeps_prefix[p->ntrim++] = prefix;
	return 0;
}

static int take(void *arg, const char *type, const cJSON *j, struct pt_error *err)
{
	struct pt_post *p = arg;
	int status;

	if (strcmp(type, "ByteLevel") == 0)
		return parse_trim(p, j, err);
	if (p->adds)
		return pt_error(err, PT_DATA, "behind another that adds tokens it is not supported");
	p->adds = true;
	if (strcmp(type, "TemplateProcessing") == 0) {
		status = parse_template(p, j, 0, err);
		return status ? status : parse_template(p, j, 1, err);
	}
	if (strcmp(type, "BertProcessing") == 0)
		return parse_bert(p, j, false, err);
	if (strcmp(type, "RobertaProcessing") != 0)
		return PT_UNKNOWN;
	status = parse_bert(p, j, true, err);
	return status ? status : parse_trim(p, j, err);
}

static void hash(const struct pt_post *p, struct pt_hash *h)
{
	for (int pair = 0; pair < 2; pair++)
		for (size_t i = 0; i < p->n[pair]; i++) {
			const struct pt_post_part *part = &p->part[pair][i];

			pt_hash_u64(h, (uint64_t)part->what);
			pt_hash_u64(h, (uint64_t)part->id);
			pt_hash_u64(h, (uint64_t)part->type);
		}
}

int pt_post_parse(struct pt_post *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	int status;

	*p = (struct pt_post){ .cls = -1, .sep = -1 };
	if ((status = spell(p, 0, "A0", err)) || (status = spell(p, 1, "A0B1", err)) ||
	    (status = j ? pt_components(j, "processors", take, p, err) : 0)) {
		pt_post_release(p);
		return pt_error_prefix(err, "post_processor");
	}
	hash(p, h);
	return 0;
}

int pt_post_surround(struct pt_post *p, int32_t bos, int32_t eos, struct pt_hash *h, struct pt_error *err)
{
	int status = 0;

	for (int pair = 0; pair < 2; pair++) {
		p->n[pair] = 0;
		for (int32_t side = 0; side <= pair && !status; side++) {
			if (bos >= 0)
				status = push(p, pair, PT_POST_ID, bos, side, err);
			if (!status)
				status = push(p, pair, side ? PT_POST_B : PT_POST_A, -1, side, err);
			if (!status && eos >= 0)
				status = push(p, pair, PT_POST_ID, eos, side, err);
		}
	}
	hash(p, h);
	return status;
}

void pt_post_release(struct pt_post *p)
{
	free(p->part[0]);
	free(p->part[1]);
	*p = (struct pt_post){ .cls = -1, .sep = -1 };
}
