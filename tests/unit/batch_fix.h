/* SPDX-License-Identifier: MIT */
/*
 * batch_fix.h - for data_batch.c: a stream of examples with given lengths and
 * groups, and what was read of the batches made of it; what holds of every
 * stream of batches is checked while it is read.
 */
#ifndef BATCH_FIX_H
#define BATCH_FIX_H

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/batch.h"
#include "io/kinds.h"
#include "test.h"

enum { MAX = 6000, LEN = 700 };

/* The examples of a test: lengths, groups (-1: no tensor), weights. */
struct input {
	int n;
	bool groups, weights, decoder;
	int segments;
	const char *task;
	const char *max_len, *max_decoder_len;	/* of HEAD; NULL: it does not say */
	int64_t len[MAX], group[MAX];
};

static char in_path[64], out_path[64];
static struct input input;
static const struct pt_batch_options by8 = { .examples = 8, .accumulate = 1, .epochs = 1, .memory = 1 << 20 };

static void put_segment(struct pt_buf *all, const struct input *in, int from, int to)
{
	struct pt_writer_options o = { .path = in_path, .tool = "test", .kind = "examples" };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_writer *w;
	struct pt_st_build b;

	assert_ok(pt_writer_open(&w, &o, &err), &err);
	pt_st_build_init(&b);
	pt_st_build_meta(&b, "task", in->task ? in->task : "lm");
	if (in->max_len)
		pt_st_build_meta(&b, "max_len", in->max_len);
	if (in->max_decoder_len)
		pt_st_build_meta(&b, "max_decoder_len", in->max_decoder_len);
	assert_ok(pt_writer_head(w, &b, NULL, 0, "", &err), &err);
	pt_st_build_release(&b);
	for (int i = from; i < to; i++) {
		static int32_t ids[LEN], labels[LEN];
		int64_t index = i - from, source = 0, offsets[2] = { 0, in->len[i] }, half[2] = { 0, in->len[i] / 2 };
		float weight = 0.5f + (float)(i % 4);
		struct pt_examples x = { .n = 1, .tokens = in->len[i], .index = &index, .input_ids = ids,
					 .labels = labels, .offsets = offsets, .source = &source };

		for (int64_t t = 0; t < in->len[i]; t++) {
			ids[t] = (int32_t)(i % 1000);
			labels[t] = t % 3 == 1 ? -100 : ids[t];
		}
		x.group = in->groups ? &in->group[i] : NULL;
		x.weight = in->weights ? &weight : NULL;
		if (in->decoder) {
			x.decoder_ids = ids;
			x.decoder_offsets = half;
			x.decoder_tokens = half[1];
		}
		pt_st_build_init(&b);
		pt_examples_build(&x, PT_KIND_EXAMPLES, &b);
		assert_ok(pt_writer_data(w, &b, &err), &err);
		pt_st_build_release(&b);
	}
	assert_ok(pt_writer_end(w, NULL, NULL, 0, false, &err), &err);
	pt_writer_close(w);
	assert_ok(pt_file_read(in_path, 1u << 30, all, &err), &err);
}

static void put_input(const struct input *in)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf all = PT_BUF_INIT, one = PT_BUF_INIT;
	int k = in->segments ? in->segments : 1;

	for (int s = 0; s < k; s++) {
		put_segment(&one, in, in->n * s / k, in->n * (s + 1) / k);
		pt_buf_add(&all, one.data, one.len);
		pt_buf_clear(&one);
	}
	assert_ok(pt_file_write(in_path, all.data, all.len, &err), &err);
	pt_buf_release(&all);
	pt_buf_release(&one);
}

static int run(const struct pt_batch_options *o, struct pt_error *err)
{
	struct pt_writer_options to = { .path = out_path, .tool = "peft-batch", .kind = "batch" };
	const char *paths[] = { in_path };
	struct pt_reader *r = NULL;
	struct pt_writer *w = NULL;

	*err = (struct pt_error)PT_ERROR_INIT;
	if (!pt_writer_open(&w, &to, err) && !pt_reader_open(&r, paths, 1, "examples", 0, err))
		pt_batch_run(o, r, w, err);
	pt_writer_close(w);
	pt_reader_close(r);
	return err->status;
}

