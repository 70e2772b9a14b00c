/* SPDX-License-Identifier: MIT */
/*
 * arena.h - one block of device memory with two ends.
 *
 * What backward needs is pushed at the low end in tape order and popped by
 * backward (mark, rewind). Everything else (gradients of activations,
 * temporaries) lives at the high end and is released explicitly, in any
 * order: first fit from the top. Allocation depends on shapes alone, so the
 * plan device's peak is the exact need.
 */
#ifndef PT_TENSOR_ARENA_H
#define PT_TENSOR_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "device/device.h"

struct pt_arena_block;

struct pt_arena {
	struct pt_device *dev;
	char *base;
	size_t capacity;		/* SIZE_MAX / 2 where unbounded (plan) */
	size_t low;			/* bytes used at the low end */
	size_t high;			/* lowest offset from the top in use: extent of the high end */
	size_t peak;			/* largest low + high so far */
	struct pt_arena_block *block;	/* live blocks of the high end, sorted */
	size_t nblocks, cap_blocks;
};

int pt_arena_init(struct pt_arena *a, struct pt_device *dev, size_t capacity, struct pt_error *err);
void pt_arena_release(struct pt_arena *a);

/* 256-aligned. PT_DEVICE with the bytes wanted and the capacity when they do not fit. */
int pt_arena_push(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err);
size_t pt_arena_mark(const struct pt_arena *a);
void pt_arena_rewind(struct pt_arena *a, size_t mark);

int pt_arena_take(struct pt_arena *a, size_t bytes, void **out, struct pt_error *err);
void pt_arena_drop(struct pt_arena *a, void *p);

void pt_arena_reset(struct pt_arena *a);

#endif
