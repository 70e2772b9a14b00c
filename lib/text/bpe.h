/* SPDX-License-Identifier: MIT */
/*
 * bpe.h - byte pair encoding (Sennrich et al. 2016): a loaded model.
 */
#ifndef PT_TEXT_BPE_H
#define PT_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/wordmodel.h"

enum { PT_BPE_LOW = 0x800 };

struct pt_bpe_merge {
	uint64_t pair;		/* left id << 32 | right id; PT_BPE_FREE */
	uint32_t rank;
	int32_t id;		/* of the result */
};

#define PT_BPE_FREE UINT64_MAX

struct pt_bpe {
	struct pt_bpe_merge *merge;	/* open addressing */
	size_t slots;			/* a power of two */
	int shift;			/* 64 - log2(slots) */
	int32_t low[PT_BPE_LOW];	/* ids of characters below U+0800, -1: none; raw: of bytes */
	int32_t byte[256];		/* ids of <0x00> to <0xFF>, -1 */
	char *prefix, *suffix;		/* NULL where empty */
	char *unk;			/* NULL: none */
	int32_t unk_id;			/* -1: not in the vocabulary */
	bool raw, fuse_unk, byte_fallback, ignore_merges;
	bool cuts;			/* no token has U+2581 behind another character: words may be cut there */
};

static inline const struct pt_bpe_merge *pt_bpe_find(const struct pt_bpe *m, int32_t a, int32_t b)
{
	uint64_t pair = (uint64_t)(uint32_t)a << 32 | (uint32_t)b;
	size_t i = (size_t)((pair * 0x9e3779b97f4a7c15u) >> m->shift);

	for (;; i = (i + 1) & (m->slots - 1)) {
		if (m->merge[i].pair == pair)
			return &m->merge[i];
		if (m->merge[i].pair == PT_BPE_FREE)
			return NULL;
	}
}

bool pt_bpe_takes_raw(const cJSON *model);
int pt_bpe_load(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		struct pt_error *err);
void pt_bpe_free(void *data);

#endif
