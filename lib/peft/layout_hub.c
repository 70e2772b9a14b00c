/* SPDX-License-Identifier: MIT */
/*
 * layout_hub.c - the layout of AdapterHub's library (`adapters` 1.3.0):
 * adapter_config.json has the method's keys in "config" and says beside them
 * what they were made on; the head of a model has files of its own.
 *
 * What stands beside "config" is kept in memory under "hub", the file of the
 * head as it is under "head_config".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/config.h"
#include "peft/adapter_priv.h"

#define HEAD_CONFIG "head_config.json"
#define HEAD_FILE "model_head.safetensors"
#define HEAD_PICKLE "pytorch_model_head.bin"
#define VERSION "adapters.1.3.0"

/* Keys of the form of memory that are none of the method's, and where the file has them beside "config". */
static const struct {
	const char *key, *file;
} outer[] = {
	{ "adapter_name", "name" }, { "base_model_name_or_path", "model_name" }, { "peft_type", NULL },
	{ "task_type", NULL }, { "auto_mapping", NULL }, { "modules_to_save", NULL }, { "inference_mode", NULL },
	{ "revision", NULL }, { "hub", NULL }, { "head_config", NULL },
};

enum { NOUTER = sizeof outer / sizeof outer[0] };

static int no_memory(struct pt_error *err)
{
	return pt_error(err, PT_FAIL, "out of memory");
}

/* v is taken over, also on failure. */
static int put(cJSON *obj, const char *key, cJSON *v, struct pt_error *err)
{
	cJSON_DeleteItemFromObjectCaseSensitive(obj, key);
	if (v && cJSON_AddItemToObject(obj, key, v))
		return 0;
	cJSON_Delete(v);
	return no_memory(err);
}

/* All members of one object to another. */
static int move_all(cJSON *from, cJSON *to, struct pt_error *err)
{
	while (from->child) {
		cJSON *v = cJSON_DetachItemViaPointer(from, from->child);

		if (put(to, v->string, v, err))
			return err->status;
	}
	return 0;
}

static int check_method(const cJSON *config, const cJSON *own, struct pt_error *err)
{
	const char *architecture;

	if (!cJSON_IsObject(own))
		return pt_error(err, PT_DATA, own ? "config: not an object" :
				"neither peft_type nor config in it: not the configuration of an adapter");
	if (pt_json_str(own, "architecture", NULL, &architecture, err))
		return err->status;
	if (architecture)
		return pt_error(err, PT_DATA, "AdapterHub's architecture %s is not supported, bottleneck adapters are",
				architecture);
	for (int i = 0; i < NOUTER; i++) {
		if (cJSON_GetObjectItemCaseSensitive(own, outer[i].key))
			return pt_error(err, PT_DATA, "config has the key %s, which belongs elsewhere", outer[i].key);
	}
	if (!pt_json_get(config, "name"))
		return pt_error(err, PT_DATA, "the key name is missing");
	return 0;
}

/* What the class of a model, or the type of a head that is described, is for. */
static int set_task(cJSON *config, const cJSON *about, struct pt_error *err)
{
	static const struct {
		const char *type;
		enum pt_task task;
	} heads[] = {
		{ "classification", PT_TASK_SEQ_CLS }, { "multilabel_classification", PT_TASK_SEQ_CLS },
		{ "tagging", PT_TASK_TOKEN_CLS }, { "question_answering", PT_TASK_QA }, { "causal_lm", PT_TASK_CAUSAL_LM },
		{ "masked_lm", PT_TASK_MASKED_LM }, { "seq2seq_lm", PT_TASK_SEQ2SEQ_LM },
	};
	const char *cls, *type, *name;
	int task = PT_TASK_NONE;
	char named[60];
	cJSON *map;

	if (pt_json_str(about, "model_class", "", &cls, err) ||
	    pt_json_str(pt_json_get(about, "config"), "head_type", NULL, &type, err))
		return err->status;
	if (type) {
		task = -1;
		for (size_t i = 0; i < sizeof heads / sizeof heads[0] && task < 0; i++)
			task = !strcmp(heads[i].type, type) ? (int)heads[i].task : -1;
		if (task < 0)
			return pt_error(err, PT_DATA, "head_type %s is not supported", type);
	} else if (*cls) {
		task = pt_task_of_class(cls, false);
	}
	name = task > 0 ? pt_task_peft((enum pt_task)task) : NULL;
	if (put(config, "task_type", name ? cJSON_CreateString(name) : cJSON_CreateNull(), err) || name || task <= 0)
		return err->status;
	/* PEFT has no name for it: by a class, as there. */
	snprintf(named, sizeof named, "Adapter%s", pt_task_class((enum pt_task)task));
	map = cJSON_CreateObject();
	if (map && cJSON_AddStringToObject(map, "base_model_class", named))
		return put(config, "auto_mapping", map, err);
	cJSON_Delete(map);
	return no_memory(err);
}

