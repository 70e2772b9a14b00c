/* SPDX-License-Identifier: MIT */
/*
 * virtual.c - see virtual.h.
 */
#include "peft/virtual.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

int pt_virtual_number(struct pt_adapter *a, const char *key, int64_t def, int64_t *out, struct pt_error *err)
{
	cJSON *v;

	if (pt_json_int(a->config, key, 1, INT32_MAX, def, out, err) || pt_json_get(a->config, key))
		return err->status;
	v = cJSON_CreateNumber((double)def);
	cJSON_DeleteItemFromObjectCaseSensitive(a->config, key);
	if (v && cJSON_AddItemToObject(a->config, key, v))
		return pt_adapter_config_complete(a->config, "{}", err);
	cJSON_Delete(v);
	return pt_error(err, PT_FAIL, "out of memory");
}

int pt_virtual_parse(struct pt_adapter *a, struct pt_virtual *v, int64_t heads, int64_t dim, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;

	if (!pt_json_get(a->config, "num_virtual_tokens"))
		return pt_error(err, PT_USAGE, "num_virtual_tokens is missing");
	if (pt_virtual_number(a, "num_virtual_tokens", 1, &v->tokens, err) ||
	    pt_virtual_number(a, "num_transformer_submodules", a->task == PT_TASK_SEQ2SEQ_LM ? 2 : 1, &v->parts, err) ||
	    pt_virtual_number(a, "num_layers", c->stack[0].layers, &v->layers, err) ||
	    pt_virtual_number(a, "num_attention_heads", heads, &v->heads, err) || pt_virtual_number(a, "token_dim", dim, &v->dim, err))
		return err->status;
	if (v->parts > 2)
		return pt_error(err, PT_USAGE, "num_transformer_submodules is %lld: a model has one or two",
				(long long)v->parts);
	if (v->dim != dim)
		return pt_error(err, PT_USAGE, "token_dim is %lld, the model wants %lld", (long long)v->dim,
				(long long)dim);
	if (v->tokens >= c->positions)
		return pt_error(err, PT_USAGE, "num_virtual_tokens is %lld, the model has %lld positions",
				(long long)v->tokens, (long long)c->positions);
	return 0;
}

bool pt_virtual_match(const struct pt_adapter *a, const struct pt_site *s)
{
	for (int i = 0; i < a->model->nsites; i++) {
		if (a->model->site[i].kind == PT_SITE_INPUT)
			return s == &a->model->site[i];
	}
	return false;
}

int pt_virtual_table(struct pt_adapter *a, struct pt_adapter_site *s, const char *key, int flags, int64_t rows,
		     int64_t width, struct pt_param **out, struct pt_error *err)
{
	int st = pt_adapter_tensor(a, key, flags, 2, (int64_t[]){ rows, width }, out, err);

	if (!st)
		s->param[s->nparams++] = *out;
	return st;
}

struct pt_tensor *pt_virtual_rows(struct pt_run *run, struct pt_tensor *table, int64_t first, int64_t step, int64_t n)
{
	int32_t *id = pt_pool_alloc(&run->pool, (size_t)n * sizeof *id, &run->err);
	struct pt_rows *rows = pt_pool_alloc(&run->pool, sizeof *rows, &run->err);
	const int32_t *d;

	if (!id || !rows)
		return NULL;
	for (int64_t i = 0; i < n; i++)
		id[i] = (int32_t)(first + i * step);
	rows->n = n;
	d = pt_run_upload(run, id, (size_t)n * sizeof *id);
	return d ? pt_op_embed(run, table, false, d, rows, 1, -1) : NULL;
}

static struct pt_tensor *prepend(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, const struct pt_rows **rows)
{
	const struct pt_adapter_site *s = h->state;
	const struct pt_virtual *v = s->state;
	struct pt_tensor *front = v->front(run, s), *y;

	*rows = front ? pt_rows_lengthen(run, *rows, (int)v->tokens) : NULL;
	y = *rows ? pt_op_prepend(run, front, x, *rows) : NULL;
	pt_tensor_done(run, front);
	return y;
}

static int front(const struct pt_hook *h)
{
	const struct pt_adapter_site *s = h->state;

	return (int)((const struct pt_virtual *)s->state)->tokens;
}

const struct pt_hook_ops pt_virtual_input = { .prepend = prepend, .front = front };

