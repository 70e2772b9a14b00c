/* SPDX-License-Identifier: MIT */
/*
 * model_save.c - a model that is written and opened again is the same: bits
 * of the output, keys of config.json that training changes, types, ties.
 */
#include "model_fix.h"

#include "model/save.h"

static char out[300];

/* Writes x's model to a directory of its own. */
static void save(struct mfix *x, const struct pt_model_save *o, int dtype, size_t max_shard)
{
	struct pt_error *err = &x->f.err;
	cJSON *config = pt_model_save_config(x->m, o, err);
	struct pt_modelsave s;

	assert_non_null(config);
	snprintf(out, sizeof out, "%s/saved", x->dir);
	assert_ok(pt_dir_make(out, err), err);
	pt_modelsave_init(&s);
	if (max_shard)
		s.max_shard = max_shard;
	assert_ok(pt_model_save_list(x->m, dtype, &s, err), err);
	assert_ok(pt_modelsave_write(&s, out, PT_MODELSAVE_ALL, config, &x->md, pt_model_save_fill, x->m, err), err);
	pt_modelsave_release(&s);
	pt_json_free(config);
}

/* The saved model in the place of the first. */
static void again(struct mfix *x)
{
	struct pt_model_options o = { .task = x->m->task };

	pt_model_close(x->m);
	pt_modeldir_close(&x->md);
	assert_ok(pt_modeldir_open(&x->md, out, 0, &x->f.err), &x->f.err);
	assert_ok(pt_model_open(&x->m, x->f.dev, &x->md, &o, &x->f.err), &x->f.err);
}

static void round_trip(const char *name, size_t max_shard)
{
	static const struct pt_model_save keep = { .dtype = -1, .tie = -1 };
	float *a, *b;
	size_t n, k;
	struct mfix x;

	mfix_golden(&x, name);
	mfix_open(&x, "ref");
	a = mfix_out(&x, &n);
	save(&x, &keep, -1, max_shard);
	again(&x);
	b = mfix_out(&x, &k);
	assert_int_equal(n, k);
	assert_memory_equal(a, b, n * sizeof *a);
	free(a);
	free(b);
	mfix_close(&x);
	mfix_release(&x);
}

static void test_round_trip(void **state)
{
	static const char *const names[] = { "llama2", "llama2-bf16", "llama-f16", "llama3", "smollm2", "qwen2",
					     "llama-class", "bert-class", "bert-body" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		round_trip(names[i], 0);
	round_trip("llama2", 5000);
	round_trip("smollm2", 5000);
}

/* Experts that were read as parameters of three dimensions are written so: the same tensors, in as many files. */
static void test_packed(void **state)
{
	static const char *const names[] = { "mixtral", "qwen2-moe", "qwen3-moe", "mixtral-bf16" };
	static const struct pt_model_save keep = { .dtype = -1, .tie = -1 };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof names / sizeof names[0]; i++) {
		const struct pt_st_tensor *t, *u;
		struct pt_modeldir first;
		struct mfix x;
		size_t n = 0;

		mfix_golden(&x, names[i / 2]);
		x.packed = true;
		x.max_shard = i % 2 ? 5000 : 0;
		mfix_open(&x, "guard");
		save(&x, &keep, -1, x.max_shard);
		again(&x);
		assert_ok(pt_modeldir_open(&first, x.dir, 0, &x.f.err), &x.f.err);
		assert_int_equal(x.md.nshards > 1, i % 2);
		for (; (t = pt_modeldir_tensor(&first, n)); n++) {
			u = pt_modeldir_find(&x.md, t->name);
			assert_non_null(u);
			assert_true(u->dtype == t->dtype && u->ndim == t->ndim && u->bytes == t->bytes);
			assert_memory_equal(u->data, t->data, t->bytes);
		}
		assert_null(pt_modeldir_tensor(&x.md, n));
		pt_modeldir_close(&first);
		mfix_close(&x);
		mfix_release(&x);
	}
}

/* One expert of a parameter trained: all of it is written in f32. */
static void test_packed_trained(void **state)
{
	static const struct pt_model_save keep = { .dtype = -1, .tie = -1 };
	const char *name = "model.layers.0.mlp.experts.down_proj";
	struct pt_weight *w;
	struct pt_param *p;
	struct mfix x;
	float *v, *was;
	size_t n;

	(void)state;
	mfix_golden(&x, "mixtral-bf16");
	x.packed = true;
	mfix_open(&x, "ref");
	assert_null(pt_model_weight(x.m, name));
	w = pt_model_weight(x.m, "model.layers.0.block_sparse_moe.experts.1.w2.weight");
	n = (size_t)pt_tensor_count(&w->t);
	assert_ok(pt_params_add(&x.f.params, w->path, 2, w->t.shape, &p, &x.f.err), &x.f.err);
	v = malloc(n * sizeof *v);
	was = malloc(n * sizeof *v);
	golden_uniform("trained", v, n);
	assert_ok(pt_param_write(&x.f.params, p, v, &x.f.err), &x.f.err);
	pt_to_f32(was, (const char *)w->t.data + 2 * n, PT_BF16, n);	/* of the expert behind it */
	w->use = &p->t;
	save(&x, &keep, -1, 0);
	w->use = &w->t;
	again(&x);
	assert_int_equal(pt_modeldir_find(&x.md, name)->dtype, PT_F32);
	assert_int_equal(pt_modeldir_find(&x.md, "model.layers.1.mlp.experts.down_proj")->dtype, PT_BF16);
	assert_memory_equal((const float *)pt_modeldir_find(&x.md, name)->data + n, v, n * sizeof *v);
	assert_memory_equal((const float *)pt_modeldir_find(&x.md, name)->data + 2 * n, was, n * sizeof *v);
	free(v);
	free(was);
	mfix_close(&x);
	mfix_release(&x);
}

