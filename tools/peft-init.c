/* SPDX-License-Identifier: MIT */
/*
 * peft-init.c - a fresh adapter directory, or a model directory that trains
 * itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "initconfig.h"
#include "labels.h"
#include "load.h"
#include "newdir.h"
#include "observe.h"
#include "peft/adapter.h"
#include "text/tokenizer.h"
#include "tool.h"

static struct init_options init;
static struct pt_buf method_help = PT_BUF_INIT;
static const char *model, *output, *task, *labels, *base_name, *modules;
static int64_t num_labels, seed, threads;
static bool force;

/* Its own; those of the methods come behind them. */
static struct pt_opt opts[] = {
	{ .name = "model", .letter = 'm', .type = PT_OPT_STRING, .arg = "DIR", .value = &model,
	  .help = "the base: a model directory or a name in the hub cache" },
	{ .name = "output", .letter = 'o', .type = PT_OPT_STRING, .arg = "DIR", .value = &output,
	  .help = "the directory to make" },
	{ .name = "method", .letter = 't', .type = PT_OPT_STRING, .arg = "NAME", .value = &init.method,
	  .help = "" },
	{ .name = "task", .type = PT_OPT_STRING, .arg = "TASK", .value = &task,
	  .help = "lm, class, regression, multilabel, token-class, mlm, seq2seq, qa, contrastive (that of the model)" },
	{ .name = "labels", .type = PT_OPT_STRING, .arg = "A,B|FILE", .value = &labels,
	  .help = "class names, or a file with one a line" },
	{ .name = "num-labels", .type = PT_OPT_INT, .arg = "N", .value = &num_labels, .min = 1, .max = 1 << 20,
	  .help = "number of classes without names, or of values" },
	{ .name = "modules", .type = PT_OPT_STRING, .arg = "LIST", .value = &modules,
	  .help = "full: modules that train (all)" },
	{ .name = "config", .type = PT_OPT_STRING, .arg = "FILE", .value = &init.config,
	  .help = "an adapter_config.json to start from; options override" },
	{ .name = "base-name", .type = PT_OPT_STRING, .arg = "NAME", .value = &base_name,
	  .help = "name of the base to write instead of that of -m" },
	LOAD_OPTION_THREADS(&threads),
	{ .name = "seed", .letter = 's', .type = PT_OPT_INT, .arg = "N", .value = &seed, .max = 9e15,
	  .help = "seed of the fresh values (0)" },
	{ .name = "force", .letter = 'f', .type = PT_OPT_FLAG, .value = &force,
	  .help = "replace a directory that holds something else" },
	{ 0 }
};
static struct pt_opt_spec spec = {
	"peft-init", "[options] -m DIR -o DIR [FILE ...]", "Makes a fresh adapter for a model, or a model directory to be trained.", NULL
};

/* All that is open. */
struct job {
	struct pt_device *dev;
	struct pt_modeldir base;
	struct pt_model *model;
	struct pt_adapter *adapter;
	char **labels;
	int nlabels;
	enum pt_problem problem;
	bool full;
	struct observe observe;
};

/* Task from --task, else from the labels, else from the class that config.json names. */
static int find_task(struct job *j, const struct pt_config *cfg, enum pt_task *out, struct pt_error *err)
{
	int t = task ? pt_task_parse(task) : j->nlabels ? PT_TASK_SEQ_CLS : (int)cfg->task;

	if (t < 0)
		return pt_error(err, PT_USAGE, "task '%s' is not known", task);
	if (t == PT_TASK_NONE && !task)
		return pt_error(err, PT_USAGE, "%s has no task head: say what it is trained for with --task lm or --task class",
				model);
	*out = (enum pt_task)t;
	j->problem = task ? pt_task_parse_problem(task) : PT_PROBLEM_UNSET;
	if (pt_task_labels(*out))
		return 0;
	return j->nlabels ? pt_error(err, PT_USAGE, "labels are of no use to the task %s", pt_task_name(*out)) : 0;
}

static int find_labels(struct job *j, struct pt_error *err)
{
	if (labels && labels_parse(labels, &j->labels, &j->nlabels, err))
		return err->status;
	if (labels && num_labels && num_labels != j->nlabels)
		return pt_error(err, PT_USAGE, "--labels names %d classes, --num-labels says %lld", j->nlabels,
				(long long)num_labels);
	if (!labels)
		j->nlabels = (int)num_labels;
	return 0;
}

