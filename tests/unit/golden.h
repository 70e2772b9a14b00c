/* SPDX-License-Identifier: MIT */
/*
 * golden.h - the C side of tests/golden/golden.py: weights made from names
 * and indices, and what a golden file allows.
 */
#ifndef PT_GOLDEN_H
#define PT_GOLDEN_H

#include "test.h"

#include <dirent.h>
#include <glob.h>
#include <math.h>

#include "base/dtype.h"
#include "base/json.h"
#include "io/safetensors.h"

#define GOLDEN_UNUSED __attribute__((unused))

enum { GOLDEN_FULL = 128, GOLDEN_SOME = 48 };

static const double golden_floor[2] GOLDEN_UNUSED = { 2e-6, 2e-3 };	/* f32, bf16 */
static const char *const golden_type[2] GOLDEN_UNUSED = { "f32", "bf16" };

static void golden_uniform(const char *name, float *x, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (const char *c = name; *c; c++)
		h = (h ^ (unsigned char)*c) * 0x100000001b3u;
	for (size_t i = 0; i < n; i++) {
		uint64_t z = h + (i + 1) * 0x9e3779b97f4a7c15u;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		z ^= z >> 31;
		x[i] = (float)(z >> 40) * 0x1p-23f - 1;
	}
}

static void golden_weight(const char *name, int ndim, const int64_t *shape, float *x) GOLDEN_UNUSED;
static void golden_weight(const char *name, int ndim, const int64_t *shape, float *x)
{
	size_t n = 1, len = strlen(name);
	float scale = 1, shift = 0, more = 1;

	for (int i = 0; i < ndim; i++)
		n *= (size_t)shape[i];
	golden_uniform(name, x, n);
	if (len >= 4 && !strcmp(name + len - 4, "bias")) {
		scale = 0.25f;
	} else if (ndim == 1) {
		scale = 0.5f;
		shift = 1;
	} else if (!strstr(name, "embed") && !(len >= 13 && !strcmp(name + len - 13, "shared.weight"))) {
		scale = (float)(1.75 / sqrt((double)shape[1]));
		more = strstr(name, "Attention.q.") ? 0.3125f : 1;	/* T5 does not scale scores */
	}
	for (size_t i = 0; i < n; i++)
		x[i] = x[i] * scale * more + shift;
}

struct golden {
	struct pt_st st;
	cJSON *about;
	char name[120];
	double worst;			/* largest error as a share of what is allowed */
	const char *worst_of;
};

static void golden_open(struct golden *g, const char *path) GOLDEN_UNUSED;
static void golden_open(struct golden *g, const char *path)
{
	struct pt_error err = PT_ERROR_INIT;
	const char *s;

	memset(g, 0, sizeof *g);
	snprintf(g->name, sizeof g->name, "%s", path);
	assert_ok(pt_st_open(&g->st, path, &err), &err);
	assert_non_null(s = pt_st_meta(&g->st, "golden"));
	assert_non_null(g->about = pt_json_parse(s, strlen(s), 0, path, &err));
}

/* tests/data/SET/KIN/NAME.safetensors: a name stands in one kin. */
static void golden_find(struct golden *g, const char *set, const char *name) GOLDEN_UNUSED;
static void golden_find(struct golden *g, const char *set, const char *name)
{
	char pattern[150];
	glob_t found;

	snprintf(pattern, sizeof pattern, "tests/data/%s/*/%s.safetensors", set, name);
	if (glob(pattern, 0, NULL, &found) || found.gl_pathc != 1)
		fail_msg("%s: not one file", pattern);
	golden_open(g, found.gl_pathv[0]);
	globfree(&found);
}

static int golden_by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int golden_is_file(const struct dirent *e)
{
	return strstr(e->d_name, ".safetensors") != NULL;
}

/* Names of the cases in tests/data/SET/KIN, sorted; there are some. Freed by golden_names_free(). */
static char **golden_names(const char *set, const char *kin, int *n) GOLDEN_UNUSED;
static char **golden_names(const char *set, const char *kin, int *n)
{
	struct dirent **e;
	char path[150], **name;

	snprintf(path, sizeof path, "tests/data/%s/%s", set, kin);
	*n = scandir(path, &e, golden_is_file, golden_by_name);
	if (*n < 1)
		fail_msg("%s: no golden files", path);
	name = calloc((unsigned)*n, sizeof *name);
	for (int i = 0; i < *n; i++) {
		name[i] = strndup(e[i]->d_name, strlen(e[i]->d_name) - strlen(".safetensors"));
		free(e[i]);
	}
	free(e);
	return name;
}

