/* SPDX-License-Identifier: MIT */
/*
 * tokenizer.c - opening a tokenizer, and facts about it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/tok.h"
#include "text/unicode.h"

/* dir/name if that is a file; *path NULL if not. */
static int find(const char *dir, const char *name, char **path, struct pt_error *err)
{
	*path = pt_path_join(dir, name, err);
	if (!*path)
		return PT_FAIL;
	if (!pt_is_file(*path)) {
		free(*path);
		*path = NULL;
	}
	return 0;
}

/* The files of a directory; absent ones are NULL. */
struct files {
	char *tokenizer, *vocab_json, *merges, *vocab_txt, *config, *map;
};

static int files_find(struct files *f, const char *dir, struct pt_error *err)
{
	int status;

	memset(f, 0, sizeof *f);
	if ((status = find(dir, "tokenizer.json", &f->tokenizer, err)) ||
	    (status = find(dir, "vocab.json", &f->vocab_json, err)) ||
	    (status = find(dir, "merges.txt", &f->merges, err)) ||
	    (status = find(dir, "vocab.txt", &f->vocab_txt, err)) ||
	    (status = find(dir, "tokenizer_config.json", &f->config, err)) ||
	    (status = find(dir, "special_tokens_map.json", &f->map, err)))
		return status;
	return 0;
}

static void files_release(struct files *f)
{
	free(f->tokenizer);
	free(f->vocab_json);
	free(f->merges);
	free(f->vocab_txt);
	free(f->config);
	free(f->map);
}

static bool usable(const struct files *f)
{
	return f->tokenizer || (f->vocab_json && f->merges) || f->vocab_txt;
}

bool pt_tokenizer_exists(const char *dir)
{
	struct pt_error err = PT_ERROR_INIT;
	struct files f;
	bool found = files_find(&f, dir, &err) == 0 && usable(&f);

	files_release(&f);
	return found;
}

static int read_json(const char *path, cJSON **j, struct pt_error *err)
{
	*j = path ? pt_json_read(path, PT_JSON_LAST_WINS, err) : NULL;
	return path && !*j ? err->status : 0;
}

/* A directory without any file of those: sentencepiece's own are not read, but what is, is made of them. */
static int refuse(const char *path, struct pt_error *err)
{
	static const char *const slow[] = {
		"spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "tekken.json", "spm.model"
	};
	char *file = NULL;
	size_t i = 0;

	while (i < sizeof slow / sizeof *slow && !find(path, slow[i], &file, err) && !file)
		i++;
	free(file);
	return pt_error(err, PT_DATA, "%s: %s%sno tokenizer.json, no vocab.json with merges.txt, no vocab.txt; write the "
			"first by: python3 -c 'import sys, transformers; transformers.AutoTokenizer.from_pretrained("
			"sys.argv[1]).save_pretrained(sys.argv[1])' %s", path, i < sizeof slow / sizeof *slow ? slow[i] : "",
			i < sizeof slow / sizeof *slow ? ", but " : "", path);
}

static int read_parts(struct pt_tokfile *tf, const struct files *f, const cJSON *config, const char *path,
		      struct pt_error *err)
{
	if (f->tokenizer)
		return pt_tokfile_read(tf, f->tokenizer, err);
	if (f->vocab_json && f->merges)
		return pt_tok_recipe_bytelevel(tf, f->vocab_json, f->merges, err);
	if (f->vocab_txt)
		return pt_tok_recipe_bert(tf, f->vocab_txt, config, err);
	return refuse(path, err);
}

int pt_tokenizer_open(struct pt_tokenizer **out, const char *path, struct pt_error *err)
{
	struct pt_tokenizer *tok = pt_calloc(1, sizeof *tok, err);
	struct pt_tokfile tf = { .text = PT_BUF_INIT };
	cJSON *config = NULL, *map = NULL;
	struct pt_hash h;
	struct files f = { .tokenizer = NULL };
	int status = PT_FAIL;

	*out = NULL;
	if (!tok)
		goto out;
	pt_unicode_init();
	pt_added_init(&tok->added);
	for (int i = 0; i < PT_TOKEN_NAMES; i++)
		tok->named[i] = -1;
	pt_hash_init(&h);
	if (pt_is_dir(path)) {
		status = files_find(&f, path, err);
	} else {
		f.tokenizer = pt_strdup(path, err);
		status = f.tokenizer ? 0 : PT_FAIL;
	}
	if (status || (status = read_json(f.config, &config, err)) || (status = read_json(f.map, &map, err)) ||
	    (status = read_parts(&tf, &f, config, path, err)))
		goto out;
	if ((status = pt_tok_build(tok, &tf, &h, err)) || (status = pt_tok_config_tokens(tok, config, map, err)) ||
	    (status = tf.surrounds ? pt_tok_config_surround(tok, config, map, tf.names, &h, err) : 0) ||
	    (status = pt_tok_finish(tok, &h, err)) || (status = pt_tok_config_rest(tok, config, map, tf.names, err)))
		pt_error_prefix(err, "%s", f.tokenizer ? f.tokenizer : path);
out:
	files_release(&f);
	pt_tokfile_release(&tf);
	pt_json_free(config);
	pt_json_free(map);
	if (status)
		pt_tokenizer_close(tok);
	else
		*out = tok;
	return status;
}

void pt_tokenizer_close(struct pt_tokenizer *tok)
{
	if (!tok)
		return;
	if (tok->data)
		tok->model->free(tok->data);
	pt_vocab_release(&tok->vocab);
	pt_added_release(&tok->added);
	pt_normalizer_release(&tok->norm);
	pt_pretok_release(&tok->pretok);
	pt_post_release(&tok->post);
	pt_decoders_release(&tok->decoders);
	free(tok);
}

uint64_t pt_tokenizer_digest(const struct pt_tokenizer *tok)
{
	return tok->digest;
}

int32_t pt_tokenizer_vocab_size(const struct pt_tokenizer *tok)
{
	int32_t n = tok->vocab.count;

	for (size_t i = 0; i < tok->added.n; i++)
		n += pt_vocab_id(&tok->vocab, tok->added.token[i].s, tok->added.token[i].n) < 0;
	return n;
}

int32_t pt_tokenizer_max_id(const struct pt_tokenizer *tok)
{
	return tok->added.max_id >= tok->vocab.rows ? tok->added.max_id : tok->vocab.rows - 1;
}

const char *pt_tokenizer_token(const struct pt_tokenizer *tok, int32_t id, size_t *n)
{
	const struct pt_added_token *t = pt_added_get(&tok->added, id);
	size_t len = 0;
	const char *s = t ? t->s : pt_vocab_token(&tok->vocab, id, &len);

	if (n)
		*n = t ? t->n : len;
	return s;
}

int32_t pt_tokenizer_id(const struct pt_tokenizer *tok, const char *token, size_t n)
{
	const struct pt_added_token *t = pt_added_find(&tok->added, token, n);

	return t ? t->id : pt_vocab_id(&tok->vocab, token, n);
}

bool pt_tokenizer_is_special(const struct pt_tokenizer *tok, int32_t id)
{
	const struct pt_added_token *t = pt_added_get(&tok->added, id);

	return t && t->named_special;
}

int32_t pt_tokenizer_named(const struct pt_tokenizer *tok, enum pt_token_name name)
{
	return tok->named[name];
}

int64_t pt_tokenizer_max_length(const struct pt_tokenizer *tok)
{
	return tok->max_length;
}

bool pt_tokenizer_truncates_left(const struct pt_tokenizer *tok)
{
	return tok->left;
}
