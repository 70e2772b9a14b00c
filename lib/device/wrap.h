/* SPDX-License-Identifier: MIT */
/*
 * wrap.h - what devices that put something around those of another share: the
 * device inside, and functions that ask it for scratch.
 */
#ifndef PT_DEVICE_WRAP_H
#define PT_DEVICE_WRAP_H

#include "device/device.h"
#include "device/kernels.h"

/* The head of .self of such a device. */
struct pt_wrap {
	struct pt_device *in;
};

static inline struct pt_device *pt_wrap_in(struct pt_device *dev)
{
	return ((struct pt_wrap *)dev->self)->in;
}

#define PT_WRAP_SCRATCH(name, params, args) \
static inline size_t pt_wrap_##name(struct pt_device *dev, params) \
{ \
	return pt_wrap_in(dev)->k->name(pt_wrap_in(dev), args); \
}
PT_KERNEL_SCRATCH(PT_WRAP_SCRATCH)
#undef PT_WRAP_SCRATCH

#endif
