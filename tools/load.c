/* SPDX-License-Identifier: MIT */
/*
 * load.c - opening device, model and adapter; see load.h.
 */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

/* The adapter that has the head, and trains; NULL: none. */
static const char *last(const struct load_options *o)
{
	return o->nadapters ? o->adapter[o->nadapters - 1] : NULL;
}

static const char *head_meta(const struct load_options *o, const char *key)
{
	return o->head ? pt_st_meta(&o->head->st, key) : NULL;
}

/* Task and problem: the adapter's, else the stream's, else the caller's, else the model's; they must agree. */
static int find_task(struct load *l, const struct load_options *o, struct pt_error *err)
{
	const char *name = head_meta(o, "task");
	int task = name ? pt_task_parse(name) : -1;

	if (name && task < 0)
		return pt_error(err, PT_USAGE, "the stream is for the task %.40s, which is not supported", name);
	l->feed.problem = name ? pt_task_parse_problem(name) : PT_PROBLEM_UNSET;
	l->feed.task = task >= 0 ? (enum pt_task)task : PT_TASK_NONE;
	if (!last(o) || l->info.task == PT_TASK_NONE)
		return 0;
	if (task >= 0 && l->info.task != (enum pt_task)task)
		return pt_error(err, PT_USAGE, "the stream is for the task %s, %s for %s; use peft-init --task %s or peft-tokenize --task %s",
				name, last(o), pt_task_name(l->info.task), name, pt_task_name(l->info.task));
	l->feed.task = l->info.task;
	return 0;
}

/* The model's own task, where nothing else says one; to generate text, that of its shape. */
static int own_task(struct load *l, const struct load_options *o, struct pt_error *err)
{
	struct pt_config c;
	int status = pt_config_read(&c, l->base.config, err);

	if (status)
		return pt_error_prefix(err, "%s", l->base.given);
	l->feed.task = !o->text ? c.task : c.nstacks > 1 ? PT_TASK_SEQ2SEQ_LM : PT_TASK_CAUSAL_LM;
	pt_config_release(&c);
	return 0;
}

/* What is left open is the model's. */
static void finish_task(struct load *l)
{
	const struct pt_config *c = &l->model->cfg;

	l->feed.task = l->model->task;
	l->feed.decoder_start = c->decoder_start;
	l->feed.nlabels = pt_task_labels(l->feed.task) ? l->model->num_labels : 0;
	if (!pt_task_labels(l->feed.task))
		return;
	if (l->feed.task == PT_TASK_TOKEN_CLS)
		l->feed.problem = PT_PROBLEM_SINGLE;
	if (l->feed.problem == PT_PROBLEM_UNSET)
		l->feed.problem = c->problem;
	if (l->feed.problem == PT_PROBLEM_UNSET)
		l->feed.problem = l->model->num_labels == 1 ? PT_PROBLEM_REGRESSION : PT_PROBLEM_SINGLE;
	if (l->info.labels && l->info.nlabels == l->feed.nlabels)
		l->labels = l->info.labels;
	else if (c->label && c->num_labels == l->feed.nlabels)
		l->labels = c->label;
	l->feed.labels = l->labels;
}

static int find_label(const struct load *l, const char *name)
{
	for (int i = 0; i < l->feed.nlabels; i++)
		if (l->labels[i] && !strcmp(l->labels[i], name))
			return i;
	return -1;
}

static void list_labels(const struct load *l, struct pt_buf *b)
{
	for (int i = 0; i < l->feed.nlabels && i < 20; i++)
		pt_buf_printf(b, "%s%s", i ? ", " : "", l->labels[i] ? l->labels[i] : "?");
	if (l->feed.nlabels > 20)
		pt_buf_str(b, " ...");
}

static int map_labels(struct load *l, const struct load_options *o, const cJSON *list, struct pt_error *err)
{
	const char *who = last(o) ? last(o) : o->model;
	const cJSON *item;
	int n = cJSON_GetArraySize(list), i = 0;

	l->class_map = pt_calloc((size_t)n + 1, sizeof *l->class_map, err);
	if (!l->class_map)
		return err->status;
	cJSON_ArrayForEach(item, list) {
		struct pt_buf b = PT_BUF_INIT;

		if (!cJSON_IsString(item))
			return pt_error(err, PT_DATA, "the stream's labels are no list of names");
		l->class_map[i] = find_label(l, item->valuestring);
		if (l->class_map[i++] >= 0)
			continue;
		list_labels(l, &b);
		pt_error(err, PT_USAGE, "%s has no label '%.200s'; it has: %s; use peft-tokenize --labels, or peft-init --labels with all of them",
			 who, item->valuestring, b.data ? b.data : "");
		pt_buf_release(&b);
		return err->status;
	}
	l->feed.class_map = l->class_map;
	l->feed.nmap = n;
	return 0;
}

