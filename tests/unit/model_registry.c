/* SPDX-License-Identifier: MIT */
/*
 * model_registry.c - every row of the registry with every head of it: a tiny
 * random model whose config.json comes from the row's own keys is opened, runs
 * forward and backward (recomputed: the same bits), takes an adapter (written
 * and read: the same bits; merged: the same outputs), is saved and opened
 * again (the same bits), and decodes with a cache as without. A new row needs
 * no test of its own for that; whether its formula is right the goldens tell,
 * of which it must have each kind.
 */
#define FIX_REAL_DEVICES
#include "merge_fix.h"

#include "model/save.h"

enum { VOCAB = 53 };

static const int lens[] = { 5, 1, 9 };
enum { BATCH = 3, ROWS = 15 };

struct reg {
	struct mfix x;
	char saved[230], adapter[230];
	const struct pt_family *f;
	char what[100];
};

static void number(cJSON *json, const char *keys, double v)
{
	char key[64];

	if (!keys)
		return;
	snprintf(key, sizeof key, "%.*s", (int)strcspn(keys, "|"), keys);
	if (!cJSON_GetObjectItemCaseSensitive(json, key))
		assert_non_null(cJSON_AddNumberToObject(json, key, v));
}

/* What the row's keys say, small; and sizes that only some rows have, which the others pass over. */
static cJSON *config_of(const struct pt_family *f)
{
	static const struct {
		const char *key;
		double v;
	} more[] = {
		{ "vocab_size", VOCAB }, { "pad_token_id", 3 }, { "bos_token_id", 1 }, { "eos_token_id", 2 },
		{ "num_labels", 3 }, { "decoder_start_token_id", 3 }, { "num_decoder_layers", 2 },
		{ "num_experts", 4 }, { "num_local_experts", 4 }, { "num_experts_per_tok", 2 },
		{ "moe_intermediate_size", 12 }, { "shared_expert_intermediate_size", 10 }, { "sliding_window", 3 },
	};
	const struct pt_keys *k = f->keys;
	cJSON *json = cJSON_CreateObject();

	assert_non_null(json);
	assert_non_null(cJSON_AddStringToObject(json, "model_type", f->model_type));
	number(json, k->hidden, 32);
	number(json, k->layers, 2);
	number(json, k->heads, 4);
	number(json, k->kv_heads, 2);
	number(json, k->head_dim, 8);
	number(json, k->ffn, 21);
	number(json, k->positions, 40);
	number(json, k->types, 2);
	for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
		number(json, more[i].key, more[i].v);
	return json;
}

static void reg_open(struct reg *r, const char *dir, bool random)
{
	struct mfix *x = &r->x;
	struct pt_model_options o = { .task = x->o.task, .random = random, .seed = 7 };

	assert_ok(pt_modeldir_open(&x->md, dir, random ? PT_MODELDIR_NO_WEIGHTS : 0, &x->f.err), &x->f.err);
	if (pt_model_open(&x->m, x->f.dev, &x->md, &o, &x->f.err))
		fail_msg("%s: %s", r->what, x->f.err.msg);
}

static void reg_input(struct reg *r)
{
	static int32_t ids[ROWS];
	struct mfix *x = &r->x;

	for (int i = 0; i < ROWS; i++)
		ids[i] = 4 + (i * 7 + 3) % (VOCAB - 4);
	/* Some heads read at the end of the text. */
	for (int b = 0, end = 0; b < BATCH; b++) {
		end += lens[b];
		ids[end - 1] = 2;
	}
	fix_rows(&x->f, &x->f.rows, lens, BATCH, 0);
	x->in = (struct pt_input){ .rows = x->f.rows, .host_ids = ids, .ids = fix_put(&x->f, ids, sizeof ids) };
	if (pt_task_decoder(x->o.task)) {
		fix_rows(&x->f, &x->in.decoder_rows, lens, BATCH, 0);
		x->in.decoder_ids = x->in.ids;
	}
}

