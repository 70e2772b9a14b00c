/* SPDX-License-Identifier: MIT */
/*
 * step.c - one optimiser step; see step.h.
 */
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"
#include "train/loss.h"

int pt_step_init(struct pt_step *s, struct pt_model *model, struct pt_adapter *adapter, struct pt_params *params,
		 struct pt_device *dev, struct pt_device *plan, const struct pt_feed_options *feed,
		 const struct pt_adamw *adamw, bool bf16, struct pt_error *err)
{
	memset(s, 0, sizeof *s);
	s->model = model;
	s->adapter = adapter;
	s->dev = dev;
	s->plan = plan;
	s->bf16 = bf16;
	s->bad = -1;
	if (params->n == 0)
		return pt_error(err, PT_NUMERIC, "nothing trains: the adapter has no trainable tensor");
	if (pt_feed_init(&s->feed, feed, err))
		return err->status;
	if (pt_optimizer_init(&s->opt, adamw, params, err))
		return err->status;
	/* A method may look at them after the update. */
	s->opt.keep_grad = adapter && adapter->method && adapter->method->after_step;
	return 0;
}

void pt_step_release(struct pt_step *s)
{
	if (s->run.dev)
		pt_run_release(&s->run);
	if (s->pinned)
		s->dev->unpin(s->dev, s->pinned, s->cap_losses * sizeof *s->pinned);
	pt_optimizer_release(&s->opt);
	pt_feed_release(&s->feed);
	free(s->part);
	free(s->weight);
	memset(s, 0, sizeof *s);
}

/* Room for n more losses on their way: what is there is settled before it moves. */
static int more_losses(struct pt_step *s, size_t n, struct pt_error *err)
{
	size_t cap = 2 * (s->losses + n);
	float *weight;
	void *p;

	if (s->losses + n <= s->cap_losses)
		return 0;
	if (pt_step_settle(s, err) || s->dev->pin(s->dev, cap * sizeof *s->pinned, &p, err))
		return err->status;
	if (s->pinned)
		s->dev->unpin(s->dev, s->pinned, s->cap_losses * sizeof *s->pinned);
	s->pinned = p;
	s->cap_losses = cap;
	weight = pt_realloc(s->weight, cap, sizeof *weight, err);
	if (!weight)
		return err->status;
	s->weight = weight;
	return 0;
}

/* n of them from a tensor that backward will drop. */
static int send(struct pt_step *s, const struct pt_tensor *t, size_t n, struct pt_error *err)
{
	uint64_t ticket;

	if (s->dev->store(s->dev, s->pinned + s->losses, t->data, n * sizeof *s->pinned, &ticket, err) ||
	    s->dev->wait(s->dev, ticket, err))
		return err->status;
	s->losses += n;
	return 0;
}

/* The losses of the micro-batch, and what its routers add, begin their way to the host. */
static int send_losses(struct pt_step *s, const struct pt_loss *l, struct pt_error *err)
{
	size_t n = l->value ? (size_t)s->feed.rows : 0;

	if (!l->value && !l->router)
		return 0;
	if (more_losses(s, n + 1, err) || pt_grow(&s->part, &s->cap_parts, s->parts + 1, sizeof *s->part, err))
		return err->status;
	s->part[s->parts++] = (struct pt_step_part){ .at = s->losses, .n = n, .share = s->feed.share,
						      .router_weight = l->router_weight, .router = l->router != NULL };
	if (n)
		memcpy(s->weight + s->losses, s->feed.weight, n * sizeof *s->weight);
	return (n && send(s, l->value, n, err)) || (l->router && send(s, l->router, 1, err)) ? err->status : 0;
}

