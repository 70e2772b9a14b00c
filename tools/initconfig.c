/* SPDX-License-Identifier: MIT */
/*
 * initconfig.c - see initconfig.h.
 */
#include "initconfig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/layout.h"

#define DEFAULT_METHOD "lora"

static const struct pt_option *option_of(const struct pt_method *m, const char *name)
{
	for (const struct pt_option *o = m->options; o && o->key; o++) {
		if (o->name && !strcmp(o->name, name))
			return o;
	}
	return NULL;
}

/* The help of an option that the default method lacks begins with the methods that have it. */
static char *help_of(const struct pt_option *o, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	char *text = NULL;

	for (int i = 0; pt_method_at(i) && !option_of(pt_method_find(DEFAULT_METHOD), o->name); i++) {
		if (option_of(pt_method_at(i), o->name))
			pt_buf_printf(&b, "%s%s", b.len ? ", " : "", pt_method_at(i)->name);
	}
	pt_buf_printf(&b, "%s%s", b.len ? ": " : "", o->help);
	if (!pt_buf_check(&b, err))
		text = pt_strdup(b.data, err);
	pt_buf_release(&b);
	return text;
}

static struct pt_opt as_opt(struct init_value *v)
{
	const struct pt_option *o = v->o;
	struct pt_opt opt = { .name = o->name, .letter = o->letter, .arg = o->arg, .given = &v->given, .help = v->help };

	switch (o->kind) {
	case PT_OPTION_FLAG:
		opt.type = PT_OPT_FLAG;
		opt.negatable = true;
		opt.value = &v->flag;
		break;
	case PT_OPTION_INT_BY:
	case PT_OPTION_FLOAT_BY:
		opt.type = PT_OPT_LIST;
		opt.value = &v->list;
		break;
	default:
		opt.type = PT_OPT_STRING;
		opt.value = &v->text;
	}
	return opt;
}

static bool joined(const struct init_options *o, const char *name)
{
	for (int i = 0; i < o->n; i++) {
		if (!strcmp(o->value[i].o->name, name))
			return true;
	}
	return false;
}

int init_options_join(struct init_options *o, const struct pt_opt *own, struct pt_opt **all, struct pt_error *err)
{
	const struct pt_method *m;
	size_t n = 0, most = 0;

	*all = NULL;
	while (own[n].name)
		n++;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		for (const struct pt_option *p = m->options; p && p->key; p++)
			most++;
	}
	o->value = pt_calloc(most + 1, sizeof *o->value, err);
	*all = o->value ? pt_calloc(n + most + 1, sizeof **all, err) : NULL;
	if (!*all)
		return err->status;
	memcpy(*all, own, n * sizeof **all);
	for (int i = 0; (m = pt_method_at(i)); i++) {
		for (const struct pt_option *p = m->options; p && p->key; p++) {
			struct init_value *v = &o->value[o->n];

			if (!p->name || joined(o, p->name))
				continue;
			v->o = p;
			v->help = help_of(p, err);
			if (!v->help)
				return err->status;
			(*all)[n++] = as_opt(v);
			o->n++;
		}
	}
	return 0;
}

void init_options_release(struct init_options *o)
{
	for (int i = 0; i < o->n; i++) {
		free(o->value[i].help);
		pt_opt_list_release(&o->value[i].list);
	}
	free(o->value);
	o->value = NULL;
	o->n = 0;
}

int init_method_names(struct pt_buf *out, struct pt_error *err)
{
	for (int i = 0; pt_method_at(i); i++)
		pt_buf_printf(out, "%s%s", i ? ", " : "", pt_method_at(i)->name);
	pt_buf_str(out, " or full");
	return pt_buf_check(out, err);
}

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

static cJSON *name_list(const char *text, struct pt_error *err)
{
	const char **names;
	char *store;
	int n;
	cJSON *list = NULL;

	if (!init_names(text, &names, &n, &store, err))
		list = cJSON_CreateStringArray(names, n);
	free(names);
	free(store);
	return list;
}

