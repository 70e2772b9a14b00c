/* SPDX-License-Identifier: MIT */
/*
 * merge.c - merged models, tensor by tensor; see merge.h.
 */
#include "peft/merge.h"

#include <math.h>
#include <stdlib.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "model/save.h"
#include "peft/tokens.h"

int pt_merge_init(struct pt_merge *mg, struct pt_model *m, struct pt_adapter *a,
		  const struct pt_merge_options *o, struct pt_error *err)
{
	*mg = (struct pt_merge){ .a = a, .m = m, .o = *o };
	if (!a)
		return 0;
	if (pt_adapter_merges(a, err))
		return err->status;
	/* Full weights are the model's own. */
	pt_adapter_enable(a, false);
	mg->prov_id = a->prov_id;
	return pt_prov_union(&mg->prov, &a->prov, err);
}

void pt_merge_release(struct pt_merge *mg)
{
	if (mg->a)
		pt_adapter_enable(mg->a, true);
	pt_prov_release(&mg->prov);
}

static bool acts_on(const struct pt_adapter *a, const struct pt_weight *w)
{
	size_t n;

	pt_adapter_acts(a, w, &n);
	if (n)
		return true;
	for (int i = 0; i < a->nrows; i++) {
		if (pt_tokens_has(a->rows[i], w))
			return true;
	}
	return false;
}

static bool adapted(const struct pt_merge *mg, const struct pt_weight *w)
{
	return mg->a && (pt_adapter_replaced(mg->a, w) || acts_on(mg->a, w));
}

/* Whether both have the same rows of tokens, and so stay equal. */
static bool share_rows(const struct pt_adapter *a, const struct pt_weight *w)
{
	for (int i = 0; a && i < a->nrows; i++) {
		if (pt_tokens_has(a->rows[i], w) && pt_tokens_has(a->rows[i], w->tied))
			return true;
	}
	return false;
}

/* Whether both have the same update. */
static bool share_update(const struct pt_adapter *a, const struct pt_weight *w, const struct pt_weight *other)
{
	const struct pt_adapter_act *act;
	size_t n;

	act = a ? pt_adapter_acts(a, w, &n) : NULL;
	if (act && n == 1) {
		const struct pt_adapter_site *s = &a->site[act->site];

		return s->twin && s->twin->site->weight == other && s->twin->scale == s->scale;
	}
	return false;
}

/* Whether w is written under its twin's name alone. */
static bool stays_tied(const struct pt_merge *mg, const struct pt_weight *w)
{
	return w->tied && w->use->data == w->tied->use->data &&
	       ((!adapted(mg, w) && !adapted(mg, w->tied)) || share_rows(mg->a, w) || share_update(mg->a, w, w->tied) ||
		share_update(mg->a, w->tied, w));
}

/* A weight that the base lacks is stored as the first matrix of the base is. */
static enum pt_dtype file_type(const struct pt_merge *mg, const struct pt_weight *w)
{
	if (mg->o.dtype >= 0)
		return (enum pt_dtype)mg->o.dtype;
	for (int i = 0; w->fresh && i < mg->m->nweights; i++) {
		const struct pt_weight *x = &mg->m->weight[i];

		if (!x->fresh && x->t.ndim == 2)
			return x->t.type;
	}
	return w->t.type;
}

static int refuse(const struct pt_weight *w, const float *v, const void *cast, enum pt_dtype type, size_t n,
		  struct pt_error *err)
{
	size_t size = pt_dtype_size(type);

	for (size_t i = 0; i < n; i++) {
		float r;

		pt_to_f32(&r, (const char *)cast + i * size, type, 1);
		if (isfinite(r))
			continue;
		return pt_error(err, PT_NUMERIC, "%s: element %zu is %g%s", w->path, i, pt_plain_nan(v[i]),
				isfinite(v[i]) ? ", beyond the range of the file's type (--dtype)" : "");
	}
	return 0;
}

static int write_weight(const struct pt_merge *mg, const struct pt_weight *w, enum pt_dtype type, struct pt_out *out,
			struct pt_error *err)
{
	size_t count = (size_t)pt_tensor_count(&w->t);
	float *v = pt_malloc(count, sizeof *v, err);
	void *cast = pt_malloc(count, pt_dtype_size(type), err);
	int st = v && cast ? pt_weight_value(mg->m, w, v, err) : err->status;
	bool changed;

	if (!st && mg->a)
		st = pt_adapter_merge(mg->a, w, v, &changed, err);
	/* A value that nothing touched goes through f32 unharmed: every stored type is a part of it. */
	if (!st) {
		pt_from_f32(cast, type, v, count);
		st = refuse(w, v, cast, type, count, err);
	}
	if (!st)
		st = pt_out_write(out, cast, count * pt_dtype_size(type), err);
	free(cast);
	free(v);
	return st;
}

static int fill(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	const struct pt_merge *mg = arg;
	struct pt_model_tensor x;
	int st = 0;

	if (pt_stopped(mg->o.stop, err))
		return err->status;
	if (!pt_model_tensor_find(mg->m, t->name, &x))
		return pt_error(err, PT_FAIL, "the model has no parameter %s", t->name);
	for (int k = 0; k < x.n && !st; k++)
		st = write_weight(mg, pt_model_tensor_weight(&x, k), t->dtype, out, err);
	return st;
}

static bool any_adapted(const struct pt_merge *mg, const struct pt_model_tensor *t)
{
	for (int k = 0; k < t->n; k++) {
		if (adapted(mg, pt_model_tensor_weight(t, k)))
			return true;
	}
	return false;
}

static int list(struct pt_merge *mg, struct pt_modelsave *s, bool *tied, struct pt_error *err)
{
	struct pt_model_tensor t;

	*tied = false;
	for (int i = 0; i < mg->m->nweights; i++) {
		const struct pt_weight *w = &mg->m->weight[i];

		if (stays_tied(mg, w)) {
			*tied = true;
			continue;
		}
		if (w->fresh && !adapted(mg, w))
			return pt_error(err, PT_DATA, "neither the base nor the adapter has %s", w->path);
		if (!pt_model_tensor_at(mg->m, i, &t))
			continue;
		mg->total++;
		mg->merged += any_adapted(mg, &t);
		if (pt_modelsave_tensor(s, t.name, file_type(mg, w), t.ndim, t.shape, NULL, err))
			return err->status;
	}
	return 0;
}

static bool has_tie(const struct pt_model *m)
{
	for (int i = 0; i < m->nweights; i++) {
		if (m->weight[i].tied)
			return true;
	}
	return false;
}

int pt_merge_write(struct pt_merge *mg, const char *dir, struct pt_error *err)
{
	struct pt_model_save o = { .dtype = mg->o.dtype, .tie = -1 };
	struct pt_modelsave s;
	cJSON *config = NULL;
	bool tied;
	int st;

	mg->merged = mg->total = 0;
	pt_modelsave_init(&s);
	st = list(mg, &s, &tied, err);
	if (has_tie(mg->m))
		o.tie = tied;
	if (mg->a) {
		o.label = mg->a->labels;
		o.problem = mg->a->problem;
	}
	if (!st) {
		config = pt_model_save_config(mg->m, &o, err);
		st = config ? 0 : err->status;
	}
	if (!st)
		st = pt_prov_write(&mg->prov, mg->prov_id, dir, err);
	if (!st)
		st = pt_modelsave_write(&s, dir, PT_MODELSAVE_ALL, config, mg->m->dir, fill, mg, err);
	pt_modelsave_release(&s);
	pt_json_free(config);
	return st;
}
