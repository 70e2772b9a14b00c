/* SPDX-License-Identifier: MIT */
/*
 * sample.c - see sample.h.
 */
#include "data/sample.h"

#include <math.h>
#include <stdio.h>
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

/* Names that the data sets in use have for a pair of texts; both must be there. */
struct names {
	const char *first, *second;
};

static const struct names pair_names[] = {
	{ "sentence1", "sentence2" }, { "sentence_A", "sentence_B" }, { "premise", "hypothesis" },
};
static const struct names completion_names[] = {
	{ "text", "text_target" }, { "source", "target" }, { "inputs", "targets" }, { "document", "summary" },
	{ "article", "highlights" },
};
static const struct names set_names[] = {
	{ "anchor", "positive" }, { "query", "positive" }, { "query", "answer" }, { "question", "answer" },
};

static int get_names(const cJSON *j, const struct names *names, size_t n, struct pt_sample_text *a,
		     struct pt_sample_text *b, struct pt_error *err)
{
	for (size_t i = 0; i < n && !b->s; i++) {
		if (!cJSON_IsString(pt_json_get(j, names[i].first)) || !cJSON_IsString(pt_json_get(j, names[i].second)))
			continue;
		if (get_text(j, names[i].first, a, err) || get_text(j, names[i].second, b, err))
			return err->status;
	}
	return 0;
}

#define GET_NAMES(j, names, a, b, err) get_names(j, names, sizeof(names) / sizeof *(names), a, b, err)

/* "text_target" makes a prompt of the text. */
static int get_texts(struct pt_sample *s, struct pt_error *err)
{
	const cJSON *j = s->json;
	bool target = pt_json_get(j, "text_target") != NULL;

	if ((!target && (get_text(j, "text", &s->text, err) || get_text(j, "text_pair", &s->pair, err))) ||
	    get_text(j, "prompt", &s->prompt, err) || get_text(j, "completion", &s->completion, err))
		return err->status;
	if (!s->text.s && GET_NAMES(j, pair_names, &s->text, &s->pair, err))
		return err->status;
	if (!s->text.s && !s->prompt.s && GET_NAMES(j, completion_names, &s->prompt, &s->completion, err))
		return err->status;
	return s->text.s || s->prompt.s ? 0 : get_text(j, "sentence", &s->text, err);
}

/* Anchor, positive, negatives: "negative", "negative_1", ... */
static int get_set(struct pt_sample *s, struct pt_error *err)
{
	char key[32] = "negative";

	if (s->text.s || s->prompt.s || s->question.s)
		return 0;
	if (GET_NAMES(s->json, set_names, &s->set[0], &s->set[1], err))
		return err->status;
	if (!s->set[1].s)
		return 0;
	s->nset = 2;
	for (int i = 1; s->nset < PT_SAMPLE_SET; i++) {
		struct pt_sample_text t = { NULL, 0 };

		if (get_text(s->json, key, &t, err))
			return err->status;
		if (t.s)
			s->set[s->nset++] = t;
		else if (i > 1)
			break;
		snprintf(key, sizeof key, "negative_%d", i);
	}
	return 0;
}

static int get_question(struct pt_sample *s, struct pt_error *err)
{
	const cJSON *j = s->json;

	if (!pt_json_get(j, "question") || !pt_json_get(j, "context") || s->text.s || s->prompt.s)
		return 0;
	s->answers = pt_json_get(j, "answers");
	if (cJSON_IsNull(s->answers))
		s->answers = NULL;
	if (s->answers && !cJSON_IsObject(s->answers))
		return pt_error(err, PT_DATA, "\"answers\" is not an object of \"text\" and \"answer_start\"");
	return get_text(j, "question", &s->question, err) ? err->status : get_text(j, "context", &s->context, err);
}

/* Words and their tags; "labels" without "input_ids" are tags, too. */
static int get_words(struct pt_sample *s, struct pt_error *err)
{
	static const char *const words[] = { "tokens", "words" }, *const tags[] = { "ner_tags", "tags" };

	for (int i = 0; i < 2 && !s->words; i++)
		if (get_array(s->json, words[i], &s->words, err))
			return err->status;
	for (int i = 0; s->words && i < 2 && !s->tags; i++)
		if (get_array(s->json, tags[i], &s->tags, err))
			return err->status;
	if (s->words && !s->ids && !s->tags) {
		s->tags = s->labels;
		s->labels = NULL;
	}
	for (const cJSON *v = s->words ? s->words->child : NULL; v; v = v->next)
		if (!cJSON_IsString(v))
			return pt_error(err, PT_DATA, "a word that is not a string");
	if (s->tags && cJSON_GetArraySize(s->tags) != cJSON_GetArraySize(s->words))
		return pt_error(err, PT_DATA, "%d words with %d tags", cJSON_GetArraySize(s->words),
				cJSON_GetArraySize(s->tags));
	return 0;
}

static int get_ready(struct pt_sample *s, struct pt_error *err)
{
	const cJSON *labels = pt_json_get(s->json, "labels");

	/* Tokenized data sets call the class "labels", too. */
	if (labels && !cJSON_IsArray(labels))
		s->label = labels;
	else
		s->labels = labels;
	if (!s->label)
		s->label = pt_json_get(s->json, "label");
	if (!s->label)
		s->label = pt_json_get(s->json, "score");
	s->has_span = pt_json_get(s->json, "start_positions") && pt_json_get(s->json, "end_positions");
	if (get_array(s->json, "input_ids", &s->ids, err) || get_array(s->json, "token_type_ids", &s->types, err) ||
	    check_mask(s->json, err))
		return err->status;
	if (s->has_span && (pt_json_int(s->json, "start_positions", 0, INT32_MAX, 0, &s->span[0], err) ||
			    pt_json_int(s->json, "end_positions", 0, INT32_MAX, 0, &s->span[1], err)))
		return err->status;
	return 0;
}

/* Which of the forms is it? Exactly one; words may stand beside a text. */
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
	if (!forms && !s->question.s && !s->nset && !s->words)
		return pt_error(err, PT_DATA, "none of \"text\", \"prompt\", \"input_ids\", \"tokens\", "
				"\"question\" with \"context\", \"anchor\" with \"positive\"");
	return 0;
}

int pt_sample_take(struct pt_sample *s, const char *what, struct pt_error *err)
{
	static const char *const chat[] = { "messages", "conversations" };
	int status = 0;

	if (!cJSON_IsObject(s->json))
		status = pt_error(err, PT_DATA, "not a JSON object");
	for (int i = 0; i < 2 && !status; i++)
		if (pt_json_get(s->json, chat[i]))
			status = no_chat(chat[i], err);
	if (!status && (get_ready(s, err) || get_texts(s, err) || get_question(s, err) || get_set(s, err) ||
			get_words(s, err) || get_numbers(s, err)))
		status = err->status;
	if (!status)
		status = check_form(s, err);
	if (status) {
		pt_error_prefix(err, "%s", what);
		pt_sample_release(s);
	}
	return status;
}

int pt_sample_parse(struct pt_sample *s, const char *line, size_t n, const char *what, struct pt_error *err)
{
	memset(s, 0, sizeof *s);
	s->json = pt_json_parse(line, n, 0, what, err);
	return s->json ? pt_sample_take(s, what, err) : err->status;
}
