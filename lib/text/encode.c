/* SPDX-License-Identifier: MIT */
/*
 * encode.c - a text through the whole pipeline: added tokens, normalizer,
 * added tokens of the normalized text, pre-tokenizer, model.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/place.h"
#include "text/utf8.h"
#include "text/wordcache.h"

struct pt_encoder {
	const struct pt_tokenizer *tok;
	struct pt_norm_work norm;
	struct pt_work work;
	struct pt_wordcache cache;
	void *scratch;			/* of the model */
	struct pt_draft source;		/* its at: the characters of the text, where somebody asks */
	struct pt_side a, b;		/* before the post-processor */
};

int pt_encoder_new(struct pt_encoder **out, const struct pt_tokenizer *tok, struct pt_error *err)
{
	struct pt_encoder *e = pt_calloc(1, sizeof *e, err);
	int status;

	*out = NULL;
	if (!e)
		return PT_FAIL;
	e->tok = tok;
	pt_work_init(&e->work);
	status = pt_wordcache_init(&e->cache, err);
	if (!status && tok->model->scratch_new)
		status = tok->model->scratch_new(&e->scratch, tok->data, err);
	if (status)
		pt_encoder_free(e);
	else
		*out = e;
	return status;
}

void pt_encoder_free(struct pt_encoder *e)
{
	if (!e)
		return;
	pt_norm_work_release(&e->norm);
	pt_draft_release(&e->source);
	pt_work_release(&e->work);
	pt_wordcache_release(&e->cache);
	if (e->tok->model->scratch_free)
		e->tok->model->scratch_free(e->scratch);
	pt_side_release(&e->a);
	pt_side_release(&e->b);
	free(e);
}

/* A word on its way through the cache. */
struct word {
	const char *s;
	size_t n;
	size_t piece;		/* it is part of */
	uint64_t key[4];
	struct pt_wordcache_line *pair;		/* NULL: too long to be cached */
};

static int encode_word(struct pt_encoder *e, const struct word *w, struct pt_encoding *out, struct pt_error *err)
{
	const struct pt_tokenizer *t = e->tok;
	const struct pt_wordcache_line *known = w->pair ? pt_wordcache_get(w->pair, w->key, w->n) : NULL;
	size_t from = out->n;
	int status;

	if (known) {
		/* All that a line may hold is copied: one move instead of a loop. */
		status = out->n + PT_WORDCACHE_IDS > out->cap
			 ? pt_encoding_reserve(out, out->n + PT_WORDCACHE_IDS, err) : 0;
		if (status)
			return status;
		memcpy(out->ids + out->n, known->id, sizeof known->id);
		out->n += known->n;
		return 0;
	}
	status = t->model->encode(t->data, &t->vocab, e->scratch, w->s, w->n, out, err);
	if (!status && w->pair)
		pt_wordcache_put(w->pair, w->key, w->n, out->ids + from, out->n - from);
	return status;
}

/* Goes over the words of the pieces; long ones come in parts where the model allows it. */
struct words {
	const char *s;
	size_t left, piece;
};

static bool next_word(struct pt_encoder *e, struct words *it, struct word *w)
{
	const struct pt_tokenizer *t = e->tok;

	if (!it->left) {
		if (it->piece == e->work.n)
			return false;
		it->s = e->work.base + e->work.piece[it->piece].off;
		it->left = e->work.piece[it->piece++].n;
	}
	w->s = it->s;
	w->n = t->model->cut ? t->model->cut(t->data, it->s, it->left) : it->left;
	it->s += w->n;
	it->left -= w->n;
	w->piece = it->piece - 1;
	w->pair = NULL;
	if (w->n <= PT_WORDCACHE_BYTES) {
		pt_wordcache_key(w->key, w->s, w->n);
		w->pair = pt_wordcache_pair(&e->cache, w->key, w->n);
		__builtin_prefetch(w->pair);
		__builtin_prefetch(w->pair + 1);
	}
	return true;
}

/* Word by word, past the cache. */
static int encode_placed(struct pt_encoder *e, struct pt_side *out, struct pt_error *err)
{
	struct words it = { NULL, 0, 0 };
	size_t piece = 0, done = 0, first;
	struct word w;
	int status = 0;

	while (!status && next_word(e, &it, &w)) {
		done = w.piece == piece ? done : 0;
		piece = w.piece;
		first = out->e.n;
		status = e->tok->model->encode(e->tok->data, &e->tok->vocab, e->scratch, w.s, w.n, &out->e, err);
		if (!status)
			status = pt_side_place(out, e->tok, &e->work, &e->work.piece[piece], &done, first, err);
	}
	return status;
}

/* A few words at a time, so that their lines of the cache arrive while others are looked at. */
static int encode_words(struct pt_encoder *e, struct pt_side *out, struct pt_error *err)
{
	enum { AHEAD = 8 };
	struct words it = { NULL, 0, 0 };
	struct word w[AHEAD];
	int n, status = 0;

	if (out->e.origin)
		return encode_placed(e, out, err);
	do {
		for (n = 0; n < AHEAD && next_word(e, &it, &w[n]); n++)
			;
		for (int i = 0; i < n && !status; i++)
			status = encode_word(e, &w[i], &out->e, err);
	} while (n == AHEAD && !status);
	return status;
}

/* Normalized text without added tokens; first: it begins the original text. */
static int encode_plain(struct pt_encoder *e, const struct pt_stretch *t, bool first, struct pt_side *out,
			struct pt_error *err)
{
	struct pt_work *w = &e->work;
	int status;

