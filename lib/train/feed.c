/* SPDX-License-Identifier: MIT */
/*
 * feed.c - micro-batches as the model reads them; see feed.h.
 */
#include "train/feed.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

/* Host arrays, kept from one micro-batch to the next. */
struct pt_feed_mem {
	int32_t *cu, *pos;
	uint64_t *key;
	size_t cap_cu, cap_pos, cap_key;
	size_t cap_seq, cap_at, cap_label, cap_target, cap_weight;
};

int pt_feed_init(struct pt_feed *f, const struct pt_feed_options *o, struct pt_error *err)
{
	memset(f, 0, sizeof *f);
	f->o = *o;
	if (o->task != PT_TASK_CAUSAL_LM && o->task != PT_TASK_SEQ_CLS)
		return pt_error(err, PT_USAGE, "the task %s cannot be trained or evaluated yet", pt_task_name(o->task));
	f->mem = pt_calloc(1, sizeof *f->mem, err);
	return f->mem ? 0 : PT_FAIL;
}

void pt_feed_release(struct pt_feed *f)
{
	if (f->mem) {
		free(f->mem->cu);
		free(f->mem->pos);
		free(f->mem->key);
	}
	free(f->mem);
	free(f->seq);
	free(f->at);
	free(f->label);
	free(f->target);
	free(f->weight);
	memset(f, 0, sizeof *f);
}

uint64_t pt_feed_key(uint64_t seed, int64_t epoch, int64_t index, int32_t draw)
{
	uint64_t key = pt_rng_mix(pt_rng_mix(seed, (uint64_t)epoch), (uint64_t)index);

	return pt_rng_mix(key, (uint64_t)draw);
}

/* Room for a micro-batch of this size, and rows without contents. */
static int make_rows(struct pt_feed *f, int64_t tokens, int64_t seqs, struct pt_error *err)
{
	struct pt_feed_mem *m = f->mem;

	if (tokens >= INT32_MAX || seqs >= INT32_MAX)
		return pt_error(err, PT_DATA, "a micro-batch of %lld tokens in %lld sequences is too large",
				(long long)tokens, (long long)seqs);
	if (pt_grow(&m->cu, &m->cap_cu, (size_t)seqs + 1, sizeof *m->cu, err) ||
	    pt_grow(&m->pos, &m->cap_pos, (size_t)tokens + 1, sizeof *m->pos, err) ||
	    pt_grow(&m->key, &m->cap_key, (size_t)tokens + 1, sizeof *m->key, err))
		return err->status;
	memset(&f->in, 0, sizeof f->in);
	f->in.rows = (struct pt_rows){ .n = tokens, .batch = (int)seqs, .host_cu = m->cu };
	m->cu[0] = 0;
	f->x = NULL;
	f->rows = 0;
	f->labelled = false;
	f->d_label = NULL;
	f->d_target = f->d_weight = NULL;
	return 0;
}

static int make_targets(struct pt_feed *f, int64_t n, struct pt_error *err)
{
	struct pt_feed_mem *m = f->mem;
	size_t cells;

	if (!pt_mul_size((size_t)n, (size_t)f->o.nlabels, &cells))
		return pt_error(err, PT_DATA, "too many targets");
	if (pt_grow(&f->label, &m->cap_label, (size_t)n + 1, sizeof *f->label, err) ||
	    pt_grow(&f->weight, &m->cap_weight, (size_t)n + 1, sizeof *f->weight, err))
		return err->status;
	if (pt_task_per_token(f->o.task) &&
	    (pt_grow(&f->seq, &m->cap_seq, (size_t)n + 1, sizeof *f->seq, err) ||
	     pt_grow(&f->at, &m->cap_at, (size_t)n + 1, sizeof *f->at, err)))
		return err->status;
	if (f->o.task == PT_TASK_SEQ_CLS && f->o.problem != PT_PROBLEM_SINGLE)
		return pt_grow(&f->target, &m->cap_target, cells + 1, sizeof *f->target, err);
	return 0;
}

