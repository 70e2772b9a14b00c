/* SPDX-License-Identifier: MIT */
/*
 * model_t5.c - encoder-decoders: golden values (golden_walk.h), what is
 * decoded with a cache, tied and stored tables, and what is refused by name.
 */
#include "golden_walk.h"

static const char *const guarded[] = { "t5", "t5-class", NULL };

static const struct walk_mutation mutations[] = {
	{ "t5", "layer_norm_epsilon", "1e-6" },
	{ "t5", "relative_attention_max_distance", "9" },
	{ "t5", "relative_attention_max_distance", NULL },
	{ "t5", "feed_forward_proj", "\"gelu_new\"" },
	{ "t5", "decoder_start_token_id", "4" },
	/* v1.0 scales the decoder's outputs unless either key says no. */
	{ "t5", "tie_word_embeddings", "false" },
	{ "t5", "scale_decoder_outputs", "false" },
	{ "t5-flan", "scale_decoder_outputs", "true" },
	{ "t5-flan", "tie_word_embeddings", "true" },
	{ "t5-flan", "feed_forward_proj", "\"gated-gelu_python\"" },
	{ "t5-flan", "feed_forward_proj", "\"gated-silu\"" },
	{ "mt5", "decoder_start_token_id", "3" },
	{ "mt5", "relative_attention_max_distance", "40" },
	{ "t5-class", "eos_token_id", "[5, 7, 9, 11, 13, 15, 17, 1, 21, 23, 25, 27, 29, 31, 33, 35]" },
	{ "t5-class", "decoder_start_token_id", "4" },
};

/* Output with a changed key and renamed tensors, as a share of what may be off from the golden one. */
static double share_of(const char *name, const char *key, const char *value, bool (*rename)(const char *, char *),
		       int how)
{
	struct mfix x;
	double share;
	size_t n;
	float *y;

	mfix_golden(&x, name);
	if (key)
		walk_change(x.config, key, value);
	x.rename = rename;
	mfix_open(&x, "ref");
	if (how == 1)		/* the sources of two sequences run together */
		fix_rows(&x.f, &x.in.rows, (int[]){ 8, 0, 19, 2, 12 }, 5, 0);
	if (how == 2)		/* the decoder's sequences do */
		fix_rows(&x.f, &x.in.decoder_rows, (int[]){ 3, 12, 0, 2, 24 }, 5, 0);
	y = mfix_out(&x, &n);
	share = golden_result(&x.g, "out", y, n, 0);
	free(y);
	mfix_close(&x);
	mfix_release(&x);
	return share;
}

static bool without_head(const char *name, char *out)
{
	snprintf(out, 200, "%s", name);
	return strcmp(name, "lm_head.weight") != 0;
}

/* The table under the encoder's name alone. */
static bool encoder_table(const char *name, char *out)
{
	snprintf(out, 200, "%s", !strcmp(name, "shared.weight") ? "encoder.embed_tokens.weight" : name);
	return true;
}

/* As the classes with a head of labels are stored. */
static bool transformer(const char *name, char *out)
{
	snprintf(out, 200, "%s%s", strcmp(name, "lm_head.weight") ? "transformer." : "", name);
	return true;
}

static void test_inputs(void **state)
{
	(void)state;
	assert_true(share_of("t5", NULL, NULL, NULL, 1) > 10);
	assert_true(share_of("t5", NULL, NULL, NULL, 2) > 10);
	/* A head of its own is felt; without one it is the table, whatever the key says. */
	assert_true(share_of("t5-flan", NULL, NULL, without_head, 0) > 10);
	assert_true(share_of("t5", NULL, NULL, without_head, 0) < 1);
	assert_true(share_of("t5", NULL, NULL, encoder_table, 0) < 1);
	assert_true(share_of("t5", NULL, NULL, transformer, 0) < 1);
	/* What tells nothing new: mT5 never scales, gated-gelu is gelu_new, null is the default. */
	assert_true(share_of("mt5", "tie_word_embeddings", "true", NULL, 0) < 1);
	assert_true(share_of("mt5", "scale_decoder_outputs", "true", NULL, 0) < 1);
	assert_true(share_of("mt5", "num_decoder_layers", NULL, NULL, 0) < 1);
	assert_true(share_of("mt5", "feed_forward_proj", NULL, NULL, 0) < 1);
	assert_true(share_of("t5-flan", "feed_forward_proj", "\"gated-gelu_new\"", NULL, 0) < 1);
	assert_true(share_of("t5", "feed_forward_proj", NULL, NULL, 0) < 1);
	assert_true(share_of("t5", "tie_word_embeddings", "true", NULL, 0) < 1);
}

