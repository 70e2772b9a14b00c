/* SPDX-License-Identifier: MIT */
/*
 * config.c - adapter_config.json: completing one, and what can be said of an
 * adapter directory before its model is open.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

const char *pt_config_item(const cJSON *v, int i)
{
	if (cJSON_IsString(v))
		return i == 0 ? v->valuestring : NULL;
	if (!cJSON_IsArray(v))
		return NULL;
	v = cJSON_GetArrayItem(v, i);
	return cJSON_IsString(v) ? v->valuestring : NULL;
}

bool pt_config_lists(const cJSON *v, const char *name)
{
	const char *have;

	for (int i = 0; (have = pt_config_item(v, i)); i++) {
		if (!strcmp(have, name))
			return true;
	}
	return false;
}

int pt_config_add_name(cJSON *list, const char *name, struct pt_error *err)
{
	cJSON *item;

	if (pt_config_lists(list, name))
		return 0;
	item = cJSON_CreateString(name);
	if (item && cJSON_AddItemToArray(list, item))
		return 0;
	cJSON_Delete(item);
	return pt_error(err, PT_FAIL, "out of memory");
}

int pt_config_set(cJSON *config, const char *key, cJSON *value_take, struct pt_error *err)
{
	bool there = cJSON_GetObjectItemCaseSensitive(config, key);

	if (value_take && (there ? cJSON_ReplaceItemInObjectCaseSensitive(config, key, value_take)
				 : cJSON_AddItemToObject(config, key, value_take)))
		return 0;
	cJSON_Delete(value_take);
	return pt_error(err, PT_FAIL, "out of memory");
}

/* Members in the order of their names. Insertion: the lists are short. */
void pt_config_sort(cJSON *obj)
{
	cJSON *sorted = NULL, *last = NULL, *v = obj->child, *next, *at;

	for (; v; v = next) {
		next = v->next;
		for (at = last; at && strcmp(at->string, v->string) > 0; at = at == sorted ? NULL : at->prev)
			;
		v->prev = at;
		v->next = at ? at->next : sorted;
		if (v->next)
			v->next->prev = v;
		else
			last = v;
		if (at)
			at->next = v;
		else
			sorted = v;
	}
	/* cJSON's first child points back at the last. */
	obj->child = sorted;
	if (sorted)
		sorted->prev = last;
}

int pt_adapter_config_complete(cJSON *given, const char *defaults, struct pt_error *err)
{
	cJSON *def = pt_json_parse(defaults, strlen(defaults), 0, "defaults", err), *v, *next;

	if (!def)
		return err->status;
	for (v = def->child; v; v = next) {
		next = v->next;
		if (cJSON_GetObjectItemCaseSensitive(given, v->string))
			continue;
		cJSON_DetachItemViaPointer(def, v);
		if (!cJSON_AddItemToObject(given, v->string, v)) {
			cJSON_Delete(v);
			pt_json_free(def);
			return pt_error(err, PT_FAIL, "out of memory");
		}
	}
	pt_json_free(def);
	pt_config_sort(given);
	return 0;
}

/* Task of a configuration: PEFT's task_type, else the class of the model it was made on. */
static int config_task(const cJSON *config, enum pt_task *task, struct pt_error *err)
{
	const char *type, *cls;
	int t = PT_TASK_NONE;

	if (pt_json_str(config, "task_type", NULL, &type, err) ||
	    pt_json_str(pt_json_get(config, "auto_mapping"), "base_model_class", NULL, &cls, err))
		return err->status;
	if (type)
		t = pt_task_parse(type);
	else if (cls)
		t = pt_task_of_class(cls, false);
	if (t < 0)
		return pt_error(err, PT_DATA, "task %s is not supported", type ? type : cls);
	*task = (enum pt_task)t;
	return 0;
}

/* Rows of a task head among the tensors, whatever the family. */
static int head_rows(const char *dir, const struct pt_layout *l, const struct pt_method *m, int *rows,
		     struct pt_error *err)
{
	char *path = pt_path_join(dir, l->weights, err);
	const struct pt_family *f;
	struct pt_st st;
	char key[100];
	int status;

