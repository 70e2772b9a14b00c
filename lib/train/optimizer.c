/* SPDX-License-Identifier: MIT */
/*
 * AdamW and clipping by the global norm. torch.nn.utils.clip_grad_norm_
 * multiplies by min(1, clip / (norm + 1e-6)), in f32: so do we.
 */
#include "train/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"

int pt_optimizer_init(struct pt_optimizer *o, const struct pt_adamw *cfg, struct pt_params *params,
		      struct pt_error *err)
{
	struct pt_device *dev = params->dev;
	size_t n = params->n > 0 ? (size_t)params->n : 1;
	void *mem;
	int rc;

	memset(o, 0, sizeof *o);
	o->cfg = *cfg;
	o->params = params;
	o->host_sumsq = pt_calloc(n, sizeof *o->host_sumsq, err);
	o->moved = pt_calloc(n, sizeof *o->moved, err);
	o->update = pt_calloc(n, sizeof *o->update, err);
	o->square = pt_calloc(n, sizeof *o->square, err);
	if (!o->host_sumsq || !o->moved || !o->update || !o->square)
		return PT_FAIL;
	rc = dev->alloc(dev, n * sizeof(double), &mem, err);
	if (rc)
		return rc;
	o->sumsq = mem;
	rc = dev->alloc(dev, sizeof(float), &mem, err);
	if (rc)
		return rc;
	o->gscale = mem;
	return pt_params_optimizer(params, err);
}

void pt_optimizer_release(struct pt_optimizer *o)
{
	if (o->params) {
		struct pt_device *dev = o->params->dev;
		size_t n = o->params->n > 0 ? (size_t)o->params->n : 1;

		if (o->sumsq)
			dev->free(dev, o->sumsq, n * sizeof(double));
		if (o->gscale)
			dev->free(dev, o->gscale, sizeof(float));
	}
	free(o->host_sumsq);
	free(o->moved);
	free(o->update);
	free(o->square);
	memset(o, 0, sizeof *o);
}

int pt_optimizer_norm(struct pt_optimizer *o, double *norm, const struct pt_param **bad,
		      struct pt_error *err)
{
	struct pt_params *p = o->params;
	struct pt_device *dev = p->dev;
	double sum = 0;
	int rc;

	*bad = NULL;
	*norm = 0;
	for (int i = 0; i < p->n; i++) {
		const struct pt_tensor *t = &p->item[i]->t;

		o->square[i] = (struct pt_k_sumsq){ t->grad, (size_t)pt_tensor_count(t), o->sumsq + i };
	}
	rc = dev->k->sumsq(dev, p->n, o->square, err);
	if (rc)
		return rc;
	if (p->n == 0 || dev->plan)
		return 0;
	rc = dev->download(dev, o->host_sumsq, o->sumsq, (size_t)p->n * sizeof(double), err);
	if (rc)
		return rc;
	for (int i = 0; i < p->n; i++) {
		double s = o->host_sumsq[i];

		if (!isfinite(s) && !*bad)
			*bad = p->item[i];
		if (s != 0)
			o->moved[i] = true;
		sum += s;
	}
	*norm = pt_plain_nan(sqrt(sum));
	return 0;
}

float pt_optimizer_clip(const struct pt_optimizer *o, double norm)
{
	float scale = o->cfg.clip > 0 ? (float)o->cfg.clip / ((float)norm + 1e-6f) : 1;

	return scale < 1 ? scale : 1;
}

int pt_optimizer_step(struct pt_optimizer *o, double lr, int64_t t, double norm, struct pt_error *err)
{
	struct pt_params *p = o->params;
	struct pt_device *dev = p->dev;
	float scale = pt_optimizer_clip(o, norm);
	int rc;

	rc = dev->upload(dev, o->gscale, &scale, sizeof scale, err);
	if (rc)
		return rc;
	p->version++;
	for (int i = 0; i < p->n; i++) {
		struct pt_param *x = p->item[i];

		o->update[i] = (struct pt_k_adamw){
			.n = (size_t)pt_tensor_count(&x->t),
			.p = x->t.data,
			.m = x->m,
			.v = x->v,
			.g = x->t.grad,
			.clear = !o->keep_grad,
			.lr = lr * (double)x->lr_scale,
			.beta1 = o->cfg.beta1,
			.beta2 = o->cfg.beta2,
			.eps = o->cfg.eps,
			.decay = x->decay ? o->cfg.decay : 0,
			.t = t,
			.gscale = o->gscale,
		};
	}
	return dev->k->adamw(dev, p->n, o->update, err);
}
