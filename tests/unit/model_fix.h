/* SPDX-License-Identifier: MIT */
/*
 * model_fix.h - the tiny models of tests/golden/make_models.py: written to a
 * directory, opened on a device, run forward and backward.
 */
#ifndef PT_MODEL_FIX_H
#define PT_MODEL_FIX_H

#include "tensor_fix.h"

#include <unistd.h>

#include "base/file.h"
#include "golden.h"
#include "io/modelsave.h"
#include "model/model.h"
#include "tensor/pairs.h"
#include "train/feed_priv.h"
#include "train/loss.h"

#define MFIX_ARENA ((size_t)16 << 20)
#define MFIX_TENSORS 128

struct mfix {
	struct fix f;
	struct golden g;
	cJSON *config;			/* may be changed between mfix_golden() and mfix_open() */
	char dir[200];
	struct pt_modeldir md;
	struct pt_model *m;
	struct pt_input in;
	int type;			/* 0: compute in f32, 1: in bf16 */
	/* How the files are written: other types, names (false: left out) and cuts than the case's. */
	int store;			/* enum pt_dtype, -1: the case's */
	bool (*rename)(const char *name, char *out);
	size_t max_shard;		/* 0: one file */
	bool packed;			/* experts as parameters of three dimensions */
	struct pt_model_options o;	/* .task is the case's unless set */
};

static const struct pt_st_tensor *mfix_in(struct mfix *x, const char *name)
{
	return pt_st_find(&x->g.st, name);
}

static const char *mfix_about(struct mfix *x, const char *key)
{
	const char *s = cJSON_GetStringValue(pt_json_get(x->g.about, key));

	assert_non_null(s);
	return s;
}

/* The golden file of a case, and a copy of its configuration. */
static void mfix_golden(struct mfix *x, const char *name) REF_UNUSED;
static void mfix_golden(struct mfix *x, const char *name)
{
	memset(x, 0, sizeof *x);
	x->store = -1;
	golden_find(&x->g, "models", name);
	x->config = cJSON_Duplicate(pt_json_get(x->g.about, "config"), 1);
	assert_non_null(x->config);
}

/* A parameter of three dimensions that is being put together: the linears of experts follow each other. */
struct mfix_pack {
	char name[200];
	int64_t rows, cols, pieces, per;	/* of one linear; how many there are, and of an expert */
	size_t bytes;
	char *data;
};

/* The parameter that transformers keeps a linear of an expert, or a router, in; false: it stands by itself. */
static bool mfix_param(const char *linear, char *param, int64_t *per)
{
	static const char *const ends[][2] = {
		{ "w1.weight", "gate_up_proj" }, { "w3.weight", "gate_up_proj" }, { "w2.weight", "down_proj" },
		{ "gate_proj.weight", "gate_up_proj" }, { "up_proj.weight", "gate_up_proj" },
		{ "down_proj.weight", "down_proj" },
	};
	const char *block = strstr(linear, ".block_sparse_moe."), *at = strstr(linear, ".experts.");

	*per = 1;
	if (block && !at)
		snprintf(param, 200, "%.*s.mlp.%s", (int)(block - linear), linear, block + strlen(".block_sparse_moe."));
	if (!at)
		return false;
	block = block ? block : strstr(linear, ".mlp.");
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		if (strcmp(strrchr(at, '.') - (strlen(ends[i][0]) - strlen(".weight")), ends[i][0]) != 0)
			continue;
		snprintf(param, 200, "%.*s.mlp.experts.%s", (int)(block - linear), linear, ends[i][1]);
		*per = ends[i][1][0] == 'g' ? 2 : 1;
		break;
	}
	return true;
}

/* What was put together is a tensor of the file; its data stays in p until that is written. */
static void mfix_unpack(struct mfix_pack *p, enum pt_dtype type, struct pt_modelsave *s, void **data, int *n)
{
	int64_t shape[3] = { p->pieces / (p->per ? p->per : 1), p->rows * p->per, p->cols };
	struct pt_error err = PT_ERROR_INIT;

	if (!p->pieces)
		return;
	assert_ok(pt_modelsave_tensor(s, p->name, type, 3, shape, p->data, &err), &err);
	data[(*n)++] = p->data;
	memset(p, 0, sizeof *p);
}

