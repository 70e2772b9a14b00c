/* SPDX-License-Identifier: MIT */
/*
 * initconfig.c - see initconfig.h.
 */
#include "initconfig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct builder {
	cJSON *config;			/* what is made */
	cJSON *defaults;		/* the keys that the method knows */
	const struct pt_method *method;
	struct pt_error *err;
};

/* Sets the first of these keys that the method has; takes v. */
static void set(struct builder *b, const char *option, const char *const *key, cJSON *v)
{
	for (; *key && !b->err->status; key++) {
		if (!cJSON_GetObjectItemCaseSensitive(b->defaults, *key))
			continue;
		cJSON_DeleteItemFromObjectCaseSensitive(b->config, *key);
		if (v && cJSON_AddItemToObject(b->config, *key, v))
			return;
		pt_error(b->err, PT_FAIL, "out of memory");
	}
	cJSON_Delete(v);
	if (!b->err->status)
		pt_error(b->err, PT_USAGE, "--%s is not an option of the method %s", option, b->method->name);
}

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

int init_names(const char *text, const char ***names, int *n, char **store, struct pt_error *err)
{
	size_t cap = 0;
	char *p = pt_strdup(text, err);

	*names = NULL;
	*n = 0;
	*store = p;
	while (p && *p) {
		size_t len = strcspn(p, ",");
		bool more = p[len] == ',';

		p[len] = '\0';
		if (!len)
			return pt_error(err, PT_USAGE, "'%s': an empty name", text);
		if (pt_grow(names, &cap, (size_t)*n + 1, sizeof(char *), err))
			return err->status;
		(*names)[(*n)++] = p;
		p += len + more;
	}
	return err->status;
}

static cJSON *name_list(struct builder *b, const char *text)
{
	const char **names;
	char *store;
	int n;
	cJSON *list = NULL;

	if (!init_names(text, &names, &n, &store, b->err))
		list = cJSON_CreateStringArray(names, n);
	free(names);
	free(store);
	return list;
}

/* Names, or a regular expression: what has one of its signs other than the dot. */
static cJSON *names_or_expression(struct builder *b, const char *text)
{
	if (strpbrk(text, "()[]{}*+?|^$\\") || !strcmp(text, "all-linear"))
		return cJSON_CreateString(text);
	return name_list(b, text);
}

/* "0-3,7" as a list of numbers. */
static cJSON *number_list(struct builder *b, const char *text)
{
	cJSON *list = cJSON_CreateArray();

	for (const char *p = text; list && *p; ) {
		char *end;
		long from = strtol(p, &end, 10), to = from;

		if (end == p || from < 0)
			goto bad;
		if (*end == '-') {
			p = end + 1;
			to = strtol(p, &end, 10);
			if (end == p)
				goto bad;
		}
		if (to < from || to > 100000 || (*end && *end != ','))
			goto bad;
		for (long i = from; i <= to; i++)
			cJSON_AddItemToArray(list, cJSON_CreateNumber((double)i));
		p = end + (*end == ',');
	}
	return list;
bad:
	pt_error(b->err, PT_USAGE, "--layers: '%s' is not numbers like 0-3,7", text);
	cJSON_Delete(list);
	return NULL;
}

static cJSON *pattern_object(struct builder *b, const struct pt_opt_list *l, const char *option, bool whole)
{
	cJSON *obj = cJSON_CreateObject();

	for (int i = 0; obj && i < l->n; i++) {
		const char *eq = strrchr(l->item[i], '=');
		char *key = eq ? pt_strndup(l->item[i], (size_t)(eq - l->item[i]), b->err) : NULL, *end = NULL;
		double v = eq ? strtod(eq + 1, &end) : 0;

		if (!key || !*key || end == eq + 1 || *end || !isfinite(v) || (whole && (v < 1 || v != floor(v))))
			pt_error(b->err, PT_USAGE, "--%s: '%s' is not EXPRESSION=NUMBER", option, l->item[i]);
		else
			cJSON_AddNumberToObject(obj, key, v);
		free(key);
	}
	return obj;
}

static cJSON *init_value(int word)
{
	static const char *const name[] = { NULL, NULL, "gaussian", "orthogonal" };

	return name[word] ? cJSON_CreateString(name[word]) : cJSON_CreateBool(word == 0);
}