/* Values from random ones, normal or uniform within bound. */
static int random_values(struct pt_adapter *a, struct pt_param *p, uint64_t seed, float bound, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *x = pt_malloc(n, sizeof *x, err);
	uint64_t key = pt_rng_mix_str(seed, p->name);
	int st;

	if (!x)
		return err->status;
	if (bound > 0)
		pt_rng_uniform(key, x, n, -bound, bound);
	else
		pt_rng_normal(key, x, n, 0, 1);
	st = pt_adapter_set(a, p, x, err);
	free(x);
	return st;
}

int pt_virtual_normal(struct pt_adapter *a, struct pt_param *p, uint64_t seed, struct pt_error *err)
{
	return random_values(a, p, seed, 0, err);
}

int pt_virtual_uniform(struct pt_adapter *a, struct pt_param *p, int64_t fan, uint64_t seed, struct pt_error *err)
{
	return random_values(a, p, seed, (float)(1 / sqrt((double)fan)), err);
}

int pt_virtual_encoder(struct pt_adapter *a, struct pt_adapter_site *s, int64_t rows, int64_t width, bool *has,
		       bool *makes, struct pt_error *err)
{
	struct pt_virtual *v = a->state;

	*has = a->fresh || pt_adapter_stored(a, PT_VIRTUAL_ENCODER "embedding.weight");
	*makes = *has && a->trainable;
	if (*makes)
		return pt_adapter_made(a, PT_VIRTUAL_KEY, 0, err);
	return pt_virtual_table(a, s, PT_VIRTUAL_KEY, 0, rows, width, &v->table, err);
}

int pt_virtual_part(struct pt_adapter *a, struct pt_adapter_site *s, const char *name, int64_t rows, int64_t cols,
		    struct pt_error *err)
{
	char *key = pt_format(err, PT_VIRTUAL_ENCODER "%s", name);
	struct pt_param *p;
	int st = key ? 0 : err->status;

	if (!st && s->nparams == PT_SITE_MAX_TENSORS)
		st = pt_error(err, PT_USAGE, "an encoder of more than %d tensors", PT_SITE_MAX_TENSORS);
	if (!st)
		st = pt_adapter_tensor(a, key, PT_TENSOR_STATE, cols ? 2 : 1, (int64_t[]){ rows, cols }, &p, err);
	if (!st)
		s->param[s->nparams++] = p;
	free(key);
	return st;
}

struct pt_tensor *pt_virtual_linear(struct pt_run *run, struct pt_tensor *x, struct pt_param *w, struct pt_param *b)
{
	const struct pt_linear lin = { .w = &w->t, .bias = &b->t };

	return pt_op_linear(run, x, &lin);
}

struct making {
	struct pt_adapter *a;
	struct pt_tensor *(*table)(struct pt_run *run, struct pt_adapter *a);
	float *out;
};

static void make_table(struct pt_run *run, void *arg, bool real)
{
	const struct making *m = arg;
	struct pt_tensor *t = m->table(run, m->a);

	if (t && real)
		pt_tensor_read(run, t, m->out, &run->err);
}

int pt_virtual_save(struct pt_adapter *a, struct pt_st_build *file,
		    struct pt_tensor *(*table)(struct pt_run *run, struct pt_adapter *a), int64_t rows, int64_t width,
		    struct pt_error *err)
{
	struct pt_virtual *v = a->state;
	struct making m = { .a = a, .table = table };

	if (v->table)
		return 0;
	free(v->made);
	v->made = m.out = pt_malloc((size_t)(rows * width), sizeof *v->made, err);
	if (!v->made || pt_run_once(a->model->dev, make_table, &m, err))
		return err->status;
	pt_st_build_tensor(file, PT_VIRTUAL_KEY, PT_F32, 2, (int64_t[]){ rows, width }, v->made);
	return 0;
}

int pt_virtual_text(struct pt_adapter *a, const char *text, int32_t *id, int64_t n, bool again, struct pt_error *err)
{
	int32_t *own = NULL;
	size_t count = 0;

	if (!a->tokenize)
		return pt_error(err, PT_USAGE, "first values by a text want a tokenizer");
	if (a->tokenize->ids(a->tokenize->arg, text, &own, &count, err))
		return err->status;
	for (int64_t i = 0; i < n && count; i++)
		id[i] = own[(size_t)i % count];
	free(own);
	if (!count || (!again && (int64_t)count < n))
		return pt_error(err, PT_USAGE, "a text of %zu tokens for %lld virtual ones", count, (long long)n);
	return 0;
}

void pt_virtual_release(struct pt_adapter *a)
{
	struct pt_virtual *v = a->state;

	if (v)
		free(v->made);
	free(v);
}
