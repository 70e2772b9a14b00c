/* SPDX-License-Identifier: MIT */
/*
 * wordmodel.h - what turns a word into ids: BPE, WordPiece, ... One file and
 * one struct pt_wordmodel for each type of model.
 */
#ifndef PT_TEXT_WORDMODEL_H
#define PT_TEXT_WORDMODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/hash.h"
#include "text/tokenizer.h"
#include "text/tokfile.h"
#include "text/vocab.h"

struct pt_wordmodel {
	const char *type;
	bool cleans_up;		/* clean_up_tokenization_spaces acts on it */
	/* Whether it can take raw bytes where ByteLevel would give it their characters. */
	bool (*takes_raw)(const cJSON *model);
	/*
	 * Read f's model into v and *data; raw: words come as bytes. What decides about ids, the vocabulary
	 * left out, is added to h.
	 */
	int (*load)(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		    struct pt_error *err);
	void (*free)(void *data);
	/* Scratch memory of one thread; NULL: it needs none. */
	int (*scratch_new)(void **scratch, const void *data, struct pt_error *err);
	void (*scratch_free)(void *scratch);
	/*
	 * Append the ids of the word w[n], n > 0, to out, each with the bytes of the word that it stands for;
	 * raw bytes count as their characters do.
	 */
	int (*encode)(const void *data, const struct pt_vocab *v, void *scratch, const char *w, size_t n,
		      struct pt_encoding *out, struct pt_error *err);
	/*
	 * Where a long word may be cut without changing ids: the end of its first part, n: nowhere. NULL:
	 * words of this model are never cut.
	 */
	size_t (*cut)(const void *data, const char *w, size_t n);
	/* The id of unknown text, where a post-processor is shown that text; NULL: it is shown the unknown token. */
	int32_t (*unknown)(const void *data);
};

extern const struct pt_wordmodel pt_wordmodel_bpe, pt_wordmodel_unigram, pt_wordmodel_wordlevel, pt_wordmodel_wordpiece;

/* Append an id; where somebody asks for places, it comes from bytes [from, to). */
static inline int pt_encoding_push(struct pt_encoding *e, int32_t id, size_t from, size_t to, struct pt_error *err)
{
	if (e->n == e->cap) {
		int status = pt_encoding_reserve(e, e->n + 1, err);

		if (status)
			return status;
	}
	if (e->origin)
		e->origin[e->n] = (struct pt_origin){ from, to, 0 };
	e->ids[e->n++] = id;
	return 0;
}

#endif
