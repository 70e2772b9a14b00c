/* SPDX-License-Identifier: MIT */
/*
 * maker.c - see maker.h.
 */
#include "data/maker.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/utf8.h"

enum { IGNORE = -100 };

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
	pt_buf_release(&m->utf8);
	pt_buf_release(&m->joined);
	pt_buf_release(&m->name);
	pt_buf_release(&m->what);
	free(m->labels);
	free(m->target);
	memset(m, 0, sizeof *m);
}

int pt_maker_parse(struct pt_maker *m, const struct pt_block *b, const struct pt_line *l, struct pt_sample *s,
		   struct pt_error *err)
{
	const char *text = l->text;
	size_t n = l->n, bad = pt_utf8_valid(text, n);

	memset(s, 0, sizeof *s);
	pt_buf_clear(&m->what);
	pt_buf_printf(&m->what, "%s:%lld", b->name, (long long)l->row);
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
	if (b->json)
		return pt_sample_parse(s, text, n, m->what.data, err);
	pt_sample_plain(s, text, n);
	return 0;
}

/* --- one example --- */

struct row {
	const struct pt_sample *s;
	int64_t source, row;
	int32_t cls;
	struct pt_gather *g;
};

/* Tokens with loss, as the task counts them. */
static bool learns(const struct pt_maker *m, const int32_t *labels, size_t n)
{
	for (size_t t = m->o->task == PT_DATA_LM; t < n; t++)
		if (labels[t] != IGNORE)
			return true;
	return false;
}

/* Append ids (types NULL: all 0). labels: m->labels where the task has them. */
static int put(struct pt_maker *m, const struct row *r, const int32_t *ids, const int32_t *types, size_t n,
	       struct pt_error *err)
{
	const int64_t zero = 0, offsets[2] = { 0, (int64_t)n };
	struct pt_examples x = { .n = 1, .tokens = (int64_t)n, .k = m->o->k, .index = &zero, .input_ids = ids,
				 .offsets = offsets, .labels = m->labels, .token_type_ids = types,
				 .cls = &r->cls, .target = m->target, .group = &r->s->group,
				 .weight = &r->s->weight, .source = &r->source, .row = &r->row };

	if (!n)
		return pt_error(err, PT_DATA, "no tokens: the text is empty");
	pt_gather_add(r->g, &x, 0);
	return 0;
}

static int room_for_labels(struct pt_maker *m, size_t n, struct pt_error *err)
{
	return pt_grow(&m->labels, &m->cap, n + 1, sizeof *m->labels, err);
}

/*
 * An example of the ids [from, to) of m->text, in the template. Where context
 * is set the ids before first are not learned, nor what the template puts
 * before them. Dropped where nothing is learned.
 */
static int put_text(struct pt_maker *m, const struct row *r, size_t from, size_t to, bool context, size_t first,
		    struct pt_error *err)
{
	struct pt_encoding *w = &m->wrapped;

	if (pt_wrap(m->o->tok, m->text.ids + from, to - from, NULL, 0, PT_ENCODE_SPECIAL, w, err) ||
	    room_for_labels(m, w->n, err))
		return err->status;
	if (m->o->task == PT_DATA_LM) {
		size_t masked = context ? (size_t)m->o->before : 0;

		if (context && first > from)
			masked += (first < to ? first : to) - from;
		for (size_t t = 0; t < w->n; t++)
			m->labels[t] = t < masked ? IGNORE : w->ids[t];
		if ((context && first >= to) || !learns(m, m->labels, w->n)) {
			m->counts.dropped++;
			return 0;
		}
	}
	return put(m, r, w->ids, w->types, w->n, err);
}

/* --- texts --- */

static int encode(struct pt_maker *m, const char *s, size_t n, struct pt_encoding *out, struct pt_error *err)
{
	return pt_encode(m->enc, s, n, m->o->split_special ? PT_ENCODE_PLAIN : 0, 0, out, err);
}

/* EOS behind m->text, unless it stands there. */
static int end_text(struct pt_maker *m, struct pt_error *err)
{
	struct pt_encoding *e = &m->text;
	int32_t eos = m->o->task == PT_DATA_LM ? m->o->eos : -1;

	if (eos < 0 || (e->n && e->ids[e->n - 1] == eos))
		return 0;
	if (pt_encoding_reserve(e, e->n + 1, err))
		return err->status;
	e->types[e->n] = 0;
	e->ids[e->n++] = eos;
	return 0;
}

static int put_pieces(struct pt_maker *m, const struct row *r, struct pt_error *err)
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

