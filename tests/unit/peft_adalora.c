/* SPDX-License-Identifier: MIT */
/*
 * peft_adalora.c - AdaLoRA beyond the golden cases: the schedule, equal ranks,
 * what files hold after pruning, modules that lose all, and a directory of
 * PEFT that trains on.
 */
#include "peft_fix.h"

#include "peft/adalora.h"

static const char config[] = "{\"peft_type\":\"ADALORA\",\"init_r\":4,\"target_r\":2,\"total_step\":6,\"tinit\":1,"
			     "\"tfinal\":1,\"lora_alpha\":8}";
static const char equal[] = "{\"peft_type\":\"ADALORA\",\"init_r\":3,\"target_r\":3,\"total_step\":4}";

static void test_budget(void **state)
{
	const struct pt_adalora l = { .init_r = 12, .target_r = 8, .tinit = 2, .tfinal = 3, .delta = 3, .total = 20 };
	bool prunes;

	(void)state;
	assert_int_equal(pt_adalora_budget(&l, 4, 1, &prunes), 48);
	assert_int_equal(pt_adalora_budget(&l, 4, 2, &prunes), 48);
	assert_false(prunes);
	/* int(16 * 0.8^3 + 32), int(16 * 0.6^3 + 32) */
	assert_int_equal(pt_adalora_budget(&l, 4, 5, &prunes), 40);
	assert_false(prunes);
	assert_int_equal(pt_adalora_budget(&l, 4, 8, &prunes), 35);
	pt_adalora_budget(&l, 4, 9, &prunes);
	assert_true(prunes);
	for (int64_t t = 17; t < 22; t++) {
		assert_int_equal(pt_adalora_budget(&l, 4, t, &prunes), 32);
		assert_true(prunes);
	}
}

/* Gradients by name and step; none at the sites whose number is in the set. */
static void put_gradients(struct pt_adapter *a, int step, unsigned still)
{
	for (int i = 0; i < a->nsites; i++) {
		for (int k = 0; k < a->site[i].nparams; k++) {
			struct pt_param *p = a->site[i].param[k];
			size_t n = (size_t)pt_tensor_count(&p->t);
			float *v = calloc(n, sizeof *v);

			if (!(still >> i & 1))
				pt_rng_normal(pt_rng_mix_str((uint64_t)step, p->name), v, n, 0, 1);
			assert_ok(dev->upload(dev, p->t.grad, v, n * sizeof *v, &err), &err);
			free(v);
		}
	}
}

static void steps(struct pt_adapter *a, int from, int to, unsigned still)
{
	for (int t = from; t <= to; t++) {
		put_gradients(a, t, still);
		assert_ok(pt_adapter_after_step(a, &(struct pt_method_step){ t, 6, 0.5f }, &err), &err);
	}
}

/* Components that are left: all, and of one site. The others act no more. */
static int left(struct pt_adapter *a, int site)
{
	float e[8], mask[8];
	int n = 0;

	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adalora_site *x = a->site[i].state;

		assert_ok(pt_adapter_get(a, a->site[i].param[PT_ADALORA_E], e, &err), &err);
		assert_ok(pt_adapter_get(a, x->mask, mask, &err), &err);
		for (int k = 0; k < a->site[i].rank && (site < 0 || site == i); k++) {
			n += mask[k] != 0;
			assert_true(mask[k] != 0 || e[k] == 0);
		}
	}
	return n;
}

static void test_equal(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, equal);
	char *d = sub("equal"), *file;
	cJSON *c;

	(void)state;
	fill_params(a);
	assert_ok(pt_adapter_begin(a, 4, &err), &err);
	steps(a, 1, 4, 0);
	assert_int_equal(left(a, -1), 3 * a->nsites);
	assert_ok(pt_adapter_save(a, d, PT_SAVE_ALL, &err), &err);
	file = pt_path_join(d, "adapter_config.json", &err);
	assert_non_null(c = pt_json_read(file, 0, &err));
	assert_null(pt_json_get(c, "rank_pattern"));
	pt_json_free(c);
	free(file);
	free(d);
	pt_adapter_close(a);
	pt_model_close(m);
}

