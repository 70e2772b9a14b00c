/* SPDX-License-Identifier: MIT */
/*
 * unigram.c - the unigram language model (Kudo 2018): of all ways to divide a
 * word into tokens the one with the best sum of scores, found by going over
 * the word once (Viterbi). A character that no token begins with alone is
 * unknown, at a price; unknown ones that touch are one token.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "text/trie.h"
#include "text/utf8.h"
#include "text/wordmodel.h"

static const double UNKNOWN = 10;	/* what an unknown character costs beyond the worst token */

struct unigram {
	struct pt_trie trie;
	double *score;		/* of each id */
	size_t cap;
	double unk_score;
	int32_t unk_id;		/* -1: none */
	int32_t byte[256];	/* ids of <0x00> to <0xFF>, -1 */
	bool byte_fallback;
};

/* The best way to each byte of a word. */
struct scratch {
	struct step {
		double score;
		uint32_t from;	/* where its last token begins; UNSET */
		int32_t id;
	} *step;
	size_t cap;
};

#define UNSET UINT32_MAX

static void release(void *data)
{
	struct unigram *m = data;

	pt_trie_release(&m->trie);
	free(m->score);
	free(m);
}

/* ["piece", score] */
static int read_piece(struct pt_walk *w, struct unigram *m, struct pt_vocab *v, struct pt_error *err)
{
	size_t off = v->pool.len, id = (size_t)v->rows;
	struct pt_walk outer;
	bool more;
	int status;

	if (pt_grow(&m->score, &m->cap, id + 1, sizeof *m->score, err))
		return PT_FAIL;
	if ((status = pt_span_enter(w, &outer, err)) || (status = pt_span_next(w, &more, err)) ||
	    (status = pt_span_string(w, &v->pool, err)) || (status = pt_span_next(w, &more, err)) ||
	    (status = pt_span_number(w, &m->score[id], err)) || (status = pt_span_next(w, &more, err)))
		return status;
	pt_span_leave(w, &outer);
	if (more)
		return pt_error(err, PT_DATA, "model.vocab[%zu] has more than a token and its score", id);
	status = pt_vocab_commit(v, off, (uint32_t)id, err);
	if (!status && (size_t)v->count != id + 1)
		return pt_error(err, PT_DATA, "model.vocab[%zu] stands there twice", id);
	return status;
}

static int read_pieces(struct pt_span span, struct unigram *m, struct pt_vocab *v, struct pt_hash *h,
		       struct pt_error *err)
{
	struct pt_walk w;
	bool more;
	int status = pt_span_open(&w, span, "vocab", '[', err);

	m->unk_score = 0;
	while (!status) {
		status = pt_span_next(&w, &more, err);
		if (status || !more)
			break;
		status = read_piece(&w, m, v, err);
	}
	for (int32_t i = 0; i < v->rows && !status; i++) {
		if (i == 0 || m->score[i] < m->unk_score)
			m->unk_score = m->score[i];
		pt_hash_add(h, &m->score[i], sizeof m->score[i]);
	}
	m->unk_score -= UNKNOWN;
	return status;
}

static int build(struct unigram *m, const struct pt_vocab *v, struct pt_error *err)
{
	struct pt_trie_key *keys = pt_malloc((size_t)v->rows + 1, sizeof *keys, err);
	size_t n = 0;
	int status;

	if (!keys)
		return PT_FAIL;
	for (int32_t id = 0; id < v->rows; id++) {
		keys[n].s = pt_vocab_token(v, id, &keys[n].n);
		keys[n].value = id;
		n += keys[n].n > 0;
	}
	status = pt_trie_init(&m->trie, keys, n, err);
	free(keys);
	return status;
}

static int load(void **data, const struct pt_tokfile *f, struct pt_vocab *v, bool raw, struct pt_hash *h,
		struct pt_error *err)
{
	struct unigram *m = pt_calloc(1, sizeof *m, err);
	int64_t unk;
	int status;

	(void)raw;
	if (!m)
		return PT_FAIL;
	if ((status = pt_json_int(f->model, "unk_id", 0, UINT32_MAX, -1, &unk, err)) ||
	    (status = pt_json_bool(f->model, "byte_fallback", false, &m->byte_fallback, err)) ||
	    (status = read_pieces(f->vocab, m, v, h, err)) || (status = build(m, v, err)))
		goto out;
	if (unk >= v->rows) {
		status = pt_error(err, PT_DATA, "model: \"unk_id\" is %lld, but there are %d tokens", (long long)unk,
				  (int)v->rows);
		goto out;
	}
	m->unk_id = (int32_t)unk;
	for (int b = 0; b < 256; b++) {
		char s[8];

		snprintf(s, sizeof s, "<0x%02X>", (unsigned)b);
		m->byte[b] = pt_vocab_id(v, s, 6);
	}
	pt_hash_u64(h, (uint64_t)(unk + 1) << 1 | m->byte_fallback);
out:
	if (status)
		release(m);
	else
		*data = m;
	return status;
}