/* Names, or a regular expression: what has one of its signs other than the dot. */
static cJSON *names_or_expression(const char *text, struct pt_error *err)
{
	if (strpbrk(text, "()[]{}*+?|^$\\") || !strcmp(text, "all-linear"))
		return cJSON_CreateString(text);
	return name_list(text, err);
}

/* "0-3,7" as a list of numbers. */
static cJSON *number_list(const char *text, struct pt_error *err)
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
		if (to < from || to > 1 << 20 || (*end && *end != ','))
			goto bad;
		for (long i = from; i <= to; i++)
			cJSON_AddItemToArray(list, cJSON_CreateNumber((double)i));
		p = end + (*end == ',');
	}
	return list;
bad:
	pt_error(err, PT_USAGE, "'%s' is not numbers like 0-3,7", text);
	cJSON_Delete(list);
	return NULL;
}

static cJSON *pattern_object(const struct pt_opt_list *l, bool whole, struct pt_error *err)
{
	cJSON *obj = cJSON_CreateObject();

	for (int i = 0; obj && i < l->n; i++) {
		const char *eq = strrchr(l->item[i], '=');
		char *key = eq ? pt_strndup(l->item[i], (size_t)(eq - l->item[i]), err) : NULL, *end = NULL;
		double v = eq ? strtod(eq + 1, &end) : 0;

		if (!key || !*key || end == eq + 1 || *end || !isfinite(v) || (whole && (v < 1 || v != floor(v))))
			pt_error(err, PT_USAGE, "'%s' is not EXPRESSION=NUMBER", l->item[i]);
		else if (cJSON_GetObjectItemCaseSensitive(obj, key))
			pt_error(err, PT_USAGE, "'%s' is there twice", key);
		else
			cJSON_AddNumberToObject(obj, key, v);
		free(key);
	}
	return obj;
}

/* One of "a|b=true|c" as what it stands for. */
static cJSON *word_value(const char *words, const char *text, struct pt_error *err)
{
	size_t n = strlen(text);
	const char *p = words, *to = text;
	char *value;
	cJSON *v;

	for (; p; p = strchr(p, '|')) {
		p += *p == '|';
		if (!strncmp(p, text, n) && (!p[n] || strchr("|=", p[n])))
			break;
	}
	if (!p) {
		pt_error(err, PT_USAGE, "'%s' is none of %s", text, words);
		return NULL;
	}
	if (p[n] == '=')
		to = p + n + 1;
	value = pt_strndup(to, strcspn(to, "|"), err);
	if (!value)
		return NULL;
	v = !strcmp(value, "true") ? cJSON_CreateTrue() : !strcmp(value, "false") ? cJSON_CreateFalse() :
	    !strcmp(value, "null") ? cJSON_CreateNull() : cJSON_CreateString(value);
	free(value);
	return v;
}

/* The value of the configuration's key; NULL with err filled. */
static cJSON *value_of(const struct pt_option *o, const struct init_value *given, const char *text, struct pt_error *err)
{
	int64_t whole;
	double x;

	switch (o->kind) {
	case PT_OPTION_INT:
		return pt_parse_int(text, (int64_t)o->min, (int64_t)o->max, &whole, err) ? NULL :
			cJSON_CreateNumber((double)whole);
	case PT_OPTION_FLOAT:
		return pt_parse_double(text, o->min, o->max, &x, err) ? NULL : cJSON_CreateNumber(x);
	case PT_OPTION_FLAG:
		return cJSON_CreateBool(given ? given->flag : !strcmp(text, "true"));
	case PT_OPTION_WORD:
		return word_value(o->words, text, err);
	case PT_OPTION_TEXT:
		return cJSON_CreateString(text);
	case PT_OPTION_NAMES:
		return name_list(text, err);
	case PT_OPTION_TARGETS:
		return names_or_expression(text, err);
	case PT_OPTION_NUMBERS:
		return number_list(text, err);
	default:
		return pattern_object(&given->list, o->kind == PT_OPTION_INT_BY, err);
	}
}

