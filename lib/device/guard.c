/* SPDX-License-Identifier: MIT */
/*
 * guard.c - the CPU with device memory that nobody can touch outside kernels,
 * upload and download: whoever dereferences it dies at once. Weights are
 * copied, and copies beside the kernels are done as late as they may be: at
 * the wait for them; until then what is fetched is NaN. For tests: what runs
 * on it runs on a GPU, as far as memory goes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/open.h"
#include "device/wrap.h"

#define ROOM ((size_t)64 << 30)		/* addresses set aside: one mprotect() opens all blocks */

struct block {
	size_t at, size;		/* whole pages in the room, one of them behind the block */
};

/* A copy that was asked for. */
struct copy {
	void *dst;
	const void *src;
	size_t n;
};

struct guard {
	struct pt_wrap wrap;		/* the CPU */
	struct copy *copy;		/* [copies - done] */
	size_t cap_copies;
	uint64_t copies, done;		/* asked for, and carried out */
	char *room;
	struct block *block;		/* by address */
	size_t n, cap, page;
};

static int protect(struct pt_device *dev, int how, struct pt_error *err)
{
	struct guard *g = dev->self;
	const struct block *last = g->block + g->n - 1;

	if (g->n && mprotect(g->room, last->at + last->size - g->page, how))
		return pt_error_errno(err, "device memory");
	return 0;
}

#define KERNEL(name, params, args) \
static int guard_##name(struct pt_device *dev, params, struct pt_error *err) \
{ \
	int status = protect(dev, PROT_READ | PROT_WRITE, err); \
\
	if (!status) \
		status = pt_wrap_in(dev)->k->name(pt_wrap_in(dev), args, err); \
	return protect(dev, PROT_NONE, err) ? err->status : status; \
}
PT_KERNELS(KERNEL)

static const struct pt_kernels kernels = {
#define ENTRY(name, params, args) .name = guard_##name,
	PT_KERNELS(ENTRY)
#define SCRATCH(name, params, args) .name = pt_wrap_##name,
	PT_KERNEL_SCRATCH(SCRATCH)
};

static int guard_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	struct guard *g = dev->self;
	size_t bytes = n ? n : 1, at = 0, size, i;

	if (bytes > ROOM / 2)
		return pt_error(err, PT_FAIL, "no memory for %zu bytes", n);
	bytes = (bytes + 255) / 256 * 256;
	size = (bytes + g->page - 1) / g->page * g->page + g->page;
	for (i = 0; i < g->n && g->block[i].at - at < size; i++)
		at = g->block[i].at + g->block[i].size;
	if (at + size > ROOM)
		return pt_error(err, PT_FAIL, "no memory for %zu bytes", n);
	if (pt_grow(&g->block, &g->cap, g->n + 1, sizeof *g->block, err))
		return err->status;
	memmove(g->block + i + 1, g->block + i, (g->n++ - i) * sizeof *g->block);
	g->block[i] = (struct block){ at, size };
	*out = g->room + at + size - g->page - bytes;
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static int guard_move(struct pt_device *dev, void *dst, const void *src, size_t n, struct pt_error *err)
{
	int status = protect(dev, PROT_READ | PROT_WRITE, err);

	if (!status && n)
		memcpy(dst, src, n);
	return protect(dev, PROT_NONE, err) ? err->status : status;
}

/* All up to a ticket, in their order. */
static int guard_wait(struct pt_device *dev, uint64_t ticket, struct pt_error *err)
{
	struct guard *g = dev->self;
	size_t n = ticket > g->done ? (size_t)(ticket - g->done) : 0;

	for (size_t i = 0; i < n; i++)
		if (guard_move(dev, g->copy[i].dst, g->copy[i].src, g->copy[i].n, err))
			return err->status;
	g->done += n;
	if (n)
		memmove(g->copy, g->copy + n, (size_t)(g->copies - g->done) * sizeof *g->copy);
	return 0;
}

static int ask(struct pt_device *dev, void *dst, const void *src, size_t n, uint64_t *ticket, struct pt_error *err)
{
	struct guard *g = dev->self;
	size_t k = (size_t)(g->copies - g->done);

	if (pt_grow(&g->copy, &g->cap_copies, k + 1, sizeof *g->copy, err))
		return err->status;
	g->copy[k] = (struct copy){ dst, src, n };
	*ticket = ++g->copies;
	return 0;
}

static int guard_fetch(struct pt_device *dev, void *dst, const void *pinned, size_t n, uint64_t *ticket,
		       struct pt_error *err)
{
	if (protect(dev, PROT_READ | PROT_WRITE, err))
		return err->status;
	memset(dst, 0xff, n);
	return protect(dev, PROT_NONE, err) ? err->status : ask(dev, dst, pinned, n, ticket, err);
}

static int guard_store(struct pt_device *dev, void *pinned, const void *src, size_t n, uint64_t *ticket,
		       struct pt_error *err)
{
	return ask(dev, pinned, src, n, ticket, err);
}

static void finish_copies(struct pt_device *dev)
{
	struct pt_error err = PT_ERROR_INIT;

	guard_wait(dev, ((struct guard *)dev->self)->copies, &err);
}

static int guard_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	return pt_wrap_in(dev)->pin(pt_wrap_in(dev), n, out, err);
}

static void guard_unpin(struct pt_device *dev, void *p, size_t n)
{
	finish_copies(dev);
	pt_wrap_in(dev)->unpin(pt_wrap_in(dev), p, n);
}

static void guard_free(struct pt_device *dev, void *p, size_t n)
{
	struct guard *g = dev->self;

	finish_copies(dev);
	for (size_t i = 0; i < g->n && p; i++) {
		struct block b = g->block[i];
		size_t off = (size_t)((char *)p - g->room);

		if (off < b.at || off >= b.at + b.size)
			continue;
		/* Gone for good: what is read there later is zero, not what was freed. */
		madvise(g->room + b.at, b.size, MADV_DONTNEED);
		memmove(g->block + i, g->block + i + 1, (--g->n - i) * sizeof *g->block);
		dev->used -= n;
		return;
	}
}

static void guard_close(struct pt_device *dev)
{
	struct guard *g = dev->self;

	munmap(g->room, ROOM);
	pt_device_close(g->wrap.in);
	free(g->block);
	free(g->copy);
	free(g);
	free(dev);
}

int pt_guard_open(struct pt_device **out, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *dev = pt_calloc(1, sizeof *dev, err);
	struct guard *g = pt_calloc(1, sizeof *g, err);

	if (!dev || !g || pt_cpu_open(&g->wrap.in, o, err))
		goto fail;
	g->page = (size_t)sysconf(_SC_PAGESIZE);
	g->room = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (g->room == MAP_FAILED) {
		pt_error_errno(err, "guard device");
		pt_device_close(g->wrap.in);
		goto fail;
	}
	*dev = *g->wrap.in;
	snprintf(dev->name, sizeof dev->name, "guard");
	dev->k = &kernels;
	dev->self = g;
	dev->alloc = guard_alloc;
	dev->free = guard_free;
	dev->copies = true;
	dev->upload = guard_move;
	dev->download = guard_move;
	dev->pin = guard_pin;
	dev->unpin = guard_unpin;
	dev->fetch = guard_fetch;
	dev->store = guard_store;
	dev->wait = guard_wait;
	dev->close = guard_close;
	*out = dev;
	return 0;
fail:
	free(g);
	free(dev);
	return err->status;
}
