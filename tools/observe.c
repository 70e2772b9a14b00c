/* SPDX-License-Identifier: MIT */
/*
 * observe.c - see observe.h.
 */
#include "observe.h"

#include <stdlib.h>
#include <string.h>

#include "io/kinds.h"
#include "tool.h"
#include "train/loop.h"
#include "train/loss.h"

/* A tokenizer belongs to a model if it is that of the model's directory; where there is none, if its ids fit. */
static int check_tokenizer(const struct observe *o, const struct pt_record *head, struct pt_error *err)
{
	const char *digest = pt_st_meta(&head->st, "tokenizer");
	struct pt_tokenizer *tok = NULL;
	struct pt_hex own;

	if (!digest || !pt_tokenizer_exists(o->dir->path))
		return 0;
	if (pt_tokenizer_open(&tok, o->dir->path, err))
		return err->status;
	own = pt_hex64(pt_tokenizer_digest(tok));
	pt_tokenizer_close(tok);
	return strcmp(own.s, digest) ? pt_error(err, PT_USAGE, "the stream was tokenized with another tokenizer (%.16s) than that of %s (%s)",
						digest, o->dir->path, own.s) : 0;
}

/* The task of the model is what the stream is for. */
static int check_task(const struct observe *o, const struct pt_record *head, struct pt_error *err)
{
	const char *name = pt_st_meta(&head->st, "task"), *own = pt_task_name(o->model->task);
	int task = name ? pt_task_parse(name) : -1;

	if (name && task < 0)
		return pt_error(err, PT_USAGE, "the stream is for the task %.40s, which is not supported", name);
	if (name && task != (int)o->model->task)
		return pt_error(err, PT_USAGE, "the stream is for the task %s, %s for %s; use --task %s or peft-tokenize --task %s",
				name, o->dir->given, own, name, own);
	return 0;
}

/* Memory for micro-batches within b and those before. */
static int fit(struct observe *o, const struct pt_bounds *b, struct pt_error *err)
{
	size_t bytes;

	pt_bounds_raise(&o->bounds, b);
	if (pt_loss_plan(o->plan, o->model, &o->feed, &o->bounds, false, false, &bytes, NULL, err))
		return err->status;
	return pt_model_run(o->model, &o->run, bytes, 0, false, err);
}

static int start(struct observe *o, struct pt_error *err)
{
	struct pt_feed_options f = { .task = o->model->task, .nlabels = o->model->num_labels,
				     .decoder_start = (int32_t)o->model->cfg.decoder_start };
	const struct pt_record *head;
	struct pt_bounds b;
	const char *name;

	if (tool_check_input(o->path, o->npaths, err) || pt_reader_open(&o->in, (const char *const *)o->path, o->npaths, "batch", 0, err) ||
	    pt_reader_head(o->in, &head, err))
		return err->status;
	if (!head)
		return pt_error(err, PT_DATA, "%s: no HEAD begins it", pt_reader_name(o->in));
	name = pt_st_meta(&head->st, "task");
	if (o->model->task == PT_TASK_SEQ_CLS && name)
		f.problem = pt_task_parse_problem(name);
	if (o->model->task == PT_TASK_SEQ_CLS && f.problem == PT_PROBLEM_UNSET)
		f.problem = PT_PROBLEM_SINGLE;
	if (check_task(o, head, err) || check_tokenizer(o, head, err) || pt_device_plan(&o->plan, o->model->dev, err) || pt_feed_init(&o->feed, &f, err) ||
	    pt_loop_bounds(head, &b, err))
		return err->status;
	return b.tokens > 0 ? fit(o, &b, err) : 0;
}

int observe_next(void *arg, struct pt_run **run, const struct pt_input **in, struct pt_error *err)
{
	struct observe *o = arg;
	const struct pt_record *rec;
	struct pt_bounds b;
	struct pt_examples x;

	*in = NULL;
	if (!o->in && start(o, err))
		return err->status;
	if (tool_signal())
		return pt_error(err, PT_STOPPED, "stopped");
	if (pt_reader_data(o->in, &rec, err) || !rec)
		return err->status;
	if (pt_examples_view(&x, PT_KIND_BATCH, &rec->st, err))
		return err->status;
	b = pt_bounds_of(&x);
	/* A stream that promised less than it holds, or nothing. */
	if (!pt_bounds_hold(&o->bounds, &b) && fit(o, &b, err))
		return err->status;
	pt_run_reset(&o->run);
	if (pt_feed_fill(&o->feed, &o->run, &x, err))
		return err->status;
	*run = &o->run;
	*in = &o->feed.in;
	return 0;
}

void observe_release(struct observe *o)
{
	if (!o->in)
		return;
	pt_feed_release(&o->feed);
	if (o->run.dev)
		pt_run_release(&o->run);
	if (o->plan)
		pt_device_close(o->plan);
	pt_reader_close(o->in);
}
