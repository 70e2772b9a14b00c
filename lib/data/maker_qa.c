/* SPDX-License-Identifier: MIT */
/*
 * maker_qa.c - a question, its context and an answer that stands in it, as
 * SQuAD has them. A context that does not fit is read in pieces, each after
 * the question; in a piece that does not hold the answer whole, and where
 * there is none, the answer is the first token (HF's rule).
 */
#include "data/maker_priv.h"

#include <string.h>

#include "text/unicode.h"
#include "text/utf8.h"

/* Code points that are no white space in the text of ids. */
static int count_shown(struct pt_maker *m, const int32_t *ids, size_t n, size_t *count, struct pt_error *err)
{
	unsigned len;
	uint32_t c;

	pt_buf_clear(&m->joined);
	if (pt_decode(m->o->tok, ids, n, false, &m->joined, err) || pt_buf_check(&m->joined, err))
		return err->status;
	*count = 0;
	for (size_t i = 0; i < m->joined.len; i += len) {
		c = pt_utf8_get(m->joined.data + i, &len);
		*count += !pt_is_white(c);
	}
	return 0;
}

/*
 * The token of m->text that holds the character at byte at of the context; with
 * end the one before it. Tokens that the text up to there has too end before
 * it. Where tokenizers see a word's beginning otherwise than the word, the
 * text that tokens stand for tells how far each reaches.
 */
static int find_token(struct pt_maker *m, const struct pt_sample_text *context, size_t at, bool end, int64_t *token,
		      struct pt_error *err)
{
	const struct pt_encoding *all = &m->text, *part = &m->wrapped;
	size_t same = 0, want, have;

	if (pt_maker_encode(m, context->s, at, &m->wrapped, err))
		return err->status;
	while (same < part->n && same < all->n && part->ids[same] == all->ids[same])
		same++;
	if (same == part->n) {
		*token = (int64_t)same - (end && same);
		return 0;
	}
	if (count_shown(m, part->ids, part->n, &want, err))
		return err->status;
	/* The first token up to which so much is shown; the last where none is. */
	for (size_t last = all->n ? all->n - 1 : 0; same < last; ) {
		size_t half = same + (last - same) / 2;

		if (count_shown(m, all->ids, half + 1, &have, err))
			return err->status;
		if (end ? have >= want : have > want)
			last = half;
		else
			same = half + 1;
	}
	*token = (int64_t)same;
	return 0;
}

/* The first element of a list, or the value itself. */
static const cJSON *first(const cJSON *v)
{
	return cJSON_IsArray(v) ? v->child : v;
}

/* Tokens of the first answer in m->text; -1: there is none. answer_start counts characters. */
static int find_answer(struct pt_maker *m, const struct pt_sample *s, int64_t span[2], struct pt_error *err)
{
	const cJSON *text = first(pt_json_get(s->answers, "text")), *start = first(pt_json_get(s->answers, "answer_start"));
	size_t at = 0, n;
	int64_t c;

	span[0] = span[1] = -1;
	if (!text && !start)
		return 0;
	if (!cJSON_IsString(text) || !start || pt_json_to_int(start, 0, INT32_MAX, &c, err)) {
		pt_error_clear(err);
		return pt_error(err, PT_DATA, "\"answers\" wants \"text\" and \"answer_start\", a place in the context");
	}
	n = strlen(text->valuestring);
	for (; c > 0 && at < s->context.n; c--)
		at += pt_utf8_len(s->context.s[at]);
	if (c || !n || n > s->context.n - at || memcmp(s->context.s + at, text->valuestring, n))
		return pt_error(err, PT_DATA, "the answer does not stand in the context at its \"answer_start\", %d",
				start->valueint);
	if (find_token(m, &s->context, at, false, &span[0], err) || find_token(m, &s->context, at + n, true, &span[1], err))
		return err->status;
	if (span[1] >= (int64_t)m->text.n)
		span[1] = (int64_t)m->text.n - 1;
	if (span[0] > span[1])
		span[0] = span[1];
	return 0;
}

static int put_pieces(struct pt_maker *m, struct pt_maker_row *r, size_t room, const int64_t answer[2],
		      struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;
	size_t n = m->text.n, stride = (size_t)o->stride, front = (size_t)(o->pair_before + o->pair_between) + m->pair.n;

	r->group = 0;
	for (size_t from = 0;; from += room - stride, r->group++) {
		size_t to = from + room < n ? from + room : n;
		bool holds = answer[0] >= (int64_t)from && answer[1] < (int64_t)to;

		for (int i = 0; i < 2; i++)
			r->span[i] = !o->spans ? -1 : holds ? (int64_t)(front - from) + answer[i] : 0;
		if (pt_wrap(o->tok, m->pair.ids, m->pair.n, m->text.ids + from, to - from, PT_ENCODE_SPECIAL,
			    &m->wrapped, err) ||
		    pt_maker_put(m, r, m->wrapped.ids, m->wrapped.types, m->wrapped.n, err))
			return err->status;
		if (to == n)
			return 0;
	}
}

int pt_maker_qa(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;
	const struct pt_sample *s = r->s;
	int64_t room, answer[2] = { -1, -1 };

	if (!s->question.s)
		return pt_error(err, PT_DATA, "--task qa wants \"question\" and \"context\"");
	if (!s->answers != !o->spans)
		return pt_error(err, PT_DATA, "\"answers\": the first line has %s", s->answers ? "none" : "some");
	if (pt_maker_encode(m, s->question.s, s->question.n, &m->pair, err) ||
	    pt_maker_encode(m, s->context.s, s->context.n, &m->text, err) ||
	    (s->answers && find_answer(m, s, answer, err)))
		return err->status;
	room = o->max_length - pt_tokenizer_added(o->tok, true) - (int64_t)m->pair.n;
	if (room < 1 || (room <= o->stride && (int64_t)m->text.n > room))
		return pt_error(err, PT_DATA, "a question of %zu tokens leaves no room for its context in %lld%s", m->pair.n,
				(long long)o->max_length, room < 1 ? "" : ", less --stride");
	return put_pieces(m, r, (size_t)room, answer, err);
}
