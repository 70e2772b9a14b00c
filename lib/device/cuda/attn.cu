/* SPDX-License-Identifier: MIT */
/*
 * attn.cu - attention with everything a family may want of it (kernels.h), one
 * warp for each row and head: lanes are keys while scores are made, channels
 * while values are summed. The reference for the tensor core kernels, and the
 * form for f32, biases, prefixes and dropout.
 */
#include "device/cuda/attn.h"

#include <math.h>

#define WARPS 8
#define PARTS (PT_ATTN_DIM / 32)

size_t pt_cuda_attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool backward)
{
	struct pt_pieces s = { NULL, 0 };

	(void)dev;
	if (!backward)
		return 0;
	pt_piece(&s, (size_t)(k->heads * k->nq) * sizeof(float));
	pt_piece(&s, (size_t)(k->heads * k->nq) * sizeof(float));
	if (k->bias == PT_BIAS_BUCKETS && k->dbias)
		pt_piece(&s, (size_t)(k->nq * k->heads * k->buckets) * sizeof(float));
	return s.used;
}

/* Least distances of T5's buckets; on the host, with the float arithmetic of transformers. */
static void bucket_table(const struct pt_k_attn *k, struct pt_attn_call *c)
{
	int n = k->bidirectional ? k->buckets / 2 : k->buckets, exact = n / 2;

	c->half = n;
	for (int b = 0; b < n; b++)
		c->far[b] = (int16_t)(b < exact ? b : INT16_MAX);
	for (int d = k->max_distance > INT16_MAX - 1 ? INT16_MAX - 1 : k->max_distance; d >= exact; d--) {
		int far = exact + (int)(logf((float)d / (float)exact) / (float)log((double)k->max_distance / exact) *
					(float)(n - exact));

		c->far[far < n - 1 ? far : n - 1] = (int16_t)d;
	}
}

int pt_cuda_attn_call(struct pt_device *dev, const struct pt_k_attn *k, bool back, struct pt_attn_call *c,
		      struct pt_error *err)
{
	struct pt_pieces s = { (char *)k->scratch, 0 };

	(void)dev;
	c->k = *k;
	c->drop = pt_drop_of(k->dropout);
	c->delta = c->fix = c->table = NULL;
	c->turn_q = c->turn_k = { NULL, NULL, NULL };
	c->exact = false;
	if (k->head_dim > PT_ATTN_DIM)
		return pt_cuda_error(err, PT_DEVICE, "attention with heads of %d: %d are the most on a GPU", k->head_dim,
				     PT_ATTN_DIM);
	/* A grid ends there. */
	if (k->batch > 65535 || k->prefixes > 65535)
		return pt_cuda_error(err, PT_DEVICE, "attention over %d sequences: a micro-batch has 65535 at most on a GPU", k->batch);
	if (k->bias == PT_BIAS_BUCKETS) {
		if (k->buckets > PT_ATTN_BUCKETS || k->buckets < 4)
			return pt_cuda_error(err, PT_DEVICE, "attention with %d buckets of positions: 4 to %d", k->buckets,
					     PT_ATTN_BUCKETS);
		bucket_table(k, c);
	}
	if (!back)
		return 0;
	c->delta = (float *)pt_piece(&s, (size_t)(k->heads * k->nq) * sizeof(float));
	c->fix = (float *)pt_piece(&s, (size_t)(k->heads * k->nq) * sizeof(float));
	c->exact = k->type == PT_F32 || pt_attn_longest(k->host_cu_k, k->batch) <= PT_ATTN_EXACT;
	if (k->bias == PT_BIAS_BUCKETS && k->dbias)
		c->table = (float *)pt_piece(&s, (size_t)(k->nq * k->heads * k->buckets) * sizeof(float));
	return 0;
}

static __device__ inline int bucket_of(const struct pt_attn_call &c, int rel)
{
	int d = rel > 0 ? 0 : -rel, out = 0, b = 0;

	if (c.k.bidirectional) {
		out = rel > 0 ? c.half : 0;
		d = rel < 0 ? -rel : rel;
	}
	/* Buckets that no distance reaches are far away. */
	for (int e = 1; e < c.half; e++)
		if (c.far[e] <= d)
			b = e;
	return out + b;
}

