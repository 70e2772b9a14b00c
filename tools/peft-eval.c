/* SPDX-License-Identifier: MIT */
/*
 * peft-eval.c - how good a model is on a stream of batches, beside the bare
 * base or the majority class; predictions.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "filter.h"
#include "load.h"
#include "tool.h"
#include "train/loop.h"
#include "train/loss.h"
#include "train/predict.h"

static const char *model, *predictions, *device = "auto";
static struct pt_opt_list adapters;
static int64_t threads, mem;
static int dtype;
static bool logits, losses, classes, other_tokenizer, bare = true;

static const struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "the base: a model directory or a name in the hub cache" },
	LOAD_OPTION_ADAPTERS(&adapters),
	{ .name = "predictions", .type = PT_OPT_STRING, .arg = "FILE", .value = &predictions,
	  .help = "write a stream of predictions; - is standard output" },
	{ .name = "logits", .type = PT_OPT_FLAG, .value = &logits, .wants = "predictions",
	  .help = "predictions hold the logits of all classes" },
	{ .name = "loss", .type = PT_OPT_FLAG, .value = &losses, .wants = "predictions",
	  .help = "predictions hold the loss of each example" },
	{ .name = "classes", .type = PT_OPT_FLAG, .value = &classes,
	  .help = "print precision, recall and F1 of each class too" },
	{ .name = "base", .type = PT_OPT_FLAG, .value = &bare, .negatable = true, .wants = "adapter",
	  .help = "evaluate the bare base too where it has a head for the task (default)" },
	{ .name = "other-tokenizer", .type = PT_OPT_FLAG, .value = &other_tokenizer,
	  .help = "take a stream of another tokenizer than the model's" },
	LOAD_OPTION_MEM(&mem), LOAD_OPTION_DTYPE(&dtype), LOAD_OPTION_DEVICE(&device), LOAD_OPTION_THREADS(&threads),
	{ 0 }
};
static const struct pt_opt_spec spec = {
	"peft-eval", "[options] -m DIR [-a DIR ...] [FILE ...]",
	"Evaluates a model and its adapter on a stream of batches.", opts
};

struct job {
	struct load l;
	struct pt_device *plan;
	struct pt_run run;
	struct pt_bounds bounds;	/* that it holds */
	struct pt_evaluator with, base;
	bool compare;			/* the bare base can be evaluated */
	bool bf16;
	struct pt_reader *in;
	struct pt_writer *out;		/* NULL: no predictions */
	struct pt_predict predict;
};

/* Whether the model computes the task without the adapter: its head is not made up. */
static bool has_bare(const struct job *j)
{
	return bare && j->l.adapter && !j->l.info.full && !pt_model_head_is_new(j->l.model);
}

/* Memory for micro-batches within b and those before. */
static int fit(struct job *j, const struct pt_bounds *b, struct pt_error *err)
{
	struct pt_bounds all = j->bounds;
	size_t bytes;
	int st;

	pt_bounds_raise(&all, b);
	if (pt_loss_plan(j->plan, j->l.model, &j->with.feed, &all, false, j->bf16, &bytes, NULL, err))
		return err->status;
	st = pt_model_run(j->l.model, &j->run, bytes, load_mem(&j->l, mem), j->bf16, err);
	if (st == PT_USAGE)
		return pt_error_add(err, ": use peft-batch with a smaller -b or --tokens");
	if (!st)
		j->bounds = all;
	return st;
}

/* What HEAD promises; --stream alone cannot keep to less, so that there what comes is waited for. */
static int fit_head(struct job *j, const struct pt_record *head, struct pt_error *err)
{
	struct pt_bounds b;

	if (pt_loop_bounds(head, &b, err) || !b.tokens || fit(j, &b, err) != PT_USAGE || pt_st_meta(&head->st, "total_steps"))
		return err->status;
	pt_log(PT_WARN, "%s; the stream may never hold such a micro-batch: going on", err->msg);
	*err = (struct pt_error)PT_ERROR_INIT;
	return 0;
}

