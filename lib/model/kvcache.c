/* SPDX-License-Identifier: MIT */
/*
 * kvcache.c - keys and values of one sequence, all layers, for decoding.
 * Keys are stored rotated; new rows are appended behind the old ones, and
 * attention reads all of them as one sequence. Of an encoder-decoder the
 * layers are the decoder's, and beside them stand the keys and values of the
 * source, computed once.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "model/body.h"

struct pt_kvcache {
	struct pt_device *dev;
	int layers, max_len, len;
	int64_t width;			/* of a row of keys */
	enum pt_dtype type;
	size_t bytes;			/* of one layer's keys */
	int32_t host_cu[2];
	struct pt_rows rows;		/* of the keys in this call */
	int32_t next;			/* rows after this call */
	void **k, **v;			/* [layers] device */
	struct pt_tensor *kt, *vt;	/* [layers] what attention reads */
	bool two;			/* cross attention: the next four */
	int32_t source_cu[2];
	struct pt_rows source;		/* of the source; n 0: none yet */
	size_t source_bytes;		/* of the room for one layer's keys of it */
	void **sk, **sv;
	struct pt_tensor *skt, *svt;
};

/* Of every layer so many bytes in place of old ones, which are lost. */
static int fit_store(struct pt_kvcache *c, void **store, size_t old, size_t bytes, struct pt_error *err)
{
	int st = 0;

	for (int i = 0; store && i < c->layers; i++) {
		if (store[i])
			c->dev->free(c->dev, store[i], old);
		store[i] = NULL;
	}
	for (int i = 0; bytes && i < c->layers && !st; i++)
		st = c->dev->alloc(c->dev, bytes, &store[i], err);
	return st;
}

static int make_store(struct pt_kvcache *c, void ***store, struct pt_tensor **view, size_t bytes,
		      struct pt_error *err)
{
	size_t n = (size_t)c->layers;

	*store = pt_calloc(n, sizeof **store, err);
	*view = pt_calloc(n, sizeof **view, err);
	return *store && *view ? fit_store(c, *store, 0, bytes, err) : err->status;
}

static void free_store(struct pt_kvcache *c, void **store, struct pt_tensor *view, size_t bytes)
{
	struct pt_error ignored = PT_ERROR_INIT;

	fit_store(c, store, bytes, 0, &ignored);
	free(store);
	free(view);
}

int pt_kvcache_new(struct pt_kvcache **out, const struct pt_model *m, enum pt_dtype type, int max_len,
		   struct pt_error *err)
{
	const struct pt_stack_config *stack = &m->cfg.stack[m->cfg.nstacks - 1];
	struct pt_kvcache *c = pt_calloc(1, sizeof *c, err);
	int st;

	*out = NULL;
	if (!c)
		return err->status;
	c->dev = m->dev;
	c->layers = stack->layers;
	c->max_len = max_len;
	c->width = (int64_t)m->cfg.kv_heads * m->cfg.head_dim;
	c->type = type;
	c->two = m->cfg.nstacks > 1;
	if (max_len < 1 || !pt_mul_size((size_t)c->width * pt_dtype_size(type), (size_t)max_len, &c->bytes))
		st = pt_error(err, PT_USAGE, "a cache of %d positions", max_len);
	else if (!(st = make_store(c, &c->k, &c->kt, c->bytes, err)) &&
		 !(st = make_store(c, &c->v, &c->vt, c->bytes, err)) && c->two &&
		 !(st = make_store(c, &c->sk, &c->skt, 0, err)))
		st = make_store(c, &c->sv, &c->svt, 0, err);
	if (st) {
		pt_kvcache_free(c);
		return st;
	}
	*out = c;
	return 0;
}

void pt_kvcache_free(struct pt_kvcache *c)
{
	if (!c)
		return;
	free_store(c, c->k, c->kt, c->bytes);
	free_store(c, c->v, c->vt, c->bytes);
	free_store(c, c->sk, c->skt, c->source_bytes);
	free_store(c, c->sv, c->svt, c->source_bytes);
	free(c);
}

int pt_kvcache_len(const struct pt_kvcache *c)
{
	return c->len;
}

void pt_kvcache_reset(struct pt_kvcache *c)
{
	c->len = 0;
	c->source.n = 0;
}

