/* SPDX-License-Identifier: MIT */
/*
 * tokens.c - trainable tokens: of an embedding only the rows of some tokens
 * train; an output embedding that is tied to it has the same rows. Files hold
 * the rows' values, so that what a table is resized by does not matter.
 *
 * The table stays as it is. With P [rows,n] that picks the rows, D their values
 * and D0 the base's own, an embedding is E[ids] - P[ids] D0 + P[ids] D, and an
 * output embedding W x - P D0 x + P D x.
 */
#include "peft/tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

static const char defaults[] =
	"{\"auto_mapping\":null,\"base_model_name_or_path\":null,\"inference_mode\":true,\"init_weights\":true,"
	"\"peft_type\":\"TRAINABLE_TOKENS\",\"revision\":null,\"target_modules\":null,\"task_type\":null,"
	"\"token_indices\":[]}";

static const char beside[] = "trainable_token_indices";

static const struct pt_option options[] = {
	{ .name = "tokens", .key = "token_indices", .kind = PT_OPTION_NUMBERS, .arg = "LIST",
	  .help = "ids of tokens whose rows of the embedding train, as in 5,300-310" },
	{ .name = "targets", .key = "target_modules", .kind = PT_OPTION_TARGETS, .arg = "LIST|REGEX",
	  .help = "modules to adapt by the ends of their names, or all-linear (by model)" },
	{ 0 }
};

static struct pt_tensor *embed(struct pt_run *run, struct pt_hook *h, const int32_t *ids, const struct pt_rows *rows,
			       struct pt_tensor *y)
{
	struct pt_token_rows *r = h->state;
	struct pt_tensor *x = pt_op_embed(run, &r->pick, false, ids, rows, 1, -1);
	struct pt_tensor *table[2] = { &r->minus, &r->value->t };

	for (int i = 0; x && i < 2; i++) {
		struct pt_linear lin = { .w = table[i], .transposed = true };
		struct pt_tensor *z = pt_op_linear(run, x, &lin), *scaled = pt_op_scale(run, z, h->site->embed_scale), *old = y;

		y = pt_op_add(run, old, scaled);
		pt_tensor_done(run, z);
		pt_tensor_done(run, scaled);
		if (i)
			pt_tensor_done(run, old);
	}
	pt_tensor_done(run, x);
	return x ? y : NULL;
}

static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	struct pt_token_rows *r = h->state;
	struct pt_tensor *table[2] = { &r->minus, &r->value->t };

	(void)run;
	for (int i = 0; i < 2 && i < max; i++)
		term[i] = (struct pt_lowrank){ .a = table[i], .b = &r->pick, .scale = 1 };
	return 2;
}

static const struct pt_hook_ops hook = { .embed = embed, .terms = terms };

static bool tied(const struct pt_site *x, const struct pt_site *y)
{
	return x != y && x->weight && y->weight && (x->weight->tied == y->weight || y->weight->tied == x->weight);
}

static bool fits(const struct pt_site *s)
{
	return s->kind == PT_SITE_EMBEDDING || (s->kind == PT_SITE_LINEAR && s->output && !s->transposed);
}

/* The ids, each a row of the table and none twice. */
static int read_ids(struct pt_token_rows *r, const struct pt_site *s, const cJSON *ids, struct pt_error *err)
{
	int64_t rows = s->weight->t.shape[0];
	bool *seen = pt_calloc((size_t)rows, sizeof *seen, err);
	int st = seen ? 0 : err->status;

	r->n = cJSON_GetArraySize(ids);
	r->id = pt_calloc((size_t)r->n, sizeof *r->id, err);
	if (!st && !r->id)
		st = err->status;
	for (int64_t i = 0; !st && i < r->n; i++) {
		const cJSON *v = cJSON_GetArrayItem(ids, (int)i);

		if (pt_json_to_int(v, 0, INT32_MAX, &r->id[i], err))
			st = pt_error_prefix(err, "ids of tokens");
		else if (r->id[i] >= rows)
			st = pt_error(err, PT_USAGE, "token %lld is no row of %s, which has %lld: resize the base first",
				      (long long)r->id[i], s->path, (long long)rows);
		else if (seen[r->id[i]])
			st = pt_error(err, PT_USAGE, "token %lld is named twice", (long long)r->id[i]);
		else if (r->id[i] == s->pad && r->a->trainable)
			st = pt_error(err, PT_USAGE, "token %lld is the padding of %s, which never trains", (long long)r->id[i],
				      s->path);
		else
			seen[r->id[i]] = true;
	}
	free(seen);
	return st;
}

