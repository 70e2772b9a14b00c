/* SPDX-License-Identifier: MIT */
/*
 * target_layers.c - layers_to_transform and layers_pattern: which layer the
 * path of a module is of, by PEFT's rules, and whether that is one of those.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

/* The number that follows text[end]: "12." gives 12; -1: none. */
static long number_at(const char *p)
{
	long n = 0;

	if (!isdigit((unsigned char)*p))
		return -1;
	for (; isdigit((unsigned char)*p) && n < 1000000; p++)
		n = 10 * n + (*p - '0');
	return *p == '.' ? n : -1;
}

/* Layer of a path: the number behind a pattern, else the first number with two names before it; -1: none. */
static int layer_of(const cJSON *patterns, const char *path, long *layer, struct pt_error *err)
{
	const char *name;

	*layer = -1;
	if (!pt_config_item(patterns, 0)) {
		for (const char *p = strchr(path, '.'); p && *layer < 0; p = strchr(p + 1, '.')) {
			const char *q = strchr(p + 1, '.');

			if (q)
				*layer = number_at(q + 1);
		}
		return 0;
	}
	for (int i = 0; *layer < 0 && (name = pt_config_item(patterns, i)); i++) {
		char *re = pt_format(err, "(?:.*?\\.)?(?:%s)\\.(?=\\d+\\.)", name);
		bool match = false;
		size_t end;
		int st = re ? pt_regex_begins(re, path, &match, &end, err) : err->status;

		free(re);
		if (st)
			return st;
		if (match)
			*layer = number_at(path + end);
	}
	return 0;
}

static bool has_number(const cJSON *v, long n)
{
	if (cJSON_IsNumber(v))
		return v->valuedouble == (double)n;
	for (const cJSON *i = cJSON_IsArray(v) ? v->child : NULL; i; i = i->next) {
		if (cJSON_IsNumber(i) && i->valuedouble == (double)n)
			return true;
	}
	return false;
}

static bool restricts(const cJSON *layers)
{
	return cJSON_IsNumber(layers) || (cJSON_IsArray(layers) && layers->child);
}

/* Whether layers_to_transform lets this module pass; those named in full always do. */
int pt_layers_hold(const cJSON *config, const char *path, bool *yes, struct pt_error *err)
{
	const cJSON *layers = pt_json_get(config, "layers_to_transform"), *list = pt_json_get(config, "target_modules");
	const char *name;
	long layer;
	int st;

	*yes = true;
	if (!restricts(layers))
		return 0;
	for (int i = 0; (name = pt_config_item(list, i)); i++) {
		if (!strcmp(name, path))
			return 0;
	}
	st = layer_of(pt_json_get(config, "layers_pattern"), path, &layer, err);
	*yes = !st && layer >= 0 && has_number(layers, layer);
	return st;
}

int pt_layers_check(const struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *layers = pt_json_get(a->config, "layers_to_transform");
	const cJSON *first = cJSON_IsArray(layers) ? layers->child : layers;
	const struct pt_config *c = &a->model->cfg;
	int most = c->stack[0].layers;

	for (int i = 1; i < c->nstacks; i++)
		most = c->stack[i].layers > most ? c->stack[i].layers : most;
	if (!restricts(layers)) {
		if (a->fresh && pt_config_item(pt_json_get(a->config, "layers_pattern"), 0))
			return pt_error(err, PT_USAGE, "layers_pattern needs layers_to_transform");
		return 0;
	}
	if (cJSON_IsString(pt_json_get(a->config, "target_modules")))
		return pt_error(err, PT_USAGE, "layers_to_transform needs a list of targets, not an expression");
	for (const cJSON *v = first; v; v = cJSON_IsArray(layers) ? v->next : NULL) {
		int64_t n;

		if (pt_json_to_int(v, 0, 1 << 20, &n, err))
			return pt_error_prefix(err, "layers_to_transform");
		if (n >= most && a->fresh)
			return pt_error(err, PT_USAGE, "layers_to_transform: the model has no layer %lld, it has %d",
					(long long)n, most);
	}
	return 0;
}
