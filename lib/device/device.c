/* SPDX-License-Identifier: MIT */
/*
 * device.c - devices by name.
 *
 * "auto" takes the GPU where there is one that works, else the CPU. The
 * driver is asked first, without the plug-in: loading that costs a second.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "device/kernels.h"
#include "device/open.h"

/* Number of GPUs as the driver counts them, 0 without a driver. */
static int cuda_count(void)
{
	void *so = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	int (*init)(unsigned), (*count)(int *), n = 0;

	if (!so)
		return 0;
	*(void **)&init = dlsym(so, "cuInit");
	*(void **)&count = dlsym(so, "cuDeviceGetCount");
	if (!init || !count || init(0) || count(&n))
		n = 0;
	/* Left loaded: the driver starts threads. */
	return n;
}

static int open_cuda(struct pt_device **dev, int index, const struct pt_device_options *o,
		     struct pt_error *err)
{
	const struct pt_plugin *p;
	int status = pt_plugin_load("cuda", &p, err);

	if (status)
		return status;
	status = p->open(dev, index, o, err);
	if (!status && (*dev)->k->abi != PT_DEVICE_ABI) {
		(*dev)->close(*dev);
		return pt_error(err, PT_DEVICE, "the plug-in's kernels have another interface");
	}
	return status;
}

int pt_device_open(struct pt_device **dev, const char *name, const struct pt_device_options *o,
		   struct pt_error *err)
{
	static const struct pt_device_options none;
	struct pt_error lost = PT_ERROR_INIT;

	*dev = NULL;
	if (!o)
		o = &none;
	if (!strcmp(name, "cpu"))
		return pt_cpu_open(dev, o, err);
	if (!strcmp(name, "plan"))
		return pt_plan_open(dev, o, err);
	if (!strcmp(name, "guard"))
		return pt_guard_open(dev, o, err);
	if (!strcmp(name, "auto")) {
		if (pt_plugin_exists("cuda") && cuda_count() > 0 && !open_cuda(dev, 0, o, &lost))
			return 0;
		return pt_cpu_open(dev, o, err);
	}
	if (!strncmp(name, "cuda", 4) && (!name[4] || name[4] == ':')) {
		char *end = NULL;
		long i = name[4] ? strtol(name + 5, &end, 10) : 0;

		if (i < 0 || i > 1023 || (end && (*end || end == name + 5)))
			return pt_error(err, PT_USAGE, "device '%s': cuda:N has a number N", name);
		return open_cuda(dev, (int)i, o, err);
	}
	return pt_error(err, PT_USAGE, "no device '%s': auto, cpu, cuda, cuda:N, plan or guard", name);
}

void pt_device_close(struct pt_device *dev)
{
	if (dev)
		dev->close(dev);
}

bool pt_device_has_bf16(const struct pt_device *dev)
{
	return dev->bf16;
}
