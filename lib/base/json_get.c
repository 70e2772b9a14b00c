/* SPDX-License-Identifier: MIT */
/*
 * json_get.c - typed, range-checked members.
 */
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double max_exact = 9007199254740992.0;	/* 2^53 */

static const char *type_name(const cJSON *v)
{
	switch (v->type & 0xff) {
	case cJSON_True:
	case cJSON_False:
		return "a boolean";
	case cJSON_Number:
		return "a number";
	case cJSON_String:
		return "a string";
	case cJSON_Array:
		return "an array";
	case cJSON_Object:
		return "an object";
	default:
		return "null";
	}
}

static int wrong_type(const cJSON *v, const char *wanted, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "%s expected, not %s", wanted, type_name(v));
}

const cJSON *pt_json_get(const cJSON *obj, const char *key)
{
	const cJSON *v;

	if (!cJSON_IsObject(obj))
		return NULL;
	for (v = obj->child; v; v = v->next)
		if (v->string && strcmp(v->string, key) == 0)
			return cJSON_IsNull(v) ? NULL : v;
	return NULL;
}

int pt_json_to_int(const cJSON *v, int64_t min, int64_t max, int64_t *out, struct pt_error *err)
{
	double d;
	int64_t i;

	if (!cJSON_IsNumber(v))
		return v ? wrong_type(v, "an integer", err)
			 : pt_error(err, PT_DATA, "an integer expected");
	d = v->valuedouble;
	/* !(a <= b) is true for NaN too. */
	if (!(fabs(d) <= max_exact))
		return pt_error(err, PT_DATA, "%.17g is out of range", d);
	if (d != floor(d))
		return pt_error(err, PT_DATA, "an integer expected, not %.17g", d);
	i = (int64_t)d;
	if (v->valuestring && strspn(v->valuestring, "-0123456789") == strlen(v->valuestring)) {
		/* 2^53 + 1 rounds to 2^53: the spelling knows. */
		errno = 0;
		if (strtoll(v->valuestring, NULL, 10) != i || errno)
			return pt_error(err, PT_DATA, "%.40s is out of range", v->valuestring);
	}
	if (i < min || i > max)
		return pt_error(err, PT_DATA, "%" PRId64 " is out of range (%" PRId64 " to %" PRId64 ")",
				i, min, max);
	*out = i;
	return 0;
}

int pt_json_int(const cJSON *obj, const char *key, int64_t min, int64_t max, int64_t def,
		int64_t *out, struct pt_error *err)
{
	const cJSON *v = pt_json_get(obj, key);

	if (!v) {
		*out = def;
		return 0;
	}
	if (pt_json_to_int(v, min, max, out, err))
		return pt_error_prefix(err, "\"%s\"", key);
	return 0;
}

int pt_json_double(const cJSON *obj, const char *key, double def, double *out,
		   struct pt_error *err)
{
	const cJSON *v = pt_json_get(obj, key);

	if (!v) {
		*out = def;
		return 0;
	}
	if (!cJSON_IsNumber(v)) {
		wrong_type(v, "a number", err);
		return pt_error_prefix(err, "\"%s\"", key);
	}
	*out = v->valuedouble;
	return 0;
}

int pt_json_bool(const cJSON *obj, const char *key, bool def, bool *out, struct pt_error *err)
{
	const cJSON *v = pt_json_get(obj, key);

	if (!v) {
		*out = def;
		return 0;
	}
	if (!cJSON_IsBool(v)) {
		wrong_type(v, "true or false", err);
		return pt_error_prefix(err, "\"%s\"", key);
	}
	*out = cJSON_IsTrue(v);
	return 0;
}

int pt_json_str(const cJSON *obj, const char *key, const char *def, const char **out,
		struct pt_error *err)
{
	const cJSON *v = pt_json_get(obj, key);

	if (!v) {
		*out = def;
		return 0;
	}
	if (!cJSON_IsString(v)) {
		wrong_type(v, "a string", err);
		return pt_error_prefix(err, "\"%s\"", key);
	}
	*out = v->valuestring;
	return 0;
}
