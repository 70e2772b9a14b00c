/* SPDX-License-Identifier: MIT */
/*
 * sample.h - what one line of a source holds: a text, or the fields of a JSON
 * object that name a text, a prompt and its completion, a pair, or ready ids.
 *
 *     {"text": T}  {"text": T, "text_pair": T}  {"prompt": T, "completion": T}
 *     {"input_ids": [..], "labels": [..], "token_type_ids": [..]}
 *     (what generates needs no completion) and with any of them "label", "weight", "group"
 */
#ifndef PT_DATA_SAMPLE_H
#define PT_DATA_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

struct pt_sample_text {
	const char *s;		/* NULL: absent */
	size_t n;
};

struct pt_sample {
	cJSON *json;		/* owned; NULL: a plain text */
	struct pt_sample_text text, pair, prompt, completion;
	const cJSON *ids, *labels, *types;	/* arrays, or NULL */
	const cJSON *label;	/* any value, or NULL */
	bool has_weight, has_group;
	float weight;
	int64_t group;
};

/* A plain text as it stands. */
void pt_sample_plain(struct pt_sample *s, const char *text, size_t n);
/* One JSON object; what names it in messages. PT_DATA: not JSON, or fields that make no sense. */
int pt_sample_parse(struct pt_sample *s, const char *line, size_t n, const char *what, struct pt_error *err);
void pt_sample_release(struct pt_sample *s);

#endif
