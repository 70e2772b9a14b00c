/* SPDX-License-Identifier: MIT */
/*
 * save.c - config.json and parameters of a model that is written.
 */
#include "model/save.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/body.h"

/* Sets key, in its place where it is there. Takes v; NULL is a failure. */
static int set(cJSON *json, const char *key, cJSON *v, struct pt_error *err)
{
	cJSON_bool ok = 0;

	if (v && cJSON_GetObjectItemCaseSensitive(json, key))
		ok = cJSON_ReplaceItemInObjectCaseSensitive(json, key, v);
	else if (v)
		ok = cJSON_AddItemToObject(json, key, v);
	if (ok)
		return 0;
	cJSON_Delete(v);
	return pt_error(err, PT_FAIL, "out of memory");
}

static int set_class(cJSON *json, const struct pt_model *m, struct pt_error *err)
{
	char name[100];
	const char *s = pt_family_class(m->cfg.family, m->task, name, sizeof name);

	return set(json, "architectures", cJSON_CreateStringArray(&s, 1), err);
}

static int set_labels(cJSON *json, const struct pt_model *m, const struct pt_model_save *o,
		      struct pt_error *err)
{
	char *const *label = o->label ? o->label : m->cfg.num_labels == m->num_labels ? m->cfg.label : NULL;
	cJSON *ids = cJSON_CreateObject(), *names = cJSON_CreateObject();
	bool ok = ids && names;
	int st;

	for (int i = 0; ok && i < m->num_labels; i++) {
		char id[16], other[32];
		const char *s = label ? label[i] : other;

		snprintf(id, sizeof id, "%d", i);
		snprintf(other, sizeof other, "LABEL_%d", i);
		ok = cJSON_AddStringToObject(ids, id, s) && cJSON_AddNumberToObject(names, s, i);
	}
	if (!ok) {
		cJSON_Delete(ids);
		cJSON_Delete(names);
		return pt_error(err, PT_FAIL, "out of memory");
	}
	/* transformers derives it; where it stands it would win. */
	cJSON_DeleteItemFromObjectCaseSensitive(json, "num_labels");
	st = set(json, "id2label", ids, err);
	if (st) {
		cJSON_Delete(names);
		return st;
	}
	st = set(json, "label2id", names, err);
	if (st == 0 && o->problem != PT_PROBLEM_UNSET)
		st = set(json, "problem_type", cJSON_CreateString(pt_problem_type(o->problem)), err);
	return st;
}

/* Under the key that the file has; transformers 4 and 5 both read torch_dtype. */
static int set_dtype(cJSON *json, int dtype, struct pt_error *err)
{
	const char *s = dtype == PT_BF16 ? "bfloat16" : dtype == PT_F16 ? "float16" :
			dtype == PT_F64 ? "float64" : "float32";
	bool five = cJSON_GetObjectItemCaseSensitive(json, "dtype") != NULL;
	int st = 0;

	if (!five || cJSON_GetObjectItemCaseSensitive(json, "torch_dtype"))
		st = set(json, "torch_dtype", cJSON_CreateString(s), err);
	if (st == 0 && five)
		st = set(json, "dtype", cJSON_CreateString(s), err);
	return st;
}

cJSON *pt_model_save_config(const struct pt_model *m, const struct pt_model_save *o,
			    struct pt_error *err)
{
	cJSON *json = cJSON_Duplicate(m->cfg.json, 1);
	int st = json ? 0 : pt_error(err, PT_FAIL, "out of memory");

	if (st == 0)
		st = set_class(json, m, err);
	if (st == 0 && pt_task_labels(m->task))
		st = set_labels(json, m, o, err);
	if (st == 0 && o->dtype >= 0)
		st = set_dtype(json, o->dtype, err);
	if (st == 0 && o->tie >= 0 && !m->cfg.tie_forced)
		st = set(json, "tie_word_embeddings", cJSON_CreateBool(o->tie), err);
	if (st) {
		pt_json_free(json);
		return NULL;
	}
	return json;
}

