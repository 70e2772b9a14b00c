/* SPDX-License-Identifier: MIT */
/*
 * train_fix.h - what the tests of training share: the examples' base model
 * with a LoRA adapter, streams of micro-batches made from a few numbers, and
 * a directory to write in.
 */
#ifndef PT_TRAIN_FIX_H
#define PT_TRAIN_FIX_H

#include "test.h"

#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "io/kinds.h"
#include "io/stream.h"
#include "train/loop.h"

#define FIX_UNUSED __attribute__((unused))
#define FIX_LORA "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":4,\"lora_alpha\":8,\"lora_dropout\":0.1," \
	"\"target_modules\":[\"q_proj\",\"v_proj\"]}"
#define FIX_CLASS "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\",\"r\":4,\"target_modules\":[\"q_proj\",\"v_proj\"]}"

static struct pt_error err FIX_UNUSED;
static char dir[200] FIX_UNUSED;
static uint64_t fix_salt FIX_UNUSED;	/* other ids of the same lengths */

struct tfix {
	struct pt_device *dev, *plan;
	struct pt_modeldir base;
	struct pt_model *m;
	struct pt_adapter *a;
	struct pt_step s;
};

static const struct pt_adamw fix_adamw FIX_UNUSED = { 0.9, 0.999, 1e-8, 0, 1 };

/* A device, the base for a task, a fresh adapter, and a step over it. */
static void tfix_open(struct tfix *x, const char *device, const char *config, enum pt_task task, int nlabels) FIX_UNUSED;
static void tfix_open(struct tfix *x, const char *device, const char *config, enum pt_task task, int nlabels)
{
	struct pt_model_options mo = { .task = task, .num_labels = nlabels, .head_may_lack = true, .seed = 5 };
	struct pt_device_options d = { .threads = 1 };
	struct pt_feed_options fo = { .task = task, .problem = nlabels ? PT_PROBLEM_SINGLE : PT_PROBLEM_UNSET,
				      .nlabels = nlabels, .seed = 11 };
	cJSON *j;

	memset(x, 0, sizeof *x);
	err = (struct pt_error)PT_ERROR_INIT;
	if (!strcmp(device, "cpu") && getenv("PEFT_TEST_DEVICE"))
		device = getenv("PEFT_TEST_DEVICE");
	assert_ok(pt_device_open(&x->dev, device, &d, &err), &err);
	assert_ok(pt_device_plan(&x->plan, x->dev, &err), &err);
	assert_ok(pt_modeldir_open(&x->base, "tests/data/examples/base", 0, &err), &err);
	assert_ok(pt_model_open(&x->m, x->dev, &x->base, &mo, &err), &err);
	j = pt_json_parse(config, strlen(config), 0, "test", &err);
	assert_non_null(j);
	assert_ok(pt_adapter_new(&x->a, x->m, j, 7, NULL, &err), &err);
	assert_ok(pt_step_init(&x->s, x->m, x->a, &x->a->params, x->dev, x->plan, &fo, &fix_adamw, false, &err), &err);
}

static void tfix_close(struct tfix *x) FIX_UNUSED;
static void tfix_close(struct tfix *x)
{
	pt_step_release(&x->s);
	pt_adapter_close(x->a);
	pt_model_close(x->m);
	pt_modeldir_close(&x->base);
	assert_int_equal(x->dev->used, 0);
	pt_device_close(x->plan);
	pt_device_close(x->dev);
}

/* Examples of a micro-batch: lengths around len, ids and labels from their index. */
#define FIX_MOST 16
struct tbatch {
	struct pt_examples x;
	int64_t index[FIX_MOST], offsets[FIX_MOST + 1];
	int32_t ids[FIX_MOST * 64], labels[FIX_MOST * 64], cls[FIX_MOST];
};

