/* SPDX-License-Identifier: MIT */
/*
 * param.c - trainable tensors and their memory.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/kernels.h"
#include "tensor/param.h"

int pt_params_init(struct pt_params *p, struct pt_device *dev)
{
	memset(p, 0, sizeof *p);
	p->dev = dev;
	return 0;
}

static size_t bytes_of(const struct pt_param *x)
{
	return (size_t)pt_tensor_count(&x->t) * sizeof(float);
}

static void param_free(struct pt_device *dev, struct pt_param *x)
{
	size_t n;

	if (!x)
		return;
	n = bytes_of(x);
	if (x->t.data)
		dev->free(dev, x->t.data, n);
	if (x->t.grad)
		dev->free(dev, x->t.grad, n);
	if (x->m)
		dev->free(dev, x->m, n);
	if (x->v)
		dev->free(dev, x->v, n);
	free(x->name);
	free(x);
}

void pt_params_release(struct pt_params *p)
{
	for (int i = 0; i < p->n; i++)
		param_free(p->dev, p->item[i]);
	free(p->item);
	pt_map_release(&p->names);
	p->item = NULL;
	p->n = p->cap = 0;
}

/* Zeroed device memory. */
static int zeroed(struct pt_device *dev, size_t n, float **out, struct pt_error *err)
{
	void *q;
	int r = dev->alloc(dev, n * sizeof **out, &q, err);

	if (r)
		return r;
	*out = q;
	return n ? dev->k->fill(dev, PT_F32, *out, n, 0, err) : 0;
}

int pt_params_add(struct pt_params *p, const char *name, int ndim, const int64_t *shape,
		  struct pt_param **out, struct pt_error *err)
{
	size_t n = sizeof(float), cap = (size_t)p->cap;
	struct pt_param *x;
	float *data = NULL, *grad = NULL;
	int r = PT_FAIL;

	if (pt_params_find(p, name))
		return pt_error(err, PT_FAIL, "tensor %s exists twice", name);
	for (int i = 0; i < ndim; i++)
		if (shape[i] < 0 || !pt_mul_size(n, (size_t)shape[i], &n))
			return pt_error(err, PT_FAIL, "size of %s overflows", name);
	n /= sizeof(float);
	x = pt_calloc(1, sizeof *x, err);
	if (!x)
		return PT_FAIL;
	pt_tensor_init(&x->t, PT_F32, ndim, shape, NULL);
	x->name = pt_strdup(name, err);
	if (!x->name || pt_grow(&p->item, &cap, (size_t)p->n + 1, sizeof(struct pt_param *), err) ||
	    (!p->names.cap && pt_map_init(&p->names, 64, err)))
		goto fail;
	p->cap = (int)cap;
	r = zeroed(p->dev, n, &data, err);
	x->t.data = data;
	if (!r && !p->frozen)
		r = zeroed(p->dev, n, &grad, err);
	x->t.grad = grad;
	if (!r)
		r = pt_map_put(&p->names, x->name, strlen(x->name), p->n, NULL, err);
	if (r)
		goto fail;
	x->t.needs_grad = !p->frozen;
	x->t.external = true;
	x->t.name = x->name;
	x->decay = true;
	x->lr_scale = 1;
	p->item[p->n++] = x;
	if (out)
		*out = x;
	return 0;
fail:
	param_free(p->dev, x);
	return r;
}

struct pt_param *pt_params_find(const struct pt_params *p, const char *name)
{
	int64_t i = pt_map_get(&p->names, name, strlen(name));

	return i < 0 ? NULL : p->item[i];
}

int64_t pt_params_count(const struct pt_params *p)
{
	int64_t n = 0;

	for (int i = 0; i < p->n; i++)
		n += pt_tensor_count(&p->item[i]->t);
	return n;
}

int pt_params_zero_grad(struct pt_params *p, struct pt_error *err)
{
	for (int i = 0; i < p->n; i++) {
		struct pt_tensor *t = &p->item[i]->t;
		int r = p->dev->k->fill(p->dev, PT_F32, t->grad, (size_t)pt_tensor_count(t), 0, err);

		if (r)
			return r;
	}
	return 0;
}

int pt_params_optimizer(struct pt_params *p, struct pt_error *err)
{
	for (int i = 0; i < p->n; i++) {
		struct pt_param *x = p->item[i];
		size_t n = (size_t)pt_tensor_count(&x->t);
		int r = 0;

		if (!x->m)
			r = zeroed(p->dev, n, &x->m, err);
		if (!r && !x->v)
			r = zeroed(p->dev, n, &x->v, err);
		if (r)
			return r;
	}
	return 0;
}

int pt_param_read(struct pt_params *p, const struct pt_param *x, float *host, struct pt_error *err)
{
	return p->dev->download(p->dev, host, x->t.data, bytes_of(x), err);
}

int pt_param_write(struct pt_params *p, struct pt_param *x, const float *host, struct pt_error *err)
{
	p->version++;
	return p->dev->upload(p->dev, x->t.data, host, bytes_of(x), err);
}
