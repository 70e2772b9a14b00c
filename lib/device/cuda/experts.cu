/* SPDX-License-Identifier: MIT */
/*
 * experts.cu - routing of mixtures of experts, what the experts made of a row
 * put together, and their linears, which run expert by expert (linear.cu).
 */
#include "device/cuda/cuda.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK 256

/* A warp takes a row: softmax, then the k best one after the other. */
template <typename T> __global__ static void choose(struct pt_k_route k)
{
	int lane = threadIdx.x % 32;
	int64_t i = blockIdx.x * (int64_t)(BLOCK / 32) + threadIdx.x / 32;
	const T *z = (const T *)k.z + i * k.experts;
	float *p = k.p + i * k.experts, max = -INFINITY, sum = 0, top = 0, last = INFINITY;
	int last_e = -1;

	if (i >= k.n)
		return;
	for (int e = lane; e < k.experts; e += 32)
		max = fmaxf(max, pt_f(z[e]));
	max = pt_warp_max(max);
	for (int e = lane; e < k.experts; e += 32)
		sum += expf(pt_f(z[e]) - max);
	sum = pt_warp_sum(sum);
	for (int e = lane; e < k.experts; e += 32)
		p[e] = expf(pt_f(z[e]) - max) / sum;
	__syncwarp();
	for (int c = 0; c < k.k; c++) {
		float best = -1;
		int best_e = k.experts;

		/* The best of those that come after the last choice. */
		for (int e = lane; e < k.experts; e += 32)
			if ((p[e] < last || (p[e] == last && e > last_e)) && p[e] > best) {
				best = p[e];
				best_e = e;
			}
		for (int o = 16; o; o >>= 1) {
			float b = __shfl_xor_sync(~0u, best, o);
			int be = __shfl_xor_sync(~0u, best_e, o);

			if (b > best || (b == best && be < best_e)) {
				best = b;
				best_e = be;
			}
		}
		/* A row that is not finite still has k different experts. */
		if (best_e == k.experts)
			best_e = c;
		last = best;
		last_e = best_e;
		top += best;
		if (lane == 0) {
			k.expert[i * k.k + c] = best_e;
			k.weight[i * k.k + c] = best;
		}
	}
	__syncwarp();
	for (int c = lane; c < k.k && k.renorm; c += 32)
		k.weight[i * k.k + c] /= top;
}

/* Choices of each expert, into offset[e + 1]. */
__global__ static void count(struct pt_k_route k)
{
	__shared__ float part[33];
	int64_t n = k.n * k.k;
	int c = 0;

	for (int64_t i = threadIdx.x; i < n; i += BLOCK)
		c += k.expert[i] == (int)blockIdx.x;
	/* Whole numbers below 2^24 a thread: their sum in f32 could round, so halves are summed apart. */
	int low = (int)pt_block_sum((float)(c & 0xff), part), high = (int)pt_block_sum((float)(c >> 8), part);

	if (threadIdx.x == 0) {
		k.offset[blockIdx.x + 1] = low + (high << 8);
		if (blockIdx.x == 0)
			k.offset[0] = 0;
	}
}

__global__ static void add_up(struct pt_k_route k)
{
	for (int e = 1; e <= k.experts; e++)
		k.offset[e] += k.offset[e - 1];
}

/* Places of one expert's choices, in the order of the choices. */
__global__ static void sort(struct pt_k_route k)
{
	__shared__ int sum[BLOCK / 32];
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = k.offset[blockIdx.x];
	int64_t n = k.n * k.k;

	for (int64_t from = 0; from < n; from += BLOCK) {
		int64_t i = from + threadIdx.x;
		bool mine = i < n && k.expert[i] == (int)blockIdx.x;
		unsigned votes = __ballot_sync(~0u, mine);
		int before = __popc(votes & ((1u << lane) - 1)), all = 0;

		if (lane == 0)
			sum[warp] = __popc(votes);
		__syncthreads();
		for (int w = 0; w < BLOCK / 32; w++) {
			before += w < warp ? sum[w] : 0;
			all += sum[w];
		}
		if (mine) {
			int64_t row = i / k.k;
			int place = at + before;

			k.place[i] = place;
			k.row[place] = (int32_t)row;
			if (k.key) {
				k.key[place] = k.rng.key[row];
				k.pos[place] = k.rng.pos[row];
			}
		}
		at += all;
		__syncthreads();
	}
}

