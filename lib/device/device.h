/* SPDX-License-Identifier: MIT */
/*
 * device.h - a place that has memory and kernels. The CPU is the reference;
 * "plan" counts memory and computes nothing; "guard" is the CPU with device
 * memory unreadable outside kernels (for tests); CUDA is a plug-in.
 *
 * Above this folder nothing dereferences device memory: what the host needs
 * comes back through download.
 */
#ifndef PT_DEVICE_DEVICE_H
#define PT_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"

struct pt_kernels;

struct pt_device {
	char name[32];			/* "cpu", "plan", "guard", "cuda:0" */
	char path[160];			/* what computes: "avx2" */
	bool plan;			/* kernels do nothing, contents are undefined */
	bool bf16;			/* has products of bf16 */
	bool bf16_act;			/* activations are bf16 where bf16 is the compute type */
	bool copies;			/* kernels read memory of alloc() alone: mapped weights are copied (parts.h) */
	const struct pt_kernels *k;
	size_t used, peak;		/* bytes of alloc() */
	void *self;

	/* Memory of at least n bytes, 256-aligned; PT_DEVICE or PT_FAIL with the bytes when there is none. */
	int (*alloc)(struct pt_device *dev, size_t n, void **out, struct pt_error *err);
	void (*free)(struct pt_device *dev, void *p, size_t n);
	/* Bytes that alloc() can hand out in all: on the CPU the limit of this process. */
	size_t (*memory)(struct pt_device *dev);
	/*
	 * Ordered behind the kernels before it, without waiting for them. The host's bytes have been read when
	 * it returns.
	 */
	int (*upload)(struct pt_device *dev, void *dst, const void *host, size_t n, struct pt_error *err);
	/* Waits for the kernels before it. */
	int (*download)(struct pt_device *dev, void *host, const void *src, size_t n,
			struct pt_error *err);
	/* Host memory that the two below copy from and to; PT_DEVICE or PT_FAIL with the bytes when there is none. */
	int (*pin)(struct pt_device *dev, size_t n, void **out, struct pt_error *err);
	void (*unpin)(struct pt_device *dev, void *p, size_t n);
	/*
	 * Copies beside the kernels, one after the other in the order of the calls, each behind the kernels called
	 * before it. Kernels called after wait() find it done; until then nobody touches either side.
	 */
	int (*fetch)(struct pt_device *dev, void *dst, const void *pinned, size_t n, uint64_t *ticket,
		     struct pt_error *err);
	int (*store)(struct pt_device *dev, void *pinned, const void *src, size_t n, uint64_t *ticket,
		     struct pt_error *err);
	int (*wait)(struct pt_device *dev, uint64_t ticket, struct pt_error *err);
	void (*close)(struct pt_device *dev);
};

struct pt_device_options {
	int threads;			/* 0: OMP_NUM_THREADS or all cores this process may use */
};

/*
 * name: "auto", "cpu", "plan" (of the CPU), "guard", "cuda", "cuda:N". PEFT_CPU=generic|avx2|avx512|bf16|amx caps the
 * CPU path, PEFT_CUDA=plain,sm80,sms=N the GPU's: no products by a library, no code for Hopper, at most N processors.
 */
int pt_device_open(struct pt_device **dev, const char *name, const struct pt_device_options *o,
		   struct pt_error *err);
void pt_device_close(struct pt_device *dev);

/* A plan device that counts what a run takes on real, which must outlive it. */
int pt_device_plan(struct pt_device **plan, struct pt_device *real, struct pt_error *err);

/* True when the device has bf16 products (decides --dtype auto). */
bool pt_device_has_bf16(const struct pt_device *dev);

#endif
