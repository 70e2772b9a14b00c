/* SPDX-License-Identifier: MIT */
/*
 * target.c - the modules that a configuration names, by PEFT's rules:
 * target_modules (a list by suffix, a regular expression, "all-linear", or
 * the family's default), exclude_modules, modules_to_save, which are never
 * targets, layers_to_transform with layers_pattern, and patterns that give
 * single modules another rank or alpha.
 *
 * PEFT is silent about an entry that matches nothing; here it is an error of
 * a fresh adapter, and a warning where a directory of others has it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"

/* path is name, or ends in ".name". */
static bool has_suffix(const char *path, const char *name)
{
	size_t n = strlen(path), k = strlen(name);

	return k && n >= k && !strcmp(path + n - k, name) && (n == k || path[n - k - 1] == '.');
}

/*
 * Whether an entry that matches the path of a module means it. Where HF's
 * memory has a parameter instead, PEFT matches none: then only a file that
 * holds it does, or an entry that says what it is about.
 */
static bool means(const struct pt_adapter *a, const struct pt_site *s, const char *entry)
{
	bool expert = strstr(s->path, ".experts.") != NULL;

	if (!s->packed)
		return true;
	if (!a->fresh)
		return expert ? a->file_experts : a->file_routers;
	return strstr(entry, expert ? "expert" : "mlp.gate") != NULL;
}

/* An entry of a list, or a whole expression, against a module. */
static int match_entry(const struct pt_adapter *a, const cJSON *v, const char *entry, const struct pt_site *s, bool *yes,
		       struct pt_error *err)
{
	*yes = false;
	if (cJSON_IsString(v) && pt_regex_match(entry, s->path, yes, err))
		return err->status;
	if (!cJSON_IsString(v))
		*yes = has_suffix(s->path, entry);
	*yes = *yes && means(a, s, entry);
	return 0;
}

/* As target_modules and exclude_modules are. */
static int matches(const struct pt_adapter *a, const char *key, const struct pt_site *s, bool *yes, struct pt_error *err)
{
	const cJSON *v = pt_json_get(a->config, key);
	const char *entry;

	*yes = false;
	for (int i = 0; !*yes && (entry = pt_config_item(v, i)); i++) {
		if (match_entry(a, v, entry, s, yes, err))
			return err->status;
	}
	return 0;
}

/* (^|.*\.)NAME($|\..*): the module or one inside it. */
static int inside_saved(const cJSON *list, const char *path, bool *yes, struct pt_error *err)
{
	const char *name;

	*yes = false;
	for (int i = 0; !*yes && (name = pt_config_item(list, i)); i++) {
		char *re = pt_format(err, "(?:.*\\.)?(?:%s)(?:\\..*)?", name);
		int st = re ? pt_regex_match(re, path, yes, err) : err->status;

		free(re);
		if (st)
			return st;
	}
	return 0;
}

/* Modules that can be named: those with parameters of their own. */
static bool is_module(const struct pt_site *s)
{
	return s->weight != NULL;
}

/* Whether the file adapts experts or routers one by one, as PEFT did when they were modules. */
static void look_for_packed(struct pt_adapter *a)
{
	const struct pt_st *file = a->file[PT_IN_WEIGHTS];

	for (size_t i = 0; file && i < file->ntensors; i++) {
		const char *name = file->tensor[i].name, *at = strstr(name, ".experts.");

		a->file_experts |= at && at[9] >= '0' && at[9] <= '9';
		a->file_routers |= strstr(name, ".mlp.gate.") != NULL;
	}
}

