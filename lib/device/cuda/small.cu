/* SPDX-License-Identifier: MIT */
/*
 * small.cu - embeddings, losses of classes, AdamW, and sums over gradients.
 */
#include "device/cuda/cuda.h"

#include <math.h>

#define BLOCK 256
#define NO_LOSS -100

template <typename T> __global__ static void embed(struct pt_k_embed k)
{
	T *y = (T *)k.y + blockIdx.x * k.c;
	int64_t id = k.ids[blockIdx.x];

	for (int64_t j = threadIdx.x; j < k.c; j += blockDim.x) {
		float v = k.scale * pt_weight_at(k.w, k.wtype, k.transposed ? j * k.v + id : id * k.c + j);

		y[j] = pt_t<T>(k.acc_y ? pt_f(y[j]) + v : v);
	}
}

int pt_cuda_embed_fwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, (embed<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "embedding");
}

/* The block of an id's first row adds up all rows of that id, in their order. */
template <typename T> __global__ static void embed_back(struct pt_k_embed k)
{
	__shared__ int32_t same[BLOCK];
	int32_t id = k.ids[blockIdx.x];
	bool earlier = false;

	if (id == k.pad)
		return;
	for (int64_t i = threadIdx.x; i < blockIdx.x; i += BLOCK)
		earlier |= k.ids[i] == id;
	if (__syncthreads_or(earlier))
		return;
	for (int64_t from = blockIdx.x; from < k.n; from += BLOCK) {
		int64_t i = from + threadIdx.x, left = k.n - from < BLOCK ? k.n - from : BLOCK;

		same[threadIdx.x] = i < k.n && k.ids[i] == id;
		__syncthreads();
		for (int r = 0; r < left; r++) {
			if (!same[r])
				continue;
			for (int64_t j = threadIdx.x; j < k.c; j += BLOCK)
				k.dw[k.transposed ? j * k.v + id : id * k.c + j] +=
					k.scale * pt_f(((const T *)k.dy)[(from + r) * k.c + j]);
		}
		__syncthreads();
	}
}

int pt_cuda_embed_bwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, (embed_back<T><<<(unsigned)k->n, BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "embedding");
}

template <typename T> static __device__ double class_lse(const T *z, int64_t n, double *mean)
{
	double max = (double)pt_f(z[0]), sum = 0;

	*mean = 0;
	for (int64_t i = 0; i < n; i++) {
		max = fmax(max, (double)pt_f(z[i]));
		*mean += (double)pt_f(z[i]) / (double)n;
	}
	for (int64_t i = 0; i < n; i++)
		sum += exp((double)pt_f(z[i]) - max);
	return max + log(sum);
}

template <typename T> __global__ static void class_fwd(struct pt_k_class k)
{
	int64_t row = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	const T *z = (const T *)k.z + row * k.k;
	double s = (double)k.smoothing, loss = 0, mean;

	if (row >= k.n)
		return;
	if (k.kind == PT_LOSS_CE) {
		if (k.cls[row] != NO_LOSS) {
			double lse = class_lse(z, k.k, &mean);

			loss = (1 - s) * (lse - (double)pt_f(z[k.cls[row]])) + s * (lse - mean);
		}
		k.loss[row] = (float)loss;
		return;
	}
	for (int64_t i = 0; i < k.k; i++) {
		double x = (double)pt_f(z[i]), y = (double)k.target[row * k.k + i];

		loss += k.kind == PT_LOSS_MSE ? (x - y) * (x - y) : (x > 0 ? x : 0) - x * y + log1p(exp(-fabs(x)));
	}
	k.loss[row] = (float)(loss / (double)k.k);
}

int pt_cuda_class_fwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, (class_fwd<T><<<pt_grid(k->n, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "class loss");
}