static int micro_batch(struct job *j, const struct pt_examples *x, struct pt_error *err)
{
	const struct pt_bounds b = pt_bounds_of(x);

	/* A stream that promised less than it holds, or nothing. */
	if (!pt_bounds_hold(&j->bounds, &b) && fit(j, &b, err))
		return err->status;
	if (pt_evaluator_add(&j->with, x, err) || (j->out && pt_predict_add(&j->predict, &j->with, x, err)))
		return err->status;
	if (!j->compare)
		return 0;
	pt_adapter_enable(j->l.adapter, false);
	pt_evaluator_add(&j->base, x, err);
	pt_adapter_enable(j->l.adapter, true);
	return err->status;
}

static int all(struct job *j, struct pt_error *err)
{
	const struct pt_record *rec;
	struct pt_examples x;

	for (;;) {
		if (tool_signal())
			return pt_error(err, PT_STOPPED, "stopped");
		if (pt_reader_data(j->in, &rec, err))
			return err->status;
		if (!rec)
			return 0;
		if (pt_examples_view(&x, PT_KIND_BATCH, &rec->st, err) || micro_batch(j, &x, err))
			return err->status;
	}
}

/* The list of labels is the model's: classes of predictions count by it. */
static int head(struct job *j, const struct pt_record *in, struct pt_error *err)
{
	static const char *const passed[] = { "tokenizer", "vocab_size", "task" };
	struct pt_writer_options o = { .path = predictions, .tool = "peft-eval", .kind = "predictions" };
	struct pt_buf text = PT_BUF_INIT;
	struct pt_st_build b;
	cJSON *list = NULL;
	int st = pt_writer_open(&j->out, &o, err);

	pt_st_build_init(&b);
	for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
		const char *v = pt_st_meta(&in->st, passed[i]);

		if (v)
			pt_st_build_meta(&b, passed[i], v);
	}
	if (!st && j->l.labels) {
		list = cJSON_CreateStringArray((const char *const *)j->l.labels, j->l.feed.nlabels);
		pt_json_print(&text, list, 0);
		st = pt_buf_check(&text, err);
		if (!st)
			pt_st_build_meta(&b, "labels", text.data);
	}
	if (!st)
		st = pt_writer_head(j->out, &b, &in, 1, logits && losses ? "--logits --loss" : logits ? "--logits" :
				    losses ? "--loss" : "", err);
	pt_predict_init(&j->predict, j->out, logits, losses);
	pt_st_build_release(&b);
	pt_buf_release(&text);
	cJSON_Delete(list);
	return st;
}

static void print_classes(const struct job *j, FILE *f)
{
	struct pt_buf name = PT_BUF_INIT;
	double p, r, f1;

	if (!classes)
		return;
	fprintf(f, "\nclass\texamples\tprecision\trecall\tf1\n");
	for (int c = 0; c < j->l.feed.nlabels; c++) {
		int64_t n = pt_measure_class(&j->with.measure, c, &p, &r, &f1);

		pt_buf_clear(&name);
		if (j->l.labels && j->l.labels[c])
			pt_buf_printable(&name, j->l.labels[c], strlen(j->l.labels[c]));
		else
			pt_buf_printf(&name, "%d", c);
		fprintf(f, "%s", name.data ? name.data : "");
		fprintf(f, "\t%lld\t%.6g\t%.6g\t%.6g\n", (long long)n, p, r, f1);
	}
	pt_buf_release(&name);
}

/* A line a result; beside it that of the base, else how often the most frequent class occurs. */
static void print(const struct job *j, FILE *f)
{
	const struct pt_measure *m = &j->with.measure;
	bool majority = !j->compare && pt_task_labels(j->l.feed.task) && j->l.feed.problem == PT_PROBLEM_SINGLE;
	const char *name;
	double v, other;
	int which;

	fprintf(f, "metric\t%s%s\n", adapters.n ? "adapter" : "model", j->compare ? "\tbase" : majority ? "\tmajority" : "");
	fprintf(f, "examples\t%lld\ntokens\t%lld\n", (long long)m->examples, (long long)m->tokens);
	if (m->targets)
		fprintf(f, "targets\t%lld\n", (long long)m->targets);
	for (int i = 0; (name = pt_measure_result(m, i, &v)); i++) {
		fprintf(f, "%s\t%.6g", name, v);
		if (j->compare && pt_measure_result(&j->base.measure, i, &other))
			fprintf(f, "\t%.6g", other);
		else if (majority && !strcmp(name, "accuracy"))
			fprintf(f, "\t%.6g", pt_measure_majority(m, &which));
		putc('\n', f);
	}
	print_classes(j, f);
}