static int decode(cJSON *config, struct pt_error *err)
{
	cJSON *own = cJSON_GetObjectItemCaseSensitive(config, "config"), *hub;
	const char *base;
	int st = check_method(config, own, err);

	if (!st)
		st = pt_json_str(config, "model_name", "", &base, err);
	if (!st)
		st = set_task(own, config, err);
	if (!st)
		st = put(own, "base_model_name_or_path", *base ? cJSON_CreateString(base) : cJSON_CreateNull(), err);
	if (!st)
		st = put(own, "adapter_name", cJSON_Duplicate(pt_json_get(config, "name"), true), err);
	if (!st)
		st = put(own, "peft_type", cJSON_CreateString("BOTTLENECK"), err);
	if (st)
		return st;
	cJSON_DetachItemViaPointer(config, own);
	for (int i = 0; i < NOUTER; i++) {
		if (outer[i].file)
			cJSON_DeleteItemFromObjectCaseSensitive(config, outer[i].file);
	}
	hub = cJSON_CreateObject();
	st = hub ? move_all(config, hub, err) : no_memory(err);
	if (!st)
		st = move_all(own, config, err);
	cJSON_Delete(own);
	if (!st)
		return put(config, "hub", hub, err);
	cJSON_Delete(hub);
	return st;
}

static int encode(cJSON *config, struct pt_error *err)
{
	cJSON *own = cJSON_CreateObject(), *hub = cJSON_DetachItemFromObjectCaseSensitive(config, "hub");
	int st = own ? 0 : no_memory(err);

	if (!hub && !st)
		hub = cJSON_CreateObject();
	for (int i = 0; i < NOUTER && !st; i++) {
		cJSON *v = cJSON_DetachItemFromObjectCaseSensitive(config, outer[i].key);

		if (v && outer[i].file && !cJSON_IsNull(v))
			st = put(hub, outer[i].file, v, err);
		else
			cJSON_Delete(v);
	}
	if (!st && !pt_json_get(hub, "model_name"))
		st = put(hub, "model_name", cJSON_CreateString(""), err);
	if (!st)
		st = move_all(config, own, err);
	if (!st)
		st = move_all(hub, config, err);
	cJSON_Delete(hub);
	if (st) {
		cJSON_Delete(own);
		return st;
	}
	pt_config_sort(own);
	st = put(config, "config", own, err);
	pt_config_sort(config);
	return st;
}

static bool is_there(const char *dir, const char *name, struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	bool yes = path && pt_is_file(path);

	free(path);
	return yes;
}

/* A head without its tensors, or they without it, is none, as in the library. */
static int read_head(const char *dir, cJSON *config, struct pt_error *err)
{
	bool tensors = is_there(dir, HEAD_FILE, err), about = is_there(dir, HEAD_CONFIG, err);
	char *path;
	cJSON *head;
	int st;

	if (!tensors && is_there(dir, HEAD_PICKLE, err))
		return pt_error(err, PT_DATA, "%s/" HEAD_PICKLE " is a Python pickle, which is never read; convert it: %s", dir,
				pt_layout_hub.convert);
	if (err->status || !tensors || !about)
		return err->status;
	path = pt_path_join(dir, HEAD_CONFIG, err);
	head = path ? pt_json_read(path, 0, err) : NULL;
	st = head ? set_task(config, head, err) : err->status;
	if (st)
		pt_json_free(head);
	else
		st = put(config, "head_config", head, err);
	if (st && path)
		pt_error_prefix(err, "%s", path);
	free(path);
	return st;
}

