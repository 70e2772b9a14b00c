/* SPDX-License-Identifier: MIT */
/*
 * lorafa.c - LoRA-FA: A stays as it is, and the gradient of B becomes that of
 * the step nearest to full training's: g (A A' + 1e-8 I)^-1 / s^2, which is
 * computed once, since A does not change.
 *
 * Zhang et al. 2023, "LoRA-FA: Memory-efficient Low-rank Adaptation for Large
 * Language Models Fine-tuning"; the factor is that of PEFT's optimizer.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/kernels.h"
#include "peft/lora.h"

/* What the gradient of one B is multiplied by. */
struct pt_precondition {
	struct pt_param *b;
	int64_t rank;
	float *factor;			/* device [rank,rank] */
	float *tmp;			/* device, as b */
};

/* m [r,r], symmetric and positive, becomes its inverse: Gauss-Jordan with the largest pivot of a column. */
static bool invert(double *m, double *inv, int64_t r)
{
	for (int64_t i = 0; i < r * r; i++)
		inv[i] = i % (r + 1) == 0;
	for (int64_t c = 0; c < r; c++) {
		int64_t p = c;
		double f;

		for (int64_t i = c + 1; i < r; i++)
			p = fabs(m[i * r + c]) > fabs(m[p * r + c]) ? i : p;
		if (!(fabs(m[p * r + c]) > 0))
			return false;
		for (int64_t j = 0; j < r && p != c; j++) {
			f = m[c * r + j], m[c * r + j] = m[p * r + j], m[p * r + j] = f;
			f = inv[c * r + j], inv[c * r + j] = inv[p * r + j], inv[p * r + j] = f;
		}
		f = 1 / m[c * r + c];
		for (int64_t j = 0; j < r; j++) {
			m[c * r + j] *= f;
			inv[c * r + j] *= f;
		}
		for (int64_t i = 0; i < r; i++) {
			f = i == c ? 0 : m[i * r + c];
			for (int64_t j = 0; j < r && f != 0; j++) {
				m[i * r + j] -= f * m[c * r + j];
				inv[i * r + j] -= f * inv[c * r + j];
			}
		}
	}
	return true;
}

/* (A A' + 1e-8 I)^-1 / s^2 */
static int factor_of(struct pt_adapter *a, const struct pt_adapter_site *s, float *out, struct pt_error *err)
{
	int64_t r = s->rank, in = s->site->in;
	float *v = pt_malloc((size_t)(r * in), sizeof *v, err);
	double *m = pt_malloc((size_t)(r * r), sizeof *m, err), *inv = pt_malloc((size_t)(r * r), sizeof *inv, err);
	int st = v && m && inv ? pt_adapter_get(a, s->param[PT_LORA_A], v, err) : err->status;

	for (int64_t i = 0; !st && i < r * r; i++) {
		m[i] = i % (r + 1) == 0 ? 1e-8 : 0;
		for (int64_t j = 0; j < in; j++)
			m[i] += (double)v[i / r * in + j] * (double)v[i % r * in + j];
	}
	if (!st && !invert(m, inv, r))
		st = pt_error(err, PT_NUMERIC, "LoRA-FA: %s has no inverse", s->param[PT_LORA_A]->name);
	for (int64_t i = 0; !st && i < r * r; i++)
		out[i] = (float)(inv[i] / ((double)s->scale * (double)s->scale));
	free(v);
	free(m);
	free(inv);
	return st;
}

static int add(struct pt_adapter *a, const struct pt_adapter_site *s, struct pt_precondition *p, struct pt_error *err)
{
	struct pt_param *fixed = s->param[PT_LORA_A];
	struct pt_device *dev = a->model->dev;
	size_t n = (size_t)(s->rank * s->rank);
	float *host = pt_malloc(n, sizeof *host, err);
	void *mem;
	int st = host ? factor_of(a, s, host, err) : err->status;

	*p = (struct pt_precondition){ .b = s->param[PT_LORA_B], .rank = s->rank };
	if (!st && !(st = dev->alloc(dev, n * sizeof *host, &mem, err))) {
		p->factor = mem;
		st = dev->upload(dev, p->factor, host, n * sizeof *host, err);
	}
	if (!st && !(st = dev->alloc(dev, (size_t)pt_tensor_count(&p->b->t) * sizeof *host, &mem, err)))
		p->tmp = mem;
	free(host);
	/* It stays in the list of what trains, at a rate of 0. */
	fixed->t.needs_grad = false;
	fixed->lr_scale = 0;
	return st;
}

int pt_adapter_lorafa(struct pt_adapter *a, struct pt_error *err)
{
	int n = 0;

	a->precondition = pt_calloc((size_t)a->nsites, sizeof *a->precondition, err);
	if (!a->precondition)
		return err->status;
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adapter_site *s = &a->site[i];
		size_t k = strlen(".lora_B.weight"), len = s->nparams > PT_LORA_B ? strlen(s->param[PT_LORA_B]->name) : 0;

		if (len < k || strcmp(s->param[PT_LORA_B]->name + len - k, ".lora_B.weight") != 0 ||
		    s->site->kind != PT_SITE_LINEAR)
			continue;
		/* Counted first: what it has got by a failure goes with the adapter. */
		a->npreconditions = ++n;
		if (add(a, s, &a->precondition[n - 1], err))
			return err->status;
	}
	return n ? 0 : pt_error(err, PT_USAGE, "LoRA-FA is for adapters that train a lora_B of linears; %s has none",
				a->method ? a->method->name : "full training");
}

int pt_adapter_precondition(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;

	for (int i = 0; i < a->npreconditions; i++) {
		const struct pt_precondition *p = &a->precondition[i];
		const struct pt_tensor *t = &p->b->t;
		struct pt_k_gemm g = {
			.m = t->shape[0], .n = p->rank, .k = p->rank, .a = t->grad, .b = p->factor, .c = p->tmp, .at = PT_F32,
			.bt = PT_F32, .ct = PT_F32, .lda = p->rank, .ldb = p->rank, .ldc = p->rank, .alpha = 1,
		};

		if (dev->k->gemm(dev, &g, err) ||
		    dev->k->copy(dev, t->grad, p->tmp, (size_t)pt_tensor_count(t) * sizeof(float), err))
			return err->status;
	}
	return 0;
}

void pt_adapter_precondition_release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;

	for (int i = 0; i < a->npreconditions; i++) {
		const struct pt_precondition *p = &a->precondition[i];

		if (p->factor)
			dev->free(dev, p->factor, (size_t)(p->rank * p->rank) * sizeof(float));
		if (p->tmp)
			dev->free(dev, p->tmp, (size_t)pt_tensor_count(&p->b->t) * sizeof(float));
	}
	free(a->precondition);
}
