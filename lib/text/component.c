/* SPDX-License-Identifier: MIT */
/*
 * component.c - goes over the components of a tokenizer.json.
 */
#include "text/component.h"

#include <string.h>

static int sequence(const cJSON *j, const char *key, pt_component_fn take, void *arg, struct pt_error *err)
{
	const cJSON *list = pt_json_get(j, key), *c;
	int status, i = 0;

	if (!cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "Sequence: \"%s\" must be an array", key);
	cJSON_ArrayForEach(c, list) {
		status = pt_components(c, key, take, arg, err);
		if (status)
			return pt_error_prefix(err, "%s[%d]", key, i);
		i++;
	}
	return 0;
}

int pt_components(const cJSON *j, const char *list, pt_component_fn take, void *arg, struct pt_error *err)
{
	const char *type;
	int status = pt_json_str(j, "type", NULL, &type, err);

	if (status)
		return status;
	if (!cJSON_IsObject(j) || !type)
		return pt_error(err, PT_DATA, "an object with a \"type\" expected");
	if (strcmp(type, "Sequence") == 0)
		return sequence(j, list, take, arg, err);
	status = take(arg, type, j, err);
	if (status == PT_UNKNOWN)
		return pt_error(err, PT_DATA, "type \"%s\" is not supported", type);
	return status ? pt_error_prefix(err, "%s", type) : 0;
}
