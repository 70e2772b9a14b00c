/* SPDX-License-Identifier: MIT */
/*
 * weights.c - weights of the base that an adapter replaces by its own:
 * modules_to_save, biases, and all or named ones of full training. The model
 * keeps its mapped value; what the forward pass reads is switched.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"

struct pt_adapter_weight *pt_adapter_replaced(const struct pt_adapter *a, const struct pt_weight *w)
{
	for (size_t i = 0; i < a->nweights; i++) {
		if (a->weight[i].weight == w)
			return &a->weight[i];
	}
	return NULL;
}

void pt_adapter_spare(struct pt_adapter *a, bool spare)
{
	for (size_t i = 0; i < a->nweights; i++)
		pt_model_spare(a->model, a->weight[i].weight, spare);
}

bool pt_module_holds(const char *name, const struct pt_weight *w, bool whole)
{
	size_t n = strlen(name);

	for (const char *dot = strchr(w->path, '.'); dot; dot = strchr(dot + 1, '.')) {
		size_t k = (size_t)(dot - w->path);

		if (k >= n && !strncmp(dot - n, name, n) && (!whole || k == n || dot[-(ptrdiff_t)n - 1] == '.'))
			return true;
	}
	return false;
}

int pt_weight_value(const struct pt_model *m, const struct pt_weight *w, float *out, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&w->t), bytes = n * pt_dtype_size(w->t.type);
	void *raw;
	int st;

	if (w->t.type == PT_F32)
		return pt_weight_read(m, w, 0, bytes, out, err);
	raw = pt_malloc(bytes, 1, err);
	if (!raw)
		return err->status;
	st = pt_weight_read(m, w, 0, bytes, raw, err);
	if (!st)
		pt_to_f32(out, raw, w->t.type, n);
	free(raw);
	return st;
}

int pt_weight_row(const struct pt_model *m, const struct pt_weight *w, int64_t row, float *out, struct pt_error *err)
{
	size_t n = (size_t)w->t.shape[1], bytes = n * pt_dtype_size(w->t.type);
	void *raw = pt_malloc(bytes, 1, err);
	int st;

	if (!raw)
		return err->status;
	st = pt_weight_read(m, w, (size_t)row * bytes, bytes, raw, err);
	if (!st)
		pt_to_f32(out, raw, w->t.type, n);
	free(raw);
	return st;
}

static int copy_value(struct pt_adapter *a, const struct pt_weight *w, struct pt_param *p, struct pt_error *err)
{
	float *v = pt_malloc((size_t)pt_tensor_count(&w->t), sizeof *v, err);
	int st;

	if (!v)
		return err->status;
	st = pt_weight_value(a->model, w, v, err);
	if (!st)
		st = pt_adapter_set(a, p, v, err);
	free(v);
	return st;
}

int pt_adapter_replace(struct pt_adapter *a, struct pt_weight *w, const char *key, int flags,
		       struct pt_error *err)
{
	struct pt_param *p;
	int st = pt_grow(&a->weight, &a->cap_weights, a->nweights + 1, sizeof *a->weight, err);

	if (!st)
		st = pt_adapter_tensor(a, key, flags | (a->layout->head ? PT_TENSOR_HEAD : 0), w->t.ndim, w->t.shape, &p, err);
	if (!st)
		st = copy_value(a, w, p, err);
	if (st)
		return st;
	p->decay = p->decay && !w->norm && !w->bias;
	a->weight[a->nweights++] = (struct pt_adapter_weight){ w, p };
	return 0;
}

static int replace_at(struct pt_adapter *a, struct pt_weight *w, const char *infix, struct pt_error *err)
{
	const char *name = strrchr(w->path, '.');
	char *key = pt_format(err, "%s%.*s%s%s", pt_key_prefix(a->method), (int)(name - w->path), w->path, infix, name);
	int st = key ? pt_adapter_replace(a, w, key, 0, err) : err->status;

	free(key);
	return st;
}

/* Whether w belongs to a module that the method acts on: PEFT wraps it, and its own weights move below base_layer. */
static bool adapted(const struct pt_adapter *a, const struct pt_weight *w)
{
	size_t n;

	pt_adapter_acts(a, w, &n);
	return n > 0;
}

