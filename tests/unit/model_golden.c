/* SPDX-License-Identifier: MIT */
/*
 * model_golden.c - whole models against float64 values made by
 * tests/golden/make_models.py: logits, loss, gradients of all parameters. By
 * max|a-b| / max|b| at most twice the error of torch in the same type; nothing
 * under 2e-6 (f32) or 2e-3 (bf16) is asked. And the mutations: each key of a
 * configuration moves a result by ten times that.
 */
#include "model_fix.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

/* The guard device is slow: one case of each shape and head. */
static bool guarded(const char *name)
{
	return !strcmp(name, "mistral") || !strcmp(name, "llama-class") || !strcmp(name, "bert-class");
}

static const char *const cases[] = {
	"llama2", "llama2-bf16", "llama-f16", "llama3", "linear", "dynamic", "yarn", "yarn-mscale", "mistral",
	"qwen2", "smollm2", "llama-class", "llama-regression", "bert-class", "bert-class-bf16",
	"bert-no-types", "bert-regression", "bert-multilabel", "bert-body", NULL
};

static void right(struct mfix *x, const char *what, double share)
{
	if (share > 1)
		fail_msg("%s: %s in %s is off by %.3g times what is allowed", x->g.name, what,
			 golden_type[x->type], share);
}

static void check_out(struct mfix *x)
{
	size_t n;
	float *y = mfix_out(x, &n);

	right(x, "out", golden_result(&x->g, "out", y, n, x->type));
	free(y);
}

/* Loss and gradients; again with recomputed blocks: the same bits. */
static void check_training(struct mfix *x)
{
	struct pt_params *params = &x->f.params;
	float **grad = calloc((size_t)params->n, sizeof *grad);
	double value = mfix_loss(x, true), again;
	float loss = (float)value;

	right(x, "loss", golden_result(&x->g, "loss", &loss, 1, x->type));
	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];

		grad[i] = fix_grad(&x->f, p);
		right(x, p->name, golden_gradient(&x->g, p->name, grad[i], (size_t)pt_tensor_count(&p->t), x->type));
	}
	x->m->recompute = true;
	again = mfix_loss(x, true);
	x->m->recompute = false;
	assert_true(value == again);
	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];
		float *g = fix_grad(&x->f, p);

		if (memcmp(g, grad[i], (size_t)pt_tensor_count(&p->t) * sizeof *g))
			fail_msg("%s: recomputing changes the gradient of %s", x->g.name, p->name);
		free(g);
		free(grad[i]);
	}
	assert_true(value == mfix_loss(x, false));
	free(grad);
}

static void test_cases(void **state)
{
	(void)state;
	for (int i = 0; cases[i]; i++) {
		struct mfix x;

		mfix_golden(&x, cases[i]);
		for (int d = 0; devices[d]; d++) {
			for (x.type = 0; x.type < 2; x.type++) {
				const cJSON *e = pt_json_get(pt_json_get(x.g.about, "error"), "out");

				if (!pt_json_get(e, golden_type[x.type]) ||
				    (!strcmp(devices[d], "guard") && !guarded(cases[i])))
					continue;
				x.g.worst = 0;
				mfix_open(&x, devices[d]);
				check_out(&x);
				if (x.m->task != PT_TASK_NONE) {
					mfix_train(&x);
					assert_int_equal(x.f.params.n,
							 cJSON_GetArraySize(pt_json_get(x.g.about, "parameters")));
					check_training(&x);
				}
				print_message("# %s, %s, %s: worst %.2f of what is allowed (%s)\n", cases[i],
					      devices[d], golden_type[x.type], x.g.worst, x.g.worst_of);
				mfix_close(&x);
			}
		}
		mfix_release(&x);
	}
}

/* Changes config.json: "key" or "dictionary.key"; value NULL removes it. */
static void change(cJSON *json, const char *key, const char *value)
{
	struct pt_error err = PT_ERROR_INIT;
	const char *dot = strchr(key, '.');
	char first[64];

	if (dot) {
		snprintf(first, sizeof first, "%.*s", (int)(dot - key), key);
		json = cJSON_GetObjectItemCaseSensitive(json, first);
		assert_non_null(json);
		key = dot + 1;
	}
	if (cJSON_GetObjectItemCaseSensitive(json, key))
		cJSON_DeleteItemFromObjectCaseSensitive(json, key);
	if (value) {
		cJSON *v = pt_json_parse(value, strlen(value), 0, "value", &err);

		assert_non_null(v);
		cJSON_AddItemToObject(json, key, v);
	}
}