__global__ static void stats(struct pt_k_route k)
{
	__shared__ float part[33];
	int e = blockIdx.x;
	float sum = 0, n = 0;

	for (int64_t i = threadIdx.x; i < k.live; i += BLOCK)
		sum += k.p[i * k.experts + e];
	for (int64_t i = threadIdx.x; i < k.live * k.k; i += BLOCK)
		n += k.expert[i] == e;
	sum = pt_block_sum(sum, part);
	n = pt_block_sum(n, part);
	if (threadIdx.x == 0) {
		k.stat[e] = sum;
		k.stat[k.experts + e] = n;
	}
}

int pt_cuda_route_fwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);
	unsigned experts = (unsigned)k->experts;

	if (k->n)
		PT_ACT_TYPE(k->type, (choose<T><<<pt_grid(k->n, BLOCK / 32), BLOCK, 0, s>>>(*k)));
	count<<<experts, BLOCK, 0, s>>>(*k);
	add_up<<<1, 1, 0, s>>>(*k);
	sort<<<experts, BLOCK, 0, s>>>(*k);
	if (k->stat)
		stats<<<experts, BLOCK, 0, s>>>(*k);
	return pt_cuda_launched(err, "route");
}

/* dp of one expert of a row: from the sums, and from the weights that were made of it. */
static __device__ float gradient(const struct pt_k_route &k, int64_t i, int e, float top, float dot)
{
	float g = k.dstat && i < k.live ? k.dstat[e] : 0;

	for (int64_t a = i * k.k; a < (i + 1) * k.k && k.dweight; a++)
		if (k.expert[a] == e)
			g += k.renorm ? k.dweight[a] / top - dot / (top * top) : k.dweight[a];
	return g;
}

template <typename T> __global__ static void route_back(struct pt_k_route k)
{
	int lane = threadIdx.x % 32;
	int64_t i = blockIdx.x * (int64_t)(BLOCK / 32) + threadIdx.x / 32;
	const float *p = k.p + i * k.experts;
	float top = 0, dot = 0, mean = 0;

	if (i >= k.n)
		return;
	for (int64_t a = i * k.k; a < (i + 1) * k.k && k.dweight; a++) {
		top += p[k.expert[a]];
		dot += k.dweight[a] * p[k.expert[a]];
	}
	for (int e = lane; e < k.experts; e += 32)
		mean += p[e] * gradient(k, i, e, top, dot);
	mean = pt_warp_sum(mean);
	for (int e = lane; e < k.experts; e += 32) {
		T *dz = (T *)k.dz + i * k.experts + e;
		float g = p[e] * (gradient(k, i, e, top, dot) - mean);

		*dz = pt_t<T>(k.acc_dz ? pt_f(*dz) + g : g);
	}
}

int pt_cuda_route_bwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (route_back<T><<<pt_grid(k->n, BLOCK / 32), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "route");
}

template <typename T> __global__ static void combine(struct pt_k_combine k)
{
	int64_t i = blockIdx.x;

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK) {
		T *y = (T *)k.y + i * k.c + j;
		float s = 0;

		for (int64_t a = i * k.k; a < (i + 1) * k.k; a++)
			s += (k.weight ? k.weight[a] : 1) * pt_f(((const T *)k.x)[k.place[a] * k.c + j]);
		*y = pt_t<T>(k.acc_y ? pt_f(*y) + s : s);
	}
}

int pt_cuda_combine_fwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (combine<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "combine");
}

template <typename T> __global__ static void combine_back(struct pt_k_combine k)
{
	__shared__ float part[33];
	int64_t a = blockIdx.x;
	const T *dy = (const T *)k.dy + a / k.k * k.c, *x = (const T *)k.x + k.place[a] * k.c;
	T *dx = (T *)k.dx + k.place[a] * k.c;
	float w = k.weight ? k.weight[a] : 1, s = 0;

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK) {
		float g = pt_f(dy[j]);

		if (k.dweight)
			s += g * pt_f(x[j]);
		if (k.dx)
			dx[j] = pt_t<T>(k.acc_dx ? pt_f(dx[j]) + g * w : g * w);
	}
	if (!k.dweight)
		return;
	s = pt_block_sum(s, part);
	if (threadIdx.x == 0)
		k.dweight[a] = k.acc_dweight ? k.dweight[a] + s : s;
}

