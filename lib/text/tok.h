/* SPDX-License-Identifier: MIT */
/*
 * tok.h - a tokenizer in memory, for the files of this folder.
 */
#ifndef PT_TEXT_TOK_H
#define PT_TEXT_TOK_H

#include "text/added.h"
#include "text/decoders.h"
#include "text/normalizer.h"
#include "text/post.h"
#include "text/pretok.h"
#include "text/tokenizer.h"
#include "text/vocab.h"
#include "text/wordmodel.h"

struct pt_tokenizer {
	struct pt_vocab vocab;		/* of the model; added tokens beside it */
	struct pt_added added;
	struct pt_normalizer norm;
	struct pt_pretok pretok;
	const struct pt_wordmodel *model;
	void *data;			/* of the model */
	struct pt_post post;
	struct pt_decoders decoders;
	int32_t named[PT_TOKEN_NAMES];
	int64_t max_length;
	bool left, cleanup;
	uint64_t digest;
};

/*
 * The parts of a tokenizer as cJSON trees and spans: f's root has added_tokens,
 * normalizer, pre_tokenizer, post_processor, decoder, model. pt_tok_build() makes tok of
 * them; h collects what decides about ids. Added tokens may follow until pt_tok_finish().
 */
int pt_tok_build(struct pt_tokenizer *tok, const struct pt_tokfile *f, struct pt_hash *h, struct pt_error *err);
int pt_tok_finish(struct pt_tokenizer *tok, struct pt_hash *h, struct pt_error *err);

/* Recipes for directories without tokenizer.json: make an f to build from. config may be NULL. */
int pt_tok_recipe_bytelevel(struct pt_tokfile *f, const char *vocab, const char *merges, struct pt_error *err);
int pt_tok_recipe_bert(struct pt_tokfile *f, const char *vocab, const cJSON *config, struct pt_error *err);

/* Empty e; origin: with or without. */
int pt_encoding_begin(struct pt_encoding *e, bool origin, struct pt_error *err);

/* tokenizer_config.json and special_tokens_map.json (NULL where absent): before and after pt_tok_finish().
 * names as in struct pt_tokfile. */
int pt_tok_config_tokens(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, struct pt_error *err);
/* add_bos_token and add_eos_token, where they count. */
int pt_tok_config_surround(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, const char *const *names,
			   struct pt_hash *h, struct pt_error *err);
int pt_tok_config_rest(struct pt_tokenizer *tok, const cJSON *config, const cJSON *map, const char *const *names,
		       struct pt_error *err);

#endif
