/* SPDX-License-Identifier: MIT */
/*
 * sample.h - what one line of a source holds: a text, or the fields of a JSON
 * object that name texts, words and their tags, a question, or ready ids.
 *
 *     {"text": T}  {"text": T, "text_pair": T}  {"prompt": T, "completion": T}
 *     {"tokens": [W..], "ner_tags": [..]}       {"question": T, "context": T, "answers": {..}}
 *     {"anchor": T, "positive": T, "negative": T}
 *     {"input_ids": [..], "labels": [..], "token_type_ids": [..], "start_positions": N, "end_positions": N}
 *     and with any of them "label", "weight", "group"
 *
 * Fields of the data sets that people have go by their own names, too
 * (sample.c has the list); what generates needs no completion.
 */
#ifndef PT_DATA_SAMPLE_H
#define PT_DATA_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"
#include "data/source.h"

#define PT_SAMPLE_SET 64	/* texts of a contrastive set, at most */

struct pt_sample_text {
	const char *s;		/* NULL: absent */
	size_t n;
};

struct pt_sample {
	cJSON *json;		/* owned; NULL: a plain text without label */
	struct pt_sample_text text, pair, prompt, completion;
	struct pt_sample_text question, context;
	struct pt_sample_text set[PT_SAMPLE_SET];	/* anchor, positive, negatives */
	int nset;
	const cJSON *words, *tags;		/* arrays, or NULL */
	const cJSON *answers;			/* {"text": [..], "answer_start": [..]}, or NULL */
	const cJSON *ids, *labels, *types;	/* arrays, or NULL */
	const cJSON *label;	/* any value, or NULL */
	bool has_span;		/* ready ids: where an answer stands */
	int64_t span[2];
	bool has_weight, has_group;
	float weight;
	int64_t group;
};

/* A plain text as it stands. */
void pt_sample_plain(struct pt_sample *s, const char *text, size_t n);
/* One JSON object; what names it in messages. PT_DATA: not JSON, or fields that make no sense. */
int pt_sample_parse(struct pt_sample *s, const char *line, size_t n, const char *what, struct pt_error *err);
/* The fields of s->json, which was set; on failure s is released. */
int pt_sample_take(struct pt_sample *s, const char *what, struct pt_error *err);
/* A line of the file f, its bytes at text: in its format, with the label of its path. PT_DATA as above. */
int pt_sample_line(struct pt_sample *s, const struct pt_text_file *f, const char *text, size_t n, const char *what,
		   struct pt_error *err);
void pt_sample_release(struct pt_sample *s);

#endif