/* Memory of one() beyond mark. */
static void forget(struct mfix *x, int mem, int host)
{
	while (x->f.nmem > mem) {
		x->f.nmem--;
		x->f.dev->free(x->f.dev, x->f.mem[x->f.nmem], x->f.mem_size[x->f.nmem]);
	}
	while (x->f.nhost > host)
		free(x->f.host[--x->f.nhost]);
}

/* The source read once, then the decoder's ids of sequence b in pieces: the rows that the whole case has. */
static double decode(struct mfix *x, struct pt_kvcache *cache, const float *want, int b, int piece)
{
	const int32_t *cu = mfix_in(x, "in.cu")->data, *ids = (const int32_t *)mfix_in(x, "in.ids")->data + cu[b];
	const int32_t *dcu = mfix_in(x, "in.decoder_cu")->data;
	const int32_t *to = (const int32_t *)mfix_in(x, "in.decoder_ids")->data;
	int n = cu[b + 1] - cu[b], mem = x->f.nmem, host = x->f.nhost, vocab = (int)x->m->cfg.vocab;
	double diff = 0;

	pt_run_reset(&x->f.run);
	x->f.run.record = false;
	fix_rows(&x->f, &x->f.rows, &n, 1, 0);
	x->in = (struct pt_input){ .rows = x->f.rows, .host_ids = ids, .cache = cache };
	x->in.ids = fix_put(&x->f, ids, (size_t)n * sizeof *ids);
	assert_ok(pt_model_encode(&x->f.run, x->m, &x->in), &x->f.run.err);
	forget(x, mem, host);
	for (int at = dcu[b], step; at < dcu[b + 1]; at += step) {
		int32_t read[64];
		float *got;
		size_t k;

		step = piece < dcu[b + 1] - at ? piece : dcu[b + 1] - at;
		assert_int_equal(pt_kvcache_len(cache), at - dcu[b]);
		for (int i = 0; i < step; i++)
			read[i] = at + i == dcu[b] ? x->m->cfg.decoder_start : to[at + i - 1];
		x->in = (struct pt_input){ .cache = cache };
		fix_rows(&x->f, &x->in.decoder_rows, &step, 1, 0);
		x->in.decoder_ids = fix_put(&x->f, read, (size_t)step * sizeof *read);
		got = mfix_out(x, &k);
		assert_int_equal(k, step * vocab);
		for (size_t i = 0; i < k; i++)
			diff = fmax(diff, fabs(got[i] - want[at * vocab + (int)i]));
		free(got);
		forget(x, mem, host);
	}
	pt_kvcache_reset(cache);
	return diff;
}

