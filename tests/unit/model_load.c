/* SPDX-License-Identifier: MIT */
/*
 * model_load.c - checkpoints as published files spell and store them, tied
 * and missing heads, fresh parameters, and what is refused by name.
 */
#include "model_fix.h"

static void drop_prefix(const char *name, const char *prefix, char *out)
{
	size_t n = strlen(prefix);

	snprintf(out, 200, "%s", !strncmp(name, prefix, n) ? name + n : name);
}

static bool bare_llama(const char *name, char *out)
{
	drop_prefix(name, "model.", out);
	return true;
}

static bool bare_bert(const char *name, char *out)
{
	drop_prefix(name, "bert.", out);
	return true;
}

static bool with_bert(const char *name, char *out)
{
	snprintf(out, 200, "bert.%s", name);
	return true;
}

/* As the question answering classes of Llama are saved. */
static bool transformer(const char *name, char *out)
{
	if (!strncmp(name, "model.", 6))
		snprintf(out, 200, "transformer.%s", name + 6);
	return true;
}

static bool gamma_beta(const char *name, char *out)
{
	const char *p = strstr(name, "LayerNorm.");

	if (p)
		snprintf(out, 200, "%.*s%s", (int)(p - name) + 10, name, p[10] == 'w' ? "gamma" : "beta");
	return true;
}

/* Output with the files written so must have the bits of the plain ones. */
static void same(const char *name, bool (*rename)(const char *, char *), int store, size_t max_shard)
{
	struct mfix a, b;
	float *ya, *yb;
	size_t na, nb;

	mfix_golden(&a, name);
	mfix_golden(&b, name);
	b.rename = rename;
	b.store = store;
	b.max_shard = max_shard;
	mfix_open(&a, "ref");
	mfix_open(&b, "ref");
	assert_true(max_shard ? b.md.nshards > 1 : b.md.nshards == 1);
	ya = mfix_out(&a, &na);
	yb = mfix_out(&b, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(ya, yb, na * sizeof *ya);
	free(ya);
	free(yb);
	mfix_close(&a);
	mfix_close(&b);
	mfix_release(&a);
	mfix_release(&b);
}

static void test_names(void **state)
{
	(void)state;
	same("llama2", bare_llama, -1, 0);
	same("llama2", transformer, -1, 0);
	same("bert-class", bare_bert, -1, 0);
	same("bert-class", gamma_beta, -1, 0);
	same("bert-body", with_bert, -1, 0);
	same("bert-class", NULL, -1, 4000);
	same("qwen2", bare_llama, -1, 9000);
}

static void test_storage(void **state)
{
	(void)state;
	/* What the narrow type holds, the wide one holds as well. */
	same("llama2-bf16", NULL, PT_F32, 0);
	same("llama-f16", NULL, PT_F32, 0);
	same("bert-class-bf16", NULL, PT_F64, 0);
	same("llama2", NULL, PT_F64, 0);
}

static const char *skipped;

static bool leave_out(const char *name, char *out)
{
	(void)out;
	return strcmp(name, skipped) != 0;
}

static void missing(const char *golden, const char *name, const char *part)
{
	struct mfix x;

	skipped = name;
	mfix_golden(&x, golden);
	x.rename = leave_out;
	mfix_try(&x, "ref", PT_DATA, part);
	mfix_close(&x);
	mfix_release(&x);
}

static void test_missing(void **state)
{
	(void)state;
	missing("llama2", "model.layers.1.mlp.up_proj.weight", "no model.layers.1.mlp.up_proj.weight");
	missing("llama2", "model.norm.weight", "no model.norm.weight");
	missing("llama2", "model.embed_tokens.weight", "no model.embed_tokens.weight");
	missing("llama2", "lm_head.weight", "no lm_head.weight and config.json does not tie");
	missing("qwen2", "model.layers.0.self_attn.k_proj.bias", "no model.layers.0.self_attn.k_proj.bias");
	missing("llama-class", "score.weight", "no score.weight (class head); create one with peft-init");
	missing("bert-class", "classifier.bias", "no classifier.bias");
	missing("bert-class", "bert.pooler.dense.weight", "no bert.pooler.dense.weight");
}

static void refused(const char *golden, const char *key, double value, int store, int status, const char *part)
{
	struct mfix x;

	mfix_golden(&x, golden);
	x.store = store;
	if (key)
		cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(x.config, key), value);
	mfix_try(&x, "ref", status, part);
	mfix_close(&x);
	mfix_release(&x);
}

