/* SPDX-License-Identifier: MIT */
/*
 * prefix.c - prefix tuning: keys and values before those of every sequence, in
 * each attention of a decoder to itself; rows of a table, or what two linears
 * make of a smaller one (the projection, which PEFT forgets when it saves and
 * which stands here in peft_state.safetensors).
 *
 * A row of the file's table holds for a token the planes of all layers, its
 * keys and its values in turn: as PEFT hands them to the model, without
 * rotation. Of an encoder-decoder PEFT gives layer l the planes 4l and 4l+1 of
 * those, counted round and round.
 *
 * Li & Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for
 * Generation".
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/virtual.h"

/* Places of the encoder's tensors. */
enum { EMBEDDING, W0, B0, W1, B1 };

#define INIT_TEXT "init_text"	/* while the adapter is made; PEFT's file has no such key */

struct prefix {
	struct pt_virtual v;
	char *text;
	struct pt_param *part[5];	/* of the projection; NULL: none, or the table stands for itself */
	int64_t hidden;
	bool projection, zero;
	bool has;			/* a projection is there */
	/* The table as rows [tokens*2*layers,dim], and the last linear by planes. */
	struct pt_tensor table, *w, *b;
};

static const struct pt_option options[] = {
	PT_OPTION_VIRTUAL_TOKENS,
	{ .name = "projection", .key = "prefix_projection", .kind = PT_OPTION_FLAG,
	  .help = "make the keys and values by two linears of a smaller table" },
	{ .name = "encoder-size", .key = "encoder_hidden_size", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .wants = "projection", .help = "width of the encoder (that of its outputs)" },
	{ .name = "init", .key = "init_weights", .kind = PT_OPTION_WORD, .arg = "HOW", .words = "random=null|zero|text",
	  .help = "random, zero or text (random)" },
	{ .name = "init-text", .key = INIT_TEXT, .kind = PT_OPTION_TEXT, .arg = "TEXT", .passing = true,
	  .wants = "init=text", .help = "the text whose keys and values are the first ones, with --init text" },
	PT_OPTION_SAVE_MODULES,
	{ 0 }
};

static bool match(const struct pt_adapter *a, const struct pt_site *s)
{
	return s->kind == PT_SITE_KV && s->stack == a->model->cfg.nstacks - 1 && s->sub == PT_SUB_ATTENTION;
}

/* Values from a text: for the file they are as good as random ones. */
static int parse_text(struct pt_adapter *a, struct prefix *p, const char *how, struct pt_error *err)
{
	bool by_text = how && !strcmp(how, "text");
	const char *text;

	if (how && !p->zero && !by_text)
		return pt_error(err, PT_USAGE, "init_weights '%s': zero and text are known", how);
	if (pt_json_str(a->config, INIT_TEXT, NULL, &text, err))
		return err->status;
	if (by_text != (text && *text))
		return pt_error(err, PT_USAGE, "init_weights text and " INIT_TEXT " go together");
	if (by_text && (p->projection || p->v.parts > 1))
		return pt_error(err, PT_USAGE, "init_weights text is for a prefix without a projection, of a decoder");
	if (by_text && !(p->text = pt_strdup(text, err)))
		return err->status;
	cJSON_DeleteItemFromObjectCaseSensitive(a->config, INIT_TEXT);
	if (by_text && !cJSON_ReplaceItemInObjectCaseSensitive(a->config, "init_weights", cJSON_CreateNull()))
		return pt_error(err, PT_FAIL, "out of memory");
	return 0;
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	struct prefix *p = pt_calloc(1, sizeof *p, err);
	int layers = c->stack[c->nstacks - 1].layers;
	const char *how;

	a->state = p;
	if (!p)
		return err->status;
	if (c->nstacks > 1 && a->task != PT_TASK_SEQ2SEQ_LM)
		return pt_error(err, PT_USAGE, "prefix acts on an encoder-decoder that writes text, not one for %s",
				pt_task_name(a->task));
	if (pt_virtual_parse(a, &p->v, c->kv_heads, (int64_t)c->kv_heads * c->head_dim, err) ||
	    pt_virtual_number(a, "encoder_hidden_size", p->v.dim, &p->hidden, err) ||
	    pt_json_bool(a->config, "prefix_projection", false, &p->projection, err) ||
	    pt_json_str(a->config, "init_weights", NULL, &how, err))
		return err->status;
	p->zero = how && !strcmp(how, "zero");
	if (a->fresh && parse_text(a, p, how, err))
		return err->status;
	if (p->v.layers != layers)
		return pt_error(err, PT_USAGE, "num_layers is %lld, the model has %d with a prefix", (long long)p->v.layers,
				layers);
	return 0;
}

/* Where the keys and values of a layer stand among the planes. */
static int64_t plane_of(const struct prefix *p, int layer, int which)
{
	return (2 * p->v.parts * layer + which) % (2 * p->v.layers);
}

