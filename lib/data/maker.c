/* SPDX-License-Identifier: MIT */
/*
 * maker.c - see maker.h.
 */
#include "data/maker_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

int pt_maker_init(struct pt_maker *m, const struct pt_maker_options *o, struct pt_error *err)
{
	memset(m, 0, sizeof *m);
	m->o = o;
	m->target = pt_malloc((size_t)o->k, sizeof *m->target, err);
	return m->target ? pt_encoder_new(&m->enc, o->tok, err) : err->status;
}

void pt_maker_release(struct pt_maker *m)
{
	pt_encoder_free(m->enc);
	pt_encoding_release(&m->text);
	pt_encoding_release(&m->pair);
	pt_encoding_release(&m->wrapped);
	pt_encoding_release(&m->decoder);
	pt_buf_release(&m->utf8);
	pt_buf_release(&m->joined);
	pt_buf_release(&m->name);
	pt_buf_release(&m->what);
	free(m->labels);
	free(m->decoder_labels);
	free(m->target);
	memset(m, 0, sizeof *m);
}

int pt_maker_parse(struct pt_maker *m, const struct pt_line *l, struct pt_sample *s, struct pt_error *err)
{
	const char *text = l->text;
	size_t n = l->n, bad = pt_utf8_valid(text, n);

	memset(s, 0, sizeof *s);
	pt_buf_clear(&m->what);
	pt_buf_printf(&m->what, "%s:%lld", l->of->name, (long long)l->row);
	if (pt_buf_check(&m->what, err))
		return err->status;
	if (bad < n && !m->o->replace)
		return pt_error(err, PT_DATA, "%s: invalid UTF-8 at byte %zu (--replace puts U+FFFD)", m->what.data,
				bad + 1);
	if (bad < n) {
		pt_buf_clear(&m->utf8);
		pt_utf8_replace(&m->utf8, text, n);
		if (pt_buf_check(&m->utf8, err))
			return err->status;
		text = m->utf8.data;
		n = m->utf8.len;
		m->counts.replaced++;
	}
	return pt_sample_line(s, l->of, text, n, m->what.data, err);
}

int pt_maker_put(struct pt_maker *m, const struct pt_maker_row *r, const int32_t *ids, const int32_t *types, size_t n,
		 struct pt_error *err)
{
	const int64_t zero = 0, offsets[2] = { 0, (int64_t)n }, decoder[2] = { 0, (int64_t)m->decoder.n };
	struct pt_examples x = { .n = 1, .tokens = (int64_t)n, .k = m->o->k, .index = &zero, .input_ids = ids,
				 .offsets = offsets, .labels = m->labels, .token_type_ids = types,
				 .cls = &r->cls, .target = m->target, .decoder_ids = m->decoder.ids,
				 .decoder_offsets = decoder, .decoder_labels = m->decoder_labels, .span = r->span,
				 .group = &r->group, .weight = &r->weight, .source = &r->source, .row = &r->row };

	if (!n)
		return pt_error(err, PT_DATA, "no tokens: the text is empty");
	pt_gather_add(r->g, &x, 0);
	return 0;
}

int pt_maker_labels(struct pt_maker *m, size_t n, struct pt_error *err)
{
	return pt_grow(&m->labels, &m->cap, n + 1, sizeof *m->labels, err);
}

bool pt_maker_learns(const struct pt_maker *m, const int32_t *labels, size_t n)
{
	for (size_t t = pt_task_shifts(m->o->task.task); t < n; t++)
		if (labels[t] != PT_IGNORE)
			return true;
	return false;
}

static int encode(struct pt_maker *m, const char *s, size_t n, int flags, struct pt_encoding *out, struct pt_error *err)
{
	return pt_encode(m->enc, s, n, flags | (m->o->split_special ? PT_ENCODE_PLAIN : 0), 0, out, err);
}

int pt_maker_encode(struct pt_maker *m, const char *s, size_t n, struct pt_encoding *out, struct pt_error *err)
{
	return encode(m, s, n, 0, out, err);
}

int pt_maker_encode_places(struct pt_maker *m, const char *s, size_t n, struct pt_encoding *out, struct pt_error *err)
{
	return encode(m, s, n, PT_ENCODE_ORIGIN, out, err);
}

int pt_maker_end_text(const struct pt_maker *m, struct pt_encoding *e, struct pt_error *err)
{
	int32_t eos = m->o->eos;

	if (eos < 0 || (e->n && e->ids[e->n - 1] == eos))
		return 0;
	if (pt_encoding_reserve(e, e->n + 1, err))
		return err->status;
	e->types[e->n] = 0;
	e->ids[e->n++] = eos;
	return 0;
}

void pt_maker_cut(struct pt_maker *m, size_t room, size_t *from, size_t *to)
{
	size_t n = m->text.n;

	*from = 0;
	*to = n;
	if (n <= room)
		return;
	m->counts.cut++;
	if (pt_tokenizer_truncates_left(m->o->tok))
		*from = n - room;
	else
		*to = room;
}

/* A text, a pair, a prompt: what the line has. */
static int make_text(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_sample *s = r->s;

	if (s->prompt.s)
		return pt_maker_completion(m, r, err);
	if (s->pair.s)
		return pt_maker_pair(m, r, err);
	if (s->text.s)
		return pt_maker_text(m, r, err);
	return pt_error(err, PT_DATA, "no \"text\" for --task %s: %s", pt_maker_task_name(&m->o->task),
			s->question.s ? "a question and its context are for qa" :
			s->nset ? "texts that are near or far are for contrastive" : "words are for token-class");
}

/* The form that a task wants. */
static int (*const form[PT_TASKS])(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err) = {
	[PT_TASK_CAUSAL_LM] = make_text, [PT_TASK_SEQ_CLS] = make_text, [PT_TASK_MASKED_LM] = make_text,
	[PT_TASK_TOKEN_CLS] = pt_maker_words, [PT_TASK_SEQ2SEQ_LM] = pt_maker_seq2seq, [PT_TASK_QA] = pt_maker_qa,
	[PT_TASK_CONTRASTIVE] = pt_maker_set,
};

int pt_maker_line(struct pt_maker *m, const struct pt_line *l, struct pt_gather *g, struct pt_error *err)
{
	struct pt_sample s;
	struct pt_maker_row r = { .s = &s, .source = l->of->source, .row = l->row, .g = g, .span = { -1, -1 } };
	int status = pt_maker_parse(m, l, &s, err);

	if (status)
		return status;
	r.group = s.group;
	r.weight = s.weight;
	status = pt_maker_label(m, &s, &r.cls, err);
	if (!status)
		status = s.ids ? pt_maker_ready(m, &r, err) : form[m->o->task.task](m, &r, err);
	pt_sample_release(&s);
	return status ? pt_error_prefix(err, "%s", m->what.data) : 0;
}
