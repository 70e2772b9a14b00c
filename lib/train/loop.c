/* SPDX-License-Identifier: MIT */
/*
 * loop.c - the run; see loop.h. Between two steps everything that a restart
 * needs is in struct pt_progress and the tensors, so saving is possible there
 * and only there: a step that was begun is done again.
 */
#include "train/loop.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/opt.h"
#include "train/eval.h"
#include "train/guard.h"
#include "train/loop_priv.h"

static bool stop_asked(struct pt_loop *l)
{
	return l->o.stop && l->o.stop(l->o.arg);
}

static int save(struct pt_loop *l, struct pt_error *err)
{
	struct pt_priv_loop *p = l->priv;
	int status;

	if (l->at.step == l->saved)
		return 0;
	if (l->s->torn)
		return pt_error(err, PT_FAIL, "an update was cut short: what was trained since step %lld is not saved",
				(long long)l->saved);
	if (pt_guard_unmoved(&l->s->opt, NULL) == l->s->opt.params->n)
		return pt_error(err, PT_NUMERIC, "no gradient reached any of the %d trainable tensors in %lld steps: nothing is learned",
				l->s->opt.params->n, (long long)l->at.step);
	status = pt_loop_provenance(l, false, err);
	if (!status)
		status = pt_checkpoint_save(l->o.out, &l->id, &l->at, l->s->adapter, &l->s->opt, &l->h,
					    l->o.keep, err);
	if (status)
		return pt_error_prefix(err, "saving step %lld", (long long)l->at.step);
	l->saved = l->at.step;
	p->saved_at = pt_now();
	pt_log(PT_FACT, "saved step %lld", (long long)l->at.step);
	return 0;
}

/* At a bad end: save what is there; the first cause stays in err. */
static int save_after(struct pt_loop *l, struct pt_error *err)
{
	struct pt_error e = PT_ERROR_INIT;

	if (save(l, &e))
		pt_log(PT_WARN, "%s", e.msg);
	return err->status;
}

/* A tensor may lack a gradient for a step or two (LoRA's A while B is zero): look once, later. */
static int check_moved(struct pt_loop *l, bool end, struct pt_error *err)
{
	struct pt_priv_loop *p = l->priv;
	struct pt_buf list = PT_BUF_INIT;
	int n, all = l->s->opt.params->n;

	if (!end && l->at.step != l->o.schedule.warmup + PT_LOOK_AT_GRADIENTS)
		return 0;
	n = pt_guard_unmoved(&l->s->opt, &list);
	if (n == all && l->at.step > 0)
		pt_error(err, PT_NUMERIC, "no gradient reached any of the %d trainable tensors in %lld steps: nothing is learned",
			 all, (long long)l->at.step);
	else if (n && !p->told_unmoved && l->at.step >= PT_GRADIENTS_BY)
		pt_log(PT_WARN, "no gradient has reached %d of %d trainable tensors: %s", n, all,
		       list.data ? list.data : "");
	p->told_unmoved |= n > 0;
	pt_buf_release(&list);
	return err->status;
}

/* Micro-batches of a step follow each other; a further segment may begin anew. */
static int check_order(struct pt_loop *l, const struct pt_examples *x, struct pt_error *err)
{
	struct pt_priv_loop *p = l->priv;

	if (x->micro != p->micro + 1 || (p->micro && (x->micros != p->micros || x->step != p->in_step)) ||
	    (!p->micro && p->in_step && x->step != p->in_step + 1))
		return pt_error(err, PT_DATA, "micro-batch %lld of %lld of step %lld follows %lld of %lld of step %lld: the stream has a gap",
				(long long)x->micro, (long long)x->micros, (long long)x->step, (long long)p->micro,
				(long long)p->micros, (long long)p->in_step);
	p->in_step = x->step;
	p->micros = x->micros;
	p->micro = x->micro == x->micros ? 0 : x->micro;
	return 0;
}