static struct pt_tensor *hidden_rows(struct pt_run *run, const struct prefix *p)
{
	struct pt_tensor *x = pt_virtual_rows(run, &p->part[EMBEDDING]->t, 0, 1, p->v.tokens);

	return pt_op_act(run, pt_virtual_linear(run, x, p->part[W0], p->part[B0]), PT_ACT_TANH);
}

/* Keys and values [tokens,dim] of a layer. */
static void planes(struct pt_run *run, struct prefix *p, int layer, struct pt_tensor *y[2])
{
	int64_t at[2] = { plane_of(p, layer, 0), plane_of(p, layer, 1) };
	struct pt_linear lin[2];
	struct pt_tensor *h;

	if (!p->w) {
		for (int i = 0; i < 2; i++)
			y[i] = pt_virtual_rows(run, &p->table, at[i], 2 * p->v.layers, p->v.tokens);
		return;
	}
	h = hidden_rows(run, p);
	for (int i = 0; i < 2; i++)
		lin[i] = (struct pt_linear){ .w = &p->w[at[i]], .bias = &p->b[at[i]] };
	if (h)
		pt_op_linear_group(run, h, lin, 2, y);
	pt_tensor_done(run, h);
}

/* One entry, which all sequences have. */
static int hook_prefix(struct pt_run *run, struct pt_hook *h, const struct pt_rows *rows, struct pt_prefix *out)
{
	const struct pt_adapter_site *s = h->state;
	struct prefix *p = s->state;
	size_t bytes = (size_t)(rows->batch + 3) * sizeof(int32_t);
	int32_t *host = pt_pool_alloc(&run->pool, bytes, &run->err);
	struct pt_tensor *y[2] = { NULL, NULL };
	const int32_t *d;

	if (!host)
		return run->err.status;
	host[1] = (int32_t)p->v.tokens;
	d = pt_run_upload(run, host, bytes);
	planes(run, p, s->site->layer, y);
	*out = (struct pt_prefix){ .k = y[0], .v = y[1], .n = 1, .host_cu = host, .host_index = host + 2 };
	if (d) {
		out->cu = d;
		out->index = d + 2;
	}
	return run->err.status;
}

static int hook_front(const struct pt_hook *h)
{
	const struct pt_adapter_site *s = h->state;

	return (int)((const struct prefix *)s->state)->v.tokens;
}

static const struct pt_hook_ops hook = { .prefix = hook_prefix, .front = hook_front };

/* A part of a leaf, which has its values and its gradient. */
static struct pt_tensor view(const struct pt_param *p, int ndim, int64_t rows, int64_t cols, int64_t from)
{
	struct pt_tensor t = p->t;

	t.ndim = ndim;
	t.shape[0] = rows;
	t.shape[1] = cols;
	t.data = t.data ? (float *)t.data + from : NULL;
	t.grad = t.grad ? (float *)t.grad + from : NULL;
	return t;
}

/* Tensors stand at the first layer; all layers have views of them. */
static int create_encoder(struct pt_adapter *a, struct pt_adapter_site *s, bool makes, struct pt_error *err)
{
	struct prefix *p = a->state;
	int64_t n = 2 * p->v.layers, dim = p->v.dim;

	s->nparams = 0;
	if (pt_virtual_part(a, s, "embedding.weight", p->v.tokens, dim, err) ||
	    pt_virtual_part(a, s, "transform.0.weight", p->hidden, dim, err) ||
	    pt_virtual_part(a, s, "transform.0.bias", p->hidden, 0, err) ||
	    pt_virtual_part(a, s, "transform.2.weight", n * dim, p->hidden, err) ||
	    pt_virtual_part(a, s, "transform.2.bias", n * dim, 0, err))
		return err->status;
	for (int i = 0; i < 5; i++)
		p->part[i] = s->param[i];
	if (!makes)
		return 0;
	p->w = pt_calloc((size_t)n, sizeof *p->w, err);
	p->b = pt_calloc((size_t)n, sizeof *p->b, err);
	for (int64_t i = 0; p->w && p->b && i < n; i++) {
		p->w[i] = view(p->part[W1], 2, dim, p->hidden, i * dim * p->hidden);
		p->b[i] = view(p->part[B1], 1, dim, 1, i * dim);
	}
	return err->status;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct prefix *p = a->state;
	int64_t width = 2 * p->v.layers * p->v.dim;
	bool makes = false;
	int st = 0;

	s->state = p;
	s->hook.ops = &hook;
	if (s != a->site)
		return 0;
	if (p->projection)
		st = pt_virtual_encoder(a, s, p->v.tokens, width, &p->has, &makes, err);
	else
		st = pt_virtual_table(a, s, PT_VIRTUAL_KEY, 0, p->v.tokens, width, &p->v.table, err);
	if (!st && p->v.table)
		p->table = view(p->v.table, 2, p->v.tokens * 2 * p->v.layers, p->v.dim, 0);
	return st || !p->has ? st : create_encoder(a, s, makes, err);
}

