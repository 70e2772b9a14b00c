/* SPDX-License-Identifier: MIT */
/*
 * tokenizer.h - tokenizers as the Python package `tokenizers` reads them:
 * the same ids from the same tokenizer.json.
 *
 * A struct pt_tokenizer is immutable once open and shared by all threads.
 * Each thread encodes through a struct pt_encoder of its own, which holds
 * scratch memory and a cache of words; results never depend on it.
 *
 * Text goes in as UTF-8 with a length and may hold NUL bytes. Invalid UTF-8
 * is refused with PT_DATA (base/utf8.h checks it, text/utf8.h replaces it beforehand).
 * The truncation and padding stored in a tokenizer.json are ignored.
 */
#ifndef PT_TEXT_TOKENIZER_H
#define PT_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct pt_tokenizer;
struct pt_encoder;

/*
 * path is a tokenizer.json, or a directory: its tokenizer.json, else
 * vocab.json + merges.txt (read as ByteLevelBPETokenizer), else vocab.txt
 * (read as BertWordPieceTokenizer); then tokenizer_config.json and
 * special_tokens_map.json beside it: special tokens, and add_bos_token and
 * add_eos_token for vocab.json + merges.txt alone (beside a tokenizer.json its
 * post-processor decides, as in transformers 5). PT_DATA names what is wrong
 * or not supported; a directory without any of them is PT_DATA too, with the
 * command that makes a tokenizer.json out of sentencepiece's file.
 */
int pt_tokenizer_open(struct pt_tokenizer **tok, const char *path, struct pt_error *err);
void pt_tokenizer_close(struct pt_tokenizer *tok);	/* NULL is fine */
/* Whether a directory holds files that pt_tokenizer_open() would read. */
bool pt_tokenizer_exists(const char *dir);

/*
 * Identity: whatever decides about ids (model, vocabulary, merges, added
 * tokens, normalizer, pre-tokenizer, post-processor), not how it was spelled
 * or in which files it stood, nor the decoder.
 */
uint64_t pt_tokenizer_digest(const struct pt_tokenizer *tok);

/* Facts about the vocabulary, added tokens included. */
int32_t pt_tokenizer_vocab_size(const struct pt_tokenizer *tok);	/* number of tokens */
int32_t pt_tokenizer_max_id(const struct pt_tokenizer *tok);		/* largest id; rows needed - 1 */
/* The token as the file spells it ("Ġthe"), borrowed, NUL-terminated; NULL: no such id. *n (may be NULL) its bytes. */
const char *pt_tokenizer_token(const struct pt_tokenizer *tok, int32_t id, size_t *n);
int32_t pt_tokenizer_id(const struct pt_tokenizer *tok, const char *token, size_t n);	/* -1: none */
bool pt_tokenizer_is_special(const struct pt_tokenizer *tok, int32_t id);

/* Named special tokens of tokenizer_config.json, then special_tokens_map.json; where neither names one,
 * those of the post-processor (cls, sep) and of the recipe of vocab-only directories. -1: none. */
enum pt_token_name {
	PT_TOKEN_BOS, PT_TOKEN_EOS, PT_TOKEN_UNK, PT_TOKEN_SEP, PT_TOKEN_PAD, PT_TOKEN_CLS, PT_TOKEN_MASK,
	PT_TOKEN_NAMES
};
int32_t pt_tokenizer_named(const struct pt_tokenizer *tok, enum pt_token_name name);

/* model_max_length of tokenizer_config.json; 0: none, or a stand-in for none such as 1e30. */
int64_t pt_tokenizer_max_length(const struct pt_tokenizer *tok);
/* truncation_side "left" in tokenizer_config.json; also the default of PT_TRUNCATE_LEFT below. */
bool pt_tokenizer_truncates_left(const struct pt_tokenizer *tok);
/* Ids that the post-processor adds to one text, or to a pair. */
int pt_tokenizer_added(const struct pt_tokenizer *tok, bool pair);

/*
 * Where a token comes from, as the package's offsets and sequence_ids say: bytes [from, to) of a text as it
 * was passed in, whole characters. Normalizers and byte-level tokens make it overlap with its neighbours or be
 * empty; it is what the package says, character by character, for every kind of normalizer and pre-tokenizer.
 */
struct pt_origin {
	size_t from, to;
	int text;		/* 0: the first, 1: the second of a pair, -1: none, the post-processor added it (from = to = 0) */
};

