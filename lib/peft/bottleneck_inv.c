/* SPDX-License-Identifier: MIT */
/*
 * bottleneck_inv.c - invertible adapters: a coupling of the halves of every
 * embedding before the first block,
 *
 *     y1 = x1 + F(x2), y2 = x2 + G(y1)
 *
 * and, where the library has it there, its inverse before the words are
 * written. F and G are linear, act, linear.
 *
 * Dinh et al. 2015, "NICE: Non-linear Independent Components Estimation";
 * Pfeiffer et al. 2020, "MAD-X".
 */
#include "peft/bottleneck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

bool pt_invert_match(const struct pt_adapter *a, const struct pt_site *s)
{
	const struct pt_bottleneck *b = a->state;

	if (s->kind != PT_SITE_STREAM || !b->invert)
		return false;
	/* An encoder-decoder's encoder; the head where the library inverts: not in those of classes that it has itself. */
	return s->stack == 0 || (s->stack < 0 && (a->model->cfg.family->hub == PT_HUB_HOOKED || pt_model_head_is_own(a->model)));
}

/* Whether the embeddings of the first stack are a site. */
static bool has_stream(const struct pt_model *m)
{
	for (int i = 0; i < m->nsites; i++)
		if (m->site[i].kind == PT_SITE_STREAM && m->site[i].stack == 0)
			return true;
	return false;
}

int pt_invert_parse(const struct pt_adapter *a, struct pt_bottleneck *b, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	const char *kind;
	double factor;

	if (pt_json_str(a->config, "inv_adapter", NULL, &kind, err) || !kind ||
	    pt_json_double(a->config, "inv_adapter_reduction_factor", 0, &factor, err))
		return err->status;
	if (strcmp(kind, "nice") != 0)
		return pt_error(err, PT_USAGE, "inv_adapter '%s' is not supported: nice is%s", kind,
				strcmp(kind, "glow") ? "" : ", and the library cannot compute the other one either");
	if (!has_stream(a->model))
		return pt_error(err, PT_USAGE, "inv_adapter: models of type %s have no place for it", c->family->model_type);
	if (c->embed_width != c->hidden)
		return pt_error(err, PT_USAGE, "inv_adapter: embeddings of models of type %s are narrower than the model",
				c->family->model_type);
	if (c->embed_scale != 1 || c->input_scale != 1)
		return pt_error(err, PT_USAGE, "inv_adapter: models of type %s scale their embeddings", c->family->model_type);
	/* That scale stands before the inverse there, and elsewhere behind it. */
	if (pt_task_vocab(a->task) && pt_model_head_is_own(a->model) && c->family->hub != PT_HUB_HOOKED && c->logit_scale != 1)
		return pt_error(err, PT_USAGE, "inv_adapter with a head of its own: models of type %s scale what that reads",
				c->family->model_type);
	if (!(factor > 0) || (double)c->hidden / 2 / factor > INT32_MAX)
		return pt_error(err, PT_USAGE, "inv_adapter_reduction_factor is no number above 0");
	b->invert = true;
	b->half[0] = c->hidden / 2;
	b->half[1] = c->hidden - b->half[0];
	for (int i = 0; i < 2; i++) {
		b->middle[i] = (int64_t)floor((double)b->half[!i] / factor);
		if (b->middle[i] < 1)
			return pt_error(err, PT_USAGE, "inv_adapter_reduction_factor %g leaves nothing of %lld features", factor,
					(long long)b->half[!i]);
	}
	return 0;
}

int pt_invert_create(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, struct pt_error *err)
{
	static const char *const name[2][4] = { { "F.0.weight", "F.0.bias", "F.2.weight", "F.2.bias" },
						{ "G.0.weight", "G.0.bias", "G.2.weight", "G.2.bias" } };
	struct pt_bottleneck *b = a->state;
	/* The library takes those of the lowest adapter alone: of one above they are kept, and do nothing. */
	bool acts = !a->level;

	if (acts)
		s->hook.ops = s->site->stack < 0 ? &pt_invert_back : &pt_invert_hook;
	else if (s->site->stack >= 0)
		pt_log(PT_WARN, "%s: its invertible adapter does nothing above another adapter", a->dir);
	for (int i = 0; i < 8 && s->site->stack >= 0; i++) {
		int net = i / 4, part = i % 4, ndim = part % 2 ? 1 : 2;
		int64_t in = part < 2 ? b->half[!net] : b->middle[net], out = part < 2 ? b->middle[net] : b->half[net];
		char *key = pt_format(err, "%s%s%s", b->prefix, start, name[net][part]);
		struct pt_param **p = &b->couple[net][part];
		int st = key ? pt_adapter_tensor(a, key, acts ? 0 : PT_TENSOR_FROZEN, ndim, (int64_t[]){ out, in }, p, err) :
			 err->status;

		free(key);
		if (st)
			return st;
		s->param[s->nparams++] = *p;
	}
	s->rank = (int)b->middle[0];
	return 0;
}