struct reading {
	struct pt_model *m;
	struct pt_kvcache *cache;
	const int32_t *id, *pos;
	int n;
	struct pt_input in;
};

static int read_inside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin, struct pt_tensor **out,
		       int nout)
{
	struct reading *r = arg;

	(void)in, (void)nin, (void)out, (void)nout;
	pt_model_hidden(run, r->m, &r->in);
	return run->err.status;
}

/* The base reads the ids; their keys and values into the cache. */
static void read_ids(struct pt_run *run, void *arg, bool real)
{
	struct reading *r = arg;
	const int32_t cu[2] = { 0, r->n };
	size_t bytes = (size_t)r->n * sizeof *r->id;

	pt_kvcache_reset(r->cache);
	r->in.rows = (struct pt_rows){ .n = r->n, .batch = 1, .max_len = r->n, .host_cu = cu,
				       .cu = pt_run_upload(run, cu, sizeof cu), .pos = pt_run_upload(run, r->pos, bytes) };
	r->in.ids = pt_run_upload(run, r->id, bytes);
	r->in.host_ids = real ? r->id : NULL;
	r->in.cache = r->cache;
	pt_scope(run, PT_SCOPE_NOGRAD, read_inside, r, sizeof *r, NULL, 0, NULL, NULL, 0);
}

/* The first keys and values are those that the base has for the text, as it has them: with their rotation. */
static int init_text(struct pt_adapter *a, struct pt_error *err)
{
	struct prefix *p = a->state;
	int64_t n = p->v.tokens, dim = p->v.dim, width = 2 * p->v.layers * dim;
	float *x = pt_malloc((size_t)(n * width), sizeof *x, err), *kv = pt_malloc((size_t)(2 * n * dim), sizeof *kv, err);
	int32_t *id = pt_malloc((size_t)(2 * n), sizeof *id, err);
	struct reading r = { .m = a->model, .id = id, .pos = id + n, .n = (int)n };
	int st = x && kv && id ? 0 : err->status;

	if (!st)
		st = pt_virtual_text(a, p->text, id, n, false, err);
	if (!st)
		st = pt_kvcache_new(&r.cache, a->model, PT_F32, (int)n, err);
	for (int32_t i = 0; i < n && !st; i++)
		id[n + i] = i;
	if (!st)
		st = pt_run_once(a->model->dev, read_ids, &r, err);
	for (int l = 0; l < p->v.layers && !st; l++) {
		st = pt_kvcache_read(r.cache, l, kv, kv + n * dim, err);
		for (int64_t i = 0; i < 2 * n && !st; i++)
			memcpy(x + i % n * width + (2 * l + i / n) * dim, kv + i * dim, (size_t)dim * sizeof *x);
	}
	if (!st)
		st = pt_adapter_set(a, p->v.table, x, err);
	pt_kvcache_free(r.cache);
	free(id);
	free(kv);
	free(x);
	return st;
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct prefix *p = a->state;
	int st;

	if (s != a->site)
		return 0;
	if (p->text)
		return init_text(a, err);
	if (!p->has)
		return p->zero ? 0 : pt_virtual_normal(a, p->v.table, seed, err);
	st = pt_virtual_normal(a, p->part[EMBEDDING], seed, err);
	for (int i = W0; i <= (p->zero ? B0 : B1) && !st; i++)
		st = pt_virtual_uniform(a, p->part[i], i < W1 ? p->v.dim : p->hidden, seed, err);
	return st;
}

static struct pt_tensor *table(struct pt_run *run, struct pt_adapter *a)
{
	const struct prefix *p = a->state;

	return pt_virtual_linear(run, hidden_rows(run, p), p->part[W1], p->part[B1]);
}

static int save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err)
{
	const struct pt_virtual *v = a->state;

	(void)config;
	return pt_virtual_save(a, file, table, v->tokens, 2 * v->layers * v->dim, err);
}

static void release(struct pt_adapter *a)
{
	struct prefix *p = a->state;

	if (p) {
		free(p->text);
		free(p->w);
		free(p->b);
	}
	pt_virtual_release(a);
}

const struct pt_method pt_method_prefix = {
	.name = "prefix",
	.peft_type = "PREFIX_TUNING",
	.paper = "Li & Liang 2021, Prefix-Tuning: Optimizing Continuous Prompts for Generation",
	.kinds = 1u << PT_SITE_KV,
	.prefix = PT_VIRTUAL_PREFIX,
	.defaults = PT_VIRTUAL_DEFAULTS("PREFIX_TUNING", "\"encoder_hidden_size\":null,\"init_weights\":null,"
					"\"prefix_projection\":false"),
	.options = options,
	.match = match,
	.parse = parse,
	.create = create,
	.init = init,
	.save = save,
	.release = release,
};