template <typename T> __global__ static void class_bwd(struct pt_k_class k)
{
	int64_t row = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	const T *z = (const T *)k.z + row * k.k;
	T *dz = (T *)k.dz + row * k.k;
	double n = (double)k.k, s = (double)k.smoothing, lse = 0, mean;
	bool ce = k.kind == PT_LOSS_CE, none;

	if (row >= k.n)
		return;
	none = ce && k.cls[row] == NO_LOSS;
	if (ce && !none)
		lse = class_lse(z, k.k, &mean);
	for (int64_t i = 0; i < k.k; i++) {
		double x = (double)pt_f(z[i]), g = 0;

		if (ce && !none)
			g = exp(x - lse) - (i == k.cls[row] ? 1 - s : 0) - s / n;
		else if (k.kind == PT_LOSS_MSE)
			g = 2 * (x - (double)k.target[row * k.k + i]) / n;
		else if (k.kind == PT_LOSS_BCE)
			g = (1 / (1 + exp(-x)) - (double)k.target[row * k.k + i]) / n;
		g *= (double)k.weight[row];
		dz[i] = pt_t<T>((float)(k.acc_dz ? (double)pt_f(dz[i]) + g : g));
	}
}

int pt_cuda_class_bwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	if (!k->n)
		return 0;
	PT_ACT_TYPE(k->type, (class_bwd<T><<<pt_grid(k->n, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(*k)));
	return pt_cuda_launched(err, "class loss");
}

/* Tensors of one launch, as many as arguments have room for. */
#define TENSORS 40
#define SPREAD 32			/* blocks of each */
#define SUMS (PT_CUDA_PARTS / SPREAD)

struct adamw {
	struct {
		float *p, *m, *v, *g;
		int64_t n;
		float keep, step;
		bool clear;
	} t[TENSORS];
	float b1, b2, b2c, root, eps;
	const float *gscale;
};

__global__ static void adamw(const __grid_constant__ struct adamw a)
{
	const auto &t = a.t[blockIdx.y];
	float scale = a.gscale ? *a.gscale : 1;

	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < t.n; i += gridDim.x * BLOCK) {
		float gi = t.g[i] * scale, mi = t.m[i] + a.b1 * (gi - t.m[i]), vi = a.b2 * t.v[i] + a.b2c * gi * gi;

		t.m[i] = mi;
		t.v[i] = vi;
		t.p[i] = t.p[i] * t.keep - t.step * (mi / (sqrtf(vi) / a.root + a.eps));
		if (t.clear)
			t.g[i] = 0;
	}
}

/* What tensors of one launch must have in common. */
static bool alike(const struct pt_k_adamw *a, const struct pt_k_adamw *b)
{
	return a->beta1 == b->beta1 && a->beta2 == b->beta2 && a->eps == b->eps && a->t == b->t && a->gscale == b->gscale;
}

int pt_cuda_adamw(struct pt_device *dev, int count, const struct pt_k_adamw *k, struct pt_error *err)
{
	for (int from = 0, n; from < count; from += n) {
		const struct pt_k_adamw *f = &k[from];
		struct adamw a = { { { 0 } }, (float)(1 - f->beta1), (float)f->beta2, (float)(1 - f->beta2),
				   (float)sqrt(1 - pow(f->beta2, (double)f->t)), (float)f->eps, f->gscale };

		for (n = 0; n < TENSORS && from + n < count && alike(f, f + n); n++)
			a.t[n] = { f[n].p, f[n].m, f[n].v, f[n].g, (int64_t)f[n].n, (float)(1 - f[n].lr * f[n].decay),
				   (float)(f[n].lr / (1 - pow(f[n].beta1, (double)f[n].t))), f[n].clear };
		adamw<<<dim3(SPREAD, (unsigned)n), BLOCK, 0, pt_cuda_stream(dev)>>>(a);
	}
	return pt_cuda_launched(err, "AdamW");
}

__global__ static void inv_norm(int64_t n, int64_t r, const float *sumsq, const float *b, const float *p, float *inv)
{
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;
	double s;

	if (i >= n)
		return;
	s = (double)sumsq[i];
	for (int64_t k = 0; k < r; k++)
		s += (double)b[i * r + k] * (double)p[i * r + k];
	inv[i] = s > 0 ? (float)(1 / sqrt(s)) : 0;
}

