/* SPDX-License-Identifier: MIT */
/*
 * config_rope.c - rope_parameters, or rope_theta with rope_scaling, as
 * transformers 5 reads them: a non-null rope_scaling replaces
 * rope_parameters, and inside the dictionary rope_theta wins over the one at
 * the top level.
 */
#include "model/config_rope.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static const char *const type_names[] = {
	[PT_ROPE_DEFAULT] = "default", [PT_ROPE_LINEAR] = "linear", [PT_ROPE_DYNAMIC] = "dynamic",
	[PT_ROPE_LLAMA3] = "llama3", [PT_ROPE_YARN] = "yarn", [PT_ROPE_LONG] = "longrope",
};

const char *pt_rope_type_name(enum pt_rope_type type)
{
	return type_names[type];
}

static int read_type(struct pt_rope_config *r, const cJSON *dict, const char *key,
		     struct pt_error *err)
{
	const char *name;
	int st = pt_json_str(dict, "rope_type", NULL, &name, err);

	if (st == 0 && !name)
		st = pt_json_str(dict, "type", "default", &name, err);
	if (st)
		return pt_error_prefix(err, "config.json: %s", key);
	for (const cJSON *v = dict->child; v; v = v->next) {
		if (cJSON_IsObject(v))
			return pt_error(err, PT_DATA, "config.json: %s: other rotations by kind of layer (%.40s) are not supported",
					key, v->string);
	}
	/* As Phi-3's first files call it. */
	if (!strcmp(name, "su") || (!strcmp(name, "yarn") && pt_json_get(dict, "long_factor")))
		name = type_names[PT_ROPE_LONG];
	for (int i = 0; i < (int)(sizeof type_names / sizeof type_names[0]); i++) {
		if (!strcmp(name, type_names[i])) {
			r->type = (enum pt_rope_type)i;
			return 0;
		}
	}
	return pt_error(err, PT_DATA, "config.json: %s: rope_type \"%.40s\" is not supported "
			"(default, linear, dynamic, llama3, yarn and longrope are)", key, name);
}

/* A number that this type cannot do without. */
static int required(const cJSON *dict, const char *key, double *out, struct pt_error *err)
{
	int st = pt_json_double(dict, key, NAN, out, err);

	if (st == 0 && !(*out > 0 && *out < 1e30))
		st = pt_error(err, PT_DATA, "%s is missing or not positive", key);
	return st;
}

static double yarn_mscale(double scale, double m)
{
	return scale <= 1 ? 1 : 0.1 * m * log(scale) + 1;
}

static int read_yarn(struct pt_rope_config *r, const cJSON *dict, struct pt_error *err)
{
	double m, m_all;
	int st;

	if (pt_json_get(dict, "factor")) {
		st = required(dict, "factor", &r->factor, err);
		if (st)
			return st;
	} else {
		r->factor = (double)r->positions / (double)r->original;
	}
	st = pt_json_double(dict, "beta_fast", 0, &r->beta_fast, err);
	if (st == 0)
		st = pt_json_double(dict, "beta_slow", 0, &r->beta_slow, err);
	if (st == 0)
		st = pt_json_double(dict, "mscale", 0, &m, err);
	if (st == 0)
		st = pt_json_double(dict, "mscale_all_dim", 0, &m_all, err);
	if (st == 0)
		st = pt_json_bool(dict, "truncate", true, &r->truncate, err);
	if (st)
		return st;
	/* Python's "or": zero means the default too. */
	r->beta_fast = r->beta_fast != 0 ? r->beta_fast : 32;
	r->beta_slow = r->beta_slow != 0 ? r->beta_slow : 1;
	if (m != 0 && m_all != 0)
		r->attention_factor = yarn_mscale(r->factor, m) / yarn_mscale(r->factor, m_all);
	else
		r->attention_factor = yarn_mscale(r->factor, 1);
	if (r->theta <= 1 || r->beta_fast <= 0 || r->beta_slow <= 0)
		return pt_error(err, PT_DATA, "yarn needs rope_theta above 1 and positive betas");
	return pt_json_double(dict, "attention_factor", r->attention_factor, &r->attention_factor,
			      err);
}

/* A factor for each pair of dimensions. */
static int read_factors(const struct pt_rope_config *r, const cJSON *dict, const char *key, float *out,
			struct pt_error *err)
{
	const cJSON *list = pt_json_get(dict, key), *v;
	int n = 0;

	if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != r->dims / 2)
		return pt_error(err, PT_DATA, "%s is not a list of %d numbers", key, r->dims / 2);
	cJSON_ArrayForEach(v, list) {
		if (!cJSON_IsNumber(v) || !(v->valuedouble > 0 && v->valuedouble < 1e30))
			return pt_error(err, PT_DATA, "%s: entry %d is not a positive number", key, n);
		out[n++] = (float)v->valuedouble;
	}
	return 0;
}

static int read_long(struct pt_rope_config *r, const cJSON *dict, struct pt_error *err)
{
	size_t n = (size_t)r->dims / 2;
	int st;

	r->ext[0] = pt_malloc(2 * n, sizeof *r->ext[0], err);
	if (!r->ext[0])
		return err->status;
	r->ext[1] = r->ext[0] + n;
	if ((st = read_factors(r, dict, "short_factor", r->ext[0], err)) ||
	    (st = read_factors(r, dict, "long_factor", r->ext[1], err)))
		return st;
	r->factor = (double)r->positions / (double)r->original;
	if (pt_json_get(dict, "factor") && (st = required(dict, "factor", &r->factor, err)))
		return st;
	r->attention_factor = r->factor <= 1 ? 1 : sqrt(1 + log(r->factor) / log((double)r->original));
	return pt_json_double(dict, "attention_factor", r->attention_factor, &r->attention_factor, err);
}

