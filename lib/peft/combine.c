/* SPDX-License-Identifier: MIT */
/*
 * combine.c - several adapters become one: the configuration that covers them
 * all, and what trained whole; see combine.h.
 */
#include "peft/combine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

static int check(struct pt_adapter *const *a, int n, const struct pt_combine_options *o, struct pt_error *err)
{
	bool drops = o->kind->drop != PT_DROP_NONE;

	for (int i = 0; i < n; i++) {
		if (a[i]->full)
			return pt_error(err, PT_USAGE, "full training gives models: they are not combined");
		if (a[i]->method != a[0]->method)
			return pt_error(err, PT_USAGE, "%s and %s are not combined", a[0]->method->name, a[i]->method->name);
		if (a[i]->nrows)
			return pt_error(err, PT_USAGE, "adapters with rows of tokens are not combined");
		if (a[i]->task != a[0]->task)
			return pt_error(err, PT_USAGE, "the adapters are for different tasks");
		if (!isfinite(o->weight[i]))
			return pt_error(err, PT_USAGE, "a weight is not finite");
	}
	if (!a[0]->method->combiner)
		return pt_error(err, PT_USAGE, "adapters of %s are not combined", a[0]->method->name);
	if (drops && !(o->density > 0 && o->density <= 1))
		return pt_error(err, PT_USAGE, "%s wants a density above 0, at most 1", o->kind->name);
	return 0;
}

