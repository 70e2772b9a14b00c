/* SPDX-License-Identifier: MIT */
/*
 * guard.c - the CPU with device memory that nobody can touch outside kernels,
 * upload and download: whoever dereferences it dies at once. For tests: what
 * runs on it runs on a GPU, as far as memory goes.
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

struct guard {
	struct pt_wrap wrap;		/* the CPU */
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
PT_WRAP(KERNEL)

static const struct pt_kernels kernels = {
	.abi = PT_DEVICE_ABI,
	PT_WRAP_SCRATCH,
#define ENTRY(name, params, args) .name = guard_##name,
	PT_WRAP(ENTRY)
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

static void guard_free(struct pt_device *dev, void *p, size_t n)
{
	struct guard *g = dev->self;

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

static int guard_place(struct pt_device *dev, const void *host, size_t n, const void **out, struct pt_error *err)
{
	(void)dev, (void)n, (void)err;
	*out = host;
	return 0;
}

static void guard_unplace(struct pt_device *dev, const void *p, size_t n)
{
	(void)dev, (void)p, (void)n;
}

static int guard_move(struct pt_device *dev, void *dst, const void *src, size_t n, struct pt_error *err)
{
	int status = protect(dev, PROT_READ | PROT_WRITE, err);

	if (!status && n)
		memcpy(dst, src, n);
	return protect(dev, PROT_NONE, err) ? err->status : status;
}

static void guard_close(struct pt_device *dev)
{
	struct guard *g = dev->self;

	munmap(g->room, ROOM);
	pt_device_close(g->wrap.in);
	free(g->block);
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
	dev->place = guard_place;
	dev->unplace = guard_unplace;
	dev->upload = guard_move;
	dev->download = guard_move;
	dev->close = guard_close;
	*out = dev;
	return 0;
fail:
	free(g);
	free(dev);
	return err->status;
}
