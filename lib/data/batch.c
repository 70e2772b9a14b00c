/* SPDX-License-Identifier: MIT */
/*
 * batch.c - see batch.h. All examples are read first (store.h), each epoch's
 * order is a permutation of the units keyed by seed and epoch, and the plan
 * (plan.h) is made twice: to learn the bounds and the number of steps for
 * HEAD, which needs lengths only, and to write. With stream the plan is made
 * once, while the examples come.
 */
#include "data/batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/plan.h"
#include "io/bounds.h"
#include "io/join.h"
#include "io/task.h"

struct batcher {
	const struct pt_batch_options *o;
	struct pt_reader *in;
	struct pt_writer *out;
	const struct pt_record *head;
	struct pt_join join;
	struct pt_st_build none;	/* no bounds are promised by what is read */
	bool started;			/* the tensors are known, store and plan are made */
	struct pt_store store;
	struct pt_plan plan;
	struct pt_gather gather;
	struct pt_mask mask;
	struct pt_bounds bounds;	/* -1: unknown */
	int64_t steps;			/* -1: unknown */
	bool more;			/* kept: there are more steps than are wanted */
	int64_t last;			/* stream: last example of the unit that may go on, -1: none */
	int64_t unit;			/* stream: its first */
};

/* The options that change the result, in a fixed order and spelling. */
static void canonical_options(const struct pt_batch_options *o, bool masked, struct pt_buf *b)
{
	if (o->tokens)
		pt_buf_printf(b, "--tokens %lld", (long long)o->tokens);
	else
		pt_buf_printf(b, "-b %lld", (long long)o->examples);
	if (o->accumulate != 1)
		pt_buf_printf(b, " --accumulate %lld", (long long)o->accumulate);
	if (o->epochs != 1)
		pt_buf_printf(b, " -e %lld", (long long)o->epochs);
	if (o->shuffle)
		pt_buf_printf(b, " -s %llu", (unsigned long long)o->seed);
	if (o->part != PT_PART_ALL)
		pt_buf_printf(b, " --split %.17g --part %s --split-seed %llu", o->split,
			      o->part == PT_PART_HELD ? "held" : "train", (unsigned long long)o->split_seed);
	if (o->stream)
		pt_buf_str(b, " --stream");
	if (masked)
		pt_buf_printf(b, " --mask-prob %.17g --mask-replace %.17g --mask-random %.17g", o->mask.prob,
			      o->mask.replace, o->mask.random);
	if (o->steps)
		pt_buf_printf(b, " -n %lld", (long long)o->steps);
}

static int write_head(struct batcher *b, struct pt_error *err)
{
	struct pt_buf options = PT_BUF_INIT;
	struct pt_st_build head;

	pt_st_build_init(&head);
	pt_head_inherit(&head, b->head);
	pt_bounds_build(&b->bounds, &head);
	pt_st_build_drop_meta(&head, "total_steps");
	if (b->steps >= 0)
		pt_st_build_meta_int(&head, "total_steps", b->steps);
	if (b->mask.on) {
		pt_st_build_drop_meta(&head, "mask_id");
		pt_st_build_drop_meta(&head, "special_ids");
	}
	canonical_options(b->o, b->mask.on, &options);
	if (!pt_buf_check(&options, err))
		pt_writer_head(b->out, &head, &b->head, 1, options.data, err);
	pt_buf_release(&options);
	pt_st_build_release(&head);
	return err->status;
}

/* Does this example belong to the part that is wanted? Both parts decide alike, without a file. */
static bool wanted(const struct pt_batch_options *o, const struct pt_examples *x, int64_t i)
{
	uint64_t key, id = (uint64_t)(x->group ? x->group[i] : x->index[i]);
	bool held;

	if (o->part == PT_PART_ALL)
		return true;
	key = pt_rng_mix(pt_rng_mix_str(o->split_seed, "split"), id);
	held = (double)(key >> 11) * 0x1p-53 < o->split;
	return held == (o->part == PT_PART_HELD);
}

