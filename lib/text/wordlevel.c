/* SPDX-License-Identifier: MIT */
/*
 * wordlevel.c - WordLevel: a word is a token or it is unknown.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/wordmodel.h"

struct wordlevel {
	char *unk;
	int32_t unk_id;		/* -1: not in the vocabulary */
};

static void release(void *data)
{
	struct wordlevel *m = data;

	free(m->unk);
	free(m);
}

static int load(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		struct pt_error *err)
{
	struct wordlevel *m;
	const char *unk;
	int status = pt_json_str(f->model, "unk_token", NULL, &unk, err);

	(void)raw;
	if (status)
		return status;
	if (!unk)
		return pt_error(err, PT_DATA, "model: \"unk_token\" is missing");
	m = pt_calloc(1, sizeof *m, err);
	if (!m)
		return PT_FAIL;
	status = pt_vocab_read(v, f->vocab, err);
	if (!status) {
		m->unk = pt_strdup(unk, err);
		status = m->unk ? 0 : PT_FAIL;
	}
	if (status) {
		release(m);
		return status;
	}
	m->unk_id = pt_vocab_id(v, unk, strlen(unk));
	pt_hash_str(h, unk);
	*data = m;
	return 0;
}

static int encode(const void *data, const struct pt_vocab *v, void *scratch, const char *w, size_t n,
		  struct pt_encoding *out, struct pt_error *err)
{
	const struct wordlevel *m = data;
	int32_t id = pt_vocab_id(v, w, n);

	(void)scratch;
	if (id < 0)
		id = m->unk_id;
	if (id < 0)
		return pt_error(err, PT_DATA, "the tokenizer's unknown token \"%s\" is not in its vocabulary", m->unk);
	return pt_encoding_push(out, id, 0, n, err);
}

const struct pt_wordmodel pt_wordmodel_wordlevel = {
	.type = "WordLevel", .cleans_up = true, .load = load, .free = release, .encode = encode,
};