static void tbatch_make(struct tbatch *b, int64_t first, int n, int len, bool classes) FIX_UNUSED;
static void tbatch_make(struct tbatch *b, int64_t first, int n, int len, bool classes)
{
	memset(b, 0, sizeof *b);
	b->x = (struct pt_examples){ .n = n, .index = b->index, .input_ids = b->ids, .offsets = b->offsets,
				     .step = 1, .micro = 1, .micros = 1, .epoch = 1, .step_examples = n,
				     .step_weight = n };
	for (int e = 0; e < n; e++) {
		uint64_t key = pt_rng_mix(3, (uint64_t)(first + e));
		int64_t at = b->offsets[e], k = 2 + (int64_t)pt_rng_below(key, 0, (uint64_t)len - 1);

		b->index[e] = first + e;
		b->cls[e] = (int32_t)((first + e) % 3);
		for (int64_t t = 0; t < k; t++) {
			b->ids[at + t] = (int32_t)pt_rng_below(pt_rng_mix(key, fix_salt), (uint64_t)t + 1, 320);
			b->labels[at + t] = t < 1 ? -100 : b->ids[at + t];
			b->x.step_tokens += t >= 1;
		}
		b->offsets[e + 1] = at + k;
	}
	b->x.tokens = b->offsets[n];
	if (classes)
		b->x.cls = b->cls;
	else
		b->x.labels = b->labels;
}

/* A stream of steps micro-batches of n examples each in a file; steps beyond total fail the reader's user. */
static void tstream_write(const char *path, int steps, int micros, int n, int len, int total) FIX_UNUSED;
static void tstream_write(const char *path, int steps, int micros, int n, int len, int total)
{
	struct pt_writer_options o = { .path = path, .tool = "test", .kind = "batch" };
	struct tbatch *b = calloc((size_t)micros, sizeof *b);
	struct pt_st_build head, rec;
	struct pt_writer *w;
	char number[32];

	pt_st_build_init(&head);
	pt_st_build_init(&rec);
	assert_ok(pt_writer_open(&w, &o, &err), &err);
	pt_st_build_meta(&head, "task", "lm");
	snprintf(number, sizeof number, "%d", n * len);
	pt_st_build_meta(&head, "max_tokens", number);
	snprintf(number, sizeof number, "%d", n);
	pt_st_build_meta(&head, "max_seqs", number);
	snprintf(number, sizeof number, "%d", len);
	pt_st_build_meta(&head, "max_len", number);
	snprintf(number, sizeof number, "%d", total);
	if (total)
		pt_st_build_meta(&head, "total_steps", number);
	assert_ok(pt_writer_head(w, &head, NULL, 0, "", &err), &err);
	for (int s = 0; s < steps; s++) {
		int64_t tokens = 0;

		for (int k = 0; k < micros; k++) {
			tbatch_make(&b[k], (int64_t)(s * micros + k) * n, n, len, false);
			tokens += b[k].x.step_tokens;
		}
		for (int k = 0; k < micros; k++) {
			b[k].x.step = s + 1;
			b[k].x.micro = k + 1;
			b[k].x.micros = micros;
			b[k].x.step_tokens = tokens;
			b[k].x.step_examples = (int64_t)n * micros;
			b[k].x.step_weight = (double)n * micros;
			pt_st_build_clear(&rec);
			pt_examples_build(&b[k].x, PT_KIND_BATCH, &rec);
			assert_ok(pt_writer_data(w, &rec, &err), &err);
		}
	}
	assert_ok(pt_writer_end(w, NULL, NULL, 0, false, &err), &err);
	pt_writer_close(w);
	pt_st_build_release(&head);
	pt_st_build_release(&rec);
	free(b);
}

static int make_dir(void **state) FIX_UNUSED;
static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/peft-train.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	return 0;
}

static int drop_dir(void **state) FIX_UNUSED;
static int drop_dir(void **state)
{
	(void)state;
	assert_ok(pt_dir_remove(dir, &err), &err);
	return 0;
}

static const char *in_dir(const char *name) FIX_UNUSED;
static const char *in_dir(const char *name)
{
	static char path[8][300];
	static int i;

	i = (i + 1) % 8;
	snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
	return path[i];
}

#endif
