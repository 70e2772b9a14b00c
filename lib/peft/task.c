/* SPDX-License-Identifier: MIT */
/*
 * task.c - what the task of a model means for an adapter's configuration:
 * task_type, and the heads that modules_to_save holds without being asked.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

/* A name in the list under key, which may be null. */
static int list_name(cJSON *config, const char *key, const char *name, struct pt_error *err)
{
	cJSON *list = cJSON_GetObjectItemCaseSensitive(config, key);

	if (!cJSON_IsArray(list)) {
		list = cJSON_CreateArray();
		if (pt_config_set(config, key, list, err))
			return err->status;
	}
	return pt_config_add_name(list, name, err);
}

/* What PEFT lists for every model of a task; a fresh adapter also has the module of this model's own head. */
static int list_heads(struct pt_adapter *a, const char *key, struct pt_error *err)
{
	static const struct {
		enum pt_task task;
		const char *name;
	} heads[] = {
		{ PT_TASK_SEQ_CLS, "classifier" }, { PT_TASK_SEQ_CLS, "score" }, { PT_TASK_TOKEN_CLS, "classifier" },
		{ PT_TASK_TOKEN_CLS, "score" }, { PT_TASK_QA, "qa_outputs" },
	};
	const struct pt_head *h = pt_family_head(a->model->cfg.family, a->task);
	char own[100];
	int st = 0;

	for (size_t i = 0; i < sizeof heads / sizeof *heads && !st; i++)
		if (heads[i].task == a->task)
			st = list_name(a->config, key, heads[i].name, err);
	if (st || !a->fresh || !h || !h->out || pt_task_vocab(a->task))
		return st;
	snprintf(own, sizeof own, "%.*s", (int)strcspn(h->out, "."), h->out);
	return list_name(a->config, key, own, err);
}

int pt_adapter_list_heads(struct pt_adapter *a, struct pt_error *err)
{
	static const char key[] = "modules_to_save";
	const char *name;
	/* A method that has no such key saves heads in PEFT not even where they are new. */
	int st = pt_method_has_key(a->method, key) ? list_heads(a, key, err) : 0;

	for (int i = 0; i < a->model->nweights && !st && a->fresh; i++) {
		const struct pt_weight *w = &a->model->weight[i];
		bool found = false;
		char *module;

		for (int k = 0; (name = pt_config_item(pt_json_get(a->config, key), k)); k++)
			found |= pt_module_holds(name, w, false);
		if (!w->fresh || found)
			continue;
		module = pt_strndup(w->path, (size_t)(strrchr(w->path, '.') - w->path), err);
		st = module ? list_name(a->config, key, module, err) : err->status;
		free(module);
	}
	return st;
}

/* A configuration for another task than the model's contradicts it. */
int pt_adapter_check_task(struct pt_adapter *a, struct pt_error *err)
{
	const char *given, *own = pt_task_peft(a->task);

	if (pt_json_str(a->config, "task_type", NULL, &given, err))
		return err->status;
	if (!given || !own || !strcmp(given, own))
		return 0;
	return pt_error(err, PT_USAGE, "task_type %s, but the model was opened for task %s", given,
			pt_task_name(a->task));
}

/* The task of a fresh adapter is the model's. */
int pt_adapter_set_task(struct pt_adapter *a, struct pt_error *err)
{
	const char *own = pt_task_peft(a->task);
	cJSON *map;
	char cls[100], library[200], type[60];

	/* A task that PEFT has no name for is known by the class of the model, as PEFT notes it. */
	if (!own && pt_family_class(a->model->cfg.family, a->task, cls, sizeof cls)) {
		snprintf(type, sizeof type, "%s", a->model->cfg.family->model_type);
		for (char *p = type; (p = strchr(p, '-')); )
			*p = '_';
		snprintf(library, sizeof library, "transformers.models.%s.modeling_%s", type, type);
		map = cJSON_CreateObject();
		if (!map || !cJSON_AddStringToObject(map, "base_model_class", cls) ||
		    !cJSON_AddStringToObject(map, "parent_library", library)) {
			cJSON_Delete(map);
			return pt_error(err, PT_FAIL, "out of memory");
		}
		if (pt_config_set(a->config, "auto_mapping", map, err))
			return err->status;
	}
	return pt_config_set(a->config, "task_type", own ? cJSON_CreateString(own) : cJSON_CreateNull(), err);
}
