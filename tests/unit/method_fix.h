/* SPDX-License-Identifier: MIT */
/*
 * method_fix.h - the shortest configuration of a method.
 */
#ifndef PT_METHOD_FIX_H
#define PT_METHOD_FIX_H

#include "test.h"

#include "base/json.h"
#include "peft/method.h"

/* What a method cannot do without, and what some tests ask for. */
static cJSON *method_config(const struct pt_method *m)
{
	struct pt_error e = PT_ERROR_INIT;
	cJSON *c = m->sets ? pt_json_parse(m->sets, strlen(m->sets), 0, m->name, &e) : cJSON_CreateObject();

	assert_non_null(c);
	cJSON_AddStringToObject(c, "peft_type", m->peft_type);
	if (strstr(m->defaults, "\"num_virtual_tokens\""))
		cJSON_AddNumberToObject(c, "num_virtual_tokens", 3);
	if (strstr(m->defaults, "\"token_indices\""))
		cJSON_AddItemToObject(c, "token_indices", cJSON_CreateIntArray((const int[]){ 3, 7 }, 2));
	if (strstr(m->defaults, "\"r\":") && !strstr(m->defaults, "\"oft_block_size\"") && strcmp(m->peft_type, "ADALORA") != 0)
		cJSON_AddNumberToObject(c, "r", 2);
	if (!strcmp(m->name, "bitfit"))
		cJSON_AddStringToObject(c, "bias", "all");
	return c;
}

#endif
