/* SPDX-License-Identifier: MIT */
/*
 * wordpiece.c - WordPiece (Schuster and Nakajima 2012) as BERT has it: the
 * longest token that a word begins with, again and again; a word that cannot
 * be divided so is unknown as a whole.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"
#include "text/wordmodel.h"

struct wordpiece {
	char *unk, *prefix;
	size_t nprefix;
	int32_t unk_id;		/* -1: not in the vocabulary */
	int64_t max_chars;
};

static void release(void *data)
{
	struct wordpiece *m = data;

	free(m->unk);
	free(m->prefix);
	free(m);
}

static int load(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		struct pt_error *err)
{
	struct wordpiece *m = pt_calloc(1, sizeof *m, err);
	const char *unk, *prefix;
	int status;

	(void)raw;
	if (!m)
		return PT_FAIL;
	if ((status = pt_json_str(f->model, "unk_token", NULL, &unk, err)) ||
	    (status = pt_json_str(f->model, "continuing_subword_prefix", NULL, &prefix, err)) ||
	    (status = pt_json_int(f->model, "max_input_chars_per_word", 0, INT64_C(1) << 53, -1, &m->max_chars, err)))
		goto out;
	if (!unk || !prefix || m->max_chars < 0) {
		status = pt_error(err, PT_DATA, "model: \"unk_token\", \"continuing_subword_prefix\" and "
				  "\"max_input_chars_per_word\" must stand there");
		goto out;
	}
	status = pt_vocab_read(v, f->vocab, err);
	if (status)
		goto out;
	m->unk = pt_strdup(unk, err);
	m->prefix = pt_strdup(prefix, err);
	status = m->unk && m->prefix ? 0 : PT_FAIL;
	m->nprefix = strlen(prefix);
	m->unk_id = pt_vocab_id(v, unk, strlen(unk));
	pt_hash_str(h, unk);
	pt_hash_str(h, prefix);
	pt_hash_u64(h, (uint64_t)m->max_chars);
out:
	if (status)
		release(m);
	else
		*data = m;
	return status;
}

static int scratch_new(void **scratch, const void *data, struct pt_error *err)
{
	(void)data;
	*scratch = pt_calloc(1, sizeof(struct pt_buf), err);
	return *scratch ? 0 : PT_FAIL;
}

static void scratch_free(void *scratch)
{
	if (scratch)
		pt_buf_release(scratch);
	free(scratch);
}

static int64_t chars(const char *s, size_t n)
{
	int64_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += ((unsigned char)s[i] & 0xc0) != 0x80;
	return count;
}

static int encode(const void *data, const struct pt_vocab *v, void *scratch, const char *w, size_t n,
		  struct pt_encoding *out, struct pt_error *err)
{
	const struct wordpiece *m = data;
	struct pt_buf *key = scratch;
	size_t first = out->n, from = 0, skip, to;
	int status;

	if ((int64_t)n > m->max_chars && chars(w, n) > m->max_chars)
		goto unknown;
	/* The prefix in front of the word: a part behind the first is looked up where it would stand. */
	pt_buf_clear(key);
	pt_buf_add(key, m->prefix, m->nprefix);
	pt_buf_add(key, w, n);
	status = pt_buf_check(key, err);
	while (from < n && !status) {
		int32_t id = -1;

		skip = from ? m->nprefix : 0;
		if (from)
			memcpy(key->data + from, m->prefix, m->nprefix);
		to = n;
		if (n - from + skip > v->longest)
			to = v->longest > skip ? from + v->longest - skip : from;
		while (to > from && to < n && ((unsigned char)w[to] & 0xc0) == 0x80)
			to--;
		for (; to > from; to -= pt_utf8_back(w, to)) {
			id = pt_vocab_id(v, key->data + m->nprefix + from - skip, to - from + skip);
			if (id >= 0)
				break;
		}
		if (id < 0)
			goto unknown;
		status = pt_encoding_push(out, id, from, to, err);
		from = to;
	}
	return status;
unknown:
	out->n = first;
	if (m->unk_id < 0)
		return pt_error(err, PT_DATA, "the tokenizer's unknown token \"%s\" is not in its vocabulary", m->unk);
	return pt_encoding_push(out, m->unk_id, 0, n, err);
}

const struct pt_wordmodel pt_wordmodel_wordpiece = {
	.type = "WordPiece", .cleans_up = true, .load = load, .free = release,
	.scratch_new = scratch_new, .scratch_free = scratch_free, .encode = encode,
};