/* The classes of the stream by name in the head's list. */
static int check_labels(struct load *l, const struct load_options *o, struct pt_error *err)
{
	const char *text = head_meta(o, "labels");
	cJSON *list;
	int status = 0, n;

	if (!text || !pt_task_labels(l->feed.task) || l->feed.problem == PT_PROBLEM_REGRESSION)
		return 0;
	list = pt_json_parse(text, strlen(text), 0, "the stream's labels", err);
	if (!list)
		return err->status;
	n = cJSON_GetArraySize(list);
	if (l->labels)
		status = map_labels(l, o, list, err);
	else if (n != l->feed.nlabels)
		status = pt_error(err, PT_USAGE, "the stream has %d labels, the head of %s has %d outputs; use peft-init --labels",
				  n, last(o) ? last(o) : o->model, l->feed.nlabels);
	pt_json_free(list);
	return status;
}

/* A tokenizer belongs to a model if it is that of the model's directory; where there is none, if its ids fit. */
static int check_tokenizer(struct load *l, const struct load_options *o, struct pt_error *err)
{
	const char *digest = head_meta(o, "tokenizer"), *size = head_meta(o, "vocab_size");
	struct pt_hex own;

	if ((!digest && !o->tokenizer) || (o->head && o->other_tokenizer && !o->tokenizer))
		return 0;
	if (pt_tokenizer_exists(l->base.path) && pt_tokenizer_open(&l->tok, l->base.path, err))
		return err->status;
	if (!digest || o->other_tokenizer)
		return 0;
	l->feed.tok = l->tok;
	if (l->tok) {
		own = pt_hex64(pt_tokenizer_digest(l->tok));
		if (strcmp(own.s, digest))
			return pt_error(err, PT_USAGE, "the stream was tokenized with another tokenizer (%.16s) than that of %s (%s); use peft-tokenize -m %s, or --other-tokenizer",
					digest, o->model, own.s, o->model);
	} else if (size && strtoll(size, NULL, 10) > l->model->cfg.vocab) {
		return pt_error(err, PT_USAGE, "the stream's tokenizer has %.20s ids, the embedding of %s %lld rows; use the model's tokenizer, or --other-tokenizer",
				size, o->model, (long long)l->model->cfg.vocab);
	}
	return 0;
}

/* The base that an adapter was made for, where its provenance knows it. */
static void check_base(const struct load *l, const struct load_options *o, const struct pt_adapter *a)
{
	const struct pt_prov *p = &a->prov;
	struct pt_error ignored = PT_ERROR_INIT;
	struct pt_hex own = pt_hex64(l->base_digest);
	const char *base = NULL;
	bool known = false;

	for (size_t i = 0; i < p->n; i++) {
		struct pt_error err = PT_ERROR_INIT;
		const char *source, *digest;
		cJSON *node = pt_json_parse(p->node[i].text, strlen(p->node[i].text), 0, "provenance", &err);
		bool model = node && !pt_json_str(node, "source", NULL, &source, &err) && source && !strcmp(source, "model");
		bool same = model && !pt_json_str(node, "digest", NULL, &digest, &err) && digest && !strcmp(digest, own.s);

		pt_json_free(node);
		known |= model;
		if (same)
			return;
	}
	if (!known)
		return;
	if (a->config)
		pt_json_str(a->config, "base_model_name_or_path", NULL, &base, &ignored);
	pt_log(PT_WARN, "%s was made for another base than %s%s%s", a->dir, o->model, base ? ": " : "", base ? base : "");
}

/* What an adapter learned on, where its provenance knows it. */
static void check_stands(const struct pt_adapter *a)
{
	int n;

	if (!pt_adapter_stands(a, &n))
		pt_log(PT_WARN, "%s was trained on %d adapter%s below it, %s", a->dir, n, n > 1 ? "s" : "",
		       a->below ? "and stands on others here, or in another order" : "and stands alone here");
}