/* Cumulative lengths, positions and keys of the rows. */
static void fill_rows(struct pt_feed *f, const struct pt_examples *x)
{
	struct pt_feed_mem *m = f->mem;

	for (int64_t b = 0; b < x->n; b++) {
		uint64_t key = pt_feed_key(f->o.seed, x->epoch, x->index[b], x->draw ? x->draw[b] : 0);
		int64_t from = x->offsets[b], to = x->offsets[b + 1];

		m->cu[b + 1] = (int32_t)to;
		if (to - from > f->in.rows.max_len)
			f->in.rows.max_len = (int)(to - from);
		for (int64_t t = from; t < to; t++) {
			m->pos[t] = (int32_t)(t - from);
			m->key[t] = key;
		}
	}
}

/*
 * Targets of a language model. Every labelled token counts alike in the step;
 * weights of examples are relative to their mean.
 */
static int fill_tokens(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	double one = x->step_tokens > 0 ? 1 / (double)x->step_tokens : 0;
	double mean = x->step_examples > 0 ? x->step_weight / (double)x->step_examples : 1;

	if (make_targets(f, x->tokens, err))
		return err->status;
	f->labelled = x->labels != NULL;
	if (!x->labels)
		return 0;
	for (int64_t b = 0; b < x->n; b++) {
		double w = !x->weight ? one : mean > 0 ? one * (double)x->weight[b] / mean : 0;

		for (int64_t t = x->offsets[b] + 1; t < x->offsets[b + 1]; t++) {
			if (x->labels[t] == -100)
				continue;
			f->seq[f->rows] = (int32_t)b;
			f->at[f->rows] = (int32_t)(t - 1 - x->offsets[b]);
			f->label[f->rows] = x->labels[t];
			f->weight[f->rows++] = (float)w;
		}
	}
	return 0;
}

static int map_class(const struct pt_feed *f, int64_t index, int32_t c, int32_t *out, struct pt_error *err)
{
	*out = c;
	if (c == -100)
		return 0;
	if (f->o.class_map && c < f->o.nmap)
		*out = f->o.class_map[c];
	if ((f->o.class_map && c >= f->o.nmap) || *out < 0 || *out >= f->o.nlabels)
		return pt_error(err, PT_DATA, "example %lld has class %d; the head has %d labels",
				(long long)index, (int)c, f->o.nlabels);
	return 0;
}

static int fill_classes(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	f->labelled = x->cls != NULL;
	if (!x->cls && x->target)
		return pt_error(err, PT_DATA, "the stream has targets of %lld numbers, the model learns classes (--task of peft-tokenize and peft-init)",
				(long long)x->k);
	for (int64_t b = 0; x->cls && b < x->n; b++)
		if (map_class(f, x->index[b], x->cls[b], &f->label[b], err))
			return err->status;
	return 0;
}

static int fill_numbers(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	int64_t k = f->o.nlabels;
	bool mapped = f->o.class_map && f->o.problem == PT_PROBLEM_MULTI;

	f->labelled = x->target != NULL;
	if (!x->target)
		return x->cls ? pt_error(err, PT_DATA, "the stream has classes, the model learns numbers (--task of peft-tokenize and peft-init)") : 0;
	if (x->k != (mapped ? f->o.nmap : k))
		return pt_error(err, PT_DATA, "targets of %lld numbers; the head has %lld outputs", (long long)x->k,
				(long long)k);
	memset(f->target, 0, (size_t)(x->n * k) * sizeof *f->target);
	for (int64_t b = 0; b < x->n; b++)
		for (int64_t j = 0; j < x->k; j++) {
			int32_t c = (int32_t)j;

			if (mapped && map_class(f, x->index[b], c, &c, err))
				return err->status;
			f->target[b * k + c] = x->target[b * x->k + j];
		}
	return 0;
}

static int fill_examples(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	int status;

	if (make_targets(f, x->n, err))
		return err->status;
	status = f->o.problem == PT_PROBLEM_SINGLE ? fill_classes(f, x, err) : fill_numbers(f, x, err);
	if (status || !f->labelled)
		return status;
	f->rows = x->n;
	for (int64_t b = 0; b < x->n; b++) {
		double w = x->weight ? (double)x->weight[b] : 1;

		f->weight[b] = x->step_weight > 0 ? (float)(w / x->step_weight) : 0;
	}
	return 0;
}