/* An entry that no module matches: an error of a fresh adapter. */
static int check_entries(const struct pt_adapter *a, const char *key, struct pt_error *err)
{
	const cJSON *v = pt_json_get(a->config, key);
	const char *name;

	for (int i = 0; (name = pt_config_item(v, i)); i++) {
		bool found = false, packed = false;

		for (int k = 0; !found && k < a->model->nsites; k++) {
			const struct pt_site *s = &a->model->site[k];

			if (!is_module(s))
				continue;
			if (match_entry(a, v, name, s, &found, err))
				return err->status;
			packed |= s->packed && !found && !cJSON_IsString(v) && has_suffix(s->path, name);
		}
		if (found)
			continue;
		if (a->fresh && packed)
			return pt_error(err, PT_USAGE, "%s: '%s' is of experts or a router, which are parameters to PEFT:"
					" target_parameters has gate_up_proj, down_proj and gate.weight", key, name);
		if (a->fresh)
			return pt_error(err, PT_USAGE, "%s: '%s' matches no module of the model", key, name);
		pt_log(PT_WARN, "%s: '%s' matches no module of the model", key, name);
	}
	return 0;
}

int pt_targets_saved(const struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *v = pt_json_get(a->config, "modules_to_save");
	const char *name;

	for (int i = 0; a->fresh && (name = pt_config_item(v, i)); i++) {
		bool found = false;

		for (int k = 0; !found && k < a->model->nweights; k++)
			found = pt_module_holds(name, &a->model->weight[k], false);
		/* PEFT names the heads of all families where one trains. */
		if (!found && strcmp(name, "score") != 0 && strcmp(name, "classifier") != 0)
			return pt_error(err, PT_USAGE, "modules_to_save: '%s' matches no module of the model", name);
	}
	return 0;
}

/* A pattern sees a module, or a parameter by its name. */
static int pattern_fits(const char *re, const struct pt_site *s, bool *yes, struct pt_error *err)
{
	bool param = s->kind == PT_SITE_PARAM;
	char *path = pt_format(err, "%s%s%s", s->path, param ? "." : "", param ? s->param : "");
	int st = path ? pt_regex_match(re, path, yes, err) : err->status;

	free(path);
	return st;
}

/* rank_pattern is something else to some. */
static bool has_patterns(const struct pt_method *m, const char *key)
{
	for (const struct pt_option *o = m->options; o && o->key; o++) {
		if (!strcmp(o->key, key))
			return o->kind == PT_OPTION_INT_BY || o->kind == PT_OPTION_FLOAT_BY;
	}
	return false;
}

static int check_patterns(const struct pt_adapter *a, const char *key, const bool *matched, struct pt_error *err)
{
	const cJSON *patterns = pt_json_get(a->config, key);

	if (!has_patterns(a->method, key))
		return 0;
	for (const cJSON *v = cJSON_IsObject(patterns) ? patterns->child : NULL; v; v = v->next) {
		char *re = pt_format(err, "(?:.*\\.)?(?:%s)", v->string);
		bool found = false;
		int st = re ? 0 : err->status;

		for (int k = 0; !st && !found && k < a->model->nsites; k++) {
			if (matched[k])
				st = pattern_fits(re, &a->model->site[k], &found, err);
		}
		free(re);
		if (st)
			return st;
		if (!found && a->fresh)
			return pt_error(err, PT_USAGE, "%s: '%s' matches no target", key, v->string);
		if (!found)
			pt_log(PT_WARN, "%s: '%s' matches no target", key, v->string);
	}
	return 0;
}

/* A parameter is named by the end of "module.parameter". */
static int names_param(const char *name, const struct pt_site *s, bool *yes, struct pt_error *err)
{
	char *path = s->kind == PT_SITE_PARAM ? pt_format(err, "%s.%s", s->path, s->param) : NULL;

	*yes = path && has_suffix(path, name);
	free(path);
	return err->status;
}

/* Unless one of its linears is a target itself. */
static int select_param(const struct pt_adapter *a, const struct pt_site *s, bool *matched, struct pt_error *err)
{
	const struct pt_model *m = a->model;

	if (!(a->method->kinds & 1u << PT_SITE_PARAM))
		return pt_error(err, PT_USAGE, "target_parameters: %s cannot act on parameters", a->method->name);
	for (int k = 0; k < s->npieces; k++)
		if (matched[s->piece[k] - m->site])
			return pt_error(err, PT_USAGE, "%s is a target, and a part of %s.%s, which is one too",
					s->piece[k]->path, s->path, s->param);
	matched[s - m->site] = true;
	return 0;
}

