/* SPDX-License-Identifier: MIT */
/*
 * device.c - devices by name.
 *
 * "auto" takes the GPU where there is one that works, else the CPU. The
 * driver is asked first, without the plug-in: loading that costs a second.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/kernels.h"
#include "device/open.h"
#include "device/wrap.h"

#define CUDA_NO_DEVICE 100

/* Number of GPUs as the driver counts them, 0 without a driver; *error is the driver's where it fails. */
static int cuda_count(int *error)
{
	void *so = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	int (*init)(unsigned), (*count)(int *), n = 0;

	*error = 0;
	if (!so)
		return 0;
	*(void **)&init = dlsym(so, "cuInit");
	*(void **)&count = dlsym(so, "cuDeviceGetCount");
	*error = init && count ? init(0) : -1;
	if (!*error)
		*error = count(&n);
	if (*error == CUDA_NO_DEVICE)
		*error = 0;
	/* Left loaded: the driver starts threads. */
	return *error ? 0 : n;
}

static int open_cuda(struct pt_device **dev, int index, const struct pt_device_options *o,
		     struct pt_error *err)
{
	const struct pt_plugin *p;

	return pt_plugin_load("cuda", &p, err) ? err->status : p->open(dev, index, o, err);
}

/* The GPU where there is one that works: 0. Why one that is there does not work is said. */
static int open_auto(struct pt_device **dev, const struct pt_device_options *o)
{
	struct pt_error err = PT_ERROR_INIT;
	int error;

	if (!pt_plugin_exists("cuda"))
		return PT_DEVICE;
	if (cuda_count(&error) > 0) {
		if (!open_cuda(dev, 0, o, &err))
			return 0;
		pt_log(PT_WARN, "%s; the CPU computes", err.msg);
	} else if (error) {
		pt_log(PT_WARN, "the CUDA driver fails (error %d); the CPU computes", error);
	}
	return PT_DEVICE;
}

int pt_device_open(struct pt_device **dev, const char *name, const struct pt_device_options *o,
		   struct pt_error *err)
{
	static const struct pt_device_options none;

	*dev = NULL;
	if (!o)
		o = &none;
	if (!strcmp(name, "cpu"))
		return pt_cpu_open(dev, o, err);
	if (!strcmp(name, "plan"))
		return pt_plan_open(dev, o, err);
	if (!strcmp(name, "guard"))
		return pt_guard_open(dev, o, err);
	if (!strcmp(name, "auto"))
		return open_auto(dev, o) ? pt_cpu_open(dev, o, err) : 0;
	if (!strncmp(name, "cuda", 4) && (!name[4] || name[4] == ':')) {
		char *end = NULL;
		long i = name[4] ? strtol(name + 5, &end, 10) : 0;

		if (i < 0 || i > 1023 || (end && (*end || end == name + 5)))
			return pt_error(err, PT_USAGE, "device '%s': cuda:N has a number N", name);
		return open_cuda(dev, (int)i, o, err);
	}
	return pt_error(err, PT_USAGE, "no device '%s': auto, cpu, cuda or cuda:N", name);
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
