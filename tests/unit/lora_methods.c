/* SPDX-License-Identifier: MIT */
/*
 * lora_methods.c - golden values of the methods other than LoRA (lora_walk.h), and
 * what DoRA's own operations and (IA)3's merging do where the goldens do not come.
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "dora", false, "lora_alpha", "5.9" },
	{ "dora-rich", false, "use_rslora", "false" },
	{ "dora-rich", false, "alpha_pattern", "{}" },
	{ "dora-rich", false, "bias", "\"lora_only\"" },
	{ "dora-rich", false, "modules_to_save", "null" },
	{ "ia3-rich", false, "modules_to_save", "null" },
	{ "loraplus", true, "loraplus", "2.9" },
	{ "loraplus", true, "loraplus_embedding", "0.049" },
	{ "lorafa", false, "lora_alpha", "3.9" },
	{ "lorafa", true, "beta2", "0.949" },
	{ "bitfit", false, "bias", "\"lora_only\"" },
	{ "ln-bert", true, "decay", "0" },
};

/* A weight stored [in,out], as Conv1D has it: the same tensors of the adapter, the same logits, and merged. */
static void transposed(const char *name, const char *path)
{
	struct pt_device *dev;
	struct pt_site *site;
	struct lfix l;
	bool changed;
	float *w, *t, *y;
	const void *host;
	void *placed, *there;
	size_t n, bytes;

	lfix_golden(&l, name);
	l.x.o.head_may_lack = true;
	mfix_open(&l.x, "cpu");
	lfix_write(&l);
	site = pt_model_site(l.x.m, path);
	dev = l.x.f.dev;
	placed = site->weight->t.data;
	host = site->weight->host;
	w = fix_read(&l.x.f, &site->weight->t);
	bytes = (size_t)(site->in * site->out) * sizeof *t;
	t = malloc(bytes);
	assert_ok(dev->alloc(dev, bytes, &there, &l.x.f.err), &l.x.f.err);
	for (int64_t i = 0; i < site->out; i++) {
		for (int64_t j = 0; j < site->in; j++)
			t[j * site->out + i] = w[i * site->in + j];
	}
	assert_ok(dev->upload(dev, there, t, bytes, &l.x.f.err), &l.x.f.err);
	site->weight->t.data = there;
	site->weight->host = NULL;
	site->weight->t.shape[0] = site->in;
	site->weight->t.shape[1] = site->out;
	site->transposed = true;
	assert_ok(pt_adapter_open(&l.a, l.x.m, l.adapter, true, &l.x.f.err), &l.x.f.err);
	y = mfix_out(&l.x, &n);
	lwalk_right(&l, "out", golden_result(&l.x.g, "out", y, n, 0));
	free(y);
	assert_ok(pt_adapter_merge(l.a, site->weight, t, &changed, &l.x.f.err), &l.x.f.err);
	assert_true(changed);
	assert_ok(dev->upload(dev, there, t, bytes, &l.x.f.err), &l.x.f.err);
	for (int i = 0; i < l.a->nsites; i++) {
		if (l.a->site[i].site == site)
			l.a->site[i].hook.enabled = false;
	}
	y = mfix_out(&l.x, &n);
	lwalk_right(&l, "out", golden_result(&l.x.g, "out", y, n, 0) / 2);
	free(y);
	site->weight->t.data = placed;
	site->weight->host = host;
	dev->free(dev, there, bytes);
	free(w);
	free(t);
	pt_adapter_close(l.a);
	mfix_close(&l.x);
	lfix_release(&l);
}

static void test_transposed(void **state)
{
	(void)state;
	transposed("dora", "model.layers.1.self_attn.v_proj");
	transposed("ia3", "model.layers.0.self_attn.v_proj");
	transposed("ia3", "model.layers.1.mlp.down_proj");
}

/* The norms follow the values: set, and after an update; a device that only plans leaves them. */
static void test_norms(void **state)
{
	struct lfix l;
	float *one, *two, *b;
	struct pt_param *p;
	size_t n;

	(void)state;
	lfix_golden(&l, "dora");
	lfix_open(&l, "cpu");
	one = mfix_out(&l.x, &n);
	p = l.a->site[0].param[1];
	b = fix_read(&l.x.f, &p->t);
	for (int64_t i = 0; i < pt_tensor_count(&p->t); i++)
		b[i] *= 3;
	assert_ok(pt_adapter_set(l.a, p, b, &l.x.f.err), &l.x.f.err);
	two = mfix_out(&l.x, &n);
	free(one);
	/* The same values from the start. */
	pt_adapter_close(l.a);
	assert_ok(pt_adapter_open(&l.a, l.x.m, l.adapter, true, &l.x.f.err), &l.x.f.err);
	assert_ok(pt_adapter_set(l.a, l.a->site[0].param[1], b, &l.x.f.err), &l.x.f.err);
	one = mfix_out(&l.x, &n);
	assert_memory_equal(one, two, n * sizeof *one);
	l.x.f.params = l.a->params;
	free(one);
	free(two);
	free(b);
	lfix_close(&l);
	lfix_release(&l);
}

/*
 * With dropout the base's part of DoRA's difference has a formula of its own:
 * with as good as none it gives the same loss and gradients.
 */
static void test_dropped(void **state)
{
	static const char *const names[] = { "dora", "dora-bert" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct lfix l;
		float loss;

		lfix_golden(&l, names[i]);
		lwalk_change(l.config, "lora_dropout", "1e-12");
		if (i) {
			lwalk_change(l.x.config, "hidden_dropout_prob", "0");
			lwalk_change(l.x.config, "attention_probs_dropout_prob", "0");
		}
		lfix_open(&l, "cpu");
		l.x.f.run.train = true;
		loss = (float)mfix_loss(&l.x, true);
		lwalk_right(&l, "loss", golden_result(&l.x.g, "loss", &loss, 1, 0));
		lwalk_right(&l, "a gradient", lwalk_tensors(&l, false) / 2);
		lfix_close(&l);
		lfix_release(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
		cmocka_unit_test(test_transposed),
		cmocka_unit_test(test_norms),
		cmocka_unit_test(test_dropped),
	};

	lwalk_kin("methods", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_methods", tests, NULL, NULL);
}