static int scratch_new(void **out, const void *data, struct pt_error *err)
{
	(void)data;
	*out = pt_calloc(1, sizeof(struct scratch), err);
	return *out ? 0 : PT_FAIL;
}

static void scratch_free(void *p)
{
	struct scratch *s = p;

	if (s)
		free(s->step);
	free(s);
}

/* Of two ways that are worth the same the one that was found first stays. */
static inline void offer(struct step *to, double score, size_t from, int32_t id)
{
	if (to->from == UNSET || score > to->score)
		*to = (struct step){ score, (uint32_t)from, id };
}

static int find_best(const struct unigram *m, struct step *step, const char *w, size_t n, struct pt_error *err)
{
	unsigned len;

	for (size_t i = 0; i <= n; i++)
		step[i].from = UNSET;
	step[0].score = 0;
	for (size_t i = 0; i < n; i += len) {
		uint32_t node = m->trie.root[(unsigned char)w[i]];
		double score = step[i].score;
		bool alone = false;

		len = pt_utf8_len(w[i]);
		for (size_t k = i + 1; node; k++) {
			int32_t id = m->trie.node[node].value;

			if (id >= 0) {
				offer(&step[k], m->score[id] + score, i, id);
				alone = alone || k == i + len;
			}
			node = k < n ? pt_trie_step(&m->trie, node, (unsigned char)w[k]) : 0;
		}
		if (alone)
			continue;
		if (m->unk_id < 0)
			return pt_error(err, PT_DATA, "an unknown character, but \"unk_id\" is null");
		offer(&step[i + len], m->unk_score + score, i, m->unk_id);
	}
	return 0;
}

/* Turn the way from the end into one from the front: from becomes where the token that begins there ends. */
static void turn(struct step *step, size_t n)
{
	uint32_t at = (uint32_t)n, to = UNSET;

	for (;;) {
		uint32_t from = step[at].from;

		step[at].from = to;
		if (at == 0)
			break;
		to = at;
		at = from;
	}
}

/* Unknown text, or a token that looks so. */
static int push_unknown(const struct unigram *m, const struct pt_vocab *v, const char *w, size_t from, size_t to,
			struct pt_encoding *out, struct pt_error *err)
{
	int32_t id = pt_vocab_id(v, w + from, to - from);
	bool bytes = m->byte_fallback && id < 0;
	int status = 0;

	for (size_t i = from; i < to && bytes; i++)
		bytes = m->byte[(unsigned char)w[i]] >= 0;
	if (!bytes)
		return pt_encoding_push(out, id < 0 ? m->unk_id : id, from, to, err);
	for (size_t i = from; i < to && !status; i++)
		status = pt_encoding_push(out, m->byte[(unsigned char)w[i]], from, to, err);
	return status;
}

static int encode(const void *data, const struct pt_vocab *v, void *scratch, const char *w, size_t n,
		  struct pt_encoding *out, struct pt_error *err)
{
	const struct unigram *m = data;
	struct scratch *s = scratch;
	struct step *step;
	int status;

	if (n >= UNSET)
		return pt_error(err, PT_DATA, "a word of %zu bytes is too long", n);
	if (pt_grow(&s->step, &s->cap, n + 1, sizeof *s->step, err))
		return PT_FAIL;
	step = s->step;
	status = find_best(m, step, w, n, err);
	if (status)
		return status;
	turn(step, n);
	for (size_t from = 0, to; from < n && !status; from = to) {
		int32_t id;

		to = step[from].from;
		id = step[to].id;
		if (id != m->unk_id) {
			status = pt_encoding_push(out, id, from, to, err);
			continue;
		}
		while (to < n && step[step[to].from].id == m->unk_id)
			to = step[to].from;
		status = push_unknown(m, v, w, from, to, out, err);
	}
	return status;
}

static int32_t unknown(const void *data)
{
	return ((const struct unigram *)data)->unk_id;
}

const struct pt_wordmodel pt_wordmodel_unigram = {
	.type = "Unigram", .cleans_up = true, .load = load, .free = release,
	.scratch_new = scratch_new, .scratch_free = scratch_free, .encode = encode, .unknown = unknown,
};
