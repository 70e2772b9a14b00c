/* SPDX-License-Identifier: MIT */
/*
 * plan.c - see plan.h.
 */
#include "data/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

int pt_plan_init(struct pt_plan *p, const struct pt_store *store, int64_t examples, int64_t tokens,
		 int64_t accumulate, struct pt_error *err)
{
	memset(p, 0, sizeof *p);
	p->store = store;
	p->accumulate = accumulate;
	return pt_pack_init(&p->pack, examples, tokens, err);
}

void pt_plan_release(struct pt_plan *p)
{
	pt_pack_release(&p->pack);
	free(p->now.end);
	free(p->now.unit);
	free(p->now.micro);
	memset(p, 0, sizeof *p);
}

static void next_step(struct pt_plan *p)
{
	p->nunits = 0;
	p->now.nmicros = 0;
	p->now.sum = (struct pt_extent){ 0 };
}

void pt_plan_start(struct pt_plan *p, pt_plan_fn fn, void *arg)
{
	pt_pack_clear(&p->pack);
	p->fn = fn;
	p->arg = arg;
	p->stopped = false;
	p->now.step = p->now.epoch = 1;
	next_step(p);
}

static int emit(struct pt_plan *p, struct pt_error *err)
{
	if (p->fn(p->arg, &p->now, &p->stopped, err))
		return err->status;
	p->now.step++;
	next_step(p);
	return 0;
}

/* The micro-batches that can be made of what was pushed. */
static int advance(struct pt_plan *p, bool last, struct pt_error *err)
{
	int n;

	while (!p->stopped) {
		size_t m = (size_t)p->now.nmicros;
		struct pt_extent sum = { 0 }, e;

		if (pt_grow(&p->now.unit, &p->cap.unit, p->nunits + (size_t)p->pack.window, sizeof *p->now.unit, err) ||
		    pt_grow(&p->now.end, &p->cap.end, m + 1, sizeof *p->now.end, err) ||
		    pt_grow(&p->now.micro, &p->cap.micro, m + 1, sizeof *p->now.micro, err))
			return err->status;
		pt_pack_take(&p->pack, last, p->now.unit + p->nunits, &n);
		if (!n)
			return 0;
		for (int i = 0; i < n; i++) {
			pt_store_extent(p->store, p->now.unit[p->nunits + (size_t)i], &e);
			pt_extent_add(&sum, &e);
		}
		p->nunits += (size_t)n;
		p->now.end[m] = p->nunits;
		p->now.micro[m] = sum;
		p->now.nmicros++;
		pt_extent_add(&p->now.sum, &sum);
		if (p->now.nmicros == p->accumulate && emit(p, err))
			return err->status;
	}
	return 0;
}

int pt_plan_push(struct pt_plan *p, int64_t unit, struct pt_error *err)
{
	struct pt_extent e;

	if (p->stopped)
		return 0;
	pt_store_extent(p->store, unit, &e);
	pt_pack_push(&p->pack, unit, e.tokens > e.decoder_tokens ? e.tokens : e.decoder_tokens, e.examples);
	return advance(p, false, err);
}

int pt_plan_end_epoch(struct pt_plan *p, struct pt_error *err)
{
	if (advance(p, true, err))
		return err->status;
	if (!p->stopped && p->now.nmicros && emit(p, err))
		return err->status;
	p->now.epoch++;
	return 0;
}
