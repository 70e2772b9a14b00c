/* SPDX-License-Identifier: MIT */
/*
 * inputs.c - see inputs.h. A hook at each linear takes its input and leaves it
 * as it is. Linears whose first inputs have the same bytes read the same
 * tensor, and only the first of them takes it from then on.
 *
 * Products are f32 on the device, of values less a shift that is near their
 * mean, so that centring takes nothing away; sums of rows are in double.
 */
#include "peft/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "device/kernels.h"

struct pt_input_watch {
	struct pt_inputs *p;
	struct pt_site *site;		/* NULL: not watched */
	struct pt_hook hook;
	int sum;			/* -1: nothing came yet */
	bool owner;
};

static int find_sum(struct pt_inputs *p, struct pt_input_watch *w, int64_t in, const float *x, size_t n,
		    struct pt_error *err)
{
	uint64_t hash = pt_hash64(x, n * sizeof *x);
	struct pt_device *dev = p->a->model->dev;
	size_t bytes = (size_t)(in * in) * sizeof(float);
	struct pt_input_sum *more, *s;
	void *data;

	for (int i = 0; i < p->nsums; i++) {
		if (p->sum[i].in == in && p->sum[i].hash == hash) {
			w->sum = i;
			return 0;
		}
	}
	more = pt_realloc(p->sum, (size_t)p->nsums + 1, sizeof *more, err);
	if (!more)
		return err->status;
	p->sum = more;
	s = &more[p->nsums];
	*s = (struct pt_input_sum){ .in = in, .hash = hash };
	w->sum = p->nsums++;
	w->owner = true;
	s->mean = pt_calloc((size_t)in, sizeof *s->mean, err);
	s->shift = pt_calloc((size_t)in, sizeof *s->shift, err);
	if (!s->mean || !s->shift || dev->alloc(dev, bytes, &data, err))
		return err->status;
	s->moment = data;
	return dev->k->fill(dev, PT_F32, s->moment, in * in, 0, err);
}

/* Rows that are learned move to the front; their number. */
static int64_t keep_learned(const struct pt_inputs *p, const struct pt_rows *rows, int64_t n, int64_t in, float *x)
{
	const int32_t *label = p->now->host_labels;
	int64_t kept = 0;

	if (p->how == PT_INPUTS_ALL || !label || p->now->host_decoder_labels || rows->n != p->now->rows.n)
		return n;
	for (int64_t i = 0; i < n; i++) {
		if (label[i] == -100)
			continue;
		if (kept != i)
			memcpy(x + kept * in, x + i * in, (size_t)in * sizeof *x);
		kept++;
	}
	return kept;
}

/* The size of the largest value, as CorDA has it: not of the largest size. A head's rows may be of a sequence each. */
static void scale_sequences(struct pt_input_sum *s, const struct pt_rows *rows, int64_t in, float *x)
{
	for (int b = 0; b < rows->batch; b++) {
		int64_t from = (rows->host_cu ? rows->host_cu[b] : b) * in, to = (rows->host_cu ? rows->host_cu[b + 1] : b + 1) * in;
		float most = to > from ? x[from] : 0;

		for (int64_t i = from; i < to; i++)
			most = x[i] > most ? x[i] : most;
		most = fabsf(most);
		for (int64_t i = from; i < to; i++)
			x[i] = most > 0 ? x[i] / most : 0;
		s->sequences += most > 0;
	}
}

/* The first rows' mean is the shift; mean holds sums until all is seen. */
static void shift_rows(struct pt_input_sum *s, int64_t n, float *x)
{
	for (int64_t i = 0; i < n && !s->rows; i++)
		for (int64_t j = 0; j < s->in; j++)
			s->shift[j] += (double)x[i * s->in + j] / (double)n;
	for (int64_t i = 0; i < n; i++) {
		for (int64_t j = 0; j < s->in; j++) {
			s->mean[j] += (double)x[i * s->in + j];
			x[i * s->in + j] = (float)((double)x[i * s->in + j] - s->shift[j]);
		}
	}
}

static int add_products(struct pt_inputs *p, struct pt_input_sum *s, int64_t n, struct pt_error *err)
{
	struct pt_device *dev = p->a->model->dev;
	size_t bytes = (size_t)(n * s->in) * sizeof(float);
	struct pt_k_gemm g = {
		.m = s->in, .n = s->in, .k = n, .c = s->moment, .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = s->in,
		.ldb = s->in, .ldc = s->in, .ta = true, .alpha = 1, .beta = 1,
	};
	void *data;

	if (bytes > p->block_room) {
		if (p->block)
			dev->free(dev, p->block, p->block_room);
		p->block = NULL;
		p->block_room = 0;
		if (dev->alloc(dev, bytes, &data, err))
			return err->status;
		p->block = data;
		p->block_room = bytes;
	}
	g.a = g.b = p->block;
	return dev->upload(dev, p->block, p->host, bytes, err) ? err->status : dev->k->gemm(dev, &g, err);
}

static int take(struct pt_run *run, struct pt_input_watch *w, struct pt_tensor *x)
{
	struct pt_inputs *p = w->p;
	const struct pt_rows *rows = x->rows;
	int64_t in = x->shape[1], n = rows->host_cu ? rows->host_cu[rows->batch] : rows->n;
	size_t all = (size_t)pt_tensor_count(x);
	struct pt_input_sum *s;

	if (pt_grow(&p->host, &p->room, all, sizeof *p->host, &run->err) || pt_tensor_read(run, x, p->host, &run->err))
		return run->err.status;
	if (w->sum < 0 && find_sum(p, w, in, p->host, (size_t)(n * in), &run->err))
		return run->err.status;
	if (!w->owner)
		return 0;
	s = &p->sum[w->sum];
	if (p->how == PT_INPUTS_BY_SEQUENCE) {
		scale_sequences(s, rows, in, p->host);
	} else {
		n = keep_learned(p, rows, n, in, p->host);
		shift_rows(s, n, p->host);
	}
	s->rows += n;
	return n ? add_products(p, s, n, &run->err) : 0;
}