static __device__ inline float rounded(float x)
{
	return pt_f(pt_t<pt_bf16>(x));
}

/* A score from a product q k with key j (prefix included), at distance rel: *slope is its derivative by the product, *bucket its entry of the table (-1: none). */
static __device__ inline float score(const struct pt_attn_call &c, float x, int rel, int j, int h,
				     float *slope, int *bucket)
{
	float t;

	*slope = c.k.scale;
	*bucket = -1;
	x *= c.k.scale;
	if (c.k.softcap > 0) {
		t = tanhf(x / c.k.softcap);
		x = c.k.softcap * t;
		*slope *= 1 - t * t;
	}
	if (c.k.bias == PT_BIAS_BUCKETS) {
		*bucket = bucket_of(c, rel);
		x += c.k.bias_table[*bucket * c.k.heads + h];
	} else if (c.k.bias == PT_BIAS_SLOPES) {
		x -= c.k.bias_table[h] * (float)(rel < 0 ? -rel : rel);
	} else if (c.k.bias == PT_BIAS_KEY_SLOPES) {
		x += c.k.scale * rounded(rounded(c.k.bias_table[h]) * rounded((float)j));
	}
	return x;
}

/* Factor of dropout of key j (prefix included) for a query row. */
static __device__ inline float mask_of(const struct pt_attn_call &c, int row, int h, int j)
{
	uint4 u;

	if (c.k.dropout <= 0)
		return 1;
	u = pt_philox(pt_mix(c.k.rng.key[row], c.k.site), (uint32_t)(j / 4), (uint32_t)c.k.rng.pos[row], (uint32_t)h);
	return pt_kept_at(c.drop, u, j % 4);
}

/* In f32 the gradients of scores are small differences of these, so they are summed in f64. */
template <typename T> struct sum_of {
	typedef float type;
};

template <> struct sum_of<float> {
	typedef double type;
};

template <typename T> static __device__ inline float dot(const float *a, const T *b, int n)
{
	typename sum_of<T>::type s = 0;

	for (int i = 0; i < n; i++)
		s += (typename sum_of<T>::type)a[i] * pt_f(b[i]);
	return (float)s;
}

template <typename T> struct rows_of {
	const T *k, *v;			/* row 0 of the prefix or of the sequence, at this head */
	int64_t ldk, ldv;
};

template <typename T> static __device__ inline struct rows_of<T> keys_of(const struct pt_k_attn &k,
									 const struct pt_attn_seq &s, int g, bool prefix)
{
	int64_t ld = (int64_t)k.kv_heads * k.head_dim, off = (int64_t)g * k.head_dim;
	struct rows_of<T> r;

	if (prefix) {
		r.k = (const T *)k.prefix_k + s.p0 * ld + off;
		r.v = (const T *)k.prefix_v + s.p0 * ld + off;
		r.ldk = r.ldv = ld;
	} else {
		r.k = (const T *)k.k + s.k0 * k.ldk + off;
		r.v = (const T *)k.v + s.k0 * k.ldv + off;
		r.ldk = k.ldk;
		r.ldv = k.ldv;
	}
	return r;
}

