/* SPDX-License-Identifier: MIT */
/*
 * trial.c - what a run would take and do; see trial.h.
 */
#include "trial.h"

#include <stdio.h>

#include "decode.h"
#include "tool.h"
#include "train/loop.h"

static size_t mapped(const struct pt_modeldir *m)
{
	size_t n = 0;

	for (int i = 0; i < m->nshards; i++)
		n += m->shard[i].size;
	return n;
}

static void line(const char *what, size_t bytes, const char *note)
{
	printf("%-24s %15zu bytes  %s\n", what, bytes, note);
}

/* What the method will do, step by step. */
static int plan_method(const struct load *l, int64_t total, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	int status = pt_adapter_plan(l->adapter, total, &text, err);

	if (!status)
		status = pt_buf_check(&text, err);
	if (!status && text.len)
		fputs(text.data, stdout);
	pt_buf_release(&text);
	return status;
}

/* The largest micro-batch, as it is and with every block that may be computed again. */
static int largest(struct pt_step *s, const struct pt_bounds *b, size_t room, struct pt_error *err)
{
	int was = s->model->recompute;
	int64_t most;

	do {
		if (pt_step_largest(s, b, room, &most, err))
			return err->status;
		printf("%-24s %15lld tokens in sequences of %lld, %d of %d layers computed again\n",
		       "largest micro-batch", (long long)most, (long long)(b->len < most ? b->len : most),
		       s->model->recompute, pt_model_blocks(s->model));
	} while (s->model->recompute < s->recompute_max && (s->model->recompute = s->recompute_max));
	s->model->recompute = was;
	return 0;
}

/* The table: what there is, and how training within b, and evaluation within e, are made to fit. */
static void print_room(const struct pt_step *s, const struct load *l, const struct pt_bounds *b,
		       const struct pt_bounds *e, const struct pt_step_room *r, size_t limit)
{
	size_t held = pt_step_state_bytes(s), trained = (size_t)pt_params_count(s->opt.params) * 4 * sizeof(float);
	int blocks = pt_model_blocks(s->model);
	char note[200];

	if (s->dev->copies) {
		snprintf(note, sizeof note, "on %s, %d of %d layers in turns", s->dev->name, r->turns, blocks);
		line("weights", r->weights, note);
	} else {
		line("weights, mapped", mapped(l->info.full ? &l->full : &l->base), "shared by all processes");
	}
	snprintf(note, sizeof note, "%lld values with gradient and moments",
		 (long long)pt_params_count(s->opt.params));
	line("trained tensors", trained, note);
	line("other tensors", held - trained, "that stand still, or that methods and the optimiser keep");
	snprintf(note, sizeof note, "micro-batches of %lld tokens, %lld sequences, %lld tokens a sequence",
		 (long long)b->tokens, (long long)b->seqs, (long long)b->len);
	line("step", r->train, note);
	if (e) {
		snprintf(note, sizeof note, "in place of the step: %lld tokens, %lld sequences, %lld tokens a sequence",
			 (long long)e->tokens, (long long)e->seqs, (long long)e->len);
		line("evaluation", r->eval, note);
	}
	if (r->away) {
		snprintf(note, sizeof note, "pinned, inputs of %d of %d layers", r->away, blocks);
		line("host", r->host, note);
	}
	snprintf(note, sizeof note, "%s, %d of %d layers computed again",
		 held + r->weights + r->train > limit ? "the step does not fit" :
		 held + pt_step_room_bytes(r) > limit ? "the evaluation does not fit" : "the step fits", r->recompute, blocks);
	line("memory", limit, note);
}

static int too_large(struct pt_step *s, const struct pt_bounds *b, const struct pt_bounds *e, size_t limit,
		     struct pt_error *err)
{
	size_t least, one;

	if (pt_step_least(s, b, e, &least, err) || pt_step_least(s, NULL, NULL, &one, err))
		return err->status;
	return pt_error(err, PT_USAGE, "the run does not fit into %zu bytes: it takes %zu at least, with micro-batches of one token %zu",
			limit, least, one);
}