int pt_kvcache_read(const struct pt_kvcache *c, int layer, float *k, float *v, struct pt_error *err)
{
	const void *const from[2] = { c->k[layer], c->v[layer] };
	float *const to[2] = { k, v };
	size_t n = (size_t)c->len * (size_t)c->width, bytes = n * pt_dtype_size(c->type);
	void *raw = pt_malloc(bytes, 1, err);
	int st = raw ? 0 : err->status;

	for (int i = 0; i < 2 && !st; i++) {
		st = c->dev->download(c->dev, raw, from[i], bytes, err);
		if (!st)
			pt_to_f32(to[i], raw, c->type, n);
	}
	free(raw);
	return st;
}

int pt_kvcache_begin(struct pt_run *run, struct pt_kvcache *c, const struct pt_rows *rows)
{
	if (run->err.status)
		return run->err.status;
	if (run->record)
		return pt_error(&run->err, PT_FAIL, "a cache of keys cannot be differentiated");
	if (rows->batch != 1)
		return pt_error(&run->err, PT_FAIL, "a cache of keys holds one sequence, not %d", rows->batch);
	if (c->two && !c->source.n)
		return pt_error(&run->err, PT_FAIL, "a cache of keys without those of a source");
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
	if (c->two)
		c->source.cu = pt_run_upload(run, c->source_cu, sizeof c->source_cu);
	return run->err.status;
}

static bool fits(struct pt_run *run, const struct pt_kvcache *c, const struct pt_tensor *x)
{
	if (x->type == c->type && x->shape[1] == c->width)
		return true;
	pt_error(&run->err, PT_FAIL, "a cache of keys of another type or width");
	return false;
}

int pt_kvcache_source(struct pt_run *run, struct pt_kvcache *c, const struct pt_rows *rows)
{
	size_t bytes;

	if (run->record)
		return pt_error(&run->err, PT_FAIL, "a cache of keys cannot be differentiated");
	if (!c->two || rows->batch != 1 || rows->n < 1 ||
	    !pt_mul_size((size_t)c->width * pt_dtype_size(c->type), (size_t)rows->n, &bytes))
		return pt_error(&run->err, PT_FAIL, "a source of %d sequences, %lld rows, does not fit into the cache",
				rows->batch, (long long)rows->n);
	c->source.n = 0;
	if (bytes > c->source_bytes) {
		size_t old = c->source_bytes;

		c->source_bytes = bytes;
		if (fit_store(c, c->sk, old, bytes, &run->err) || fit_store(c, c->sv, old, bytes, &run->err))
			return run->err.status;
	}
	c->source_cu[1] = (int32_t)rows->n;
	c->source = (struct pt_rows){ .n = rows->n, .batch = 1, .max_len = (int)rows->n, .host_cu = c->source_cu };
	return 0;
}

void pt_kvcache_keep(struct pt_run *run, struct pt_kvcache *c, int layer, const struct pt_tensor *k,
		     const struct pt_tensor *v)
{
	const struct pt_tensor *from[2] = { k, v };
	void *const store[2] = { c->sk[layer], c->sv[layer] };
	struct pt_tensor *const view[2] = { &c->skt[layer], &c->svt[layer] };

	for (int i = 0; i < 2 && from[i] && !run->err.status; i++) {
		if (!fits(run, c, from[i]) || from[i]->shape[0] != c->source.n)
			return;
		run->dev->k->copy(run->dev, store[i], from[i]->data,
				  (size_t)pt_tensor_count(from[i]) * pt_dtype_size(from[i]->type), &run->err);
		pt_tensor_init(view[i], from[i]->type, 2, from[i]->shape, store[i]);
		view[i]->rows = &c->source;
	}
}

void pt_kvcache_kept(struct pt_kvcache *c, int layer, struct pt_tensor *kv[2])
{
	kv[0] = &c->skt[layer];
	kv[1] = &c->svt[layer];
}

static struct pt_tensor *append(struct pt_run *run, struct pt_kvcache *c, void *store,
				struct pt_tensor *view, const struct pt_tensor *x)
{
	const int64_t shape[2] = { c->next, c->width };
	size_t row = (size_t)c->width * pt_dtype_size(x->type);

	if (!fits(run, c, x))
		return NULL;
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