/* What target_parameters names. */
static int select_params(const struct pt_adapter *a, bool *matched, int *n, struct pt_error *err)
{
	const cJSON *list = pt_json_get(a->config, "target_parameters");
	const char *name;

	if (list && !cJSON_IsArray(list))
		return pt_error(err, PT_USAGE, "target_parameters: not a list of names");
	for (int i = 0; (name = pt_config_item(list, i)); i++) {
		bool found = false;

		for (int k = 0; k < a->model->nsites; k++) {
			const struct pt_site *s = &a->model->site[k];
			bool yes;

			if (names_param(name, s, &yes, err) || (yes && !matched[k] && select_param(a, s, matched, err)))
				return err->status;
			found |= yes;
		}
		if (!found)
			return pt_error(err, PT_USAGE, "target_parameters: '%s' is no parameter of experts or of a router",
					name);
		++*n;
	}
	return 0;
}

/* Whether target_modules means an end of the embeddings by PEFT's rule: one of two names, or an expression for them. */
static int names_table(const struct pt_adapter *a, bool *yes, struct pt_error *err)
{
	static const char *const name[] = { "embed_tokens", "lm_head" };
	const cJSON *v = pt_json_get(a->config, "target_modules");
	const char *entry;

	*yes = false;
	for (int i = 0; !*yes && (entry = pt_config_item(v, i)); i++) {
		for (int k = 0; !*yes && k < 2; k++) {
			if (cJSON_IsString(v) && pt_regex_match(entry, name[k], yes, err))
				return err->status;
			if (!cJSON_IsString(v))
				*yes = has_suffix(entry, name[k]);
		}
	}
	return 0;
}

/* ensure_weight_tying: where one end of a tied table is a target, both are. */
static int select_ends(const struct pt_adapter *a, bool *matched, int *n, struct pt_error *err)
{
	const struct pt_model *m = a->model;
	bool tying = false, yes = false;

	if (pt_method_has_key(a->method, "ensure_weight_tying") &&
	    (pt_json_bool(a->config, "ensure_weight_tying", false, &tying, err) || (tying && names_table(a, &yes, err))))
		return err->status;
	for (int i = 0; i < m->nsites && yes; i++) {
		const struct pt_weight *w = m->site[i].output ? m->site[i].weight : NULL;

		for (int k = 0; k < m->nsites && w; k++) {
			const struct pt_weight *table = m->site[k].kind == PT_SITE_EMBEDDING ? m->site[k].weight : NULL;

			if (!table || (w->tied != table && table->tied != w))
				continue;
			if (m->cfg.nstacks > 1)
				return pt_error(err, PT_USAGE, "ensure_weight_tying: %s has several ends; targets of a tied table are"
						" supported in models of one stack", m->site[k].path);
			*n += !matched[i] + !matched[k];
			matched[i] = matched[k] = true;
		}
	}
	return 0;
}

int pt_config_set_names(cJSON *config, const char *key, const char *names, struct pt_error *err)
{
	cJSON *list = cJSON_CreateArray();

	for (const char *p = names; *p; ) {
		size_t n = strcspn(p, ",");
		char *name = pt_strndup(p, n, err);

		if (name)
			cJSON_AddItemToArray(list, cJSON_CreateString(name));
		free(name);
		p += n + (p[n] == ',');
	}
	return pt_config_set(config, key, list, err);
}

static int default_targets(struct pt_adapter *a, struct pt_error *err)
{
	const char *p = a->method->targets ? a->method->targets(a->model) : NULL;

	if (!p)
		return pt_error(err, PT_USAGE, "%s has no default targets for model type %s: name target_modules",
				a->method->name, a->model->cfg.family->model_type);
	return pt_config_set_names(a->config, "target_modules", p, err);
}

