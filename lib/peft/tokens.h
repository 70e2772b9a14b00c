/* SPDX-License-Identifier: MIT */
/*
 * tokens.h - rows of an embedding that train alone, by the ids of their
 * tokens: what the method tokens is, and what trainable_token_indices asks
 * for beside LoRA.
 */
#ifndef PT_PEFT_TOKENS_H
#define PT_PEFT_TOKENS_H

#include "peft/adapter_priv.h"

/* Values of some rows of a table, and the places that read them: it, and what is tied to it. */
struct pt_token_rows {
	const struct pt_adapter *a;
	int64_t n;
	int64_t *id;			/* [n] */
	struct pt_param *value;		/* [n,width] */
	struct pt_tensor minus;		/* [n,width] device: the base's own, negated */
	struct pt_tensor pick;		/* [rows,n] device: 1 where row i is that of id k */
	struct pt_token_place *place;	/* [nplaces] */
	int nplaces;
};

struct pt_token_place {
	struct pt_site *site;
	struct pt_hook hook;
};

/* What trainable_token_indices names; nothing where the method has no such key. */
int pt_tokens_beside(struct pt_adapter *a, struct pt_error *err);
/* Values of a fresh adapter: the base's own, or random. */
int pt_tokens_init(struct pt_adapter *a, uint64_t seed, struct pt_error *err);
/* Whether w is read through these rows; its merged value. */
bool pt_tokens_has(const struct pt_token_rows *r, const struct pt_weight *w);
int pt_tokens_merge(struct pt_adapter *a, const struct pt_weight *w, float *value, bool *changed, struct pt_error *err);
int pt_tokens_hook_in(struct pt_adapter *a, struct pt_error *err);
void pt_tokens_enable(struct pt_adapter *a, bool on);
void pt_tokens_release(struct pt_adapter *a);

#endif
