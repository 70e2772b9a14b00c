/* SPDX-License-Identifier: MIT */
/*
 * model_config.c - config.json as transformers 4 and 5 write it, defaults of
 * missing keys, and what is refused by the name of the key.
 */
#include "test.h"

#include <math.h>

#include "model/config.h"

static cJSON *json;
static struct pt_config c;

static void read_ok(const char *text)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_non_null(json = pt_json_parse(text, strlen(text), 0, "config.json", &err));
	assert_ok(pt_config_read(&c, json, &err), &err);
}

static void done(void)
{
	pt_config_release(&c);
	pt_json_free(json);
}

static void refused(const char *text, const char *part)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_non_null(json = pt_json_parse(text, strlen(text), 0, "config.json", &err));
	assert_fails(pt_config_read(&c, json, &err), PT_DATA, part, &err);
	if (strncmp(err.msg, "config.json", 11))
		fail_msg("%s does not name the file", err.msg);
	assert_null(c.label);
	assert_null(c.stack[0].layer);
	pt_json_free(json);
}

static void test_defaults(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"llama\"}");
	assert_int_equal(c.vocab, 32000);
	assert_int_equal(c.hidden, 4096);
	assert_int_equal(c.ffn, 11008);
	assert_int_equal(c.stack[0].layers, 32);
	assert_int_equal(c.heads, 32);
	assert_int_equal(c.kv_heads, 32);
	assert_int_equal(c.head_dim, 128);
	assert_int_equal(c.positions, 2048);
	assert_true(c.eps == 1e-6f);
	assert_int_equal(c.act, PT_ACT_SILU);
	assert_true(c.rope[0].theta == 10000 && c.rope[0].type == PT_ROPE_DEFAULT && c.rope[0].dims == 128);
	assert_false(c.tie || c.bias_qkv || c.bias_o || c.bias_ffn);
	assert_true(c.stack[0].causal && c.stack[0].layer[0].scale == (float)(1 / sqrt(128.0)));
	assert_true(c.init_std == 0.02);
	assert_int_equal(c.pad, -1);
	assert_int_equal(c.bos, 1);
	assert_int_equal(c.neos, 1);
	assert_int_equal(c.eos[0], 2);
	assert_int_equal(c.dtype, -1);
	assert_int_equal(c.num_labels, 2);
	assert_null(c.label);
	assert_int_equal(c.task, PT_TASK_NONE);
	assert_int_equal(c.stack[0].layer[31].window, 0);
	done();
	read_ok("{\"model_type\": \"mistral\"}");
	assert_int_equal(c.kv_heads, 8);
	assert_int_equal(c.ffn, 14336);
	assert_int_equal(c.stack[0].layer[0].window, 4096);
	done();
	read_ok("{\"model_type\": \"qwen2\", \"num_attention_heads\": 64, \"hidden_size\": 4096}");
	assert_int_equal(c.kv_heads, 32);
	assert_true(c.bias_qkv && !c.bias_o);
	assert_int_equal(c.stack[0].layer[31].window, 0);
	assert_int_equal(c.neos, 0);
	done();
	read_ok("{\"model_type\": \"bert\"}");
	assert_int_equal(c.types, 2);
	assert_true(c.drop_embed == 0.1f && c.drop_ffn_out == 0.1f && c.drop_attn == 0.1f && c.drop_class == 0.1f);
	assert_int_equal(c.pad, 0);
	assert_true(c.tie && c.bias_qkv && c.bias_o && c.bias_ffn && !c.stack[0].causal);
	assert_true(c.eps == 1e-12f);
	done();
}