/* Bytes of a file. */
static struct pt_buf bytes_of(const char *d, const char *name)
{
	struct pt_buf b = PT_BUF_INIT;
	char *path = pt_path_join(d, name, &err);

	assert_ok(pt_file_read(path, 1 << 20, &b, &err), &err);
	free(path);
	return b;
}

static void same_file(const char *a, const char *b, const char *name, bool same)
{
	struct pt_buf x = bytes_of(a, name), y = bytes_of(b, name);

	assert_int_equal(x.len == y.len && !memcmp(x.data, y.data, x.len), same);
	pt_buf_release(&x);
	pt_buf_release(&y);
}

static float *merged(struct pt_adapter *a, int site)
{
	const struct pt_weight *w = a->site[site].site->weight;
	float *v = malloc((size_t)pt_tensor_count(&w->t) * sizeof *v);
	bool changed;

	assert_ok(dev->download(dev, v, w->t.data, (size_t)pt_tensor_count(&w->t) * sizeof *v, &err), &err);
	assert_ok(pt_adapter_merge(a, w, v, &changed, &err), &err);
	return v;
}

static void test_pruned(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, config), *b;
	char *whole = sub("whole"), *peft = sub("peft"), *again = sub("again"), *file;
	size_t n;

	(void)state;
	fill_params(a);
	assert_ok(pt_adapter_begin(a, 6, &err), &err);
	steps(a, 1, 6, 1u << 2);
	assert_int_equal(left(a, -1), 2 * a->nsites);
	assert_int_equal(left(a, 2), 0);
	assert_ok(pt_adapter_save(a, whole, PT_SAVE_ALL, &err), &err);
	assert_ok(pt_adapter_save(a, peft, PT_SAVE_ALL, &err), &err);
	file = pt_path_join(peft, "peft_state.safetensors", &err);
	assert_int_equal(unlink(file), 0);
	free(file);
	/* With its state it is as it was; without, what is left is the same function. */
	assert_ok(pt_adapter_open(&b, m, whole, true, &err), &err);
	assert_ok(pt_adapter_save(b, again, PT_SAVE_ALL, &err), &err);
	same_file(whole, again, "adapter_model.safetensors", true);
	same_file(whole, again, "peft_state.safetensors", true);
	same_file(whole, again, "adapter_config.json", true);
	pt_adapter_close(b);
	for (int trainable = 0; trainable < 2; trainable++) {
		assert_ok(pt_adapter_open(&b, m, peft, trainable, &err), &err);
		for (int i = 0; i < a->nsites; i++) {
			float *x = merged(a, i), *y = merged(b, i);

			n = (size_t)pt_tensor_count(&a->site[i].site->weight->t);
			for (size_t k = 0; k < n; k++)
				assert_true(fabsf(x[k] - y[k]) <= 1e-6f * (1 + fabsf(x[k])));
			free(x);
			free(y);
		}
		assert_ok(pt_adapter_save(b, again, PT_SAVE_ALL, &err), &err);
		same_file(whole, again, "adapter_model.safetensors", true);
		same_file(whole, again, "adapter_config.json", true);
		pt_adapter_close(b);
	}
	/* It trains on; what PEFT dropped stays away. */
	assert_ok(pt_adapter_open(&b, m, peft, true, &err), &err);
	assert_ok(pt_adapter_begin(b, 6, &err), &err);
	steps(b, 1, 6, 1u << 2);
	assert_int_equal(left(b, -1), 2 * b->nsites);
	assert_int_equal(left(b, 2), 0);
	pt_adapter_close(b);
	pt_adapter_close(a);
	pt_model_close(m);
	free(whole);
	free(peft);
	free(again);
}

