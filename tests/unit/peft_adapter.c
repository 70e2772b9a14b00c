/* SPDX-License-Identifier: MIT */
/*
 * Adapters: what configurations match, what is refused, fresh values, hooks.
 */
#include "peft_fix.h"

static bool has_site(const struct pt_adapter *a, const char *path)
{
	for (int i = 0; i < a->nsites; i++) {
		if (!strcmp(a->site[i].site->path, path))
			return true;
	}
	return false;
}

/* Adapted sites of a configuration on the two-layer Llama; -1 and the message where it is refused. */
static int count(const char *json)
{
	struct pt_model *m;
	struct pt_adapter *a;
	int n;

	err = (struct pt_error)PT_ERROR_INIT;
	m = open_model(PT_TASK_CAUSAL_LM);
	n = pt_adapter_new(&a, m, parse(json), 7, NULL, &err) ? -1 : a->nsites;

	if (n >= 0)
		pt_adapter_close(a);
	pt_model_close(m);
	return n;
}

static void targets(void **state)
{
	(void)state;
	assert_int_equal(count("{\"peft_type\":\"LORA\"}"), 4);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"model.layers.1.self_attn.q_proj\"]}"), 1);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\"all-linear\"}"), 14);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\"All-Linear\"}"), 14);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"embed_tokens\",\"lm_head\"]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\".*\\\\.(q|k)_proj\"}"), 4);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"up_proj\"],"
			       "\"exclude_modules\":[\"layers.0.mlp.up_proj\"]}"), 3);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"up_proj\"],"
			       "\"exclude_modules\":\".*up_proj\"}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"lm_head\"],"
			       "\"layers_to_transform\":[1]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],\"layers_to_transform\":1,"
			       "\"layers_pattern\":\"layers\"}"), 1);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"down_proj\"],"
			       "\"modules_to_save\":[\"mlp\"]}"), 2);
}

static void refused(void **state)
{
	static const char *const bad[][2] = {
		{ "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"qproj\"]}", "'qproj' matches no module" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\"q_proj\"}", "'q_proj' matches no module" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\"(\"}", "'(' is no regular expression" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":[\"norm\"]}", "model.norm is a RMSNorm" },
		{ "{\"peft_type\":\"LORA\",\"exclude_modules\":[\"xx\"]}", "exclude_modules: 'xx'" },
		{ "{\"peft_type\":\"LORA\",\"modules_to_save\":[\"xx\"]}", "modules_to_save: 'xx'" },
		{ "{\"peft_type\":\"LORA\",\"layers_to_transform\":[2]}", "no layer 2" },
		{ "{\"peft_type\":\"LORA\",\"layers_pattern\":\"h\"}", "needs layers_to_transform" },
		{ "{\"peft_type\":\"LORA\",\"layers_to_transform\":[1],\"layers_pattern\":\"h\"}", "is left to adapt" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\".*q_proj\",\"layers_to_transform\":[1]}", "a list" },
		{ "{\"peft_type\":\"LORA\",\"rank_pattern\":{\"k_proj\":4}}", "rank_pattern: 'k_proj'" },
		{ "{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"k_proj\":4}}", "alpha_pattern: 'k_proj'" },
		{ "{\"peft_type\":\"LORA\",\"r\":0}", "r" },
		{ "{\"peft_type\":\"LORA\",\"bias\":\"some\"}", "bias 'some'" },
		{ "{\"peft_type\":\"LORA\",\"lora_dropout\":1}", "lora_dropout" },
		{ "{\"peft_type\":\"LORA\",\"use_qalora\":true}", "use_qalora" },
		{ "{\"peft_type\":\"LORA\",\"use_dora\":true,\"lora_bias\":true}", "lora_bias does not go with use_dora" },
		{ "{\"peft_type\":\"LORA\",\"lora_alpha\":0,\"bias\":\"all\"}", "no biases to train" },
		{ "{\"peft_type\":\"IA3\",\"target_modules\":[\"q_proj\"],\"feedforward_modules\":[\"up_proj\"]}", "'up_proj' is not among" },
		{ "{\"peft_type\":\"LN_TUNING\",\"target_modules\":[\"xx\"]}", "'xx' matches no module" },
		{ "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"loftq\"}", "loftq" },
		{ "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"orthogonal\",\"r\":3}", "even rank" },
		{ "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\"}", "task_type SEQ_CLS" },
		{ "{\"peft_type\":\"LORAX\"}", "peft_type LORAX" },
		{ "{\"r\":8}", "peft_type is missing" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(count(bad[i][0]), -1);
		if (!strstr(err.msg, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], err.msg);
	}
}

static void hooks(void **state)
{
	struct pt_model *m = open_model(PT_TASK_SEQ_CLS);
	struct pt_adapter *a = make(m, rich);
	struct pt_weight *w = pt_model_weight(m, "score.weight");

	(void)state;
	assert_true(has_site(a, "model.layers.0.self_attn.q_proj"));
	assert_int_equal(a->site[0].site->nhooks, 1);
	assert_true(w->use != &w->t && w->use->needs_grad);
	pt_adapter_enable(a, false);
	assert_true(w->use == &w->t && !a->site[0].hook.enabled);
	pt_adapter_enable(a, true);
	assert_true(w->use != &w->t && a->site[0].hook.enabled);
	pt_adapter_close(a);
	assert_true(w->use == &w->t);
	assert_int_equal(pt_model_site(m, "model.layers.0.self_attn.q_proj")->nhooks, 0);
	pt_model_close(m);
}

/* Weight decay spares biases and norms. */
static void decay(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, "{\"peft_type\":\"LORA\",\"lora_bias\":true,\"modules_to_save\":[\"norm\"]}");

	(void)state;
	for (int i = 0; i < a->params.n; i++) {
		const struct pt_param *p = a->params.item[i];
		bool spared = strstr(p->name, "bias") || strstr(p->name, "norm");

		assert_int_equal(p->decay, !spared);
	}
	/* Names end alike: PEFT's modules_to_save takes "input_layernorm" for "norm" too. */
	assert_non_null(pt_params_find(&a->params, "model.layers.1.input_layernorm.weight"));
	pt_adapter_close(a);
	pt_model_close(m);
}