/* What came of one micro-batch, into the step's mean. */
static int take(struct pt_step *s, const struct pt_step_part *p, struct pt_error *err)
{
	s->value = s->pinned + p->at;
	for (size_t i = 0; i < p->n; i++) {
		if (!isfinite(s->value[i]) && s->bad < 0)
			s->bad = (int64_t)i;
		s->loss += (double)s->weight[p->at + i] * (double)s->value[i];
	}
	if (s->bad >= 0)
		return pt_error(err, PT_NUMERIC, "the loss is %g", pt_plain_nan(s->value[s->bad]));
	if (!p->router)
		return 0;
	s->router += p->share * (double)s->value[p->n];
	s->loss += (double)p->router_weight * (double)s->value[p->n];
	if (!isfinite(s->value[p->n]))
		return pt_error(err, PT_NUMERIC, "the loss of the routers is %g", pt_plain_nan(s->value[p->n]));
	return 0;
}

int pt_step_settle(struct pt_step *s, struct pt_error *err)
{
	size_t n = s->parts;
	float any;

	if (!n)
		return 0;
	s->parts = s->losses = 0;
	/* Whatever is asked for comes after them. */
	if (s->dev->download(s->dev, &any, s->opt.gscale, sizeof any, err))
		return err->status;
	for (size_t i = 0; i < n; i++)
		if (take(s, &s->part[i], err))
			return err->status;
	return 0;
}

int pt_step_micro(struct pt_step *s, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_loss l;

	pt_run_reset(&s->run);
	s->run.record = true;
	s->run.train = true;
	pt_run_compute(&s->run, s->bf16);
	s->bad = -1;
	s->clear = false;
	if (pt_feed_fill(&s->feed, &s->run, x, err) ||
	    pt_loss_forward(&s->run, s->model, &s->feed, false, &l, err) || send_losses(s, &l, err) ||
	    (!s->dev->copies && pt_step_settle(s, err)) || pt_loss_backward(&s->run, &l, err))
		return err->status;
	s->tokens += x->tokens + x->decoder_tokens;
	s->examples += x->n;
	return 0;
}

/* A method's loss of its parameters alone counts once a step. */
static int method_loss(struct pt_step *s, struct pt_error *err)
{
	struct pt_tensor *t;
	float value;

	if (!s->adapter || !s->adapter->method || !s->adapter->method->loss)
		return 0;
	if (pt_step_settle(s, err))
		return err->status;
	pt_run_reset(&s->run);
	s->run.record = true;
	t = pt_adapter_loss(&s->run, s->adapter);
	if (!t || pt_run_check(&s->run, err))
		return pt_run_check(&s->run, err);
	if (pt_tensor_count(t) != 1)
		return pt_error(err, PT_FAIL, "the loss of method %s has %lld elements, not one",
				s->adapter->method->name, (long long)pt_tensor_count(t));
	if (pt_tensor_read(&s->run, t, &value, err))
		return err->status;
	s->loss += (double)value;
	s->clear = false;
	return pt_backward(&s->run, t, NULL, err);
}

int pt_step_clear(struct pt_step *s, struct pt_error *err)
{
	s->parts = s->losses = 0;
	s->loss = s->router = 0;
	s->tokens = s->examples = 0;
	if (!s->clear && pt_params_zero_grad(s->opt.params, err))
		return err->status;
	s->clear = true;
	return 0;
}

int pt_step_update(struct pt_step *s, double lr, int64_t t, int64_t total, double *norm,
		   const struct pt_param **bad, struct pt_error *err)
{
	struct pt_method_step at = { .step = t, .total = total, .clip = 1 };

	*bad = NULL;
	if (method_loss(s, err) || (s->adapter && pt_adapter_gradient(s->adapter, &at, err)) ||
	    pt_optimizer_norm(&s->opt, norm, bad, err) || pt_step_settle(s, err))
		return err->status;
	if (*bad)
		return pt_error(err, PT_NUMERIC, "the gradient is not finite");
	if (s->adapter && pt_adapter_precondition(s->adapter, err))
		return err->status;
	s->torn = true;
	if (pt_optimizer_step(&s->opt, lr, t, *norm, err))
		return err->status;
	s->clear = !s->opt.keep_grad;
	at.clip = pt_optimizer_clip(&s->opt, *norm);
	return s->adapter ? pt_adapter_after_step(s->adapter, &at, err) : 0;
}