static void reg_start(struct reg *r, const struct pt_family *f, enum pt_task task)
{
	const char *tmp = getenv("TMPDIR");
	struct pt_buf text = PT_BUF_INIT;
	struct pt_error err = PT_ERROR_INIT;
	cJSON *json = config_of(f);
	char path[300];

	memset(r, 0, sizeof *r);
	r->f = f;
	r->x.o.task = task;
	snprintf(r->what, sizeof r->what, "%s, %s", f->model_type, pt_task_name(task));
	snprintf(r->x.dir, sizeof r->x.dir, "%s/peft-registry.XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "/tmp");
	assert_non_null(mkdtemp(r->x.dir));
	pt_json_print(&text, json, 2);
	snprintf(path, sizeof path, "%s/config.json", r->x.dir);
	assert_ok(pt_file_write(path, text.data, text.len, &err), &err);
	pt_buf_release(&text);
	cJSON_Delete(json);
	snprintf(r->saved, sizeof r->saved, "%s/saved", r->x.dir);
	snprintf(r->adapter, sizeof r->adapter, "%s/adapter", r->x.dir);
	assert_ok(pt_dir_make(r->saved, &err), &err);
	assert_ok(pt_dir_make(r->adapter, &err), &err);
	fix_init(&r->x.f, "cpu", MFIX_ARENA);
	reg_input(r);
}

static void reg_end(struct reg *r)
{
	struct pt_error err = PT_ERROR_INIT;

	mfix_close(&r->x);
	assert_ok(pt_dir_remove(r->x.dir, &err), &err);
}

/* What the task makes of the body, as a node. */
static struct pt_tensor *result(struct reg *r, struct pt_tensor *h)
{
	struct pt_run *run = &r->x.f.run;
	struct pt_model *m = r->x.m;

	if (m->task == PT_TASK_NONE)
		return h;
	if (m->task == PT_TASK_CONTRASTIVE)
		return pt_model_embed(run, m, &r->x.in, h);
	if (pt_task_shifts(m->task) || pt_task_decoder(m->task))
		return mfix_logits(&r->x, h);
	return pt_model_classify(run, m, &r->x.in, h);
}

static float *reg_out(struct reg *r, size_t *n)
{
	struct pt_run *run = &r->x.f.run;
	struct pt_tensor *y;
	float *v;

	pt_run_reset(run);
	run->record = false;
	y = result(r, pt_model_hidden(run, r->x.m, &r->x.in));
	if (pt_run_check(run, &r->x.f.err))
		fail_msg("%s: %s", r->what, r->x.f.err.msg);
	*n = (size_t)pt_tensor_count(y);
	v = fix_read(&r->x.f, y);
	for (size_t i = 0; i < *n; i++)
		assert_true(isfinite(v[i]));
	return v;
}

static void same(struct reg *r, const char *what, const float *want)
{
	size_t n;
	float *y = reg_out(r, &n);

	if (memcmp(y, want, n * sizeof *y))
		fail_msg("%s: %s gives other bits", r->what, what);
	free(y);
}

/* Gradients of params for a fixed direction of the result, one behind the other. */
static float *gradients(struct reg *r, struct pt_params *params, size_t *n)
{
	struct fix *f = &r->x.f;
	struct pt_run *run = &f->run;
	struct pt_tensor *y;
	size_t count, at = 0;
	float *seed, *all;

	for (int i = 0; i < params->n; i++)
		at += (size_t)pt_tensor_count(&params->item[i]->t);
	assert_ok(pt_params_zero_grad(params, &f->err), &f->err);
	all = calloc(at, sizeof *all);
	*n = at;
	pt_run_reset(run);
	run->record = true;
	y = result(r, pt_model_hidden(run, r->x.m, &r->x.in));
	assert_ok(pt_run_check(run, &f->err), &f->err);
	count = (size_t)pt_tensor_count(y);
	seed = malloc(count * sizeof *seed);
	pt_rng_uniform(5, seed, count, -1, 1);
	assert_ok(pt_backward(run, y, pt_run_upload(run, seed, count * sizeof *seed), &f->err), &f->err);
	run->record = false;
	free(seed);
	at = 0;
	for (int i = 0; i < params->n; i++) {
		float *g = fix_grad(f, params->item[i]);
		size_t k = (size_t)pt_tensor_count(&params->item[i]->t);

		memcpy(all + at, g, k * sizeof *g);
		at += k;
		free(g);
	}
	return all;
}

/* All finite, most of them not zero, and the same bits when blocks are recomputed. */
static void check_gradients(struct reg *r, struct pt_params *params)
{
	size_t n, k, some = 0;
	float *a = gradients(r, params, &n);

	for (size_t i = 0; i < n; i++) {
		assert_true(isfinite(a[i]));
		some += a[i] != 0;
	}
	if (some < n / 4)
		fail_msg("%s: of %zu gradients %zu are not zero", r->what, n, some);
	/* All blocks, and the first alone. */
	for (int i = 0; i < 2; i++) {
		float *b;

		r->x.m->recompute = i ? 1 : pt_model_blocks(r->x.m);
		b = gradients(r, params, &k);
		r->x.m->recompute = 0;
		assert_int_equal(n, k);
		if (memcmp(a, b, n * sizeof *a))
			fail_msg("%s: recomputing %s changes gradients", r->what, i ? "one block" : "all blocks");
		free(b);
	}
	free(a);
}

/* The loss of targets of tokens is that of the outputs. */
static void check_loss(struct reg *r, const float *out, size_t n)
{
	struct pt_run *run = &r->x.f.run;
	const size_t k = n / ROWS;
	struct pt_nll nll = { 0 };
	struct pt_tensor *h, *loss;
	int32_t row[ROWS], label[ROWS];
	float *v;

	for (int i = 0; i < ROWS; i++) {
		row[i] = i;
		label[i] = (int32_t)((size_t)(i * 5 + 1) % k);
	}
	pt_run_reset(run);
	h = pt_model_hidden(run, r->x.m, &r->x.in);
	h = pt_model_nll_head(run, r->x.m, h, row, ROWS, &nll);
	nll.label = pt_run_upload(run, label, sizeof label);
	loss = pt_op_token_nll(run, h, &nll);
	assert_ok(pt_run_check(run, &r->x.f.err), &r->x.f.err);
	v = fix_read(&r->x.f, loss);
	for (size_t i = 0; i < ROWS; i++) {
		double sum = 0;

		for (size_t j = 0; j < k; j++)
			sum += exp((double)out[i * k + j]);
		if (!(fabs(log(sum) - (double)out[i * k + (size_t)label[i]] - (double)v[i]) < 1e-4))
			fail_msg("%s: the loss of row %zu is not that of its logits", r->what, i);
	}
	free(v);
}

static void check_saved(struct reg *r, const float *want)
{
	static const struct pt_model_save keep = { .dtype = -1, .tie = -1 };
	struct mfix *x = &r->x;
	cJSON *config = pt_model_save_config(x->m, &keep, &x->f.err);
	struct pt_modelsave s;

	assert_non_null(config);
	pt_modelsave_init(&s);
	assert_ok(pt_model_save_list(x->m, -1, &s, &x->f.err), &x->f.err);
	assert_ok(pt_modelsave_write(&s, r->saved, PT_MODELSAVE_ALL, config, &x->md, pt_model_save_fill, x->m, &x->f.err),
		  &x->f.err);
	pt_modelsave_release(&s);
	pt_json_free(config);
	pt_model_close(x->m);
	pt_modeldir_close(&x->md);
	reg_open(r, r->saved, false);
	same(r, "the saved model", want);
	/* What it says it is, is what it was opened for. */
	if (!pt_task_bare(x->m->task))
		assert_int_equal(x->m->cfg.task, x->m->task);
}

/* The largest difference of the outputs with everything merged, as a share of the largest output. */
static double merged(struct reg *r, struct pt_adapter *a, const float *want)
{
	struct pt_tensor *old = merge_all(&r->x, a);
	double diff = 0, top = 0;
	float *y;
	size_t n;

	pt_adapter_enable(a, false);
	y = reg_out(r, &n);
	pt_adapter_enable(a, true);
	for (size_t i = 0; i < n; i++) {
		diff = fmax(diff, fabs((double)y[i] - want[i]));
		top = fmax(top, fabs((double)want[i]));
	}
	merge_back(&r->x, old);
	free(y);
	return diff / top;
}

static void check_adapter(struct reg *r, const float *bare)
{
	const char *text = "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 8, \"target_modules\": \"all-linear\", "
			   "\"init_lora_weights\": false}";
	struct mfix *x = &r->x;
	cJSON *config = pt_json_parse(text, strlen(text), 0, "config", &x->f.err);
	struct pt_adapter *a;
	float *with;
	double off;
	size_t n;

	if (pt_adapter_new(&a, x->m, config, 3, NULL, &x->f.err))
		fail_msg("%s: %s", r->what, x->f.err.msg);
	with = reg_out(r, &n);
	if (!memcmp(with, bare, n * sizeof *with))
		fail_msg("%s: the adapter is not felt", r->what);
	check_gradients(r, &a->params);
	assert_ok(pt_adapter_save(a, r->adapter, PT_SAVE_ALL, &x->f.err), &x->f.err);
	off = merged(r, a, with);
	if (!(off < 2e-5))
		fail_msg("%s: merged, the outputs are off by %.2g", r->what, off);
	same(r, "the adapter after merging", with);
	pt_adapter_close(a);
	same(r, "the model without its adapter", bare);
	assert_ok(pt_adapter_open(&a, x->m, r->adapter, false, &x->f.err), &x->f.err);
	same(r, "the adapter that was written", with);
	pt_adapter_close(a);
	free(with);
}

/* One sequence at once, and in pieces of 3, 1, 1 ...: equal but for rounding. */
static void check_cache(struct reg *r)
{
	struct mfix *x = &r->x;
	const int32_t *ids = x->in.host_ids;
	struct pt_kvcache *cache;
	float *want, *got;
	double diff = 0, top = 0;
	size_t n, k;
	int len = 9;

	fix_rows(&x->f, &x->f.rows, &len, 1, 0);
	x->in.rows = x->f.rows;
	want = reg_out(r, &n);
	for (size_t i = 0; i < n; i++)
		top = fmax(top, fabs(want[i]));
	assert_ok(pt_kvcache_new(&cache, x->m, PT_F32, len, &x->f.err), &x->f.err);
	for (int at = 0, step; at < len; at += step) {
		int32_t pos[3];

		step = at ? 1 : 3;
		for (int i = 0; i < step; i++)
			pos[i] = at + i;
		fix_rows(&x->f, &x->f.rows, &step, 1, 0);
		x->f.rows.pos = fix_put(&x->f, pos, (size_t)step * sizeof *pos);
		x->in = (struct pt_input){ .rows = x->f.rows, .host_ids = ids + at, .cache = cache };
		x->in.ids = fix_put(&x->f, ids + at, (size_t)step * sizeof *ids);
		got = reg_out(r, &k);
		for (size_t i = 0; i < k; i++)
			diff = fmax(diff, fabs((double)got[i] - want[(size_t)at * (k / (size_t)step) + i]));
		free(got);
	}
	if (!(diff <= 2e-6 * top))
		fail_msg("%s: decoding with a cache is off by %.2g of %.2g", r->what, diff, top);
	pt_kvcache_free(cache);
	free(want);
}

static void one(const struct pt_family *f, enum pt_task task)
{
	struct reg r;
	float *y;
	size_t n;

	reg_start(&r, f, task);
	reg_open(&r, r.x.dir, true);
	y = reg_out(&r, &n);
	if (pt_task_per_token(task))
		check_loss(&r, y, n);
	check_saved(&r, y);
	check_adapter(&r, y);
	mfix_train(&r.x);
	same(&r, "a trainable copy", y);
	check_gradients(&r, &r.x.f.params);
	if (pt_task_shifts(task))
		check_cache(&r);
	free(y);
	reg_end(&r);
}

static void test_rows(void **state)
{
	const struct pt_family *f;
	int rows = 0, n = 0;

	(void)state;
	for (; (f = pt_family_at(rows)); rows++) {
		one(f, PT_TASK_NONE);
		for (const struct pt_head *h = f->head; h->task != PT_TASK_NONE; h++, n++)
			one(f, h->task);
	}
	print_message("# %d families with %d heads\n", rows, n);
	assert_true(rows > 10 && n > 30);
}

/* What kinds of golden files there are of each row, as bits. */
static void count_goldens(const char *pattern, unsigned bit, unsigned *have)
{
	const struct pt_family *f;
	glob_t files;

	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct golden g;
		const char *type;

		golden_open(&g, files.gl_pathv[i]);
		type = cJSON_GetStringValue(pt_json_get(pt_json_get(g.about, "config"), "model_type"));
		for (int k = 0; (f = pt_family_at(k)); k++)
			have[k] |= strcmp(type, f->model_type) ? 0 : 1u << bit;
		golden_close(&g);
	}
	globfree(&files);
}

static void test_goldens(void **state)
{
	static const struct {
		const char *files, *what;
	} kinds[] = {
		{ "tests/data/models/[!d]*/*.safetensors", "of a model" },
		{ "tests/data/models/*/*bf16*.safetensors", "of a model stored in bf16" },
		{ "tests/data/models/drop/*.safetensors", "with dropouts" },
		{ "tests/data/lora/*/*.safetensors", "of an adapter" },
	};
	const struct pt_family *f;
	unsigned have[100] = { 0 };
	int lacks = 0;

	(void)state;
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		count_goldens(kinds[i].files, i, have);
	for (int k = 0; (f = pt_family_at(k)); k++) {
		for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
			if (have[k] & 1u << i)
				continue;
			print_message("# %s has no golden %s\n", f->model_type, kinds[i].what);
			lacks++;
		}
	}
	assert_int_equal(lacks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_goldens) };

	return cmocka_run_group_tests_name("model_registry", tests, NULL, NULL);
}