int pt_cuda_combine_bwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (combine_back<T><<<(unsigned)(k->n * k->k), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "combine");
}

template <typename T> __global__ static void gate(struct pt_k_gate k)
{
	int64_t i = blockIdx.x;
	float f = 1 / (1 + expf(-pt_f(((const T *)k.g)[i])));

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK)
		((T *)k.y)[i * k.c + j] = pt_t<T>(f * pt_f(((const T *)k.x)[i * k.c + j]));
}

int pt_cuda_gate_fwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (gate<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "gate");
}

template <typename T> __global__ static void gate_back(struct pt_k_gate k)
{
	__shared__ float part[33];
	int64_t i = blockIdx.x;
	const T *dy = (const T *)k.dy + i * k.c, *x = (const T *)k.x + i * k.c;
	T *dx = (T *)k.dx + i * k.c, *dg = (T *)k.dg + i;
	float f = 1 / (1 + expf(-pt_f(((const T *)k.g)[i]))), s = 0;

	for (int64_t j = threadIdx.x; j < k.c; j += BLOCK) {
		float g = pt_f(dy[j]);

		s += g * pt_f(x[j]);
		if (k.dx)
			dx[j] = pt_t<T>(k.acc_dx ? pt_f(dx[j]) + g * f : g * f);
	}
	if (!k.dg)
		return;
	s = pt_block_sum(s, part) * f * (1 - f);
	if (threadIdx.x == 0)
		*dg = pt_t<T>(k.acc_dg ? pt_f(*dg) + s : s);
}

int pt_cuda_gate_bwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	if (k->n)
		PT_ACT_TYPE(k->type, (gate_back<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "gate");
}

/* The experts' groups one after the other; how many rows each has is asked of the GPU. */
static int each_expert(struct pt_device *dev, const struct pt_k_linear_group *g,
		       int (*fn)(struct pt_device *, const struct pt_k_linear_group *, struct pt_error *),
		       struct pt_error *err)
{
	size_t size = pt_cuda_size(g->type);
	int32_t offset[PT_EXPERTS_MAX + 1];
	struct pt_k_linear *lin;

	if (!g->rows)
		return 0;
	if (dev->download(dev, offset, g->offset, ((size_t)g->experts + 1) * sizeof *offset, err))
		return err->status;
	lin = (struct pt_k_linear *)calloc((size_t)g->n, sizeof *lin);
	if (!lin)
		return pt_cuda_error(err, PT_FAIL, "out of memory");
	for (int e = 0; e < g->experts; e++) {
		struct pt_k_linear_group one = *g;
		size_t from = (size_t)offset[e];

		one.experts = 0;
		one.rows = offset[e + 1] - offset[e];
		one.lin = lin;
		one.x = g->x ? (const char *)g->x + from * (size_t)g->k * size : NULL;
		one.dx = g->dx ? (char *)g->dx + from * (size_t)g->k * size : NULL;
		if (g->rng.key)
			one.rng = (struct pt_k_rows){ g->rng.key + from, g->rng.pos + from };
		for (int j = 0; j < g->n; j++) {
			size_t at = from * (size_t)g->lin[e * g->n + j].n * size;

			lin[j] = g->lin[e * g->n + j];
			lin[j].y = lin[j].y ? (char *)lin[j].y + at : NULL;
			lin[j].dy = lin[j].dy ? (char *)lin[j].dy + at : NULL;
		}
		if (fn(dev, &one, err)) {
			free(lin);
			return err->status;
		}
	}
	free(lin);
	return 0;
}

int pt_cuda_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	return g->experts ? each_expert(dev, g, pt_cuda_linear, err) : pt_cuda_linear(dev, g, err);
}

int pt_cuda_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	return g->experts ? each_expert(dev, g, pt_cuda_linear_grads, err) : pt_cuda_linear_grads(dev, g, err);
}