static bool is_linear(const struct pt_site *s)
{
	return s->kind == PT_SITE_LINEAR && !s->output && !s->head && !s->packed;
}

/* Whether the last part of this path names modules of all-linear alone. */
static bool short_name_fits(const struct pt_model *m, const char *name)
{
	for (int i = 0; i < m->nsites; i++) {
		if (is_module(&m->site[i]) && !is_linear(&m->site[i]) && has_suffix(m->site[i].path, name))
			return false;
	}
	return true;
}

/* "all-linear" as the names that it stands for; PEFT writes a list into the file too. */
static int all_linear(struct pt_adapter *a, struct pt_error *err)
{
	cJSON *list = cJSON_CreateArray();

	for (int i = 0; i < a->model->nsites; i++) {
		const struct pt_site *s = &a->model->site[i];
		const char *dot = strrchr(s->path, '.'), *name = dot ? dot + 1 : s->path;
		bool there = false;

		if (!is_linear(s))
			continue;
		for (const cJSON *have = list ? list->child : NULL; have && !there; have = have->next)
			there = !strcmp(have->valuestring, name);
		/* Where another module has that name too, the whole path stands for it. */
		if (!there)
			cJSON_AddItemToArray(list, cJSON_CreateString(short_name_fits(a->model, name) ? name : s->path));
	}
	return pt_config_set(a->config, "target_modules", list, err);
}

static int fill_targets(struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *t = pt_json_get(a->config, "target_modules");

	if (!t && pt_config_item(pt_json_get(a->config, "target_parameters"), 0))
		return 0;
	if (!t)
		return default_targets(a, err);
	if (cJSON_IsString(t) && !strcasecmp(t->valuestring, "all-linear"))
		return all_linear(a, err);
	if (!cJSON_IsString(t) && !cJSON_IsArray(t))
		return pt_error(err, PT_USAGE, "target_modules: neither a list of names nor an expression");
	return check_entries(a, "target_modules", err);
}

int pt_targets_select(struct pt_adapter *a, bool *matched, struct pt_error *err)
{
	const struct pt_model *m = a->model;
	int n = 0, st;

	look_for_packed(a);
	if ((st = fill_targets(a, err)) || (st = check_entries(a, "exclude_modules", err)) ||
	    (st = pt_targets_saved(a, err)) || (st = pt_layers_check(a, err)))
		return st;
	for (int i = 0; i < m->nsites; i++) {
		const struct pt_site *s = &m->site[i];
		bool yes = false, no = false;

		matched[i] = false;
		if (!is_module(s))
			continue;
		st = matches(a, "target_modules", s, &yes, err);
		if (!st && yes)
			st = matches(a, "exclude_modules", s, &no, err);
		if (!st && yes && !no)
			st = inside_saved(pt_json_get(a->config, "modules_to_save"), s->path, &no, err);
		if (!st && yes && !no)
			st = pt_layers_hold(a->config, s->path, &yes, err);
		if (st)
			return st;
		matched[i] = yes && !no;
		n += matched[i];
	}
	if (select_ends(a, matched, &n, err) || select_params(a, matched, &n, err))
		return err->status;
	for (int i = 0; i < m->nsites; i++) {
		const struct pt_site *s = &m->site[i];

		if (matched[i] && !(a->method->kinds & 1u << s->kind))
			return pt_error(err, PT_USAGE, "%s is a %s: %s cannot act on it", s->path, s->module,
					a->method->name);
	}
	if (!n)
		return pt_error(err, PT_USAGE, "no module of the model is left to adapt: see target_modules, exclude_modules, layers_to_transform");
	if ((st = check_patterns(a, "rank_pattern", matched, err)))
		return st;
	return check_patterns(a, "alpha_pattern", matched, err);
}
