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
	int status = pt_loss_plan(s->plan, s->model, &s->feed, b, train, s->bf16, bytes, err);

	if (!status && train && s->adapter) {
		status = plan_method(s, &more, err);
		*bytes = more > *bytes ? more : *bytes;
	}
	return status;
}

/* The first blocks are the ones: their backward is last, when what the others kept is gone. */
int pt_step_recompute(struct pt_step *s, const struct pt_bounds *b, size_t room, size_t *bytes,
		      struct pt_error *err)
{
	int lo = s->model->recompute, hi = s->recompute_max;

	if (pt_step_plan(s, b, true, bytes, err))
		return err->status;
	if (*bytes <= room || hi <= lo)
		return 0;
	s->model->recompute = hi;
	if (pt_step_plan(s, b, true, bytes, err))
		return err->status;
	while (*bytes <= room && hi - lo > 1) {
		size_t n;

		s->model->recompute = lo + (hi - lo) / 2;
		if (pt_step_plan(s, b, true, &n, err))
			return err->status;
		if (n <= room) {
			hi = s->model->recompute;
			*bytes = n;
		} else {
			lo = s->model->recompute;
		}
	}
	s->model->recompute = hi;
	return 0;
}

size_t pt_step_state_bytes(const struct pt_step *s)
{
	return (size_t)pt_params_count(s->opt.params) * 4 * sizeof(float);
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

		if (pt_step_plan(s, &try, true, &bytes, err))
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

		if (pt_step_plan(s, &try, true, &bytes, err))
			return err->status;
		if (bytes <= limit)
			lo = mid;
		else
			hi = mid;
	}
	*tokens = lo;
	return 0;
}

static int too_large(struct pt_step *s, const struct pt_bounds *b, size_t need, size_t limit,
		     struct pt_error *err)
{
	int64_t tokens = 0;

	if (pt_step_largest(s, b, limit, &tokens, err))
		return err->status;
	return pt_error(err, PT_USAGE, "a micro-batch of %lld tokens needs %zu bytes, %zu are left; up to %lld tokens fit:"
			" use peft-batch with a smaller -b or --tokens and --accumulate%s", (long long)b->tokens, need,
			limit, (long long)tokens, s->model->recompute ? "" : ", or --recompute");
}

int pt_step_fit(struct pt_step *s, const struct pt_bounds *train, const struct pt_bounds *eval,
		size_t limit, struct pt_error *err)
{
	struct pt_bounds t = s->train, e = s->eval;
	size_t bytes, more = 0, room = SIZE_MAX;
	int was = s->model->recompute;

	pt_bounds_raise(&t, train);
	if (eval)
		pt_bounds_raise(&e, eval);
	if (limit) {
		size_t state = pt_step_state_bytes(s);

		room = limit > state ? limit - state : 0;
	}
	if (pt_step_recompute(s, &t, room, &bytes, err))
		return err->status;
	if (bytes > room) {
		too_large(s, &t, bytes, room, err);
		s->model->recompute = was;
		return err->status;
	}
	if (s->model->recompute > was)
		pt_log(PT_FACT, "%d of %d blocks are computed again in backward, to save memory", s->model->recompute,
		       pt_model_blocks(s->model));
	if (e.tokens > 0 && pt_step_plan(s, &e, false, &more, err))
		return err->status;
	if (more > bytes)
		bytes = more;
	if (bytes > room)
		return pt_error(err, PT_USAGE, "evaluating a micro-batch of %lld tokens needs %zu bytes, %zu are left;"
				" use a smaller -b or --tokens for it", (long long)e.tokens, bytes, room);
	if (s->run.dev)
		pt_run_release(&s->run);
	s->train = t;
	s->eval = e;
	/*
	 * First fit may place a smaller micro-batch a little worse. What stays unused between the two ends
	 * costs addresses only.
	 */
	return pt_run_init(&s->run, s->dev, bytes + bytes / 16 + 4096, err);
}
