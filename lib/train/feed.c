/* SPDX-License-Identifier: MIT */
/*
 * feed.c - micro-batches as the model reads them; see feed.h.
 */
#include "train/feed_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "train/objective.h"

/* Host arrays of one packing, kept from one micro-batch to the next. */
struct packing {
	int32_t *cu, *pos;
	uint64_t *key;
	size_t cap_cu, cap_pos, cap_key;
};

struct pt_feed_mem {
	struct packing in, decoder;
	int32_t *shifted;		/* what the decoder reads */
	size_t cap_shifted;
	size_t cap_seq, cap_at, cap_label, cap_target, cap_weight;
};

int pt_feed_init(struct pt_feed *f, const struct pt_feed_options *o, struct pt_error *err)
{
	memset(f, 0, sizeof *f);
	f->o = *o;
	f->of = pt_objective_of(o->task, o->problem);
	if (!f->of)
		return pt_error(err, PT_USAGE, "a body without a task can be neither trained nor evaluated (--task of peft-tokenize and peft-init)");
	f->mem = pt_calloc(1, sizeof *f->mem, err);
	return f->mem ? 0 : PT_FAIL;
}

static void packing_release(struct packing *p)
{
	free(p->cu);
	free(p->pos);
	free(p->key);
}

void pt_feed_release(struct pt_feed *f)
{
	if (f->mem) {
		packing_release(&f->mem->in);
		packing_release(&f->mem->decoder);
		free(f->mem->shifted);
	}
	free(f->mem);
	free(f->seq);
	free(f->at);
	free(f->label);
	free(f->target);
	free(f->weight);
	free(f->pairs.a);
	free(f->pairs.b);
	memset(f, 0, sizeof *f);
}

const struct pt_rows *pt_feed_target_rows(const struct pt_feed *f)
{
	return pt_task_decoder(f->o.task) ? &f->in.decoder_rows : &f->in.rows;
}

uint64_t pt_feed_key(uint64_t seed, int64_t epoch, int64_t index, int32_t draw)
{
	uint64_t key = pt_rng_mix(pt_rng_mix(seed, (uint64_t)epoch), (uint64_t)index);

	return pt_rng_mix(key, (uint64_t)draw);
}

/* Room for rows of this size, without contents. */
static int make_rows(struct packing *p, struct pt_rows *rows, int64_t tokens, int64_t seqs, struct pt_error *err)
{
	if (tokens >= INT32_MAX || seqs >= INT32_MAX)
		return pt_error(err, PT_DATA, "a micro-batch of %lld tokens in %lld sequences is too large",
				(long long)tokens, (long long)seqs);
	if (pt_grow(&p->cu, &p->cap_cu, (size_t)seqs + 1, sizeof *p->cu, err) ||
	    pt_grow(&p->pos, &p->cap_pos, (size_t)tokens + 1, sizeof *p->pos, err) ||
	    pt_grow(&p->key, &p->cap_key, (size_t)tokens + 1, sizeof *p->key, err))
		return err->status;
	*rows = (struct pt_rows){ .n = tokens, .batch = (int)seqs, .host_cu = p->cu };
	p->cu[0] = 0;
	return 0;
}

static int make_all_rows(struct pt_feed *f, int64_t tokens, int64_t decoder_tokens, int64_t seqs,
			 struct pt_error *err)
{
	struct pt_feed_mem *m = f->mem;

	memset(&f->in, 0, sizeof f->in);
	f->x = NULL;
	f->rows = 0;
	f->share = 0;
	f->labelled = false;
	f->d_label = NULL;
	f->d_target = f->d_weight = NULL;
	if (make_rows(&m->in, &f->in.rows, tokens, seqs, err))
		return err->status;
	if (!pt_task_decoder(f->o.task))
		return 0;
	if (pt_grow(&m->shifted, &m->cap_shifted, (size_t)decoder_tokens + 1, sizeof *m->shifted, err))
		return err->status;
	return make_rows(&m->decoder, &f->in.decoder_rows, decoder_tokens, seqs, err);
}