static int upload(struct pt_device *dev, struct pt_tensor *t, int64_t rows, int64_t cols, const float *v,
		  struct pt_error *err)
{
	size_t bytes = (size_t)(rows * cols) * sizeof *v;
	void *p;

	if (dev->alloc(dev, bytes, &p, err))
		return err->status;
	pt_tensor_init(t, PT_F32, 2, (int64_t[]){ rows, cols }, p);
	return dev->upload(dev, p, v, bytes, err);
}

/* The tables that do not train. */
static int make_tables(struct pt_token_rows *r, const struct pt_site *s, struct pt_error *err)
{
	int64_t rows = s->weight->t.shape[0], width = s->weight->t.shape[1];
	struct pt_device *dev = r->a->model->dev;
	float *own = pt_calloc((size_t)(r->n * width), sizeof *own, err);
	float *pick = pt_calloc((size_t)(rows * r->n), sizeof *pick, err);
	int st = own && pick ? 0 : err->status;

	for (int64_t i = 0; !st && i < r->n; i++) {
		st = pt_weight_row(r->a->model, s->weight, r->id[i], own + i * width, err);
		for (int64_t j = 0; j < width; j++)
			own[i * width + j] = -own[i * width + j];
		pick[r->id[i] * r->n + i] = 1;
	}
	if (!st)
		st = upload(dev, &r->minus, r->n, width, own, err);
	if (!st)
		st = upload(dev, &r->pick, rows, r->n, pick, err);
	free(own);
	free(pick);
	return st;
}

static int add_place(struct pt_token_rows *r, struct pt_site *s, struct pt_error *err)
{
	struct pt_token_place *more = pt_realloc(r->place, (size_t)r->nplaces + 1, sizeof *more, err);

	if (!more)
		return err->status;
	r->place = more;
	more[r->nplaces++] = (struct pt_token_place){ .site = s, .hook = { .ops = &hook, .state = r } };
	return 0;
}

/* Whether somebody else has this weight. */
static int check_free(const struct pt_adapter *a, const struct pt_site *s, struct pt_error *err)
{
	if (pt_adapter_replaced(a, s->weight))
		return pt_error(err, PT_USAGE, "%s trains whole, and rows of it are to train alone", s->path);
	for (int i = 0; i < a->nsites && a->site[i].nparams; i++) {
		if (a->site[i].site == s)
			return pt_error(err, PT_USAGE, "%s is both a target and in %s", s->path, beside);
	}
	return 0;
}

static int twin(struct pt_adapter *a, struct pt_param *p, const char *path, const char *name, struct pt_error *err)
{
	char *key = pt_format(err, PT_KEY_PREFIX "%s.%s", path, name);
	int st = key ? pt_adapter_twin(a, key, p, err) : err->status;

	free(key);
	return st;
}

/* What is tied to the table has its rows, unless it has others of its own; the method tokens repeats them in the file. */
static int add_tied(struct pt_token_rows *r, struct pt_adapter *a, const struct pt_site *s, const cJSON *const *ids,
		    const char *name, struct pt_error *err)
{
	struct pt_model *m = a->model;
	bool repeats = !strchr(name, '.');
	int st = 0;

	for (int i = 0; i < m->nsites && !st && s->kind == PT_SITE_EMBEDDING; i++) {
		if (!tied(s, &m->site[i]) || (ids[i] && !cJSON_Compare(ids[i], ids[s - m->site], true)))
			continue;
		st = check_free(a, &m->site[i], err);
		if (!st)
			st = add_place(r, &m->site[i], err);
		if (!st && repeats)
			st = twin(a, r->value, m->site[i].path, name, err);
	}
	return st;
}

static int add_rows(struct pt_adapter *a, struct pt_site *s, const cJSON *const *ids, const char *name,
		    struct pt_error *err)
{
	struct pt_token_rows *r = pt_calloc(1, sizeof *r, err), **more;
	const cJSON *list = ids[s - a->model->site];
	char *key = NULL;
	int st;

	if (!r)
		return err->status;
	more = pt_realloc(a->rows, (size_t)a->nrows + 1, sizeof *more, err);
	if (!more) {
		free(r);
		return err->status;
	}
	a->rows = more;
	a->rows[a->nrows++] = r;
	r->a = a;
	if ((st = check_free(a, s, err)) || (st = read_ids(r, s, list, err)) || (st = make_tables(r, s, err)) ||
	    (st = add_place(r, s, err)))
		return st;
	key = pt_format(err, PT_KEY_PREFIX "%s.%s", s->path, name);
	st = key ? pt_adapter_tensor(a, key, 0, 2, r->minus.shape, &r->value, err) : err->status;
	free(key);
	return st ? st : add_tied(r, a, s, ids, name, err);
}

