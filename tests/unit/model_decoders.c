/* SPDX-License-Identifier: MIT */
/*
 * model_decoders.c - config.json of the decoders beside Llama: what a missing
 * key means, older spellings, what is refused by the name of its key, and
 * tensors that are missing or of another shape by theirs.
 */
#include "model_fix.h"

static struct pt_config c;
static cJSON *json;

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
	pt_json_free(json);
}

static void test_defaults(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"gpt2\"}");
	assert_true(c.hidden == 768 && c.ffn == 3072 && c.heads == 12 && c.positions == 1024 && c.tie && c.transposed);
	assert_true(c.drop_embed == 0.1f && c.drop_attn == 0.1f && c.drop_attn_out == 0.1f && c.drop_ffn_out == 0.1f);
	assert_true(c.act == PT_ACT_GELU_TANH && c.eos[0] == 50256);
	done();
	read_ok("{\"model_type\": \"gpt_neox\"}");
	assert_true(c.form == PT_BLOCK_PARALLEL && c.rope[0].dims == 24 && c.bias_qkv && c.bias_o && c.bias_ffn && !c.tie);
	done();
	read_ok("{\"model_type\": \"opt\"}");
	assert_true(c.pos_offset == 2 && c.eps == 1e-5f && c.embed_width == 768 && c.act == PT_ACT_RELU && c.pad == 1);
	assert_true(c.drop_embed == 0 && c.drop_attn_out == 0.1f && c.drop_ffn_out == 0.1f && c.drop_attn == 0);
	done();
	read_ok("{\"model_type\": \"bloom\"}");
	assert_true(c.hidden == 64 && c.ffn == 256 && c.position == PT_POS_SLOPES && !c.key_slopes && c.tie);
	done();
	read_ok("{\"model_type\": \"falcon\"}");
	assert_true(c.kv_heads == 1 && c.heads == 71 && c.form == PT_BLOCK_PARALLEL && !c.bias_qkv && c.ffn == 4 * 4544);
	done();
	read_ok("{\"model_type\": \"phi\"}");
	assert_true(c.rope[0].dims == 32 && c.bias_o && c.act == PT_ACT_GELU_TANH && !c.tie);
	done();
	read_ok("{\"model_type\": \"phi3\"}");
	assert_true(c.kv_heads == 32 && c.rope[0].dims == 96 && c.stack[0].layer[0].window == 0 && c.eps == 1e-5f);
	done();
	read_ok("{\"model_type\": \"gemma\"}");
	assert_true(c.head_dim == 256 && c.kv_heads == 16 && c.tie && c.act == PT_ACT_GELU_TANH);
	assert_true(fabsf(c.embed_scale - 55.42562584f) < 1e-5f);
	done();
	read_ok("{\"model_type\": \"qwen3\"}");
	assert_true(c.head_dim == 128 && c.kv_heads == 32 && !c.bias_qkv);
	done();
	read_ok("{\"model_type\": \"smollm3\"}");
	assert_true(c.rope[0].theta == 2e6 && c.kv_heads == 4 && c.tie && c.stack[0].layer[2].rope == 0 &&
		    c.stack[0].layer[3].rope == -1);
	done();
}

static void test_factors(void **state)
{
	(void)state;
	/* As Granite 3.3 8B has them. */
	read_ok("{\"model_type\": \"granite\", \"embedding_multiplier\": 12.0, \"residual_multiplier\": 0.22, "
		"\"attention_multiplier\": 0.0078125, \"logits_scaling\": 16.0}");
	assert_true(c.input_scale == 12 && c.residual_scale == 0.22f && c.logit_scale == 1 / 16.0f && c.embed_scale == 1);
	assert_true(c.stack[0].layer[0].scale == 1 / 128.0f && c.stack[0].layer[31].scale == 1 / 128.0f);
	done();
	read_ok("{\"model_type\": \"granite\"}");
	assert_true(c.input_scale == 1 && c.residual_scale == 1 && c.logit_scale == 1 && c.stack[0].layer[0].scale == 1);
	done();
}