static struct pt_tensor *input(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x)
{
	struct pt_input_watch *w = h->state;

	/* Not while memory is planned, nor what another linear takes. */
	if (run->dev != w->p->a->model->dev || (w->sum >= 0 && !w->owner))
		return x;
	return take(run, w, x) ? NULL : x;
}

static const struct pt_hook_ops hook = { .input = input };

/* Whether the linear before the last one of a head is watched: a pooler. */
static bool watches_head(const struct pt_inputs *p)
{
	for (int i = 0; i < p->a->nsites; i++) {
		if (p->watch[i].site && p->watch[i].site == pt_model_head_dense(p->a->model))
			return true;
	}
	return false;
}

static int pass(struct pt_inputs *p, struct pt_error *err)
{
	const struct pt_batches *b = p->a->batches;
	bool head = watches_head(p);
	struct pt_tensor *hidden;
	struct pt_run *run;
	int64_t n = 0;
	int st;

	while (!(st = b->next(b->arg, &run, &p->now, err)) && p->now) {
		hidden = pt_model_hidden(run, p->a->model, p->now);
		if (head)
			pt_model_head_input(run, p->a->model, p->now, hidden);
		if ((st = pt_run_check(run, err)) || (st = pt_stopped(p->a->stop, err)))
			break;
		n++;
	}
	if (!st && !n)
		st = pt_error(err, PT_DATA, "the stream has no batch to initialise from");
	return st;
}

static int refuse(const struct pt_site *s, struct pt_error *err)
{
	return pt_error(err, PT_USAGE, "%s reads nothing of the batches: it cannot be initialised from them; exclude_modules leaves it out", s->path);
}

int pt_inputs_new(struct pt_inputs **out, struct pt_adapter *a, enum pt_inputs_how how, struct pt_error *err)
{
	struct pt_inputs *p;
	int st = 0;

	*out = NULL;
	if (!a->batches)
		return pt_error(err, PT_USAGE, "init_lora_weights %s wants data: a stream of batches",
				how == PT_INPUTS_BY_SEQUENCE ? "corda" : "eva");
	p = pt_calloc(1, sizeof *p, err);
	if (!p)
		return err->status;
	*p = (struct pt_inputs){ .a = a, .how = how };
	p->watch = pt_calloc((size_t)a->nsites, sizeof *p->watch, err);
	st = p->watch ? 0 : err->status;
	for (int i = 0; i < a->nsites && !st; i++) {
		struct pt_input_watch *w = &p->watch[i];

		*w = (struct pt_input_watch){ .p = p, .sum = -1, .hook = { .ops = &hook, .enabled = true, .state = w } };
		if (a->site[i].site->kind != PT_SITE_LINEAR)
			continue;
		/* Heads do not run. */
		st = a->site[i].site->output || a->site[i].site->head ? refuse(a->site[i].site, err) :
		     pt_site_add_hook(a->site[i].site, &w->hook, err);
		w->site = st ? NULL : a->site[i].site;
	}
	if (!st)
		st = pass(p, err);
	for (int i = 0; i < a->nsites && p->watch; i++) {
		if (p->watch[i].site)
			pt_site_remove_hook(p->watch[i].site, &p->watch[i].hook);
		if (!st && p->watch[i].site && p->watch[i].sum < 0)
			st = refuse(p->watch[i].site, err);
	}
	for (int i = 0; i < p->nsums; i++)
		for (int64_t j = 0; j < p->sum[i].in && p->sum[i].rows; j++)
			p->sum[i].mean[j] /= (double)p->sum[i].rows;
	if (st)
		pt_inputs_free(p);
	else
		*out = p;
	return st;
}

void pt_inputs_free(struct pt_inputs *p)
{
	struct pt_device *dev;

	if (!p)
		return;
	dev = p->a->model->dev;
	for (int i = 0; i < p->nsums; i++) {
		if (p->sum[i].moment)
			dev->free(dev, p->sum[i].moment, (size_t)(p->sum[i].in * p->sum[i].in) * sizeof(float));
		free(p->sum[i].mean);
		free(p->sum[i].shift);
	}
	if (p->block)
		dev->free(dev, p->block, p->block_room);
	free(p->sum);
	free(p->host);
	free(p->watch);
	free(p);
}

int pt_inputs_of(const struct pt_inputs *p, const struct pt_site *s)
{
	for (int i = 0; i < p->a->nsites; i++) {
		if (p->watch[i].site == s)
			return p->watch[i].sum;
	}
	return -1;
}

int pt_inputs_moment(const struct pt_inputs *p, const struct pt_input_sum *s, float *out, struct pt_error *err)
{
	struct pt_device *dev = p->a->model->dev;
	int64_t in = s->in;

	if (dev->download(dev, out, s->moment, (size_t)(in * in) * sizeof *out, err))
		return err->status;
	for (int64_t i = 0; i < in; i++) {
		double di = s->mean[i] - s->shift[i];

		for (int64_t j = 0; j < in; j++) {
			double v = out[i * in + j];

			if (p->how != PT_INPUTS_BY_SEQUENCE)
				v -= (double)s->rows * di * (s->mean[j] - s->shift[j]);
			else
				v /= s->sequences ? (double)s->sequences : 1;
			out[i * in + j] = (float)v;
		}
	}
	return 0;
}