int trial_plan(struct pt_step *s, const struct pt_record *head, const char *eval, const struct load *l, int64_t total,
	       size_t limit, struct pt_error *err)
{
	int asked = s->model->recompute;
	struct pt_bounds b, held = { 0 }, *e = eval ? &held : NULL;
	struct pt_step_room r;
	size_t state, room;

	if (pt_loop_bounds(head, &b, err) || (eval && pt_loop_eval_bounds(head, eval, e, err)))
		return err->status;
	if (!b.tokens)
		return pt_error(err, PT_USAGE, "the stream's HEAD has no bounds to plan with");
	/* What the method keeps for a run is a part of it. */
	if (pt_adapter_begin(l->adapter, total, err))
		return err->status;
	state = pt_step_state_bytes(s);
	room = limit > state ? limit - state : 0;
	if (pt_step_choose(s, &b, e, room, &r, err))
		return err->status;
	print_room(s, l, &b, e, &r, limit);
	s->model->recompute = asked;
	s->model->away = 0;
	if ((room > r.weights && largest(s, &b, room - r.weights, err)) || plan_method(l, total, err) || tool_finish(err))
		return err->status;
	return state + pt_step_room_bytes(&r) > limit ? too_large(s, &b, e, limit, err) : 0;
}

/* Its class by the name that the head has for it, or its numbers. */
static void show_target(const struct pt_examples *x, const struct load *l)
{
	int32_t c = x->cls ? x->cls[0] : -100;

	if (c >= 0 && l->class_map && c < l->feed.nmap)
		c = l->class_map[c];
	if (c >= 0 && l->labels && c < l->feed.nlabels && l->labels[c])
		printf(", class %s", l->labels[c]);
	else if (c >= 0)
		printf(", class %d", (int)c);
	for (int64_t j = 0; x->target && j < x->k; j++)
		printf("%s %g", j ? "" : ", target", (double)x->target[j]);
}

/* The first example as the tokenizer spells it, what is learned marked; without a tokenizer there is none. */
static int show_first(const struct pt_record *head, const struct pt_record *rec, const struct pt_examples *x,
		      const struct load *l, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	struct decode *d;
	int status;

	if (!l->tok)
		return 0;
	status = decode_open(&d, l->base.path, err);
	if (status)
		return status;
	decode_head(d, &head->st);
	status = decode_example(d, PT_KIND_BATCH, &rec->st, 0, &text, err);
	if (!status && !(status = pt_buf_check(&text, err))) {
		printf("first example");
		show_target(x, l);
		printf(": %s\n", text.data ? text.data : "");
	}
	pt_buf_release(&text);
	decode_close(d);
	return status;
}

int trial_step(struct pt_step *s, struct pt_reader *in, const struct load *l, size_t limit, struct pt_error *err)
{
	const struct pt_record *rec, *head;
	const struct pt_param *bad = NULL;
	struct pt_bounds b;
	struct pt_buf text = PT_BUF_INIT;
	struct pt_examples x;
	double norm = 0;
	int status;

	if (pt_reader_head(in, &head, err) || pt_reader_data(in, &rec, err))
		return err->status;
	if (!rec || pt_examples_view(&x, PT_KIND_BATCH, &rec->st, err))
		return rec ? err->status : pt_error(err, PT_DATA, "the stream holds no micro-batch");
	b = pt_bounds_of(&x);
	pt_adapter_describe(l->adapter, &text);
	if (!pt_buf_check(&text, err) && text.len)
		fputs(text.data, stdout);
	pt_buf_release(&text);
	printf("micro-batch of %lld examples, %lld tokens\n", (long long)x.n, (long long)x.tokens);
	status = show_first(head, rec, &x, l, err);
	if (!status)
		status = pt_step_fit(s, &b, NULL, limit, err);
	if (!status)
		status = pt_step_micro(s, &x, err);
	if (!status)
		status = pt_step_settle(s, err);
	if (!status)
		status = pt_optimizer_norm(&s->opt, &norm, &bad, err);
	if (status)
		return status;
	printf("loss %.6g  grad_norm %.6g", s->loss, norm);
	if (s->model->router_loss > 0)
		printf("  router_loss %.6g", s->router);
	putchar('\n');
	return bad ? pt_error(err, PT_NUMERIC, "the gradient of %s is not finite", bad->name) : tool_finish(err);
}
