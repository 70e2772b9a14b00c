/* SPDX-License-Identifier: MIT */
/*
 * merge_fix.h - a model whose weights are merged with an adapter, in f32 in the
 * memory of its device, and as it was before.
 */
#ifndef PT_MERGE_FIX_H
#define PT_MERGE_FIX_H

#include "model_fix.h"

#include "peft/adapter.h"

static struct pt_tensor *merge_all(struct mfix *x, struct pt_adapter *a) REF_UNUSED;
static void merge_back(struct mfix *x, struct pt_tensor *old) REF_UNUSED;

/* Returns what merge_back() takes. */
static struct pt_tensor *merge_all(struct mfix *x, struct pt_adapter *a)
{
	struct pt_device *dev = x->f.dev;
	struct pt_error *e = &x->f.err;
	struct pt_tensor *old = calloc((size_t)x->m->nweights + 1, sizeof *old);

	for (int k = 0; k < x->m->nweights; k++) {
		struct pt_weight *w = &x->m->weight[k];
		size_t count = (size_t)pt_tensor_count(&w->t), bytes = count * sizeof(float);
		float *v = malloc(bytes), *was = malloc(bytes);
		bool changed;

		assert_ok(dev->download(dev, was, w->t.data, count * pt_dtype_size(w->t.type), e), e);
		pt_to_f32(v, was, w->t.type, count);
		memcpy(was, v, bytes);
		assert_ok(pt_adapter_merge(a, w, v, &changed, e), e);
		assert_true(changed || !memcmp(v, was, bytes));
		old[k] = w->t;
		w->t.type = PT_F32;
		assert_ok(dev->alloc(dev, bytes, &w->t.data, e), e);
		assert_ok(dev->upload(dev, w->t.data, v, bytes, e), e);
		free(v);
		free(was);
	}
	return old;
}

static void merge_back(struct mfix *x, struct pt_tensor *old)
{
	for (int k = 0; k < x->m->nweights; k++) {
		struct pt_tensor *t = &x->m->weight[k].t;

		x->f.dev->free(x->f.dev, t->data, (size_t)pt_tensor_count(t) * sizeof(float));
		*t = old[k];
	}
	free(old);
}

#endif