template <typename T> __global__ static void fwd(const __grid_constant__ struct pt_attn_call c)
{
	__shared__ float qs[WARPS][PT_ATTN_DIM];
	const struct pt_k_attn &k = c.k;
	int w = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y, g = h / (k.heads / k.kv_heads);
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int i = blockIdx.x * WARPS + w, row = s.q0 + i, d = k.head_dim;
	typename sum_of<T>::type o[PARTS] = { 0 };
	float m = -INFINITY, l = 0;

	if (i >= s.nq)
		return;
	for (int e = lane; e < d; e += 32)
		qs[w][e] = pt_f(((const T *)k.q)[row * k.ldq + h * d + e]);
	__syncwarp();
	for (int part = s.np ? 0 : 1; part < 2; part++) {
		struct rows_of<T> r = keys_of<T>(k, s, g, part == 0);
		int lo = 0, hi = s.np, first = part ? s.np : 0;

		if (part)
			pt_attn_keys(k, s, i, &lo, &hi);
		for (int jb = lo; jb < hi; jb += 32) {
			int j = jb + lane, bucket;
			float x = -INFINITY, slope, p = 0, high, fix;

			if (j < hi)
				x = score(c, dot(qs[w], r.k + j * r.ldk, d), first + j - s.np - i - s.ahead, first + j, h, &slope, &bucket);
			high = fmaxf(m, pt_warp_max(x));
			if (j < hi)
				p = expf(x - high);
			fix = m > -INFINITY ? expf(m - high) : 0;
			m = high;
			l = l * fix + pt_warp_sum(p);
			if (j < hi)
				p *= mask_of(c, row, h, first + j);
			for (int e = 0; e < PARTS; e++)
				o[e] *= fix;
			for (int t = 0; t < 32 && jb + t < hi; t++) {
				float pt = __shfl_sync(~0u, p, t);
				const T *v = r.v + (jb + t) * r.ldv;

				for (int e = 0; e < PARTS && lane + 32 * e < d; e++)
					o[e] += pt * pt_f(v[lane + 32 * e]);
			}
		}
	}
	for (int e = 0; e < PARTS && lane + 32 * e < d; e++)
		((T *)k.o)[row * k.ldo + h * d + lane + 32 * e] = pt_t<T>(l == 0 ? 0 : (float)(o[e] / l));
	if (k.lse && lane == 0)
		k.lse[h * k.nq + row] = l == 0 ? -INFINITY : m + logf(l);
}

/* The sum of a row's powers by lse, and of those times their gradients: exactly 1 and delta, but for rounding. */
template <typename T> static __device__ void row_sums(const struct pt_attn_call &c, const struct pt_attn_seq &s, int i,
						      const float *q, const float *g, float lse, float *delta, float *fix)
{
	const struct pt_k_attn &k = c.k;
	int lane = threadIdx.x % 32, h = blockIdx.y, kv = h / (k.heads / k.kv_heads), row = s.q0 + i;
	double sum = 0, dots = 0;

	for (int part = s.np ? 0 : 1; part < 2; part++) {
		struct rows_of<T> r = keys_of<T>(k, s, kv, part == 0);
		int lo = 0, hi = s.np, first = part ? s.np : 0, bucket;

		if (part)
			pt_attn_keys(k, s, i, &lo, &hi);
		for (int j = lo + lane; j < hi; j += 32) {
			float slope, x = score(c, dot(q, r.k + j * r.ldk, k.head_dim), first + j - s.np - i - s.ahead,
					       first + j, h, &slope, &bucket);
			double p = (double)expf(x - lse);

			sum += p;
			dots += p * (double)(dot(g, r.v + j * r.ldv, k.head_dim) * mask_of(c, row, h, first + j));
		}
	}
	for (int o = 16; o; o >>= 1) {
		sum += __shfl_xor_sync(~0u, sum, o);
		dots += __shfl_xor_sync(~0u, dots, o);
	}
	*fix = sum > 0 ? (float)(1 / sum) : 1;
	*delta = sum > 0 ? (float)(dots / sum) : 0;
}

