/* SPDX-License-Identifier: MIT */
/*
 * lora_llama.c - golden values of adapters on decoders with the modules of Llama (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "llama", false, "lora_alpha", "5.9" },
	{ "llama-rich", false, "use_rslora", "false" },
	{ "llama-rich", false, "alpha_pattern", "{}" },
	{ "llama-rich", false, "bias", "\"none\"" },
	{ "llama-rich", false, "bias", "\"lora_only\"" },
	{ "llama-rich", false, "modules_to_save", "null" },
	{ "llama-saved", false, "bias", "\"none\"" },
	{ "llama-saved", false, "modules_to_save", "null" },
	{ "llama-tied", false, "ensure_weight_tying", "false" },
	{ "llama-ends", false, "ensure_weight_tying", "false" },
	{ "llama", true, "lr", "0.016" },
	{ "llama", true, "beta1", "0.81" },
	{ "llama", true, "beta2", "0.949" },
	{ "llama", true, "eps", "1e-8" },
	{ "llama", true, "decay", "0" },
	{ "llama", true, "clip", "0" },
	{ "llama", true, "warmup", "0" },
	{ "llama", true, "warmup", "2" },
	{ "llama", true, "total", "15" },
};

/* No bias correction; decay of everything. */
static void test_left_out(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		struct lfix l;

		lfix_golden(&l, "llama-rich");
		lfix_open(&l, "cpu");
		assert_true(lwalk_moved(&l, k ? 0 : 100000, k) > 10);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* A weight stored [in,out], as Conv1D has it: the same tensors of the adapter, the same logits, and merged. */
static void test_transposed(void **state)
{
	struct pt_site *site;
	struct lfix l;
	bool changed;
	float w[900], t[900], *y;
	struct pt_device *dev;
	void *was;
	size_t n;

	(void)state;
	lfix_golden(&l, "llama");
	lfix_open(&l, "cpu");
	dev = l.x.f.dev;
	site = pt_model_site(l.x.m, "model.layers.1.self_attn.v_proj");
	assert_int_equal(site->in, 30);
	assert_int_equal(site->out, 30);
	was = site->weight->t.data;
	assert_ok(dev->download(dev, w, was, sizeof w, &l.x.f.err), &l.x.f.err);
	for (int i = 0; i < 30; i++) {
		for (int j = 0; j < 30; j++)
			t[j * 30 + i] = w[i * 30 + j];
	}
	site->weight->t.data = fix_put(&l.x.f, t, sizeof t);
	site->transposed = true;
	y = mfix_out(&l.x, &n);
	lwalk_right(&l, "out", golden_result(&l.x.g, "out", y, n, 0));
	free(y);
	assert_ok(pt_adapter_merge(l.a, site->weight, t, &changed, &l.x.f.err), &l.x.f.err);
	assert_true(changed);
	assert_ok(dev->upload(dev, site->weight->t.data, t, sizeof t, &l.x.f.err), &l.x.f.err);
	for (int i = 0; i < l.a->nsites; i++) {
		if (l.a->site[i].site == site)
			l.a->site[i].hook.enabled = false;
	}
	y = mfix_out(&l.x, &n);
	lwalk_right(&l, "out", golden_result(&l.x.g, "out", y, n, 0));
	free(y);
	site->weight->t.data = was;
	site->transposed = false;
	lfix_close(&l);
	lfix_release(&l);
}

/* Two adapters at the same sites add up; each is switched by itself. */
static void test_two(void **state)
{
	float *one, *both, *again;
	struct pt_adapter *b;
	struct lfix l;
	size_t n;

	(void)state;
	lfix_golden(&l, "llama");
	lfix_open(&l, "cpu");
	one = mfix_out(&l.x, &n);
	assert_ok(pt_adapter_open(&b, l.x.m, l.adapter, false, &l.x.f.err), &l.x.f.err);
	both = mfix_out(&l.x, &n);
	assert_true(memcmp(one, both, n * sizeof *one) != 0);
	pt_adapter_enable(l.a, false);
	again = mfix_out(&l.x, &n);
	assert_memory_equal(one, again, n * sizeof *one);
	free(again);
	/* Twice the adapter is the adapter at twice its scale. */
	for (int i = 0; i < b->nsites; i++)
		b->site[i].scale *= 2;
	again = mfix_out(&l.x, &n);
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(again[i] - both[i]) <= 1e-5f * (1 + fabsf(both[i])));
	pt_adapter_close(b);
	free(one);
	free(both);
	free(again);
	lfix_close(&l);
	lfix_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_transposed),
		cmocka_unit_test(test_two),
	};

	lwalk_kin("llama", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_llama", tests, NULL, NULL);
}