static int upload(struct pt_feed *f, struct pt_run *run, const int32_t *types, bool keys, struct pt_error *err)
{
	struct pt_rows *r = &f->in.rows;
	size_t n = (size_t)r->n, rows = (size_t)f->rows;
	bool tokens = pt_task_per_token(f->o.task);

	r->cu = pt_run_upload(run, f->mem->cu, ((size_t)r->batch + 1) * sizeof *r->cu);
	r->pos = pt_run_upload(run, f->mem->pos, n * sizeof *r->pos);
	if (keys)
		r->key = pt_run_upload(run, f->mem->key, n * sizeof *r->key);
	/* On a plan device nothing is read: any address does. */
	f->in.ids = pt_run_upload(run, f->in.host_ids ? f->in.host_ids : f->mem->pos, n * sizeof *f->in.ids);
	if (types)
		f->in.types = pt_run_upload(run, types, n * sizeof *types);
	if (rows) {
		f->d_weight = pt_run_upload(run, f->weight, rows * sizeof *f->weight);
		if (tokens || f->o.problem == PT_PROBLEM_SINGLE)
			f->d_label = pt_run_upload(run, f->label, rows * sizeof *f->label);
		else
			f->d_target = pt_run_upload(run, f->target, rows * (size_t)f->o.nlabels * sizeof *f->target);
	}
	return pt_run_check(run, err);
}

int pt_feed_fill(struct pt_feed *f, struct pt_run *run, const struct pt_examples *x, struct pt_error *err)
{
	int status = make_rows(f, x->tokens, x->n, err);

	if (status)
		return status;
	f->x = x;
	f->first = x->n ? x->index[0] : -1;
	f->in.host_ids = x->input_ids;
	f->in.host_types = x->token_type_ids;
	f->in.host_labels = pt_task_vocab(f->o.task) ? x->labels : NULL;
	fill_rows(f, x);
	status = pt_task_per_token(f->o.task) ? fill_tokens(f, x, err) : fill_examples(f, x, err);
	return status ? status : upload(f, run, x->token_type_ids, true, err);
}

int pt_feed_plan(struct pt_feed *f, struct pt_run *run, const struct pt_feed_bounds *b, struct pt_error *err)
{
	int64_t seqs = b->seqs < 1 ? 1 : b->seqs, left, rows;
	int status;

	/* As long sequences as there may be, none empty. */
	if (seqs > b->tokens)
		seqs = b->tokens > 0 ? b->tokens : 1;
	status = make_rows(f, b->tokens, seqs, err);
	left = b->tokens - seqs;
	for (int64_t s = 0; !status && s < seqs; s++) {
		int64_t more = left < b->len - 1 ? left : b->len - 1;

		if (more < 0)
			more = 0;
		left -= more;
		f->mem->cu[s + 1] = f->mem->cu[s] + 1 + (int32_t)more;
	}
	if (status)
		return status;
	/* Bounds that no packing meets: the last sequence takes what is left. */
	f->mem->cu[seqs] = (int32_t)b->tokens;
	for (int64_t s = 0; s < seqs; s++)
		if (f->mem->cu[s + 1] - f->mem->cu[s] > f->in.rows.max_len)
			f->in.rows.max_len = f->mem->cu[s + 1] - f->mem->cu[s];
	/* First tokens are no targets, and there are at least so many sequences. */
	rows = seqs;
	if (pt_task_shifts(f->o.task))
		rows = b->len > 1 ? b->tokens - (b->tokens + b->len - 1) / b->len : 1;
	status = make_targets(f, rows, err);
	if (status)
		return status;
	f->rows = rows;
	f->labelled = true;
	if (pt_task_per_token(f->o.task))
		for (int64_t i = 0; i < rows; i++)
			f->seq[i] = f->at[i] = 0;
	return upload(f, run, f->mem->pos, true, err);
}