/* What --stream can promise before it has seen the examples. */
static int promise(struct batcher *b, const struct pt_examples *x, struct pt_error *err)
{
	const struct pt_batch_options *o = b->o;
	bool decoder = x && x->decoder_ids;
	int64_t tokens, decoder_tokens;
	struct pt_bounds in;

	if (pt_bounds_read(&in, &b->head->st, err))
		return err->status;
	b->bounds = PT_BOUNDS_NONE;
	b->bounds.seqs = o->tokens ? o->tokens : o->examples;
	b->bounds.len = in.len;
	if (o->tokens) {
		/* A longer example would be a micro-batch of its own. */
		b->bounds.len = in.len < 0 ? o->tokens : in.len;
		b->bounds.tokens = b->bounds.len > o->tokens ? b->bounds.len : o->tokens;
		if (decoder) {
			b->bounds.decoder_len = in.decoder_len < 0 ? o->tokens : in.decoder_len;
			b->bounds.decoder_tokens = b->bounds.decoder_len > o->tokens ? b->bounds.decoder_len
				: o->tokens;
		}
		return 0;
	}
	/* Half of a bound is none: who plans by it would refuse the first decoder sequence. */
	if (in.len < 0 || __builtin_mul_overflow(in.len, o->examples, &tokens) ||
	    (decoder && (in.decoder_len < 0 || __builtin_mul_overflow(in.decoder_len, o->examples, &decoder_tokens)))) {
		pt_log(PT_WARN, "the input does not say how long its %s may be: no bound of memory is promised",
		       decoder && in.decoder_len < 0 && in.len >= 0 ? "targets" : "examples");
		return 0;
	}
	b->bounds.tokens = tokens;
	if (decoder) {
		b->bounds.decoder_len = in.decoder_len;
		b->bounds.decoder_tokens = decoder_tokens;
	}
	return 0;
}

/* Of a planned micro-batch; -1 where nothing is decoded. */
static struct pt_bounds extent(const struct batcher *b, const struct pt_extent *e)
{
	bool decoder = b->store.decoder_len;

	return (struct pt_bounds){ e->tokens, e->examples, e->len, decoder ? e->decoder_tokens : -1,
				   decoder ? e->decoder_len : -1 };
}

static int keeps_promise(struct batcher *b, const struct pt_extent *e, struct pt_error *err)
{
	struct pt_bounds is = extent(b, e);
	int over = pt_bounds_over(&b->bounds, &is);

	if (over < 0)
		return 0;
	return pt_error(err, PT_DATA, "a %s of %lld, but --stream has promised at most %lld: larger micro-batches, "
			"or no --stream", pt_bounds_what(over), (long long)*pt_bounds_at(&is, over),
			(long long)*pt_bounds_at(&b->bounds, over));
}

/* What is learned of a step that is masked: only the masks tell. */
static int count_masks(struct batcher *b, const struct pt_plan_step *s, int64_t *learned, struct pt_error *err)
{
	struct pt_examples x;

	*learned = 0;
	for (size_t k = 0; k < s->end[s->nmicros - 1]; k++) {
		pt_gather_clear(&b->gather);
		if (pt_store_peek(&b->store, s->unit[k], &b->gather, err) || pt_gather_view(&b->gather, &x, err))
			return err->status;
		x.epoch = s->epoch;
		for (int64_t i = 0; i < x.n; i++)
			*learned += pt_mask_count(&b->mask, &x, i);
	}
	return 0;
}

static int write_micro(struct batcher *b, const struct pt_plan_step *s, int i, int64_t learned, struct pt_error *err)
{
	struct pt_st_build rec;
	struct pt_examples x;
	int64_t here;
	int status;

	if (keeps_promise(b, &s->micro[i], err))
		return err->status;
	pt_gather_clear(&b->gather);
	for (size_t k = i ? s->end[i - 1] : 0; k < s->end[i]; k++)
		if (pt_store_take(&b->store, s->unit[k], &b->gather, err))
			return err->status;
	if (pt_gather_view(&b->gather, &x, err))
		return err->status;
	x.step = s->step;
	x.micro = i + 1;
	x.micros = s->nmicros;
	x.epoch = s->epoch;
	x.step_examples = s->sum.examples;
	x.step_tokens = learned;
	x.step_weight = s->sum.weight;
	if (b->mask.on && pt_mask_apply(&b->mask, &x, &here, err))
		return err->status;
	pt_st_build_init(&rec);
	pt_examples_build(&x, PT_KIND_BATCH, &rec);
	status = pt_writer_data(b->out, &rec, err);
	pt_st_build_release(&rec);
	return status;
}

