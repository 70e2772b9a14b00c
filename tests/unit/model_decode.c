/* SPDX-License-Identifier: MIT */
/*
 * model_decode.c - decoding with a cache of keys and values gives what the
 * whole sequence gives, however it is cut; and what a cache refuses.
 */
#include "model_fix.h"

static const char *const devices[] = { "ref", "cpu", NULL };

/* The longest sequence of the case alone. */
static const int32_t *longest(struct mfix *x, int *n)
{
	const int32_t *cu = mfix_in(x, "in.cu")->data, *ids = mfix_in(x, "in.ids")->data, *best = ids;

	*n = 0;
	for (int b = 0; b < x->in.rows.batch; b++) {
		if (cu[b + 1] - cu[b] > *n) {
			*n = cu[b + 1] - cu[b];
			best = ids + cu[b];
		}
	}
	return best;
}

/* The next n ids as one sequence that stands at position first, of a text of so many. */
static void feed(struct mfix *x, const int32_t *ids, int first, int n, int reach, struct pt_kvcache *cache)
{
	int32_t *pos = malloc((size_t)n * sizeof *pos);

	fix_rows(&x->f, &x->f.rows, &n, 1, 0);
	for (int i = 0; i < n; i++)
		pos[i] = first + i;
	x->f.rows.pos = fix_put(&x->f, pos, (size_t)n * sizeof *pos);
	x->in = (struct pt_input){ .rows = x->f.rows, .host_ids = ids + first, .cache = cache, .reach = reach };
	x->in.ids = fix_put(&x->f, ids + first, (size_t)n * sizeof *ids);
	free(pos);
}

/* Memory of feed() beyond mark. */
static void forget(struct mfix *x, int mem, int host)
{
	while (x->f.nmem > mem) {
		x->f.nmem--;
		x->f.dev->free(x->f.dev, x->f.mem[x->f.nmem], x->f.mem_size[x->f.nmem]);
	}
	while (x->f.nhost > host)
		free(x->f.host[--x->f.nhost]);
}

static void decode(const char *name, const char *device, int prefill, int piece)
{
	struct pt_kvcache *cache;
	struct mfix x;
	const int32_t *ids;
	float *want, *got;
	size_t n, k;
	double diff = 0, top = 0;
	int len, mem, host;

	mfix_golden(&x, name);
	mfix_open(&x, device);
	ids = longest(&x, &len);
	mem = x.f.nmem;
	host = x.f.nhost;
	feed(&x, ids, 0, len, 0, NULL);
	want = mfix_out(&x, &n);
	forget(&x, mem, host);
	for (size_t i = 0; i < n; i++)
		top = fmax(top, fabs(want[i]));
	assert_ok(pt_kvcache_new(&cache, x.m, x.f.run.act_type, len, &x.f.err), &x.f.err);
	for (int round = 0; round < 2; round++) {
		for (int at = 0, step; at < len; at += step) {
			step = at ? piece : prefill;
			step = step < len - at ? step : len - at;
			assert_int_equal(pt_kvcache_len(cache), at);
			feed(&x, ids, at, step, len, cache);
			got = mfix_out(&x, &k);
			assert_int_equal(k / (size_t)step, n / (size_t)len);
			for (size_t i = 0; i < k; i++)
				diff = fmax(diff, fabs(got[i] - want[(size_t)at * (k / (size_t)step) + i]));
			free(got);
			forget(&x, mem, host);
		}
		pt_kvcache_reset(cache);
	}
	if (!(diff <= 2e-6 * top))
		fail_msg("%s on %s, %d then %d: off by %.3g of %.3g", name, device, prefill, piece, diff, top);
	pt_kvcache_free(cache);
	free(want);
	mfix_close(&x);
	mfix_release(&x);
}

/* All language models of a kin that decode. Where a rotation changes with the length it goes by the whole text's. */
static void equal_kin(const char *kin)
{
	int n;
	char **name = golden_names("models", kin, &n);

	for (int i = 0; i < n; i++) {
		struct mfix x;
		bool lm;

		mfix_golden(&x, name[i]);
		lm = !strcmp(mfix_about(&x, "task"), "lm");
		mfix_release(&x);
		for (int d = 0; lm && devices[d]; d++) {
			decode(name[i], devices[d], 3, 1);
			decode(name[i], devices[d], 1, 1);
			decode(name[i], devices[d], 7, 5);
		}
	}
	golden_names_free(name, n);
}

static void test_equal(void **state)
{
	(void)state;
	equal_kin("llama");
	equal_kin("gemma");
	equal_kin("gpt");
	equal_kin("moe");
	decode("mistral", "guard", 7, 5);
	decode("falcon-rw", "guard", 7, 5);
}

static void test_refused(void **state)
{
	struct pt_kvcache *cache;
	struct mfix x;

	(void)state;
	mfix_golden(&x, "llama2");
	mfix_open(&x, "ref");
	assert_ok(pt_kvcache_new(&cache, x.m, x.f.run.act_type, 5, &x.f.err), &x.f.err);
	/* Several sequences. */
	x.in.cache = cache;
	assert_null(pt_model_hidden(&x.f.run, x.m, &x.in));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_FAIL, "one sequence", &x.f.err);
	/* More rows than there is room. */
	pt_run_reset(&x.f.run);
	feed(&x, mfix_in(&x, "in.ids")->data, 0, 6, 0, cache);
	assert_null(pt_model_hidden(&x.f.run, x.m, &x.in));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_FAIL, "5 positions", &x.f.err);
	/* While recording. */
	pt_run_reset(&x.f.run);
	feed(&x, mfix_in(&x, "in.ids")->data, 0, 3, 0, cache);
	x.f.run.record = true;
	assert_null(pt_model_hidden(&x.f.run, x.m, &x.in));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_FAIL, "differentiated", &x.f.err);
	/* A failure leaves nothing behind. */
	assert_int_equal(pt_kvcache_len(cache), 0);
	pt_kvcache_free(cache);
	assert_fails(pt_kvcache_new(&cache, x.m, x.f.run.act_type, 0, &x.f.err), PT_USAGE, "0 positions", &x.f.err);
	mfix_close(&x);
	mfix_release(&x);

	mfix_golden(&x, "bert-class");
	mfix_open(&x, "ref");
	assert_ok(pt_kvcache_new(&cache, x.m, x.f.run.act_type, 5, &x.f.err), &x.f.err);
	x.in.cache = cache;
	assert_null(pt_model_hidden(&x.f.run, x.m, &x.in));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_USAGE, "do not generate", &x.f.err);
	pt_kvcache_free(cache);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("model_decode", tests, NULL, NULL);
}