/* The next micro-batch; *rec NULL at the complete end. */
static int next(struct pt_loop *l, const struct pt_record **rec, struct pt_examples *x, struct pt_error *err)
{
	struct pt_priv_loop *p = l->priv;

	do {
		if (stop_asked(l))
			return pt_error(err, PT_STOPPED, "stopped");
		if (pt_reader_next(l->r, rec, err))
			return err->status;
		if (!*rec || (*rec)->type != PT_END)
			continue;
		if (p->micro)
			return pt_error(err, PT_DATA, "the stream ends within step %lld", (long long)p->in_step);
		p->in_step = 0;
	} while (*rec && (*rec)->type != PT_RECORD);
	if (!*rec)
		return 0;
	if (pt_examples_view(x, PT_KIND_BATCH, &(*rec)->st, err))
		return err->status;
	return check_order(l, x, err);
}

/* Read as far as the checkpoint had: the same input to the bit. */
static int skip(struct pt_loop *l, struct pt_error *err)
{
	const struct pt_record *rec;
	struct pt_examples x;

	for (int64_t step = 0; step < l->at.step; step += l->priv->micro == 0) {
		if (next(l, &rec, &x, err))
			return err->status;
		if (!rec)
			return pt_error(err, PT_USAGE, "the input ends at step %lld, %s is at step %lld: give the input it was begun with, or another -o",
					(long long)step, l->o.out, (long long)l->at.step);
	}
	if (l->at.step && pt_reader_digest(l->r) != l->at.digest)
		return pt_error(err, PT_USAGE, "the input differs from the one that %s was trained on up to step %lld: give the same, or another -o",
				l->o.out, (long long)l->at.step);
	return 0;
}

/* A micro-batch larger than promised or planned. */
static int make_room(struct pt_loop *l, const struct pt_examples *x, struct pt_error *err)
{
	const struct pt_bounds b = pt_bounds_of(x), *promised = &l->priv->bounds;

	if (pt_bounds_hold(&l->s->train, &b))
		return 0;
	if (promised->tokens && !pt_bounds_hold(promised, &b))
		return pt_error(err, PT_DATA, "a micro-batch of %lld tokens in %lld sequences is beyond the bounds in the stream's HEAD",
				(long long)x->tokens, (long long)x->n);
	if (pt_step_fit(l->s, &b, NULL, l->o.limit, err))
		return pt_error_prefix(err, "step %lld", (long long)l->at.step + 1);
	return 0;
}

static int not_finite(struct pt_loop *l, struct pt_error *err)
{
	char *path = pt_format(err, "%s/nan-step-%08lld.pts", l->o.out, (long long)l->at.step + 1);
	int status = path ? pt_guard_numeric(l->s, &l->priv->kept, l->head, l->at.step + 1, path, err)
			  : err->status;

	free(path);
	return status;
}

/* Another step has come: may it? */
static int check_more(const struct pt_loop *l, struct pt_error *err)
{
	int64_t total = l->o.schedule.total;

	if (l->priv->finished)
		return pt_error(err, PT_USAGE, "the run in %s ended at step %lld, this input goes on: use another -o",
				l->o.out, (long long)l->saved);
	if (total && l->at.step >= total)
		return pt_error(err, PT_DATA, "the stream has more than the %lld steps that its first HEAD tells of: give --steps, or join files with peft-cat",
				(long long)total);
	return 0;
}

/* All micro-batches of one step and the update; *end: the stream ended before it. */
static int one_step(struct pt_loop *l, bool *end, struct pt_error *err)
{
	struct pt_metric m = { .step = l->at.step + 1 };
	const struct pt_record *rec;
	const struct pt_param *bad;
	double start = pt_now();
	struct pt_examples x;
	uint64_t digest;
	int status;

	*end = false;
	pt_kept_clear(&l->priv->kept);
	if (pt_step_clear(l->s, err))
		return err->status;
	do {
		if (next(l, &rec, &x, err))
			return err->status;
		if (!rec) {
			*end = true;
			return 0;
		}
		if (check_more(l, err) || make_room(l, &x, err) || pt_kept_add(&l->priv->kept, rec, err))
			return err->status;
		status = pt_step_micro(l->s, &x, err);
		if (status == PT_NUMERIC)
			return not_finite(l, err);
		if (status)
			return pt_error_prefix(err, "step %lld", (long long)m.step);
	} while (l->priv->micro);
	digest = pt_reader_digest(l->r);
	m.lr = pt_schedule_rate(&l->o.schedule, l->at.step);
	status = pt_step_update(l->s, m.lr, m.step, l->o.schedule.total, &m.grad_norm, &bad, err);
	if (status == PT_NUMERIC)
		return not_finite(l, err);
	if (status)
		return status;
	l->at.step++;
	l->at.digest = digest;
	m.loss = l->s->loss;
	m.routed = l->s->model->router_loss > 0;
	m.router = l->s->router;
	m.tokens = l->s->tokens;
	m.examples = l->s->examples;
	m.seconds = pt_now() - start;
	if (pt_history_add(&l->h, &m, err))
		return err->status;
	l->s->torn = false;
	return 0;
}