static int write_step(void *arg, const struct pt_plan_step *s, bool *stop, struct pt_error *err)
{
	struct batcher *b = arg;
	int64_t learned = s->sum.loss;

	if (b->mask.on && count_masks(b, s, &learned, err))
		return err->status;
	for (int i = 0; i < s->nmicros; i++)
		if (write_micro(b, s, i, learned, err))
			return err->status;
	*stop = s->step == b->o->steps;
	return 0;
}

static int count_step(void *arg, const struct pt_plan_step *s, bool *stop, struct pt_error *err)
{
	struct batcher *b = arg;

	(void)err;
	*stop = b->more = b->o->steps && s->step > b->o->steps;
	if (*stop)
		return 0;
	for (int i = 0; i < s->nmicros; i++) {
		struct pt_bounds is = extent(b, &s->micro[i]);

		pt_bounds_raise(&b->bounds, &is);
	}
	b->steps = s->step;
	return 0;
}

/* The first record tells which tensors there are. */
static int start(struct batcher *b, const struct pt_examples *x, struct pt_error *err)
{
	bool shift = pt_task_shifts(pt_task_of_head(pt_st_meta(&b->head->st, "task")));
	uint32_t have = x ? pt_gather_have(x) : 0;

	b->started = true;
	pt_store_init(&b->store, !b->o->stream, shift, have, b->o->memory);
	pt_gather_init(&b->gather, have, x ? x->k : 0);
	if (pt_plan_init(&b->plan, &b->store, b->o->examples, b->o->tokens, b->o->accumulate, err))
		return err->status;
	if (!b->o->stream)
		return 0;
	b->steps = -1;
	if (promise(b, x, err))
		return err->status;
	pt_plan_start(&b->plan, write_step, b);
	return write_head(b, err);
}

/* Stream: the unit that the last examples made is complete. */
static int close_unit(struct batcher *b, struct pt_error *err)
{
	int64_t unit = b->unit;

	if (b->last < 0)
		return 0;
	b->last = -1;
	return pt_plan_push(&b->plan, unit, err);
}

static int add_example(struct batcher *b, const struct pt_examples *x, int64_t i, struct pt_error *err)
{
	int64_t id;
	bool more;

	if (pt_store_add(&b->store, x, i, &id, err) || b->store.keep)
		return err->status;
	more = b->last >= 0 && x->group && b->store.group[b->last] == x->group[i];
	if (more)
		pt_store_chain(&b->store, b->last, id);
	else if (close_unit(b, err))
		return err->status;
	if (!more)
		b->unit = id;
	b->last = id;
	/* Without groups nothing can follow. */
	return x->group ? 0 : close_unit(b, err);
}

static int add_record(struct batcher *b, const struct pt_record *rec, struct pt_error *err)
{
	struct pt_examples x;

	if (pt_join_view(&b->join, rec, &x, err))
		return err->status;
	if (!b->started && start(b, &x, err))
		return err->status;
	if (pt_gather_have(&x) != b->store.have || x.k != b->gather.k)
		return pt_error(err, PT_DATA, "a further segment has other tensors than the first");
	for (int64_t i = 0; i < x.n && !b->plan.stopped; i++)
		if (wanted(b->o, &x, i) && add_example(b, &x, i, err))
			return err->status;
	return 0;
}

static int read_all(struct batcher *b, struct pt_error *err)
{
	const struct pt_record *rec = NULL;

	while (!b->plan.stopped) {
		if (pt_reader_next(b->in, &rec, err) || !rec)
			break;
		if (rec->type == PT_HEAD && pt_join_segment(&b->join, &b->none, rec, err))
			return pt_error_prefix(err, "%s", pt_reader_name(b->in));
		if (rec->type == PT_RECORD && add_record(b, rec, err))
			return err->status;
	}
	if (!err->status && !b->started)
		start(b, NULL, err);
	return err->status;
}

