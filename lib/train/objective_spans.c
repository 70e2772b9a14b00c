/* SPDX-License-Identifier: MIT */
/*
 * objective_spans.c - answers: the first and the last token of each, a cross
 * entropy over the tokens of its sequence.
 *
 * Measured, the pieces of a document (a group) are one question: the best span
 * of all pieces, or none where the first tokens have more (transformers'
 * post-processing). Compared as SQuAD's script does: the same words, and F1 of
 * the two bags of words, of the texts that the tokens stand for
 * (measure_words.c). Without a tokenizer an id is a word.
 */
#include "train/objective.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/pairs.h"
#include "train/feed_priv.h"
#include "train/measure_priv.h"

static int fill(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_feed_pairs *p = &f->pairs;

	if (pt_feed_room(f, x->n, 0, err) || pt_grow(&p->b, &p->cap_b, 2 * (size_t)x->n + 1, sizeof *p->b, err))
		return err->status;
	f->labelled = x->span != NULL;
	p->n = x->n;
	p->k = 2;
	for (int64_t i = 0; i < 2 * x->n; i++)
		p->b[i] = x->span ? (int32_t)x->span[i] : -1;
	if (f->labelled)
		pt_feed_per_example(f, x);
	return 0;
}

static int plan(struct pt_feed *f, const struct pt_bounds *b, int64_t seqs, struct pt_error *err)
{
	(void)b;
	f->rows = seqs;
	return pt_feed_room(f, seqs, 0, err);
}

/* Rows of the feed's tokens, without those of virtual ones. */
static struct pt_tensor *own_rows(struct pt_run *run, const struct pt_feed *f, struct pt_tensor *z,
				  const struct pt_rows *rows)
{
	const struct pt_rows *in = &f->in.rows;
	int32_t *idx;

	if (rows->n == in->n)
		return z;
	idx = pt_pool_alloc(&run->pool, (size_t)in->n * sizeof *idx, &run->err);
	for (int b = 0; idx && b < in->batch; b++) {
		for (int32_t i = in->host_cu[b]; i < in->host_cu[b + 1]; i++)
			idx[i] = rows->host_cu[b + 1] - (in->host_cu[b + 1] - i);
	}
	return idx ? pt_op_gather(run, z, pt_run_upload(run, idx, (size_t)in->n * sizeof *idx), in->n, in) : NULL;
}

/* First and last tokens as rows; virtual tokens in front of a sequence move them. */
static void loss(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, struct pt_tensor *hidden, bool argmax,
		 struct pt_loss *out)
{
	const int32_t *in_cu = f->in.rows.host_cu, *cu;
	const struct pt_rows *rows;
	struct pt_tensor *z;
	int32_t *row;

	(void)argmax;
	z = hidden ? pt_model_classify(run, m, &f->in, hidden) : NULL;
	if (!z)
		return;
	rows = hidden->rows;
	out->logits = own_rows(run, f, z, rows);
	if (!f->rows)
		return;
	cu = rows->host_cu;
	row = pt_pool_alloc(&run->pool, 2 * (size_t)f->rows * sizeof *row, &run->err);
	for (int64_t i = 0; row && i < 2 * f->rows; i++) {
		int64_t s = i / 2, front = (cu[s + 1] - cu[s]) - (in_cu[s + 1] - in_cu[s]);
		int32_t token = f->x ? f->pairs.b[i] : 0;

		row[i] = token < 0 ? -1 : (int32_t)(cu[s] + front + token);
	}
	if (row)
		out->value = pt_op_span_loss(run, z, rows,
					     pt_run_upload(run, row, 2 * (size_t)f->rows * sizeof *row));
	out->seed = f->d_weight;
}

enum { MOST = 30 };	/* tokens of an answer, as transformers' max_answer_length */

struct answer {
	int64_t piece, from, to;	/* tokens of it, counted in the piece; from 0: none */
};

static bool is_mark(const struct pt_tokenizer *tok, int32_t id)
{
	return pt_tokenizer_is_special(tok, id) && id != pt_tokenizer_named(tok, PT_TOKEN_UNK);
}

/*
 * The tokens of a piece in which its answer is searched, [*from, *to): the second text, by its types or, of a
 * model without them, behind the last special token that stands inside.
 */
static void find_context(const struct pt_examples *x, const struct pt_tokenizer *tok, int64_t piece, int64_t *from,
			 int64_t *to)
{
	const int64_t begin = x->offsets[piece], n = x->offsets[piece + 1] - begin;
	const int32_t *ids = x->input_ids + begin, *types = x->token_type_ids ? x->token_type_ids + begin : NULL;

	*from = 1;
	*to = n;
	while (tok && *to > 1 && is_mark(tok, ids[*to - 1]))
		--*to;
	if (types) {
		while (*from < *to && !types[*from])
			++*from;
	} else if (tok) {
		int64_t at = *to;

		while (at > 1 && !is_mark(tok, ids[at - 1]))
			at--;
		*from = at;
	}
}

/* The best span of a piece behind its first token; *score: that much. */
static struct answer best_span(const struct pt_examples *x, const struct pt_tokenizer *tok, int64_t piece,
			       const float *z, double *score)
{
	const int64_t begin = x->offsets[piece];
	struct answer best = { piece, 0, 0 };
	int64_t from, n;

	*score = -1e300;
	find_context(x, tok, piece, &from, &n);
	for (int64_t s = from; s < n; s++) {
		for (int64_t e = s; e < n && e < s + MOST; e++) {
			double v = (double)z[2 * (begin + s)] + (double)z[2 * (begin + e) + 1];

			if (v > *score) {
				*score = v;
				best = (struct answer){ piece, s, e };
			}
		}
	}
	return best;
}

