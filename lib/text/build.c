/* SPDX-License-Identifier: MIT */
/*
 * build.c - a tokenizer out of the parts of a tokenizer.json.
 */
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "text/tok.h"

/* A type of model is one file and one entry here. */
static const struct pt_wordmodel *const models[] = {
	&pt_wordmodel_bpe, &pt_wordmodel_unigram, &pt_wordmodel_wordlevel, &pt_wordmodel_wordpiece,
};

/* Old files have no "type": what stands there tells. */
static const char *guess_model(const struct pt_tokfile *f)
{
	if (f->merges.s)
		return "BPE";
	if (f->vocab.s && *f->vocab.s == '[')
		return "Unigram";
	return pt_json_get(f->model, "max_input_chars_per_word") ? "WordPiece" : "WordLevel";
}

static int find_model(struct pt_tokenizer *tok, const struct pt_tokfile *f, struct pt_error *err)
{
	const char *type;
	int status = pt_json_str(f->model, "type", guess_model(f), &type, err);

	if (status)
		return pt_error_prefix(err, "model");
	for (size_t i = 0; i < sizeof models / sizeof *models; i++)
		if (strcmp(type, models[i]->type) == 0) {
			tok->model = models[i];
			return 0;
		}
	return pt_error(err, PT_DATA, "model: type \"%s\" is not supported", type);
}

static int add_tokens(struct pt_tokenizer *tok, const cJSON *list, struct pt_error *err)
{
	const cJSON *j;
	int i = 0;

	if (list && !cJSON_IsArray(list))
		return pt_error(err, PT_DATA, "\"added_tokens\" must be an array");
	cJSON_ArrayForEach(j, list) {
		struct pt_added_token t = { .id = 0 };
		const struct pt_added_token *have;
		int64_t id;
		int status;

		if ((status = pt_added_parse(&t, j, true, err)) ||
		    (status = pt_json_int(j, "id", 0, UINT32_MAX, -1, &id, err)) ||
		    (status = pt_added_add(&tok->added, &tok->vocab, &t, err)))
			return pt_error_prefix(err, "added_tokens[%d]", i);
		have = pt_added_find(&tok->added, t.s, t.n);
		if (have && id >= 0 && have->id != id)
			pt_log(PT_WARN, "added token \"%s\" has the id %" PRId32 ", not %" PRId64 " as its entry says",
			       t.s, have->id, id);
		i++;
	}
	return 0;
}

static void warn_of_keys(const cJSON *root)
{
	static const char *const keys[] = {
		"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor",
		"decoder", "model"
	};

	for (const cJSON *j = root->child; j; j = j->next) {
		size_t i = 0;

		while (i < sizeof keys / sizeof *keys && strcmp(j->string, keys[i]) != 0)
			i++;
		if (i == sizeof keys / sizeof *keys)
			pt_log(PT_WARN, "tokenizer.json: the unknown key \"%s\" is ignored", j->string);
	}
}

int pt_tok_build(struct pt_tokenizer *tok, const struct pt_tokfile *f, struct pt_hash *h, struct pt_error *err)
{
	const char *version;
	bool raw;
	int status;

	warn_of_keys(f->root);
	if ((status = pt_json_str(f->root, "version", "1.0", &version, err)) || (status = find_model(tok, f, err)))
		return status;
	if (strcmp(version, "1.0") != 0)
		return pt_error(err, PT_DATA, "version \"%s\" is not supported", version);
	raw = tok->model->takes_raw && tok->model->takes_raw(f->model);
	pt_hash_str(h, "normalizer");
	status = pt_normalizer_parse(&tok->norm, pt_json_get(f->root, "normalizer"), h, err);
	if (status)
		return status;
	pt_hash_str(h, "pre_tokenizer");
	status = pt_pretok_parse(&tok->pretok, pt_json_get(f->root, "pre_tokenizer"), raw, h, err);
	if (status)
		return status;
	pt_hash_str(h, "post_processor");
	status = pt_post_parse(&tok->post, pt_json_get(f->root, "post_processor"), h, err);
	if (status)
		return status;
	pt_hash_str(h, tok->model->type);
	status = tok->model->load(&tok->data, f, &tok->vocab, tok->pretok.raw, h, err);
	if (status)
		return status;
	status = pt_decoders_parse(&tok->decoders, pt_json_get(f->root, "decoder"), err);
	return status ? status : add_tokens(tok, pt_json_get(f->root, "added_tokens"), err);
}

int pt_tok_finish(struct pt_tokenizer *tok, struct pt_hash *h, struct pt_error *err)
{
	int status;

	pt_hash_str(h, "vocabulary");
	for (int32_t id = 0; id < tok->vocab.rows; id++) {
		size_t n;
		const char *s = pt_vocab_token(&tok->vocab, id, &n);

		if (!s)
			continue;
		pt_hash_u64(h, (uint64_t)id << 32 | n);
		pt_hash_add(h, s, n);
	}
	pt_hash_str(h, "added_tokens");
	status = pt_added_finish(&tok->added, &tok->norm, h, err);
	tok->digest = pt_hash_value(h);
	return status;
}