/* Taken up from what was saved between two steps, the end is the same. */
static void test_resumed(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, config), *b;
	char *half = sub("half"), *one = sub("one"), *two = sub("two");

	(void)state;
	fill_params(a);
	assert_ok(pt_adapter_begin(a, 6, &err), &err);
	steps(a, 1, 3, 0);
	assert_ok(pt_adapter_save(a, half, PT_SAVE_ALL, &err), &err);
	steps(a, 4, 6, 0);
	assert_ok(pt_adapter_save(a, one, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	assert_ok(pt_adapter_open(&b, m, half, true, &err), &err);
	assert_ok(pt_adapter_begin(b, 6, &err), &err);
	steps(b, 4, 6, 0);
	assert_ok(pt_adapter_save(b, two, PT_SAVE_ALL, &err), &err);
	same_file(one, two, "adapter_model.safetensors", true);
	same_file(one, two, "peft_state.safetensors", true);
	same_file(one, half, "peft_state.safetensors", false);
	pt_adapter_close(b);
	pt_model_close(m);
	free(half);
	free(one);
	free(two);
}

/* The loss of parameters: near nothing where rows and columns are orthonormal, and none without a weight. */
static void test_loss(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_run run;

	(void)state;
	assert_ok(pt_run_init(&run, dev, 1 << 20, &err), &err);
	for (int k = 0; k < 2; k++) {
		struct pt_adapter *a = make(m, k ? "{\"peft_type\":\"ADALORA\",\"orth_reg_weight\":0}" : config);
		struct pt_tensor *t = pt_adapter_loss(&run, a);
		float v = 1;

		assert_ok(pt_run_check(&run, &err), &err);
		assert_int_equal(t != NULL, !k);
		if (t)
			assert_ok(pt_tensor_read(&run, t, &v, &err), &err);
		/* Small values: half of || -I || of four components, nearly. */
		assert_true(k || fabsf(v - 1) < 0.02f);
		pt_adapter_close(a);
	}
	pt_run_release(&run);
	pt_model_close(m);
}

static void test_refused(void **state)
{
	static const struct {
		const char *config, *says;
	} c[] = {
		{ "{\"peft_type\":\"ADALORA\",\"init_r\":4,\"target_r\":5}", "target_r 5 is above init_r 4" },
		{ "{\"peft_type\":\"ADALORA\",\"total_step\":9,\"tinit\":5,\"tfinal\":4}", "leave no step of 9 for pruning" },
		{ "{\"peft_type\":\"ADALORA\",\"orth_reg_weight\":-1}", "orth_reg_weight -1 is negative" },
		{ "{\"peft_type\":\"ADALORA\",\"beta1\":1}", "not both in (0, 1)" },
		{ "{\"peft_type\":\"ADALORA\",\"use_rslora\":true}", "use_rslora does not go with adalora" },
		{ "{\"peft_type\":\"ADALORA\",\"use_dora\":true}", "use_dora does not go with adalora" },
		{ "{\"peft_type\":\"ADALORA\",\"rank_pattern\":{}}", "rank_pattern is a result" },
		{ "{\"peft_type\":\"ADALORA\",\"init_lora_weights\":\"gaussian\"}", "true or false" },
		{ "{\"peft_type\":\"ADALORA\",\"target_modules\":[\"embed_tokens\"]}", "cannot act on it" },
	};
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a;

	(void)state;
	for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
		assert_fails(pt_adapter_new(&a, m, parse(c[i].config), 1, NULL, &err), PT_USAGE, c[i].says, &err);
		err = (struct pt_error)PT_ERROR_INIT;
	}
	a = make(m, "{\"peft_type\":\"ADALORA\",\"tfinal\":5}");
	assert_fails(pt_adapter_begin(a, 0, &err), PT_USAGE, "--steps N", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	assert_fails(pt_adapter_begin(a, 5, &err), PT_USAGE, "leave no step of 5", &err);
	pt_adapter_close(a);
	pt_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget), T(test_equal), T(test_pruned), T(test_resumed), T(test_loss), T(test_refused),
	};

	return cmocka_run_group_tests_name("peft_adalora", tests, start, stop);
}
