/* SPDX-License-Identifier: MIT */
/*
 * step.c - one optimiser step; see step.h.
 */
#include "train/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
	pt_optimizer_release(&s->opt);
	pt_feed_release(&s->feed);
	free(s->value);
	memset(s, 0, sizeof *s);
}

/* The losses of the micro-batch to the host, into the step's mean. */
static int take_loss(struct pt_step *s, const struct pt_loss *l, struct pt_error *err)
{
	size_t n = (size_t)s->feed.rows;

	if (!l->value)
		return 0;
	if (pt_grow(&s->value, &s->cap_value, n, sizeof *s->value, err) ||
	    pt_tensor_read(&s->run, l->value, s->value, err))
		return err->status;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(s->value[i]) && s->bad < 0)
			s->bad = (int64_t)i;
		s->loss += (double)s->feed.weight[i] * (double)s->value[i];
	}
	return s->bad < 0 ? 0 : pt_error(err, PT_NUMERIC, "the loss is %g", (double)s->value[s->bad]);
}

/* What the routers of the micro-batch add to that. */
static int take_router(struct pt_step *s, const struct pt_loss *l, struct pt_error *err)
{
	float value;

	if (!l->router)
		return 0;
	if (pt_tensor_read(&s->run, l->router, &value, err))
		return err->status;
	s->router += s->feed.share * (double)value;
	s->loss += (double)l->router_weight * (double)value;
	return isfinite(value) ? 0 : pt_error(err, PT_NUMERIC, "the loss of the routers is %g", (double)value);
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
	    pt_loss_forward(&s->run, s->model, &s->feed, false, &l, err) || take_loss(s, &l, err) ||
	    take_router(s, &l, err) || pt_loss_backward(&s->run, &l, err))
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
	    pt_optimizer_norm(&s->opt, norm, bad, err))
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
