/* SPDX-License-Identifier: MIT */
/*
 * recipe.c - directories without tokenizer.json, read as the Python package's
 * ByteLevelBPETokenizer and BertWordPieceTokenizer read them: a tokenizer.json
 * is written in memory and read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tok.h"
#include "text/unicode.h"
#include "text/utf8.h"

enum { MAX_FILE = 1 << 30 };

static int read_text(const char *path, struct pt_buf *b, struct pt_error *err)
{
	size_t bad;
	int status = pt_file_read(path, MAX_FILE, b, err);

	if (status)
		return status;
	bad = pt_utf8_valid(b->data, b->len);
	return bad < b->len ? pt_error(err, PT_DATA, "%s: not UTF-8 at byte %zu", path, bad) : 0;
}

/* The next line of [*p, end) without its end; false: there is none. */
static bool next_line(const char **p, const char *end, const char **line, size_t *n)
{
	const char *stop;

	if (*p == end)
		return false;
	stop = memchr(*p, '\n', (size_t)(end - *p));
	*line = *p;
	*n = (size_t)((stop ? stop : end) - *p);
	*p = stop ? stop + 1 : end;
	if (stop && *n && (*line)[*n - 1] == '\r')
		--*n;
	return true;
}

static int take(struct pt_tokfile *f, const char *json, struct pt_error *err)
{
	f->root = pt_json_parse(json, strlen(json), 0, "recipe", err);
	f->model = pt_json_get(f->root, "model");
	return f->root ? 0 : err->status;
}

int pt_tok_recipe_bytelevel(struct pt_tokfile *f, const char *vocab, const char *merges, struct pt_error *err)
{
	/* transformers' names for what GPT-2 has. */
	static const char *const names[PT_TOKEN_NAMES] = {
		[PT_TOKEN_BOS] = "<|endoftext|>", [PT_TOKEN_EOS] = "<|endoftext|>", [PT_TOKEN_UNK] = "<|endoftext|>",
	};
	struct pt_buf text = PT_BUF_INIT;
	const char *p, *line;
	size_t n, nvocab;
	int status;

	*f = (struct pt_tokfile){ .text = PT_BUF_INIT, .names = names };
	if ((status = read_text(vocab, &f->text, err)) || (status = read_text(merges, &text, err)))
		goto out;
	/* Both spans lie in one buffer, the merges as JSON behind the vocabulary. */
	nvocab = f->text.len;
	pt_buf_char(&f->text, '[');
	for (p = text.data; next_line(&p, text.data + text.len, &line, &n);) {
		if (n >= 8 && memcmp(line, "#version", 8) == 0)
			continue;
		if (f->text.data && f->text.data[f->text.len - 1] != '[')
			pt_buf_char(&f->text, ',');
		pt_buf_json(&f->text, line, n);
	}
	pt_buf_char(&f->text, ']');
	status = pt_buf_check(&f->text, err);
	if (status)
		goto out;
	f->vocab = (struct pt_span){ f->text.data, nvocab };
	while (f->vocab.n && strchr(" \t\r\n", *f->vocab.s)) {
		f->vocab.s++;
		f->vocab.n--;
	}
	f->merges = (struct pt_span){ f->text.data + nvocab, f->text.len - nvocab };
	status = take(f, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
			 "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\"}}", err);
	f->surrounds = true;
out:
	pt_buf_release(&text);
	if (status)
		pt_tokfile_release(f);
	return status;
}

/* {"line": number, ...} of the lines of a vocab.txt; ids of the special ones. */
static void vocabulary(struct pt_buf *json, const struct pt_buf *text, const char *const *special, int64_t *ids)
{
	const char *p = text->data, *line;
	int64_t id = 0;
	size_t n;

	pt_buf_char(json, '{');
	for (; next_line(&p, text->data + text->len, &line, &n); id++) {
		unsigned len;

		while (n && pt_is_white(pt_utf8_before(line, n, &len)))
			n -= len;
		if (id)
			pt_buf_char(json, ',');
		pt_buf_json(json, line, n);
		pt_buf_printf(json, ":%lld", (long long)id);
		for (int i = 0; special[i]; i++)
			if (strlen(special[i]) == n && memcmp(special[i], line, n) == 0)
				ids[i] = id;
	}
	pt_buf_char(json, '}');
}

int pt_tok_recipe_bert(struct pt_tokfile *f, const char *vocab, const cJSON *config, struct pt_error *err)
{
	enum { UNK, SEP, CLS, PAD, MASK, SPECIALS };
	static const char *const special[] = { "[UNK]", "[SEP]", "[CLS]", "[PAD]", "[MASK]", NULL };
	static const char *const names[PT_TOKEN_NAMES] = {
		[PT_TOKEN_UNK] = "[UNK]", [PT_TOKEN_SEP] = "[SEP]", [PT_TOKEN_PAD] = "[PAD]",
		[PT_TOKEN_CLS] = "[CLS]", [PT_TOKEN_MASK] = "[MASK]",
	};
	int64_t ids[SPECIALS] = { -1, -1, -1, -1, -1 };
	struct pt_buf text = PT_BUF_INIT, json = PT_BUF_INIT;
	bool lower, chinese, strip, comma = false;
	int status;

	*f = (struct pt_tokfile){ .text = PT_BUF_INIT, .names = names };
	if ((status = pt_json_bool(config, "do_lower_case", true, &lower, err)) ||
	    (status = pt_json_bool(config, "tokenize_chinese_chars", true, &chinese, err)) ||
	    (status = pt_json_bool(config, "strip_accents", lower, &strip, err)) ||
	    (status = read_text(vocab, &text, err)))
		goto out;
	vocabulary(&f->text, &text, special, ids);
	if (ids[SEP] < 0 || ids[CLS] < 0) {
		status = pt_error(err, PT_DATA, "%s: no %s", vocab, special[ids[SEP] < 0 ? SEP : CLS]);
		goto out;
	}
	pt_buf_str(&json, "{\"added_tokens\":[");
	for (int i = 0; i < SPECIALS; i++) {
		if (ids[i] < 0)
			continue;
		pt_buf_printf(&json, "%s{\"id\":%lld,\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,"
			      "\"rstrip\":false,\"normalized\":false,\"special\":true}", comma ? "," : "",
			      (long long)ids[i], special[i]);
		comma = true;
	}
	pt_buf_printf(&json, "],\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,"
		      "\"handle_chinese_chars\":%s,\"strip_accents\":%s,\"lowercase\":%s},"
		      "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},",
		      chinese ? "true" : "false", strip ? "true" : "false", lower ? "true" : "false");
	pt_buf_printf(&json, "\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",%lld],"
		      "\"cls\":[\"[CLS]\",%lld]},\"decoder\":{\"type\":\"WordPiece\",\"prefix\":\"##\","
		      "\"cleanup\":true},", (long long)ids[SEP], (long long)ids[CLS]);
	pt_buf_str(&json, "\"model\":{\"type\":\"WordPiece\",\"unk_token\":\"[UNK]\","
		   "\"continuing_subword_prefix\":\"##\",\"max_input_chars_per_word\":100}}");
	if ((status = pt_buf_check(&json, err)) || (status = pt_buf_check(&f->text, err)))
		goto out;
	f->vocab = (struct pt_span){ f->text.data, f->text.len };
	status = take(f, json.data, err);
out:
	pt_buf_release(&text);
	pt_buf_release(&json);
	if (status)
		pt_tokfile_release(f);
	return status;
}
