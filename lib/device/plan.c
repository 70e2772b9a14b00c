/* SPDX-License-Identifier: MIT */
/*
 * plan.c - the device that only counts memory: kernels do nothing, addresses
 * are made up. How much scratch kernels want and what type activations have is
 * asked of the device that it plans for, so that a run's peak is that of the
 * same run there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/open.h"
#include "device/wrap.h"

struct plan {
	struct pt_wrap wrap;		/* the device planned for; computes nothing here */
	bool own;			/* closed with the plan */
	uintptr_t next;			/* where the next block pretends to be */
};

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
PT_KERNELS(KERNEL)

static const struct pt_kernels kernels = {
#define ENTRY(name, params, args) .name = plan_##name,
	PT_KERNELS(ENTRY)
#define SCRATCH(name, params, args) .name = pt_wrap_##name,
	PT_KERNEL_SCRATCH(SCRATCH)
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

static size_t plan_memory(struct pt_device *dev)
{
	return pt_wrap_in(dev)->memory(pt_wrap_in(dev));
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

/* Not counted: it is the host's. */
static int plan_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	struct plan *p = dev->self;

	(void)err;
	*out = (void *)p->next;
	p->next += (n + 511) / 256 * 256;
	return 0;
}

static void plan_unpin(struct pt_device *dev, void *p, size_t n)
{
	(void)dev, (void)p, (void)n;
}

static int plan_beside(struct pt_device *dev, void *dst, const void *src, size_t n, uint64_t *ticket,
		     struct pt_error *err)
{
	*ticket = 0;
	return nothing(dev, dst, src, n, err);
}

static int plan_wait(struct pt_device *dev, uint64_t ticket, struct pt_error *err)
{
	return nothing(dev, ticket, err);
}

static void plan_close(struct pt_device *dev)
{
	struct plan *p = dev->self;

	if (p->own)
		pt_device_close(p->wrap.in);
	free(p);
	free(dev);
}

int pt_device_plan(struct pt_device **out, struct pt_device *real, struct pt_error *err)
{
	struct pt_device *dev = pt_calloc(1, sizeof *dev, err);
	struct plan *p = pt_calloc(1, sizeof *p, err);

	*out = NULL;
	if (!dev || !p) {
		free(p);
		free(dev);
		return err->status;
	}
	*dev = *real;
	dev->used = dev->peak = 0;
	p->wrap.in = real;
	p->next = (uintptr_t)1 << 20;
	snprintf(dev->name, sizeof dev->name, "plan");
	dev->plan = true;
	dev->k = &kernels;
	dev->self = p;
	dev->alloc = plan_alloc;
	dev->free = plan_free;
	dev->memory = plan_memory;
	dev->upload = plan_upload;
	dev->download = plan_download;
	dev->pin = plan_pin;
	dev->unpin = plan_unpin;
	dev->fetch = dev->store = plan_beside;
	dev->wait = plan_wait;
	dev->close = plan_close;
	*out = dev;
	return 0;
}

int pt_plan_open(struct pt_device **out, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *cpu;

	if (pt_cpu_open(&cpu, o, err))
		return err->status;
	if (pt_device_plan(out, cpu, err)) {
		pt_device_close(cpu);
		return err->status;
	}
	((struct plan *)(*out)->self)->own = true;
	return 0;
}