static void test_gemma(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"gemma2\"}");
	assert_true(c.attn_softcap == 50 && c.final_softcap == 30 && c.stack[0].layer[0].scale == 1 / 16.0f);
	assert_true(c.stack[0].layer[0].window == 4096 && c.stack[0].layer[1].window == 0);
	done();
	read_ok("{\"model_type\": \"gemma3_text\", \"sliding_window\": 512, \"rope_scaling\": {\"rope_type\": \"linear\", "
		"\"factor\": 8.0}}");
	assert_true(c.attn_softcap == 0 && c.final_softcap == 0 && c.nropes == 2);
	assert_true(c.rope[0].theta == 1e6 && c.rope[0].type == PT_ROPE_LINEAR && c.rope[1].theta == 1e4 &&
		    c.rope[1].type == PT_ROPE_DEFAULT);
	for (int i = 0; i < c.stack[0].layers; i++) {
		assert_int_equal(c.stack[0].layer[i].window, (i + 1) % 6 ? 512 : 0);
		assert_int_equal(c.stack[0].layer[i].rope, (i + 1) % 6 ? 1 : 0);
	}
	done();
	read_ok("{\"model_type\": \"gemma3_text\", \"sliding_window\": 512, \"use_bidirectional_attention\": true}");
	assert_true(!c.stack[0].causal && c.stack[0].layer[0].window == 257);
	done();
}

static void test_spellings(void **state)
{
	(void)state;
	read_ok("{\"model_type\": \"gpt2\", \"hidden_size\": 48, \"num_hidden_layers\": 3, \"num_attention_heads\": 4}");
	assert_true(c.hidden == 48 && c.stack[0].layers == 3 && c.heads == 4);
	done();
	read_ok("{\"model_type\": \"bloom\", \"n_embed\": 48, \"hidden_size\": 64, \"num_hidden_layers\": 3, "
		"\"num_attention_heads\": 4}");
	assert_true(c.hidden == 48 && c.stack[0].layers == 3 && c.heads == 4);
	done();
	/* As Phi-3's first files have it. */
	read_ok("{\"model_type\": \"phi3\", \"hidden_size\": 32, \"num_attention_heads\": 8, \"max_position_embeddings\": 131072, "
		"\"original_max_position_embeddings\": 4096, \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 2], "
		"\"long_factor\": [3, 4]}}");
	assert_int_equal(c.rope[0].type, PT_ROPE_LONG);
	assert_true(fabs(c.rope[0].attention_factor - 1.19023807) < 1e-6 && c.rope[0].ext[1][1] == 4);
	done();
	/* The 40B's files say num_kv_heads, the 7B's may: it counts in the new layout only. */
	read_ok("{\"model_type\": \"falcon\", \"num_kv_heads\": 71}");
	assert_int_equal(c.kv_heads, 1);
	done();
}

