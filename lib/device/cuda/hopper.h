/* SPDX-License-Identifier: MIT */
/*
 * hopper.h - what processors of compute capability 9.0 add: copies of tiles by
 * tensor maps, barriers in shared memory that count bytes, and wgmma, the
 * products of four warps whose operands stand in shared memory.
 *
 * A tile of R rows and C columns of bf16 stands as C/64 panels, each of R rows
 * of 128 bytes, pieces of 16 bytes exchanged by row (the "128-byte swizzle" of
 * copies and products alike; panels begin at multiples of 1,024 bytes).
 */
#ifndef PT_DEVICE_CUDA_HOPPER_H
#define PT_DEVICE_CUDA_HOPPER_H

#include <cuda.h>

#include "device/cuda/cuda.h"

/* Kernels are empty in code for other processors; pt_cuda.hopper says whether they are not. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define PT_HOPPER 1
#endif

/* hopper.cu: tiles of box_rows by 64 columns of a matrix of bf16; rows from rows on are zeros. False: it does not fit. */
bool pt_tiles(struct pt_device *dev, CUtensorMap *map, const void *p, int64_t rows, int64_t cols, int64_t ld,
	      int box_rows);

#ifdef PT_HOPPER

static __device__ inline void pt_bar_init(uint32_t bar, uint32_t count)
{
	asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(bar), "r"(count) : "memory");
}

/* After the barriers were made, before others use them. */
static __device__ inline void pt_bar_ready(void)
{
	asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ inline void pt_bar_arrive(uint32_t bar)
{
	asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(bar) : "memory");
}

/* Arrives, and lets the phase end only when so many bytes came. */
static __device__ inline void pt_bar_expect(uint32_t bar, uint32_t bytes)
{
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(bar), "r"(bytes) : "memory");
}

static __device__ inline void pt_bar_wait(uint32_t bar, uint32_t parity)
{
	uint32_t done = 0;

	while (!done)
		asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
			     : "=r"(done) : "r"(bar), "r"(parity) : "memory");
}

/* One panel to shared memory. */
static __device__ inline void pt_tile_load(uint32_t to, const CUtensorMap *map, int col, int row, uint32_t bar)
{
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];"
		     :: "r"(to), "l"(map), "r"(col), "r"(row), "r"(bar) : "memory");
}

/* A barrier of the block by number (0 is __syncthreads()), which so many threads meet, some of them without waiting. */
static __device__ inline void pt_meet(int bar, int threads)
{
	asm volatile("bar.sync %0, %1;" :: "r"(bar), "r"(threads) : "memory");
}

static __device__ inline void pt_meet_on(int bar, int threads)
{
	asm volatile("bar.arrive %0, %1;" :: "r"(bar), "r"(threads) : "memory");
}

static __device__ inline void pt_map_prefetch(const CUtensorMap *map)
{
	asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory");
}

template <int N> static __device__ inline void pt_regs_more(void)
{
	asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N));
}

template <int N> static __device__ inline void pt_regs_less(void)
{
	asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N));
}

/* Before products that read registers written since the last, accumulators too. */
static __device__ inline void pt_wgmma_fence(void)
{
	asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ inline void pt_wgmma_commit(void)
{
	asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most N committed groups run. */
template <int N> static __device__ inline void pt_wgmma_wait(void)
{
	asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}

/*
 * Operands: rows of the tile are rows of A or columns of B (their inner size
 * lies along the 128 bytes), or they lie along the inner size (across, for B
 * with TB 1; panel is the bytes of a panel).
 */
static __device__ inline uint64_t pt_operand(uint32_t at)
{
	return (uint64_t)(at >> 4 & 0x3FFF) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

static __device__ inline uint64_t pt_operand_across(uint32_t at, uint32_t panel)
{
	return (uint64_t)(at >> 4 & 0x3FFF) | (uint64_t)(panel >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 |
	       (uint64_t)1 << 62;
}

/*
 * d [64,n] (+)= a [64,16] b [16,n]; a is an operand or registers as four warps
 * hold rows of 16 (lane / 4 and that + 8, columns lane % 4 * 2 and that + 8).
 */
#define PT_REG4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define PT_REG16(d, i) PT_REG4(d, i), PT_REG4(d, i + 4), PT_REG4(d, i + 8), PT_REG4(d, i + 12)
#define PT_REG32(d, i) PT_REG16(d, i), PT_REG16(d, i + 16)
#define PT_REG64(d, i) PT_REG32(d, i), PT_REG32(d, i + 32)
#define PT_REG96(d, i) PT_REG64(d, i), PT_REG32(d, i + 64)
#define PT_REG128(d, i) PT_REG64(d, i), PT_REG64(d, i + 64)

template <int TB> static __device__ inline void pt_wgmma(float (&d)[32], uint64_t a, uint64_t b, bool add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; "
		     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
		     "%32, %33, p, 1, 1, 0, %35; }"
		     : PT_REG32(d, 0) : "l"(a), "l"(b), "r"((int)add), "n"(TB));
}

template <int TB> static __device__ inline void pt_wgmma(float (&d)[64], uint64_t a, uint64_t b, bool add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %66, 0; "
		     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
		     "%64, %65, p, 1, 1, 0, %67; }"
		     : PT_REG64(d, 0) : "l"(a), "l"(b), "r"((int)add), "n"(TB));
}

template <int TB> static __device__ inline void pt_wgmma(float (&d)[96], uint64_t a, uint64_t b, bool add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %98, 0; "
		     "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
		     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
		     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95}, "
		     "%96, %97, p, 1, 1, 0, %99; }"
		     : PT_REG96(d, 0) : "l"(a), "l"(b), "r"((int)add), "n"(TB));
}

template <int TB> static __device__ inline void pt_wgmma(float (&d)[128], uint64_t a, uint64_t b, bool add)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0; "
		     "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
		     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
		     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
		     "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
		     "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, "
		     "%128, %129, p, 1, 1, 0, %131; }"
		     : PT_REG128(d, 0) : "l"(a), "l"(b), "r"((int)add), "n"(TB));
}

template <int TB> static __device__ inline void pt_wgmma_r(float (&d)[32], const uint32_t *a, uint64_t b)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %38, 0; "
		     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
		     "{%32,%33,%34,%35}, %36, p, 1, 1, %37; }"
		     : PT_REG32(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(TB), "r"(1));
}

template <int TB> static __device__ inline void pt_wgmma_r(float (&d)[64], const uint32_t *a, uint64_t b)
{
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %70, 0; "
		     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
		     "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
		     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
		     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
		     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, "
		     "{%64,%65,%66,%67}, %68, p, 1, 1, %69; }"
		     : PT_REG64(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(TB), "r"(1));
}

#endif

#endif
