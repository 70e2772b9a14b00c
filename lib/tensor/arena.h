/* SPDX-License-Identifier: MIT */
/*
 * arena.h - one block of device memory with two ends.
 *
 * What backward needs is pushed at the low end in tape order and popped by
 * backward (mark, rewind); a pushed block that turns out not to be needed is
 * dropped earlier, and the next pushes fill the hole. Everything else
 * (gradients of activations, temporaries) lives at the high end and is
 * dropped explicitly, in any order. Both ends are first fit from their edge,
 * so places depend on shapes alone and never on the capacity: the plan
 * device's peak is the exact need.
 *
 * Built with the address sanitizer, memory of the CPU devices that is not
 * handed out is poisoned.
 */
#ifndef PT_TENSOR_ARENA_H
#define PT_TENSOR_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "device/device.h"

#define PT_ARENA_ALIGN 256

/* A live block; offsets of the high end count down from the top. */
struct pt_arena_block {
	size_t off, size;
	size_t seq;			/* when it was handed out */
	bool kept;			/* low end: outlives rewind */
};

struct pt_arena_end {
	struct pt_arena_block *block;	/* sorted by off */
	size_t n, cap;
	size_t extent;			/* end of the last block */
	size_t used;			/* sum of sizes: less than extent where there are holes */
};

struct pt_arena {
	struct pt_device *dev;
	char *base;			/* not memory on a plan device */
	size_t capacity;		/* SIZE_MAX / 2 where unbounded (plan) */
	struct pt_arena_end low, high;
	size_t seq;
	size_t peak;			/* largest low.extent + high.extent so far */
	bool poison;
};

/* capacity is rounded down to 256. 0 on a plan device: unbounded. */
int pt_arena_init(struct pt_arena *a, struct pt_device *dev, size_t capacity, struct pt_error *err);
void pt_arena_release(struct pt_arena *a);

/* 256-aligned, never NULL. PT_DEVICE with the bytes wanted and the capacity when they do not fit. */
int pt_arena_push(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err);
int pt_arena_take(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err);

/* Release one block of either end; NULL is nothing. */
void pt_arena_drop(struct pt_arena *a, void *p);

/* A point in the order of pushes; rewind releases what was pushed since and is not kept. */
size_t pt_arena_mark(const struct pt_arena *a);
void pt_arena_rewind(struct pt_arena *a, size_t mark);
/* The pushed block p stays over rewinds until it is dropped. */
void pt_arena_keep(struct pt_arena *a, void *p);

/* Release all blocks; peak stays. */
void pt_arena_reset(struct pt_arena *a);

#endif
