/* SPDX-License-Identifier: MIT */
/*
 * kvcache.c - keys and values of one sequence, all layers, for decoding.
 * Keys are stored rotated; new rows are appended behind the old ones, and
 * attention reads all of them as one sequence.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "model/body.h"

struct pt_kvcache {
	struct pt_device *dev;
	int layers, max_len, len;
	int64_t width;			/* of a row of keys */
	size_t bytes;			/* of one layer's keys */
	int32_t host_cu[2];
	struct pt_rows rows;		/* of the keys in this call */
	int32_t next;			/* rows after this call */
	void **k, **v;			/* [layers] device */
	struct pt_tensor *kt, *vt;	/* [layers] what attention reads */
};

int pt_kvcache_new(struct pt_kvcache **out, const struct pt_model *m, enum pt_dtype type, int max_len,
		   struct pt_error *err)
{
	struct pt_kvcache *c = pt_calloc(1, sizeof *c, err);
	size_t n = (size_t)m->cfg.stack[0].layers;
	int st;

	*out = NULL;
	if (!c)
		return err->status;
	c->dev = m->dev;
	c->layers = m->cfg.stack[0].layers;
	c->max_len = max_len;
	c->width = (int64_t)m->cfg.kv_heads * m->cfg.head_dim;
	if (max_len < 1 || !pt_mul_size((size_t)c->width * pt_dtype_size(type), (size_t)max_len, &c->bytes)) {
		st = pt_error(err, PT_USAGE, "a cache of %d positions", max_len);
		goto fail;
	}
	c->k = pt_calloc(n, sizeof *c->k, err);
	c->v = pt_calloc(n, sizeof *c->v, err);
	c->kt = pt_calloc(n, sizeof *c->kt, err);
	c->vt = pt_calloc(n, sizeof *c->vt, err);
	if (!c->k || !c->v || !c->kt || !c->vt) {
		st = err->status;
		goto fail;
	}
	for (int i = 0; i < c->layers; i++) {
		st = c->dev->alloc(c->dev, c->bytes, &c->k[i], err);
		if (st == 0)
			st = c->dev->alloc(c->dev, c->bytes, &c->v[i], err);
		if (st)
			goto fail;
	}
	*out = c;
	return 0;
fail:
	pt_kvcache_free(c);
	return st;
}

void pt_kvcache_free(struct pt_kvcache *c)
{
	if (!c)
		return;
	for (int i = 0; i < c->layers; i++) {
		if (c->k && c->k[i])
			c->dev->free(c->dev, c->k[i], c->bytes);
		if (c->v && c->v[i])
			c->dev->free(c->dev, c->v[i], c->bytes);
	}
	free(c->k);
	free(c->v);
	free(c->kt);
	free(c->vt);
	free(c);
}

int pt_kvcache_len(const struct pt_kvcache *c)
{
	return c->len;
}

void pt_kvcache_reset(struct pt_kvcache *c)
{
	c->len = 0;
}

int pt_kvcache_begin(struct pt_run *run, struct pt_kvcache *c, const struct pt_rows *rows)
{
	if (run->err.status)
		return run->err.status;
	if (run->record)
		return pt_error(&run->err, PT_FAIL, "a cache of keys cannot be differentiated");
	if (rows->batch != 1)
		return pt_error(&run->err, PT_FAIL, "a cache of keys holds one sequence, not %d", rows->batch);
	if (rows->n > c->max_len - c->len)
		return pt_error(&run->err, PT_FAIL, "%lld more rows do not fit into a cache of %d positions, %d in use",
				(long long)rows->n, c->max_len, c->len);
	c->next = c->len + (int32_t)rows->n;
	c->host_cu[0] = 0;
	c->host_cu[1] = c->next;
	c->rows = (struct pt_rows){
		.n = c->next, .batch = 1, .max_len = c->next, .host_cu = c->host_cu,
		.cu = pt_run_upload(run, c->host_cu, sizeof c->host_cu),
	};
	return run->err.status;
}

static struct pt_tensor *append(struct pt_run *run, struct pt_kvcache *c, void *store,
				struct pt_tensor *view, const struct pt_tensor *x)
{
	const int64_t shape[2] = { c->next, c->width };
	size_t row = (size_t)c->width * pt_dtype_size(x->type);

	if (run->dev->k->copy(run->dev, (char *)store + (size_t)c->len * row, x->data,
			    (size_t)(c->next - c->len) * row, &run->err))
		return NULL;
	pt_tensor_init(view, x->type, 2, shape, store);
	view->rows = &c->rows;
	return view;
}

void pt_kvcache_append(struct pt_run *run, struct pt_kvcache *c, int layer, struct pt_tensor **k,
		       struct pt_tensor **v)
{
	struct pt_tensor *new_k = *k, *new_v = *v;

	if (!new_k || !new_v)
		return;
	*k = append(run, c, c->k[layer], &c->kt[layer], new_k);
	*v = append(run, c, c->v[layer], &c->vt[layer], new_v);
	pt_tensor_done(run, new_k);
	pt_tensor_done(run, new_v);
}

void pt_kvcache_end(struct pt_kvcache *c)
{
	c->len = c->next;
}
