/* SPDX-License-Identifier: MIT */
/*
 * plan.c - the memory of a step: the step itself on the plan device, where
 * kernels do nothing and the arena counts (step.h).
 */
#include <math.h>

#include "base/log.h"
#include "train/loss.h"
#include "train/step.h"

/* What the method's own loss takes. */
static int plan_method(struct pt_step *s, size_t *bytes, struct pt_error *err)
{
	struct pt_run run;
	struct pt_tensor *t;
	int status = pt_run_init(&run, s->plan, 0, err);

	*bytes = 0;
	if (status)
		return status;
	run.record = true;
	t = pt_adapter_loss(&run, s->adapter);
	status = pt_run_check(&run, err);
	if (!status && t)
		status = pt_backward(&run, t, NULL, err);
	*bytes = run.arena.peak;
	pt_run_release(&run);
	return status;
}

int pt_step_plan(struct pt_step *s, const struct pt_bounds *b, bool train, size_t *bytes,
		 struct pt_error *err)
{
	size_t more;
	int status = pt_loss_plan(s->plan, s->model, &s->feed, b, train, s->bf16, bytes, train ? &s->host : NULL, err);

	if (!status && train && s->adapter) {
		status = plan_method(s, &more, err);
		*bytes = more > *bytes ? more : *bytes;
	}
	return status;
}

/*
 * The arena that is allocated for a plan of so many bytes: first fit may place
 * a smaller micro-batch a little worse. On the CPU what stays unused between
 * its two ends costs addresses only.
 */
static size_t allocated(const struct pt_step *s, size_t bytes)
{
	return bytes + bytes / (s->dev->copies ? 32 : 16) + 4096;
}

static size_t counted(const struct pt_step *s, size_t bytes)
{
	return s->dev->copies ? allocated(s, bytes) : bytes;
}

static int plan(struct pt_step *s, const struct pt_bounds *b, bool train, size_t *bytes, struct pt_error *err)
{
	int status = pt_step_plan(s, b, train, bytes, err);

	*bytes = counted(s, *bytes);
	return status;
}

/* *n rises, at most to hi, as far as it takes to keep training within room. */
static int fewest(struct pt_step *s, const struct pt_bounds *b, size_t room, int *n, int hi, size_t *bytes,
		  struct pt_error *err)
{
	int lo = *n;

	if (plan(s, b, true, bytes, err))
		return err->status;
	if (*bytes <= room || hi <= lo)
		return 0;
	*n = hi;
	if (plan(s, b, true, bytes, err))
		return err->status;
	while (*bytes <= room && hi - lo > 1) {
		size_t try;

		*n = lo + (hi - lo) / 2;
		if (plan(s, b, true, &try, err))
			return err->status;
		if (try <= room) {
			hi = *n;
			*bytes = try;
		} else {
			lo = *n;
		}
	}
	*n = hi;
	return 0;
}

/* The first blocks are the ones: their backward is last, when what the others kept is gone. */
static int within(struct pt_step *s, const struct pt_bounds *b, size_t room, struct pt_step_room *out,
		  struct pt_error *err)
{
	struct pt_model *m = s->model;

	if (fewest(s, b, room, &m->recompute, s->recompute_max, &out->train, err))
		return err->status;
	if (out->train > room && s->dev->copies && fewest(s, b, room, &m->away, m->recompute, &out->train, err))
		return err->status;
	/* What the last plan that was tried wants may be less. */
	return m->away ? plan(s, b, true, &out->train, err) : 0;
}

static size_t less(size_t room, size_t taken)
{
	return room > taken ? room - taken : 0;
}

int pt_step_choose(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval,
		   size_t room, struct pt_step_room *out, struct pt_error *err)
{
	struct pt_model *m = s->model;
	int recompute = m->recompute, away = m->away;

	*out = (struct pt_step_room){ .weights = pt_model_place_bytes(m, 0) };
	if ((eval && plan(s, eval, false, &out->eval, err)) || within(s, train, less(room, out->weights), out, err))
		return err->status;
	if (pt_step_room_bytes(out) > room && s->dev->copies) {
		int blocks = pt_model_blocks(m);

		out->turns = pt_model_place_turns(m, less(room, pt_step_room_bytes(out) - out->weights));
		if (out->turns < 0)
			out->turns = blocks > 2 ? blocks : 0;
		out->weights = pt_model_place_bytes(m, out->turns);
		/* There is some room again. */
		m->recompute = recompute;
		m->away = away;
		if (within(s, train, less(room, out->weights), out, err))
			return err->status;
	}
	out->recompute = m->recompute;
	out->away = m->away;
	out->host = m->away ? s->host : 0;
	return 0;
}

size_t pt_step_state_bytes(const struct pt_step *s)
{
	size_t work = s->run.dev && !s->dev->plan ? s->run.arena.capacity : 0;

	return s->dev->used - pt_model_place_held(s->model) - work;
}