static int start(struct job *j, const struct pt_tool *t, struct pt_error *err)
{
	struct load_options o = { .model = model, .adapter = adapters.item, .nadapters = adapters.n, .device = device,
				  .threads = (int)threads,
				  .other_tokenizer = other_tokenizer };

	if (pt_reader_open(&j->in, (const char *const *)t->operand, t->noperands, "batch", 0, err) ||
	    pt_reader_head(j->in, &o.head, err))
		return err->status;
	if (!o.head)
		return pt_error(err, PT_DATA, "%s: no HEAD begins it", pt_reader_name(j->in));
	if (pt_loop_some(o.head, pt_reader_name(j->in), err) || load_open(&j->l, &o, err) || pt_device_plan(&j->plan, j->l.dev, err))
		return err->status;
	if (classes && (!pt_task_labels(j->l.feed.task) || j->l.feed.problem == PT_PROBLEM_REGRESSION))
		return pt_error(err, PT_USAGE, "--classes: the task %s has no classes",
				j->l.feed.problem == PT_PROBLEM_REGRESSION ? "regression" : pt_task_name(j->l.feed.task));
	if (logits && (pt_task_per_token(j->l.feed.task) || pt_task_outputs(j->l.feed.task)))
		return pt_error(err, PT_USAGE, "--logits: predictions of the task %s hold none", pt_task_name(j->l.feed.task));
	j->bf16 = load_bf16(&j->l, dtype);
	j->compare = has_bare(j);
	j->l.model->router_loss = pt_model_router_factor(j->l.model);
	pt_log(PT_FACT, "%s: %s", j->l.dev->name, j->l.dev->path);
	if (pt_evaluator_init(&j->with, &j->run, j->l.model, &j->l.feed, err) ||
	    pt_evaluator_init(&j->base, &j->run, j->l.model, &j->l.feed, err) || fit_head(j, o.head, err))
		return err->status;
	return predictions ? head(j, o.head, err) : 0;
}

static int run(struct job *j, const struct pt_tool *t, struct pt_error *err)
{
	int st;

	if (!model)
		return pt_error(err, PT_USAGE, "-m DIR is needed");
	st = predictions ? tool_check_output(predictions, err) : 0;
	if (!st)
		st = tool_check_same(predictions, t->operand, t->noperands, err);
	if (!st)
		st = tool_check_input(t->operand, t->noperands, err);
	if (!st)
		st = start(j, t, err);
	if (!st)
		st = all(j, err);
	if (!st && j->out)
		st = pt_predict_flush(&j->predict, err);
	if (!st && j->out)
		st = pt_writer_end(j->out, NULL, &j->in, 1, pt_reader_limited(j->in), err);
	if (st)
		return st;
	/* Standard output is the predictions' where they go there. */
	print(j, predictions && !strcmp(predictions, "-") ? stderr : stdout);
	return isfinite(j->with.measure.loss) ? 0 :
	       pt_error(err, PT_NUMERIC, "the loss is not finite: peft-view --stats finds such values in %s",
			adapters.n ? "the adapter or the model" : "the model");
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct job j = { 0 };
	struct pt_tool t;
	int st;

	tool_init(&t, &spec, argc, argv);
	tool_catch_signals_briefly();
	st = run(&j, &t, &err);
	pt_predict_release(&j.predict);
	pt_evaluator_release(&j.with);
	pt_evaluator_release(&j.base);
	if (j.run.dev)
		pt_run_release(&j.run);
	load_close(&j.l);
	pt_opt_list_release(&adapters);
	if (j.plan)
		pt_device_close(j.plan);
	filter_end(j.out, &j.in, 1, &err);
	if (st)
		return st;
	if (tool_finish(&err))
		tool_report(&err);
	return err.status;
}
