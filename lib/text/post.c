/* SPDX-License-Identifier: MIT */
/*
 * post.c - all post-processors as templates.
 */
#include "text/post.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

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

static int parse(struct pt_post *p, const cJSON *j, bool *done, struct pt_error *err)
{
	const cJSON *list, *c;
	const char *type;
	int status = pt_json_str(j, "type", NULL, &type, err);

	if (status)
		return status;
	if (!cJSON_IsObject(j) || !type)
		return pt_error(err, PT_DATA, "an object with a \"type\" expected");
	if (strcmp(type, "ByteLevel") == 0)
		return 0;	/* it only moves offsets */
	if (strcmp(type, "Sequence") == 0) {
		list = pt_json_get(j, "processors");
		if (!cJSON_IsArray(list))
			return pt_error(err, PT_DATA, "Sequence: \"processors\" must be an array");
		cJSON_ArrayForEach(c, list) {
			status = parse(p, c, done, err);
			if (status)
				break;
		}
		return status;
	}
	if (*done)
		return pt_error(err, PT_DATA, "%s behind another that adds tokens is not supported", type);
	*done = true;
	if (strcmp(type, "TemplateProcessing") == 0) {
		status = parse_template(p, j, 0, err);
		if (!status)
			status = parse_template(p, j, 1, err);
	} else if (strcmp(type, "BertProcessing") == 0 || strcmp(type, "RobertaProcessing") == 0) {
		status = parse_bert(p, j, *type == 'R', err);
	} else {
		return pt_error(err, PT_DATA, "type \"%s\" is not supported", type);
	}
	return status ? pt_error_prefix(err, "%s", type) : 0;
}

int pt_post_parse(struct pt_post *p, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	bool done = false;
	int status;

	*p = (struct pt_post){ .cls = -1, .sep = -1 };
	if ((status = spell(p, 0, "A0", err)) || (status = spell(p, 1, "A0B1", err)) ||
	    (status = j ? parse(p, j, &done, err) : 0)) {
		pt_post_release(p);
		return pt_error_prefix(err, "post_processor");
	}
	for (int pair = 0; pair < 2; pair++)
		for (size_t i = 0; i < p->n[pair]; i++) {
			const struct pt_post_part *part = &p->part[pair][i];

			pt_hash_u64(h, (uint64_t)part->what);
			pt_hash_u64(h, (uint64_t)part->id);
			pt_hash_u64(h, (uint64_t)part->type);
		}
	return 0;
}

void pt_post_release(struct pt_post *p)
{
	free(p->part[0]);
	free(p->part[1]);
	*p = (struct pt_post){ .cls = -1, .sep = -1 };
}