/* Where "object.key" stands, made where it does not; a plain key in the configuration itself. */
static cJSON *object_of(cJSON *config, const char *path, const char **key)
{
	size_t n = strcspn(path, ".");
	char name[60];
	cJSON *v;

	*key = path[n] ? path + n + 1 : path;
	if (!path[n])
		return config;
	snprintf(name, sizeof name, "%.*s", (int)n, path);
	v = cJSON_GetObjectItemCaseSensitive(config, name);
	if (cJSON_IsObject(v))
		return v;
	cJSON_DeleteItemFromObjectCaseSensitive(config, name);
	return cJSON_AddObjectToObject(config, name);
}

static int set(cJSON *config, const struct pt_option *o, const struct init_value *given, struct pt_error *err)
{
	cJSON *v = value_of(o, given, given ? given->text : o->preset, err);
	const char *key;

	if (err->status) {
		cJSON_Delete(v);
		return o->name ? pt_error_prefix(err, "--%s", o->name) : err->status;
	}
	config = object_of(config, o->key, &key);
	cJSON_DeleteItemFromObjectCaseSensitive(config, key);
	if (v && config && cJSON_AddItemToObject(config, key, v))
		return 0;
	cJSON_Delete(v);
	return pt_error(err, PT_FAIL, "out of memory");
}

static const struct init_value *value_given(const struct init_options *o, const char *name)
{
	for (int i = 0; name && i < o->n; i++) {
		if (o->value[i].given && !strcmp(o->value[i].o->name, name))
			return &o->value[i];
	}
	return NULL;
}

/* Whether the configuration has what p->wants: a value that is not nothing, or that of a word. */
static bool has_wanted(const struct pt_method *m, const struct pt_option *p, const cJSON *config, struct pt_error *err)
{
	size_t n = strcspn(p->wants, "=");
	const struct pt_option *other = m->options;
	const cJSON *v;
	cJSON *word;
	bool same;

	while (other->key && (!other->name || strncmp(other->name, p->wants, n) || other->name[n]))
		other++;
	v = other->key ? pt_json_get(config, other->key) : NULL;
	if (!p->wants[n] || !v)
		return v && !cJSON_IsNull(v) && !cJSON_IsFalse(v);
	word = word_value(other->words, p->wants + n + 1, err);
	same = cJSON_Compare(v, word, true);
	cJSON_Delete(word);
	return same;
}

/* Each option that was given has an effect. */
static int check_wanted(const struct init_options *o, const struct pt_method *m, const cJSON *config, struct pt_error *err)
{
	for (const struct pt_option *p = m->options; p && p->key; p++) {
		size_t n = p->wants ? strcspn(p->wants, "=") : 0;

		if (n && value_given(o, p->name) && !has_wanted(m, p, config, err) && !err->status)
			pt_error(err, PT_USAGE, "--%s has no effect without --%.*s%s%s", p->name, (int)n, p->wants,
				 p->wants[n] ? " " : "", p->wants[n] ? p->wants + n + 1 : "");
	}
	return err->status;
}

static int apply(const struct init_options *o, const struct pt_method *m, cJSON *config, struct pt_error *err)
{
	for (int i = 0; i < o->n; i++) {
		if (o->value[i].given && !option_of(m, o->value[i].o->name))
			return pt_error(err, PT_USAGE, "--%s is not an option of the method %s", o->value[i].o->name, m->name);
	}
	for (const struct pt_option *p = m->options; p && p->key; p++) {
		const struct init_value *given = value_given(o, p->name);

		if ((given || (p->preset && !o->config)) && set(config, p, given, err))
			return err->status;
	}
	return check_wanted(o, m, config, err);
}

static int find_method(const struct init_options *o, cJSON *config, const struct pt_method **m,
		       struct pt_error *err)
{
	const struct pt_method *named = NULL;
	struct pt_buf known = PT_BUF_INIT;

