/* SPDX-License-Identifier: MIT */
/*
 * model_moe.c - golden values of decoders with mixtures of experts (golden_walk.h).
 */
#include "golden_walk.h"

static const char *const guarded[] = { "qwen2-moe-norm", "mixtral-class", NULL };

static const struct walk_mutation mutations[] = {
	{ "mixtral", "num_experts_per_tok", "1" },
	{ "mixtral", "rope_theta", "10000" },		/* its default is another */
	{ "mixtral", "rms_norm_eps", "1e-5" },
	{ "mixtral", "hidden_act", "\"gelu\"" },
	{ "mixtral-window", "sliding_window", "null" },
	{ "mixtral-window", "sliding_window", "3" },
	{ "qwen2-moe", "num_experts_per_tok", "2" },
	{ "qwen2-moe", "norm_topk_prob", "true" },
	{ "qwen2-moe", "use_sliding_window", "false" },
	{ "qwen2-moe", "sliding_window", "5" },
	{ "qwen2-moe", "max_window_layers", "0" },
	{ "qwen2-moe", "max_window_layers", "3" },
	{ "qwen2-moe", "layer_types", "[\"full_attention\",\"full_attention\",\"full_attention\"]" },
	{ "qwen2-moe-norm", "norm_topk_prob", "false" },
	{ "qwen2-moe-norm", "layer_types", NULL },
	{ "qwen3-moe", "norm_topk_prob", "false" },
	{ "qwen3-moe", "attention_bias", "false" },
	{ "qwen3-moe-plain", "norm_topk_prob", "true" },
	{ "qwen3-moe-plain", "use_sliding_window", "false" },
	{ "qwen3-moe-plain", "sliding_window", "3" },
};

/* The loss of the routers is felt, by its factor, and is there only where the configuration says so. */
static void test_router_loss(void **state)
{
	static const char *const change[][2] = {
		{ "router_aux_loss_coef", "0.29" }, { "output_router_logits", "false" },
		{ "router_aux_loss_coef", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
		struct mfix x;
		float loss;

		mfix_golden(&x, "mixtral");
		walk_change(x.config, change[i][0], change[i][1]);
		mfix_open(&x, "ref");
		loss = (float)mfix_loss(&x, false);
		assert_true(golden_result(&x.g, "loss", &loss, 1, 0) > 10);
		mfix_close(&x);
		mfix_release(&x);
	}
}

/* Experts as parameters of three dimensions: the same output to the bit, and all of their gradients. */
static void test_packed(void **state)
{
	static const char *const names[] = { "mixtral", "qwen2-moe", "qwen3-moe-plain", "mixtral-bf16" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		float *y[2];
		struct mfix x;
		size_t n;

		for (int packed = 0; packed < 2; packed++) {
			mfix_golden(&x, names[i]);
			x.packed = packed;
			x.type = strstr(names[i], "bf16") != NULL;
			mfix_open(&x, "cpu");
			y[packed] = mfix_out(&x, &n);
			assert_int_equal(!pt_modeldir_find(&x.md, "model.layers.0.mlp.experts.gate_up_proj"), !packed);
			if (packed) {
				mfix_train(&x);
				walk_training(&x);
			}
			mfix_close(&x);
			mfix_release(&x);
		}
		assert_memory_equal(y[0], y[1], n * sizeof *y[0]);
		free(y[0]);
		free(y[1]);
	}
}

/* A parameter of another shape is named. */
static void test_packed_refused(void **state)
{
	struct mfix x;

	(void)state;
	mfix_golden(&x, "mixtral");
	x.packed = true;
	walk_change(x.config, "intermediate_size", "12");
	mfix_try(&x, "ref", PT_DATA, "mlp.experts.gate_up_proj has the shape [5, 26, 24], config.json asks for [5, 24, 24]");
	mfix_close(&x);
	mfix_release(&x);
}

static void refused(const char *name, const char *key, const char *value, const char *part)
{
	struct mfix x;

	mfix_golden(&x, name);
	mfix_write(&x);
	walk_change(x.config, key, value);
	assert_ok(pt_dir_remove(x.dir, &x.f.err), &x.f.err);
	x.dir[0] = '\0';
	mfix_try(&x, "ref", PT_DATA, part);
	mfix_close(&x);
	mfix_release(&x);
}

static void test_refusals(void **state)
{
	(void)state;
	refused("mixtral", "router_jitter_noise", "0.1", "router_jitter_noise 0.1");
	refused("mixtral", "num_experts_per_tok", "6", "num_experts_per_tok 6 is more than num_local_experts 5");
	refused("mixtral", "num_local_experts", "0", "num_local_experts");
	refused("mixtral", "num_local_experts", "4", "block_sparse_moe.gate.weight has the shape");
	refused("mixtral", "num_local_experts", "100000", "num_local_experts");
	refused("mixtral", "router_aux_loss_coef", "-1", "router_aux_loss_coef");
	refused("qwen2-moe", "mlp_only_layers", "[]", "mlp.gate.weight");
	refused("qwen2-moe", "mlp_only_layers", "[\"a\"]", "mlp_only_layers");
	refused("qwen2-moe", "mlp_only_layers", "2", "mlp_only_layers");
	refused("qwen2-moe", "decoder_sparse_step", "0", "decoder_sparse_step");
	refused("qwen2-moe", "layer_types", "[\"full_attention\"]", "layer_types");
	refused("qwen2-moe", "layer_types", "[\"full_attention\",\"x\",\"full_attention\"]", "layer_types: \"x\"");
	refused("qwen2-moe", "moe_intermediate_size", "12", "experts.0.gate_proj.weight has the shape");
	refused("qwen2-moe", "shared_expert_intermediate_size", "16", "shared_expert.gate_proj.weight has the shape");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_router_loss),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_packed_refused),
		cmocka_unit_test(test_refusals),
	};

	walk_kin("moe", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
