/* SPDX-License-Identifier: MIT */
/*
 * model_switches.c - each switch of struct pt_config that acts while a model
 * runs, turned after the model was opened, moves a result by ten times what
 * the golden files allow; those that choose what is loaded (biases, ties,
 * fused and transposed projections, absent parts, experts) are keys of the
 * mutations of model_*.c, and the dropouts are model_drop.c's.
 */
#include <stddef.h>

#include "golden_walk.h"

#include "model/body.h"

enum kind { INT, FLOAT, DOUBLE, BOOL };

#define OF(member) offsetof(struct pt_config, member)
#define LAYER(member) offsetof(struct pt_layer_config, member)

static const struct turn {
	const char *name, *golden;
	size_t at;
	enum kind kind;
	double v;
} config_turns[] = {
	{ "form", "bert-class", OF(form), INT, PT_BLOCK_PRE },
	{ "norm", "llama2", OF(norm), INT, PT_NORM_LAYER },
	{ "normed_residual", "bloom", OF(normed_residual), BOOL, 1 },
	{ "eps", "llama2", OF(eps), FLOAT, 1e-6 },
	{ "eps", "distil-class", OF(eps), FLOAT, 1e-3 },
	{ "pos_offset", "opt", OF(pos_offset), INT, 1 },
	{ "pos_offset", "roberta-class", OF(pos_offset), INT, 1 },
	{ "rope.theta", "llama2", OF(rope[0].theta), DOUBLE, 9000 },
	{ "rope.theta of sliding layers", "gemma3", OF(rope[1].theta), DOUBLE, 50 },
	{ "rope.dims", "neox", OF(rope[0].dims), INT, 6 },
	{ "rope.attention_factor", "yarn", OF(rope[0].attention_factor), DOUBLE, 1 },
	{ "rope.original", "llama-long", OF(rope[0].original), INT, 17 },
	{ "max_distance", "t5", OF(max_distance), INT, 9 },
	{ "key_slopes", "falcon-rw", OF(key_slopes), BOOL, 0 },
	{ "qkv", "neox", OF(qkv), INT, PT_QKV_ROWS },
	{ "qkv", "gpt2", OF(qkv), INT, PT_QKV_GROUPS },
	{ "act", "llama2", OF(act), INT, PT_ACT_GELU },
	{ "act", "distil-class", OF(act), INT, PT_ACT_GELU_TANH },
	{ "act of a head", "distil-mlm", OF(act), INT, PT_ACT_GELU_TANH },
	{ "expert_choices", "mixtral-window", OF(expert_choices), INT, 1 },
	{ "expert_renorm", "mixtral-window", OF(expert_renorm), BOOL, 0 },
	{ "attn_softcap", "gemma2", OF(attn_softcap), FLOAT, 0 },
	{ "final_softcap", "gemma2", OF(final_softcap), FLOAT, 0 },
	{ "input_scale", "granite", OF(input_scale), FLOAT, 1 },
	{ "residual_scale", "granite", OF(residual_scale), FLOAT, 1 },
	{ "logit_scale", "t5", OF(logit_scale), FLOAT, 1 },
	{ "decoder_start", "t5-class", OF(decoder_start), INT, 4 },
	{ "pad", "llama-class", OF(pad), INT, -1 },
}, layer_turns[] = {	/* of the first layer of the last stack */
	{ "window", "mistral", LAYER(window), INT, 0 },
	{ "rope", "smollm3", LAYER(rope), INT, -1 },
	{ "rope", "gemma3", LAYER(rope), INT, 0 },
	{ "scale", "gpt2", LAYER(scale), FLOAT, 1 },
	{ "scale", "t5", LAYER(scale), FLOAT, 0.5 },
};

static void turn(void *base, const struct turn *t)
{
	char *at = (char *)base + t->at;

	if (t->kind == INT)
		*(int *)(void *)at = (int)t->v;
	else if (t->kind == FLOAT)
		*(float *)(void *)at = (float)t->v;
	else if (t->kind == DOUBLE)
		*(double *)(void *)at = t->v;
	else
		*(bool *)(void *)at = t->v != 0;
}

/* How far the output is from the golden one, as a share of what is allowed. */
static double share(struct mfix *x)
{
	size_t n;
	float *y = mfix_out(x, &n);
	double s = golden_result(&x->g, "out", y, n, 0);

	free(y);
	return s;
}

static int unfelt(struct mfix *x, const char *name)
{
	double s = share(x);

	if (s >= 10)
		return 0;
	print_message("# %s: %s is not felt: %.3g of what is allowed\n", x->g.name, name, s);
	return 1;
}

static void test_config(void **state)
{
	int n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof config_turns / sizeof config_turns[0]; i++) {
		struct mfix x;

		mfix_golden(&x, config_turns[i].golden);
		mfix_open(&x, "ref");
		turn(&x.m->cfg, &config_turns[i]);
		n += unfelt(&x, config_turns[i].name);
		mfix_close(&x);
		mfix_release(&x);
	}
	assert_int_equal(n, 0);
}

static void test_layers(void **state)
{
	int n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof layer_turns / sizeof layer_turns[0]; i++) {
		struct mfix x;

		mfix_golden(&x, layer_turns[i].golden);
		mfix_open(&x, "ref");
		turn(x.m->cfg.stack[x.m->cfg.nstacks - 1].layer, &layer_turns[i]);
		n += unfelt(&x, layer_turns[i].name);
		mfix_close(&x);
		mfix_release(&x);
	}
	assert_int_equal(n, 0);
}

/* Switches of stacks, sites and heads. */
static void test_parts(void **state)
{
	static const char *const names[] = { "llama2", "bert-class", "t5", "gemma", "roberta-class", "bert-sets" };
	int n = 0;

	(void)state;
	for (int i = 0; i < 6; i++) {
		struct pt_head head;
		struct mfix x;

		mfix_golden(&x, names[i]);
		mfix_open(&x, "ref");
		if (i < 3) {
			x.m->cfg.stack[0].causal = !x.m->cfg.stack[0].causal;
		} else if (i == 3) {
			x.m->body->stack[0].part[PT_ROLE_EMBED]->embed_scale = 1;
		} else if (i == 4) {
			head = *x.m->body->head;
			head.act = PT_ACT_RELU;
			x.m->body->head = &head;
		} else {
			x.m->body->pool = PT_POOL_FIRST;
		}
		n += unfelt(&x, i < 3 ? "causal" : i == 3 ? "embed_scale" : i == 4 ? "act of a head" : "pool");
		mfix_close(&x);
		mfix_release(&x);
	}
	assert_int_equal(n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_parts),
	};

	return cmocka_run_group_tests_name("model_switches", tests, NULL, NULL);
}
