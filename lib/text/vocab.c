/* SPDX-License-Identifier: MIT */
/*
 * vocab.c - open addressing over 64-bit slots that hold half of the hash and
 * the token's index, so that a look-up touches the token's bytes only when it is found.
 */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

void pt_vocab_release(struct pt_vocab *v)
{
	pt_buf_release(&v->pool);
	free(v->token);
	free(v->by_id);
	free(v->slot);
	*v = (struct pt_vocab){ .pool = PT_BUF_INIT };
}

static uint64_t *find(const struct pt_vocab *v, const char *s, size_t n, uint32_t hash)
{
	size_t i = hash & (v->slots - 1);

	for (;; i = (i + 1) & (v->slots - 1)) {
		uint64_t *slot = &v->slot[i];
		const struct pt_vocab_token *t;

		if (!*slot)
			return slot;
		if (*slot >> 32 != hash)
			continue;
		t = &v->token[(uint32_t)*slot - 1];
		if (t->n == n && memcmp(v->pool.data + t->off, s, n) == 0)
			return slot;
	}
}

static int resize(struct pt_vocab *v, size_t slots, struct pt_error *err)
{
	uint64_t *old = v->slot;
	size_t n = v->slots;

	v->slot = pt_calloc(slots, sizeof *v->slot, err);
	if (!v->slot) {
		v->slot = old;
		return PT_FAIL;
	}
	v->slots = slots;
	for (size_t k = 0; k < n; k++) {
		size_t i = (old[k] >> 32) & (slots - 1);

		if (!old[k])
			continue;
		while (v->slot[i])
			i = (i + 1) & (slots - 1);
		v->slot[i] = old[k];
	}
	free(old);
	return 0;
}

int pt_vocab_commit(struct pt_vocab *v, size_t off, uint32_t id, struct pt_error *err)
{
	size_t n, cap = v->id_cap;
	uint32_t hash;
	uint64_t *slot;
	int32_t at;

	if (v->pool.failed)
		return pt_buf_check(&v->pool, err);
	n = v->pool.len - off;
	if (id >= PT_VOCAB_MAX)
		return pt_error(err, PT_DATA, "the id %u of a token is out of range (0 to %d)", id, PT_VOCAB_MAX - 1);
	if (n > UINT32_MAX || v->count == INT32_MAX)
		return pt_error(err, PT_DATA, "the vocabulary is too large");
	pt_buf_char(&v->pool, '\0');
	if (v->pool.failed || pt_grow(&v->by_id, &v->id_cap, (size_t)id + 1, sizeof *v->by_id, err) ||
	    pt_grow(&v->token, &v->cap, (size_t)v->count + 1, sizeof *v->token, err))
		return pt_error(err, PT_FAIL, "out of memory for the vocabulary");
	if (v->id_cap > cap)
		memset(v->by_id + cap, 0xff, (v->id_cap - cap) * sizeof *v->by_id);
	if (2 * ((size_t)v->count + 1) > v->slots && resize(v, v->slots ? 2 * v->slots : 1024, err))
		return PT_FAIL;
	hash = (uint32_t)pt_hash64(v->pool.data + off, n);
	slot = find(v, v->pool.data + off, n, hash);
	if (*slot) {
		at = (int32_t)((uint32_t)*slot - 1);
		if (v->by_id[v->token[at].id] == at)
			v->by_id[v->token[at].id] = -1;
	} else {
		at = v->count++;
		*slot = (uint64_t)hash << 32 | ((uint32_t)at + 1);
	}
	v->token[at] = (struct pt_vocab_token){ off, (uint32_t)n, (int32_t)id };
	v->by_id[id] = at;
	if ((int32_t)id >= v->rows)
		v->rows = (int32_t)id + 1;
	if (n > v->longest)
		v->longest = n;
	return 0;
}

int pt_vocab_read(struct pt_vocab *v, struct pt_span span, struct pt_error *err)
{
	struct pt_walk w;
	bool more;
	int status = pt_span_open(&w, span, "vocab", '{', err);

	while (!status) {
		size_t off = v->pool.len;
		uint32_t id;

		status = pt_span_next(&w, &more, err);
		if (status || !more)
			break;
		if ((status = pt_span_string(&w, &v->pool, err)) || (status = pt_span_colon(&w, err)) ||
		    (status = pt_span_id(&w, &id, err)))
			break;
		status = pt_vocab_commit(v, off, id, err);
	}
	return status;
}

int32_t pt_vocab_id(const struct pt_vocab *v, const char *s, size_t n)
{
	uint64_t slot;

	if (!v->slots || n > v->longest)
		return -1;
	slot = *find(v, s, n, (uint32_t)pt_hash64(s, n));
	return slot ? v->token[(uint32_t)slot - 1].id : -1;
}
