/* SPDX-License-Identifier: MIT */
/*
 * added.h - added tokens: strings that are found in a text before the model
 * sees it, those with normalized=false in the text as it is, the others in
 * the normalized text.
 */
#ifndef PT_TEXT_ADDED_H
#define PT_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "text/normalizer.h"
#include "text/trie.h"
#include "text/vocab.h"

struct pt_added_token {
	char *s;		/* as the file spells it */
	size_t n;
	char *shown;		/* what decoding gives: normalized where it is matched so */
	size_t nshown;
	int32_t id;
	bool single_word, lstrip, rstrip, normalized;
	bool special;
	bool named_special;	/* some entry for it was special: it stays so when decoding */
};

struct pt_added {
	struct pt_added_token *token;	/* one for each id */
	size_t n, cap;
	int32_t max_id;			/* -1: none */
	int32_t *by_id;			/* index into token, -1; ids up to max_id */
	struct pt_trie trie[2];		/* normalized=false, true; values are indices into token */
};

void pt_added_init(struct pt_added *a);
void pt_added_release(struct pt_added *a);

/*
 * Add a token as `tokenizers` does: it gets the id that its string has, in
 * the vocabulary or as an added token, else the next free one. An entry that
 * is there already changes its flags. t's string is copied.
 */
int pt_added_add(struct pt_added *a, const struct pt_vocab *v, const struct pt_added_token *t, struct pt_error *err);
/* The same from a JSON object with content and flags; all: every flag must stand there. */
int pt_added_parse(struct pt_added_token *t, const cJSON *j, bool all, struct pt_error *err);

/* When all are known: build what find needs, and add all that decides about ids to h. */
int pt_added_finish(struct pt_added *a, const struct pt_normalizer *norm, struct pt_hash *h, struct pt_error *err);

static inline const struct pt_added_token *pt_added_get(const struct pt_added *a, int32_t id)
{
	return id >= 0 && id <= a->max_id && a->by_id[id] >= 0 ? &a->token[a->by_id[id]] : NULL;
}

const struct pt_added_token *pt_added_find(const struct pt_added *a, const char *s, size_t n);

/* Goes over a text: stretches of text and tokens in turn. */
struct pt_added_scan {
	const struct pt_added *a;
	const struct pt_trie *trie;
	const char *s;
	size_t n;
	size_t from;		/* where matching goes on */
	size_t prev;		/* end of what was given out */
	bool plain;		/* special tokens are text */
	size_t start, stop;	/* of the match that waits behind a stretch */
	const struct pt_added_token *token;	/* which; NULL: none waits */
};

void pt_added_scan_init(struct pt_added_scan *sc, const struct pt_added *a, bool normalized, bool plain,
			const char *s, size_t n);
/* The next part [*from, *to): of *token, or text where it is NULL. False at the end. */
int pt_added_scan_next(struct pt_added_scan *sc, bool *more, size_t *from, size_t *to,
		       const struct pt_added_token **token, struct pt_error *err);

#endif