static int read_params(struct pt_rope_config *r, const struct pt_defaults *d, const cJSON *json, const cJSON *dict,
		       struct pt_error *err)
{
	int st = 0;

	if (r->type == PT_ROPE_DEFAULT)
		return 0;
	st = pt_json_int(dict, "original_max_position_embeddings", 1, INT32_MAX, d->original ? d->original : r->positions,
			 &r->original, err);
	/* One at the top level overrides the one inside. */
	if (st == 0)
		st = pt_json_int(json, "original_max_position_embeddings", 1, INT32_MAX,
				 r->original, &r->original, err);
	if (st)
		return st;
	if (r->type == PT_ROPE_YARN)
		return read_yarn(r, dict, err);
	if (r->type == PT_ROPE_LONG)
		return read_long(r, dict, err);
	st = required(dict, "factor", &r->factor, err);
	if (st == 0 && r->type == PT_ROPE_LLAMA3) {
		st = required(dict, "low_freq_factor", &r->low_freq, err);
		if (st == 0)
			st = required(dict, "high_freq_factor", &r->high_freq, err);
		if (st == 0 && r->low_freq == r->high_freq)
			st = pt_error(err, PT_DATA, "low_freq_factor equals high_freq_factor");
	}
	if (st == 0 && r->type == PT_ROPE_DYNAMIC && (r->dims <= 2 || r->factor < 1))
		st = pt_error(err, PT_DATA, "dynamic scaling needs more than 2 rotated dimensions and a factor of at least 1");
	return st;
}

/* The dictionary of one rotation, NULL: none; theta, unless it says another. */
static int read_rope(struct pt_config *c, struct pt_rope_config *r, const cJSON *json, const cJSON *dict,
		     const char *key, double theta, struct pt_error *err)
{
	const struct pt_defaults *d = &c->family->def;
	const char *partial_key = c->family->keys->partial ? c->family->keys->partial : "partial_rotary_factor";
	double partial;
	int st;

	*r = (struct pt_rope_config){
		.theta = theta, .positions = c->positions, .factor = 1, .attention_factor = 1, .truncate = true,
	};
	if (dict && !cJSON_IsObject(dict))
		return pt_error(err, PT_DATA, "config.json: %s is not an object", key);
	st = pt_json_double(json, partial_key, d->partial > 0 ? d->partial : 1, &partial, err);
	if (st == 0 && dict)
		st = pt_json_double(dict, "rope_theta", r->theta, &r->theta, err);
	if (st == 0 && dict)
		st = pt_json_double(dict, "partial_rotary_factor", partial, &partial, err);
	if (st)
		return pt_error_prefix(err, "config.json");
	if (!(r->theta > 0 && r->theta < 1e30))
		return pt_error(err, PT_DATA, "config.json: rope_theta is not a positive number");
	if (d->partial > 0 && !(partial > 0 && partial <= 1))
		return pt_error(err, PT_DATA, "config.json: %s %g is not in (0, 1]", partial_key, partial);
	if (d->partial <= 0 && partial != 1)
		return pt_error(err, PT_DATA, "config.json: %s %g is not supported for model type %s", partial_key,
				partial, c->family->model_type);
	r->dims = (int)(c->head_dim * partial);
	if (r->dims % 2 || r->dims < 2)
		return pt_error(err, PT_DATA, "config.json: heads of %d dimensions cannot be rotated in pairs",
				r->dims);
	if (!dict)
		return 0;
	st = read_type(r, dict, key, err);
	if (st)
		return st;
	st = read_params(r, d, json, dict, err);
	return st ? pt_error_prefix(err, "config.json: %s", key) : 0;
}

int pt_config_rope(struct pt_config *c, const cJSON *json, struct pt_error *err)
{
	const struct pt_defaults *d = &c->family->def;
	const struct pt_keys *k = c->family->keys;
	const char *key = "rope_scaling";
	const cJSON *dict = pt_json_get(json, key), *local = NULL;
	double theta, near = 10000;
	int st;

	/* Python's "or": an empty dictionary counts as none. */
	if (!dict || (cJSON_IsObject(dict) && !dict->child))
		dict = pt_json_get(json, key = "rope_parameters");
	/* By kind of layer. */
	if (k->theta_local && dict && !strcmp(key, "rope_parameters")) {
		dict = pt_json_get(dict, "full_attention");
	}
	if (k->theta_local)	/* whichever scales the others */
		local = pt_json_get(pt_json_get(json, "rope_parameters"), "sliding_attention");
	st = pt_json_double(json, k->theta ? k->theta : "rope_theta", d->theta > 0 ? d->theta : 10000, &theta, err);
	if (st == 0 && k->theta_local)
		st = pt_json_double(json, k->theta_local, near, &near, err);
	if (st)
		return pt_error_prefix(err, "config.json");
	c->nropes = k->theta_local ? 2 : 1;
	st = read_rope(c, &c->rope[0], json, dict, key, theta, err);
	if (st == 0 && k->theta_local)
		st = read_rope(c, &c->rope[1], json, local, key, near, err);
	return st;
}
