/* SPDX-License-Identifier: MIT */
/*
 * lora_virtual.c - golden values of methods with virtual tokens (lora_walk.h),
 * their merging refused, and generation with a cache behind them.
 */
#include "lora_walk.h"

static const struct lwalk_mutation mutations[] = {
	{ "prompt", true, "decay", "0" },
	{ "prompt", true, "lr", "0.29" },
	{ "prefix-projection", true, "decay", "0" },
	{ "ptuning-lstm", true, "decay", "0" },
};

/* Of the first sequence n tokens from there on, behind what the cache holds; *k logits. */
static float *piece(struct lfix *l, int from, int n, struct pt_kvcache *cache, size_t *k)
{
	const int32_t *ids = (const int32_t *)mfix_in(&l->x, "in.ids")->data + from;

	fix_rows(&l->x.f, &l->x.f.rows_k, &n, 1, 0);
	l->x.in = (struct pt_input){ .rows = l->x.f.rows_k, .host_ids = ids, .cache = cache };
	l->x.in.ids = fix_put(&l->x.f, ids, (size_t)n * sizeof *ids);
	return mfix_out(&l->x, k);
}

/* With a cache, in pieces, the logits are those of the whole; virtual tokens come once. */
static void test_cache(void **state)
{
	static const char *const names[] = { "prompt", "prompt-gpt2", "prefix", "prefix-bloom", "ptuning" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		int positions, rows, len;
		struct pt_kvcache *cache;
		float *whole, *got;
		size_t n, k;
		struct lfix l;

		lfix_golden(&l, names[i]);
		lfix_open(&l, "cpu");
		pt_model_front(l.x.m, true, &positions, &rows);
		assert_true(positions > 0);
		len = l.x.in.rows.host_cu[1];
		whole = piece(&l, 0, len, NULL, &n);
		assert_int_equal(n, (size_t)(rows + len) * (size_t)l.x.m->cfg.vocab);
		assert_ok(pt_kvcache_new(&cache, l.x.m, PT_F32, rows + len, &l.x.f.err), &l.x.f.err);
		for (int at = 0, step = 2; at < len; at += step, step = 1) {
			double diff = 0;

			got = piece(&l, at, step, cache, &k);
			assert_int_equal(pt_kvcache_len(cache), rows + at + step);
			for (size_t j = 1; j <= (size_t)l.x.m->cfg.vocab; j++)
				diff = fmax(diff, fabs(got[k - j] - whole[n - (size_t)(len - at - step) * (size_t)l.x.m->cfg.vocab - j]));
			assert_true(diff < 1e-5);
			free(got);
		}
		pt_kvcache_free(cache);
		free(whole);
		lfix_close(&l);
		lfix_release(&l);
	}
}

static int first_two(void *arg, const char *text, int32_t **ids, size_t *n, struct pt_error *err)
{
	assert_string_equal(text, "words");
	*n = 2;
	*ids = pt_malloc(2, sizeof **ids, err);
	memcpy(*ids, arg, 2 * sizeof **ids);
	return 0;
}

/* A prefix by a text is that text: the rest has the logits that it has behind it. */
static void test_text(void **state)
{
	static const char *const names[] = { "prefix", "prefix-gpt2", "prefix-bloom" };
	static const char keys[] = "{\"peft_type\":\"PREFIX_TUNING\",\"num_virtual_tokens\":2,\"init_weights\":\"text\","
				   "\"init_text\":\"words\"}";

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct pt_tokenize tokenize = { first_two, NULL };
		struct pt_sources from = { .tokenize = &tokenize };
		double diff = 0, top = 0;
		float *whole, *rest;
		struct lfix l;
		size_t n, k;
		cJSON *config;
		int len;

		lfix_golden(&l, names[i]);
		mfix_open(&l.x, "cpu");
		len = l.x.in.rows.host_cu[1];
		tokenize.arg = (void *)(uintptr_t)mfix_in(&l.x, "in.ids")->data;
		whole = piece(&l, 0, len, NULL, &n);
		config = pt_json_parse(keys, sizeof keys - 1, 0, "config", &l.x.f.err);
		assert_ok(pt_adapter_new(&l.a, l.x.m, config, 1, &from, &l.x.f.err), &l.x.f.err);
		rest = piece(&l, 2, len - 2, NULL, &k);
		assert_int_equal(n - k, 2 * l.x.m->cfg.vocab);
		for (size_t j = 0; j < k; j++) {
			diff = fmax(diff, fabs(rest[j] - whole[n - k + j]));
			top = fmax(top, fabs(rest[j]));
		}
		assert_true(diff < 2e-6 * top);
		free(whole);
		free(rest);
		pt_adapter_close(l.a);
		mfix_close(&l.x);
		lfix_release(&l);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS, cmocka_unit_test(test_cache), cmocka_unit_test(test_text),
	};

	lwalk_kin("virtual", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("lora_virtual", tests, NULL, NULL);
}
