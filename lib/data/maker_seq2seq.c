/* SPDX-License-Identifier: MIT */
/*
 * maker_seq2seq.c - a source and what is to be made of it. Both get the
 * tokenizer's template, as HF's text_target; the target ends in EOS, learned.
 */
#include "data/maker_priv.h"

#include <string.h>

#include "base/mem.h"

static int get_target(struct pt_maker *m, const struct pt_sample_text *t, struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;
	size_t room = (size_t)(o->max_target - o->special), n, from = 0;

	if (pt_maker_encode(m, t->s, t->n, &m->pair, err) || pt_maker_end_text(m, &m->pair, err))
		return err->status;
	n = m->pair.n;
	if (n > room) {
		m->counts.cut++;
		from = pt_tokenizer_truncates_left(o->tok) ? n - room : 0;
		n = room;
	}
	if (pt_wrap(o->tok, m->pair.ids + from, n, NULL, 0, PT_ENCODE_SPECIAL, &m->decoder, err) ||
	    pt_grow(&m->decoder_labels, &m->decoder_cap, m->decoder.n + 1, sizeof *m->decoder_labels, err))
		return err->status;
	if (!m->decoder.n)
		return pt_error(err, PT_DATA, "no tokens: the target is empty");
	memcpy(m->decoder_labels, m->decoder.ids, m->decoder.n * sizeof *m->decoder_labels);
	return 0;
}

int pt_maker_seq2seq(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_sample *s = r->s;
	const struct pt_sample_text *source = s->prompt.s ? &s->prompt : &s->text;
	size_t from, to;

	if (!source->s || s->pair.s)
		return pt_error(err, PT_DATA, "--task seq2seq wants \"prompt\" and \"completion\"");
	if (!s->completion.s != !m->o->decoder)
		return pt_error(err, PT_DATA, "\"completion\": the first line has %s", s->completion.s ? "none" : "one");
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for a source and its target");
	if (pt_maker_encode(m, source->s, source->n, &m->text, err) ||
	    (s->completion.s && get_target(m, &s->completion, err)))
		return err->status;
	pt_maker_cut(m, (size_t)(m->o->max_length - m->o->special), &from, &to);
	if (pt_wrap(m->o->tok, m->text.ids + from, to - from, NULL, 0, PT_ENCODE_SPECIAL, &m->wrapped, err))
		return err->status;
	return pt_maker_put(m, r, m->wrapped.ids, m->wrapped.types, m->wrapped.n, err);
}