/* m->text within the limit: the part that stays. */
static void cut(struct pt_maker *m, size_t *from, size_t *to)
{
	size_t room = (size_t)(m->o->max_length - m->o->special), n = m->text.n;

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

static int make_text(struct pt_maker *m, const struct row *r, struct pt_error *err)
{
	size_t from, to;

	if (encode(m, r->s->text.s, r->s->text.n, &m->text, err) || end_text(m, err))
		return err->status;
	if (m->o->chunk)
		return put_pieces(m, r, err);
	cut(m, &from, &to);
	return put_text(m, r, from, to, false, 0, err);
}

static int make_completion(struct pt_maker *m, const struct row *r, struct pt_error *err)
{
	const struct pt_sample_text *p = &r->s->prompt, *c = &r->s->completion;
	size_t from, to, same = 0;

	if (!c->s)
		return pt_error(err, PT_DATA, "\"prompt\" without \"completion\"");
	if (m->o->task != PT_DATA_LM)
		return pt_error(err, PT_DATA, "\"prompt\" and \"completion\" are for --task lm, not %s",
				pt_data_task_name(m->o->task));
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for \"prompt\" and \"completion\"");
	pt_buf_clear(&m->joined);
	pt_buf_add(&m->joined, p->s, p->n);
	pt_buf_add(&m->joined, c->s, c->n);
	if (pt_buf_check(&m->joined, err) || encode(m, p->s, p->n, &m->pair, err) ||
	    encode(m, m->joined.data, m->joined.len, &m->text, err))
		return err->status;
	while (same < m->pair.n && same < m->text.n && m->pair.ids[same] == m->text.ids[same])
		same++;
	if (end_text(m, err))
		return err->status;
	cut(m, &from, &to);
	return put_text(m, r, from, to, true, same, err);
}

