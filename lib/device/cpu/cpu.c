/* SPDX-License-Identifier: MIT */
/*
 * cpu.c - the CPU as a device: memory, threads, and the path, which is the
 * best instruction set that processor and operating system have and PEFT_CPU
 * allows. The kernels of a path are those of its table.
 */
#include "device/cpu/cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/mem.h"
#include "device/open.h"

#define HUGE ((size_t)2 << 20)

extern const struct pt_kernels pt_cpu_table_generic, pt_cpu_table_avx2, pt_cpu_table_avx512;

static const char *const path_names[PT_CPU_PATHS] = { "generic", "avx2", "avx512", "bf16", "amx" };

#if defined(__x86_64__)
static enum pt_cpu_path best_path(void)
{
	unsigned a, b, c, d, xcr0 = 0, high, b7, c7, d7, a71;
	bool fma, f16c;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
		return PT_CPU_GENERIC;
	fma = c & bit_FMA;
	f16c = c & bit_F16C;
	__asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
	if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7) || (xcr0 & 6) != 6 || !fma || !f16c ||
	    !(b7 & bit_AVX2) || !(b7 & bit_BMI2))
		return PT_CPU_GENERIC;
	if ((xcr0 & 0xe6) != 0xe6 || !(b7 & bit_AVX512F) || !(b7 & bit_AVX512BW) ||
	    !(b7 & bit_AVX512DQ) || !(b7 & bit_AVX512VL))
		return PT_CPU_AVX2;
	if (!__get_cpuid_count(7, 1, &a71, &b, &c, &d) || !(a71 & 1 << 5))
		return PT_CPU_AVX512;
	/* AMX: bf16 and tiles in the processor, tile state kept by the system. */
	if (!(d7 & 1 << 22) || !(d7 & 1 << 24) || (xcr0 & 0x60000) != 0x60000)
		return PT_CPU_BF16;
	return PT_CPU_AMX;
}

static const struct pt_kernels *path_table(enum pt_cpu_path p)
{
	return p >= PT_CPU_AVX512 ? &pt_cpu_table_avx512 :
	       p == PT_CPU_AVX2 ? &pt_cpu_table_avx2 : &pt_cpu_table_generic;
}
#else
static enum pt_cpu_path best_path(void)
{
	return PT_CPU_GENERIC;
}

static const struct pt_kernels *path_table(enum pt_cpu_path p)
{
	(void)p;
	return &pt_cpu_table_generic;
}
#endif

static int choose_path(enum pt_cpu_path *out, struct pt_error *err)
{
	const char *cap = getenv("PEFT_CPU");

	*out = best_path();
	if (!cap || !*cap)
		return 0;
	for (int p = 0; p < PT_CPU_PATHS; p++) {
		if (strcmp(cap, path_names[p]))
			continue;
		if (p < (int)*out)
			*out = (enum pt_cpu_path)p;
		return 0;
	}
	return pt_error(err, PT_USAGE, "PEFT_CPU=%s: generic, avx2, avx512, bf16 or amx", cap);
}

/*
 * How long OpenMP's threads wait awake for each other, in turns of a loop:
 * libgomp's own 300000 are milliseconds, which on a machine that does other
 * work as well are taken from that work (a step of a small encoder with two
 * threads on two busy cores: 1.4 s of processor time, with 2000: 0.4). libgomp
 * looks at the environment when it starts, so we must be earlier: it is linked
 * statically where that can be done, and this constructor comes first.
 */
__attribute__((constructor(101))) static void set_spin(void)
{
	if (!getenv("GOMP_SPINCOUNT") && !getenv("OMP_WAIT_POLICY"))
		setenv("GOMP_SPINCOUNT", "2000", 0);
}

static int cpu_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	size_t align = n >= HUGE ? HUGE : 256, size;

	if (!pt_add_size(n ? n : 1, align - 1, &size) || !(*out = aligned_alloc(align, size & ~(align - 1))))
		return pt_error(err, PT_FAIL, "no memory for %zu bytes", n);
	if (align == HUGE)
		madvise(*out, size & ~(align - 1), MADV_HUGEPAGE);
	dev->used += n;
	if (dev->used > dev->peak)
		dev->peak = dev->used;
	return 0;
}

static void cpu_free(struct pt_device *dev, void *p, size_t n)
{
	if (!p)
		return;
	dev->used -= n;
	free(p);
}

static int cpu_move(struct pt_device *dev, void *dst, const void *src, size_t n, struct pt_error *err)
{
	(void)dev, (void)err;
	if (n)
		memcpy(dst, src, n);
	return 0;
}

/* Host and device are one: copies are done when they are asked for. */
static int cpu_pin(struct pt_device *dev, size_t n, void **out, struct pt_error *err)
{
	(void)dev;
	*out = pt_malloc(n ? n : 1, 1, err);
	return *out ? 0 : err->status;
}

static void cpu_unpin(struct pt_device *dev, void *p, size_t n)
{
	(void)dev, (void)n;
	free(p);
}

static int cpu_copy(struct pt_device *dev, void *dst, const void *src, size_t n, uint64_t *ticket,
		    struct pt_error *err)
{
	*ticket = 0;
	return cpu_move(dev, dst, src, n, err);
}

static int cpu_wait(struct pt_device *dev, uint64_t ticket, struct pt_error *err)
{
	(void)dev, (void)ticket, (void)err;
	return 0;
}

static void cpu_close(struct pt_device *dev)
{
	struct pt_cpu *cpu = dev->self;

	free(cpu->pack);
	free(cpu);
	free(dev);
}

/* Pages of the buffers that nobody touches take no memory. */
static int alloc_buffers(struct pt_cpu *cpu, struct pt_error *err)
{
	size_t n = (size_t)(PT_CPU_PACK + cpu->threads * PT_CPU_WORK) * sizeof(float);

	n = (n + HUGE - 1) & ~(HUGE - 1);
	cpu->pack = aligned_alloc(HUGE, n);
	if (!cpu->pack)
		return pt_error(err, PT_FAIL, "no memory for %zu bytes", n);
	madvise(cpu->pack, n, MADV_HUGEPAGE);
	cpu->work = cpu->pack + PT_CPU_PACK;
	return 0;
}

int pt_cpu_open(struct pt_device **out, const struct pt_device_options *o, struct pt_error *err)
{
	struct pt_device *dev = pt_calloc(1, sizeof *dev, err);
	struct pt_cpu *cpu = pt_calloc(1, sizeof *cpu, err);

	if (!dev || !cpu || choose_path(&cpu->path, err))
		goto fail;
	cpu->threads = o->threads > 0 ? o->threads : omp_get_max_threads();
	if (alloc_buffers(cpu, err))
		goto fail;
	*dev = (struct pt_device){ .name = "cpu", .k = path_table(cpu->path), .self = cpu,
		.alloc = cpu_alloc, .free = cpu_free, .memory = pt_cpu_memory, .upload = cpu_move,
		.download = cpu_move, .pin = cpu_pin, .unpin = cpu_unpin, .fetch = cpu_copy, .store = cpu_copy,
		.wait = cpu_wait, .close = cpu_close };
	/* What computes: with bf16 and AMX too these are the AVX-512 kernels, as long as there are no others. */
	snprintf(dev->path, sizeof dev->path, "%s",
		 path_names[cpu->path > PT_CPU_AVX512 ? PT_CPU_AVX512 : cpu->path]);
	*out = dev;
	return 0;
fail:
	free(cpu);
	free(dev);
	return err->status;
}