/* Every so many steps, and at the last one where it is known. */
static bool eval_due(const struct pt_loop *l)
{
	return l->o.eval && l->at.step > 0 &&
	       (l->at.step % l->o.eval_steps == 0 || l->at.step == l->o.schedule.total ||
		l->at.step == l->o.steps);
}

/* The last step's evaluation is still to be done: a stop came while it ran. */
static bool eval_pending(const struct pt_loop *l)
{
	return eval_due(l) && l->h.n && !l->h.row[l->h.n - 1].evaluated;
}

/* What follows a step: evaluation, metrics, saving. */
static int after_step(struct pt_loop *l, struct pt_error *err)
{
	const struct pt_loop_options *o = &l->o;
	bool best = false, due;

	if (check_moved(l, false, err))
		return err->status;
	if (eval_pending(l) && pt_loop_evaluate(l, &best, err))
		return err->status;
	if (o->metric && o->metric(o->arg, &l->h, l->h.n - 1, false, err))
		return err->status;
	due = best || (o->save_steps && l->at.step % o->save_steps == 0) ||
	      (o->save_seconds > 0 && pt_now() - l->priv->saved_at >= o->save_seconds);
	return due ? save(l, err) : 0;
}

static bool patience_is_out(const struct pt_loop *l)
{
	return l->o.patience && l->at.stale >= l->o.patience;
}

/* The steps that were asked for are done: the stream may end here too. */
static int at_limit(struct pt_loop *l, struct pt_error *err)
{
	int64_t total;

	if (pt_loop_total(l->head, &total, err))
		return err->status;
	l->early = patience_is_out(l);
	l->limited = l->early || total != l->o.steps;
	return 0;
}

/* The stream is at its end, perhaps before that of the schedule (peft-head leaves the total in HEAD). */
static int warn_of_end(const struct pt_loop *l, struct pt_error *err)
{
	int64_t due;

	if (pt_loop_total(l->head, &due, err))
		return err->status;
	if (l->o.steps && (!due || l->o.steps < due))
		due = l->o.steps;
	if (l->at.step < due)
		pt_log(PT_WARN, "the stream ended after %lld of %lld steps%s", (long long)l->at.step, (long long)due,
		       l->o.schedule.kind == PT_SCHEDULE_CONSTANT ? "" : ": the learning rate has not come down to its end");
	return 0;
}

static int train(struct pt_loop *l, struct pt_error *err)
{
	bool end = false;

	while (!end) {
		if ((l->o.steps && l->at.step >= l->o.steps) || patience_is_out(l)) {
			if (at_limit(l, err) || l->limited)
				return err->status;
		}
		if (one_step(l, &end, err))
			return err->status;
		if (end)
			break;
		if (after_step(l, err))
			return err->status;
	}
	return warn_of_end(l, err);
}

/* The end of the run: a last checkpoint, the adapter in its place. */
static int finish(struct pt_loop *l, struct pt_error *err)
{
	if (l->at.step == 0)
		return pt_error(err, PT_DATA, "the stream holds no step: nothing was trained");
	if (!l->priv->finished && check_moved(l, true, err))
		return err->status;
	return save(l, err) || pt_loop_publish(l, err) ? err->status : 0;
}

int pt_loop_run(struct pt_loop *l, struct pt_error *err)
{
	size_t told = eval_pending(l) ? l->h.n - 1 : l->h.n;

	for (size_t i = 0; i < told && l->o.metric; i++)
		if (l->o.metric(l->o.arg, &l->h, i, true, err))
			return err->status;
	l->priv->saved_at = pt_now();
	if (skip(l, err) || (told < l->h.n && after_step(l, err)) || train(l, err) || finish(l, err))
		return save_after(l, err);
	return 0;
}