/* Names for a head: those given, else those of a base that has this head already. */
static int name_labels(struct job *j, struct pt_error *err)
{
	const struct pt_config *cfg = &j->model->cfg;
	char *const *name = j->labels;
	bool have = cfg->label && cfg->num_labels == j->model->num_labels;

	if (!pt_task_labels(j->model->task))
		return 0;
	if (!j->nlabels && pt_model_head_is_new(j->model) && !(have && !j->base.weights))
		return pt_error(err, PT_USAGE, "%s has no classification head: give --labels A,B or --num-labels N", model);
	if (!name && !num_labels && have)
		name = cfg->label;
	if (!name)
		return 0;
	return pt_adapter_set_labels(j->adapter, (const char *const *)name, j->model->num_labels, err);
}

static int open_model(struct job *j, struct pt_error *err)
{
	struct pt_model_options o = { .head_may_lack = true, .seed = (uint64_t)seed };
	struct pt_config cfg = { 0 };
	int st;

	st = pt_modeldir_open(&j->base, model, j->full ? PT_MODELDIR_NO_WEIGHTS : 0, err);
	if (!st)
		st = find_labels(j, err);
	if (!st && (st = pt_config_read(&cfg, j->base.config, err)))
		pt_error_prefix(err, "%s", model);
	if (!st)
		st = find_task(j, &cfg, &o.task, err);
	pt_config_release(&cfg);
	if (st)
		return st;
	o.num_labels = j->nlabels ? j->nlabels : j->problem == PT_PROBLEM_REGRESSION ? 1 : 0;
	if (j->problem == PT_PROBLEM_REGRESSION && !j->nlabels)
		j->nlabels = 1;
	o.random = !j->base.weights;
	st = pt_device_open(&j->dev, "cpu", &(struct pt_device_options){ .threads = (int)threads }, err);
	return st ? st : pt_model_open(&j->model, j->dev, &j->base, &o, err);
}

static int make_full(struct job *j, struct pt_error *err)
{
	const char **names = NULL;
	char *store = NULL;
	int n = 0, st = modules ? init_names(modules, &names, &n, &store, err) : 0;

	if (!st)
		st = pt_adapter_new_full(&j->adapter, j->model, names, n, err);
	if (!st && j->problem != PT_PROBLEM_UNSET)
		j->adapter->problem = j->problem;
	free(names);
	free(store);
	return st;
}

/* pt_tokenize.ids by the tokenizer of the base. */
static int text_ids(void *arg, const char *text, int32_t **ids, size_t *n, struct pt_error *err)
{
	const struct pt_modeldir *base = arg;
	struct pt_encoding e = PT_ENCODING_INIT;
	struct pt_tokenizer *tok = NULL;
	struct pt_encoder *enc = NULL;
	int st = pt_tokenizer_open(&tok, base->path, err);

	if (!st)
		st = pt_encoder_new(&enc, tok, err);
	if (!st)
		st = pt_encode(enc, text, strlen(text), PT_ENCODE_SPECIAL, 0, &e, err);
	if (!st) {
		*ids = e.ids;
		*n = e.n;
		e.ids = NULL;
	}
	pt_encoding_release(&e);
	pt_encoder_free(enc);
	pt_tokenizer_close(tok);
	return st;
}

static int make_adapter(struct job *j, cJSON *config, struct pt_error *err)
{
	const struct pt_tokenize tokenize = { text_ids, &j->base };
	const struct pt_batches batches = { observe_next, &j->observe };
	const struct pt_sources from = { &tokenize, &batches, tool_signal };
	const char *name = base_name ? base_name : model;

	cJSON_DeleteItemFromObjectCaseSensitive(config, "base_model_name_or_path");
	/* The task is that of the model that was opened. */
	cJSON_DeleteItemFromObjectCaseSensitive(config, "task_type");
	cJSON_DeleteItemFromObjectCaseSensitive(config, "inference_mode");
	if (!cJSON_AddStringToObject(config, "base_model_name_or_path", name)) {
		pt_json_free(config);
		return pt_error(err, PT_FAIL, "out of memory");
	}
	if (pt_adapter_new(&j->adapter, j->model, config, (uint64_t)seed, &from, err))
		init_explain(&init, err);
	return err->status;
}

