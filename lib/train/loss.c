/* SPDX-License-Identifier: MIT */
/*
 * loss.c - task losses on top of the model; see loss.h.
 */
#include "train/loss.h"

#include <string.h>

#include "train/objective.h"

int pt_loss_forward(struct pt_run *run, struct pt_model *m, const struct pt_feed *f, bool argmax,
		    struct pt_loss *out, struct pt_error *err)
{
	struct pt_tensor *hidden;

	memset(out, 0, sizeof *out);
	if (f->in.rows.n == 0)
		return 0;
	/* Nothing to learn: nothing to compute, but logits where they are the purpose. */
	if (f->rows == 0 && (run->record || pt_task_per_token(f->o.task)))
		return 0;
	hidden = pt_model_hidden(run, m, &f->in);
	f->of->loss(run, m, f, hidden, argmax, out);
	out->router = pt_model_router_loss(run, m);
	out->router_weight = (float)(m->router_loss * f->share);
	return pt_run_check(run, err);
}

int pt_loss_backward(struct pt_run *run, const struct pt_loss *l, struct pt_error *err)
{
	if (!l->value)
		return 0;
	if (l->router && pt_backward_also(run, l->router, l->router_weight))
		return pt_run_check(run, err);
	return pt_backward(run, l->value, l->seed, err);
}

int pt_loss_plan(struct pt_device *plan, struct pt_model *m, struct pt_feed *f, const struct pt_bounds *b,
		 bool train, bool bf16, size_t *bytes, size_t *away, struct pt_error *err)
{
	struct pt_run run;
	struct pt_loss l;
	int status = pt_run_init(&run, plan, 0, err);

	*bytes = 0;
	if (status)
		return status;
	run.record = run.train = train;
	pt_run_compute(&run, bf16);
	status = pt_feed_plan(f, &run, b, err);
	if (!status)
		status = pt_loss_forward(&run, m, f, !train, &l, err);
	if (!status && train)
		status = pt_loss_backward(&run, &l, err);
	*bytes = run.arena.peak;
	if (away)
		*away = run.away.peak;
	pt_run_release(&run);
	return status;
}
