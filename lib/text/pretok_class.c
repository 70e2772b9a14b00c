/* SPDX-License-Identifier: MIT */
/*
 * pretok_class.c - pre-tokenizers that look at single characters: what kind a
 * character is decides where a text is divided.
 */
#include <string.h>

#include "text/pretok.h"
#include "text/unicode.h"
#include "text/utf8.h"

static int parse_none(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	(void)s;
	(void)j;
	(void)h;
	(void)err;
	return 0;
}

static bool is_punct(uint32_t c)
{
	return pt_unicode(c) & PT_UC_PUNCT8;
}

static bool is_numeric(uint32_t c)
{
	return pt_unicode(c) & PT_UC_NUMERIC;
}

/* Every piece at every character that is of the kind, by behavior. */
static int split(struct pt_work *w, bool (*is)(uint32_t c), enum pt_behavior behavior, struct pt_error *err)
{
	int status = 0;

	for (size_t k = 0; k < w->n && !status; k++) {
		const struct pt_piece p = w->piece[k];
		const char *text = w->base + p.off;
		struct pt_split sp;
		size_t prev = 0;

		pt_split_init(&sp, w, &p, behavior);
		for (size_t i = 0; i < p.n && !status;) {
			unsigned len;

			if (!is(pt_utf8_get(text + i, &len))) {
				i += len;
				continue;
			}
			if (i > prev)
				status = pt_split_range(&sp, prev, i, false, err);
			if (!status)
				status = pt_split_range(&sp, i, i + len, true, err);
			prev = i += len;
		}
		if (!status && prev < p.n)
			status = pt_split_range(&sp, prev, p.n, false, err);
		if (!status)
			status = pt_split_end(&sp, err);
	}
	return status;
}

static int parse_digits(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	bool single;
	int status = pt_json_bool(j, "individual_digits", false, &single, err);

	s->behavior = single ? PT_SPLIT_ISOLATED : PT_SPLIT_CONTIGUOUS;
	pt_hash_u64(h, single);
	return status;
}

static int run_digits(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	(void)text;
	return split(w, is_numeric, s->behavior, err);
}

const struct pt_pretok_kind pt_pretok_digits = { "Digits", parse_digits, run_digits };

static int parse_punctuation(struct pt_pretok_stage *s, const cJSON *j, struct pt_hash *h, struct pt_error *err)
{
	int status = pt_behavior_parse(j, "behavior", PT_SPLIT_ISOLATED, &s->behavior, err);

	pt_hash_u64(h, (uint64_t)s->behavior);
	return status;
}

static int run_punctuation(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	(void)text;
	return split(w, is_punct, s->behavior, err);
}

const struct pt_pretok_kind pt_pretok_punctuation = { "Punctuation", parse_punctuation, run_punctuation };

static int run_whitespace_split(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	(void)s;
	(void)text;
	return split(w, pt_is_white, PT_SPLIT_REMOVED, err);
}

const struct pt_pretok_kind pt_pretok_whitespace_split = { "WhitespaceSplit", parse_none, run_whitespace_split };

enum kind { WHITE, WORD, PUNCT };

static enum kind bert_kind(uint32_t c)
{
	if (c < 0x80 && ((c | 0x20) - 'a' < 26 || c - '0' < 10))
		return WORD;
	return pt_is_white(c) ? WHITE : is_punct(c) ? PUNCT : WORD;
}

static enum kind whitespace_kind(uint32_t c)
{
	if (c < 0x80 && ((c | 0x20) - 'a' < 26 || c - '0' < 10))
		return WORD;
	return pt_is_white(c) ? WHITE : pt_is_word(c) ? WORD : PUNCT;
}

/* Runs of one kind, white space left out; each punctuation alone where single. */
static int runs(struct pt_work *w, enum kind (*kind)(uint32_t c), bool single, struct pt_error *err)
{
	int status = 0;

	for (size_t k = 0; k < w->n && !status; k++) {
		const struct pt_piece p = w->piece[k];
		const char *text = w->base + p.off;

		for (size_t i = 0; i < p.n && !status;) {
			unsigned len;
			size_t from = i;
			enum kind first = kind(pt_utf8_get(text + i, &len));

			i += len;
			while (i < p.n && !(single && first == PUNCT) && kind(pt_utf8_get(text + i, &len)) == first)
				i += len;
			if (first != WHITE)
				status = pt_work_part(w, &p, from, i, err);
		}
	}
	return status;
}

static int run_bert(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	(void)s;
	(void)text;
	return runs(w, bert_kind, true, err);
}

const struct pt_pretok_kind pt_pretok_bert = { "BertPreTokenizer", parse_none, run_bert };

static int run_whitespace(const struct pt_pretok_stage *s, struct pt_work *w, bool *text, struct pt_error *err)
{
	(void)s;
	(void)text;
	return runs(w, whitespace_kind, false, err);
}

const struct pt_pretok_kind pt_pretok_whitespace = { "Whitespace", parse_none, run_whitespace };