/* What the library says of the model that an adapter or a head was made on. */
static int add_model(cJSON *to, const struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	char cls[100];

	if (!pt_family_class(c->family, a->task, cls, sizeof cls))
		return pt_error(err, PT_USAGE, "%s has no class for the task %s", c->family->model_type, pt_task_name(a->task));
	if (cJSON_AddNumberToObject(to, "hidden_size", (double)c->hidden) && cJSON_AddStringToObject(to, "model_class", cls) &&
	    cJSON_AddStringToObject(to, "model_type", c->family->model_type) && cJSON_AddStringToObject(to, "version", VERSION))
		return 0;
	return no_memory(err);
}

static int describe(struct pt_adapter *a, struct pt_error *err)
{
	cJSON *hub = cJSON_CreateObject();
	int st = hub ? add_model(hub, a, err) : no_memory(err);

	if (!st)
		return put(a->config, "hub", hub, err);
	cJSON_Delete(hub);
	return st;
}

static int add_labels(cJSON *head, const struct pt_adapter *a, struct pt_error *err)
{
	cJSON *map = cJSON_AddObjectToObject(head, "label2id");
	char name[40];

	for (int i = 0; map && i < a->model->num_labels; i++) {
		snprintf(name, sizeof name, "LABEL_%d", i);
		if (!cJSON_AddNumberToObject(map, a->labels ? a->labels[i] : name, i))
			return no_memory(err);
	}
	return map && cJSON_AddNumberToObject(head, "num_labels", a->model->num_labels) ? 0 : no_memory(err);
}

/* That of a model whose class has it. */
static cJSON *make_head(const struct pt_adapter *a, struct pt_error *err)
{
	cJSON *head = cJSON_CreateObject();
	const char *base;

	if (head && !pt_json_str(a->config, "base_model_name_or_path", "", &base, err) && !add_model(head, a, err) &&
	    cJSON_AddNullToObject(head, "config") && cJSON_AddNullToObject(head, "name") &&
	    cJSON_AddStringToObject(head, "model_name", base) && !add_labels(head, a, err)) {
		pt_config_sort(head);
		return head;
	}
	cJSON_Delete(head);
	if (!err->status)
		no_memory(err);
	return NULL;
}

static int write(const struct pt_adapter *a, const char *dir, struct pt_error *err)
{
	const cJSON *kept = pt_json_get(a->config, "head_config");
	cJSON *made = NULL;
	int st;

	if (!kept && !pt_adapter_has(a, PT_IN_HEAD))
		return 0;
	if (!kept && !(made = make_head(a, err)))
		return err->status;
	st = pt_json_write(kept ? kept : made, dir, HEAD_CONFIG, err);
	cJSON_Delete(made);
	return st;
}

/* Whether they are those that transformers gives where nobody named any. */
static bool unnamed(char *const *label, int n)
{
	char name[40];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "LABEL_%d", i);
		if (strcmp(label[i], name) != 0)
			return false;
	}
	return true;
}

static int name_labels(const cJSON *map, int n, char **label, struct pt_error *err)
{
	for (const cJSON *v = map->child; v; v = v->next) {
		int64_t id;

		if (pt_json_to_int(v, 0, n - 1, &id, err))
			return pt_error_prefix(err, HEAD_CONFIG ": label2id of '%s'", v->string);
		if (label[id])
			return pt_error(err, PT_DATA, HEAD_CONFIG ": label2id names %lld twice", (long long)id);
		label[id] = pt_strdup(v->string, err);
		if (!label[id])
			return err->status;
	}
	return 0;
}