static void golden_names_free(char **name, int n) GOLDEN_UNUSED;
static void golden_names_free(char **name, int n)
{
	while (n--)
		free(name[n]);
	free(name);
}

static void golden_close(struct golden *g) GOLDEN_UNUSED;
static void golden_close(struct golden *g)
{
	pt_json_free(g->about);
	pt_st_release(&g->st);
}

static double golden_number(const cJSON *obj, const char *key)
{
	const cJSON *v = pt_json_get(obj, key);

	if (!cJSON_IsNumber(v))
		fail_msg("golden: no number %s", key);
	return v->valuedouble;
}

/*
 * What may be off: twice the error of torch in that type, and nothing below
 * the floor is asked.
 */
static double golden_allowed(const struct golden *g, const char *name, int type)
{
	const cJSON *e = pt_json_get(pt_json_get(g->about, "error"), name);
	double twice = 2 * golden_number(e, golden_type[type]);

	return twice > golden_floor[type] ? twice : golden_floor[type];
}

static double golden_element(const struct pt_st_tensor *t, size_t i)
{
	return t->dtype == PT_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* Error of got by max|a-b| / max|b| as a share of what is allowed; more than 1: wrong. */
static double golden_result(struct golden *g, const char *name, const float *got, size_t n, int type)
	GOLDEN_UNUSED;
static double golden_result(struct golden *g, const char *name, const float *got, size_t n, int type)
{
	const struct pt_st_tensor *t = pt_st_find(&g->st, name);
	const cJSON *scale = pt_json_get(g->about, "scale");
	double diff = 0, top = 0, share;

	if (!t || t->count != n)
		fail_msg("%s: %s has %zu elements in the golden file, not %zu", g->name, name,
			 t ? t->count : 0, n);
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - golden_element(t, i));

		/* NaN counts as infinite. */
		diff = d <= diff ? diff : d == d ? d : INFINITY;
		top = fmax(top, fabs(golden_element(t, i)));
	}
	if (pt_json_get(scale, name))
		top = golden_number(scale, name);
	share = diff == 0 ? 0 : diff / (top > 0 ? top : 1e-30) / golden_allowed(g, name, type);
	if (share > g->worst) {
		g->worst = share;
		g->worst_of = t->name;
	}
	return share;
}

/* A gradient against what is stored of it. */
static double golden_gradient(struct golden *g, const char *name, const float *got, size_t n, int type)
	GOLDEN_UNUSED;
static double golden_gradient(struct golden *g, const char *name, const float *got, size_t n, int type)
{
	const cJSON *large = pt_json_get(pt_json_get(g->about, "large"), name);
	double norm = 0, dot = 0, want, diff = 0, share;
	const struct pt_st_tensor *t;
	char key[256];
	float *r;

	snprintf(key, sizeof key, "grad.%s", name);
	if (n <= GOLDEN_FULL)
		return golden_result(g, key, got, n, type);
	t = pt_st_find(&g->st, key);
	if (!t || !large)
		fail_msg("%s: no large gradient %s in the golden file", g->name, name);
	assert_int_equal(t->count, GOLDEN_SOME);
	for (size_t i = 0; i < GOLDEN_SOME; i++) {
		double d = fabs(got[i * (n - 1) / (GOLDEN_SOME - 1)] - golden_element(t, i));

		diff = d <= diff ? diff : d == d ? d : INFINITY;
	}
	diff /= golden_number(large, "max");
	r = malloc(n * sizeof *r);
	snprintf(key, sizeof key, "direction:%s", name);
	golden_uniform(key, r, n);
	for (size_t i = 0; i < n; i++) {
		norm += (double)got[i] * got[i];
		dot += (double)got[i] * r[i];
	}
	free(r);
	norm = sqrt(norm);
	want = golden_number(large, "norm");
	diff = fmax(diff, fabs(norm - want) / want);
	diff = fmax(diff, fabs(dot - golden_number(large, "dot")) / want);
	if (norm != norm)
		diff = INFINITY;
	share = diff / golden_allowed(g, t->name, type);
	if (share > g->worst) {
		g->worst = share;
		g->worst_of = t->name;
	}
	return share;
}

#endif