static void describe(struct pt_model_tensor *t, struct pt_weight *w)
{
	const struct pt_site *p = w->param;
	int skip = p && p->experts == 1 && p->npieces == 1;

	*t = (struct pt_model_tensor){ .first = w, .n = p ? p->npieces : 1 };
	t->name = p ? p->file : w->file ? w->file : w->path;
	t->ndim = p ? 3 - skip : w->t.ndim;
	for (int k = 0; k < t->ndim; k++)
		t->shape[k] = p ? (const int64_t[]){ p->experts, p->out, p->in }[skip + k] : w->t.shape[k];
}

bool pt_model_tensor_at(const struct pt_model *m, int i, struct pt_model_tensor *out)
{
	struct pt_weight *w = &m->weight[i];

	if (w->param && w->param->piece[0]->weight != w)
		return false;
	describe(out, w);
	return true;
}

bool pt_model_tensor_find(const struct pt_model *m, const char *name, struct pt_model_tensor *out)
{
	int64_t i = pt_map_get(&m->body->names, name, strlen(name));

	if (i < 0)
		return false;
	describe(out, i < m->nweights ? &m->weight[i] : m->site[i - m->nweights].piece[0]->weight);
	return true;
}

struct pt_weight *pt_model_tensor_weight(const struct pt_model_tensor *t, int k)
{
	return t->first->param ? t->first->param->piece[k]->weight : t->first;
}

static enum pt_dtype type_of(const struct pt_model_tensor *t)
{
	enum pt_dtype type = t->first->use->type;

	for (int k = 1; k < t->n; k++) {
		if (pt_model_tensor_weight(t, k)->use->type != type)
			return PT_F32;
	}
	return type;
}

int pt_model_save_list(const struct pt_model *m, int dtype, struct pt_modelsave *s, struct pt_error *err)
{
	struct pt_model_tensor t;

	for (int i = 0; i < m->nweights; i++) {
		const struct pt_weight *w = &m->weight[i];

		if ((w->tied && w->use->data == w->tied->use->data) || !pt_model_tensor_at(m, i, &t))
			continue;
		if (pt_modelsave_tensor(s, t.name, dtype < 0 ? type_of(&t) : (enum pt_dtype)dtype, t.ndim, t.shape, NULL,
					err))
			return err->status;
	}
	return 0;
}

/* All of what forward reads of a weight to out in another type, in pieces. */
static int write_weight(const struct pt_model *m, const struct pt_weight *of, struct pt_out *out, enum pt_dtype type,
			struct pt_error *err)
{
	const struct pt_tensor *w = of->use;
	enum { PIECE = 1 << 18 };
	size_t from = pt_dtype_size(w->type), to = pt_dtype_size(type), count = (size_t)pt_tensor_count(w);
	void *raw = pt_malloc(PIECE, from, err), *cast = pt_malloc(PIECE, to, err);
	float *wide = pt_malloc(PIECE, sizeof *wide, err);
	int st = raw && wide && cast ? 0 : err->status;

	for (size_t at = 0; st == 0 && at < count; at += PIECE) {
		size_t n = count - at < PIECE ? count - at : PIECE;

		st = w == &of->t ? pt_weight_read(m, of, at * from, n * from, raw, err) :
				   m->dev->download(m->dev, raw, (const char *)w->data + at * from, n * from, err);
		if (st)
			break;
		if (w->type == type) {
			st = pt_out_write(out, raw, n * from, err);
			continue;
		}
		pt_to_f32(wide, raw, w->type, n);
		pt_from_f32(cast, type, wide, n);
		st = pt_out_write(out, cast, n * to, err);
	}
	free(raw);
	free(cast);
	free(wide);
	return st;
}

int pt_model_save_fill(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	const struct pt_model *m = arg;
	struct pt_model_tensor x;
	int st = 0;

	if (!pt_model_tensor_find(m, t->name, &x))
		return pt_error(err, PT_FAIL, "the model has no parameter %s", t->name);
	for (int k = 0; k < x.n && !st; k++)
		st = write_weight(m, pt_model_tensor_weight(&x, k), out, t->dtype, err);
	return st;
}