static int read_labels(const cJSON *config, char ***labels, int *n, struct pt_error *err)
{
	const cJSON *head = pt_json_get(config, "head_config"), *about = pt_json_get(head, "config"), *map;
	char **label;
	int64_t count;

	*labels = NULL;
	*n = 0;
	/* Of a head that is described there, else of the model's. */
	map = pt_json_get(about ? about : head, "label2id");
	if (!head || (map && !cJSON_IsObject(map)) ||
	    pt_json_int(about ? about : head, "num_labels", 0, PT_MAX_LABELS, map ? cJSON_GetArraySize(map) : 0, &count, err))
		return err->status;
	*n = (int)count;
	if (!map || cJSON_GetArraySize(map) != count)
		return 0;
	label = pt_calloc((size_t)count, sizeof(char *), err);
	if (!label || name_labels(map, *n, label, err) || unnamed(label, *n)) {
		if (label)
			pt_labels_free(label, *n);
		return err->status;
	}
	*labels = label;
	return 0;
}

/* A linear, an activation, a norm before the last linear: numbered as modules are, one after the other. */
static int add_step(struct pt_head_spec *out, const char *name, bool norm, int *at, struct pt_error *err)
{
	struct pt_head_step *s = &out->step[out->nsteps++];

	*at += out->dropout;
	s->dense = pt_format(err, "heads.%s.%d", name, *at);
	*at += 1 + (out->act != PT_ACT_NONE);
	if (norm)
		s->norm = pt_format(err, "heads.%s.%d", name, (*at)++);
	return err->status;
}

/*
 * A head that is described: of classes a dropout, a linear, an activation for each layer, of a vocabulary a linear, an
 * activation, a norm; the last is a linear. Where nothing says so, it has a bias unless it writes words.
 */
static int read_spec(const cJSON *config, struct pt_head_spec *out, struct pt_error *err)
{
	const cJSON *head = pt_json_get(config, "head_config"), *own = pt_json_get(head, "config");
	const char *name, *act;
	int64_t layers, width, full;
	bool norm, words = pt_json_get(own, "vocab_size") != NULL;
	int kind, at = 0;

	if (!own)
		return 0;
	if (pt_json_str(head, "name", "", &name, err) || pt_json_int(own, "layers", 1, 64, 1, &layers, err) ||
	    pt_json_str(own, "activation_function", NULL, &act, err) ||
	    pt_json_bool(own, "use_pooler", false, &out->pooler, err) || pt_json_bool(own, "bias", !words, &out->out_bias, err) ||
	    pt_json_bool(own, "layer_norm", false, &norm, err) || pt_json_double(own, "dropout_prob", -1, &out->drop, err) ||
	    pt_json_int(head, "hidden_size", 1, INT32_MAX, 1, &full, err) ||
	    pt_json_int(own, "embedding_size", 1, INT32_MAX, full, &width, err))
		return pt_error_prefix(err, HEAD_CONFIG);
	kind = act && layers > 1 ? pt_act_parse(act) : (int)PT_ACT_NONE;
	if (kind < 0)
		return pt_error(err, PT_DATA, HEAD_CONFIG ": activation_function '%s' is not supported", act);
	if (words && width != full)
		return pt_error(err, PT_DATA, HEAD_CONFIG ": embedding_size %lld is not the model's %lld", (long long)width,
				(long long)full);
	if (out->drop >= 1)
		return pt_error(err, PT_DATA, HEAD_CONFIG ": dropout_prob %g is no probability below 1", out->drop);
	out->act = (enum pt_act)kind;
	out->dropout = !words;
	out->step = pt_calloc((size_t)layers - 1, sizeof *out->step, err);
	while (out->step && out->nsteps < layers - 1)
		if (add_step(out, name, norm, &at, err))
			return err->status;
	if (out->step)
		out->out = pt_format(err, "heads.%s.%d", name, at + out->dropout);
	return err->status;
}

const struct pt_layout pt_layout_hub = {
	.library = "AdapterHub's adapters",
	.mark = "model_type",
	.weights = "adapter.safetensors",
	.pickle = "pytorch_adapter.bin",
	.convert = "model.load_adapter(DIR), model.save_adapter(DIR, NAME, use_safetensors=True)",
	.head = HEAD_FILE,
	.head_config = HEAD_CONFIG,
	.decode = decode,
	.encode = encode,
	.read = read_head,
	.describe = describe,
	.write = write,
	.labels = read_labels,
	.spec = read_spec,
};