static void test_spellings(void **state)
{
	struct pt_rope_config four, five;

	(void)state;
	read_ok("{\"model_type\": \"llama\", \"torch_dtype\": \"bfloat16\", \"rope_theta\": 500000.0, \"rope_scaling\": "
		"{\"type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, \"high_freq_factor\": 4, "
		"\"original_max_position_embeddings\": 8192}}");
	assert_int_equal(c.dtype, PT_BF16);
	four = c.rope[0];
	done();
	read_ok("{\"model_type\": \"llama\", \"dtype\": \"bfloat16\", \"rope_scaling\": null, \"rope_parameters\": "
		"{\"rope_theta\": 5e5, \"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
		"\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}}");
	assert_int_equal(c.dtype, PT_BF16);
	five = c.rope[0];
	done();
	assert_int_equal(four.type, PT_ROPE_LLAMA3);
	assert_true(four.type == five.type && four.theta == five.theta && four.factor == five.factor &&
		    four.low_freq == five.low_freq && four.high_freq == five.high_freq &&
		    four.original == five.original);
	/* rope_scaling replaces rope_parameters; inside, rope_theta wins over the one outside. */
	read_ok("{\"model_type\": \"llama\", \"rope_theta\": 3, \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}, "
		"\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5}}");
	assert_true(c.rope[0].type == PT_ROPE_LINEAR && c.rope[0].factor == 2 && c.rope[0].theta == 3);
	done();
	read_ok("{\"model_type\": \"llama\", \"rope_theta\": 3, \"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5}}");
	assert_true(c.rope[0].type == PT_ROPE_DEFAULT && c.rope[0].theta == 5);
	done();
	read_ok("{\"model_type\": \"llama\", \"rope_scaling\": {}}");
	assert_int_equal(c.rope[0].type, PT_ROPE_DEFAULT);
	done();
	/* yarn: the factor follows from the positions, and attention is scaled by it. */
	read_ok("{\"model_type\": \"llama\", \"max_position_embeddings\": 64, \"rope_scaling\": "
		"{\"rope_type\": \"yarn\", \"original_max_position_embeddings\": 16}}");
	assert_true(c.rope[0].factor == 4 && fabs(c.rope[0].attention_factor - (0.1 * log(4) + 1)) < 1e-12);
	assert_true(c.rope[0].beta_fast == 32 && c.rope[0].beta_slow == 1 && c.rope[0].truncate);
	done();
}

static void test_sizes(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"mistral\", \"num_key_value_heads\": null, \"sliding_window\": null, \"head_dim\": null}");
	assert_int_equal(c.kv_heads, 32);
	assert_int_equal(c.stack[0].layer[0].window, 0);
	assert_int_equal(c.head_dim, 128);
	done();
	read_ok("{\"model_type\": \"mistral\", \"hidden_size\": 30, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 6}");
	assert_int_equal(c.head_dim, 6);
	assert_int_equal(c.hidden, 30);
	done();
	read_ok("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 3, \"sliding_window\": 9, \"use_sliding_window\": true, "
		"\"max_window_layers\": 1}");
	assert_true(c.stack[0].layer[0].window == 0 && c.stack[0].layer[1].window == 9 && c.stack[0].layer[2].window == 9);
	done();
	read_ok("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 2, \"sliding_window\": 9, \"use_sliding_window\": true, "
		"\"max_window_layers\": 7, \"layer_types\": [\"sliding_attention\", \"full_attention\"]}");
	assert_true(c.stack[0].layer[0].window == 9 && c.stack[0].layer[1].window == 0);
	done();
	/* Numbers that only look like fractions. */
	read_ok("{\"model_type\": \"llama\", \"vocab_size\": 53.0}");
	assert_int_equal(c.vocab, 53);
	done();
}