bool load_same(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* What stands below the last is an adapter, and another one. */
static int check_below(const struct load_options *o, struct pt_error *err)
{
	for (int i = 0; i + 1 < o->nadapters; i++) {
		struct pt_adapter_info info;
		bool full;

		if (pt_adapter_peek(o->adapter[i], &info, err))
			return err->status;
		full = info.full;
		pt_adapter_info_release(&info);
		if (full)
			return pt_error(err, PT_USAGE, "-a %s is a model that was trained itself: it does not stand in a stack; give it as -m",
					o->adapter[i]);
		for (int k = i + 1; k < o->nadapters; k++)
			if (load_same(o->adapter[i], o->adapter[k]))
				return pt_error(err, PT_USAGE, "-a %s and -a %s are the same directory", o->adapter[i], o->adapter[k]);
	}
	return 0;
}

int load_find(struct load *l, const struct load_options *o, struct pt_error *err)
{
	memset(l, 0, sizeof *l);
	for (int i = 0; i < o->nadapters; i++)
		if (load_same(o->adapter[i], o->model))
			return pt_error(err, PT_USAGE, "-a %s is the directory of -m: peft-init makes an adapter, or a model to train (-t full)",
					o->adapter[i]);
	if ((last(o) && pt_adapter_peek(last(o), &l->info, err)) || check_below(o, err))
		return err->status;
	if (l->info.full && o->nadapters > 1)
		return pt_error(err, PT_USAGE, "-a %s is a model that was trained itself: it does not stand in a stack; give it as -m",
				last(o));
	if (pt_modeldir_open(&l->base, o->model, l->info.full ? PT_MODELDIR_NO_WEIGHTS : 0, err))
		return err->status;
	return l->info.full ? pt_modeldir_open(&l->full, last(o), 0, err) : 0;
}

int load_found(struct load *l, const struct load_options *o, struct pt_error *err)
{
	/* What an adapter has beside the base; a model that was trained has all of its own. */
	struct pt_model_options mo = { .head_may_lack = o->nadapters > 0 && !l->info.full, .defer = true };
	const struct pt_modeldir *dir = l->info.full ? &l->full : &l->base;

	if (find_task(l, o, err))
		return err->status;
	l->base_digest = pt_modeldir_digest(&l->base);
	if (l->feed.task == PT_TASK_NONE && own_task(l, o, err))
		return err->status;
	if (pt_device_open(&l->dev, o->device, &(struct pt_device_options){ .threads = o->threads }, err))
		return err->status;
	mo.task = l->feed.task;
	mo.num_labels = l->info.nlabels;
	mo.head = l->info.head.out ? &l->info.head : NULL;
	if (pt_model_open(&l->model, l->dev, dir, &mo, err))
		return err->status;
	finish_task(l);
	if (check_labels(l, o, err) || check_tokenizer(l, o, err))
		return err->status;
	if (o->nadapters && pt_adapter_open_stack(&l->adapter, l->model, o->adapter, o->nadapters, o->trainable, err))
		return err->status;
	for (const struct pt_adapter *a = l->adapter; a; a = a->below) {
		check_base(l, o, a);
		check_stands(a);
	}
	return 0;
}

int load_open(struct load *l, const struct load_options *o, struct pt_error *err)
{
	return load_find(l, o, err) ? err->status : load_found(l, o, err);
}

void load_close(struct load *l)
{
	pt_adapter_close(l->adapter);
	pt_adapter_info_release(&l->info);
	pt_model_close(l->model);
	pt_tokenizer_close(l->tok);
	if (l->full.path)
		pt_modeldir_close(&l->full);
	if (l->base.path)
		pt_modeldir_close(&l->base);
	if (l->dev)
		pt_device_close(l->dev);
	free(l->class_map);
	memset(l, 0, sizeof *l);
}

bool load_bf16(const struct load *l, int dtype)
{
	if (dtype != LOAD_AUTO)
		return dtype == LOAD_BF16;
	if (!pt_device_has_bf16(l->dev))
		return false;
	for (int i = 0; i < l->model->nweights; i++)
		if (l->model->weight[i].t.type == PT_BF16)
			return true;
	return false;
}

size_t load_mem(const struct load *l, int64_t mem)
{
	size_t all = l->dev->memory(l->dev);

	return mem && (uint64_t)mem < all ? (size_t)mem : all;
}
