/* SPDX-License-Identifier: MIT */
/*
 * lora_hub.c - golden values of what AdapterHub's library has beside single
 * bottlenecks: stacks, invertible adapters, heads of its own (lora_walk.h).
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "bn-bert-stack", false, "original_ln_before", "false" },
	{ "bn-bert-stack", false, "residual_before_ln", "false" },
	{ "bn-llama-stack", false, "original_ln_before", "false" },
	{ "bn-llama-inv", false, "non_linearity", "\"relu\"" },
	{ "bn-qwen2-inv", false, "non_linearity", "\"relu\"" },
	{ "bn-t5-inv", false, "non_linearity", "\"relu\"" },
};

/* What is below counts, in its order. */
static void order(void **state)
{
	struct lfix l;
	char first[230];
	float *y;
	size_t n;

	(void)state;
	lfix_golden(&l, "bn-bert-stack");
	lfix_open(&l, "cpu");
	lfix_close(&l);
	memcpy(first, l.below[0], sizeof first);
	memcpy(l.below[0], l.below[1], sizeof first);
	memcpy(l.below[1], first, sizeof first);
	lfix_open(&l, "cpu");
	y = mfix_out(&l.x, &n);
	assert_true(golden_result(&l.x.g, "out", y, n, 0) > 10);
	free(y);
	lfix_close(&l);
	l.nbelow = 1;
	lfix_open(&l, "cpu");
	y = mfix_out(&l.x, &n);
	assert_true(golden_result(&l.x.g, "out", y, n, 0) > 10);
	free(y);
	lfix_close(&l);
	lfix_release(&l);
}

/* The inverse takes out what the coupling does. */
static void inverse(void **state)
{
	struct lfix l;
	struct pt_hook *there = NULL, *back = NULL;
	struct pt_run *run = &l.x.f.run;
	struct pt_tensor *x, *y;
	float *a, *b;

	(void)state;
	lfix_golden(&l, "bn-qwen2-inv");
	lfix_open(&l, "cpu");
	for (int i = 0; i < l.a->nsites; i++) {
		struct pt_adapter_site *s = &l.a->site[i];

		if (s->site->kind == PT_SITE_STREAM)
			*(s->site->stack < 0 ? &back : &there) = &s->hook;
	}
	assert_true(there && back);
	pt_run_reset(run);
	x = pt_model_hidden(run, l.x.m, &l.x.in);
	y = x ? there->ops->pass(run, there, x) : NULL;
	y = y ? back->ops->pass(run, back, y) : NULL;
	assert_ok(pt_run_check(run, &l.x.f.err), &l.x.f.err);
	a = fix_read(&l.x.f, x);
	b = fix_read(&l.x.f, y);
	for (int64_t i = 0; i < pt_tensor_count(x); i++)
		assert_true(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(a[i])));
	free(a);
	free(b);
	lfix_close(&l);
	lfix_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lwalk_test_cases),
		cmocka_unit_test(lwalk_test_mutations),
		cmocka_unit_test(lwalk_test_switch),
		cmocka_unit_test(order),
		cmocka_unit_test(inverse),
	};

	lwalk_kin("hub", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_hub", tests, NULL, NULL);
}
