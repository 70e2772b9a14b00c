/* SPDX-License-Identifier: MIT */
/*
 * plan.c - the device that only counts memory: kernels do nothing, addresses
 * are made up. How much scratch kernels want is asked of the CPU, so that a
 * run's peak is that of the same run there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/open.h"
#include "device/wrap.h"

struct plan {
	struct pt_device *cpu;		/* computes nothing here */
	uintptr_t next;			/* where the next block pretends to be */
};

static struct pt_device *cpu_of(struct pt_device *dev)
{
	return ((struct plan *)dev->self)->cpu;
}

static int nothing(struct pt_device *dev, ...)
{
	(void)dev;
	return 0;
}

#define KERNEL(name, params, args) \
static int plan_##name(struct pt_device *dev, params, struct pt_error *err) \
{ \
	return nothing(dev, args, err); \
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
#define ENTRY(name, params, args) .name = plan_##name,
	PT_WRAP(ENTRY)
};

static int plan_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	struct plan *p = dev->self;

	(void)err;
	*out = (void *)p->next;
	p->next += (n + 511) / 256 * 256;
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static void plan_free(struct pt_device *dev, void *p, size_t n)
{
	if (p)
		dev->used -= n;
}

static int plan_place(struct pt_device *dev, const void *host, size_t n, const void **out, struct pt_error *err)
{
	(void)dev, (void)n, (void)err;
	*out = host;
	return 0;
}

static int plan_upload(struct pt_device *dev, void *dst, const void *host, size_t n, struct pt_error *err)
{
	return nothing(dev, dst, host, n, err);
}

/* Zeros: nobody's decision shall depend on chance. */
static int plan_download(struct pt_device *dev, void *host, const void *src, size_t n, struct pt_error *err)
{
	(void)dev, (void)src, (void)err;
	if (n)
		memset(host, 0, n);
	return 0;
}

static void plan_close(struct pt_device *dev)
{
	pt_device_close(cpu_of(dev));
	free(dev->self);
	free(dev);
}

int pt_plan_open(struct pt_device **out, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *dev = pt_calloc(1, sizeof *dev, err);
	struct plan *p = pt_calloc(1, sizeof *p, err);

	if (!dev || !p || pt_cpu_open(&p->cpu, o, err)) {
		free(p);
		free(dev);
		return err->status;
	}
	*dev = *p->cpu;
	p->next = (uintptr_t)1 << 20;
	snprintf(dev->name, sizeof dev->name, "plan");
	dev->plan = true;
	dev->k = &kernels;
	dev->self = p;
	dev->alloc = plan_alloc;
	dev->free = plan_free;
	dev->place = plan_place;
	dev->upload = plan_upload;
	dev->download = plan_download;
	dev->close = plan_close;
	*out = dev;
	return 0;
}