/* Rows at every site that has a list; a tied output embedding with the table's own belongs to that. */
static int add_all(struct pt_adapter *a, const cJSON *const *ids, const char *name, struct pt_error *err)
{
	struct pt_model *m = a->model;
	int st = 0;

	for (int i = 0; i < m->nsites && !st; i++) {
		struct pt_site *s = &m->site[i];
		bool follows = false;

		if (!ids[i])
			continue;
		if (!fits(s))
			return pt_error(err, PT_USAGE, "%s is a %s: only rows of embeddings can train alone", s->path, s->module);
		for (int k = 0; k < m->nsites && !follows && s->kind == PT_SITE_LINEAR; k++)
			follows = ids[k] && m->site[k].kind == PT_SITE_EMBEDDING && tied(s, &m->site[k]) &&
				  cJSON_Compare(ids[i], ids[k], true);
		if (!follows)
			st = add_rows(a, s, ids, name, err);
	}
	return st;
}

/* The input embedding: the first of a model's tables. */
static int input_of(const struct pt_model *m, int *at, struct pt_error *err)
{
	for (*at = 0; *at < m->nsites; ++*at)
		if (m->site[*at].kind == PT_SITE_EMBEDDING)
			return 0;
	return pt_error(err, PT_USAGE, "the model has no embedding");
}

static int check_list(const cJSON *ids, const char *key, struct pt_error *err)
{
	if (cJSON_IsArray(ids) && cJSON_GetArraySize(ids))
		return 0;
	return pt_error(err, PT_USAGE, "%s: no list of ids of tokens", key);
}

static bool ends_in(const char *path, const char *name)
{
	size_t n = strlen(path), k = strlen(name);

	return k && n >= k && !strcmp(path + n - k, name) && (n == k || path[n - k - 1] == '.');
}

/* The lists of trainable_token_indices: of the input embedding, or by the ends of names. */
static int lists_beside(const struct pt_adapter *a, const cJSON *v, const cJSON **ids, struct pt_error *err)
{
	const struct pt_model *m = a->model;
	int at;

	if (!cJSON_IsObject(v)) {
		if (check_list(v, beside, err) || input_of(m, &at, err))
			return err->status;
		ids[at] = v;
		return 0;
	}
	for (v = v->child; v; v = v->next) {
		bool found = false;

		if (check_list(v, beside, err))
			return err->status;
		for (int i = 0; i < m->nsites; i++) {
			if (m->site[i].weight && ends_in(m->site[i].path, v->string)) {
				ids[i] = v;
				found = true;
			}
		}
		if (!found)
			return pt_error(err, PT_USAGE, "%s: '%s' matches no module of the model", beside, v->string);
	}
	return 0;
}

int pt_tokens_beside(struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *v = pt_json_get(a->config, beside), **ids;
	int st;

	if (!v || !pt_method_has_key(a->method, beside))
		return 0;
	ids = pt_calloc((size_t)a->model->nsites, sizeof *ids, err);
	st = ids ? lists_beside(a, v, ids, err) : err->status;
	if (!st)
		st = add_all(a, ids, "token_adapter.trainable_tokens_delta", err);
	free(ids);
	return st;
}

int pt_tokens_init(struct pt_adapter *a, uint64_t seed, struct pt_error *err)
{
	bool own;
	/* The key is something else to others. */
	int st = a->nrows ? pt_json_bool(a->config, "init_weights", true, &own, err) : 0;

	for (int i = 0; i < a->nrows && !st; i++) {
		const struct pt_token_rows *r = a->rows[i];
		const struct pt_weight *w = r->place[0].site->weight;
		int64_t width = w->t.shape[1];
		float *v = pt_malloc((size_t)(r->n * width), sizeof *v, err);

		st = v ? 0 : err->status;
		for (int64_t k = 0; k < r->n && !st && own; k++)
			st = pt_weight_row(a->model, w, r->id[k], v + k * width, err);
		if (!st && !own)
			pt_rng_normal(pt_rng_mix_str(seed, r->value->name), v, (size_t)(r->n * width), 0, 1);
		if (!st)
			st = pt_adapter_set(a, r->value, v, err);
		free(v);
	}
	return st;
}

