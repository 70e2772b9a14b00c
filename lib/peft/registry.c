/* SPDX-License-Identifier: MIT */
/*
 * registry.c - the methods: a line each.
 */
#include <string.h>

#include "peft/method.h"

extern const struct pt_method pt_method_lora;

static const struct pt_method *const methods[] = {
	&pt_method_lora,
};

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

int pt_method_of_config(const cJSON *config, const struct pt_method **out, struct pt_error *err)
{
	const char *type;

	*out = NULL;
	if (pt_json_str(config, "peft_type", NULL, &type, err))
		return err->status;
	if (!type)
		return pt_error(err, PT_DATA, "peft_type is missing: not the configuration of an adapter");
	for (int i = 0; i < NMETHODS; i++) {
		if (!strcmp(methods[i]->peft_type, type))
			*out = methods[i];
	}
	return *out ? 0 : pt_error(err, PT_DATA, "peft_type %s is not supported", type);
}