	if (t->n == 0)
		return 0;
	w->base = t->s;
	w->at = t->at;
	w->first = first;
	w->nnext = 0;
	status = pt_work_emit(w, 0, t->n, err);
	if (!status)
		status = pt_work_swap(w, false, err);
	if (!status)
		status = pt_pretok_run(&e->tok->pretok, w, err);
	return status ? status : encode_words(e, out, err);
}

/* Part of a text. */
static struct pt_stretch part(const struct pt_stretch *t, size_t from, size_t to)
{
	return (struct pt_stretch){ t->s + from, to - from, pt_stretch_at(t, from), t->start + from };
}

/* Text between the added tokens that are matched as they are. */
static int encode_stretch(struct pt_encoder *e, struct pt_stretch t, bool plain, struct pt_side *out,
			  struct pt_error *err)
{
	const struct pt_added_token *token;
	struct pt_added_scan scan;
	bool first = t.start == 0, more;
	size_t from, to;
	int status;

	status = pt_normalize(&e->tok->norm, &e->norm, &t, err);
	if (status)
		return status;
	pt_added_scan_init(&scan, &e->tok->added, true, plain, t.s, t.n);
	while (!(status = pt_added_scan_next(&scan, &more, &from, &to, &token, err)) && more) {
		struct pt_stretch p = part(&t, from, to);

		status = token ? pt_side_added(out, token->id, &p, err) : encode_plain(e, &p, first && from == 0, out, err);
		if (status)
			break;
	}
	return status;
}

static int encode_ids(struct pt_encoder *e, const char *s, size_t n, int flags, struct pt_side *out,
		      struct pt_error *err)
{
	const struct pt_tokenizer *tok = e->tok;
	struct pt_stretch t = { s, n, NULL, 0 };
	const struct pt_added_token *token;
	struct pt_added_scan scan;
	bool plain = flags & PT_ENCODE_PLAIN, origin = flags & PT_ENCODE_ORIGIN, more;
	size_t from, to, bad = pt_utf8_valid(s, n);
	int status = pt_encoding_begin(&out->e, origin, err);

	if (!status && bad < n)
		return pt_error(err, PT_DATA, "not UTF-8 at byte %zu of the text", bad);
	/* Who asks where a piece begins needs the places too, unless the text has not been touched before. */
	if (!status && n && (origin || (tok->pretok.places && (tok->norm.n || tok->pretok.late)))) {
		status = pt_ranges(&e->source, s, n, err);
		t.at = e->source.at;
	}
	if (status)
		return status;
	pt_added_scan_init(&scan, &tok->added, false, plain, s, n);
	while (!(status = pt_added_scan_next(&scan, &more, &from, &to, &token, err)) && more) {
		struct pt_stretch p = part(&t, from, to);

		status = token ? pt_side_added(out, token->id, &p, err) : encode_stretch(e, p, plain, out, err);
		if (status)
			break;
	}
	return status;
}

/* Cut both to what max_length leaves; left or right. */
static int truncate(const struct pt_tokenizer *tok, struct pt_side *a, struct pt_side *b, int flags,
		    int64_t max_length, struct pt_error *err)
{
	int64_t added = flags & PT_ENCODE_SPECIAL ? pt_tokenizer_added(tok, b != NULL) : 0;
	size_t na = a->e.n, nb = b ? b->e.n : 0;
	bool left = flags & PT_TRUNCATE_LEFT || (tok->left && !(flags & PT_TRUNCATE_RIGHT));
	int status;

	if (max_length <= 0)
		return 0;
	if (max_length < added)
		return pt_error(err, PT_USAGE, "a length of %lld leaves no room for the %lld special tokens",
				(long long)max_length, (long long)added);
	status = pt_truncate(&na, &nb, b != NULL, (size_t)(max_length - added), flags, err);
	if (status)
		return status;
	pt_side_cut(a, left ? a->e.n - na : 0, na);
	if (b)
		pt_side_cut(b, left ? b->e.n - nb : 0, nb);
	return 0;
}

int pt_encode(struct pt_encoder *e, const char *text, size_t n, int flags, int64_t max_length,
	      struct pt_encoding *out, struct pt_error *err)
{
	int status = encode_ids(e, text, n, flags, &e->a, err);

	if (!status)
		status = truncate(e->tok, &e->a, NULL, flags, max_length, err);
	if (!status)
		status = pt_wrap(e->tok, e->a.e.ids, e->a.e.n, NULL, 0, flags, out, err);
	if (status)
		return status;
	pt_side_trim(&e->a, &e->tok->post, text);
	pt_place_wrapped(out, &e->a, NULL);
	return 0;
}

int pt_encode_pair(struct pt_encoder *e, const char *a, size_t na, const char *b, size_t nb, int flags,
		   int64_t max_length, struct pt_encoding *out, struct pt_error *err)
{
	static const int32_t none;
	int status = encode_ids(e, a, na, flags, &e->a, err);

	if (!status)
		status = encode_ids(e, b, nb, flags, &e->b, err);
	if (!status)
		status = truncate(e->tok, &e->a, &e->b, flags, max_length, err);
	if (!status)
		status = pt_wrap(e->tok, e->a.e.ids, e->a.e.n, e->b.e.ids ? e->b.e.ids : &none, e->b.e.n, flags, out, err);
	if (status)
		return status;
	pt_side_trim(&e->a, &e->tok->post, a);
	pt_side_trim(&e->b, &e->tok->post, b);
	pt_place_wrapped(out, &e->a, &e->b);
	return 0;
}
