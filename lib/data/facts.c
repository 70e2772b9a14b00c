/* SPDX-License-Identifier: MIT */
/*
 * facts.c - see facts.h.
 */
#include "data/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "io/modeldir.h"

enum { LIMIT = 1024 };

static int positions(struct pt_facts *f, const cJSON *j, struct pt_error *err)
{
	static const char *const keys[] = { "max_position_embeddings", "n_positions", "max_sequence_length" };
	/* These number positions from pad_token_id + 1 (transformers, create_position_ids_from_input_ids). */
	static const char *const from_pad[] = { "roberta", "xlm-roberta", "camembert", "xlm-roberta-xl" };
	const char *type;
	int64_t pad;

	for (size_t i = 0; i < sizeof keys / sizeof *keys && !f->positions; i++)
		if (pt_json_int(j, keys[i], 0, INT32_MAX, 0, &f->positions, err))
			return err->status;
	if (pt_json_str(j, "model_type", "", &type, err))
		return err->status;
	for (size_t i = 0; i < sizeof from_pad / sizeof *from_pad; i++) {
		if (strcmp(type, from_pad[i]))
			continue;
		if (pt_json_int(j, "pad_token_id", 0, INT32_MAX, 1, &pad, err))
			return err->status;
		if (f->positions > pad + 1)
			f->positions -= pad + 1;
	}
	return 0;
}

static int end_of_text(struct pt_facts *f, const cJSON *j, struct pt_error *err)
{
	const cJSON *v = pt_json_get(j, "eos_token_id");
	int64_t id;

	if (cJSON_IsArray(v))
		v = v->child;
	if (!v)
		return 0;
	if (pt_json_to_int(v, -1, INT32_MAX, &id, err))
		return pt_error_prefix(err, "eos_token_id");
	f->eos = (int32_t)id;
	return 0;
}

static int head(struct pt_facts *f, const cJSON *j, struct pt_error *err)
{
	const cJSON *a = pt_json_get(j, "architectures");
	const char *name = cJSON_IsArray(a) ? cJSON_GetStringValue(a->child) : NULL, *problem;
	bool decoder;
	int task, p;

	if (pt_json_str(j, "problem_type", "", &problem, err) ||
	    pt_json_bool(j, "is_encoder_decoder", false, &decoder, err))
		return err->status;
	task = name ? pt_task_of_class(name, decoder) : -1;
	p = pt_problem_type_parse(problem);
	if (task >= 0)
		f->task = pt_maker_task_of((enum pt_task)task, p < 0 ? PT_PROBLEM_UNSET : (enum pt_problem)p);
	return 0;
}

/* {"0": "negative", "1": "positive"}, in any order. */
static int labels(struct pt_facts *f, const cJSON *j, struct pt_error *err)
{
	const cJSON *map = pt_json_get(j, "id2label");
	bool real = false;
	int n = cJSON_IsObject(map) ? cJSON_GetArraySize(map) : 0;

	for (int i = 0; i < n; i++) {
		char key[16], unnamed[32];
		const cJSON *v;

		snprintf(key, sizeof key, "%d", i);
		snprintf(unnamed, sizeof unnamed, "LABEL_%d", i);
		v = pt_json_get(map, key);
		if (!cJSON_IsString(v))
			return pt_error(err, PT_DATA, "id2label has no name for class %d", i);
		real = real || strcmp(v->valuestring, unnamed);
		if (pt_classes_find(&f->labels, v->valuestring) >= 0)
			return pt_error(err, PT_DATA, "id2label calls two classes '%s'", v->valuestring);
		if (pt_classes_add(&f->labels, v->valuestring, err))
			return err->status;
	}
	if (!real)
		pt_classes_release(&f->labels);
	return 0;
}

/* The length at which a directory of sentence-transformers cuts. */
static int sentence_length(struct pt_facts *f, const char *dir, struct pt_error *err)
{
	char *path = pt_path_join(dir, "sentence_bert_config.json", err);
	cJSON *j = path && pt_is_file(path) ? pt_json_read(path, 0, err) : NULL;

	if (j && cJSON_IsNumber(pt_json_get(j, "max_seq_length")) &&
	    pt_json_int(j, "max_seq_length", 1, INT32_MAX, 0, &f->sentence, err))
		pt_error_prefix(err, "%s", path);
	pt_json_free(j);
	free(path);
	return err->status;
}

int pt_facts_read(struct pt_facts *f, const char *dir, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_MODEL_CONFIG, err);
	cJSON *j = NULL;
	int status = 0;

	memset(f, 0, sizeof *f);
	f->eos = -1;
	pt_classes_init(&f->labels);
	if (!path)
		return err->status;
	if (pt_is_file(path)) {
		j = pt_json_read(path, 0, err);
		status = j ? 0 : err->status;
		if (j && (positions(f, j, err) || end_of_text(f, j, err) || head(f, j, err) || labels(f, j, err)))
			status = pt_error_prefix(err, "%s", path);
	}
	pt_json_free(j);
	free(path);
	return status ? status : sentence_length(f, dir, err);
}

void pt_facts_release(struct pt_facts *f)
{
	pt_classes_release(&f->labels);
}

int64_t pt_facts_max_length(const struct pt_facts *f, const struct pt_tokenizer *tok, int64_t reserve)
{
	int64_t own = pt_tokenizer_max_length(tok), max = LIMIT;

	if (own && own - reserve < max)
		max = own - reserve;
	if (f->positions && f->positions - reserve < max)
		max = f->positions - reserve;
	if (f->sentence && f->sentence < max)
		max = f->sentence;
	return max;
}