/* The other end of a tied embedding trains along under a second name: ensure_weight_tying. */
static int replace_twin(struct pt_adapter *a, struct pt_weight *w, struct pt_error *err)
{
	struct pt_param *p = pt_adapter_replaced(a, w)->param;

	for (int i = 0; i < a->model->nweights; i++) {
		struct pt_weight *o = &a->model->weight[i];
		char *key;
		int st;

		if (o == w || (o->tied != w && w->tied != o) || pt_adapter_replaced(a, o))
			continue;
		key = pt_format(err, "%s%s", pt_key_prefix(a->method), o->path);
		st = key ? pt_adapter_twin(a, key, p, err) : err->status;
		free(key);
		if (st || pt_grow(&a->weight, &a->cap_weights, a->nweights + 1, sizeof *a->weight, err))
			return err->status;
		a->weight[a->nweights++] = (struct pt_adapter_weight){ o, p };
	}
	return 0;
}

/* Modules of modules_to_save, all of their weights. */
static int replace_saved(struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *list = pt_json_get(a->config, "modules_to_save");
	bool tying;
	int st = pt_json_bool(a->config, "ensure_weight_tying", false, &tying, err);
	const char *name;

	for (int i = 0; i < a->model->nweights && !st; i++) {
		struct pt_weight *w = &a->model->weight[i];
		bool found = false;

		for (int k = 0; !found && (name = pt_config_item(list, k)); k++)
			found = pt_module_holds(name, w, false);
		if (!found || pt_adapter_replaced(a, w) || pt_adapter_leaves(a, w->path))
			continue;
		if (adapted(a, w))
			return pt_error(err, PT_USAGE, "%s is both a target and in modules_to_save", w->path);
		st = replace_at(a, w, "", err);
		if (!st && tying)
			st = replace_twin(a, w, err);
	}
	return st;
}

static int replace_biases(struct pt_adapter *a, struct pt_error *err)
{
	const char *bias;
	int st = pt_json_str(a->config, "bias", "none", &bias, err);
	bool all, found = false;

	if (st || !strcmp(bias, "none"))
		return st;
	all = !strcmp(bias, "all");
	for (int i = 0; i < a->model->nweights && !st; i++) {
		struct pt_weight *w = &a->model->weight[i];
		bool own = adapted(a, w);

		found |= w->bias && (all || own);
		if (w->bias && (all || own) && !pt_adapter_replaced(a, w))
			st = replace_at(a, w, own ? ".base_layer" : "", err);
	}
	if (!st && !found)
		pt_log(PT_WARN, "bias %s: the model has no such biases", bias);
	return st;
}

/* Of the linear that writes words, which is an end of the embeddings even where it is not tied to them. */
static bool writes_words(const struct pt_model *m, const struct pt_weight *w)
{
	for (int i = 0; i < m->nsites; i++) {
		if (m->site[i].output && (m->site[i].weight == w || m->site[i].bias == w))
			return true;
	}
	return false;
}

/* What the file of a head holds trains along, as in the library, whose embeddings stand still at either end. */
static int replace_head(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_st *file = a->file[PT_IN_HEAD];
	int st = 0;

	for (size_t i = 0; file && i < file->ntensors && !st; i++) {
		struct pt_weight *w = pt_model_weight(a->model, file->tensor[i].name);

		if (w && !pt_adapter_replaced(a, w))
			st = pt_adapter_replace(a, w, file->tensor[i].name, writes_words(a->model, w) ? PT_TENSOR_FROZEN : 0, err);
	}
	return st;
}

int pt_adapter_replace_all(struct pt_adapter *a, struct pt_error *err)
{
	int st = replace_saved(a, err);

	if (!st)
		st = replace_biases(a, err);
	return st ? st : replace_head(a, err);
}