static int make_pair(struct pt_maker *m, const struct row *r, struct pt_error *err)
{
	const struct pt_sample *s = r->s;
	int flags = PT_ENCODE_SPECIAL | (m->o->split_special ? PT_ENCODE_PLAIN : 0);
	int added = pt_tokenizer_added(m->o->tok, true);
	size_t na, nb;

	if (m->o->task == PT_DATA_LM)
		return pt_error(err, PT_DATA, "\"text_pair\" is for --task class, not lm");
	if (!added)
		return pt_error(err, PT_DATA, "\"text_pair\": this tokenizer has no template for pairs");
	if (m->o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for pairs");
	if (m->o->max_length <= added)
		return pt_error(err, PT_USAGE, "--max-length %lld leaves no room beside the tokenizer's %d special tokens "
				"of a pair", (long long)m->o->max_length, added);
	if (encode(m, s->text.s, s->text.n, &m->text, err) || encode(m, s->pair.s, s->pair.n, &m->pair, err))
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
	for (size_t t = 0; t < m->wrapped.n && !m->o->types; t++)
		if (m->wrapped.types[t])
			return pt_error(err, PT_DATA, "\"text_pair\" needs token types, which the first line has not: "
					"pairs or single texts, not both");
	return put(m, r, m->wrapped.ids, m->wrapped.types, m->wrapped.n, err);
}

/* --- ready ids --- */

static int get_ids(const cJSON *a, const char *name, int32_t limit, bool ignore, int32_t *out, struct pt_error *err)
{
	size_t i = 0;
	int64_t id;

	for (const cJSON *v = a->child; v; v = v->next, i++) {
		if (pt_json_to_int(v, ignore ? IGNORE : 0, limit, &id, err) || (id < 0 && id != IGNORE)) {
			err->msg[0] = '\0';
			return pt_error(err, PT_DATA, "\"%s\"[%zu] is not a whole number from 0 to %d%s", name, i, limit,
					ignore ? " or -100" : "");
		}
		out[i] = (int32_t)id;
	}
	return 0;
}

static size_t length(const cJSON *a)
{
	return a ? (size_t)cJSON_GetArraySize(a) : 0;
}

static int make_ready(struct pt_maker *m, const struct row *r, struct pt_error *err)
{
	const struct pt_sample *s = r->s;
	const struct pt_maker_options *o = m->o;
	size_t n = length(s->ids), from = 0, keep = n;
	int32_t top = pt_tokenizer_max_id(o->tok), top_label = top;

	if (o->task == PT_DATA_TOKEN_CLASS)
		top_label = o->labels ? (int32_t)o->labels->n - 1 : INT32_MAX;
	if ((s->labels && length(s->labels) != n) || (s->types && length(s->types) != n))
		return pt_error(err, PT_DATA, "\"%s\" has another length than \"input_ids\"",
				s->labels && length(s->labels) != n ? "labels" : "token_type_ids");
	if (!s->types != !o->types)
		return pt_error(err, PT_DATA, "\"token_type_ids\": the first line has %s", s->types ? "none" : "some");
	if (o->task == PT_DATA_TOKEN_CLASS && !s->labels != !o->ids_labels)
		return pt_error(err, PT_DATA, "\"labels\": the first line has %s", s->labels ? "none" : "some");
	if (pt_encoding_reserve(&m->text, n, err) || room_for_labels(m, n, err) ||
	    get_ids(s->ids, "input_ids", top, false, m->text.ids, err) ||
	    (s->labels && get_ids(s->labels, "labels", top_label, true, m->labels, err)) ||
	    (s->types && get_ids(s->types, "token_type_ids", INT32_MAX, false, m->text.types, err)))
		return err->status;
	if (!s->labels && n)
		memcpy(m->labels, m->text.ids, n * sizeof *m->labels);
	if ((int64_t)n > o->max_length) {
		m->counts.cut++;
		keep = (size_t)o->max_length;
		from = pt_tokenizer_truncates_left(o->tok) ? n - keep : 0;
	}
	memmove(m->labels, m->labels + from, keep * sizeof *m->labels);
	if (keep && o->ids_labels && !learns(m, m->labels, keep)) {
		m->counts.dropped++;
		return 0;
	}
	return put(m, r, m->text.ids + from, m->text.types + from, keep, err);
}

/* --- labels --- */

static int unknown_label(const struct pt_classes *l, const char *name, struct pt_error *err)
{
	struct pt_buf known = PT_BUF_INIT;

	for (size_t i = 0; l && i < l->n && i < 10; i++)
		pt_buf_printf(&known, "%s%.60s", i ? ", " : "", l->name[i]);
	if (l && l->n > 10)
		pt_buf_str(&known, " ...");
	pt_error(err, PT_DATA, "unknown label '%.200s'%s%s", name, known.len ? "; known: " : "",
		 known.len ? known.data : "");
	pt_buf_release(&known);
	return err->status;
}

static int find_class(struct pt_maker *m, const cJSON *v, int32_t *cls, struct pt_error *err)
{
	const struct pt_classes *l = m->o->labels;
	const char *name = pt_classes_name(v, &m->name);
	double d = v->valuedouble;

	if (!name)
		return pt_error(err, PT_DATA, "\"label\" is neither a name nor a number");
	*cls = l ? pt_classes_find(l, name) : -1;
	/* A number that is no name is the class's number. */
	if (*cls < 0 && l && cJSON_IsNumber(v) && d >= 0 && d < (double)l->n && d == floor(d))
		*cls = (int32_t)d;
	return *cls < 0 ? unknown_label(l, name, err) : 0;
}

static int get_targets(struct pt_maker *m, const cJSON *label, struct pt_error *err)
{
	bool many = m->o->task == PT_DATA_MULTILABEL, list = cJSON_IsArray(label);
	size_t i = 0, k = (size_t)m->o->k;

	if (many && !list)
		return pt_error(err, PT_DATA, "\"label\" is not a list of labels");
	for (size_t j = 0; many && j < k; j++)
		m->target[j] = 0;
	for (const cJSON *v = list ? label->child : label; v; v = list ? v->next : NULL, i++) {
		int32_t cls = (int32_t)i;

		if (many && find_class(m, v, &cls, err))
			return err->status;
		if (!many && (!cJSON_IsNumber(v) || i >= k || !isfinite((float)v->valuedouble)))
			return pt_error(err, PT_DATA, "\"label\" is not %zu finite number%s", k, k == 1 ? "" : "s");
		m->target[cls] = many ? 1 : (float)v->valuedouble;
	}
	if (!many && i != k)
		return pt_error(err, PT_DATA, "\"label\" has %zu numbers, the first line's %zu", i, k);
	return 0;
}

static int get_label(struct pt_maker *m, const struct pt_sample *s, int32_t *cls, struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;

	*cls = IGNORE;
	if (s->has_group != o->groups || s->has_weight != o->weights)
		return pt_error(err, PT_DATA, "\"group\" and \"weight\" stand in all lines or in none");
	if (o->task == PT_DATA_LM || o->task == PT_DATA_TOKEN_CLASS)
		return 0;
	if (!s->label != !o->labelled)
		return pt_error(err, PT_DATA, s->label ? "a \"label\", which the first line has not" : "no \"label\"");
	if (!s->label)
		return 0;
	return o->task == PT_DATA_CLASS ? find_class(m, s->label, cls, err) : get_targets(m, s->label, err);
}

int pt_maker_line(struct pt_maker *m, const struct pt_block *b, const struct pt_line *l, struct pt_gather *g,
		  struct pt_error *err)
{
	struct pt_sample s;
	struct row r = { .s = &s, .source = b->source, .row = l->row, .g = g };
	int status = pt_maker_parse(m, b, l, &s, err);

	if (status)
		return status;
	status = get_label(m, &s, &r.cls, err);
	if (!status) {
		if (s.ids)
			status = make_ready(m, &r, err);
		else if (m->o->task == PT_DATA_TOKEN_CLASS)
			status = pt_error(err, PT_DATA, "--task token-class wants \"input_ids\" and \"labels\"");
		else if (s.prompt.s)
			status = make_completion(m, &r, err);
		else if (s.pair.s)
			status = make_pair(m, &r, err);
		else
			status = make_text(m, &r, err);
	}
	pt_sample_release(&s);
	return status ? pt_error_prefix(err, "%s", m->what.data) : 0;
}
