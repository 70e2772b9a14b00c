/* SPDX-License-Identifier: MIT */
/*
 * full.c - full training: a model directory whose own weights train, all of
 * them or those of named modules. full.json holds the names and the task;
 * without it a model directory of others trains whole, for the task of its
 * class.
 *
 * Weights that train are written in f32, as they are; the others as stored.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/save.h"
#include "peft/adapter_priv.h"

/* w, and those tied to it, become one trainable tensor under w's path. */
static int replace_tied(struct pt_adapter *a, struct pt_weight *w, struct pt_error *err)
{
	int st = pt_adapter_replace(a, w, w->path, 0, err);

	for (int i = 0; i < a->model->nweights && !st; i++) {
		struct pt_weight *twin = &a->model->weight[i];

		if (twin->tied != w)
			continue;
		st = pt_grow(&a->weight, &a->cap_weights, a->nweights + 1, sizeof *a->weight, err);
		if (!st) {
			a->weight[a->nweights].weight = twin;
			a->weight[a->nweights++].param = pt_adapter_replaced(a, w)->param;
		}
	}
	return st;
}

/* Whether a module that trains holds w; a head that the checkpoint lacks always trains. */
static bool is_named(const struct pt_adapter *a, const struct pt_weight *w)
{
	bool found = !a->modules || (a->fresh && w->fresh && a->model->dir->weights);

	for (int i = 0; i < a->nmodules && !found; i++)
		found = pt_module_holds(a->modules[i], w, true);
	return found;
}

static int check_names(const struct pt_adapter *a, struct pt_error *err)
{
	for (int i = 0; i < a->nmodules; i++) {
		bool found = false;

		for (int k = 0; k < a->model->nweights && !found; k++)
			found = pt_module_holds(a->modules[i], &a->model->weight[k], true);
		if (!found)
			return pt_error(err, PT_USAGE, "modules: '%s' matches no module of the model", a->modules[i]);
	}
	return 0;
}

static int replace_named(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_model *m = a->model;
	int st = check_names(a, err);

	for (int i = 0; i < m->nweights && !st; i++) {
		struct pt_weight *w = &m->weight[i];

		if (is_named(a, w) && !pt_adapter_replaced(a, w))
			st = replace_tied(a, w->tied ? w->tied : w, err);
	}
	return st;
}

int pt_full_make(struct pt_adapter *a, struct pt_error *err)
{
	a->full = true;
	a->problem = a->model->cfg.problem;
	/* For inference the mapped weights are it. */
	return a->trainable ? replace_named(a, err) : 0;
}

int pt_full_names(struct pt_adapter *a, const char *const *name, int n, struct pt_error *err)
{
	a->modules = n ? pt_calloc((size_t)n, sizeof(char *), err) : NULL;
	if (n && !a->modules)
		return err->status;
	a->nmodules = n;
	for (int i = 0; i < n; i++) {
		a->modules[i] = pt_strdup(name[i], err);
		if (!a->modules[i])
			return err->status;
	}
	return 0;
}

/* full.json as it stands in dir; *out NULL: there is none. */
static int read_full(const char *dir, cJSON **out, struct pt_error *err)
{
	char *path = pt_path_join(dir, PT_FULL_CONFIG, err);
	int st = path ? 0 : err->status;

	*out = NULL;
	if (!st && pt_is_file(path)) {
		*out = pt_json_read(path, 0, err);
		st = *out ? 0 : err->status;
	}
	free(path);
	return st;
}

int pt_full_open(struct pt_adapter *a, const char *dir, struct pt_error *err)
{
	cJSON *j;
	int st = read_full(dir, &j, err);
	const cJSON *list = pt_json_get(j, "modules");
	int n = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0, i = 0;
	const char **name;

	if (st)
		return st;
	if (list && !n) {
		pt_json_free(j);
		return pt_error(err, PT_DATA, "%s/%s: modules is not a list of names", dir, PT_FULL_CONFIG);
	}
	name = pt_calloc((size_t)n, sizeof(char *), err);
	st = name ? 0 : err->status;
	for (; i < n && !st; i++) {
		name[i] = pt_config_item(list, i);
		if (!name[i])
			st = pt_error(err, PT_DATA, "%s/%s: modules is not a list of names", dir, PT_FULL_CONFIG);
	}
	if (!st)
		st = pt_full_names(a, name, n, err);
	free(name);
	pt_json_free(j);
	return st ? st : pt_full_make(a, err);
}