/* One more linear of p, whose data is freed. */
static void mfix_append(struct mfix_pack *p, const char *name, int64_t per, const int64_t *shape, void *piece,
			size_t bytes)
{
	snprintf(p->name, sizeof p->name, "%s", name);
	p->per = per;
	p->rows = shape[0];
	p->cols = shape[1];
	p->pieces++;
	p->data = realloc(p->data, p->bytes + bytes);
	memcpy(p->data + p->bytes, piece, bytes);
	p->bytes += bytes;
	free(piece);
}

/* A directory with config.json and the weights that names and indices make. */
static void mfix_write(struct mfix *x)
{
	enum pt_dtype own = (enum pt_dtype)pt_dtype_parse(mfix_about(x, "store"));
	enum pt_dtype store = x->store < 0 ? own : (enum pt_dtype)x->store;
	const char *tmp = getenv("TMPDIR");
	struct pt_error err = PT_ERROR_INIT;
	struct mfix_pack pack = { 0 };
	struct pt_modelsave s;
	void *data[256];
	const cJSON *p;
	int64_t per;
	int n = 0;

	snprintf(x->dir, sizeof x->dir, "%s/peft-model.XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "/tmp");
	assert_non_null(mkdtemp(x->dir));
	pt_modelsave_init(&s);
	if (x->max_shard)
		s.max_shard = x->max_shard;
	cJSON_ArrayForEach(p, pt_json_get(x->g.about, "parameters")) {
		int64_t shape[3] = { 1, 1, 1 };
		int ndim = cJSON_GetArraySize(p);
		char name[200];
		size_t count;
		float *f;

		assert_true(ndim <= 3 && n < 256);
		snprintf(name, sizeof name, "%s", p->string);
		if (x->rename && !x->rename(p->string, name))
			continue;
		for (int i = 0; i < ndim; i++)
			shape[i] = cJSON_GetArrayItem(p, i)->valueint;
		count = (size_t)(shape[0] * shape[1] * shape[2]);
		f = malloc(count * sizeof *f);
		golden_weight(p->string, ndim, shape, f);
		data[n] = malloc(count * sizeof(double));
		pt_from_f32(data[n], own, f, count);
		if (own != store) {
			pt_to_f32(f, data[n], own, count);
			pt_from_f32(data[n], store, f, count);
		}
		free(f);
		if (x->packed && mfix_param(p->string, name, &per)) {
			if (strcmp(name, pack.name) != 0) {
				void *first = data[n];

				mfix_unpack(&pack, store, &s, data, &n);
				data[n] = first;
			}
			mfix_append(&pack, name, per, shape, data[n], count * pt_dtype_size(store));
			continue;
		}
		assert_ok(pt_modelsave_tensor(&s, name, store, ndim, shape, data[n++], &err), &err);
	}
	mfix_unpack(&pack, store, &s, data, &n);
	assert_ok(pt_modelsave_write(&s, x->dir, PT_MODELSAVE_ALL, x->config, NULL, NULL, NULL, &err), &err);
	pt_modelsave_release(&s);
	while (n--)
		free(data[n]);
}

/* Opens what was written; fails where status says so, with part in the message. */
static void mfix_try(struct mfix *x, const char *device, int status, const char *part)
{
	if (!x->dir[0])
		mfix_write(x);
	if (!x->o.task)
		x->o.task = !strcmp(mfix_about(x, "task"), "similarity") ? PT_TASK_CONTRASTIVE :
			    (enum pt_task)pt_task_parse(mfix_about(x, "task"));
	fix_init(&x->f, device, MFIX_ARENA);
	assert_ok(pt_modeldir_open(&x->md, x->dir, x->o.random ? PT_MODELDIR_NO_WEIGHTS : 0, &x->f.err), &x->f.err);
	if (status)
		assert_fails(pt_model_open(&x->m, x->f.dev, &x->md, &x->o, &x->f.err), status, part, &x->f.err);
	else
		assert_ok(pt_model_open(&x->m, x->f.dev, &x->md, &x->o, &x->f.err), &x->f.err);
	/* A block's weights are then there while it is needed, and else nowhere. */
	if (x->m && !strcmp(device, "guard"))
		assert_ok(pt_model_place(x->m, pt_model_blocks(x->m), &x->f.err), &x->f.err);
	assert_true(!x->m == (status != 0));
}

/* What the decoder reads, where the case has one: the targets of each sequence behind the start token. */
static void mfix_decoder(struct mfix *x)
{
	const struct pt_st_tensor *cu = mfix_in(x, "in.decoder_cu"), *ids = mfix_in(x, "in.decoder_ids");
	int32_t read[128];
	const int32_t *c;
	int len[16];

	if (!cu)
		return;
	c = cu->data;
	assert_true(ids->count <= 128);
	for (size_t b = 0; b + 1 < cu->count; b++) {
		len[b] = c[b + 1] - c[b];
		for (int32_t i = c[b]; i < c[b + 1]; i++)
			read[i] = i == c[b] ? x->m->cfg.decoder_start : ((const int32_t *)ids->data)[i - 1];
	}
	fix_rows(&x->f, &x->in.decoder_rows, len, (int)cu->count - 1, 0);
	x->in.decoder_ids = fix_put(&x->f, read, ids->bytes);
}

/* Opens what was written on a device; the packed micro-batch is the golden file's. */
static void mfix_open(struct mfix *x, const char *device) REF_UNUSED;
static void mfix_open(struct mfix *x, const char *device)
{
	const struct pt_st_tensor *cu = mfix_in(x, "in.cu"), *ids = mfix_in(x, "in.ids");
	const struct pt_st_tensor *types = mfix_in(x, "in.types");
	const int32_t *c = cu->data;
	int len[16], batch = (int)cu->count - 1;

	mfix_try(x, device, 0, NULL);
	for (int i = 0; i < batch; i++)
		len[i] = c[i + 1] - c[i];
	fix_rows(&x->f, &x->f.rows, len, batch, 0);
	x->in = (struct pt_input){ .rows = x->f.rows, .host_ids = ids->data };
	x->in.ids = fix_put(&x->f, ids->data, ids->bytes);
	if (types)
		x->in.types = fix_put(&x->f, types->data, types->bytes);
	mfix_decoder(x);
	x->f.run.train = cJSON_IsTrue(pt_json_get(x->g.about, "train"));
	pt_run_compute(&x->f.run, x->type == 1);
}

static void mfix_close(struct mfix *x)
{
	pt_model_close(x->m);
	fix_release(&x->f);
	pt_modeldir_close(&x->md);
}

static void mfix_release(struct mfix *x) REF_UNUSED;
static void mfix_release(struct mfix *x)
{
	struct pt_error err = PT_ERROR_INIT;

	if (x->dir[0])
		assert_ok(pt_dir_remove(x->dir, &err), &err);
	pt_json_free(x->config);
	golden_close(&x->g);
}

/* All parameters train: f32 copies take their places; a tied pair shares one. */
static void mfix_train(struct mfix *x) REF_UNUSED;
static void mfix_train(struct mfix *x)
{
	struct fix *f = &x->f;

	for (int i = 0; i < x->m->nweights; i++) {
		struct pt_weight *w = &x->m->weight[i];
		size_t n = (size_t)pt_tensor_count(&w->t);
		char *raw = malloc(n * 4);
		float *v = malloc(n * sizeof *v);
		struct pt_param *p;

		if (!w->tied) {
			assert_ok(pt_params_add(&f->params, w->path, w->t.ndim, w->t.shape, &p, &f->err), &f->err);
			assert_ok(pt_weight_read(x->m, w, 0, n * pt_dtype_size(w->t.type), raw, &f->err), &f->err);
			pt_to_f32(v, raw, w->t.type, n);
			assert_ok(pt_param_write(&f->params, p, v, &f->err), &f->err);
			w->use = &p->t;
		}
		free(raw);
		free(v);
	}
	for (int i = 0; i < x->m->nweights; i++)
		if (x->m->weight[i].tied)
			x->m->weight[i].use = x->m->weight[i].tied->use;
}

/* Every row of the packing. */
static struct pt_tensor *mfix_logits(struct mfix *x, struct pt_tensor *hidden)
{
	int64_t n = hidden ? hidden->shape[0] : 0;
	int32_t *idx = malloc(((size_t)n + 1) * sizeof *idx);
	const int32_t *d;

	for (int32_t i = 0; i < n; i++)
		idx[i] = i;
	d = pt_run_upload(&x->f.run, idx, (size_t)n * sizeof *idx);
	free(idx);
	return pt_model_logits(&x->f.run, x->m, hidden, d, n);
}

/* Logits of all rows or sequences, or hidden states of a body, on the host; *n elements; freed by free(). */
static float *mfix_out(struct mfix *x, size_t *n) REF_UNUSED;
static float *mfix_out(struct mfix *x, size_t *n)
{
	struct pt_run *run = &x->f.run;
	struct pt_tensor *h, *y;

	pt_run_reset(run);
	run->record = false;
	h = pt_model_hidden(run, x->m, &x->in);
	if (pt_task_shifts(x->m->task) || pt_task_decoder(x->m->task))
		y = mfix_logits(x, h);
	else
		y = x->m->task == PT_TASK_NONE ? h : x->m->task == PT_TASK_CONTRASTIVE ?
		    pt_model_embed(run, x->m, &x->in, h) : pt_model_classify(run, x->m, &x->in, h);
	assert_ok(pt_run_check(run, &x->f.err), &x->f.err);
	*n = (size_t)pt_tensor_count(y);
	return fix_read(&x->f, y);
}

/* Mean over the learned tokens; seed: weights that backward starts from. */
static struct pt_tensor *mfix_lm_loss(struct mfix *x, struct pt_tensor *h, float *seed, int *n)
{
	bool decoder = pt_task_decoder(x->m->task);
	const struct pt_rows *rows = decoder ? &x->in.decoder_rows : &x->in.rows;
	const int32_t *y = mfix_in(x, decoder ? "in.decoder_labels" : "in.labels")->data, *cu = rows->host_cu;
	int32_t *row = malloc(2 * (size_t)rows->n * sizeof *row), *label = row + rows->n;
	int shift = pt_task_shifts(x->m->task);
	/* Virtual tokens, as many before each sequence. */
	int front = h ? (int)(h->shape[0] - rows->n) / rows->batch : 0;
	struct pt_nll nll = { 0 };

	*n = 0;
	for (int b = 0; b < rows->batch; b++) {
		for (int32_t i = cu[b] + shift; i < cu[b + 1]; i++) {
			if (y[i] == -100)
				continue;
			row[*n] = i - shift + front * (b + 1);
			label[(*n)++] = y[i];
		}
	}
	for (int i = 0; i < *n; i++)
		seed[i] = 1 / (float)*n;
	h = pt_model_nll_head(&x->f.run, x->m, h, row, *n, &nll);
	nll.label = pt_run_upload(&x->f.run, label, (size_t)*n * sizeof *label);
	free(row);
	return pt_op_token_nll(&x->f.run, h, &nll);
}

static struct pt_tensor *mfix_class_loss(struct mfix *x, struct pt_tensor *h, float *seed, int *n)
{
	const struct pt_st_tensor *cls = mfix_in(x, "in.class"), *target = mfix_in(x, "in.target");
	struct pt_tensor *z = pt_model_classify(&x->f.run, x->m, &x->in, h);
	struct pt_class c = { .kind = PT_LOSS_CE };

	if (cls)
		c.cls = pt_run_upload(&x->f.run, cls->data, cls->bytes);
	if (target) {
		c.kind = !strcmp(mfix_about(x, "task"), "multilabel") ? PT_LOSS_BCE : PT_LOSS_MSE;
		c.target = pt_run_upload(&x->f.run, target->data, target->bytes);
	}
	*n = x->in.rows.batch;
	for (int i = 0; i < *n; i++)
		seed[i] = 1 / (float)*n;
	return pt_op_class_loss(&x->f.run, z, &c);
}

static struct pt_tensor *mfix_span_loss(struct mfix *x, struct pt_tensor *h, float *seed, int *n)
{
	const int64_t *span = mfix_in(x, "in.span")->data;
	struct pt_tensor *z = pt_model_classify(&x->f.run, x->m, &x->in, h);
	int32_t row[32];

	*n = x->in.rows.batch;
	assert_true(*n <= 16);
	for (int i = 0; i < 2 * *n; i++)
		row[i] = x->in.rows.host_cu[i / 2] + (int32_t)span[i];
	for (int i = 0; i < *n; i++)
		seed[i] = 1 / (float)*n;
	return pt_op_span_loss(&x->f.run, z, &x->in.rows, pt_run_upload(&x->f.run, row, 2 * (size_t)*n * sizeof *row));
}

/* Through the feed, which knows what the candidates of a set are. */
static struct pt_tensor *mfix_set_loss(struct mfix *x, struct pt_tensor *h, float *seed, int *n)
{
	const int64_t *group = mfix_in(x, "in.group")->data;
	const struct pt_st_tensor *target = mfix_in(x, "in.target");
	struct pt_feed f = { .o = { .task = PT_TASK_CONTRASTIVE } };
	int64_t index[16] = { 0 };
	float weight[16], scores[16] = { 0 }, t[16];
	int32_t label[16];
	struct pt_examples e = { .n = x->in.rows.batch, .group = group, .weight = weight, .step_weight = 1,
				 .index = index, .k = 1, .target = target ? scores : NULL };
	struct pt_class c = { .kind = target ? PT_LOSS_MSE : PT_LOSS_CE };
	struct pt_tensor *z;

	for (int i = 0; i < e.n; i++)
		weight[i] = !i || group[i] != group[i - 1];
	for (int i = 0; i < e.n && target; i++)
		scores[i] = ((const float *)target->data)[i / 2];
	f.label = label;
	f.target = t;
	f.weight = seed;
	assert_ok(pt_feed_sets(&f, &e, &x->f.err), &x->f.err);
	pt_feed_sets_upload(&f, &x->f.run);
	*n = (int)f.rows;
	for (int i = 0; i < *n; i++)
		seed[i] = 1 / (float)*n;
	c.cls = pt_run_upload(&x->f.run, label, (size_t)*n * sizeof *label);
	c.target = pt_run_upload(&x->f.run, t, (size_t)*n * sizeof *t);
	z = pt_op_dots(&x->f.run, pt_op_unit(&x->f.run, pt_model_embed(&x->f.run, x->m, &x->in, h)), f.pairs.d_a,
		       f.pairs.d_b, f.pairs.n, f.pairs.k, target ? 1 : PT_LOSS_CONTRAST);
	free(f.pairs.a);
	free(f.pairs.b);
	return pt_op_class_loss(&x->f.run, z, &c);
}

/* Loss; with backward: gradients of x->f.params. */
static double mfix_loss(struct mfix *x, bool backward) REF_UNUSED;
static double mfix_loss(struct mfix *x, bool backward)
{
	struct pt_run *run = &x->f.run;
	float *seed = malloc((size_t)(x->in.rows.n + x->in.decoder_rows.n) * sizeof *seed), *v;
	struct pt_tensor *h, *loss, *balance;
	double sum = 0, more = 0, factor = pt_model_router_factor(x->m);
	int n = 0;

	assert_ok(pt_params_zero_grad(&x->f.params, &x->f.err), &x->f.err);
	pt_run_reset(run);
	run->record = backward;
	x->m->router_loss = factor;
	h = pt_model_hidden(run, x->m, &x->in);
	loss = pt_task_per_token(x->m->task) ? mfix_lm_loss(x, h, seed, &n) :
	       x->m->task == PT_TASK_QA ? mfix_span_loss(x, h, seed, &n) :
	       x->m->task == PT_TASK_CONTRASTIVE ? mfix_set_loss(x, h, seed, &n) : mfix_class_loss(x, h, seed, &n);
	assert_ok(pt_run_check(run, &x->f.err), &x->f.err);
	balance = pt_model_router_loss(run, x->m);
	assert_ok(pt_run_check(run, &x->f.err), &x->f.err);
	if (balance) {
		v = fix_read(&x->f, balance);
		more = factor * (double)v[0];
		free(v);
		if (backward)
			assert_ok(pt_backward_also(run, balance, (float)factor), &run->err);
	}
	v = fix_read(&x->f, loss);
	for (int i = 0; i < n; i++)
		sum += v[i];
	if (backward)
		assert_ok(pt_backward(run, loss, pt_run_upload(run, seed, (size_t)n * sizeof *seed), &x->f.err),
			  &x->f.err);
	free(seed);
	free(v);
	return sum / n + more;
}

#endif
