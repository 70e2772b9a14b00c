/* SPDX-License-Identifier: MIT */
/*
 * maker_schema.c - tasks by name, and what the first line decides for all.
 */
#include <stdlib.h>
#include <string.h>

#include "data/maker.h"

static const char *const names[] = {
	[PT_DATA_AUTO] = "auto", [PT_DATA_LM] = "lm", [PT_DATA_CLASS] = "class",
	[PT_DATA_REGRESSION] = "regression", [PT_DATA_MULTILABEL] = "multilabel",
	[PT_DATA_TOKEN_CLASS] = "token-class",
};

int pt_data_task_parse(const char *name)
{
	for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

const char *pt_data_task_name(enum pt_data_task t)
{
	return t == PT_DATA_AUTO ? NULL : names[t];
}

/* A number that is written as one of a continuous quantity: 0.5, 1.0, 1e3. */
static bool is_float(const cJSON *v)
{
	return cJSON_IsNumber(v) && (v->valuestring ? strpbrk(v->valuestring, ".eE") != NULL
				     : v->valuedouble != (double)(int64_t)v->valuedouble);
}

static int task_of_label(const cJSON *label, enum pt_data_task *task, struct pt_error *err)
{
	const cJSON *v = cJSON_IsArray(label) ? label->child : label;

	if (is_float(v))
		*task = PT_DATA_REGRESSION;
	else if (!cJSON_IsArray(label))
		*task = PT_DATA_CLASS;
	else if (!v || cJSON_IsString(v))
		*task = PT_DATA_MULTILABEL;
	else
		return pt_error(err, PT_USAGE, "\"label\" is a list of whole numbers: --task says whether it is "
				"multilabel or regression");
	return 0;
}

int pt_maker_task(struct pt_maker_options *o, const struct pt_sample *s, struct pt_error *err)
{
	if (o->task != PT_DATA_AUTO)
		return 0;
	if (s->label)
		return task_of_label(s->label, &o->task, err);
	o->task = s->prompt.s || s->labels || o->fallback == PT_DATA_AUTO ? PT_DATA_LM : o->fallback;
	return 0;
}

/* Where the template puts a text: the place at which the ids of two texts differ. */
static int find_template(struct pt_maker_options *o, struct pt_error *err)
{
	struct pt_encoding e[2] = { PT_ENCODING_INIT, PT_ENCODING_INIT };
	size_t i = 0;

	for (int32_t id = 0; id < 2; id++)
		if (pt_wrap(o->tok, &id, 1, NULL, 0, PT_ENCODE_SPECIAL, &e[id], err))
			goto out;
	while (i < e[0].n && e[0].ids[i] == e[1].ids[i])
		i++;
	o->before = (int)i;
	o->special = pt_tokenizer_added(o->tok, false);
	/* A tokenizer that ends its texts itself needs no other end. */
	if (e[0].n && (int)e[0].n > o->before + 1 && e[0].ids[e[0].n - 1] == o->eos)
		o->eos = -1;
out:
	pt_encoding_release(&e[0]);
	pt_encoding_release(&e[1]);
	return err->status;
}

/* Does a pair have other token types than 0? */
static int pair_types(const struct pt_maker_options *o, bool *types, struct pt_error *err)
{
	struct pt_encoding e = PT_ENCODING_INIT;
	int32_t id = 0;

	*types = false;
	if (pt_tokenizer_added(o->tok, true) == 0)
		return pt_error(err, PT_DATA, "\"text_pair\": this tokenizer has no template for pairs");
	if (!pt_wrap(o->tok, &id, 1, &id, 1, PT_ENCODE_SPECIAL, &e, err))
		for (size_t i = 0; i < e.n; i++)
			*types |= e.types[i] != 0;
	pt_encoding_release(&e);
	return err->status;
}

static int check_room(const struct pt_maker_options *o, struct pt_error *err)
{
	int64_t limit = o->chunk ? o->chunk : o->max_length;

	if (limit <= o->special)
		return pt_error(err, PT_USAGE, "%s %lld leaves no room beside the tokenizer's %d special tokens",
				o->chunk ? "--chunk" : "--max-length", (long long)limit, o->special);
	if (o->chunk && o->stride >= o->chunk - o->special)
		return pt_error(err, PT_USAGE, "--stride %lld leaves nothing new in pieces of %lld, of which %d are "
				"special tokens", (long long)o->stride, (long long)o->chunk, o->special);
	return 0;
}

int pt_maker_schema(struct pt_maker_options *o, const struct pt_sample *first, struct pt_error *err)
{
	static const int64_t zero[2];
	struct pt_examples x = { .index = zero, .offsets = zero, .source = zero, .row = zero };
	static const int32_t ids[1];
	static const float numbers[1];
	bool types = false;

	if (find_template(o, err) || check_room(o, err) ||
	    (first->pair.s && pair_types(o, &types, err)))
		return err->status;
	o->labelled = o->task != PT_DATA_LM && o->task != PT_DATA_TOKEN_CLASS && first->label;
	x.input_ids = ids;
	o->ids_labels = o->task == PT_DATA_LM || (o->task == PT_DATA_TOKEN_CLASS && first->labels);
	o->types = types || first->types;
	o->groups = first->has_group;
	o->weights = first->has_weight;
	x.labels = o->ids_labels ? ids : NULL;
	x.token_type_ids = o->types ? ids : NULL;
	x.group = o->groups ? zero : NULL;
	x.weight = o->weights ? numbers : NULL;
	if (o->labelled && o->task == PT_DATA_CLASS)
		x.cls = ids;
	else if (o->labelled)
		x.target = numbers;
	o->have = pt_gather_have(&x);
	o->k = o->task == PT_DATA_REGRESSION && cJSON_IsArray(first->label) ? cJSON_GetArraySize(first->label) : 1;
	if (o->task == PT_DATA_MULTILABEL)
		o->k = o->labels ? (int64_t)o->labels->n : 0;
	if (!o->labelled || o->task == PT_DATA_CLASS)
		o->k = 0;
	return 0;
}
