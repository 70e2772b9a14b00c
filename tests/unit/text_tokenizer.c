/* SPDX-License-Identifier: MIT */
/*
 * The tokenizer of the examples: ids as the Python package gives them, facts, truncation, decoding.
 */
#include "test.h"

#include "text/tokenizer.h"

static struct pt_tokenizer *tok;
static struct pt_encoder *enc;
static struct pt_error err;

static int open_example(void **state)
{
	(void)state;
	return pt_tokenizer_open(&tok, "tests/data/examples/base", &err) || pt_encoder_new(&enc, tok, &err);
}

static int close_example(void **state)
{
	(void)state;
	pt_encoder_free(enc);
	pt_tokenizer_close(tok);
	return 0;
}

static void gives_the_ids_of_the_package(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		int32_t ids[12];
		int flags;
	} t[] = {
		{ "", 0, { 0 }, PT_ENCODE_SPECIAL },
		{ "The kettle works well.", 10, { 262, 278, 315, 85, 273, 298, 291, 270, 289, 15 }, PT_ENCODE_SPECIAL },
		{ "a</s>b  \xc3\xa9 123", 11, { 66, 1, 67, 222, 222, 129, 104, 222, 18, 19, 20 }, 0 },
		{ "don't\n\nstop", 10, { 69, 267, 8, 85, 200, 200, 84, 85, 80, 81 }, 0 },
		{ "</s>", 4, { 29, 16, 84, 31 }, PT_ENCODE_PLAIN },
	};
	struct pt_encoding e = PT_ENCODING_INIT;
	struct pt_buf text = PT_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		assert_ok(pt_encode(enc, t[i].text, strlen(t[i].text), t[i].flags, 0, &e, &err), &err);
		assert_int_equal(e.n, t[i].n);
		if (e.n)
			assert_memory_equal(e.ids, t[i].ids, e.n * sizeof *e.ids);
		pt_buf_clear(&text);
		assert_ok(pt_decode(tok, e.ids, e.n, false, &text, &err), &err);
		assert_string_equal(text.data ? text.data : "", t[i].text);
	}
	assert_fails(pt_encode(enc, "a\xff", 2, 0, 0, &e, &err), PT_DATA, "byte 1", &err);
	pt_encoding_release(&e);
	pt_buf_release(&text);
}

static void knows_its_tokens(void **state)
{
	size_t n;

	(void)state;
	assert_int_equal(pt_tokenizer_vocab_size(tok), 320);
	assert_int_equal(pt_tokenizer_max_id(tok), 319);
	assert_int_equal(pt_tokenizer_id(tok, "</s>", 4), 1);
	assert_string_equal(pt_tokenizer_token(tok, 66, &n), "a");
	assert_int_equal(n, 1);
	assert_null(pt_tokenizer_token(tok, 320, NULL));
	assert_null(pt_tokenizer_token(tok, -1, NULL));
	assert_true(pt_tokenizer_is_special(tok, 0));
	assert_false(pt_tokenizer_is_special(tok, 66));
	assert_int_equal(pt_tokenizer_named(tok, PT_TOKEN_BOS), 0);
	assert_int_equal(pt_tokenizer_named(tok, PT_TOKEN_EOS), 1);
	assert_int_equal(pt_tokenizer_named(tok, PT_TOKEN_PAD), 1);
	assert_int_equal(pt_tokenizer_named(tok, PT_TOKEN_CLS), -1);
	assert_int_equal(pt_tokenizer_max_length(tok), 128);
	assert_int_equal(pt_tokenizer_added(tok, true), 0);
}

static void decodes_token_by_token(void **state)
{
	/* Half of an e with acute is held back until the rest is there; half a character at the end is U+FFFD. */
	static const int32_t ids[] = { 66, 129, 104, 129 };
	static const char *const parts[] = { "a", "", "\xc3\xa9", "" };
	struct pt_buf out = PT_BUF_INIT;
	struct pt_decoder d;

	(void)state;
	pt_decoder_init(&d, tok, true);
	for (int i = 0; i < 4; i++) {
		pt_buf_clear(&out);
		assert_ok(pt_decoder_push(&d, ids[i], &out, &err), &err);
		assert_string_equal(out.data ? out.data : "", parts[i]);
	}
	pt_buf_clear(&out);
	assert_ok(pt_decoder_flush(&d, &out, &err), &err);
	assert_string_equal(out.data, "\xef\xbf\xbd");
	pt_decoder_release(&d);
	pt_buf_release(&out);
}

static void truncates_as_hf_does(void **state)
{
	static const struct {
		size_t na, nb, max, wa, wb;
		int flags;
	} t[] = {
		{ 10, 4, 20, 10, 4, 0 }, { 10, 4, 10, 6, 4, 0 }, { 10, 4, 6, 3, 3, 0 }, { 4, 10, 7, 3, 4, 0 },
		{ 9, 9, 7, 3, 4, 0 }, { 3, 9, 8, 3, 5, 0 }, { 9, 3, 0, 0, 0, PT_TRUNCATE_ONLY_SECOND },
		{ 10, 4, 9, 5, 4, PT_TRUNCATE_ONLY_FIRST }, { 10, 4, 13, 10, 3, PT_TRUNCATE_ONLY_SECOND },
	};
	struct pt_encoding e = PT_ENCODING_INIT;
	size_t na = 10, nb = 4;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		na = t[i].na;
		nb = t[i].nb;
		assert_ok(pt_truncate(&na, &nb, true, t[i].max, t[i].flags, &err), &err);
		assert_int_equal(na, t[i].wa);
		assert_int_equal(nb, t[i].wb);
	}
	na = 10;
	nb = 4;
	assert_fails(pt_truncate(&na, &nb, true, 9, PT_TRUNCATE_ONLY_SECOND, &err), PT_USAGE, "second", &err);
	assert_ok(pt_encode(enc, "a</s>b", 6, PT_TRUNCATE_LEFT, 2, &e, &err), &err);
	assert_int_equal(e.n, 2);
	assert_int_equal(e.ids[1], 67);
	assert_ok(pt_encode(enc, "a</s>b", 6, 0, 2, &e, &err), &err);
	assert_int_equal(e.ids[0], 66);
	pt_encoding_release(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_ids_of_the_package),
		cmocka_unit_test(knows_its_tokens),
		cmocka_unit_test(decodes_token_by_token),
		cmocka_unit_test(truncates_as_hf_does),
	};

	return cmocka_run_group_tests(tests, open_example, close_example);
}
