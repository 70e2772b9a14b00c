/* SPDX-License-Identifier: MIT */
/*
 * away.c - inputs of recomputed scopes that wait for backward in host memory:
 * copied there beside the kernels of their scope, and back beside those of the
 * scope that backward is in before. The last that went is the first back.
 */
#include "tensor/op.h"

int pt_run_away(struct pt_run *run, size_t capacity, struct pt_error *err)
{
	struct pt_away *a = &run->away;
	void *p;

	if (!capacity)
		return 0;
	if (run->dev->pin(run->dev, capacity, &p, err))
		return err->status;
	a->base = p;
	a->capacity = capacity;
	return 0;
}

void pt_away_reset(struct pt_run *run)
{
	struct pt_away *a = &run->away;

	/* A step that was broken off: what is on its way writes into the arena. */
	if (a->used && a->ticket)
		run->dev->wait(run->dev, a->ticket, &run->err);
	a->used = 0;
	a->top = NULL;
}

void pt_away_close(struct pt_run *run)
{
	if (run->away.base)
		run->dev->unpin(run->dev, run->away.base, run->away.capacity);
}

struct pt_parked *pt_away_begin(struct pt_run *run, struct pt_tensor *t)
{
	struct pt_away *a = &run->away;
	size_t bytes = (size_t)pt_tensor_count(t) * pt_dtype_size(t->type);
	size_t room = (bytes + PT_ARENA_ALIGN - 1) / PT_ARENA_ALIGN * PT_ARENA_ALIGN;
	struct pt_parked *p;

	if (!t->owned || t->saved || t->depth != run->depth)
		return NULL;
	if (!run->dev->plan && room > a->capacity - a->used) {
		pt_op_fail(run, PT_DEVICE, "%zu bytes of pinned memory wanted, %zu of %zu in use", bytes, a->used,
			   a->capacity);
		return NULL;
	}
	p = pt_pool_alloc(&run->pool, sizeof *p, &run->err);
	if (!p)
		return NULL;
	*p = (struct pt_parked){ .t = t, .at = a->used, .bytes = bytes, .below = a->top };
	if (run->dev->store(run->dev, a->base ? a->base + p->at : NULL, t->data, bytes, &a->ticket, &run->err))
		return NULL;
	p->ticket = a->ticket;
	a->used += room;
	if (a->used > a->peak)
		a->peak = a->used;
	a->top = p;
	return p;
}

int pt_away_end(struct pt_run *run, struct pt_parked *p)
{
	if (run->dev->wait(run->dev, p->ticket, &run->err))
		return run->err.status;
	if (!p->t->saved) {
		run->away.used = p->at;
		run->away.top = p->below;
		return 0;
	}
	pt_arena_drop(&run->arena, p->t->data);
	p->t->data = NULL;
	return 0;
}

/* Begin to copy it back. */
static int ahead(struct pt_run *run, struct pt_parked *p)
{
	struct pt_away *a = &run->away;

	if (p->t->data)
		return 0;
	if (pt_arena_take(&run->arena, p->bytes, &p->t->data, &run->err) ||
	    run->dev->fetch(run->dev, p->t->data, a->base ? a->base + p->at : NULL, p->bytes, &a->ticket, &run->err))
		return run->err.status;
	p->ticket = a->ticket;
	return 0;
}

int pt_away_back(struct pt_run *run, struct pt_parked *p)
{
	struct pt_away *a = &run->away;

	if (p && (ahead(run, p) || run->dev->wait(run->dev, p->ticket, &run->err)))
		return run->err.status;
	if (p) {
		a->top = p->below;
		a->used = p->at;
	}
	return a->top ? ahead(run, a->top) : 0;
}

void pt_away_release(struct pt_run *run, struct pt_parked *p)
{
	if (!p)
		return;
	pt_arena_drop(&run->arena, p->t->data);
	p->t->data = NULL;
}