int pt_full_peek(const char *dir, struct pt_adapter_info *info, struct pt_error *err)
{
	struct pt_modeldir md;
	struct pt_config cfg = { 0 };
	const char *task = NULL;
	cJSON *j = NULL;
	int t, st = pt_modeldir_open(&md, dir, PT_MODELDIR_NO_WEIGHTS, err);

	if (st)
		return st;
	info->full = true;
	st = pt_config_read(&cfg, md.config, err);
	if (!st)
		st = read_full(dir, &j, err);
	if (!st)
		st = pt_json_str(j, "task", NULL, &task, err);
	if (!st) {
		t = task ? pt_task_parse(task) : (int)cfg.task;
		if (t < 0)
			st = pt_error(err, PT_DATA, "%s/%s: task %s is not known", dir, PT_FULL_CONFIG, task);
		else
			info->task = (enum pt_task)t;
	}
	if (!st && pt_task_labels(info->task))
		info->nlabels = cfg.num_labels;
	if (!st && info->nlabels && cfg.label) {
		info->labels = pt_calloc((size_t)info->nlabels, sizeof(char *), err);
		for (int i = 0; info->labels && i < info->nlabels; i++)
			info->labels[i] = pt_strdup(cfg.label[i], err);
		st = err->status;
	}
	pt_json_free(j);
	pt_config_release(&cfg);
	pt_modeldir_close(&md);
	return st;
}

static int write_full(const struct pt_adapter *a, const char *dir, struct pt_error *err)
{
	cJSON *j = cJSON_CreateObject();
	int st;

	if (!j || !cJSON_AddStringToObject(j, "task", pt_task_name(a->task)) ||
	    !cJSON_AddItemToObject(j, "modules", a->modules ?
		cJSON_CreateStringArray((const char *const *)a->modules, a->nmodules) : cJSON_CreateNull()))
		st = pt_error(err, PT_FAIL, "out of memory");
	else
		st = pt_json_write(j, dir, PT_FULL_CONFIG, err);
	cJSON_Delete(j);
	return st;
}

/* The type that "dtype" of config.json promises: f32 as soon as a weight trained in it. */
static int file_type(const struct pt_model *m)
{
	for (int i = 0; i < m->nweights; i++) {
		if (m->weight[i].use->type == PT_F32)
			return PT_F32;
	}
	return -1;
}

int pt_full_save(struct pt_adapter *a, const char *dir, int part, struct pt_error *err)
{
	static const int parts[] = {
		[PT_SAVE_ALL] = PT_MODELSAVE_ALL, [PT_SAVE_BUT_LAST] = PT_MODELSAVE_REST,
		[PT_SAVE_LAST] = PT_MODELSAVE_LAST,
	};
	struct pt_model_save o = {
		.label = a->labels, .problem = a->problem, .dtype = file_type(a->model), .tie = -1,
	};
	struct pt_modelsave s;
	cJSON *config;
	int st = 0;

	for (int i = 0; i < a->model->nweights; i++) {
		const struct pt_weight *w = &a->model->weight[i];

		if (w->tied)
			o.tie = w->use->data == w->tied->use->data;
	}
	pt_modelsave_init(&s);
	config = pt_model_save_config(a->model, &o, err);
	st = config ? pt_model_save_list(a->model, -1, &s, err) : err->status;
	if (!st && part != PT_SAVE_LAST)
		st = write_full(a, dir, err);
	if (!st && part != PT_SAVE_LAST)
		st = pt_prov_write(&a->prov, a->prov_id, dir, err);
	if (!st)
		st = pt_modelsave_write(&s, dir, parts[part], config, a->model->dir, pt_model_save_fill, a->model, err);
	pt_modelsave_release(&s);
	pt_json_free(config);
	return st;
}
