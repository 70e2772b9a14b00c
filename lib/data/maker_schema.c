/* SPDX-License-Identifier: MIT */
/*
 * maker_schema.c - what the first line decides for all.
 */
#include <stdlib.h>
#include <string.h>

#include "data/maker_priv.h"

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
	/* A tokenizer that ends its texts itself needs no other end; nor does what is not generated. */
	if (e[0].n && (int)e[0].n > o->before + 1 && e[0].ids[e[0].n - 1] == o->eos)
		o->eos = -1;
	if (o->task.task != PT_TASK_CAUSAL_LM && o->task.task != PT_TASK_SEQ2SEQ_LM)
		o->eos = -1;
out:
	pt_encoding_release(&e[0]);
	pt_encoding_release(&e[1]);
	return err->status;
}

/*
 * The template of a pair: where the texts stand, and whether it has other
 * token types than 0. Without one they follow each other, as in transformers.
 */
static int find_pair(struct pt_maker_options *o, bool *types, struct pt_error *err)
{
	static const int32_t a[3] = { 0, 1, 0 }, b[3] = { 0, 0, 1 };
	struct pt_encoding e[3] = { PT_ENCODING_INIT, PT_ENCODING_INIT, PT_ENCODING_INIT };
	size_t at[3] = { 0, 0, 0 };

	*types = false;
	o->pair_before = o->pair_between = 0;
	if (pt_tokenizer_added(o->tok, true) == 0)
		return 0;
	for (int i = 0; i < 3 && !err->status; i++)
		pt_wrap(o->tok, &a[i], 1, &b[i], 1, PT_ENCODE_SPECIAL, &e[i], err);
	for (size_t i = 0; i < e[0].n && !err->status; i++)
		*types |= e[0].types[i] != 0;
	for (int i = 1; i < 3 && !err->status; i++)
		while (at[i] < e[0].n && e[0].ids[at[i]] == e[i].ids[at[i]])
			at[i]++;
	o->pair_before = (int)at[1];
	o->pair_between = (int)at[2] - (int)at[1] - 1;
	for (int i = 0; i < 3; i++)
		pt_encoding_release(&e[i]);
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
	if (o->task.task == PT_TASK_SEQ2SEQ_LM && o->max_target <= o->special)
		return pt_error(err, PT_USAGE, "--max-target %lld leaves no room beside the tokenizer's %d special tokens",
				(long long)o->max_target, o->special);
	return 0;
}

/* Pieces of a context share 128 tokens (HF's doc_stride), less where they are short. */
static int find_stride(struct pt_maker_options *o, struct pt_error *err)
{
	if (o->task.task != PT_TASK_QA) {
		if (o->stride > 0 && !o->chunk)
			return pt_error(err, PT_USAGE, "--stride is for --chunk, and for --task qa");
		if (o->stride < 0)
			o->stride = 0;
		return 0;
	}
	if (o->chunk)
		return pt_error(err, PT_USAGE, "--chunk is for texts; the pieces of a context are as long as --max-length");
	if (o->stride < 0)
		o->stride = o->max_length / 3 < 128 ? o->max_length / 3 : 128;
	return 0;
}

static int check_only(const struct pt_maker_options *o, struct pt_error *err)
{
	for (const struct pt_maker_only *p = o->only; p && p->option; p++) {
		if (p->given && !(p->tasks >> o->task.task & 1))
			return pt_error(err, PT_USAGE, "%s has no effect with --task %s", p->option, pt_maker_task_name(&o->task));
	}
	return 0;
}

/* Which tensors there are, by task and first line. */
static void find_tensors(struct pt_maker_options *o, const struct pt_sample *first, bool types)
{
	bool contrastive = o->task.task == PT_TASK_CONTRASTIVE, tags = o->task.task == PT_TASK_TOKEN_CLS;

	o->labelled = pt_maker_task_labelled(&o->task) && first->label;
	o->ids_labels = o->task.task == PT_TASK_CAUSAL_LM || (tags && (first->ids ? first->labels : first->tags)) ||
			(o->task.task == PT_TASK_MASKED_LM && first->labels);
	o->spans = o->task.task == PT_TASK_QA && (first->ids ? first->has_span : first->answers != NULL);
	o->decoder = o->task.task == PT_TASK_SEQ2SEQ_LM && (first->ids ? first->labels != NULL : first->completion.s != NULL);
	o->types = types || first->types;
	o->sets = !first->ids && (contrastive || o->task.task == PT_TASK_QA);
	o->groups = o->sets || first->has_group;
	o->weights = contrastive || first->has_weight;
}

int pt_maker_schema(struct pt_maker_options *o, const struct pt_sample *first, struct pt_error *err)
{
	static const int64_t zero[2];
	struct pt_examples x = { .index = zero, .offsets = zero, .source = zero, .row = zero };
	static const int32_t ids[1];
	static const float numbers[1];
	bool types = false, classes = o->task.problem == PT_PROBLEM_SINGLE;
	bool pair = first->pair.s && o->task.task != PT_TASK_CONTRASTIVE, question = o->task.task == PT_TASK_QA && first->question.s;

	if (check_only(o, err) || find_template(o, err) || find_stride(o, err) || check_room(o, err) ||
	    ((pair || question) && find_pair(o, &types, err)) ||
	    (o->task.task == PT_TASK_TOKEN_CLS && pt_maker_words_schema(o, err)))
		return err->status;
	find_tensors(o, first, types);
	x.input_ids = ids;
	x.labels = o->ids_labels ? ids : NULL;
	x.token_type_ids = o->types ? ids : NULL;
	x.decoder_ids = x.decoder_labels = o->decoder ? ids : NULL;
	x.decoder_offsets = o->decoder ? zero : NULL;
	x.span = o->spans ? zero : NULL;
	x.group = o->groups ? zero : NULL;
	x.weight = o->weights ? numbers : NULL;
	if (o->labelled && classes)
		x.cls = ids;
	else if (o->labelled)
		x.target = numbers;
	o->have = pt_gather_have(&x);
	o->k = o->task.problem == PT_PROBLEM_REGRESSION && cJSON_IsArray(first->label) ? cJSON_GetArraySize(first->label) : 1;
	if (o->task.problem == PT_PROBLEM_MULTI)
		o->k = o->labels ? (int64_t)o->labels->n : 0;
	if (!o->labelled || classes)
		o->k = 0;
	return 0;
}