/* What came out. */
static struct {
	int64_t micros, steps, examples, tokens;
	int64_t max_tokens, max_seqs, max_len, max_decoder_tokens, total;	/* of HEAD, -1: absent */
	int64_t seen_tokens, seen_seqs, seen_len;
	bool limited;
	int64_t order[MAX * 4], size[MAX * 4];			/* index of each example, of each micro-batch tokens */
	int epoch_of[MAX * 4];
} got;

static int64_t meta(const struct pt_record *rec, const char *key)
{
	const char *v = pt_st_meta(&rec->st, key);

	return v ? atoll(v) : -1;
}

static void raise_to(int64_t *max, int64_t v)
{
	*max = v > *max ? v : *max;
}

/* Denominators are those of the step; steps have no gaps; a step has one epoch. */
static void check_micro(const struct pt_examples *x, struct pt_examples *step)
{
	if (x->micro == 1) {
		assert_int_equal(x->step, step->step + 1);
		*step = *x;
		step->n = step->tokens = 0;
		step->step_weight = 0;
		got.steps++;
	}
	assert_int_equal(x->step, step->step);
	assert_int_equal(x->epoch, step->epoch);
	assert_int_equal(x->micros, step->micros);
	assert_int_equal(x->step_examples, step->step_examples);
	assert_int_equal(x->step_tokens, step->step_tokens);
	step->n += x->n;
	for (int64_t i = 0; i < x->n; i++) {
		int64_t from = x->offsets[i], to = x->offsets[i + 1];

		step->step_weight += x->weight ? (double)x->weight[i] : 1;
		raise_to(&got.seen_len, to - from);
		/* lm: the first token is no target; seq2seq: all decoder tokens are. */
		for (int64_t t = from + 1; t < to && !x->decoder_ids; t++)
			step->tokens += x->labels[t] != -100;
		if (x->decoder_ids)
			step->tokens += x->decoder_offsets[i + 1] - x->decoder_offsets[i];
		got.order[got.examples + i] = x->index[i];
		got.epoch_of[got.examples + i] = (int)x->epoch;
		for (int64_t t = from; t < to; t++)
			assert_int_equal(x->input_ids[t], x->index[i] % 1000);
	}
	if (x->micro == x->micros) {
		assert_int_equal(step->n, x->step_examples);
		assert_int_equal(step->tokens, x->step_tokens);
		assert_true(step->step_weight == x->step_weight);
	}
}

static void read_output(void)
{
	struct pt_error err = PT_ERROR_INIT;
	const struct pt_record *rec;
	const char *paths[] = { out_path };
	struct pt_examples step = { 0 }, x;
	struct pt_reader *r;

	memset(&got, 0, sizeof got);
	assert_ok(pt_reader_open(&r, paths, 1, "batch", 0, &err), &err);
	for (;;) {
		assert_ok(pt_reader_next(r, &rec, &err), &err);
		if (!rec)
			break;
		if (rec->type == PT_HEAD) {
			got.max_tokens = meta(rec, "max_tokens");
			got.max_seqs = meta(rec, "max_seqs");
			got.max_len = meta(rec, "max_len");
			got.max_decoder_tokens = meta(rec, "max_decoder_tokens");
			got.total = meta(rec, "total_steps");
		} else if (rec->type == PT_RECORD) {
			assert_ok(pt_examples_view(&x, PT_KIND_BATCH, &rec->st, &err), &err);
			check_micro(&x, &step);
			raise_to(&got.seen_tokens, x.tokens);
			raise_to(&got.seen_seqs, x.n);
			got.size[got.micros++] = x.tokens;
			got.examples += x.n;
			got.tokens += x.tokens;
		}
	}
	got.limited = pt_reader_limited(r);
	pt_reader_close(r);
}

#endif