static void test_ids_and_labels(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"eos_token_id\": [128001, 128008], "
		"\"pad_token_id\": 0, \"bos_token_id\": null}");
	assert_int_equal(c.task, PT_TASK_CAUSAL_LM);
	assert_int_equal(c.neos, 2);
	assert_int_equal(c.eos[1], 128008);
	assert_int_equal(c.pad, 0);
	assert_int_equal(c.bos, -1);
	done();
	read_ok("{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], \"problem_type\": "
		"\"multi_label_classification\", \"id2label\": {\"1\": \"good\", \"0\": \"b\\u00e4d\"}, \"classifier_dropout\": 0.3}");
	assert_int_equal(c.task, PT_TASK_SEQ_CLS);
	assert_int_equal(c.problem, PT_PROBLEM_MULTI);
	assert_int_equal(c.num_labels, 2);
	assert_string_equal(c.label[0], "b\xc3\xa4""d");
	assert_string_equal(c.label[1], "good");
	assert_true(c.drop_class == 0.3f);
	done();
	/* num_labels wins, as in transformers. */
	read_ok("{\"model_type\": \"bert\", \"num_labels\": 3, \"id2label\": {\"0\": \"a\", \"1\": \"b\"}}");
	assert_int_equal(c.num_labels, 3);
	assert_null(c.label);
	done();
	read_ok("{\"model_type\": \"bert\", \"classifier_dropout\": null, \"hidden_dropout_prob\": 0.25, \"architectures\": [\"BertModel\"]}");
	assert_true(c.drop_class == 0.25f);
	assert_int_equal(c.task, PT_TASK_NONE);
	done();
}

static void test_refused(void **state)
{
	(void)state;
	refused("[]", "not an object");
	refused("{}", "model_type is missing (supported: llama, ");
	refused("{\"model_type\": \"mamba\"}", "model_type \"mamba\" is not supported (llama, ");
	refused("{\"model_type\": 3}", "model_type");
	refused("{\"model_type\": \"llama\", \"quantization_config\": {}}", "quantization_config");
	refused("{\"model_type\": \"llama\", \"text_config\": {}}", "text_config");
	refused("{\"model_type\": \"llama\", \"hidden_act\": \"softplus\"}", "hidden_act \"softplus\"");
	refused("{\"model_type\": \"llama\", \"hidden_size\": 4097}", "hidden_size 4097");
	refused("{\"model_type\": \"llama\", \"hidden_size\": 0}", "hidden_size");
	refused("{\"model_type\": \"llama\", \"hidden_size\": \"big\"}", "hidden_size");
	refused("{\"model_type\": \"llama\", \"num_hidden_layers\": 1e9}", "num_hidden_layers");
	refused("{\"model_type\": \"llama\", \"num_key_value_heads\": 5}", "num_key_value_heads 5");
	refused("{\"model_type\": \"llama\", \"vocab_size\": 1e12}", "vocab_size");
	refused("{\"model_type\": \"llama\", \"rms_norm_eps\": -1}", "rms_norm_eps");
	refused("{\"model_type\": \"llama\", \"attention_dropout\": 1}", "attention_dropout");
	refused("{\"model_type\": \"llama\", \"head_dim\": 127, \"hidden_size\": 4064}", "heads of 127");
	refused("{\"model_type\": \"llama\", \"partial_rotary_factor\": 0.5}", "partial_rotary_factor");
	refused("{\"model_type\": \"llama\", \"rope_theta\": 0}", "rope_theta");
	refused("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"ntk\"}}", "rope_scaling: rope_type \"ntk\"");
	refused("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"longrope\"}}", "short_factor is not a list");
	refused("{\"model_type\": \"llama\", \"rope_scaling\": 3}", "rope_scaling is not an object");
	refused("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"linear\"}}", "rope_scaling: factor");
	refused("{\"model_type\": \"llama\", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8}}", "low_freq_factor");
	refused("{\"model_type\": \"llama\", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"linear\", \"factor\": 2}}}",
		"rope_parameters");
	refused("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 2, \"layer_types\": [\"sliding_attention\"]}", "layer_types");
	refused("{\"model_type\": \"qwen2\", \"num_hidden_layers\": 1, \"layer_types\": [\"chunked_attention\"]}", "layer_types");
	refused("{\"model_type\": \"bert\", \"position_embedding_type\": \"relative_key\"}", "position_embedding_type");
	refused("{\"model_type\": \"bert\", \"is_decoder\": true}", "is_decoder");
	refused("{\"model_type\": \"bert\", \"id2label\": {\"0\": \"a\", \"2\": \"b\"}}", "id2label");
	refused("{\"model_type\": \"bert\", \"problem_type\": \"ranking\"}", "problem_type");
	refused("{\"model_type\": \"bert\", \"hidden_dropout_prob\": -0.1}", "hidden_dropout_prob");
	refused("{\"model_type\": \"llama\", \"pad_token_id\": \"x\"}", "pad_token_id");
	refused("{\"model_type\": \"llama\", \"eos_token_id\": [1, \"x\"]}", "eos_token_id");
	refused("{\"model_type\": \"llama\", \"torch_dtype\": 16}", "torch_dtype");
}