/* A growable result; zero-initialise, reuse freely. */
struct pt_encoding {
	int32_t *ids;
	int32_t *types;		/* token_type_ids: always as many as ids */
	struct pt_origin *origin;	/* as many as ids where PT_ENCODE_ORIGIN asked for it; else NULL */
	size_t n;
	size_t cap;
};

#define PT_ENCODING_INIT { NULL, NULL, NULL, 0, 0 }
void pt_encoding_release(struct pt_encoding *e);
int pt_encoding_reserve(struct pt_encoding *e, size_t n, struct pt_error *err);	/* room for n in all */

enum pt_encode_flags {
	PT_ENCODE_SPECIAL = 1,		/* add_special_tokens=True: run the post-processor */
	PT_ENCODE_PLAIN = 2,		/* split_special_tokens=True: special tokens typed in the text are text */
	PT_TRUNCATE_LEFT = 4,		/* drop from the start */
	PT_TRUNCATE_RIGHT = 8,		/* drop from the end; neither: as the tokenizer says */
	PT_TRUNCATE_ONLY_FIRST = 16,	/* of a pair; neither: longest first */
	PT_TRUNCATE_ONLY_SECOND = 32,
	PT_ENCODE_ORIGIN = 64,		/* fill origin: slower, words are not cached */
};

int pt_encoder_new(struct pt_encoder **enc, const struct pt_tokenizer *tok, struct pt_error *err);
void pt_encoder_free(struct pt_encoder *enc);

/*
 * Replace *out by the ids of a text, or of the pair a, b. max_length > 0 truncates as HF does, before the
 * special tokens and counting them; a limit with no room for them, or a side that cannot give up enough
 * (only_first, only_second), is PT_USAGE. PT_DATA: invalid UTF-8, or an unknown character where the
 * vocabulary has no unknown token.
 */
int pt_encode(struct pt_encoder *enc, const char *text, size_t n, int flags, int64_t max_length,
	      struct pt_encoding *out, struct pt_error *err);
int pt_encode_pair(struct pt_encoder *enc, const char *a, size_t na, const char *b, size_t nb, int flags,
		   int64_t max_length, struct pt_encoding *out, struct pt_error *err);

/*
 * The parts of which the above consist, for those who cut ids themselves (windows of a long text).
 * pt_truncate: how many of *na and *nb ids may stay when max ids are allowed for both together
 * (max is what remains for text: the limit less pt_tokenizer_added()). pair false: *nb is left alone.
 * pt_wrap: *out = the post-processor's template around ids (b NULL: one text; b may be empty). Without
 * PT_ENCODE_SPECIAL only the sequences and their types. a, b must not lie in out. With PT_ENCODE_ORIGIN
 * out->origin says which of the ids each is: from is the index in a (text 0) or b (text 1), to is from + 1. The
 * places of a window are those of its ids: origin[first + from] of the text that was encoded alone.
 */
int pt_truncate(size_t *na, size_t *nb, bool pair, size_t max, int flags, struct pt_error *err);
int pt_wrap(const struct pt_tokenizer *tok, const int32_t *a, size_t na, const int32_t *b, size_t nb, int flags,
	    struct pt_encoding *out, struct pt_error *err);

/*
 * Append the text of ids to out. Unknown ids are skipped, as are special tokens when skip_special.
 * Bytes that are not UTF-8 become U+FFFD. clean_up_tokenization_spaces is applied as transformers 5
 * does: where tokenizer_config.json asks for it and the model is not BPE.
 */
int pt_decode(const struct pt_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
	      struct pt_buf *out, struct pt_error *err);

/*
 * The same token by token: what pt_decoder_push() and the final pt_decoder_flush() append to out is, in all,
 * what pt_decode() gives of all ids (before clean-up of spaces). What may still change is held back: the
 * first bytes of a character, byte-fallback runs.
 */
struct pt_decoder {
	const struct pt_tokenizer *tok;
	bool skip_special;
	int32_t *ids;		/* window: context already printed, then what is held back */
	size_t n;
	size_t cap;
	size_t context;		/* ids of the window already printed */
};

void pt_decoder_init(struct pt_decoder *d, const struct pt_tokenizer *tok, bool skip_special);
void pt_decoder_release(struct pt_decoder *d);
int pt_decoder_push(struct pt_decoder *d, int32_t id, struct pt_buf *out, struct pt_error *err);
int pt_decoder_flush(struct pt_decoder *d, struct pt_buf *out, struct pt_error *err);	/* d is as new */

#endif