static double log_sum(const float *z, int64_t n)
{
	double max = -INFINITY, sum = 0;

	for (int64_t i = 0; i < n; i++)
		max = fmax(max, (double)z[2 * i]);
	for (int64_t i = 0; i < n; i++)
		sum += exp((double)z[2 * i] - max);
	return max + log(sum);
}

/*
 * The tokens of the likeliest answer of piece i, counted in it (both 0: none), logits [tokens,2] of all;
 * returns its share by a softmax over the starts and the ends of the piece.
 */
static double likeliest(const struct pt_examples *x, const struct pt_tokenizer *tok, int64_t i, const float *logits,
			int64_t *from, int64_t *to)
{
	const float *z = logits + 2 * x->offsets[i];
	double score, none = (double)z[0] + (double)z[1];
	struct answer a = best_span(x, tok, i, logits, &score);
	int64_t n = x->offsets[i + 1] - x->offsets[i];

	if (none > score) {
		a.from = a.to = 0;
		score = none;
	}
	*from = a.from;
	*to = a.to;
	return exp(score - log_sum(z, n) - log_sum(z + 1, n));
}

/* The words of an answer into m->words[i]. */
static int find_words(struct pt_measure *m, const struct pt_examples *x, const struct answer *a, int i,
		      struct pt_error *err)
{
	const int32_t *ids = x->input_ids + x->offsets[a->piece] + a->from;
	size_t n = a->from ? (size_t)(a->to - a->from + 1) : 0;
	struct pt_buf *words = &m->words[i];

	pt_buf_clear(words);
	if (m->tok) {
		pt_buf_clear(&m->text);
		if (pt_decode(m->tok, ids, n, false, &m->text, err) || pt_buf_check(&m->text, err))
			return err->status;
		return pt_measure_words(words, &m->lower, m->text.data, m->text.len, err);
	}
	for (size_t t = 0; t < n; t++) {
		uint64_t word = (uint64_t)ids[t];

		pt_buf_add(words, &word, sizeof word);
	}
	return pt_buf_check(words, err);
}

/* F1 of two bags of words; of no words: whether both have none. */
static double overlap(const struct pt_buf *a, const struct pt_buf *b)
{
	const uint64_t *p = (const uint64_t *)(const void *)a->data, *q = (const uint64_t *)(const void *)b->data;
	size_t np = a->len / sizeof *p, nq = b->len / sizeof *q, both = 0;

	if (!np || !nq)
		return np == nq;
	for (size_t i = 0; i < np; i++) {
		size_t before = 0, there = 0;

		for (size_t j = 0; j < i; j++)
			before += p[j] == p[i];
		for (size_t j = 0; j < nq; j++)
			there += q[j] == p[i];
		both += before < there;
	}
	return 2 * (double)both / (double)(np + nq);
}

static int one_question(struct pt_measure *m, const struct pt_examples *x, int64_t from, int64_t to, const float *z,
			struct pt_error *err)
{
	const struct pt_buf *w = m->words;
	struct answer is = { from, 0, 0 }, says = { from, 0, 0 };
	double most = -1e300, none = 1e300, v;

	for (int64_t i = from; i < to; i++) {
		struct answer a = best_span(x, m->tok, i, z, &v);
		int64_t first = x->offsets[i];

		if (v > most) {
			most = v;
			says = a;
		}
		v = (double)z[2 * first] + (double)z[2 * first + 1];
		none = v < none ? v : none;
		if (!is.from && x->span[2 * i] > 0)
			is = (struct answer){ i, x->span[2 * i], x->span[2 * i + 1] };
	}
	if (none > most)
		says.from = says.to = 0;
	if (find_words(m, x, &is, 0, err) || find_words(m, x, &says, 1, err))
		return err->status;
	m->overlap += overlap(&w[0], &w[1]);
	m->exact += w[0].len == w[1].len && (!w[0].len || !memcmp(w[0].data, w[1].data, w[0].len));
	m->targets++;
	return 0;
}

static int count_all(struct pt_measure *m, const struct pt_feed *f, const float *logits, const int32_t *argmax,
		     struct pt_error *err)
{
	const struct pt_examples *x = f->x;

	(void)argmax;
	for (int64_t i = 0, end; i < x->n; i = end) {
		for (end = i + 1; end < x->n && x->group && x->group[end] == x->group[i]; end++)
			;
		if (x->span[2 * i] >= 0 && one_question(m, x, i, end, logits, err))
			return err->status;
	}
	return 0;
}

static const char *result(const struct pt_measure *m, int i, double *value)
{
	*value = pt_measure_ratio(i == 1 ? (double)m->exact : m->overlap, (double)m->targets);
	return i == 1 ? "exact" : i == 2 ? "f1" : NULL;
}

/* The best answer of each piece, and its share of the scores of all tokens. */
static int predict(struct pt_predict *p, const struct pt_evaluator *e, const struct pt_examples *x,
		   struct pt_error *err)
{
	(void)err;
	pt_predict_index(p, x);
	for (int64_t i = 0; e->has_logits && i < x->n; i++) {
		int64_t from, to;
		float share = (float)likeliest(x, e->measure.tok, i, e->logits, &from, &to);

		pt_predict_ids(p, x->input_ids + x->offsets[i] + from, from ? to - from + 1 : 0);
		pt_buf_add(&p->probability, &share, sizeof share);
		if (p->loss)
			pt_predict_loss(p, e->has_loss ? e->loss[i] : 0);
	}
	return 0;
}

const struct pt_objective pt_objective_spans = {
	.fill = fill, .plan = plan, .example = pt_objective_own_example, .loss = loss, .count_all = count_all,
	.result = result, .predict = predict,
};