static void test_tasks(void **state)
{
	static const char *const heads[] = { "lm", "class", "regression", "multilabel", "token-class", "mlm",
					     "seq2seq", "qa", "contrastive" };

	(void)state;
	for (int i = 0; i < 9; i++) {
		int t = pt_task_parse(heads[i]);

		assert_true(t > PT_TASK_NONE);
		assert_string_equal(pt_task_problem_name((enum pt_task)t, pt_task_parse_problem(heads[i])), heads[i]);
		assert_true(!pt_task_peft((enum pt_task)t) == (t == PT_TASK_MASKED_LM));
		assert_true(t == PT_TASK_MASKED_LM || pt_task_parse(pt_task_peft((enum pt_task)t)) == t);
	}
	assert_int_equal(pt_task_parse("regression"), PT_TASK_SEQ_CLS);
	assert_int_equal(pt_task_parse_problem("lm"), PT_PROBLEM_UNSET);
	assert_string_equal(pt_task_problem_name(PT_TASK_SEQ_CLS, PT_PROBLEM_UNSET), "class");
	assert_string_equal(pt_task_problem_name(PT_TASK_CAUSAL_LM, PT_PROBLEM_MULTI), "lm");
	assert_int_equal(pt_task_parse("preference"), -1);
	assert_int_equal(pt_task_parse(""), -1);
	for (int p = PT_PROBLEM_REGRESSION; p <= PT_PROBLEM_MULTI; p++)
		assert_int_equal(pt_problem_type_parse(pt_problem_type((enum pt_problem)p)), p);
	assert_int_equal(pt_task_of_class("LlamaForCausalLM", false), PT_TASK_CAUSAL_LM);
	assert_int_equal(pt_task_of_class("GPT2LMHeadModel", false), PT_TASK_CAUSAL_LM);
	assert_int_equal(pt_task_of_class("BertModel", false), PT_TASK_NONE);
	assert_int_equal(pt_task_of_class("RobertaForQuestionAnswering", false), PT_TASK_QA);
	assert_int_equal(pt_task_of_class("Something", false), -1);
}

/* Per task: vocab, shifts, per token, labels, bare. */
static void test_predicates(void **state)
{
	static const struct {
		enum pt_task t;
		bool is[5];
	} want[] = {
		{ PT_TASK_NONE, { 0, 0, 0, 0, 1 } }, { PT_TASK_CAUSAL_LM, { 1, 1, 1, 0, 0 } },
		{ PT_TASK_SEQ_CLS, { 0, 0, 0, 1, 0 } }, { PT_TASK_TOKEN_CLS, { 0, 0, 1, 1, 0 } },
		{ PT_TASK_MASKED_LM, { 1, 0, 1, 0, 0 } }, { PT_TASK_SEQ2SEQ_LM, { 1, 0, 1, 0, 0 } },
		{ PT_TASK_QA, { 0, 0, 0, 0, 0 } }, { PT_TASK_CONTRASTIVE, { 0, 0, 0, 0, 1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		enum pt_task t = want[i].t;
		const bool is[] = { pt_task_vocab(t), pt_task_shifts(t), pt_task_per_token(t), pt_task_labels(t),
				    pt_task_bare(t) };

		assert_memory_equal(is, want[i].is, sizeof is);
	}
}

/* Each family says where AdapterHub's library has its adapters. */
static void test_hub(void **state)
{
	const struct pt_family *f;

	(void)state;
	for (int i = 0; (f = pt_family_at(i)); i++)
		if (f->hub == PT_HUB_UNSAID)
			fail_msg("%s says nothing", f->model_type);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_ids_and_labels),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_predicates),
		cmocka_unit_test(test_hub),
	};

	return cmocka_run_group_tests_name("model_config", tests, NULL, NULL);
}