int pt_tokens_merge(struct pt_adapter *a, const struct pt_weight *w, float *value, bool *changed, struct pt_error *err)
{
	int64_t width = w->t.ndim == 2 ? w->t.shape[1] : 0;
	int st = 0;

	for (int i = 0; i < a->nrows && !st; i++) {
		const struct pt_token_rows *r = a->rows[i];
		float *v;

		if (!pt_tokens_has(r, w))
			continue;
		v = pt_malloc((size_t)(r->n * width), sizeof *v, err);
		st = v ? pt_adapter_get(a, r->value, v, err) : err->status;
		for (int64_t k = 0; k < r->n && !st; k++)
			memcpy(value + r->id[k] * width, v + k * width, (size_t)width * sizeof *v);
		*changed = true;
		free(v);
	}
	return st;
}

bool pt_tokens_has(const struct pt_token_rows *r, const struct pt_weight *w)
{
	for (int i = 0; i < r->nplaces; i++) {
		if (r->place[i].site->weight == w)
			return true;
	}
	return false;
}

int pt_tokens_hook_in(struct pt_adapter *a, struct pt_error *err)
{
	int st = 0;

	for (int i = 0; i < a->nrows; i++)
		for (int k = 0; k < a->rows[i]->nplaces && !st; k++)
			st = pt_site_add_hook(a->rows[i]->place[k].site, &a->rows[i]->place[k].hook, err);
	return st;
}

void pt_tokens_enable(struct pt_adapter *a, bool on)
{
	for (int i = 0; i < a->nrows; i++)
		for (int k = 0; k < a->rows[i]->nplaces; k++)
			a->rows[i]->place[k].hook.enabled = on;
}

void pt_tokens_release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;

	for (int i = 0; i < a->nrows; i++) {
		struct pt_token_rows *r = a->rows[i];

		for (int k = 0; k < r->nplaces; k++)
			pt_site_remove_hook(r->place[k].site, &r->place[k].hook);
		if (r->minus.data)
			dev->free(dev, r->minus.data, (size_t)pt_tensor_count(&r->minus) * sizeof(float));
		if (r->pick.data)
			dev->free(dev, r->pick.data, (size_t)pt_tensor_count(&r->pick) * sizeof(float));
		free(r->place);
		free(r->id);
		free(r);
	}
	free(a->rows);
}

/* The default target, as PEFT writes it: the input embedding's whole name. */
static int parse(struct pt_adapter *a, struct pt_error *err)
{
	static const char key[] = "target_modules";
	bool own;
	int at;

	if (check_list(pt_json_get(a->config, "token_indices"), "token_indices", err) ||
	    pt_json_bool(a->config, "init_weights", true, &own, err))
		return err->status;
	if (pt_json_get(a->config, key))
		return 0;
	if (input_of(a->model, &at, err))
		return err->status;
	cJSON_DeleteItemFromObjectCaseSensitive(a->config, key);
	if (!cJSON_AddStringToObject(a->config, key, a->model->site[at].path))
		return pt_error(err, PT_FAIL, "out of memory");
	return 0;
}

/* PEFT wraps a tied output embedding that is a target too twice, and says so in the file. */
static int pass_double(struct pt_adapter *a, const struct pt_site *s, struct pt_error *err)
{
	char *key = pt_format(err, PT_KEY_PREFIX "%s.base_layer.trainable_tokens_delta", s->path);
	int st = key ? pt_adapter_made(a, key, PT_TENSOR_OPTIONAL, err) : err->status;

	free(key);
	return st;
}

static int prepare(struct pt_adapter *a, struct pt_error *err)
{
	const cJSON **ids = pt_calloc((size_t)a->model->nsites, sizeof *ids, err);
	int st = ids ? 0 : err->status;

	for (int i = 0; i < a->nsites && !st; i++) {
		ids[a->site[i].site - a->model->site] = pt_json_get(a->config, "token_indices");
		if (a->site[i].site->output)
			st = pass_double(a, a->site[i].site, err);
	}
	if (!st)
		st = add_all(a, ids, "trainable_tokens_delta", err);
	free(ids);
	return st;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	(void)a, (void)s, (void)err;
	return 0;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	(void)a, (void)s, (void)w, (void)value, (void)err;
	return 0;
}

const struct pt_method pt_method_tokens = {
	.name = "tokens",
	.peft_type = "TRAINABLE_TOKENS",
	.kinds = 1u << PT_SITE_EMBEDDING | 1u << PT_SITE_LINEAR,
	.merges = true,
	.defaults = defaults,
	.options = options,
	.parse = parse,
	.prepare = prepare,
	.create = create,
	.merge = merge,
};
