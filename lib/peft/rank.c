/* SPDX-License-Identifier: MIT */
/*
 * rank.c - rank and alpha of a site: the configuration's, those of rank_pattern
 * and alpha_pattern, and what the tensors of a file say; a rank that is too much.
 */
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"

/* What patterns see: the module, or the parameter by name. */
static char *path_of(const struct pt_adapter_site *s, struct pt_error *err)
{
	bool param = s->site->kind == PT_SITE_PARAM;

	return pt_format(err, "%s%s%s", s->site->path, param ? "." : "", param ? s->site->param : "");
}

int pt_pattern_number(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *key, double *out,
		      struct pt_error *err)
{
	char *path = path_of(s, err);
	const cJSON *v = NULL;

	if (path)
		pt_pattern_find(pt_json_get(a->config, key), path, &v, err);
	free(path);
	if (err->status || !v)
		return err->status;
	if (!cJSON_IsNumber(v))
		return pt_error(err, PT_USAGE, "%s: '%s' has no number", key, v->string);
	*out = v->valuedouble;
	return 0;
}

int pt_pattern_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t r, int *out, struct pt_error *err)
{
	double rank = (double)r;

	if (pt_pattern_number(a, s, "rank_pattern", &rank, err))
		return err->status;
	if (!(rank >= 1 && rank <= 1 << 20 && rank == floor(rank)))
		return pt_error(err, PT_USAGE, "rank_pattern: %g is no rank", rank);
	*out = (int)rank;
	return 0;
}

int pt_stored_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t r, int64_t rank, int *out,
		   struct pt_error *err)
{
	const cJSON *patterns = pt_json_get(a->config, "rank_pattern"), *v;
	char *path = path_of(s, err);
	bool any = false, same = false;
	cJSON *said = path ? cJSON_CreateObject() : NULL;

	/* PEFT sorts the patterns, so that the first one that matches may be another now. */
	for (const cJSON *p = cJSON_IsObject(patterns) ? patterns->child : NULL; p && said && !same && !err->status; p = p->next) {
		cJSON_AddNumberToObject(said, p->string, p->valuedouble);
		pt_pattern_find(said, path, &v, err);
		any |= v != NULL;
		same |= v && p->valuedouble == (double)rank;
		cJSON_DeleteItemFromObjectCaseSensitive(said, p->string);
	}
	cJSON_Delete(said);
	if (!err->status && !same && any)
		pt_error(err, PT_DATA, "%s: its tensors are of rank %lld, rank_pattern says another", path, (long long)rank);
	else if (!err->status && !same && rank != r)
		pt_error(err, PT_DATA, "%s: its tensors are of rank %lld, r is %lld", path, (long long)rank, (long long)r);
	free(path);
	*out = (int)rank;
	return err->status;
}

void pt_rank_warn(const struct pt_adapter *a)
{
	const struct pt_adapter_site *first = NULL;
	int n = 0;

	for (int i = 0; i < a->nsites && a->method->lowrank; i++) {
		const struct pt_adapter_site *s = &a->site[i];

		if (s->rank <= s->site->in && s->rank <= s->site->out)
			continue;
		first = n++ ? first : s;
	}
	if (n)
		pt_log(PT_WARN, "rank %d is more than the smaller side of %d module%s (%s: %lld x %lld): what is above it adds nothing",
		       first->rank, n, n > 1 ? "s" : "", first->site->path, (long long)first->site->out, (long long)first->site->in);
}