	if (o->method || !o->config) {
		named = pt_method_find(o->method ? o->method : DEFAULT_METHOD);
		if (!named && !init_method_names(&known, err))
			pt_error(err, PT_USAGE, "method '%s': %s are known", o->method, known.data);
		pt_buf_release(&known);
		*m = named;
	}
	if (!err->status && o->config && (pt_layout_decode(config, err) || pt_method_of_config(config, m, err)))
		return pt_error_prefix(err, "%s", o->config);
	if (!err->status && named && named != *m)
		pt_error(err, PT_USAGE, "%s is of the method %s, not %s", o->config, (*m)->name, named->name);
	return err->status;
}

/* What makes a configuration this method's. */
static int start_config(const struct pt_method *m, cJSON *config, struct pt_error *err)
{
	cJSON *sets = m->sets ? pt_json_parse(m->sets, strlen(m->sets), 0, m->name, err) : cJSON_CreateObject();
	cJSON *v;

	while (sets && (v = sets->child)) {
		cJSON_DetachItemViaPointer(sets, v);
		if (!cJSON_AddItemToObject(config, v->string, v))
			cJSON_Delete(v);
	}
	if (!sets || !cJSON_AddStringToObject(config, "peft_type", m->peft_type))
		pt_error(err, PT_FAIL, "out of memory");
	pt_json_free(sets);
	return err->status;
}

/* Full training has no configuration: its options are --modules and the task's. */
static int check_full(const struct init_options *o, struct pt_error *err)
{
	if (o->config)
		return pt_error(err, PT_USAGE, "--config is not an option of the method full");
	for (int i = 0; i < o->n; i++) {
		if (o->value[i].given)
			return pt_error(err, PT_USAGE, "--%s is not an option of the method full", o->value[i].o->name);
	}
	return 0;
}

/* Methods of one peft_type are told apart by keys that options set: LoRA with an alpha of 0 is BitFit's file. */
static int check_stays(const struct pt_method *m, const cJSON *config, struct pt_error *err)
{
	const struct pt_method *is = NULL;

	if (pt_method_of_config(config, &is, err) || is == m)
		return err->status;
	return pt_error(err, PT_USAGE, "with these options it is no longer %s: its file would be read as %s", m->name, is->name);
}

int init_config(const struct init_options *o, cJSON **out, bool *full, struct pt_error *err)
{
	const struct pt_method *m = NULL;
	cJSON *config;

	*out = NULL;
	*full = o->method && !strcmp(o->method, "full");
	if (*full)
		return check_full(o, err);
	config = o->config ? pt_json_read(o->config, 0, err) : cJSON_CreateObject();
	if (!config)
		return err->status ? err->status : pt_error(err, PT_FAIL, "out of memory");
	if (find_method(o, config, &m, err) || (!o->config && start_config(m, config, err)) || apply(o, m, config, err) ||
	    check_stays(m, config, err)) {
		pt_json_free(config);
		return err->status;
	}
	*out = config;
	return 0;
}

/* Whether the text at p is the key, as a whole. */
static bool is_key(const char *text, const char *p, const char *key)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	size_t n = strlen(key);

	return !strncmp(p, key, n) && (p == text || !strchr(word, p[-1])) && (!p[n] || !strchr(word, p[n]));
}

void init_explain(const struct init_options *o, struct pt_error *err)
{
	const struct pt_method *m = pt_method_find(o->method ? o->method : DEFAULT_METHOD);
	struct pt_buf b = PT_BUF_INIT;

	if (o->config || !m)
		return;
	for (const char *p = err->msg; *p; ) {
		const struct pt_option *k = m->options;

		/* Keys of one word are words of the language too. */
		while (k && k->key && !(k->name && strchr(k->key, '_') && is_key(err->msg, p, k->key)))
			k++;
		if (k && k->key) {
			pt_buf_printf(&b, "--%s", k->name);
			p += strlen(k->key);
		} else {
			pt_buf_char(&b, *p++);
		}
	}
	if (!b.failed && b.len)
		pt_error(err, err->status, "%s", b.data);
	pt_buf_release(&b);
}