int pt_cuda_inv_norm(struct pt_device *dev, int64_t n, int64_t r, const float *sumsq, const float *b, const float *p,
		     float *inv, struct pt_error *err)
{
	if (n)
		inv_norm<<<pt_grid(n, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>(n, r, sumsq, b, p, inv);
	return pt_cuda_launched(err, "norms of rows");
}

/* Sum over a block in the order of a tree. */
template <typename S> static __device__ S block_total(S v, S *part)
{
	part[threadIdx.x] = v;
	__syncthreads();
	for (int o = BLOCK / 2; o; o >>= 1) {
		if (threadIdx.x < o)
			part[threadIdx.x] += part[threadIdx.x + o];
		__syncthreads();
	}
	return part[0];
}

template <typename S> static __device__ S term(float x);
template <> __device__ double term<double>(float x) { return (double)x * (double)x; }
template <> __device__ long long term<long long>(float x) { return !isfinite(x); }

template <typename S> __global__ static void parts(const float *x, int64_t n, S *out)
{
	__shared__ S part[BLOCK];
	S s = 0;

	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < n; i += (int64_t)gridDim.x * BLOCK)
		s += term<S>(x[i]);
	s = block_total(s, part);
	if (threadIdx.x == 0)
		out[blockIdx.x] = s;
}

template <typename S> __global__ static void total(const S *in, int n, S *out)
{
	__shared__ S part[BLOCK];
	S s = 0;

	for (int i = threadIdx.x; i < n; i += BLOCK)
		s += in[i];
	s = block_total(s, part);
	if (threadIdx.x == 0)
		*out = s;
}

template <typename S> static int reduce(struct pt_device *dev, const float *x, size_t n, S *out, struct pt_error *err)
{
	int64_t blocks = ((int64_t)n + BLOCK * 16 - 1) / (BLOCK * 16);
	S *part = (S *)pt_cuda_of(dev)->part;
	cudaStream_t s = pt_cuda_stream(dev);

	blocks = blocks < 1 ? 1 : blocks > PT_CUDA_PARTS ? PT_CUDA_PARTS : blocks;
	parts<S><<<(unsigned)blocks, BLOCK, 0, s>>>(x, (int64_t)n, blocks == 1 ? out : part);
	if (blocks > 1)
		total<S><<<1, BLOCK, 0, s>>>(part, (int)blocks, out);
	return pt_cuda_launched(err, "sum");
}

struct sumsq {
	struct pt_k_sumsq t[SUMS];
};

__global__ static void sumsq_parts(const __grid_constant__ struct sumsq a, double *out)
{
	__shared__ double part[BLOCK];
	const struct pt_k_sumsq &t = a.t[blockIdx.y];
	double s = 0;

	for (int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x; i < (int64_t)t.n; i += SPREAD * BLOCK)
		s += term<double>(t.x[i]);
	s = block_total(s, part);
	if (threadIdx.x == 0)
		out[blockIdx.y * SPREAD + blockIdx.x] = s;
}

__global__ static void sumsq_totals(const __grid_constant__ struct sumsq a, const double *in)
{
	double s = 0;

	for (int i = 0; i < SPREAD; i++)
		s += in[threadIdx.x * SPREAD + i];
	*a.t[threadIdx.x].out = s;
}

int pt_cuda_sumsq(struct pt_device *dev, int count, const struct pt_k_sumsq *k, struct pt_error *err)
{
	cudaStream_t s = pt_cuda_stream(dev);

	for (int from = 0; from < count; from += SUMS) {
		int n = count - from < SUMS ? count - from : SUMS;
		struct sumsq a;

		for (int i = 0; i < n; i++)
			a.t[i] = k[from + i];
		sumsq_parts<<<dim3(SPREAD, (unsigned)n), BLOCK, 0, s>>>(a, pt_cuda_of(dev)->part);
		sumsq_totals<<<1, (unsigned)n, 0, s>>>(a, pt_cuda_of(dev)->part);
	}
	return pt_cuda_launched(err, "sum");
}

int pt_cuda_nonfinite(struct pt_device *dev, const float *x, size_t n, int64_t *out, struct pt_error *err)
{
	return reduce<long long>(dev, x, n, (long long *)out, err);
}