/* Every epoch in its order. */
static int run_epochs(struct batcher *b, const int64_t *units, int64_t n, int64_t *order, struct pt_error *err)
{
	for (int64_t e = 1; e <= b->o->epochs && !b->plan.stopped; e++) {
		if (order)
			pt_rng_shuffle(pt_rng_mix(pt_rng_mix_str(b->o->seed, "shuffle"), (uint64_t)e), order, n);
		for (int64_t i = 0; i < n && !b->plan.stopped; i++)
			if (pt_plan_push(&b->plan, units[order ? order[i] : i], err))
				return err->status;
		if (pt_plan_end_epoch(&b->plan, err))
			return err->status;
	}
	return 0;
}

static int write_kept(struct batcher *b, bool *limited, struct pt_error *err)
{
	bool decoder = b->store.have && b->store.decoder_len;
	int64_t *units, *order = NULL, n;

	if (pt_store_group(&b->store, &units, &n, err))
		goto out;
	if (b->o->shuffle) {
		order = pt_malloc((size_t)n, sizeof *order, err);
		if (!order)
			goto out;
	}
	b->bounds = (struct pt_bounds){ 0, 0, 0, decoder ? 0 : -1, decoder ? 0 : -1 };
	b->steps = 0;
	pt_plan_start(&b->plan, count_step, b);
	if (run_epochs(b, units, n, order, err))
		goto out;
	if (!b->steps)
		pt_log(PT_WARN, "no examples%s", b->store.n || b->o->part == PT_PART_ALL ? "" : " in this part");
	if (write_head(b, err))
		goto out;
	pt_plan_start(&b->plan, write_step, b);
	run_epochs(b, units, n, order, err);
	*limited = b->more;
out:
	free(units);
	free(order);
	return err->status;
}

static int check_options(const struct pt_batch_options *o, struct pt_error *err)
{
	if (o->stream && o->epochs > 1)
		return pt_error(err, PT_USAGE, "--stream keeps nothing: -e needs all of the input");
	if (o->stream && o->shuffle)
		return pt_error(err, PT_USAGE, "--stream keeps nothing: -s needs all of the input");
	if (!o->examples == !o->tokens)
		return pt_error(err, PT_USAGE, "-b and --tokens both say what a micro-batch holds");
	return 0;
}

int pt_batch_run(const struct pt_batch_options *o, struct pt_reader *in, struct pt_writer *out,
		 struct pt_error *err)
{
	struct batcher b = { .o = o, .in = in, .out = out, .last = -1 };
	bool limited = false;

	struct pt_mask_options mask = o->mask;

	mask.seed = o->seed;
	pt_join_init(&b.join, PT_KIND_EXAMPLES);
	pt_st_build_init(&b.none);
	if (check_options(o, err) || pt_reader_head(in, &b.head, err) ||
	    (b.head && pt_mask_init(&b.mask, &mask, &b.head->st, err)))
		goto out;
	if (b.head && o->masks && !b.mask.on) {
		pt_error(err, PT_USAGE, "%s: --mask-prob, --mask-replace and --mask-random are for examples of the task mlm without masks",
			 pt_reader_name(in));
		goto out;
	}
	if (read_all(&b, err))
		goto out;
	if (!o->stream) {
		write_kept(&b, &limited, err);
	} else if (!b.plan.stopped && !close_unit(&b, err)) {
		pt_plan_end_epoch(&b.plan, err);
	}
	if (o->stream)
		limited = b.plan.stopped && !pt_reader_ended(in);
	if (!err->status && !pt_writer_end(out, NULL, &in, 1, limited, err) && limited)
		pt_reader_drain(in);
out:
	pt_join_release(&b.join);
	pt_st_build_release(&b.none);
	pt_plan_release(&b.plan);
	pt_store_release(&b.store);
	pt_gather_release(&b.gather);
	pt_mask_release(&b.mask);
	return err->status;
}
