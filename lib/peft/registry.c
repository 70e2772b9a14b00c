/* SPDX-License-Identifier: MIT */
/*
 * registry.c - the methods, a word each. Of those with one peft_type the one
 * that needs no further keys stands last.
 */
#include <string.h>

#include "peft/method.h"

#define METHODS(X) \
	X(dora) X(bitfit) X(lora) X(adalora) X(vera) X(loha) X(lokr) X(oft) X(ia3) X(ln) X(tokens) \
	X(prefix) X(prompt) X(ptuning) X(bottleneck)

#define DECLARED(name) extern const struct pt_method pt_method_##name;
#define LISTED(name) &pt_method_##name,

METHODS(DECLARED)

static const struct pt_method *const methods[] = { METHODS(LISTED) };

enum { NMETHODS = sizeof methods / sizeof methods[0] };

const struct pt_method *pt_method_at(int i)
{
	return i >= 0 && i < NMETHODS ? methods[i] : NULL;
}

const struct pt_method *pt_method_find(const char *name)
{
	for (int i = 0; i < NMETHODS; i++) {
		if (!strcmp(methods[i]->name, name))
			return methods[i];
	}
	return NULL;
}

bool pt_method_has_key(const struct pt_method *m, const char *key)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *defaults = pt_json_parse(m->defaults, strlen(m->defaults), 0, m->name, &err);
	bool has = cJSON_GetObjectItemCaseSensitive(defaults, key) != NULL;

	pt_json_free(defaults);
	return has;
}

/* What a missing key means before it is known which method of a peft_type it is. */
static const char *plain_defaults(const char *peft_type)
{
	const char *text = NULL;

	for (int i = 0; i < NMETHODS; i++) {
		if (!strcmp(methods[i]->peft_type, peft_type))
			text = methods[i]->defaults;
	}
	return text;
}

/* Whether the configuration has all keys of m->sets. */
static int claims(const struct pt_method *m, const cJSON *config, bool *yes, struct pt_error *err)
{
	const char *plain = plain_defaults(m->peft_type);
	cJSON *sets = NULL, *defaults = NULL;

	*yes = !m->sets;
	if (*yes)
		return 0;
	sets = pt_json_parse(m->sets, strlen(m->sets), 0, m->name, err);
	defaults = sets ? pt_json_parse(plain, strlen(plain), 0, m->name, err) : NULL;
	*yes = defaults != NULL;
	for (const cJSON *v = *yes ? sets->child : NULL; v && *yes; v = v->next) {
		const cJSON *is = cJSON_GetObjectItemCaseSensitive(config, v->string);

		if (!is)
			is = cJSON_GetObjectItemCaseSensitive(defaults, v->string);
		*yes = cJSON_Compare(is, v, true);
	}
	pt_json_free(sets);
	pt_json_free(defaults);
	return err->status;
}

int pt_method_of_config(const cJSON *config, const struct pt_method **out, struct pt_error *err)
{
	const char *type;

	*out = NULL;
	if (pt_json_str(config, "peft_type", NULL, &type, err))
		return err->status;
	if (!type)
		return pt_error(err, PT_DATA, "peft_type is missing: not the configuration of an adapter");
	for (int i = 0; i < NMETHODS && !*out; i++) {
		bool yes;

		if (strcmp(methods[i]->peft_type, type) != 0)
			continue;
		if (claims(methods[i], config, &yes, err))
			return err->status;
		if (yes)
			*out = methods[i];
	}
	return *out ? 0 : pt_error(err, PT_DATA, "peft_type %s is not supported", type);
}