static void test_refused(void **state)
{
	struct mfix x;

	(void)state;
	refused("llama2", "intermediate_size", 42, -1, PT_DATA,
		"model.layers.0.mlp.gate_proj.weight has the shape [41, 30], config.json asks for [42, 30]");
	refused("llama2", "vocab_size", 54, -1, PT_DATA, "model.embed_tokens.weight has the shape [53, 30]");
	refused("llama2", "num_hidden_layers", 3, -1, PT_DATA, "no model.layers.2.");
	/* A task that the family has no class for here. */
	mfix_golden(&x, "bert-class");
	x.o.task = PT_TASK_CAUSAL_LM;
	mfix_try(&x, "ref", PT_USAGE, "task lm is not supported for model type bert");
	mfix_close(&x);
	mfix_release(&x);
	/* The head of the checkpoint has three labels. */
	mfix_golden(&x, "bert-class");
	x.o.num_labels = 2;
	mfix_try(&x, "ref", PT_USAGE, "a head of 3 labels, 2 were asked for");
	mfix_close(&x);
	mfix_release(&x);
}

static bool add_head(const char *name, char *out)
{
	(void)name, (void)out;
	return true;
}

static bool head_for_embed(const char *name, char *out)
{
	if (!strcmp(name, "model.embed_tokens.weight"))
		strcpy(out, "lm_head.weight");
	return true;
}

static void test_tied(void **state)
{
	struct pt_weight *e, *h;
	struct mfix x;
	float *y;
	size_t n;

	(void)state;
	mfix_golden(&x, "smollm2");
	mfix_open(&x, "ref");
	e = pt_model_weight(x.m, "model.embed_tokens.weight");
	h = pt_model_weight(x.m, "lm_head.weight");
	assert_ptr_equal(h->tied, e);
	assert_ptr_equal(h->t.data, e->t.data);
	assert_null(h->stored);
	mfix_close(&x);
	mfix_release(&x);

	/* Only the head is stored. */
	mfix_golden(&x, "smollm2");
	x.rename = head_for_embed;
	mfix_open(&x, "ref");
	y = mfix_out(&x, &n);
	assert_true(golden_result(&x.g, "out", y, n, 0) <= 1);
	free(y);
	mfix_close(&x);
	mfix_release(&x);

	/* config.json ties, but the file has a head of its own: that counts. */
	mfix_golden(&x, "llama2");
	x.rename = add_head;
	cJSON_ReplaceItemInObjectCaseSensitive(x.config, "tie_word_embeddings", cJSON_CreateTrue());
	mfix_open(&x, "ref");
	assert_null(pt_model_weight(x.m, "lm_head.weight")->tied);
	y = mfix_out(&x, &n);
	assert_true(golden_result(&x.g, "out", y, n, 0) <= 1);
	free(y);
	mfix_close(&x);
	mfix_release(&x);
}

static float *values(struct mfix *x, const char *name, size_t *n)
{
	struct pt_weight *w = pt_model_weight(x->m, name);
	float *v;

	assert_non_null(w);
	assert_int_equal(w->t.type, PT_F32);
	*n = (size_t)pt_tensor_count(&w->t);
	v = malloc(*n * sizeof *v);
	assert_ok(x->f.dev->download(x->f.dev, v, w->t.data, *n * sizeof *v, &x->f.err), &x->f.err);
	return v;
}

static void open_fresh(struct mfix *x, uint64_t seed)
{
	mfix_golden(x, "llama-class");
	skipped = "score.weight";
	x->rename = leave_out;
	x->o.head_may_lack = true;
	x->o.seed = seed;
	x->o.num_labels = 5;
	mfix_open(x, "ref");
}

