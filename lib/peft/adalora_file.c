/* SPDX-License-Identifier: MIT */
/*
 * adalora_file.c - AdaLoRA's tensors between memory, which has all components,
 * and PEFT's file, which has those that pruning left, listed in rank_pattern.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adalora.h"

enum { A = PT_ADALORA_A, B = PT_ADALORA_B, E = PT_ADALORA_E, PARAMS = PT_ADALORA_PARAMS };

static const char *const names[PARAMS] = { "lora_A", "lora_B", "lora_E" };

static char *key_of(const struct pt_adapter_site *s, const char *name, struct pt_error *err)
{
	return pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);
}

/* The components of a site that a file's rank_pattern keeps: a list of booleans, or NULL for all. */
static const cJSON *pattern_of(const struct pt_adapter *a, const struct pt_adapter_site *s, struct pt_error *err)
{
	char *key = pt_format(err, "%s.lora_E", s->site->path);
	const cJSON *v = key ? pt_json_get(pt_json_get(a->config, "rank_pattern"), key) : NULL;

	free(key);
	return v;
}

/* How many there are, and whether tensors of so many components fit them. */
static int check_pattern(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t rank,
			 struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	const cJSON *list = pattern_of(a, s, err);
	int64_t kept = list ? 0 : l->init_r, n = list ? cJSON_GetArraySize(list) : l->init_r;

	for (const cJSON *v = list ? list->child : NULL; v; v = v->next)
		kept += cJSON_IsTrue(v);
	if (n != l->init_r)
		return pt_error(err, PT_DATA, "rank_pattern of %s has %lld entries, init_r is %lld", s->site->path,
				(long long)n, (long long)l->init_r);
	if (kept != rank)
		return pt_error(err, PT_DATA, "%s.lora_A has %lld rows, rank_pattern and init_r say %lld", s->site->path,
				(long long)rank, (long long)kept);
	return 0;
}

/* Whether the state holds all components, and else how many the file has. */
int pt_adalora_stored(const struct pt_adapter *a, const struct pt_adapter_site *s, bool *whole, int64_t *rank,
		       struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	char *key = key_of(s, names[A], err);
	const struct pt_st_tensor *t;

	*rank = l->init_r;
	*whole = true;
	if (!key || a->fresh) {
		free(key);
		return err->status;
	}
	*whole = a->file[PT_IN_STATE] != NULL;
	t = a->file[PT_IN_WEIGHTS] ? pt_st_find(a->file[PT_IN_WEIGHTS], key) : NULL;
	free(key);
	if (*whole || !t || t->ndim != 2)
		return 0;
	*rank = t->shape[0];
	return check_pattern(a, s, *rank, err);
}

int pt_adalora_tensors(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err)
{
	const int64_t shape[PARAMS][2] = { { s->rank, s->site->in }, { s->site->out, s->rank }, { s->rank, 1 } };
	int st = 0;

	for (int i = 0; i < PARAMS && !st; i++) {
		char *key = flags & PT_TENSOR_STATE ? key_of(s, names[i], err) : NULL;

		st = key ? pt_adapter_made(a, key, 0, err) : err->status;
		if (!st)
			st = pt_adapter_tensor_at(a, s, names[i], flags | (i == B ? PT_TENSOR_UP : 0), 2, shape[i], err);
		free(key);
	}
	return st;
}

int pt_adalora_mask(struct pt_adapter *a, const struct pt_adapter_site *s, const cJSON *list, struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	float *mask = pt_malloc((size_t)s->rank, sizeof *mask, err);
	int st;

	for (int i = 0; mask && i < s->rank; i++)
		mask[i] = !list || cJSON_IsTrue(cJSON_GetArrayItem(list, i));
	st = mask ? pt_adapter_set(a, x->mask, mask, err) : err->status;
	free(mask);
	return st;
}

/* One of the file's tensors, [rank,width] or (B) [width,rank], with zeros for components that it lacks. */
static int load_one(struct pt_adapter *a, struct pt_adapter_site *s, int which, const cJSON *list, struct pt_error *err)
{
	int64_t all = s->rank, width = which == A ? s->site->in : which == B ? s->site->out : 1, rank, have = 0;
	char *key = key_of(s, names[which], err);
	const struct pt_st_tensor *t = key ? pt_st_find(a->file[PT_IN_WEIGHTS], key) : NULL;
	float *from = NULL, *to = NULL;
	int st = key ? 0 : err->status;

	if (!st && (!t || t->ndim != 2 || t->shape[which == B ? 0 : 1] != width))
		st = pt_error(err, PT_DATA, "%s is missing, or not of the module's shape", key);
	rank = st ? 0 : t->shape[which == B ? 1 : 0];
	if (!st)
		st = check_pattern(a, s, rank, err);
	if (!st) {
		from = pt_malloc(t->count + 1, sizeof *from, err);
		to = pt_calloc((size_t)(all * width), sizeof *to, err);
		st = from && to ? 0 : err->status;
	}
	if (!st)
		st = pt_st_floats(t, from, err);
	for (int64_t i = 0; !st && i < all; i++) {
		if (list && !cJSON_IsTrue(cJSON_GetArrayItem(list, (int)i)))
			continue;
		for (int64_t j = 0; j < width; j++)
			to[which == B ? j * all + i : i * width + j] = from[which == B ? j * rank + have : have * width + j];
		have++;
	}
	if (!st)
		st = pt_adapter_set(a, s->param[which], to, err);
	free(key);
	free(from);
	free(to);
	return st;
}