static void apply(struct builder *b, const struct init_options *o)
{
	static const char *const bias[] = { "none", "all", "lora_only" };

	/* Twice the default rank: the scale of 2 that most recipes use. */
	if (!o->config && !o->given.alpha && cJSON_GetObjectItemCaseSensitive(b->defaults, "lora_alpha"))
		set(b, "alpha", KEYS("lora_alpha"), cJSON_CreateNumber(o->alpha));
	if (o->given.r)
		set(b, "rank", KEYS("r"), cJSON_CreateNumber((double)o->r));
	if (o->given.alpha)
		set(b, "alpha", KEYS("lora_alpha", "alpha"), cJSON_CreateNumber(o->alpha));
	if (o->given.dropout)
		set(b, "dropout", KEYS("lora_dropout"), cJSON_CreateNumber(o->dropout));
	if (o->targets)
		set(b, "targets", KEYS("target_modules"), names_or_expression(b, o->targets));
	if (o->exclude)
		set(b, "exclude", KEYS("exclude_modules"), names_or_expression(b, o->exclude));
	if (o->layers)
		set(b, "layers", KEYS("layers_to_transform"), number_list(b, o->layers));
	if (o->layers_pattern)
		set(b, "layers-pattern", KEYS("layers_pattern"), cJSON_CreateString(o->layers_pattern));
	if (o->save_modules)
		set(b, "save-modules", KEYS("modules_to_save"), name_list(b, o->save_modules));
	if (o->given.init)
		set(b, "init", KEYS("init_lora_weights"), init_value(o->init));
	if (o->given.bias)
		set(b, "bias", KEYS("bias"), cJSON_CreateString(bias[o->bias]));
	if (o->given.rslora)
		set(b, "rslora", KEYS("use_rslora"), cJSON_CreateBool(o->rslora));
	if (o->rank_pattern.n)
		set(b, "rank-pattern", KEYS("rank_pattern"), pattern_object(b, &o->rank_pattern, "rank-pattern", true));
	if (o->alpha_pattern.n)
		set(b, "alpha-pattern", KEYS("alpha_pattern"),
		    pattern_object(b, &o->alpha_pattern, "alpha-pattern", false));
}

static int find_method(struct builder *b, const struct init_options *o)
{
	const struct pt_method *named = NULL;
	struct pt_buf known = PT_BUF_INIT;

	if (o->method || !o->config) {
		named = pt_method_find(o->method ? o->method : "lora");
		for (int i = 0; !named && pt_method_at(i); i++)
			pt_buf_printf(&known, "%s, ", pt_method_at(i)->name);
		if (!named && !known.failed)
			pt_error(b->err, PT_USAGE, "method '%s': %sfull are known", o->method, known.data);
		pt_buf_release(&known);
		b->method = named;
	}
	if (!b->err->status && o->config && pt_method_of_config(b->config, &b->method, b->err))
		return pt_error_prefix(b->err, "%s", o->config);
	if (!b->err->status && named && named != b->method)
		pt_error(b->err, PT_USAGE, "%s is of the method %s, not %s", o->config, b->method->name, named->name);
	return b->err->status;
}

/* Full training has no configuration: its options are --modules and the task's. */
static int check_full(const struct init_options *o, struct pt_error *err)
{
	const struct {
		const char *name;
		bool given;
	} option[] = {
		{ "config", o->config }, { "rank", o->given.r }, { "alpha", o->given.alpha },
		{ "dropout", o->given.dropout }, { "rslora", o->given.rslora }, { "targets", o->targets },
		{ "exclude", o->exclude }, { "layers", o->layers }, { "layers-pattern", o->layers_pattern },
		{ "rank-pattern", o->rank_pattern.n }, { "alpha-pattern", o->alpha_pattern.n },
		{ "init", o->given.init }, { "bias", o->given.bias }, { "save-modules", o->save_modules },
	};

	for (size_t i = 0; i < sizeof option / sizeof option[0]; i++) {
		if (option[i].given)
			return pt_error(err, PT_USAGE, "--%s is not an option of the method full", option[i].name);
	}
	return 0;
}

int init_config(const struct init_options *o, cJSON **out, bool *full, struct pt_error *err)
{
	struct builder b = { .err = err };

	*out = NULL;
	*full = o->method && !strcmp(o->method, "full");
	if (*full)
		return check_full(o, err);
	b.config = o->config ? pt_json_read(o->config, 0, err) : cJSON_CreateObject();
	if (!b.config)
		return err->status ? err->status : pt_error(err, PT_FAIL, "out of memory");
	if (!find_method(&b, o)) {
		b.defaults = pt_json_parse(b.method->defaults, strlen(b.method->defaults), 0, b.method->name, err);
		if (b.defaults && !o->config)
			cJSON_AddStringToObject(b.config, "peft_type", b.method->peft_type);
		if (b.defaults)
			apply(&b, o);
	}
	pt_json_free(b.defaults);
	if (err->status) {
		pt_json_free(b.config);
		return err->status;
	}
	*out = b.config;
	return 0;
}
