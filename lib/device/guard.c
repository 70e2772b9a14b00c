/* SPDX-License-Identifier: MIT */
/*
 * guard.c - the CPU with device memory that nobody can touch outside kernels,
 * upload and download: whoever dereferences it dies at once. Blocks end at a
 * page that is never there. For tests: what runs on it runs on a GPU, as far
 * as memory goes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "device/open.h"
#include "device/wrap.h"

struct block {
	char *map;
	size_t size;			/* whole pages, without the one behind them */
	void *p;
};

struct guard {
	struct pt_device *cpu;
	struct block *block;
	size_t n, cap, page;
};

static struct pt_device *cpu_of(struct pt_device *dev)
{
	return ((struct guard *)dev->self)->cpu;
}

static int protect(struct pt_device *dev, int how, struct pt_error *err)
{
	struct guard *g = dev->self;

	for (size_t i = 0; i < g->n; i++)
		if (mprotect(g->block[i].map, g->block[i].size, how))
			return pt_error_errno(err, "device memory");
	return 0;
}

#define KERNEL(name, params, args) \
static int guard_##name(struct pt_device *dev, params, struct pt_error *err) \
{ \
	int status = protect(dev, PROT_READ | PROT_WRITE, err); \
\
	if (!status) \
		status = cpu_of(dev)->k->name(cpu_of(dev), args, err); \
	return protect(dev, PROT_NONE, err) ? err->status : status; \
}
PT_WRAP(KERNEL)

static size_t linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool backward)
{
	return cpu_of(dev)->k->linear_scratch(cpu_of(dev), g, backward);
}

static size_t attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	return cpu_of(dev)->k->attn_scratch(cpu_of(dev), k, backward);
}

static size_t nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	return cpu_of(dev)->k->nll_scratch(cpu_of(dev), k, backward);
}

static const struct pt_kernels kernels = {
	.abi = PT_DEVICE_ABI,
	.linear_scratch = linear_scratch,
	.attn_scratch = attn_scratch,
	.nll_scratch = nll_scratch,
#define ENTRY(name, params, args) .name = guard_##name,
	PT_WRAP(ENTRY)
};

static int guard_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	struct guard *g = dev->self;
	size_t bytes, size;
	char *map;

	if (!pt_add_size(n ? n : 1, 255, &bytes) || !pt_add_size(bytes &= ~(size_t)255, 2 * g->page, &size))
		return pt_error(err, PT_FAIL, "no memory for %zu bytes", n);
	if (pt_grow(&g->block, &g->cap, g->n + 1, sizeof *g->block, err))
		return err->status;
	size = (bytes + g->page - 1) / g->page * g->page;
	map = mmap(NULL, size + g->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return pt_error_errno(err, "no memory for %zu bytes", n);
	*out = map + size - bytes;
	g->block[g->n++] = (struct block){ map, size, *out };
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static void guard_free(struct pt_device *dev, void *p, size_t n)
{
	struct guard *g = dev->self;

	for (size_t i = 0; i < g->n; i++) {
		if (g->block[i].p != p)
			continue;
		munmap(g->block[i].map, g->block[i].size + g->page);
		g->block[i] = g->block[--g->n];
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

	while (g->n)
		guard_free(dev, g->block[0].p, 0);
	pt_device_close(g->cpu);
	free(g->block);
	free(g);
	free(dev);
}

int pt_guard_open(struct pt_device **out, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *dev = pt_calloc(1, sizeof *dev, err);
	struct guard *g = pt_calloc(1, sizeof *g, err);

	if (!dev || !g || pt_cpu_open(&g->cpu, o, err)) {
		free(g);
		free(dev);
		return err->status;
	}
	g->page = (size_t)sysconf(_SC_PAGESIZE);
	*dev = *g->cpu;
	snprintf(dev->name, sizeof dev->name, "guard");
	dev->k = &kernels;
	dev->self = g;
	dev->alloc = guard_alloc;
	dev->free = guard_free;
	dev->place = guard_place;
	dev->upload = guard_move;
	dev->download = guard_move;
	dev->close = guard_close;
	*out = dev;
	return 0;
}