/* A directory of PEFT that is to be trained on: the components that it kept. */
int pt_adalora_load(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	const cJSON *list = pattern_of(a, s, err);
	int st = 0;

	if (!x->whole || a->file[PT_IN_STATE])
		return 0;
	for (int i = 0; i < PARAMS && !st; i++)
		st = load_one(a, s, i, list, err);
	return st ? st : pt_adalora_mask(a, s, list, err);
}

/* Values of a site on the host; freed by the caller, also after a failure. */
int pt_adalora_get(struct pt_adapter *a, const struct pt_adapter_site *s, float *v[PARAMS], struct pt_error *err)
{
	int st = 0;

	for (int i = 0; i < PARAMS; i++)
		v[i] = NULL;
	for (int i = 0; i < PARAMS && !st; i++) {
		v[i] = pt_malloc((size_t)pt_tensor_count(&s->param[i]->t) + 1, sizeof **v, err);
		st = v[i] ? pt_adapter_get(a, s->param[i], v[i], err) : err->status;
	}
	return st;
}

void pt_adalora_put(float *v[PARAMS])
{
	for (int i = 0; i < PARAMS; i++)
		free(v[i]);
}

/*
 * What PEFT's file gets of a site: components that are not pruned, or have
 * come back to life since, so that it computes what this one does; packed in
 * place. *n of them, listed in pattern.
 */
static int pack(struct pt_adapter *a, const struct pt_adapter_site *s, float *v[PARAMS], cJSON *pattern, int64_t *n,
		struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	int64_t r = s->rank, in = s->site->in, out = s->site->out, k = 0;
	float *mask = pt_malloc((size_t)r, sizeof *mask, err);
	int st = mask ? pt_adapter_get(a, x->mask, mask, err) : err->status;

	for (int64_t i = 0; !st && i < r; i++) {
		bool keep = mask[i] != 0 || v[E][i] != 0;

		mask[i] = keep;
		cJSON_AddItemToArray(pattern, cJSON_CreateBool(keep));
		if (!keep)
			continue;
		memmove(v[A] + k * in, v[A] + i * in, (size_t)in * sizeof(float));
		v[E][k++] = v[E][i];
	}
	*n = k;
	/* Row by row, so that nothing is overwritten before it is read. */
	for (int64_t o = 0, at = 0; !st && o < out; o++) {
		for (int64_t i = 0; i < r; i++) {
			if (mask[i] != 0)
				v[B][at++] = v[B][o * r + i];
		}
	}
	free(mask);
	return st;
}

static int save_site(struct pt_adapter *a, int site, struct pt_st_build *file, cJSON *patterns, bool *pruned,
		     struct pt_error *err)
{
	struct pt_adapter_site *s = &a->site[site];
	struct pt_adalora *l = a->state;
	float **v = l->kept + PARAMS * site;
	char *key = pt_format(err, "%s.lora_E", s->site->path);
	cJSON *list = key ? cJSON_AddArrayToObject(patterns, key) : NULL;
	int64_t n, shape[2];
	int st;

	free(key);
	pt_adalora_put(v);
	st = pt_adalora_get(a, s, v, err);
	if (!st && !list)
		st = pt_error(err, PT_FAIL, "out of memory");
	if (!st)
		st = pack(a, s, v, list, &n, err);
	for (int i = 0; i < PARAMS && !st; i++) {
		key = key_of(s, names[i], err);
		if (!key)
			return err->status;
		shape[0] = i == B ? s->site->out : n;
		shape[1] = i == A ? s->site->in : i == B ? n : 1;
		pt_st_build_tensor(file, key, PT_F32, 2, shape, v[i]);
		free(key);
	}
	*pruned |= !st && n < s->rank;
	return st;
}

int pt_adalora_save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err)
{
	struct pt_adalora *l = a->state;
	cJSON *patterns;
	bool pruned = false;
	int st = 0;

	if (!a->nsites || !((struct pt_adalora_site *)a->site[0].state)->whole)
		return 0;
	if (!l->kept)
		l->kept = pt_calloc((size_t)(PARAMS * a->nsites), sizeof *l->kept, err);
	patterns = l->kept ? cJSON_CreateObject() : NULL;
	if (!patterns)
		return err->status ? err->status : pt_error(err, PT_FAIL, "out of memory");
	for (int i = 0; i < a->nsites && !st; i++)
		st = save_site(a, i, file, patterns, &pruned, err);
	if (!st && (pruned || l->patterned)) {
		cJSON_DeleteItemFromObjectCaseSensitive(config, "rank_pattern");
		if (cJSON_AddItemToObject(config, "rank_pattern", patterns))
			return 0;
		st = pt_error(err, PT_FAIL, "out of memory");
	}
	cJSON_Delete(patterns);
	return st;
}
