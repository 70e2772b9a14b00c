/* SPDX-License-Identifier: MIT */
/*
 * Files that are not a tokenizer, or one that is not supported, are refused by name and place; what only looks
 * strange is read.
 */
#include "test.h"

#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "text/tokenizer.h"

static struct pt_error err;
static char path[] = "/tmp/text_refuse.XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 || close(fd) ? 1 : 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

/* Parts in the order of the file; NULL: as in a good one. */
struct parts {
	const char *top, *added, *norm, *pre, *post, *dec, *type, *vocab, *merges, *model;
};

#define OR(part, good) (p->part ? p->part : (good))

static int open_parts(struct pt_tokenizer **tok, const struct parts *p)
{
	struct pt_buf b = PT_BUF_INIT;
	int status;

	pt_buf_printf(&b, "{%s\"added_tokens\":%s,\"normalizer\":%s,\"pre_tokenizer\":%s,", OR(top, ""), OR(added, "[]"),
		      OR(norm, "null"), OR(pre, "null"));
	pt_buf_printf(&b, "\"post_processor\":%s,\"decoder\":%s,\"model\":{%s\"vocab\":%s,\"merges\":%s%s}}", OR(post, "null"),
		      OR(dec, "null"), OR(type, "\"type\":\"BPE\","), OR(vocab, "{\"a\":0,\"b\":1,\"ab\":2}"),
		      OR(merges, "[\"a b\"]"), OR(model, ""));
	assert_ok(pt_file_write(path, b.data, b.len, &err), &err);
	pt_buf_release(&b);
	status = pt_tokenizer_open(tok, path, &err);
	assert_true(!*tok == !!status);
	return status;
}

#define TOKEN(content, more) "[{\"id\":9,\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false," \
	"\"rstrip\":false,\"normalized\":true" more "}]"

#define UNIGRAM .type = "\"type\":\"Unigram\","
#define BERT "{\"type\":\"BertProcessing\",\"sep\":[\"a\",0],\"cls\":[\"a\",0]}"