/* Sites of an adapter are in the order of the model's. */
static const struct pt_adapter_site *site_of(const struct pt_adapter *a, const struct pt_site *s)
{
	int lo = 0, hi = a->nsites;

	while (lo < hi) {
		int mid = lo + (hi - lo) / 2;

		if (a->site[mid].site == s)
			return &a->site[mid];
		if (a->site[mid].site < s)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

int pt_combine_names(cJSON *config, const char *key, struct pt_adapter *const *a, int n, struct pt_error *err)
{
	cJSON *list = cJSON_CreateArray();
	const char *name;
	bool some = false;
	int st = list ? 0 : pt_error(err, PT_FAIL, "out of memory");

	for (int i = 0; i < n && !st; i++) {
		const cJSON *v = pt_json_get(a[i]->config, key);

		for (int k = 0; !st && (name = pt_config_item(v, k)); k++) {
			st = pt_config_add_name(list, name, err);
			some = true;
		}
	}
	if (!st && some)
		return pt_config_set(config, key, list, err);
	cJSON_Delete(list);
	return st ? st : pt_config_set(config, key, cJSON_CreateNull(), err);
}

/* Whether the names that the adapters' lists hold, put together, are those of their modules. */
static bool names_do(struct pt_adapter *const *a, int n)
{
	static const char *const less[] = { "layers_to_transform", "exclude_modules" };

	for (int i = 0; i < n; i++) {
		for (size_t k = 0; k < sizeof less / sizeof *less; k++)
			if (pt_json_get(a[i]->config, less[k]))
				return false;
		if (!cJSON_IsArray(pt_json_get(a[i]->config, "target_modules")))
			return false;
	}
	return true;
}

/* The modules of all adapters: by the names of their lists, or one by one. */
static int set_targets(cJSON *config, struct pt_adapter *const *a, int n, struct pt_error *err)
{
	static const char *const none[] = { "layers_to_transform", "layers_pattern", "exclude_modules" };
	const struct pt_model *m = a[0]->model;
	cJSON *list;
	int st = 0;

	for (size_t k = 0; k < sizeof none / sizeof *none && !st; k++)
		if (cJSON_GetObjectItemCaseSensitive(config, none[k]))
			st = pt_config_set(config, none[k], cJSON_CreateNull(), err);
	if (st || names_do(a, n))
		return st ? st : pt_combine_names(config, "target_modules", a, n, err);
	list = cJSON_CreateArray();
	if (!list)
		return pt_error(err, PT_FAIL, "out of memory");
	for (int i = 0; i < m->nsites && !st; i++) {
		for (int k = 0; k < n && !st; k++)
			if (site_of(a[k], &m->site[i]))
				st = pt_config_add_name(list, m->site[i].path, err);
	}
	if (!st)
		return pt_config_set(config, "target_modules", list, err);
	cJSON_Delete(list);
	return st;
}

static int make_config(cJSON **out, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
		       struct pt_error *err)
{
	cJSON *config = cJSON_Duplicate(a[0]->config, 1);
	int st = config ? 0 : pt_error(err, PT_FAIL, "out of memory");

	if (!st)
		st = set_targets(config, a, n, err);
	if (!st)
		st = pt_combine_names(config, "modules_to_save", a, n, err);
	if (!st)
		st = a[0]->method->combiner->config(config, a, n, o, err);
	*out = config;
	return st;
}

static int sites(struct pt_adapter *to, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
		 struct pt_error *err)
{
	const struct pt_adapter_site **part = pt_malloc((size_t)n, sizeof *part, err);
	int st = part ? 0 : err->status;

	/* One may train whole what another adapts. */
	for (int k = 0; k < n && !st; k++) {
		for (int i = 0; i < a[k]->nsites && !st; i++)
			if (!site_of(to, a[k]->site[i].site))
				st = pt_error(err, PT_USAGE, "%s is adapted and trained whole: that is not combined",
					      a[k]->site[i].site->path);
	}
	for (int i = 0; i < to->nsites && !st; i++) {
		for (int k = 0; k < n; k++)
			part[k] = site_of(a[k], to->site[i].site);
		if ((st = pt_stopped(o->stop, err)))
			break;
		st = to->method->combiner->site(to, &to->site[i], a, part, n, o, err);
		if (st)
			pt_error_prefix(err, "%s", to->site[i].site->path);
	}
	free(part);
	return st;
}

/* What trained whole: of the one that has it, or of all of them the same. */
static int whole(struct pt_adapter *to, struct pt_adapter *const *a, int n, struct pt_adapter_weight *x,
		 struct pt_error *err)
{
	size_t count = (size_t)pt_tensor_count(&x->weight->t);
	float *v[2] = { pt_malloc(count, sizeof **v, err), pt_malloc(count, sizeof **v, err) };
	int found = 0, st = v[0] && v[1] ? 0 : err->status;

	for (int i = 0; i < n && !st; i++) {
		const struct pt_adapter_weight *own = pt_adapter_replaced(a[i], x->weight);

		if (!own)
			continue;
		st = pt_adapter_get(a[i], own->param, v[found > 0], err);
		if (!st && found++ && memcmp(v[0], v[1], count * sizeof **v) != 0)
			st = pt_error(err, PT_USAGE, "several adapters have trained %s whole: they are not combined",
				      x->weight->path);
	}
	if (!st && found)
		st = pt_adapter_set(to, x->param, v[0], err);
	free(v[0]);
	free(v[1]);
	return st;
}

static int labels(struct pt_adapter *to, struct pt_adapter *const *a, int n, struct pt_error *err)
{
	for (int i = 0; i < n; i++) {
		if (a[i]->labels)
			return pt_adapter_set_labels(to, (const char *const *)a[i]->labels, a[i]->nlabels, err);
	}
	return 0;
}

int pt_combine(struct pt_adapter **out, struct pt_adapter *const *a, int n, const struct pt_combine_options *o,
	       struct pt_error *err)
{
	cJSON *config = NULL;
	int st = check(a, n, o, err);

	*out = NULL;
	if (!st)
		st = make_config(&config, a, n, o, err);
	if (st) {
		pt_json_free(config);
		return st;
	}
	st = pt_adapter_make(out, a[0]->model, a[0]->method, config, &(struct pt_adapter_origin){ 0 }, err);
	if (!st)
		st = sites(*out, a, n, o, err);
	for (size_t i = 0; !st && i < (*out)->nweights; i++)
		st = whole(*out, a, n, &(*out)->weight[i], err);
	if (!st)
		st = labels(*out, a, n, err);
	for (int i = 0; i < n && !st; i++)
		st = pt_prov_union(&(*out)->prov, &a[i]->prov, err);
	if (st) {
		pt_adapter_close(*out);
		*out = NULL;
	}
	return st;
}
