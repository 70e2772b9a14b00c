/* SPDX-License-Identifier: MIT */
/*
 * maker_words.c - words with a tag each. As in HF's examples the tag is learned
 * at the first token of its word; the other tokens and the special ones have
 * no loss. Words are tokenized one by one (is_split_into_words).
 */
#include "data/maker_priv.h"

#include <string.h>

/* Is the encoding of "a a" that of a, twice? */
static int is_twice(const struct pt_tokenizer *tok, const char *a, bool *twice, struct pt_error *err)
{
	struct pt_encoding both = PT_ENCODING_INIT, one = PT_ENCODING_INIT;
	struct pt_encoder *enc;
	size_t n = 0;

	*twice = false;
	if (pt_encoder_new(&enc, tok, err))
		return err->status;
	if (!pt_encode(enc, "a a", 3, 0, 0, &both, err) && !pt_encode(enc, a, strlen(a), 0, 0, &one, err)) {
		n = one.n;
		*twice = both.n == 2 * n && n && !memcmp(both.ids, one.ids, n * sizeof *one.ids) &&
			 !memcmp(both.ids + n, one.ids, n * sizeof *one.ids);
	}
	pt_encoder_free(enc);
	pt_encoding_release(&both);
	pt_encoding_release(&one);
	return err->status;
}

/*
 * Where a word in a text differs from one at the start (byte-level BPE without
 * add_prefix_space), each is given a space, as with add_prefix_space=True,
 * which HF demands there.
 */
int pt_maker_words_schema(struct pt_maker_options *o, struct pt_error *err)
{
	bool twice;

	if (is_twice(o->tok, "a", &twice, err))
		return err->status;
	o->word_space = !twice;
	return 0;
}

/* Ids of a word into m->pair. */
static int encode_word(struct pt_maker *m, const char *word, struct pt_error *err)
{
	if (!m->o->word_space)
		return pt_maker_encode(m, word, strlen(word), &m->pair, err);
	pt_buf_clear(&m->joined);
	pt_buf_char(&m->joined, ' ');
	pt_buf_str(&m->joined, word);
	if (pt_buf_check(&m->joined, err))
		return err->status;
	return pt_maker_encode(m, m->joined.data, m->joined.len, &m->pair, err);
}

static int get_tag(struct pt_maker *m, const cJSON *v, int32_t *tag, struct pt_error *err)
{
	*tag = PT_IGNORE;
	if (!v || (cJSON_IsNumber(v) && v->valuedouble == PT_IGNORE))
		return 0;
	return pt_maker_class(m, v, tag, err);
}

/* Ids of all words into m->text, their labels behind the place of the template. */
static int add_words(struct pt_maker *m, const struct pt_sample *s, struct pt_error *err)
{
	struct pt_encoding *e = &m->text;
	size_t before = (size_t)m->o->before;
	const cJSON *tag = s->tags ? s->tags->child : NULL;

	e->n = 0;
	for (const cJSON *w = s->words->child; w; w = w->next, tag = tag ? tag->next : NULL) {
		int32_t label;

		if (get_tag(m, tag, &label, err) || encode_word(m, w->valuestring, err) ||
		    pt_encoding_reserve(e, e->n + m->pair.n, err) ||
		    pt_maker_labels(m, before + e->n + m->pair.n, err))
			return err->status;
		for (size_t t = 0; t < m->pair.n; t++) {
			m->labels[before + e->n] = t ? PT_IGNORE : label;
			e->ids[e->n++] = m->pair.ids[t];
		}
	}
	return 0;
}

int pt_maker_words(struct pt_maker *m, struct pt_maker_row *r, struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;
	const struct pt_sample *s = r->s;
	size_t from, to, before = (size_t)o->before;

	if (!s->words)
		return pt_error(err, PT_DATA, "--task token-class wants \"tokens\" and \"ner_tags\", or \"input_ids\" and "
				"\"labels\"");
	if (!s->tags != !o->ids_labels)
		return pt_error(err, PT_DATA, "\"ner_tags\": the first line has %s", s->tags ? "none" : "some");
	if (o->chunk)
		return pt_error(err, PT_DATA, "--chunk is for texts, not for words");
	if (add_words(m, s, err))
		return err->status;
	pt_maker_cut(m, (size_t)(o->max_length - o->special), &from, &to);
	if (pt_wrap(o->tok, m->text.ids + from, to - from, NULL, 0, PT_ENCODE_SPECIAL, &m->wrapped, err) ||
	    pt_maker_labels(m, m->wrapped.n + before + m->text.n, err))
		return err->status;
	memmove(m->labels + before, m->labels + before + from, (to - from) * sizeof *m->labels);
	for (size_t t = 0; t < m->wrapped.n; t++)
		if (t < before || t >= before + (to - from))
			m->labels[t] = PT_IGNORE;
	if (s->tags && !pt_maker_learns(m, m->labels, m->wrapped.n)) {
		m->counts.dropped++;
		return 0;
	}
	return pt_maker_put(m, r, m->wrapped.ids, m->wrapped.types, m->wrapped.n, err);
}
