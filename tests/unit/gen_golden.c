/* SPDX-License-Identifier: MIT */
/*
 * gen_golden.c - greedy texts as generate() of transformers makes them
 * (tests/golden/make_generate.py): short prompts that grow beyond windows and
 * original positions, and long ones; and sources of encoder-decoders that are
 * longer than the cache.
 */
#include "model_fix.h"

#include "gen/generate.h"
#include "model/body.h"

#define MOST 320	/* tokens of a prompt */
#define NEW 14		/* of a text */

struct text {
	int32_t id[MOST];
	int n;
};

static bool keep(void *arg, int32_t id)
{
	struct text *t = arg;

	assert_true(t->n < MOST);
	t->id[t->n++] = id;
	return true;
}

static int ids_of(const cJSON *list, int32_t *id)
{
	int n = 0;
	const cJSON *v;

	cJSON_ArrayForEach(v, list) {
		assert_true(n < MOST);
		id[n++] = (int32_t)v->valuedouble;
	}
	assert_true(n > 0);
	return n;
}

static struct pt_generator *generator(struct mfix *x, struct pt_device *plan, int max_length, int tokens)
{
	const struct pt_generate_options o = { .sampling = { .top_p = 1 }, .max_tokens = tokens,
					       .max_length = max_length, .ignore_eos = true };
	struct pt_generator *g;

	assert_ok(pt_generator_new(&g, x->m, plan, &o, &x->f.err), &x->f.err);
	return g;
}

/* Texts of a case that are other than the golden ones. */
static int wrong(struct mfix *x, const cJSON *texts)
{
	struct pt_device *plan;
	struct pt_generator *g;
	const cJSON *t;
	int bad = 0, most = 0;

	cJSON_ArrayForEach(t, texts) {
		int n = cJSON_GetArraySize(pt_json_get(t, "prompt"));

		most = n > most ? n : most;
	}
	assert_ok(pt_device_plan(&plan, x->f.dev, &x->f.err), &x->f.err);
	/* An encoder-decoder's sources have more tokens than its cache has positions. */
	g = generator(x, plan, pt_task_decoder(x->m->task) ? NEW + 1 : most + NEW + 2, NEW);
	cJSON_ArrayForEach(t, texts) {
		int32_t prompt[MOST], want[MOST];
		int n = ids_of(pt_json_get(t, "prompt"), prompt), m = ids_of(pt_json_get(t, "text"), want);
		struct text got = { .n = 0 };
		enum pt_generate_end end;

		assert_ok(pt_generate(g, prompt, n, 0, keep, &got, &end, &x->f.err), &x->f.err);
		assert_int_equal(end, PT_END_TOKENS);
		bad += got.n != m || memcmp(got.id, want, (size_t)m * sizeof *want) != 0;
	}
	pt_generator_free(g);
	plan->close(plan);
	return bad;
}

static cJSON *golden_texts(void)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf b = PT_BUF_INIT;
	cJSON *json;

	assert_ok(pt_file_read("tests/data/generate.json", 1 << 20, &b, &err), &err);
	assert_non_null(json = pt_json_parse(b.data, b.len, 0, "generate.json", &err));
	pt_buf_release(&b);
	return json;
}

static void test_texts(void **state)
{
	cJSON *all = golden_texts();
	const cJSON *texts;
	int n = 0, bad = 0;

	(void)state;
	cJSON_ArrayForEach(texts, all) {
		struct mfix x;
		int k;

		mfix_golden(&x, texts->string);
		mfix_open(&x, "cpu");
		k = wrong(&x, texts);
		if (k)
			print_message("# %s: %d other texts than transformers makes\n", texts->string, k);
		bad += k;
		mfix_close(&x);
		mfix_release(&x);
		n++;
	}
	assert_int_equal(bad, 0);
	assert_true(n > 30);
	pt_json_free(all);
}

/* What the goldens are there for is felt: which texts are read anew, and what a rotation goes by. */
static void test_mutations(void **state)
{
	static const char *const names[] = { "phi3-long", "llama-long", "phi3-far", "llama-far" };
	cJSON *all = golden_texts();

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct pt_family other;
		struct mfix x;

		mfix_golden(&x, names[i]);
		mfix_open(&x, "cpu");
		other = *x.m->cfg.family;
		other.long_restart = !other.long_restart;
		x.m->cfg.family = &other;
		assert_int_equal(pt_model_restart(x.m), i % 2 == 0 ? 0 : i < 2 ? 17 : 276);
		assert_int_equal(wrong(&x, pt_json_get(all, names[i])), 1);
		mfix_close(&x);
		mfix_release(&x);
	}
	pt_json_free(all);
}

static int copies, copied[NEW + 2];
static int (*real_fetch)(struct pt_device *, void *, const void *, size_t, uint64_t *, struct pt_error *);

static int count_fetch(struct pt_device *dev, void *dst, const void *pinned, size_t n, uint64_t *ticket, struct pt_error *e)
{
	copies++;
	return real_fetch(dev, dst, pinned, n, ticket, e);
}

static bool note_copies(void *arg, int32_t id)
{
	int *n = arg;

	(void)id;
	copied[(*n)++] = copies;
	return true;
}

/* Weights in turns: a decoder goes round among its own blocks, whatever stands before them. */
static void test_turns(void **state)
{
	static const char *const names[] = { "t5-flan", "llama2" };
	const int32_t prompt[] = { 5, 9, 11, 2 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		enum pt_generate_end end;
		struct pt_generator *g;
		struct pt_device *plan;
		struct mfix x;
		int n = 0, blocks;

		mfix_golden(&x, names[i]);
		mfix_open(&x, "guard");
		blocks = x.m->body->stack[x.m->body->nstacks - 1].cfg->layers;
		assert_int_equal(x.m->body->parts.turns, pt_model_blocks(x.m));
		assert_ok(pt_device_plan(&plan, x.f.dev, &x.f.err), &x.f.err);
		g = generator(&x, plan, NEW + 6, NEW);
		assert_int_equal(x.m->body->parts.turns, pt_model_blocks(x.m));
		real_fetch = x.f.dev->fetch;
		x.f.dev->fetch = count_fetch;
		assert_ok(pt_generate(g, prompt, 4, 0, note_copies, &n, &end, &x.f.err), &x.f.err);
		assert_int_equal(n, NEW);
		for (int k = 2; k < n; k++)
			assert_in_range(copied[k] - copied[k - 1], 0, blocks > 3 ? blocks : blocks == 3 ? 2 : 0);
		x.f.dev->fetch = real_fetch;
		pt_generator_free(g);
		plan->close(plan);
		mfix_close(&x);
		mfix_release(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_turns),
	};

	return cmocka_run_group_tests_name("gen_golden", tests, NULL, NULL);
}
