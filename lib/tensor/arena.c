/* SPDX-License-Identifier: MIT */
/*
 * arena.c - first fit from both edges of one block of device memory.
 *
 * Live blocks are two small sorted arrays on the host; they grow in the first
 * step and are reused from then on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tensor/arena.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(a, p, n) do { if ((a)->poison) __asan_poison_memory_region(p, n); } while (0)
#define UNPOISON(a, p, n) do { if ((a)->poison) __asan_unpoison_memory_region(p, n); } while (0)
#else
#define POISON(a, p, n) ((void)0)
#define UNPOISON(a, p, n) ((void)0)
#endif

/* Where a plan device's blocks pretend to be: aligned, and far from the end of the address space. */
#define PLAN_BASE ((uintptr_t)1 << 20)

int pt_arena_init(struct pt_arena *a, struct pt_device *dev, size_t capacity, struct pt_error *err)
{
	void *p = NULL;
	int r;

	memset(a, 0, sizeof *a);
	a->dev = dev;
	capacity -= capacity % PT_ARENA_ALIGN;
	if (dev->plan) {
		a->base = (char *)PLAN_BASE;
		a->capacity = capacity ? capacity : (SIZE_MAX / 2) - (SIZE_MAX / 2) % PT_ARENA_ALIGN;
		return 0;
	}
	if (!capacity)
		return pt_error(err, PT_FAIL, "arena of 0 bytes on device %s", dev->name);
	r = dev->alloc(dev, capacity, &p, err);
	if (r)
		return r;
	a->base = p;
	a->capacity = capacity;
	a->poison = !strcmp(dev->name, "cpu") || !strcmp(dev->name, "guard");
	POISON(a, a->base, a->capacity);
	return 0;
}

void pt_arena_release(struct pt_arena *a)
{
	if (a->base && !a->dev->plan) {
		UNPOISON(a, a->base, a->capacity);
		a->dev->free(a->dev, a->base, a->capacity);
	}
	free(a->low.block);
	free(a->high.block);
	memset(a, 0, sizeof *a);
}

/* Index and offset of the first gap of an end that holds bytes. */
static size_t first_fit(const struct pt_arena_end *e, size_t bytes, size_t *off)
{
	size_t at = 0;

	if (e->used < e->extent) {
		for (size_t i = 0; i < e->n; i++) {
			if (e->block[i].off - at >= bytes) {
				*off = at;
				return i;
			}
			at = e->block[i].off + e->block[i].size;
		}
	}
	*off = e->extent;
	return e->n;
}

static int hand_out(struct pt_arena *a, bool low, size_t bytes, void **out, struct pt_error *err)
{
	struct pt_arena_end *e = low ? &a->low : &a->high;
	const struct pt_arena_end *other = low ? &a->high : &a->low;
	size_t need = bytes ? bytes : 1, off, i;
	int r;

	*out = NULL;
	if (need > a->capacity)
		need = a->capacity + 1;		/* refused below; no overflow on the way */
	else
		need = (need + PT_ARENA_ALIGN - 1) / PT_ARENA_ALIGN * PT_ARENA_ALIGN;
	i = first_fit(e, need, &off);
	if (need > a->capacity || (i == e->n && need > a->capacity - other->extent - off))
		return pt_error(err, PT_DEVICE, "out of memory on %s: %zu bytes wanted, %zu of %zu in use;"
				" use smaller micro-batches", a->dev->name, bytes,
				a->low.extent + a->high.extent, a->capacity);
	r = pt_grow(&e->block, &e->cap, e->n + 1, sizeof *e->block, err);
	if (r)
		return r;
	memmove(e->block + i + 1, e->block + i, (e->n - i) * sizeof *e->block);
	e->block[i] = (struct pt_arena_block){ .off = off, .size = need, .seq = ++a->seq };
	if (i == e->n)
		e->extent = off + need;
	e->n++;
	e->used += need;
	if (a->low.extent + a->high.extent > a->peak)
		a->peak = a->low.extent + a->high.extent;
	*out = low ? a->base + off : a->base + (a->capacity - off - need);
	UNPOISON(a, *out, bytes);
	return 0;
}

int pt_arena_push(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err)
{
	return hand_out(a, true, bytes, out, err);
}

int pt_arena_take(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err)
{
	return hand_out(a, false, bytes, out, err);
}

/* Index of the block at offset off (its low edge for the low end, its far edge for the high end), or n. */
static size_t find(const struct pt_arena_end *e, size_t off)
{
	size_t lo = 0, hi = e->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (e->block[mid].off < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < e->n && e->block[lo].off == off ? lo : e->n;
}

static void set_extent(struct pt_arena_end *e)
{
	e->extent = e->n ? e->block[e->n - 1].off + e->block[e->n - 1].size : 0;
}

static void remove_at(struct pt_arena_end *e, size_t i)
{
	e->used -= e->block[i].size;
	memmove(e->block + i, e->block + i + 1, (e->n - i - 1) * sizeof *e->block);
	e->n--;
	set_extent(e);
}

void pt_arena_drop(struct pt_arena *a, void *p)
{
	size_t off, i;

	if (!p)
		return;
	off = (size_t)((char *)p - a->base);
	i = find(&a->low, off);
	if (off < a->low.extent && i < a->low.n) {
		POISON(a, p, a->low.block[i].size);
		remove_at(&a->low, i);
		return;
	}
	/* A high block is found by its lower address: the far edge from the top. */
	for (i = 0; i < a->high.n; i++) {
		if (a->capacity - a->high.block[i].off - a->high.block[i].size != off)
			continue;
		POISON(a, p, a->high.block[i].size);
		remove_at(&a->high, i);
		return;
	}
}

size_t pt_arena_mark(const struct pt_arena *a)
{
	return a->seq;
}

void pt_arena_rewind(struct pt_arena *a, size_t mark)
{
	struct pt_arena_end *e = &a->low;
	size_t n = 0;

	for (size_t i = 0; i < e->n; i++) {
		if (e->block[i].seq <= mark || e->block[i].kept) {
			e->block[n++] = e->block[i];
		} else {
			POISON(a, a->base + e->block[i].off, e->block[i].size);
			e->used -= e->block[i].size;
		}
	}
	e->n = n;
	set_extent(e);
}

void pt_arena_keep(struct pt_arena *a, void *p)
{
	size_t i = find(&a->low, (size_t)((char *)p - a->base));

	if (i < a->low.n)
		a->low.block[i].kept = true;
}

void pt_arena_reset(struct pt_arena *a)
{
	a->low.n = a->low.extent = a->low.used = 0;
	a->high.n = a->high.extent = a->high.used = 0;
	a->seq = 0;
	POISON(a, a->base, a->capacity);
}
