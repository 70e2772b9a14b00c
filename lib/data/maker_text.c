/* SPDX-License-Identifier: MIT */
/*
 * maker_text.c - texts, their pieces, prompts with completions, pairs.
 */
#include "data/maker_priv.h"

/*
 * An example of the ids [from, to) of m->text, in the template. Where context
 * is set the ids before first are not learned, nor what the template puts
 * before them. Dropped where nothing is learned.
 */
static int put_text(struct pt_maker *m, const struct pt_maker_row *r, size_t from, size_t to, bool context,
		    size_t first, struct pt_error *err)
{
	struct pt_encoding *w = &m->wrapped;

	if (pt_wrap(m->o->tok, m->text.ids + from, to - from, NULL, 0, PT_ENCODE_SPECIAL, w, err) ||
	    pt_maker_labels(m, w->n, err))
		return err->status;
	if (m->o->task.task == PT_TASK_CAUSAL_LM) {
		size_t masked = context ? (size_t)m->o->before : 0;

		if (context && first > from)
			masked += (first < to ? first : to) - from;
		for (size_t t = 0; t < w->n; t++)
			m->labels[t] = t < masked ? PT_IGNORE : w->ids[t];
		if ((context && first >= to) || !pt_maker_learns(m, m->labels, w->n)) {
			m->counts.dropped++;
			return 0;
		}
	}
	return pt_maker_put(m, r, w->ids, w->types, w->n, err);
}

static int put_pieces(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err)
{
	size_t size = (size_t)(m->o->chunk - m->o->special), stride = (size_t)m->o->stride, n = m->text.n;

	for (size_t from = 0;; from += size - stride) {
		size_t to = from + size < n ? from + size : n;

		/* What a piece shares with the one before is context: each token is learned once. */
		if (put_text(m, r, from, to, from > 0, from + stride, err))
			return err->status;
		if (to == n)
			return 0;
	}
}

int pt_maker_text(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err)
{
	size_t from, to;

	if (pt_maker_encode(m, r->s->text.s, r->s->text.n, &m->text, err) ||
	    pt_maker_end_text(m, &m->text, err))
		return err->status;
	if (m->o->chunk)
		return put_pieces(m, r, err);
	pt_maker_cut(m, (size_t)(m->o->max_length - m->o->special), &from, &to);
	return put_text(m, r, from, to, false, 0, err);
}

int pt_maker_completion(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_sample_text *p = &r->s->prompt, *c = &r->s->completion;
	size_t from, to, same = 0;

	if (!c->s)
		return pt_error(err, PT_DATA, "\"prompt\" without \"completion\"");
	if (m->o->task.task != PT_TASK_CAUSAL_LM)
		return pt_error(err, PT_DATA, "\"prompt\" and \"completion\" are for --task lm or seq2seq, not %s",
				pt_maker_task_name(&m->o->task));
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for \"prompt\" and \"completion\"");
	pt_buf_clear(&m->joined);
	pt_buf_add(&m->joined, p->s, p->n);
	pt_buf_add(&m->joined, c->s, c->n);
	if (pt_buf_check(&m->joined, err) || pt_maker_encode(m, p->s, p->n, &m->pair, err) ||
	    pt_maker_encode(m, m->joined.data, m->joined.len, &m->text, err))
		return err->status;
	while (same < m->pair.n && same < m->text.n && m->pair.ids[same] == m->text.ids[same])
		same++;
	if (pt_maker_end_text(m, &m->text, err))
		return err->status;
	pt_maker_cut(m, (size_t)(m->o->max_length - m->o->special), &from, &to);
	return put_text(m, r, from, to, true, same, err);
}

int pt_maker_pair(struct pt_maker *m, const struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_sample *s = r->s;
	int flags = PT_ENCODE_SPECIAL | (m->o->split_special ? PT_ENCODE_PLAIN : 0);
	int added = pt_tokenizer_added(m->o->tok, true);
	size_t na, nb;

	if (m->o->task.task == PT_TASK_CAUSAL_LM)
		return pt_error(err, PT_DATA, "\"text_pair\" is for --task class, not lm");
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for pairs");
	if (m->o->max_length <= added)
		return pt_error(err, PT_USAGE, "--max-length %lld leaves no room beside the tokenizer's %d special tokens "
				"of a pair", (long long)m->o->max_length, added);
	if (pt_maker_encode(m, s->text.s, s->text.n, &m->text, err) ||
	    pt_maker_encode(m, s->pair.s, s->pair.n, &m->pair, err))
		return err->status;
	na = m->text.n;
	nb = m->pair.n;
	if (na + nb > (size_t)(m->o->max_length - added))
		m->counts.cut++;
	if (pt_truncate(&na, &nb, true, (size_t)(m->o->max_length - added), flags, err))
		return err->status;
	bool left = pt_tokenizer_truncates_left(m->o->tok);

	if (pt_wrap(m->o->tok, m->text.ids + (left ? m->text.n - na : 0), na,
		    m->pair.ids + (left ? m->pair.n - nb : 0), nb, flags, &m->wrapped, err))
		return err->status;
	for (size_t t = 0; added && t < m->wrapped.n && !m->o->types; t++)
		if (m->wrapped.types[t])
			return pt_error(err, PT_DATA, "\"text_pair\" needs token types, which the first line has not: "
					"pairs or single texts, not both");
	return pt_maker_put(m, r, m->wrapped.ids, m->wrapped.types, m->wrapped.n, err);
}