template <typename T> __global__ static void bwd_q(const __grid_constant__ struct pt_attn_call c)
{
	extern __shared__ float tables[];
	__shared__ float qs[WARPS][PT_ATTN_DIM], ds[WARPS][PT_ATTN_DIM];
	const struct pt_k_attn &k = c.k;
	int w = threadIdx.x / 32, lane = threadIdx.x % 32, h = blockIdx.y, g = h / (k.heads / k.kv_heads);
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int i = blockIdx.x * WARPS + w, row = s.q0 + i, d = k.head_dim;
	typename sum_of<T>::type dq[PARTS] = { 0 }, exact = 0;
	float delta, fix = 1, lse, *table = tables + w * k.buckets;

	if (i >= s.nq)
		return;
	for (int e = lane; e < d; e += 32) {
		qs[w][e] = pt_f(((const T *)k.q)[row * k.ldq + h * d + e]);
		ds[w][e] = pt_f(((const T *)k.doo)[row * k.ldo + h * d + e]);
		exact += (typename sum_of<T>::type)ds[w][e] * pt_f(((const T *)k.o)[row * k.ldo + h * d + e]);
	}
	for (int o = 16; o; o >>= 1)
		exact += __shfl_xor_sync(~0u, exact, o);
	delta = (float)exact;
	lse = k.lse[h * k.nq + row];
	__syncwarp();
	if (c.exact)
		row_sums<T>(c, s, i, qs[w], ds[w], lse, &delta, &fix);
	if (lane == 0) {
		c.delta[h * k.nq + row] = delta;
		c.fix[h * k.nq + row] = fix;
	}
	for (int e = lane; c.table && e < k.buckets; e += 32)
		table[e] = 0;
	__syncwarp();
	for (int part = s.np ? 0 : 1; part < 2; part++) {
		struct rows_of<T> r = keys_of<T>(k, s, g, part == 0);
		int lo = 0, hi = s.np, first = part ? s.np : 0;

		if (part)
			pt_attn_keys(k, s, i, &lo, &hi);
		for (int jb = lo; jb < hi; jb += 32) {
			int j = jb + lane, bucket = -1;
			float x, slope, dx = 0, raw = 0;

			if (j < hi) {
				x = score(c, dot(qs[w], r.k + j * r.ldk, d), first + j - s.np - i - s.ahead, first + j, h, &slope, &bucket);
				raw = fix * expf(x - lse) * (dot(ds[w], r.v + j * r.ldv, d) * mask_of(c, row, h, first + j) - delta);
				dx = raw * slope;
			}
			for (int t = 0; t < 32 && jb + t < hi; t++) {
				float dt = __shfl_sync(~0u, dx, t);
				const T *kk = r.k + (jb + t) * r.ldk;

				for (int e = 0; e < PARTS && lane + 32 * e < d; e++)
					dq[e] += dt * pt_f(kk[lane + 32 * e]);
				if (c.table && lane == t && bucket >= 0)
					table[bucket] += raw;
				__syncwarp();
			}
		}
	}
	for (int e = 0; e < PARTS && lane + 32 * e < d && k.dq; e++) {
		T *to = (T *)k.dq + row * k.ldq + h * d + lane + 32 * e;

		*to = pt_t<T>((float)(k.acc_dq ? pt_f(*to) + dq[e] : dq[e]));
	}
	__syncwarp();
	for (int e = lane; c.table && e < k.buckets; e += 32)
		c.table[((int64_t)row * k.heads + h) * k.buckets + e] = table[e];
}

/* What the queries of one sequence give to one key row; ks, vs: the row in f32. */
template <typename T> static __device__ void key_grad(const struct pt_attn_call &c, const struct pt_attn_seq &s, int g,
						      int j, bool prefix, const float *ks, const float *vs,
						      typename sum_of<T>::type *dk, typename sum_of<T>::type *dv)
{
	const struct pt_k_attn &k = c.k;
	int lane = threadIdx.x % 32, group = k.heads / k.kv_heads, d = k.head_dim, lo = 0, hi = s.nq;
	int at = prefix ? j : s.np + j;

	if (!prefix)
		pt_attn_queries(k, s, j, &lo, &hi);
	for (int h = g * group; h < (g + 1) * group; h++) {
		const T *q = (const T *)k.q + s.q0 * k.ldq + h * d, *doo = (const T *)k.doo + s.q0 * k.ldo + h * d;

		for (int ib = lo; ib < hi; ib += 32) {
			int i = ib + lane, row = s.q0 + i, bucket;
			float x, slope, p = 0, dx = 0, mask;

			if (i < hi) {
				x = score(c, dot(ks, q + i * k.ldq, d), at - s.np - i - s.ahead, at, h, &slope, &bucket);
				mask = mask_of(c, row, h, at);
				p = c.fix[h * k.nq + row] * expf(x - k.lse[h * k.nq + row]);
				dx = p * (dot(vs, doo + i * k.ldo, d) * mask - c.delta[h * k.nq + row]) * slope;
				p *= mask;
			}
			for (int t = 0; t < 32 && ib + t < hi; t++) {
				float pt = __shfl_sync(~0u, p, t), dt = __shfl_sync(~0u, dx, t);
				const T *qt = q + (ib + t) * k.ldq, *dot_ = doo + (ib + t) * k.ldo;

				for (int e = 0; e < PARTS && lane + 32 * e < d; e++) {
					dv[e] += pt * pt_f(dot_[lane + 32 * e]);
					dk[e] += dt * pt_f(qt[lane + 32 * e]);
				}
			}
		}
	}
}

