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
	struct pt_buf text = PT_BUF_INIT;
	const char *p, *line;
	size_t n, nvocab;
	int status;

	*f = (struct pt_tokfile){ .text = PT_BUF_INIT };
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
out:
	pt_buf_release(&text);
	if (status)
		pt_tokfile_release(f);
	return status;
}

int pt_tok_recipe_bert(struct pt_tokfile *f, const char *vocab, const cJSON *config, struct pt_error *err)
{
	(void)config;
	*f = (struct pt_tokfile){ .text = PT_BUF_INIT };
	return pt_error(err, PT_DATA, "%s: WordPiece is not supported", vocab);
}
