/* SPDX-License-Identifier: MIT */
/*
 * adapter.c - for tests/golden/exchange_peft.py: the logits of a model with
 * an adapter on it, and the adapter written again.
 *
 *     adapter MODEL ADAPTER IN.safetensors OUT.safetensors SAVE
 *
 * ADAPTER may be BELOW:...:ADAPTER, a stack, of which the last is written.
 * IN holds ids [N] (I32) and cu [B+1] (I32) of packed sequences; OUT gets
 * logits of all rows, or of the sequences where the task is classification.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter.h"

struct job {
	struct pt_device *dev;
	struct pt_modeldir base;
	struct pt_adapter_info info;
	struct pt_model *model;
	struct pt_adapter *adapter;
	struct pt_run run;
	struct pt_st in;
};

/* The directories of a stack. */
static int split(char *text, const char *dir[8])
{
	int n = 0;

	for (char *part = strtok(text, ":"); part && n < 8; part = strtok(NULL, ":"))
		dir[n++] = part;
	return n;
}

static int open_all(struct job *j, char **arg, struct pt_error *err)
{
	struct pt_model_options o = { .head_may_lack = true };
	const char *dir[8];
	int st, n = split(arg[2], dir);

	if (!n)
		return pt_error(err, PT_USAGE, "no adapter");
	if ((st = pt_adapter_peek(dir[n - 1], &j->info, err)) ||
	    (st = pt_modeldir_open(&j->base, j->info.full ? dir[n - 1] : arg[1], 0, err)) ||
	    (st = pt_device_open(&j->dev, "cpu", &(struct pt_device_options){ .threads = 1 }, err)))
		return st;
	o.task = j->info.task;
	o.num_labels = j->info.nlabels;
	o.head = j->info.head.out ? &j->info.head : NULL;
	if ((st = pt_model_open(&j->model, j->dev, &j->base, &o, err)) ||
	    (st = pt_adapter_open_stack(&j->adapter, j->model, dir, n, true, err)) ||
	    (st = pt_run_init(&j->run, j->dev, (size_t)256 << 20, err)))
		return st;
	return pt_st_open(&j->in, arg[3], err);
}

static const void *put(struct job *j, const void *host, size_t bytes)
{
	return pt_run_upload(&j->run, host, bytes);
}

static struct pt_tensor *forward(struct job *j, int32_t *row, int32_t *pos)
{
	const struct pt_st_tensor *ids = pt_st_find(&j->in, "ids"), *cu = pt_st_find(&j->in, "cu");
	const int32_t *c = cu->data;
	struct pt_input in = { .host_ids = ids->data };
	struct pt_tensor *h;
	int max = 0;

	for (size_t b = 0; b + 1 < cu->count; b++) {
		for (int32_t i = c[b]; i < c[b + 1]; i++)
			pos[i] = i - c[b];
		max = c[b + 1] - c[b] > max ? c[b + 1] - c[b] : max;
	}
	in.rows = (struct pt_rows){ .n = (int64_t)ids->count, .batch = (int)cu->count - 1, .max_len = max,
				    .host_cu = c, .cu = put(j, c, cu->bytes), .pos = put(j, pos, ids->bytes) };
	in.ids = put(j, ids->data, ids->bytes);
	h = pt_model_hidden(&j->run, j->model, &in);
	if (j->model->task == PT_TASK_CONTRASTIVE)
		return pt_model_embed(&j->run, j->model, &in, h);
	if (!pt_task_vocab(j->model->task) || j->model->task == PT_TASK_MASKED_LM)
		return pt_model_classify(&j->run, j->model, &in, h);
	/* Those of virtual tokens too. */
	for (int64_t i = 0; h && i < h->shape[0]; i++)
		row[i] = (int32_t)i;
	return h ? pt_model_logits(&j->run, j->model, h, put(j, row, (size_t)h->shape[0] * sizeof *row), h->shape[0]) : NULL;
}

static int run(struct job *j, char **arg, struct pt_error *err)
{
	struct pt_st_build b;
	struct pt_tensor *y;
	int32_t *row, *pos;
	float *out;
	int st = open_all(j, arg, err);

	if (st)
		return st;
	row = pt_malloc(1 << 16, sizeof *row, err);
	pos = pt_malloc(1 << 16, sizeof *pos, err);
	y = forward(j, row, pos);
	st = pt_run_check(&j->run, err);
	free(row);
	free(pos);
	if (st)
		return st;
	out = pt_malloc((size_t)pt_tensor_count(y), sizeof *out, err);
	st = pt_tensor_read(&j->run, y, out, err);
	pt_st_build_init(&b);
	pt_st_build_tensor(&b, "logits", PT_F32, 2, y->shape, out);
	if (!st)
		st = pt_st_build_write(&b, arg[4], err);
	pt_st_build_release(&b);
	free(out);
	if (!st && !(st = pt_dir_make(arg[5], err)))
		st = pt_adapter_save(j->adapter, arg[5], PT_SAVE_ALL, err);
	return st;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct job j = { 0 };
	int st;

	if (argc != 6)
		return PT_USAGE;
	st = run(&j, argv, &err);
	if (st)
		fprintf(stderr, "adapter: %s\n", err.msg);
	pt_adapter_close(j.adapter);
	if (j.dev)
		pt_run_release(&j.run);
	pt_model_close(j.model);
	pt_st_release(&j.in);
	pt_modeldir_close(&j.base);
	pt_adapter_info_release(&j.info);
	if (j.dev)
		pt_device_close(j.dev);
	return st;
}