template <typename T> static __device__ void key_store(void *to, int64_t at, bool acc,
						       const typename sum_of<T>::type *from, int d)
{
	int lane = threadIdx.x % 32;

	for (int e = 0; e < PARTS && lane + 32 * e < d && to; e++) {
		T *p = (T *)to + at + lane + 32 * e;

		*p = pt_t<T>((float)(acc ? pt_f(*p) + from[e] : from[e]));
	}
}

template <typename T> __global__ static void bwd_k(const __grid_constant__ struct pt_attn_call c)
{
	__shared__ float ks[WARPS][PT_ATTN_DIM], vs[WARPS][PT_ATTN_DIM];
	const struct pt_k_attn &k = c.k;
	int w = threadIdx.x / 32, lane = threadIdx.x % 32, g = blockIdx.y, d = k.head_dim;
	struct pt_attn_seq s = pt_attn_seq_of(k, blockIdx.z);
	int j = blockIdx.x * WARPS + w, row = s.k0 + j;
	typename sum_of<T>::type dk[PARTS] = { 0 }, dv[PARTS] = { 0 };

	if (j >= s.nk)
		return;
	for (int e = lane; e < d; e += 32) {
		ks[w][e] = pt_f(((const T *)k.k)[row * k.ldk + g * d + e]);
		vs[w][e] = pt_f(((const T *)k.v)[row * k.ldv + g * d + e]);
	}
	__syncwarp();
	key_grad<T>(c, s, g, j, false, ks[w], vs[w], dk, dv);
	key_store<T>(k.dk, row * k.ldk + g * d, k.acc_dk, dk, d);
	key_store<T>(k.dv, row * k.ldv + g * d, k.acc_dv, dv, d);
}

/* Prefix rows: from all sequences that have this prefix, in their order. */
template <typename T> __global__ static void bwd_prefix(const __grid_constant__ struct pt_attn_call c)
{
	__shared__ float ks[WARPS][PT_ATTN_DIM], vs[WARPS][PT_ATTN_DIM];
	const struct pt_k_attn &k = c.k;
	int w = threadIdx.x / 32, lane = threadIdx.x % 32, g = blockIdx.y, d = k.head_dim, entry = blockIdx.z;
	int p0 = k.cu_prefix[entry], j = blockIdx.x * WARPS + w;
	int64_t at = ((int64_t)(p0 + j) * k.kv_heads + g) * d;
	typename sum_of<T>::type dk[PARTS] = { 0 }, dv[PARTS] = { 0 };

	if (j >= k.cu_prefix[entry + 1] - p0)
		return;
	for (int e = lane; e < d; e += 32) {
		ks[w][e] = pt_f(((const T *)k.prefix_k)[at + e]);
		vs[w][e] = pt_f(((const T *)k.prefix_v)[at + e]);
	}
	__syncwarp();
	for (int b = 0; b < k.batch; b++) {
		if (k.prefix_index[b] != entry)
			continue;
		struct pt_attn_seq s = pt_attn_seq_of(k, b);

		key_grad<T>(c, s, g, j, true, ks[w], vs[w], dk, dv);
	}
	key_store<T>(k.dprefix_k, at, true, dk, d);
	key_store<T>(k.dprefix_v, at, true, dv, d);
}

/* dbias[bucket,h] += sum over rows of sequences, a block each. */
__global__ static void bias_sum(const __grid_constant__ struct pt_attn_call c)
{
	__shared__ float part[33];
	const struct pt_k_attn &k = c.k;
	int rows = k.cu_q[k.batch], bucket = blockIdx.x, h = blockIdx.y;
	float s = 0;

	for (int i = threadIdx.x; i < rows; i += blockDim.x)
		s += c.table[((int64_t)i * k.heads + h) * k.buckets + bucket];
	s = pt_block_sum(s, part);
	if (threadIdx.x == 0)
		k.dbias[bucket * k.heads + h] += s;
}