static void test_mutations(void **state)
{
	static const struct {
		const char *name, *key, *value;
	} mutations[] = {
		{ "llama2", "rms_norm_eps", "1e-6" },
		{ "llama2", "hidden_act", "\"gelu\"" },
		{ "llama2", "rope_theta", "9000" },
		{ "llama3", "rope_parameters.rope_theta", "400" },
		{ "llama3", "rope_parameters.rope_type", "\"default\"" },
		{ "llama3", "rope_parameters.factor", "7" },
		{ "llama3", "rope_parameters.low_freq_factor", "1.1" },
		{ "llama3", "rope_parameters.high_freq_factor", "3.9" },
		{ "llama3", "rope_parameters.original_max_position_embeddings", "31" },
		{ "llama3", "original_max_position_embeddings", "31" },
		{ "llama3", "attention_bias", "false" },
		{ "llama3", "mlp_bias", "false" },
		{ "linear", "rope_scaling.factor", "2.4" },
		{ "linear", "rope_scaling", "null" },
		{ "dynamic", "rope_scaling.factor", "2.9" },
		{ "dynamic", "max_position_embeddings", "17" },
		{ "dynamic", "max_position_embeddings", "15" },
		{ "yarn", "rope_scaling.factor", "3.9" },
		{ "yarn", "rope_scaling.beta_fast", "2" },
		{ "yarn", "rope_scaling.beta_slow", "0.6" },
		{ "yarn", "rope_scaling.attention_factor", "1.1" },
		{ "yarn", "rope_scaling.truncate", "false" },
		{ "yarn", "rope_scaling.original_max_position_embeddings", "12" },
		{ "yarn-mscale", "rope_scaling.mscale", "1.4" },
		{ "yarn-mscale", "rope_scaling.mscale_all_dim", "0.4" },
		{ "yarn-mscale", "rope_scaling.truncate", NULL },
		{ "yarn-mscale", "rope_scaling.beta_slow", "1" },
		{ "mistral", "sliding_window", "null" },
		{ "mistral", "sliding_window", "4" },
		{ "mistral", "sliding_window", "6" },
		{ "qwen2", "sliding_window", "5" },
		{ "qwen2", "use_sliding_window", "false" },
		{ "qwen2", "max_window_layers", "0" },
		{ "qwen2", "max_window_layers", "2" },
		{ "qwen2", "layer_types", "[\"sliding_attention\", \"full_attention\"]" },
		{ "llama-class", "pad_token_id", "null" },
		{ "llama-class", "pad_token_id", "0" },
		{ "bert-class", "layer_norm_eps", "1e-6" },
		{ "bert-class", "hidden_act", "\"gelu_new\"" },
		{ "bert-no-types", "hidden_act", "\"gelu\"" },
	};

	int unfelt = 0;

	(void)state;
	for (size_t i = 0; i < sizeof mutations / sizeof mutations[0]; i++) {
		struct mfix x;
		double share;
		float *y;
		size_t n;

		mfix_golden(&x, mutations[i].name);
		change(x.config, mutations[i].key, mutations[i].value);
		mfix_open(&x, devices[0]);
		y = mfix_out(&x, &n);
		share = golden_result(&x.g, "out", y, n, 0);
		if (share < 10) {
			print_message("# %s: %s = %s is not felt: %.3g of what is allowed\n", mutations[i].name,
				      mutations[i].key, mutations[i].value ? mutations[i].value : "absent", share);
			unfelt++;
		}
		free(y);
		mfix_close(&x);
		mfix_release(&x);
	}
	assert_int_equal(unfelt, 0);
}

/* What is no key: packing, token types, tied weights, learned positions. */
static void test_inputs(void **state)
{
	struct mfix x;
	size_t n;
	float *y;

	(void)state;
	mfix_golden(&x, "bert-class");
	mfix_open(&x, devices[0]);
	x.in.types = NULL;
	y = mfix_out(&x, &n);
	assert_true(golden_result(&x.g, "out", y, n, 0) > 10);
	free(y);
	mfix_close(&x);
	mfix_release(&x);

	/* Two sequences run together see each other. */
	mfix_golden(&x, "llama2");
	mfix_open(&x, devices[0]);
	fix_rows(&x.f, &x.in.rows, (int[]){ 8, 19, 14 }, 3, 0);
	y = mfix_out(&x, &n);
	assert_true(golden_result(&x.g, "out", y, n, 0) > 10);
	free(y);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_inputs),
	};

	return cmocka_run_group_tests_name("model_golden", tests, NULL, NULL);
}
