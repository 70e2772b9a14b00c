/* SPDX-License-Identifier: MIT */
/*
 * maker_ready.c - ids that somebody made before.
 */
#include "data/maker_priv.h"

#include <string.h>

#include "base/mem.h"

static int get_ids(const cJSON *a, const char *name, int32_t limit, bool ignore, int32_t *out, struct pt_error *err)
{
	size_t i = 0;
	int64_t id;

	for (const cJSON *v = a->child; v; v = v->next, i++) {
		if (pt_json_to_int(v, ignore ? PT_IGNORE : 0, limit, &id, err) || (id < 0 && id != PT_IGNORE)) {
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

static int one_length(const struct pt_sample *s, bool decoder, size_t n, struct pt_error *err)
{
	bool labels = s->labels && !decoder && length(s->labels) != n;

	if (!labels && (!s->types || length(s->types) == n))
		return 0;
	return pt_error(err, PT_DATA, "\"%s\" has another length than \"input_ids\"", labels ? "labels" : "token_type_ids");
}

/* What the first line has all have. */
static int same_fields(const struct pt_maker_options *o, const struct pt_sample *s, struct pt_error *err)
{
	bool labels = o->task.task == PT_TASK_TOKEN_CLS || o->task.task == PT_TASK_MASKED_LM;

	if (!s->types != !o->types)
		return pt_error(err, PT_DATA, "\"token_type_ids\": the first line has %s", s->types ? "none" : "some");
	if ((labels && !s->labels != !o->ids_labels) || (o->task.task == PT_TASK_SEQ2SEQ_LM && !s->labels != !o->decoder))
		return pt_error(err, PT_DATA, "\"labels\": the first line has %s", s->labels ? "none" : "some");
	if (o->task.task == PT_TASK_QA && s->has_span != o->spans)
		return pt_error(err, PT_DATA, "\"start_positions\": the first line has %s", s->has_span ? "none" : "some");
	return 0;
}

/* Labels are the decoder's ids; where nothing is learned, PAD stands in their place. */
static int get_decoder(struct pt_maker *m, const struct pt_sample *s, struct pt_error *err)
{
	const struct pt_tokenizer *tok = m->o->tok;
	int32_t pad = pt_tokenizer_named(tok, PT_TOKEN_PAD);
	size_t n = length(s->labels);

	if (!n)
		return pt_error(err, PT_DATA, "\"labels\" is empty: there is no target");
	if (pt_encoding_reserve(&m->decoder, n, err) ||
	    pt_grow(&m->decoder_labels, &m->decoder_cap, n, sizeof *m->decoder_labels, err) ||
	    get_ids(s->labels, "labels", pt_tokenizer_max_id(tok), true, m->decoder_labels, err))
		return err->status;
	if ((int64_t)n > m->o->max_target) {
		m->counts.cut++;
		n = (size_t)m->o->max_target;
	}
	for (size_t t = 0; t < n; t++)
		m->decoder.ids[t] = m->decoder_labels[t] == PT_IGNORE ? (pad < 0 ? 0 : pad) : m->decoder_labels[t];
	m->decoder.n = n;
	return 0;
}

int pt_maker_ready(struct pt_maker *m, const struct pt_maker_row *given, struct pt_error *err)
{
	struct pt_maker_row r = *given;
	const struct pt_sample *s = r.s;
	const struct pt_maker_options *o = m->o;
	bool decoder = o->task.task == PT_TASK_SEQ2SEQ_LM;
	size_t n = length(s->ids), from = 0, keep = n;
	int32_t top = pt_tokenizer_max_id(o->tok), top_label = top;

	if (o->sets && o->task.task == PT_TASK_CONTRASTIVE)
		return pt_error(err, PT_DATA, "\"input_ids\" make no set: --task contrastive wants texts");
	if (o->task.task == PT_TASK_TOKEN_CLS)
		top_label = o->labels ? (int32_t)o->labels->n - 1 : INT32_MAX;
	if (one_length(s, decoder, n, err) || same_fields(o, s, err) || (decoder && s->labels && get_decoder(m, s, err)) ||
	    pt_encoding_reserve(&m->text, n, err) || pt_maker_labels(m, n, err) ||
	    get_ids(s->ids, "input_ids", top, false, m->text.ids, err) ||
	    (s->labels && !decoder && get_ids(s->labels, "labels", top_label, true, m->labels, err)) ||
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
	if (keep && o->ids_labels && !pt_maker_learns(m, m->labels, keep)) {
		m->counts.dropped++;
		return 0;
	}
	/* An answer that was cut away is none: the first token. */
	for (int i = 0; i < 2 && s->has_span; i++)
		r.span[i] = s->span[i] - (int64_t)from;
	if (s->has_span && (r.span[0] < 0 || r.span[1] < r.span[0] || r.span[1] >= (int64_t)keep))
		r.span[0] = r.span[1] = 0;
	return pt_maker_put(m, &r, m->text.ids + from, m->text.types + from, keep, err);
}
