/* SPDX-License-Identifier: MIT */
/*
 * sample.c - see sample.h.
 */
#include "data/sample.h"

#include <math.h>
#include <string.h>

void pt_sample_plain(struct pt_sample *s, const char *text, size_t n)
{
	memset(s, 0, sizeof *s);
	s->text = (struct pt_sample_text){ text, n };
}

void pt_sample_release(struct pt_sample *s)
{
	pt_json_free(s->json);
	memset(s, 0, sizeof *s);
}

static int no_chat(const char *key, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "\"%s\": chat is not supported yet; write it as \"prompt\" and \"completion\"", key);
}

static int get_text(const cJSON *j, const char *key, struct pt_sample_text *t, struct pt_error *err)
{
	const cJSON *v = pt_json_get(j, key);

	if (!v)
		return 0;
	if (cJSON_IsArray(v) && (cJSON_IsObject(v->child) || !v->child) && strncmp(key, "text", 4))
		return no_chat(key, err);
	if (!cJSON_IsString(v))
		return pt_error(err, PT_DATA, "\"%s\" is not a string", key);
	*t = (struct pt_sample_text){ v->valuestring, strlen(v->valuestring) };
	return 0;
}

static int get_array(const cJSON *j, const char *key, const cJSON **a, struct pt_error *err)
{
	*a = pt_json_get(j, key);
	if (*a && !cJSON_IsArray(*a))
		return pt_error(err, PT_DATA, "\"%s\" is not an array", key);
	return 0;
}

/* A mask that hides something means padding, which has no place in a stream. */
static int check_mask(const cJSON *j, struct pt_error *err)
{
	const cJSON *mask;

	if (get_array(j, "attention_mask", &mask, err))
		return err->status;
	for (const cJSON *v = mask ? mask->child : NULL; v; v = v->next)
		if (!cJSON_IsNumber(v) || v->valuedouble != 1)
			return pt_error(err, PT_DATA, "\"attention_mask\" is not all 1: write the line without padding");
	return 0;
}

static int get_numbers(struct pt_sample *s, struct pt_error *err)
{
	double w;

	s->has_weight = pt_json_get(s->json, "weight") != NULL;
	s->has_group = pt_json_get(s->json, "group") != NULL;
	if (pt_json_double(s->json, "weight", 1, &w, err) ||
	    pt_json_int(s->json, "group", INT64_MIN / 2, INT64_MAX / 2, 0, &s->group, err))
		return err->status;
	s->weight = (float)w;
	if (!(w >= 0) || !isfinite(s->weight))
		return pt_error(err, PT_DATA, "\"weight\" is %g: it must be finite and not negative", w);
	return 0;
}

/* Which of the forms is it? Exactly one. */
static int check_form(const struct pt_sample *s, struct pt_error *err)
{
	bool prompt = s->prompt.s || s->completion.s;
	int forms = (s->text.s != NULL) + prompt + (s->ids != NULL);

	if (forms > 1)
		return pt_error(err, PT_DATA, "more than one of \"text\", \"prompt\" and \"input_ids\"");
	if (prompt && !s->prompt.s)
		return pt_error(err, PT_DATA, "\"completion\" without \"prompt\"");
	if (s->pair.s && !s->text.s)
		return pt_error(err, PT_DATA, "\"text_pair\" without \"text\"");
	if ((s->labels || s->types) && !s->ids)
		return pt_error(err, PT_DATA, "\"%s\" without \"input_ids\"", s->labels ? "labels" : "token_type_ids");
	if (!forms)
		return pt_error(err, PT_DATA, "none of \"text\", \"prompt\", \"input_ids\"");
	return 0;
}

int pt_sample_parse(struct pt_sample *s, const char *line, size_t n, const char *what, struct pt_error *err)
{
	static const char *const chat[] = { "messages", "conversations" };
	const cJSON *labels;
	int status;

	memset(s, 0, sizeof *s);
	s->json = pt_json_parse(line, n, 0, what, err);
	if (!s->json)
		return err->status;
	status = 0;
	if (!cJSON_IsObject(s->json))
		status = pt_error(err, PT_DATA, "not a JSON object");
	for (int i = 0; i < 2 && !status; i++)
		if (pt_json_get(s->json, chat[i]))
			status = no_chat(chat[i], err);
	if (!status)
		status = get_text(s->json, "text", &s->text, err);
	if (!status)
		status = get_text(s->json, "text_pair", &s->pair, err);
	if (!status)
		status = get_text(s->json, "prompt", &s->prompt, err);
	if (!status)
		status = get_text(s->json, "completion", &s->completion, err);
	if (!status)
		status = get_array(s->json, "input_ids", &s->ids, err);
	/* Tokenized data sets call the class "labels", too. */
	labels = pt_json_get(s->json, "labels");
	if (labels && !cJSON_IsArray(labels))
		s->label = labels;
	else
		s->labels = labels;
	if (!status)
		status = get_array(s->json, "token_type_ids", &s->types, err);
	if (!status)
		status = check_mask(s->json, err);
	if (!status)
		status = get_numbers(s, err);
	if (!s->label)
		s->label = pt_json_get(s->json, "label");
	if (!status)
		status = check_form(s, err);
	if (status) {
		pt_error_prefix(err, "%s", what);
		pt_sample_release(s);
	}
	return status;
}