static void test_decode(void **state)
{
	static const char *const names[] = { "t5", "t5-flan", "mt5" }, *const devices[] = { "ref", "cpu", "guard" };

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct pt_kvcache *cache;
		struct mfix x;
		double top = 0;
		float *want;
		int batch;
		size_t n;

		mfix_golden(&x, names[i % 3]);
		mfix_open(&x, devices[i / 3]);
		batch = x.in.rows.batch;
		want = mfix_out(&x, &n);
		for (size_t k = 0; k < n; k++)
			top = fmax(top, fabs(want[k]));
		assert_ok(pt_kvcache_new(&cache, x.m, x.f.run.act_type, 30, &x.f.err), &x.f.err);
		for (int b = 0; b < batch; b++) {
			for (int piece = 1; piece < 8; piece += 3) {
				double diff = decode(&x, cache, want, b, piece);

				if (!(diff <= 2e-6 * top))
					fail_msg("%s on %s, sequence %d in pieces of %d: off by %.3g of %.3g",
						 names[i % 3], devices[i / 3], b, piece, diff, top);
			}
		}
		pt_kvcache_free(cache);
		free(want);
		mfix_close(&x);
		mfix_release(&x);
	}
}

static void refused(const char *name, const char *key, const char *value, bool (*rename)(const char *, char *),
		    const char *part)
{
	struct mfix x;

	mfix_golden(&x, name);
	if (key)
		walk_change(x.config, key, value);
	x.rename = rename;
	mfix_try(&x, "ref", PT_DATA, part);
	mfix_close(&x);
	mfix_release(&x);
}

static bool without_cross(const char *name, char *out)
{
	snprintf(out, 200, "%s", name);
	return strcmp(name, "decoder.block.1.layer.1.EncDecAttention.o.weight") != 0;
}

static void test_refused(void **state)
{
	struct pt_kvcache *cache;
	struct mfix x;

	(void)state;
	refused("t5", "feed_forward_proj", "\"gated\"", NULL, "feed_forward_proj \"gated\" is not supported");
	refused("t5", "feed_forward_proj", "\"gated-swiglu\"", NULL, "feed_forward_proj");
	refused("t5", "relative_attention_num_buckets", "2", NULL, "relative_attention_num_buckets");
	refused("t5", "relative_attention_max_distance", "4", NULL, "relative_attention_max_distance 4");
	refused("t5", "relative_attention_num_buckets", "6", NULL, "relative_attention_bias.weight has the shape [8, 3]");
	refused("t5", "decoder_start_token_id", NULL, NULL, "decoder_start_token_id is missing");
	refused("t5", "decoder_start_token_id", "53", NULL, "decoder_start_token_id");
	refused("t5", "is_decoder", "true", NULL, "is_decoder");
	refused("t5", "dropout_rate", "1", NULL, "dropout_rate");
	refused("t5-class", "classifier_dropout", "-1", NULL, "classifier_dropout");
	refused("t5", NULL, NULL, without_cross, "decoder.block.1.layer.1.EncDecAttention.o.weight");

	/* Without an end token there is nothing to classify. */
	mfix_golden(&x, "t5-class");
	walk_change(x.config, "eos_token_id", "2");
	mfix_open(&x, "ref");
	assert_null(pt_model_classify(&x.f.run, x.m, &x.in, pt_model_hidden(&x.f.run, x.m, &x.in)));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_DATA, "has no end token", &x.f.err);
	mfix_close(&x);
	mfix_release(&x);

	/* A cache wants the source first, one, and a place to put it. */
	mfix_golden(&x, "t5");
	mfix_open(&x, "ref");
	assert_ok(pt_kvcache_new(&cache, x.m, x.f.run.act_type, 5, &x.f.err), &x.f.err);
	fix_rows(&x.f, &x.in.decoder_rows, (int[]){ 3 }, 1, 0);
	x.in.cache = cache;
	assert_null(pt_model_hidden(&x.f.run, x.m, &x.in));
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_FAIL, "without those of a source", &x.f.err);
	pt_run_reset(&x.f.run);
	assert_int_equal(pt_model_encode(&x.f.run, x.m, &x.in), PT_FAIL);
	assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_FAIL, "a source of 5 sequences", &x.f.err);
	pt_kvcache_free(cache);
	mfix_close(&x);
	mfix_release(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WALK_TESTS,
		cmocka_unit_test(test_inputs),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_refused),
	};

	walk_kin("t5", guarded, mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests_name("model_t5", tests, NULL, NULL);
}