/* Nothing but masks, heads of 64 or 128, and a processor that has wgmma. */
static bool for_hopper(struct pt_device *dev, const struct pt_k_attn *k)
{
	return pt_cuda_of(dev)->hopper && k->type == PT_BF16 && k->bias == PT_BIAS_NONE && !k->prefixes &&
	       k->dropout <= 0 && k->softcap <= 0 && (k->head_dim == 64 || k->head_dim == 128) &&
	       pt_attn_even(k->q, k->ldq) && pt_attn_even(k->k, k->ldk) && pt_attn_even(k->v, k->ldv) &&
	       pt_attn_even(k->o, k->ldo);
}

int pt_cuda_attn_fwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	int longest = pt_attn_longest(k->host_cu_q, k->batch);
	dim3 grid(pt_grid(longest, WARPS), (unsigned)k->heads, (unsigned)k->batch);
	struct pt_attn_call c;

	if (pt_cuda_attn_call(dev, k, false, &c, err))
		return err->status;
	if (!longest)
		return 0;
	if (!(for_hopper(dev, k) && pt_cuda_attn_fwd_hopper(dev, &c)) && !pt_cuda_attn_fwd_mma(dev, &c))
		PT_ACT_TYPE(k->type, (fwd<T><<<grid, 32 * WARPS, 0, pt_cuda_stream(dev)>>>(c)));
	return pt_cuda_launched(err, "attention");
}

/* Gradients of rotated rows to those of the rows before. */
static int turn_back(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	for (int i = 0; i < 2; i++) {
		const struct pt_k_rope *turn = i ? k->turn_k : k->turn_q;
		struct pt_k_rope r;

		if (!turn || !(i ? k->dk : k->dq))
			continue;
		r = *turn;
		r.n = i ? k->nk : k->nq;
		r.x = i ? k->dk : k->dq;
		r.inverse = true;
		if (pt_cuda_rope(dev, &r, err))
			return err->status;
	}
	return 0;
}

int pt_cuda_attn_bwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	int longest = pt_attn_longest(k->host_cu_q, k->batch), keys = pt_attn_longest(k->host_cu_k, k->batch);
	int prefix = pt_attn_longest(k->host_cu_prefix, k->prefixes);
	dim3 q(pt_grid(longest, WARPS), (unsigned)k->heads, (unsigned)k->batch);
	dim3 kv(pt_grid(keys, WARPS), (unsigned)k->kv_heads, (unsigned)k->batch);
	dim3 pre(pt_grid(prefix, WARPS), (unsigned)k->kv_heads, (unsigned)k->prefixes);
	cudaStream_t s = pt_cuda_stream(dev);
	struct pt_attn_call c;
	size_t shared;

	if (pt_cuda_attn_call(dev, k, true, &c, err))
		return err->status;
	if (for_hopper(dev, k) && pt_attn_even(k->doo, k->ldo) && pt_cuda_attn_bwd_hopper(dev, &c))
		return pt_cuda_launched(err, "attention");
	if (pt_cuda_attn_bwd_mma(dev, &c))
		return pt_cuda_launched(err, "attention") ? err->status : turn_back(dev, k, err);
	shared = c.table ? (size_t)(WARPS * k->buckets) * sizeof(float) : 0;
	PT_ACT_TYPE(k->type, {
		if (longest)
			bwd_q<T><<<q, 32 * WARPS, shared, s>>>(c);
		if (keys && (k->dk || k->dv))
			bwd_k<T><<<kv, 32 * WARPS, 0, s>>>(c);
		if (prefix && (k->dprefix_k || k->dprefix_v))
			bwd_prefix<T><<<pre, 32 * WARPS, 0, s>>>(c);
	});
	if (c.table && longest)
		bias_sum<<<dim3((unsigned)k->buckets, (unsigned)k->heads), 256, 0, s>>>(c);
	return pt_cuda_launched(err, "attention") ? err->status : turn_back(dev, k, err);
}
