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

/* Whether a token alone shows nothing but white space. */
static int is_blank(struct pt_maker *m, int32_t id, bool *blank, struct pt_error *err)
{
	unsigned len;

	pt_buf_clear(&m->joined);
	if (pt_decode(m->o->tok, &id, 1, false, &m->joined, err) || pt_buf_check(&m->joined, err))
		return err->status;
	*blank = true;
	for (size_t i = 0; *blank && i < m->joined.len; i += len)
		*blank = pt_is_white(pt_utf8_get(m->joined.data + i, &len));
	return 0;
}

/*
 * The tokens of m->text that hold bytes [from, to) of the context: the first
 * that reaches past from, the last that begins before to (HF's rule, and all
 * tokens of a character that is several). Both -1: no token does. A space
 * that the tokenizer puts in front of a word stands at the word's first
 * character and is left out.
 */
static int find_tokens(struct pt_maker *m, size_t from, size_t to, int64_t span[2], struct pt_error *err)
{
	const struct pt_origin *at = m->text.origin;
	int64_t first = 0, last = (int64_t)m->text.n - 1;
	bool blank;

	while (first <= last && at[first].to <= from)
		first++;
	while (last >= first && at[last].from >= to)
		last--;
	while (first < last && at[first + 1].from == at[first].from) {
		if (is_blank(m, m->text.ids[first], &blank, err))
			return err->status;
		if (!blank)
			break;
		first++;
	}
	span[0] = first <= last ? first : -1;
	span[1] = first <= last ? last : -1;
	return 0;
}

/* The first element of a list, or the value itself. */
static const cJSON *first(const cJSON *v)
{
	return cJSON_IsArray(v) ? v->child : v;
}

/* Tokens of the first answer in m->text, -1: there is none, or nothing of it is left. answer_start counts characters. */
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
	return find_tokens(m, at, at + n, span, err);
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
	    pt_maker_encode_places(m, s->context.s, s->context.n, &m->text, err) ||
	    (s->answers && find_answer(m, s, answer, err)))
		return err->status;
	room = o->max_length - pt_tokenizer_added(o->tok, true) - (int64_t)m->pair.n;
	if (room < 1 || (room <= o->stride && (int64_t)m->text.n > room))
		return pt_error(err, PT_DATA, "a question of %zu tokens leaves no room for its context in %lld%s", m->pair.n,
				(long long)o->max_length, room < 1 ? "" : ", less --stride");
	return put_pieces(m, r, (size_t)room, answer, err);
}