static const char *text(const struct mfix *x, const char *key, const char *sub)
{
	const cJSON *v = pt_json_get(x->md.config, key);

	if (sub)
		v = pt_json_get(v, sub);
	else if (cJSON_IsArray(v))
		v = cJSON_GetArrayItem(v, 0);
	return cJSON_GetStringValue(v);
}

/* A base of a language model becomes a classifier. */
static void test_config(void **state)
{
	char *const labels[] = { "no", "s\xc3\xad", "maybe", "x" };
	struct pt_model_save o = { .label = labels, .problem = PT_PROBLEM_SINGLE, .dtype = PT_F32, .tie = -1 };
	struct mfix x;
	int64_t n;

	(void)state;
	mfix_golden(&x, "llama2-bf16");
	cJSON_AddNumberToObject(x.config, "num_labels", 2);
	cJSON_AddStringToObject(x.config, "torch_dtype", "bfloat16");
	cJSON_AddStringToObject(x.config, "unknown_key", "stays");
	x.o.task = PT_TASK_SEQ_CLS;
	x.o.num_labels = 4;
	x.o.head_may_lack = true;
	mfix_open(&x, "ref");
	save(&x, &o, -1, 0);
	again(&x);
	assert_string_equal(text(&x, "architectures", NULL), "LlamaForSequenceClassification");
	assert_string_equal(text(&x, "id2label", "1"), "s\xc3\xad");
	assert_ok(pt_json_int(pt_json_get(x.md.config, "label2id"), "maybe", 0, 9, -1, &n, &x.f.err), &x.f.err);
	assert_int_equal(n, 2);
	assert_string_equal(text(&x, "problem_type", NULL), "single_label_classification");
	assert_string_equal(text(&x, "torch_dtype", NULL), "float32");
	assert_string_equal(text(&x, "unknown_key", NULL), "stays");
	assert_null(pt_json_get(x.md.config, "num_labels"));
	assert_null(pt_json_get(x.md.config, "dtype"));
	/* The order of the keys that were there. */
	assert_string_equal(x.md.config->child->string, "model_type");
	assert_int_equal(x.m->cfg.num_labels, 4);
	assert_int_equal(x.m->cfg.task, PT_TASK_SEQ_CLS);
	assert_int_equal(pt_model_weight(x.m, "score.weight")->t.type, PT_F32);
	assert_int_equal(pt_model_weight(x.m, "model.norm.weight")->t.type, PT_BF16);
	mfix_close(&x);
	mfix_release(&x);
}

/* What training put in the place of a weight is what is written, rounded once. */
static void test_trained(void **state)
{
	static const struct pt_model_save keep = { .dtype = PT_BF16, .tie = 0 };
	const char *name = "model.layers.1.mlp.up_proj.weight";
	const struct pt_st_tensor *t;
	struct pt_weight *w, *h;
	struct pt_param *p, *q;
	struct mfix x;
	float *v;
	size_t n;

	(void)state;
	mfix_golden(&x, "smollm2");
	mfix_open(&x, "ref");
	w = pt_model_weight(x.m, name);
	h = pt_model_weight(x.m, "lm_head.weight");
	n = (size_t)pt_tensor_count(&w->t);
	assert_ok(pt_params_add(&x.f.params, name, 2, w->t.shape, &p, &x.f.err), &x.f.err);
	assert_ok(pt_params_add(&x.f.params, "head", 2, h->t.shape, &q, &x.f.err), &x.f.err);
	v = malloc(n * sizeof *v);
	golden_uniform("trained", v, n);
	assert_ok(pt_param_write(&x.f.params, p, v, &x.f.err), &x.f.err);
	w->use = &p->t;
	h->use = &q->t;			/* trained apart from the embedding: no longer tied */
	save(&x, &keep, PT_BF16, 0);
	w->use = &w->t;
	h->use = &h->t;
	again(&x);
	t = pt_modeldir_find(&x.md, name);
	assert_int_equal(t->dtype, PT_BF16);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(((const uint16_t *)t->data)[i], pt_f32_to_bf16(v[i]));
	free(v);
	assert_non_null(pt_modeldir_find(&x.md, "lm_head.weight"));
	assert_false(x.m->cfg.tie);
	assert_null(pt_model_weight(x.m, "lm_head.weight")->tied);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_packed_trained),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_trained),
	};

	return cmocka_run_group_tests_name("model_save", tests, NULL, NULL);
}