static void test_refused(void **state)
{
	(void)state;
	refused("{\"model_type\": \"gpt2\", \"add_cross_attention\": true}", "add_cross_attention");
	refused("{\"model_type\": \"gpt2\", \"activation_function\": \"mish\"}", "activation_function \"mish\"");
	refused("{\"model_type\": \"gpt2\", \"n_head\": 7}", "n_embd 768 is not a multiple of n_head 7");
	refused("{\"model_type\": \"opt\", \"layerdrop\": 0.1}", "layerdrop");
	refused("{\"model_type\": \"opt\", \"enable_bias\": 3}", "enable_bias");
	refused("{\"model_type\": \"gpt_neox\", \"rotary_pct\": 1.5}", "rotary_pct");
	refused("{\"model_type\": \"gpt_neox\", \"use_parallel_residual\": \"yes\"}", "use_parallel_residual");
	refused("{\"model_type\": \"falcon\", \"new_decoder_architecture\": true, \"num_kv_heads\": 8}", "num_kv_heads 8");
	refused("{\"model_type\": \"falcon\", \"num_ln_in_parallel_attn\": 3}", "num_ln_in_parallel_attn");
	refused("{\"model_type\": \"gemma2\", \"use_bidirectional_attention\": true}", "use_bidirectional_attention");
	refused("{\"model_type\": \"gemma2\", \"final_logit_softcapping\": -1}", "final_logit_softcapping");
	refused("{\"model_type\": \"gemma3_text\", \"query_pre_attn_scalar\": 0}", "query_pre_attn_scalar");
	refused("{\"model_type\": \"gemma3_text\", \"num_hidden_layers\": 2, \"layer_types\": [\"full_attention\", \"chunked\"]}",
		"layer_types: \"chunked\"");
	refused("{\"model_type\": \"granite\", \"residual_multiplier\": 0}", "residual_multiplier 0");
	refused("{\"model_type\": \"granite\", \"logits_scaling\": \"8\"}", "logits_scaling");
	refused("{\"model_type\": \"smollm3\", \"no_rope_layers\": [1, 0]}", "no_rope_layers");
	refused("{\"model_type\": \"smollm3\", \"num_hidden_layers\": 1, \"no_rope_layers\": [2]}", "no_rope_layers");
	refused("{\"model_type\": \"phi3\", \"hidden_size\": 32, \"num_attention_heads\": 8, \"rope_scaling\": {\"type\": "
		"\"longrope\", \"short_factor\": [1, 2], \"long_factor\": [1]}}", "long_factor is not a list of 2");
	refused("{\"model_type\": \"phi3\", \"hidden_size\": 32, \"num_attention_heads\": 8, \"rope_scaling\": {\"type\": "
		"\"longrope\", \"short_factor\": [1, 0], \"long_factor\": [1, 1]}}", "short_factor: entry 1");
	refused("{\"model_type\": \"phi\", \"partial_rotary_factor\": 0}", "partial_rotary_factor");
	refused("{\"model_type\": \"bloom\", \"apply_residual_connection_post_layernorm\": 1}",
		"apply_residual_connection_post_layernorm");
}

static const char *lost;

static bool without(const char *name, char *out)
{
	(void)out;
	return strcmp(name, lost) != 0;
}

/* A tensor left out, and a key that asks for another shape. */
static void test_tensors(void **state)
{
	static const struct {
		const char *golden, *lost, *key;
		double v;
		const char *part;
	} cases[] = {
		{ "gpt2", "transformer.h.1.attn.c_attn.bias", "n_inner", 77, "transformer.h.0.mlp.c_fc.weight has the shape [30, 120]" },
		{ "neox", "gpt_neox.layers.0.attention.dense.weight", "intermediate_size", 40, "dense_h_to_4h.weight" },
		{ "opt-post", "model.decoder.project_in.weight", "word_embed_proj_dim", 15, "embed_tokens.weight" },
		{ "bloom", "transformer.word_embeddings_layernorm.bias", "vocab_size", 54, "word_embeddings.weight" },
		{ "falcon-40b", "transformer.h.1.ln_mlp.weight", "num_kv_heads", 3, "query_key_value.weight" },
		{ "phi-norms", "model.layers.1.self_attn.k_layernorm.bias", "num_key_value_heads", 3, "k_proj.weight" },
		{ "phi3", "model.layers.0.mlp.gate_up_proj.weight", "intermediate_size", 40, "gate_up_proj.weight" },
		{ "gemma3", "model.layers.2.post_feedforward_layernorm.weight", "head_dim", 10, "q_proj.weight" },
		{ "qwen3", "model.layers.1.self_attn.q_norm.weight", "head_dim", 6, "q_proj.weight" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct mfix x;

		mfix_golden(&x, cases[i].golden);
		lost = cases[i].lost;
		x.rename = without;
		mfix_try(&x, "ref", PT_DATA, lost);
		mfix_close(&x);
		mfix_release(&x);
		mfix_golden(&x, cases[i].golden);
		cJSON_DeleteItemFromObjectCaseSensitive(x.config, cases[i].key);
		assert_non_null(cJSON_AddNumberToObject(x.config, cases[i].key, cases[i].v));
		mfix_try(&x, "ref", PT_DATA, cases[i].part);
		mfix_close(&x);
		mfix_release(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults), cmocka_unit_test(test_factors), cmocka_unit_test(test_gemma), cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_tensors),
	};

	return cmocka_run_group_tests_name("model_decoders", tests, NULL, NULL);
}