static struct pt_bounds of_tokens(const struct pt_bounds *b, int64_t tokens)
{
	int64_t len = b->len < tokens ? b->len : tokens;
	double share = b->tokens > 0 ? (double)b->decoder_tokens / (double)b->tokens : 0;
	struct pt_bounds t = { .tokens = tokens, .seqs = len > 0 ? (tokens + len - 1) / len : 1, .len = len,
				    .decoder_tokens = (int64_t)ceil(share * (double)tokens) };

	t.decoder_len = b->decoder_len < t.decoder_tokens ? b->decoder_len : t.decoder_tokens;
	return t;
}

int pt_step_largest(struct pt_step *s, const struct pt_bounds *b, size_t limit, int64_t *tokens,
		    struct pt_error *err)
{
	int64_t lo = 0, hi = 1;
	size_t bytes;

	for (;;) {
		struct pt_bounds try = of_tokens(b, hi);

		if (plan(s, &try, true, &bytes, err))
			return err->status;
		if (bytes > limit || hi >= (int64_t)1 << 27)
			break;
		lo = hi;
		hi *= 2;
	}
	/* To one part in 64: nobody sets a batch size finer. */
	while (hi - lo > 1 && (hi - lo) * 64 > lo) {
		int64_t mid = lo + (hi - lo) / 2;
		struct pt_bounds try = of_tokens(b, mid);

		if (plan(s, &try, true, &bytes, err))
			return err->status;
		if (bytes <= limit)
			lo = mid;
		else
			hi = mid;
	}
	*tokens = lo;
	return 0;
}

int pt_step_least(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval, size_t *bytes,
		  struct pt_error *err)
{
	static const struct pt_bounds one = { 1, 1, 1, 1, 1 };
	int recompute = s->model->recompute, away = s->model->away;
	struct pt_step_room r;
	int status = pt_step_choose(s, train ? train : &one, eval, 0, &r, err);

	s->model->recompute = recompute;
	s->model->away = away;
	*bytes = pt_step_state_bytes(s) + pt_step_room_bytes(&r);
	return status;
}

static int too_large(struct pt_step *s, const struct pt_bounds *b, size_t need, size_t left, size_t limit,
		     struct pt_error *err)
{
	int64_t tokens = 0;
	size_t least;

	if (pt_step_largest(s, b, left, &tokens, err))
		return err->status;
	if (tokens)
		return pt_error(err, PT_USAGE, "a micro-batch of %lld tokens needs %zu bytes, %zu are left; up to %lld tokens fit:"
				" use peft-batch with a smaller -b or --tokens and --accumulate%s", (long long)b->tokens,
				need, left, (long long)tokens, s->model->recompute ? "" : ", or --recompute");
	if (pt_step_least(s, NULL, NULL, &least, err))
		return err->status;
	return pt_error(err, PT_USAGE, "training does not fit into %zu bytes: with micro-batches of one token it takes %zu", limit,
			least);
}

/* What was chosen beyond the plain way. */
static void tell(const struct pt_step *s, const struct pt_step_room *r, int recomputed)
{
	int blocks = pt_model_blocks(s->model);

	if (r->recompute > recomputed)
		pt_log(PT_FACT, "%d of %d blocks are computed again in backward, to save memory", r->recompute, blocks);
	if (r->away)
		pt_log(PT_FACT, "the inputs of %d of %d blocks wait for backward in %zu bytes of host memory", r->away, blocks,
		       r->host);
	if (r->turns)
		pt_log(PT_FACT, "the weights of %d of %d blocks take turns on %s", r->turns, blocks, s->dev->name);
}

/* The run's memory, and the weights', anew. */
static int make(struct pt_step *s, const struct pt_step_room *r, struct pt_error *err)
{
	size_t bytes = r->train > r->eval ? r->train : r->eval;

	if (s->run.dev)
		pt_run_release(&s->run);
	if (pt_model_place(s->model, r->turns, err) ||
	    pt_run_init(&s->run, s->dev, s->dev->copies ? bytes : allocated(s, bytes), err))
		return err->status;
	/* An evaluation may come before the first micro-batch. */
	pt_run_compute(&s->run, s->bf16);
	return pt_run_away(&s->run, r->host, err);
}

int pt_step_fit(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval,
		size_t limit, struct pt_error *err)
{
	struct pt_bounds t = s->train, e = s->eval;
	size_t room = limit ? less(limit, pt_step_state_bytes(s)) : SIZE_MAX;
	int was = s->model->recompute, away = s->model->away;
	struct pt_step_room r;

	pt_bounds_raise(&t, train);
	if (eval)
		pt_bounds_raise(&e, eval);
	if (pt_step_choose(s, &t, e.tokens > 0 ? &e : NULL, room, &r, err))
		return err->status;
	if (pt_step_room_bytes(&r) > room) {
		room = less(room, r.weights);
		if (r.train > room)
			too_large(s, &t, r.train, room, limit, err);
		else
			pt_error(err, PT_USAGE, "evaluating a micro-batch of %lld tokens needs %zu bytes, %zu are left;"
				 " use a smaller -b or --tokens for it", (long long)e.tokens, r.eval, room);
		s->model->recompute = was;
		s->model->away = away;
		return err->status;
	}
	tell(s, &r, was);
	s->train = t;
	s->eval = e;
	return make(s, &r, err);
}
