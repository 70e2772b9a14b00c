/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - the CPU device: its state, its instruction set paths, its kernels.
 *
 * How kernels are written. Every file of cpu/kernels is compiled once for
 * each instruction set (Makefile, ISA_*): plain C which the compiler
 * vectorises under that set's flags, with -O3, fused multiply-adds, no
 * reassociation. Its public functions carry the names declared below; macros
 * give each copy its own (pt_cpu_rope becomes pt_cpu_rope_avx2), so one binary
 * holds all copies, and pt_kernels of a path points at those of its set. So
 * a kernel file
 *  - has external functions only from this header (a new one: a line in the
 *    list below), all else static; what files share is static inline in a
 *    header beside them;
 *  - may ask PT_VL, the f32 lanes of a vector, and use pt_vf, a vector of them
 *    (operators work on it, GCC's vector extension); intrinsics only under
 *    PT_ISA_AVX2 or PT_ISA_AVX512, with a measured gain in the commit;
 *  - sums in a fixed order: no reduction whose order the thread count decides.
 *    Work is cut into blocks by shape alone, and a loop over blocks runs as
 *        #pragma omp parallel for num_threads(pt_cpu_threads(dev)) schedule(dynamic)
 *    Sums over blocks are stored per block and added up by one thread in order.
 *    "#pragma omp simd safelen(8) reduction(+:s)" inside a block is a fixed order
 *    too, of eight sums also where vectors have 16 lanes, so that AVX-512 gives
 *    the bytes of AVX2;
 *  - allocates nothing: scratch comes from the caller, small fixed arrays from
 *    the stack (below 64 KiB a thread).
 */
#ifndef PT_DEVICE_CPU_CPU_H
#define PT_DEVICE_CPU_CPU_H

#include "device/device.h"
#include "device/kernels.h"

enum pt_cpu_path { PT_CPU_GENERIC, PT_CPU_AVX2, PT_CPU_AVX512, PT_CPU_BF16, PT_CPU_AMX, PT_CPU_PATHS };

/* Buffers of the products, in floats: of each thread, and of packed operands shared by all. */
#define PT_CPU_WORK ((int64_t)8 << 10)
#define PT_CPU_PACK ((int64_t)1 << 20)

struct pt_cpu {
	enum pt_cpu_path path;
	int threads;
	float *work, *pack;
};

/* memory.c: bytes that this process may have. */
size_t pt_cpu_memory(struct pt_device *dev);

static inline int pt_cpu_threads(const struct pt_device *dev)
{
	return ((const struct pt_cpu *)dev->self)->threads;
}

static inline float *pt_cpu_work(const struct pt_device *dev, int thread)
{
	return ((const struct pt_cpu *)dev->self)->work + thread * PT_CPU_WORK;
}

static inline float *pt_cpu_pack(const struct pt_device *dev)
{
	return ((const struct pt_cpu *)dev->self)->pack;
}

#ifdef PT_ISA	/* set by the Makefile: generic, avx2, avx512 */

#define PT_CPU_CAT_(name, isa) name ## _ ## isa
#define PT_CPU_CAT(name, isa) PT_CPU_CAT_(name, isa)
#define PT_CPU_NAME(name) PT_CPU_CAT(name, PT_ISA)

#if defined(__AVX512F__)
#define PT_ISA_AVX512 1
#define PT_VL 16
#elif defined(__AVX2__)
#define PT_ISA_AVX2 1
#define PT_VL 8
#else
#define PT_VL 4
#endif

/* PT_VL floats and 32-bit integers; pt_vf_u at any address. */
typedef float pt_vf __attribute__((vector_size(4 * PT_VL)));
typedef float pt_vf_u __attribute__((vector_size(4 * PT_VL), aligned(4), may_alias));
typedef int32_t pt_vi __attribute__((vector_size(4 * PT_VL)));

#define pt_cpu_table		PT_CPU_NAME(pt_cpu_table)
#define pt_cpu_fill		PT_CPU_NAME(pt_cpu_fill)
#define pt_cpu_copy		PT_CPU_NAME(pt_cpu_copy)
#define pt_cpu_axpby		PT_CPU_NAME(pt_cpu_axpby)
#define pt_cpu_affine_fwd	PT_CPU_NAME(pt_cpu_affine_fwd)
#define pt_cpu_affine_bwd	PT_CPU_NAME(pt_cpu_affine_bwd)
#define pt_cpu_gather_fwd	PT_CPU_NAME(pt_cpu_gather_fwd)
#define pt_cpu_gather_bwd	PT_CPU_NAME(pt_cpu_gather_bwd)
#define pt_cpu_mean_fwd		PT_CPU_NAME(pt_cpu_mean_fwd)
#define pt_cpu_mean_bwd		PT_CPU_NAME(pt_cpu_mean_bwd)
#define pt_cpu_convert		PT_CPU_NAME(pt_cpu_convert)
#define pt_cpu_gemm		PT_CPU_NAME(pt_cpu_gemm)
#define pt_cpu_dropout		PT_CPU_NAME(pt_cpu_dropout)
#define pt_cpu_linear_scratch	PT_CPU_NAME(pt_cpu_linear_scratch)
#define pt_cpu_linear_fwd	PT_CPU_NAME(pt_cpu_linear_fwd)
#define pt_cpu_linear_bwd	PT_CPU_NAME(pt_cpu_linear_bwd)
#define pt_cpu_route_fwd	PT_CPU_NAME(pt_cpu_route_fwd)
#define pt_cpu_route_bwd	PT_CPU_NAME(pt_cpu_route_bwd)
#define pt_cpu_combine_fwd	PT_CPU_NAME(pt_cpu_combine_fwd)
#define pt_cpu_combine_bwd	PT_CPU_NAME(pt_cpu_combine_bwd)
#define pt_cpu_gate_fwd		PT_CPU_NAME(pt_cpu_gate_fwd)
#define pt_cpu_gate_bwd		PT_CPU_NAME(pt_cpu_gate_bwd)
#define pt_cpu_norm_fwd		PT_CPU_NAME(pt_cpu_norm_fwd)
#define pt_cpu_norm_bwd		PT_CPU_NAME(pt_cpu_norm_bwd)
#define pt_cpu_rope		PT_CPU_NAME(pt_cpu_rope)
#define pt_cpu_act_fwd		PT_CPU_NAME(pt_cpu_act_fwd)
#define pt_cpu_act_bwd		PT_CPU_NAME(pt_cpu_act_bwd)
#define pt_cpu_attn_scratch	PT_CPU_NAME(pt_cpu_attn_scratch)
#define pt_cpu_attn_fwd		PT_CPU_NAME(pt_cpu_attn_fwd)
#define pt_cpu_attn_bwd		PT_CPU_NAME(pt_cpu_attn_bwd)
#define pt_cpu_nll_scratch	PT_CPU_NAME(pt_cpu_nll_scratch)
#define pt_cpu_nll_fwd		PT_CPU_NAME(pt_cpu_nll_fwd)
#define pt_cpu_nll_bwd		PT_CPU_NAME(pt_cpu_nll_bwd)
#define pt_cpu_class_fwd	PT_CPU_NAME(pt_cpu_class_fwd)
#define pt_cpu_class_bwd	PT_CPU_NAME(pt_cpu_class_bwd)
#define pt_cpu_unit_fwd		PT_CPU_NAME(pt_cpu_unit_fwd)
#define pt_cpu_unit_bwd		PT_CPU_NAME(pt_cpu_unit_bwd)
#define pt_cpu_dots_fwd		PT_CPU_NAME(pt_cpu_dots_fwd)
#define pt_cpu_dots_bwd		PT_CPU_NAME(pt_cpu_dots_bwd)
#define pt_cpu_span_fwd		PT_CPU_NAME(pt_cpu_span_fwd)
#define pt_cpu_span_bwd		PT_CPU_NAME(pt_cpu_span_bwd)
#define pt_cpu_embed_fwd	PT_CPU_NAME(pt_cpu_embed_fwd)
#define pt_cpu_embed_bwd	PT_CPU_NAME(pt_cpu_embed_bwd)
#define pt_cpu_adamw		PT_CPU_NAME(pt_cpu_adamw)
#define pt_cpu_inv_norm		PT_CPU_NAME(pt_cpu_inv_norm)
#define pt_cpu_sumsq		PT_CPU_NAME(pt_cpu_sumsq)
#define pt_cpu_nonfinite	PT_CPU_NAME(pt_cpu_nonfinite)

/* What they do is said in kernels.h. One that lacks its line above is there twice for the linker. */
#define PT_CPU_DECLARE(name, params, args) \
	int pt_cpu_##name(struct pt_device *dev, params, struct pt_error *err);
PT_KERNELS(PT_CPU_DECLARE)
#define PT_CPU_DECLARE_SCRATCH(name, params, args) \
	size_t pt_cpu_##name(struct pt_device *dev, params);
PT_KERNEL_SCRATCH(PT_CPU_DECLARE_SCRATCH)

extern const struct pt_kernels pt_cpu_table;

#endif
#endif
