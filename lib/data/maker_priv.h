/* SPDX-License-Identifier: MIT */
/*
 * maker_priv.h - inside of the maker: one file for each form of a line.
 */
#ifndef PT_DATA_MAKER_PRIV_H
#define PT_DATA_MAKER_PRIV_H

#include "data/maker.h"

#define PT_IGNORE (-100)

/* What all examples of a line share, and what is set for each. */
struct pt_maker_row {
	const struct pt_sample *s;
	struct pt_gather *g;
	int64_t source, row;
	int32_t cls;
	int64_t group;		/* the line's; of a line that makes a set: place in it */
	float weight;
	int64_t span[2];
};

/* maker.c */
/* Append an example (types NULL: all 0). Labels are m->labels, targets m->target, the decoder's m->decoder. */
int pt_maker_put(struct pt_maker *m, const struct pt_maker_row *r, const int32_t *ids, const int32_t *types, size_t n,
		 struct pt_error *err);
/* Room for n in m->labels. */
int pt_maker_labels(struct pt_maker *m, size_t n, struct pt_error *err);
/* Ids of a text without the template. */
int pt_maker_encode(struct pt_maker *m, const char *s, size_t n, struct pt_encoding *out, struct pt_error *err);
/* The same, and where each token comes from (origin); slower. */
int pt_maker_encode_places(struct pt_maker *m, const char *s, size_t n, struct pt_encoding *out, struct pt_error *err);
/* m->text within room: the part that stays; counts what is cut. */
void pt_maker_cut(struct pt_maker *m, size_t room, size_t *from, size_t *to);
/* EOS behind e, unless it stands there. */
int pt_maker_end_text(const struct pt_maker *m, struct pt_encoding *e, struct pt_error *err);
/* Whether a loss remains of an example with these labels, as the task counts them. */
bool pt_maker_learns(const struct pt_maker *m, const int32_t *labels, size_t n);

/* maker_text.c: texts, their pieces, prompts and completions, pairs. */
int pt_maker_text(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err);
int pt_maker_completion(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err);
int pt_maker_pair(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err);

/* maker_ready.c: ready ids. */
int pt_maker_ready(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err);

/* maker_seq2seq.c: a source and its target. */
int pt_maker_seq2seq(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err);

/* maker_words.c: words and their tags. */
int pt_maker_words(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err);
/* How the tokenizer wants words that are given one by one: with a space before each, or as they are. */
int pt_maker_words_schema(struct pt_maker_options *o, struct pt_error *err);

/* maker_qa.c: a question, its context and the answer in it. */
int pt_maker_qa(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err);

/* maker_set.c: texts that are near to each other, or far. */
int pt_maker_set(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err);

/* maker_label.c */
/* Class and targets of the line, where the task has them. */
int pt_maker_label(struct pt_maker *m, const struct pt_sample *s, int32_t *cls, struct pt_error *err);
/* The class that a JSON value names. */
int pt_maker_class(struct pt_maker *m, const cJSON *v, int32_t *cls, struct pt_error *err);

#endif