	if (!path)
		return err->status;
	status = pt_st_open(&st, path, err);
	free(path);
	if (status)
		return status;
	for (int i = 0; (f = pt_family_at(i)); i++) {
		for (const struct pt_head *h = f->head; h->task != PT_TASK_NONE; h++) {
			const struct pt_st_tensor *t;

			if (!pt_task_labels(h->task))
				continue;
			snprintf(key, sizeof key, "%s%s.weight", pt_key_prefix(m), h->out);
			t = pt_st_find(&st, key);
			if (t && t->ndim == 2 && t->shape[0] <= 1 << 20)
				*rows = (int)t->shape[0];
		}
	}
	pt_st_release(&st);
	return 0;
}

static int peek_adapter(const char *dir, const char *path, struct pt_adapter_info *info, struct pt_error *err)
{
	const struct pt_method *method;
	const struct pt_layout *layout;
	const char *base;
	cJSON *config;
	int st = pt_layout_read(dir, &layout, &config, err);

	if (!st)
		st = pt_method_of_config(config, &method, err);
	if (!st)
		st = config_task(config, &info->task, err);
	if (!st)
		st = pt_json_str(config, "base_model_name_or_path", NULL, &base, err);
	if (!st)
		st = pt_json_int(config, "num_virtual_tokens", 0, INT32_MAX, 0, &info->front, err);
	if (!st && base && !(info->base = pt_strdup(base, err)))
		st = err->status;
	if (st == PT_DATA && config)
		pt_error_prefix(err, "%s", path);
	if (!st)
		st = pt_labels_find(layout, dir, config, info->task, &info->labels, &info->nlabels, err);
	if (!st && layout->spec)
		st = layout->spec(config, &info->head, err);
	if (!st && !info->nlabels && pt_task_labels(info->task))
		st = head_rows(dir, layout, method, &info->nlabels, err);
	pt_json_free(config);
	return st;
}

/* Whether a run has saved something there. */
static bool has_step(const char *saved)
{
	DIR *d = opendir(saved);
	const struct dirent *e;
	bool found = false;

	while (d && !found && (e = readdir(d)))
		found = !strncmp(e->d_name, "step-", 5);
	if (d)
		closedir(d);
	return found;
}

int pt_adapter_peek(const char *dir, struct pt_adapter_info *info, struct pt_error *err)
{
	char *config = pt_path_join(dir, PT_ADAPTER_CONFIG, err);
	char *model = pt_path_join(dir, PT_MODEL_CONFIG, err);
	char *saved = pt_path_join(dir, "checkpoints", err);
	int st = config && model && saved ? 0 : PT_FAIL;

	*info = (struct pt_adapter_info){ .task = PT_TASK_NONE };
	if (!st && pt_is_file(config))
		st = peek_adapter(dir, config, info, err);
	else if (!st && pt_is_file(model))
		st = pt_full_peek(dir, info, err);
	else if (!st && has_step(saved))
		st = pt_error(err, PT_DATA, "%s: a run of peft-step was stopped there: the same command ends it, and %s/step-* are adapters",
			      dir, saved);
	else if (!st && pt_is_dir(dir))
		st = pt_error(err, PT_DATA, "%s: neither %s nor config.json in it; peft-init makes an adapter", dir,
			      PT_ADAPTER_CONFIG);
	else if (!st)
		st = pt_error(err, PT_FAIL, "%s: no such directory; peft-init makes an adapter", dir);
	free(config);
	free(model);
	free(saved);
	if (st)
		pt_adapter_info_release(info);
	return st;
}

void pt_adapter_info_release(struct pt_adapter_info *info)
{
	pt_labels_free(info->labels, info->nlabels);
	free(info->base);
	pt_head_spec_release(&info->head);
	*info = (struct pt_adapter_info){ .task = PT_TASK_NONE };
}