static void test_fresh_head(void **state)
{
	struct mfix x;
	float *a, *b;
	size_t n;

	(void)state;
	open_fresh(&x, 1);
	assert_true(pt_model_head_is_new(x.m));
	assert_int_equal(x.m->num_labels, 5);
	assert_true(pt_model_weight(x.m, "score.weight")->fresh);
	assert_false(pt_model_weight(x.m, "model.norm.weight")->fresh);
	a = values(&x, "score.weight", &n);
	assert_int_equal(n, 150);
	mfix_close(&x);
	mfix_release(&x);
	open_fresh(&x, 1);
	b = values(&x, "score.weight", &n);
	assert_memory_equal(a, b, n * sizeof *a);
	free(b);
	mfix_close(&x);
	mfix_release(&x);
	open_fresh(&x, 2);
	b = values(&x, "score.weight", &n);
	assert_memory_not_equal(a, b, n * sizeof *a);
	free(a);
	free(b);
	mfix_close(&x);
	mfix_release(&x);

	/* A checkpoint that has a head keeps it. */
	mfix_golden(&x, "llama-class");
	x.o.head_may_lack = true;
	mfix_open(&x, "ref");
	assert_false(pt_model_head_is_new(x.m));
	assert_int_equal(x.m->num_labels, 3);
	mfix_close(&x);
	mfix_release(&x);
}

/* As transformers: normal(0, initializer_range), norms one, biases zero, the padding row zero. */
static void check_random(struct mfix *x, const char *name, double std, int64_t pad)
{
	double sum = 0, square = 0, largest = 0;
	size_t n, width;
	float *v = values(x, name, &n);

	width = (size_t)x->m->cfg.hidden;
	for (size_t i = 0; i < n; i++) {
		bool padding = pad >= 0 && i / width == (size_t)pad;

		assert_true(!padding || v[i] == 0);
		sum += v[i];
		square += (double)v[i] * v[i];
		largest = fmax(largest, fabs(v[i]));
	}
	n -= pad >= 0 ? width : 0;
	assert_true(fabs(sum / (double)n) < 4 * std / sqrt((double)n));
	/* The deviation of the deviation of n normal numbers is 1 / sqrt(2n) of it; normal has tails. */
	assert_true(fabs(sqrt(square / (double)n) / std - 1) < 4 / sqrt(2 * (double)n));
	assert_true(largest > 2.2 * std && largest < 6 * std);
	free(v);
}

static void check_constant(struct mfix *x, const char *name, float value)
{
	size_t n;
	float *v = values(x, name, &n);

	for (size_t i = 0; i < n; i++)
		assert_true(v[i] == value);
	free(v);
}

static bool nothing(const char *name, char *out)
{
	(void)out;
	return !strcmp(name, "model.norm.weight") || !strcmp(name, "bert.embeddings.LayerNorm.bias");
}

static void test_random(void **state)
{
	struct mfix x;

	(void)state;
	mfix_golden(&x, "llama-class");
	cJSON_ReplaceItemInObjectCaseSensitive(x.config, "initializer_range", cJSON_CreateNumber(0.125));
	x.rename = nothing;
	x.o.random = true;
	mfix_open(&x, "ref");
	check_random(&x, "model.embed_tokens.weight", 0.125, 3);
	check_random(&x, "model.layers.1.mlp.down_proj.weight", 0.125, -1);
	check_random(&x, "score.weight", 0.125, -1);
	check_constant(&x, "model.layers.0.input_layernorm.weight", 1);
	check_constant(&x, "model.norm.weight", 1);
	assert_int_equal(x.m->num_labels, 3);
	mfix_close(&x);
	mfix_release(&x);

	mfix_golden(&x, "bert-class");
	x.rename = nothing;
	x.o.random = true;
	x.o.num_labels = 7;
	mfix_open(&x, "ref");
	check_random(&x, "bert.embeddings.word_embeddings.weight", 0.02, 0);
	check_random(&x, "bert.embeddings.position_embeddings.weight", 0.02, -1);
	check_random(&x, "bert.pooler.dense.weight", 0.02, -1);
	check_random(&x, "classifier.weight", 0.02, -1);
	check_constant(&x, "bert.encoder.layer.1.attention.self.query.bias", 0);
	check_constant(&x, "bert.embeddings.LayerNorm.weight", 1);
	check_constant(&x, "bert.embeddings.LayerNorm.bias", 0);
	assert_int_equal(pt_model_weight(x.m, "classifier.bias")->t.shape[0], 7);
	mfix_close(&x);
	mfix_release(&x);

	mfix_golden(&x, "smollm2");
	x.rename = nothing;
	x.o.random = true;
	mfix_open(&x, "ref");
	assert_non_null(pt_model_weight(x.m, "lm_head.weight")->tied);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_storage),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_tied),
		cmocka_unit_test(test_fresh_head),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests_name("model_load", tests, NULL, NULL);
}
