/* SPDX-License-Identifier: MIT */
/*
 * vocab.h - tokens by id and ids by token.
 */
#ifndef PT_TEXT_VOCAB_H
#define PT_TEXT_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "text/tokfile.h"

enum { PT_VOCAB_MAX = 1 << 24 };	/* ids below this: far above any embedding */

struct pt_vocab {
	struct pt_buf pool;	/* the tokens, each with a NUL behind it */
	struct pt_vocab_token {
		size_t off;
		uint32_t n;
		int32_t id;
	} *token;		/* distinct tokens */
	size_t cap;		/* of token */
	int32_t count;
	int32_t *by_id;		/* index into token, -1: no such id; of two tokens with one id the later */
	size_t id_cap;
	int32_t rows;		/* largest id + 1 */
	size_t longest;		/* bytes of the longest token */
	uint64_t *slot;		/* hash << 32 | index into token + 1; 0: free */
	size_t slots;
};

void pt_vocab_release(struct pt_vocab *v);
/* The token that lies in v->pool from off to its end becomes id; a token seen before gets the new id. */
int pt_vocab_commit(struct pt_vocab *v, size_t off, uint32_t id, struct pt_error *err);
/* {"token": id, ...} */
int pt_vocab_read(struct pt_vocab *v, struct pt_span span, struct pt_error *err);

int32_t pt_vocab_id(const struct pt_vocab *v, const char *s, size_t n);	/* -1: none */

static inline const char *pt_vocab_token(const struct pt_vocab *v, int32_t id, size_t *n)
{
	const struct pt_vocab_token *t;

	if (id < 0 || id >= v->rows || v->by_id[id] < 0)
		return NULL;
	t = &v->token[v->by_id[id]];
	*n = t->n;
	return v->pool.data + t->off;
}

#endif
