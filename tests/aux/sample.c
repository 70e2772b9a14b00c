/* SPDX-License-Identifier: MIT */
/*
 * sample.c - writes sample streams of each kind, the same bytes every time, for
 * tests of the tools that read them.
 *
 *     sample [options] examples|batch|metrics|predictions|other|bare
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/bounds.h"
#include "io/kinds.h"
#include "io/stream.h"
#include "tool.h"

static const char *output = "-", *task = "lm", *vocab = "100", *tokenizer = "0123456789abcdef", *options = "";
static const char *extra;
static int64_t count = 12, per = 5, first, wait_ms, total, promise, length = 7, fail_after = -1, nan_at = -1;
static bool zstd, repeat, slower;

static const struct pt_opt opts[] = {
	{ .name = "count", .letter = 'n', .type = PT_OPT_INT, .arg = "N", .value = &count, .max = 1e9, .help = "examples" },
	{ .name = "per", .type = PT_OPT_INT, .arg = "N", .value = &per, .min = 1, .max = 64, .help = "examples a record" },
	{ .name = "first", .type = PT_OPT_INT, .arg = "N", .value = &first, .max = 1e9, .help = "first index" },
	{ .name = "length", .type = PT_OPT_INT, .arg = "N", .value = &length, .min = 1, .max = 4096,
	  .help = "longest example" },
	{ .name = "wait", .type = PT_OPT_INT, .arg = "MS", .value = &wait_ms, .max = 1e6, .help = "before each record" },
	{ .name = "total", .type = PT_OPT_INT, .arg = "N", .value = &total, .max = 1e6, .help = "total_steps of HEAD" },
	{ .name = "promise", .type = PT_OPT_INT, .arg = "N", .value = &promise, .max = 4096, .help = "max_len of HEAD" },
	{ .name = "fail-after", .type = PT_OPT_INT, .arg = "N", .value = &fail_after, .max = 1e6,
	  .help = "FAIL after N records" },
	{ .name = "nan-at", .type = PT_OPT_INT, .arg = "N", .value = &nan_at, .max = 1e6, .help = "a NaN in a bare file" },
	{ .name = "task", .type = PT_OPT_STRING, .arg = "TASK", .value = &task, .help = "lm, class" },
	{ .name = "vocab", .type = PT_OPT_STRING, .arg = "N", .value = &vocab, .help = "vocab_size of HEAD" },
	{ .name = "tokenizer", .type = PT_OPT_STRING, .arg = "ID", .value = &tokenizer, .help = "tokenizer of HEAD" },
	{ .name = "options", .type = PT_OPT_STRING, .arg = "TEXT", .value = &options, .help = "options of HEAD" },
	{ .name = "extra", .type = PT_OPT_STRING, .arg = "TEXT", .value = &extra, .help = "a key unknown to the format" },
	{ .name = "repeat", .type = PT_OPT_FLAG, .value = &repeat, .help = "every third record is the first again" },
	{ .name = "slower", .type = PT_OPT_FLAG, .value = &slower, .help = "other seconds" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "FILE", .value = &output, .help = "output" },
	{ .name = "zstd", .letter = 'z', .type = PT_OPT_FLAG, .value = &zstd, .help = "compress" },
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"sample", "[options] examples|batch|metrics|predictions|other|bare", "Writes a sample.", opts
};

enum { MAX_PER = 64, MAX_LENGTH = 4096 };
static int64_t index_of[MAX_PER], offsets[MAX_PER + 1], group[MAX_PER], source[MAX_PER], row[MAX_PER];
static int32_t ids[MAX_PER * MAX_LENGTH], labels[MAX_PER * MAX_LENGTH], cls[MAX_PER];

static void fill(struct pt_examples *x, int64_t from, int64_t n)
{
	int64_t limit = strtol(vocab, NULL, 10);
	bool class = !strcmp(task, "class");

	*x = (struct pt_examples){ .n = n, .index = index_of, .input_ids = ids, .offsets = offsets, .group = group,
				   .source = source, .row = row };
	for (int64_t i = 0; i < n; i++) {
		int64_t k = from + i, len = 1 + k * 5 % length;

		index_of[i] = k;
		group[i] = k / 2;
		source[i] = k % 2;
		row[i] = k / 2 + 1;
		cls[i] = (int32_t)(k % 3);
		for (int64_t t = 0; t < len; t++, x->tokens++) {
			ids[x->tokens] = (int32_t)((k * 7 + t * 3) % limit);
			labels[x->tokens] = t < len / 2 ? -100 : ids[x->tokens];
		}
		offsets[i + 1] = x->tokens;
	}
	x->labels = class ? NULL : labels;
	x->cls = class ? cls : NULL;
}

static void put_batch(struct pt_st_build *b, int64_t from, int64_t n)
{
	struct pt_examples x;

	fill(&x, from, n);
	x.micros = 2;
	x.step = (from - first) / per / 2 + 1;
	x.micro = (from - first) / per % 2 + 1;
	x.epoch = 1;
	x.step_examples = 2 * per;
	x.step_tokens = 2 * per * 3;
	x.step_weight = (double)x.step_examples;
	pt_examples_build(&x, PT_KIND_BATCH, b);
}

static void put_metrics(struct pt_st_build *b, int64_t k)
{
	static int64_t step, tokens, examples;
	static double loss, lr, norm, seconds, eval;

	step = k + 1;
	tokens = 40 + k;
	examples = 8;
	loss = 3.0 / (double)step;
	lr = 1e-3 * (1.0 - (double)k / (double)count);
	norm = 1.5;
	seconds = (slower ? 1.25 : 0.25) * (double)step;
	eval = loss + 0.5;
	pt_st_build_array(b, "step", PT_I64, 1, &step);
	pt_st_build_array(b, "loss", PT_F64, 1, &loss);
	pt_st_build_array(b, "lr", PT_F64, 1, &lr);
	pt_st_build_array(b, "grad_norm", PT_F64, 1, &norm);
	pt_st_build_array(b, "tokens", PT_I64, 1, &tokens);
	pt_st_build_array(b, "examples", PT_I64, 1, &examples);
	pt_st_build_array(b, "seconds", PT_F64, 1, &seconds);
	if (step % 4 == 0)
		pt_st_build_array(b, "eval_loss", PT_F64, 1, &eval);
}

static void put_predictions(struct pt_st_build *b, int64_t from, int64_t n)
{
	static float probability[MAX_PER], logits[MAX_PER * 3];
	struct pt_predictions p = { .n = n, .k = 3, .index = index_of, .cls = cls, .probability = probability,
				    .logits = logits };

	for (int64_t i = 0; i < n; i++) {
		index_of[i] = from + i;
		cls[i] = (int32_t)((from + i) % 3);
		probability[i] = 0.5f + (float)((from + i) % 4) / 8;
		for (int c = 0; c < 3; c++)
			logits[i * 3 + c] = (float)((from + i + c) % 3);
	}
	pt_predictions_build(&p, b);
}

static void put_other(struct pt_st_build *b, int64_t k)
{
	static float value[6];
	int64_t shape[2] = { 2, 3 };

	for (int i = 0; i < 6; i++)
		value[i] = (float)(k + i) / 4;
	pt_st_build_tensor(b, "value", PT_F32, 2, shape, value);
}

static int put(const char *kind, struct pt_writer *w, int64_t from, int64_t n, struct pt_error *err)
{
	struct pt_st_build b;
	struct pt_examples x;
	int status;

	pt_st_build_init(&b);
	switch (pt_kind_parse(kind)) {
	case PT_KIND_EXAMPLES:
		fill(&x, from, n);
		pt_examples_build(&x, PT_KIND_EXAMPLES, &b);
		break;
	case PT_KIND_BATCH:
		put_batch(&b, from, n);
		break;
	case PT_KIND_METRICS:
		put_metrics(&b, from);
		break;
	case PT_KIND_PREDICTIONS:
		put_predictions(&b, from, n);
		break;
	case PT_KIND_OTHER:
		put_other(&b, from);
		break;
	}
	if (extra)
		pt_st_build_meta(&b, "extra", extra);
	status = pt_writer_data(w, &b, err);
	pt_st_build_release(&b);
	return status;
}

static int head(const char *kind, struct pt_writer *w, struct pt_error *err)
{
	struct pt_st_build b;
	int status;

	pt_st_build_init(&b);
	if (strcmp(kind, "metrics")) {
		pt_st_build_meta(&b, "tokenizer", tokenizer);
		pt_st_build_meta(&b, "vocab_size", vocab);
		pt_st_build_meta(&b, "task", task);
	}
	if (!strcmp(task, "class") || !strcmp(kind, "predictions"))
		pt_st_build_meta(&b, "labels", "[\"bad\",\"fair\",\"good\"]");
	if (!strcmp(kind, "batch"))
		pt_bounds_build(&(struct pt_bounds){ per * length, per, promise ? promise : length, -1, -1 }, &b);
	if (total)
		pt_st_build_meta_int(&b, "total_steps", total);
	if (extra)
		pt_st_build_meta(&b, "extra", extra);
	status = pt_writer_head(w, &b, NULL, 0, options, err);
	pt_st_build_release(&b);
	return status;
}

static int bare(struct pt_error *err)
{
	static float a[12];
	static uint16_t h[6];
	static int64_t big[3] = { -5, 0, INT64_MAX };
	int64_t shape[2] = { 3, 4 };
	struct pt_st_build b;
	int status;

	for (int i = 0; i < 12; i++)
		a[i] = i == nan_at ? (float)strtod("nan", NULL) : (float)(i + first) / 8 - 0.5f;
	for (int i = 0; i < 6; i++)
		h[i] = pt_f32_to_bf16((float)i);
	pt_st_build_init(&b);
	pt_st_build_tensor(&b, "layer.weight", PT_F32, 2, shape, a);
	pt_st_build_array(&b, "half", PT_BF16, 6, h);
	pt_st_build_array(&b, "count", PT_I64, 3, big);
	pt_st_build_array(&b, "empty", PT_F32, 0, a);
	status = pt_st_build_write(&b, output, err);
	pt_st_build_release(&b);
	return status;
}

static int stream(const char *kind, struct pt_error *err)
{
	struct pt_writer_options o = { .path = output, .tool = "sample", .kind = kind, .zstd = zstd };
	bool single = !strcmp(kind, "metrics") || !strcmp(kind, "other");
	struct pt_writer *w = NULL;
	int64_t records = 0, n;

	if (pt_writer_open(&w, &o, err) || head(kind, w, err))
		goto out;
	for (int64_t i = 0; i < count; i += n, records++) {
		n = single ? 1 : count - i < per ? count - i : per;
		if (records == fail_after) {
			pt_error(err, PT_FAIL, "this sample fails");
			break;
		}
		if (wait_ms)
			usleep((useconds_t)wait_ms * 1000);
		if (put(kind, w, repeat && records % 3 == 2 ? first : first + i, n, err))
			break;
	}
	if (!err->status)
		pt_writer_end(w, NULL, NULL, 0, false, err);
out:
	if (err->status && w)
		pt_writer_fail(w, err, NULL);
	pt_writer_close(w);
	return err->status;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	if (t.noperands != 1)
		pt_error(&err, PT_USAGE, "one kind, please");
	else if (!strcmp(t.operand[0], "bare"))
		bare(&err);
	else
		stream(t.operand[0], &err);
	return err.status ? tool_report(&err) : 0;
}