static void refuses_by_name_and_place(void **state)
{
	static const struct {
		struct parts p;
		const char *part;
	} t[] = {
		{ { .type = "\"type\":\"Odd\"," }, "type \"Odd\" is not supported" },
		{ { .type = "\"type\":\"WordLevel\"," }, "\"unk_token\" is missing" },
		{ { UNIGRAM, .vocab = "{\"a\":0}" }, "model.vocab: an array" },
		{ { UNIGRAM, .vocab = "[[\"a\"]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",\"b\"]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",NaN]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",-01]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",1.]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",1e999]]" }, "model.vocab: a number" },
		{ { UNIGRAM, .vocab = "[[\"a\",0,0]]" }, "model.vocab[0] has more" },
		{ { UNIGRAM, .vocab = "[[\"a\",0],[\"a\",1]]" }, "model.vocab[1] stands there twice" },
		{ { UNIGRAM, .vocab = "[[\"a\",0]]", .model = ",\"unk_id\":1" }, "\"unk_id\" is 1, but there are 1" },
		{ { UNIGRAM, .vocab = "[[\"a\",0]]", .model = ",\"unk_id\":99999999999" }, "unk_id" },
		{ { .norm = "{\"type\":\"Precompiled\"}" }, "\"precompiled_charsmap\" is missing" },
		{ { .norm = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAA\"}" }, "base64" },
		{ { .norm = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"A=AA\"}" }, "base64" },
		{ { .norm = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"\"}" }, "cut short" },
		{ { .norm = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////w==\"}" }, "cut short" },
		{ { .norm = "{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"AAAAAP8=\"}" }, "not UTF-8" },
		{ { .norm = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Odd\"}]}" }, "normalizers[1]" },
		{ { .norm = "{\"type\":\"Strip\"}" }, "Strip: \"strip_left\"" },
		{ { .norm = "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(\"},\"content\":\"\"}" }, "normalizer: Replace" },
		{ { .norm = "[]" }, "normalizer: an object" },
		{ { .pre = "{\"type\":\"Odd\"}" }, "pre_tokenizer: type \"Odd\"" },
		{ { .pre = "{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Odd\",\"invert\":false}" }, "\"Odd\"" },
		{ { .pre = "{\"type\":\"Split\",\"pattern\":{},\"behavior\":\"Removed\",\"invert\":false}" }, "\"pattern\"" },
		{ { .pre = "{\"type\":\"Metaspace\",\"replacement\":\"ab\"}" }, "one character" },
		{ { .pre = "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"add_prefix_space\":false}" }, "contradicts" },
		{ { .pre = "{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"\"}" }, "one character" },
		{ { .pre = "{\"type\":\"FixedLength\",\"length\":0}" }, "FixedLength: " },
		{ { .post = "{\"type\":\"Sequence\",\"processors\":[" BERT "," BERT "]}" }, "behind another that adds" },
		{ { .post = "{\"type\":\"Odd\"}" }, "post_processor: type \"Odd\"" },
		{ { .post = "{\"type\":\"TemplateProcessing\",\"single\":[],\"pair\":[],\"special_tokens\":{}}" }, "\"single\"" },
		{ { .post = "{\"type\":\"BertProcessing\",\"sep\":[\"a\",-1],\"cls\":[\"a\",0]}" }, "\"sep\"" },
		{ { .dec = "{\"type\":\"Odd\"}" }, "decoder: type \"Odd\"" },
		{ { .dec = "{\"type\":\"CTC\",\"pad_token\":\"\"}" }, "\"word_delimiter_token\"" },
		{ { .dec = "{\"type\":\"Metaspace\",\"prepend_scheme\":\"odd\"}" }, "\"odd\" is not supported" },
		{ { .dec = "{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{}}" }, "\"pattern\"" },
		{ { .dec = "{\"type\":\"Strip\",\"content\":\"ab\",\"start\":1,\"stop\":0}" }, "one character" },
		{ { .model = ",\"dropout\":0.1" }, "dropout" },
		{ { .model = ",\"byte_fallback\":1" }, "byte_fallback" },
		{ { .merges = "[\"a c\"]" }, "model.merges[0] (a c): the second part" },
		{ { .merges = "[\"b a\"]" }, "model.merges[0]: the result \"ba\"" },
		{ { .merges = "[\"a b\",\"ab\"]" }, "model.merges[1]" },
		{ { .merges = "[\"a b\",[\"a\",\"b\"]]" }, "string expected" },
		{ { .merges = "[[\"a\",\"b\",\"a\"]]" }, "more than two" },
		{ { .merges = "null" }, "array expected" },
		{ { .vocab = "{\"a\":0,\"b\":1.0}" }, "model.vocab: an id" },
		{ { .vocab = "{\"a\":0,\"b\":-1}" }, "model.vocab: an id" },
		{ { .vocab = "{\"a\":0,\"b\":4294967296}" }, "model.vocab: an id" },
		{ { .vocab = "{\"a\":0,\"b\":99999999}" }, "out of range" },
		{ { .vocab = "{\"a\":0 \"b\":1}" }, "model.vocab: ','" },
		{ { .vocab = "{\"a\\ud800\":0}" }, "surrogate" },
		{ { .vocab = "{\"a\nb\":0}" }, "control character" },
		{ { .added = TOKEN("x", "") }, "\"special\" of \"x\" is missing" },
		{ { .added = TOKEN(" ", ",\"special\":true"),
		    .norm = "{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":true}" }, "match everywhere" },
		{ { .top = "\"version\":\"2.0\"," }, "version \"2.0\"" },
		{ { .model = "},\"model\":{\"type\":\"WordPiece\",\"vocab\":{}" }, "unk_token" },
	};
	struct pt_tokenizer *tok;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++)
		assert_fails(open_parts(&tok, &t[i].p), PT_DATA, t[i].part, &err);
	assert_ok(pt_file_write(path, "{\"model\":3}", 11, &err), &err);
	assert_fails(pt_tokenizer_open(&tok, path, &err), PT_DATA, "no \"model\"", &err);
	assert_ok(pt_file_write(path, "\xef\xbb\xbf{}", 5, &err), &err);
	assert_fails(pt_tokenizer_open(&tok, path, &err), PT_DATA, "byte order mark", &err);
	assert_fails(pt_tokenizer_open(&tok, "tests/unit", &err), PT_DATA, "tests/unit: no tokenizer.json", &err);
	assert_fails(pt_tokenizer_open(&tok, "tests/data/tokenizers/slow", &err), PT_DATA, "spiece.model, but no tokenizer.json",
		     &err);
	assert_fails(pt_tokenizer_open(&tok, "tests/data/tokenizers/slow", &err), PT_DATA, "save_pretrained", &err);
	assert_false(pt_tokenizer_exists("tests/unit"));
	assert_true(pt_tokenizer_exists("tests/data/tokenizers/bert-files"));
}

static void reads_what_only_looks_strange(void **state)
{
	static const struct parts t[] = {
		{ .type = "" },					/* what has merges is a BPE */
		{ .model = ",\"odd\":{\"x\":[1]},\"dropout\":null" },
		{ .top = "\"truncation\":{\"max_length\":1},\"padding\":null,\"model\":{\"vocab\":7}," },	/* the last counts */
		{ .vocab = " { \"a\" : 7 , \"b\":1,\"ab\":2,\"a\":0 } ", .merges = "[ \"#version: 0.2\" , \"a b\" ]" },
		{ .merges = "[[\"a\",\"b\"]]" },
		{ .vocab = "{\"\\u0061\":0,\"b\":1,\"ab\":2,\"\\ud83d\\ude00\":3}" },
	};
	struct pt_encoding e = PT_ENCODING_INIT;
	struct pt_encoder *enc;
	struct pt_tokenizer *tok;
	uint64_t digest = 0;

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		assert_ok(open_parts(&tok, &t[i]), &err);
		assert_ok(pt_encoder_new(&enc, tok, &err), &err);
		assert_ok(pt_encode(enc, "abxa", 4, 0, 0, &e, &err), &err);
		assert_int_equal(e.n, 2);
		assert_int_equal(e.ids[0], 2);
		assert_int_equal(e.ids[1], 0);
		/* Not how it is spelled, but what it does: only the last has another vocabulary. */
		if (i == 0)
			digest = pt_tokenizer_digest(tok);
		assert_true((pt_tokenizer_digest(tok) == digest) == (i != 5));
		pt_encoder_free(enc);
		pt_tokenizer_close(tok);
	}
	pt_encoding_release(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refuses_by_name_and_place, make_file, NULL),
		cmocka_unit_test_setup_teardown(reads_what_only_looks_strange, NULL, remove_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