/* Moments of a fresh tensor. */
static void moments(struct pt_adapter *a, const char *name, double *mean, double *std, double *top)
{
	struct pt_param *p = pt_params_find(&a->params, name);
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v = malloc(n * sizeof *v);
	double sum = 0, sq = 0;

	assert_ok(pt_adapter_get(a, p, v, &err), &err);
	*top = 0;
	for (size_t i = 0; i < n; i++) {
		sum += (double)v[i];
		sq += (double)v[i] * v[i];
		*top = fmax(*top, fabs((double)v[i]));
	}
	*mean = sum / (double)n;
	*std = sqrt(sq / (double)n - *mean * *mean);
	free(v);
}

#define QN "model.layers.0.self_attn.q_proj."
#define EN "model.embed_tokens."

/* The distributions of PEFT, at rank 64: 1024 values of q_proj, 20480 of the embedding. */
static void fresh(void **state)
{
	static const char fmt[] = "{\"peft_type\":\"LORA\",\"r\":64,\"target_modules\":[\"q_proj\",\"embed_tokens\"],"
				  "\"init_lora_weights\":%s}";
	static const struct {
		const char *init;
		double a, a_top, b, b_top, ea, eb;	/* deviations and bounds; 0: zero */
	} want[] = {
		{ "true", 0.25 / 1.7320508, 0.25, 0, 0, 0, 1 },
		{ "false", 0.25 / 1.7320508, 0.25, 0.125 / 1.7320508, 0.125, 1, 1 },
		{ "\"gaussian\"", 1 / 64.0, 1, 0, 0, 0, 1 },
		/* z q / 10, with z normal and 32 orthonormal rows of 64. */
		{ "\"orthogonal\"", 0.1 * 0.70710678, 1, 0.1 * 0.70710678, 1, 0, 1 },
	};
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		double mean, std, top;
		struct pt_adapter *a;
		char json[200];

		snprintf(json, sizeof json, fmt, want[i].init);
		a = make(m, json);
		moments(a, QN "lora_A.weight", &mean, &std, &top);
		assert_float_equal(mean, 0, 0.15 * want[i].a);
		assert_float_equal(std, want[i].a, 0.08 * want[i].a);
		assert_true(top <= want[i].a_top);
		moments(a, QN "lora_B.weight", &mean, &std, &top);
		assert_float_equal(std, want[i].b, 0.08 * want[i].b);
		assert_true(top <= want[i].b_top);
		moments(a, EN "lora_embedding_A", &mean, &std, &top);
		assert_float_equal(std, want[i].ea, 0.03 * want[i].ea);
		moments(a, EN "lora_embedding_B", &mean, &std, &top);
		assert_float_equal(std, want[i].eb, 0.08);
		pt_adapter_close(a);
	}
	pt_model_close(m);
}

/* orthogonal: neither is zero, their product is. */
static void orthogonal(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, "{\"peft_type\":\"LORA\",\"r\":6,\"init_lora_weights\":\"orthogonal\","
				       "\"target_modules\":[\"q_proj\"]}");
	float va[6 * 16], vb[16 * 6];

	(void)state;
	assert_ok(pt_adapter_get(a, a->site[1].param[0], va, &err), &err);
	assert_ok(pt_adapter_get(a, a->site[1].param[1], vb, &err), &err);
	for (int i = 0; i < 16; i++) {
		for (int j = 0; j < 16; j++) {
			double sum = 0;

			for (int k = 0; k < 6; k++)
				sum += (double)vb[i * 6 + k] * (double)va[k * 16 + j];
			assert_float_equal(sum, 0, 1e-7);
		}
	}
	pt_adapter_close(a);
	pt_model_close(m);
}

/* What a head brought by an adapter is called stays as it is, whatever signs the tables of families know. */
static void head_names(void **state)
{
	static char dense[] = "heads.a#b^c@d:e.1", out[] = "heads.a#b^c@d:e.4";
	struct pt_head_step step = { .dense = dense };
	const struct pt_head_spec spec = { .step = &step, .nsteps = 1, .out = out, .act = PT_ACT_TANH, .out_bias = true,
					   .dropout = true, .drop = -1 };
	const struct pt_model_options o = { .task = PT_TASK_SEQ_CLS, .num_labels = 3, .head_may_lack = true, .head = &spec };
	struct pt_model *m;

	(void)state;
	assert_ok(pt_model_open(&m, dev, &base, &o, &err), &err);
	assert_non_null(pt_model_site(m, dense));
	assert_non_null(pt_model_site(m, out));
	assert_non_null(pt_model_weight(m, "heads.a#b^c@d:e.4.bias"));
	pt_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(targets), T(refused), T(hooks), T(decay), T(fresh), T(orthogonal),
		T(head_names) };

	return cmocka_run_group_tests_name("peft_adapter", tests, start, stop);
}