/* Where it comes from: the base, and this. */
static int note(struct job *j, struct pt_error *err)
{
	struct pt_prov_step base = { .source = "model", .digest = j->model->digest, .has_digest = true };
	struct pt_prov_step step = { .tool = "peft-init", .version = PT_VERSION, .has_digest = true };
	struct pt_adapter *a = j->adapter;
	char options[100];
	uint64_t parent;
	int st = pt_prov_add(&a->prov, &base, &parent, err);

	if (!st)
		st = pt_adapter_digest(a, &step.digest, err);
	snprintf(options, sizeof options, "-t %s -s %lld", j->full ? "full" : a->method->name, (long long)seed);
	step.kind = j->full ? "model" : "adapter";
	step.options = options;
	step.parent = &parent;
	step.nparents = 1;
	return st ? st : pt_prov_add(&a->prov, &step, &a->prov_id, err);
}

static int write_dir(struct job *j, bool *same, struct pt_error *err)
{
	struct newdir d;
	int st = newdir_check(output, j->base.path, "base", err);

	if (!st)
		st = newdir_open(&d, output, err);
	if (st)
		return st;
	st = pt_adapter_save(j->adapter, d.tmp, PT_SAVE_ALL, err);
	if (!st)
		return newdir_publish(&d, force, same, err);
	return newdir_abort(&d, err);
}

static int run(struct job *j, const struct pt_tool *t, struct pt_error *err)
{
	struct pt_buf table = PT_BUF_INIT;
	cJSON *config = NULL;
	bool same = false;
	int st;

	if (!model || !output)
		return pt_error(err, PT_USAGE, "%s is needed", model ? "-o DIR" : "-m DIR");
	st = init_config(&init, &config, &j->full, err);
	if (!st && modules && !j->full)
		st = pt_error(err, PT_USAGE, "--modules belongs to -t full; --save-modules names modules that train beside an adapter");
	if (!st)
		st = open_model(j, err);
	if (st) {
		pt_json_free(config);
		return st;
	}
	j->observe = (struct observe){ .path = t->operand, .npaths = t->noperands, .model = j->model,
				       .dir = &j->base };
	st = j->full ? make_full(j, err) : make_adapter(j, config, err);
	if (!st && t->noperands && !j->observe.in)
		st = pt_error(err, PT_USAGE, "unexpected argument '%s': nothing here is initialised from data", t->operand[0]);
	if (!st)
		st = name_labels(j, err);
	if (!st)
		st = note(j, err);
	if (!st)
		st = write_dir(j, &same, err);
	if (!st) {
		pt_adapter_describe(j->adapter, &table);
		st = pt_buf_check(&table, err);
	}
	if (!st && !t->quiet)
		fputs(table.data, stdout);
	if (!st && same)
		pt_log(PT_FACT, "%s is there already, the same; left alone", output);
	pt_buf_release(&table);
	return st;
}

/* The table of options, with those of the methods. */
static int join_options(struct pt_opt **all, struct pt_error *err)
{
	if (init_method_names(&method_help, err))
		return err->status;
	pt_buf_str(&method_help, " (lora)");
	if (pt_buf_check(&method_help, err))
		return err->status;
	for (struct pt_opt *o = opts; o->name; o++) {
		if (!strcmp(o->name, "method"))
			o->help = method_help.data;
	}
	if (init_options_join(&init, opts, all, err))
		return err->status;
	spec.opts = *all;
	return 0;
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_opt *all = NULL;
	struct job j = { 0 };
	struct pt_tool t;
	int st;

	if (join_options(&all, &err)) {
		fprintf(stderr, "%s: %s\n", spec.tool, err.msg);
		return err.status;
	}
	tool_init(&t, &spec, argc, argv);
	/* So that no half-made directory stays. */
	tool_catch_signals();
	st = run(&j, &t, &err);
	if (!st)
		st = tool_finish(&err);
	if (st && !tool_signal())
		tool_report(&err);
	observe_release(&j.observe);
	pt_adapter_close(j.adapter);
	pt_model_close(j.model);
	pt_modeldir_close(&j.base);
	if (j.dev)
		pt_device_close(j.dev);
	labels_free(j.labels, j.labels ? j.nlabels : 0);
	init_options_release(&init);
	pt_buf_release(&method_help);
	free(all);
	if (tool_signal())
		tool_die_of(tool_signal());
	return st;
}
