/* SPDX-License-Identifier: MIT */
/*
 * save.c - writing an adapter directory, and its digest.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

/* What is written, and where its tensors are by their keys. */
struct source {
	struct pt_adapter *a;
	struct pt_map keys;
};

static int index_keys(struct source *s, struct pt_error *err)
{
	const struct pt_adapter *a = s->a;
	int st = pt_map_init(&s->keys, a->ntensors, err);

	for (size_t i = 0; i < a->ntensors && !st; i++)
		st = pt_map_put(&s->keys, a->tensor[i].key, strlen(a->tensor[i].key), (int64_t)i, NULL, err);
	return st;
}

/* Values of a tensor go straight from the device to the file. */
static int fill(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	const struct source *s = arg;
	struct pt_adapter *a = s->a;
	int64_t i = pt_map_get(&s->keys, t->name, strlen(t->name));
	const struct pt_adapter_tensor *at = i < 0 ? NULL : &a->tensor[i];
	float *v, *order = NULL;
	int st;

	if (!at)
		return pt_error(err, PT_FAIL, "%s has no values", t->name);
	v = pt_malloc(t->count, sizeof *v, err);
	st = v ? pt_adapter_get(a, at->param, v, err) : err->status;
	if (!st && at->groups > 1 && !(order = pt_malloc(t->count, sizeof *order, err)))
		st = err->status;
	if (order)
		pt_adapter_regroup(at, v, order, true);
	if (!st)
		st = pt_out_write(out, order ? order : v, t->bytes, err);
	free(order);
	free(v);
	return st;
}

static void list_tensors(const struct pt_adapter *a, enum pt_adapter_in in, struct pt_st_build *b)
{
	for (size_t i = 0; i < a->ntensors; i++) {
		const struct pt_adapter_tensor *t = &a->tensor[i];

		if (t->in == in)
			pt_st_build_tensor(b, t->key, PT_F32, t->param->t.ndim, t->param->t.shape, NULL);
	}
}

static int write_tensors(struct source *s, const char *dir, const char *name, struct pt_st_build *b,
			 struct pt_error *err)
{
	char *path = pt_path_join(dir, name, err);
	int st = path ? pt_st_build_write_fill(b, path, fill, s, err) : PT_FAIL;

	free(path);
	return st;
}

bool pt_adapter_has(const struct pt_adapter *a, enum pt_adapter_in in)
{
	for (size_t i = 0; i < a->ntensors; i++) {
		if (a->tensor[i].in == in)
			return true;
	}
	return false;
}

static int write_before(struct source *s, const char *dir, const cJSON *config, struct pt_error *err)
{
	const struct pt_adapter *a = s->a;
	int st = 0;

	if (a->labels && !a->layout->labels)
		st = pt_labels_write(dir, a->labels, a->nlabels, err);
	if (!st)
		st = pt_prov_write(&a->prov, a->prov_id, dir, err);
	for (int in = PT_IN_WEIGHTS + 1; in < PT_INS && !st; in++) {
		struct pt_st_build b;

		if (!pt_adapter_has(a, (enum pt_adapter_in)in))
			continue;
		pt_st_build_init(&b);
		list_tensors(a, (enum pt_adapter_in)in, &b);
		st = write_tensors(s, dir, pt_adapter_file_name(a, (enum pt_adapter_in)in), &b, err);
		pt_st_build_release(&b);
	}
	if (!st && a->layout->write)
		st = a->layout->write(a, dir, err);
	return st ? st : pt_json_write(config, dir, PT_ADAPTER_CONFIG, err);
}

int pt_adapter_save(struct pt_adapter *a, const char *dir, int part, struct pt_error *err)
{
	struct source s = { .a = a };
	struct pt_st_build b;
	cJSON *config;
	int st;

	if (a->full)
		return pt_full_save(a, dir, part, err);
	config = cJSON_Duplicate(a->config, true);
	if (!config)
		return pt_error(err, PT_FAIL, "out of memory");
	pt_st_build_init(&b);
	list_tensors(a, PT_IN_WEIGHTS, &b);
	st = index_keys(&s, err);
	if (!st && a->method->save)
		st = a->method->save(a, &b, config, err);
	if (!st && a->layout->encode)
		st = a->layout->encode(config, err);
	if (!st && part != PT_SAVE_LAST)
		st = write_before(&s, dir, config, err);
	if (!st && part != PT_SAVE_BUT_LAST)
		st = write_tensors(&s, dir, a->layout->weights, &b, err);
	pt_map_release(&s.keys);
	pt_st_build_release(&b);
	cJSON_Delete(config);
	return st;
}

int pt_adapter_part(const char *name)
{
	static const char *const rest[] = {
		PT_ADAPTER_CONFIG, PT_ADAPTER_STATE, PT_ADAPTER_LABELS, PT_PROV_FILE, PT_FULL_CONFIG,
	};

	const struct pt_layout *l;

	for (int i = 0; (l = pt_layout_at(i)); i++) {
		if (!strcmp(name, l->weights))
			return PT_MODELSAVE_LAST;
		if (l->head && (!strcmp(name, l->head) || !strcmp(name, l->head_config)))
			return PT_MODELSAVE_REST;
	}
	for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
		if (!strcmp(name, rest[i]))
			return PT_MODELSAVE_REST;
	}
	return pt_modelsave_part(name);
}

int pt_adapter_digest(struct pt_adapter *a, uint64_t *out, struct pt_error *err)
{
	cJSON *config = a->config ? cJSON_Duplicate(a->config, true) : cJSON_CreateObject();
	struct pt_buf text = PT_BUF_INIT;
	struct pt_hash h;
	int st = config ? 0 : pt_error(err, PT_FAIL, "out of memory");

	pt_hash_init(&h);
	if (!st) {
		cJSON_DeleteItemFromObjectCaseSensitive(config, "base_model_name_or_path");
		cJSON_DeleteItemFromObjectCaseSensitive(config, "revision");
		/* As files have it: the same when they are read again. */
		if (a->config && a->layout->encode)
			st = a->layout->encode(config, err);
		pt_json_print(&text, config, 0);
		st = st ? st : pt_buf_check(&text, err);
	}
	if (!st)
		pt_hash_str(&h, text.data);
	for (int i = 0; !st && i < a->nlabels; i++)
		pt_hash_str(&h, a->labels[i]);
	for (size_t i = 0; i < a->ntensors && !st; i++) {
		const struct pt_adapter_tensor *t = &a->tensor[i];
		size_t n = (size_t)pt_tensor_count(&t->param->t);
		float *v = pt_malloc(n, sizeof *v, err);

		st = v ? pt_adapter_get(a, t->param, v, err) : err->status;
		if (!st) {
			pt_hash_str(&h, t->key);
			pt_hash_add(&h, v, n * sizeof *v);
		}
		free(v);
	}
	*out = pt_hash_value(&h);
	pt_buf_release(&text);
	cJSON_Delete(config);
	return st;
}