int pt_feed_room(struct pt_feed *f, int64_t n, int64_t columns, struct pt_error *err)
{
	struct pt_feed_mem *m = f->mem;
	size_t cells;

	if (!pt_mul_size((size_t)n, (size_t)columns, &cells))
		return pt_error(err, PT_DATA, "too many targets");
	if (pt_grow(&f->label, &m->cap_label, (size_t)n + 1, sizeof *f->label, err) ||
	    pt_grow(&f->weight, &m->cap_weight, (size_t)n + 1, sizeof *f->weight, err) ||
	    pt_grow(&f->seq, &m->cap_seq, (size_t)n + 1, sizeof *f->seq, err) ||
	    pt_grow(&f->at, &m->cap_at, (size_t)n + 1, sizeof *f->at, err) ||
	    pt_grow(&f->target, &m->cap_target, cells + 1, sizeof *f->target, err))
		return err->status;
	return 0;
}

/* Cumulative lengths, positions and keys of the rows. */
static void fill_rows(struct packing *p, struct pt_rows *rows, const struct pt_feed *f, const struct pt_examples *x,
		      const int64_t *offsets)
{
	for (int64_t b = 0; b < x->n; b++) {
		uint64_t key = pt_feed_key(f->o.seed, x->epoch, x->index[b], x->draw ? x->draw[b] : 0);
		int64_t from = offsets[b], to = offsets[b + 1];

		p->cu[b + 1] = (int32_t)to;
		if (to - from > rows->max_len)
			rows->max_len = (int)(to - from);
		for (int64_t t = from; t < to; t++) {
			p->pos[t] = (int32_t)(t - from);
			p->key[t] = key;
		}
	}
}

/* What the decoder reads: its targets, one place to the right. */
static int fill_decoder(struct pt_feed *f, const struct pt_examples *x, struct pt_error *err)
{
	int32_t *to = f->mem->shifted;

	if (!x->decoder_ids)
		return pt_error(err, PT_DATA, "the stream has no decoder_ids, the model is an encoder-decoder (--task seq2seq of peft-tokenize)");
	fill_rows(&f->mem->decoder, &f->in.decoder_rows, f, x, x->decoder_offsets);
	for (int64_t b = 0; b < x->n; b++) {
		int64_t from = x->decoder_offsets[b], n = x->decoder_offsets[b + 1] - from;

		if (n < 1)
			continue;
		to[from] = f->o.decoder_start;
		memcpy(to + from + 1, x->decoder_ids + from, (size_t)(n - 1) * sizeof *to);
	}
	f->in.host_decoder_ids = to;
	f->in.host_decoder_labels = x->decoder_labels ? x->decoder_labels : x->decoder_ids;
	return 0;
}

int pt_feed_class(const struct pt_feed *f, int64_t index, int32_t c, int32_t *out, struct pt_error *err)
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

float pt_feed_share(const struct pt_examples *x, int64_t i)
{
	double w = x->weight ? (double)x->weight[i] : 1;

	return x->step_weight > 0 ? (float)(w / x->step_weight) : 0;
}

void pt_feed_per_example(struct pt_feed *f, const struct pt_examples *x)
{
	f->rows = x->n;
	for (int64_t b = 0; b < x->n; b++)
		f->weight[b] = pt_feed_share(x, b);
}

/* On a plan device nothing is read: any address does for the ids. */
static const int32_t *upload_rows(struct pt_run *run, const struct packing *p, struct pt_rows *r,
				  const int32_t *ids)
{
	size_t n = (size_t)r->n;

	r->cu = pt_run_upload(run, p->cu, ((size_t)r->batch + 1) * sizeof *r->cu);
	r->pos = pt_run_upload(run, p->pos, n * sizeof *r->pos);
	r->key = pt_run_upload(run, p->key, n * sizeof *r->key);
	return pt_run_upload(run, ids ? ids : p->pos, n * sizeof *ids);
}