/* F or G of half the features, negated on the way back; x is done with. */
static struct pt_tensor *through(struct pt_run *run, struct pt_param *const p[4], enum pt_act act, bool back,
				 struct pt_tensor *x)
{
	struct pt_linear down = { .w = &p[0]->t, .bias = &p[1]->t }, up = { .w = &p[2]->t, .bias = &p[3]->t };

	x = pt_then(run, pt_op_linear(run, x, &down), x);
	x = pt_then(run, pt_op_act(run, x, act), x);
	x = pt_then(run, pt_op_linear(run, x, &up), x);
	return back ? pt_then(run, pt_op_scale(run, x, -1), x) : x;
}

/* One half of the features of x; halves that differ in width are taken feature by feature. */
static struct pt_tensor *half_of(struct pt_run *run, const struct pt_bottleneck *b, struct pt_tensor *x, int which)
{
	bool even = b->half[0] == b->half[1];
	int total = even ? 2 : (int)(b->half[0] + b->half[1]), n = even ? 1 : (int)b->half[which];
	int *piece = pt_pool_alloc(&run->pool, (size_t)n * sizeof *piece, &run->err);

	for (int i = 0; piece && i < n; i++)
		piece[i] = i + (which ? total - n : 0);
	return piece ? pt_op_pieces(run, x, total, pt_pieces_index(run, x->shape[0], total, piece, n), n) : NULL;
}

/* Two halves side by side; both are done with. */
static struct pt_tensor *beside(struct pt_run *run, const struct pt_bottleneck *b, struct pt_tensor *const both[2])
{
	bool even = b->half[0] == b->half[1];
	int64_t c = b->half[0] + b->half[1], width = even ? b->half[0] : 1, per = c / width, first = b->half[0] / width;
	int64_t n = both[0] ? both[0]->shape[0] : 0;
	int32_t *at = pt_pool_alloc(&run->pool, (size_t)(n * per) * sizeof *at, &run->err);
	const int32_t *index;
	struct pt_tensor *y;

	if (!both[0] || !both[1] || !at)
		return NULL;
	for (int64_t i = 0; i < n * per; i++) {
		int64_t row = i / per, k = i % per;

		at[i] = (int32_t)(k < first ? row * first + k : n * first + row * (per - first) + k - first);
	}
	index = pt_run_upload(run, at, (size_t)(n * per) * sizeof *at);
	y = pt_op_join(run, both, 2, n * per, width);
	pt_tensor_done(run, both[0]);
	pt_tensor_done(run, both[1]);
	if (!index || !y)
		return NULL;
	y = pt_then(run, pt_op_gather(run, y, index, n * per, NULL), y);
	return pt_then(run, pt_op_reshape(run, y, n, c), y);
}

/*
 * x with one half changed by what is made of the other, then that one by what is made of the new half: forwards the
 * first by F, then the second by G; back the second by -G, then the first by -F.
 */
static struct pt_tensor *couple(struct pt_run *run, const struct pt_bottleneck *b, struct pt_tensor *x, bool back)
{
	struct pt_tensor *change[2], *half;
	int i = back;

	if (!x || run->err.status)
		return NULL;
	change[i] = through(run, b->couple[i], b->act, back, half_of(run, b, x, !i));
	half = half_of(run, b, x, i);
	half = pt_then(run, pt_op_add(run, half, change[i]), half);
	change[!i] = through(run, b->couple[!i], b->act, back, half);
	half = beside(run, b, change);
	x = pt_op_add(run, x, half);
	pt_tensor_done(run, half);
	return x;
}

static struct pt_tensor *forwards(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x)
{
	const struct pt_bottleneck_site *p = ((struct pt_adapter_site *)h->state)->state;

	return couple(run, p->b, x, false);
}

static struct pt_tensor *backwards(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x)
{
	const struct pt_bottleneck_site *p = ((struct pt_adapter_site *)h->state)->state;

	return couple(run, p->b, x, true);
}

const struct pt_hook_ops pt_invert_hook = { .pass = forwards }, pt_invert_back = { .pass = backwards };