void pt_feed_upload_labels(struct pt_feed *f, struct pt_run *run)
{
	f->d_label = pt_run_upload(run, f->label, (size_t)f->rows * sizeof *f->label);
}

void pt_feed_upload_targets(struct pt_feed *f, struct pt_run *run, int64_t columns)
{
	f->d_target = pt_run_upload(run, f->target, (size_t)(f->rows * columns) * sizeof *f->target);
}

static int upload(struct pt_feed *f, struct pt_run *run, const int32_t *types, struct pt_error *err)
{
	f->in.ids = upload_rows(run, &f->mem->in, &f->in.rows, f->in.host_ids);
	if (types)
		f->in.types = pt_run_upload(run, types, (size_t)f->in.rows.n * sizeof *types);
	if (pt_task_decoder(f->o.task))
		f->in.decoder_ids = upload_rows(run, &f->mem->decoder, &f->in.decoder_rows, f->in.host_decoder_ids);
	if (f->rows) {
		f->d_weight = pt_run_upload(run, f->weight, (size_t)f->rows * sizeof *f->weight);
		if (f->of->upload)
			f->of->upload(f, run);
	}
	return pt_run_check(run, err);
}

int pt_feed_fill(struct pt_feed *f, struct pt_run *run, const struct pt_examples *x, struct pt_error *err)
{
	int status = make_all_rows(f, x->tokens, x->decoder_tokens, x->n, err);

	if (status)
		return status;
	f->x = x;
	f->first = x->n ? x->index[0] : -1;
	f->in.host_ids = x->input_ids;
	f->in.host_types = x->token_type_ids;
	f->in.host_labels = pt_task_vocab(f->o.task) && !pt_task_decoder(f->o.task) ? x->labels : NULL;
	fill_rows(&f->mem->in, &f->in.rows, f, x, x->offsets);
	if (pt_task_decoder(f->o.task))
		status = fill_decoder(f, x, err);
	if (!status)
		status = f->of->fill(f, x, err);
	for (int64_t i = 0; !status && i < f->rows && f->labelled; i++)
		f->share += (double)f->weight[i];
	return status ? status : upload(f, run, x->token_type_ids, err);
}

/* As long sequences as there may be, none empty where that can be; the last one takes what is left. */
static void plan_rows(int32_t *cu, struct pt_rows *rows, int64_t len)
{
	int64_t left = rows->n - rows->batch;

	for (int s = 0; s < rows->batch; s++) {
		int64_t more = left < len - 1 ? left : len - 1, end;

		if (more < 0)
			more = 0;
		left -= more;
		end = cu[s] + 1 + more;
		cu[s + 1] = (int32_t)(end < rows->n && s + 1 < rows->batch ? end : rows->n);
		if (cu[s + 1] - cu[s] > rows->max_len)
			rows->max_len = cu[s + 1] - cu[s];
	}
}

int pt_feed_plan(struct pt_feed *f, struct pt_run *run, const struct pt_bounds *b, struct pt_error *err)
{
	int64_t seqs = b->seqs < 1 ? 1 : b->seqs;
	int status;

	if (seqs > b->tokens)
		seqs = b->tokens > 0 ? b->tokens : 1;
	status = make_all_rows(f, b->tokens, b->decoder_tokens, seqs, err);
	if (status)
		return status;
	plan_rows(f->mem->in.cu, &f->in.rows, b->len);
	if (pt_task_decoder(f->o.task))
		plan_rows(f->mem->decoder.cu, &f->in.decoder_rows, b->decoder_len);
	f->share = 1;
	f->labelled = true;
	if (f->of->plan(f, b, seqs, err))
		return err->status;
	return upload(f, run, f->mem->in.pos, err);
}
