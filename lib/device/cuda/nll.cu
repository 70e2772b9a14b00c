/* SPDX-License-Identifier: MIT */
/*
 * nll.cu - negative log-likelihood of labelled rows. The rows are gathered and
 * taken some at a time, so that logits (of the activations' type, as the peers
 * have them) are never whole; a row's loss is one pass over its logits, their
 * gradients take the place of the logits in a second by the same block.
 */
#include "device/cuda/mma.h"

#include <math.h>

#define BLOCK 512
#define ROW 1024			/* threads of a row */
#define ALONE (120 << 10)		/* so much of it that a block is alone on its processor */
#define LOGITS ((int64_t)128 << 20)	/* elements at a time, about: fewer leave processors idle in the product for dx */

struct work {
	int64_t rows;			/* at a time */
	char *x, *dx;			/* [rows,C] */
	char *z;			/* [rows,V], then their gradients */
	uint64_t *key;			/* [rows] */
	int32_t *pos;			/* [rows] */
	char *u;			/* of the terms */
	char *linear;
	size_t bytes;
};

/* The head on some rows as a group of one linear; term has room for its terms. */
static struct pt_k_linear_group head_of(const struct pt_k_nll *k, const struct work *w, int64_t rows,
					struct pt_k_linear *l, struct pt_k_lowrank *term)
{
	struct pt_k_linear_group g = { 0 };
	size_t u = 0;

	g.rows = rows;
	g.k = k->c;
	g.x = w->x;
	g.type = k->type;
	g.rng = (struct pt_k_rows){ w->key, w->pos };
	g.lin = l;
	g.n = 1;
	g.scratch = w->linear;
	*l = k->head;
	for (int t = 0; t < l->nterms; t++) {
		term[t] = l->term[t];
		term[t].u = w->u ? w->u + u : NULL;
		u += ((size_t)(w->rows * term[t].r) * pt_cuda_size(k->type) + 255) & ~(size_t)255;
	}
	l->term = term;
	l->y = w->z;
	l->acc_y = false;
	l->dy = w->z;
	if (k->dx)
		g.dx = w->dx;
	return g;
}

static struct work layout(struct pt_device *dev, const struct pt_k_nll *k, bool back, void *base)
{
	struct pt_pieces s = { (char *)base, 0 };
	struct pt_k_lowrank term[PT_NLL_MAX_TERMS];
	struct pt_k_linear l;
	struct pt_k_linear_group g;
	size_t size = pt_cuda_size(k->type), u = 0, f, b;
	struct work w = { 0 };

	w.rows = LOGITS / (k->v > 0 ? k->v : 1) / 128 * 128;
	w.rows = w.rows < 128 ? 128 : w.rows;
	w.rows = w.rows < k->rows ? w.rows : k->rows;
	w.x = (char *)pt_piece(&s, (size_t)(w.rows * k->c) * size);
	w.dx = (char *)pt_piece(&s, back ? (size_t)(w.rows * k->c) * size : 0);
	w.z = (char *)pt_piece(&s, (size_t)(w.rows * k->v) * size);
	w.key = (uint64_t *)pt_piece(&s, (size_t)w.rows * sizeof *w.key);
	w.pos = (int32_t *)pt_piece(&s, (size_t)w.rows * sizeof *w.pos);
	for (int t = 0; t < k->head.nterms; t++)
		u += ((size_t)(w.rows * k->head.term[t].r) * size + 255) & ~(size_t)255;
	w.u = (char *)pt_piece(&s, u);
	g = head_of(k, &w, w.rows, &l, term);
	f = pt_cuda_linear_scratch(dev, &g, false);
	b = back ? pt_cuda_linear_scratch(dev, &g, true) : 0;
	w.linear = (char *)pt_piece(&s, f > b ? f : b);
	w.bytes = s.used;
	return w;
}

size_t pt_cuda_nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool backward)
{
	return layout(dev, k, backward || k->weight, NULL).bytes;
}

/* Keys and positions of the rows, for the terms' dropout. */
__global__ static void take_keys(int64_t n, const int32_t *row, struct pt_k_rows rng, uint64_t *key, int32_t *pos)
{
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;

	if (i < n) {
		key[i] = rng.key[row[i]];
		pos[i] = rng.pos[row[i]];
	}
}

static __device__ inline float logit(const struct pt_k_nll &k, float z)
{
	z *= k.scale;
	return k.cap > 0 ? k.cap * tanhf(z / k.cap) : z;
}

/* Of some logits: the largest with the first place where it stands, the sum of their powers by it. */
struct top {
	float v, sum;
	int32_t i;
};

static __device__ inline struct top join(struct top a, struct top b)
{
	struct top t = b.v > a.v || (b.v == a.v && b.i < a.i) ? b : a;

	t.sum = (a.sum != 0 ? a.sum * expf(a.v - t.v) : 0) + (b.sum != 0 ? b.sum * expf(b.v - t.v) : 0);
	return t;
}

static __device__ struct top block_top(struct top t, struct top *part)
{
	for (int o = 16; o; o >>= 1) {
		struct top b = { __shfl_xor_sync(~0u, t.v, o), __shfl_xor_sync(~0u, t.sum, o), __shfl_xor_sync(~0u, t.i, o) };

		/* Both sides of a pair add in one order, so that all lanes agree. */
		t = threadIdx.x & o ? join(b, t) : join(t, b);
	}
	if (threadIdx.x % 32 == 0)
		part[threadIdx.x / 32] = t;
	__syncthreads();
	t = part[0];
	for (int i = 1; i < ROW / 32; i++)
		t = join(t, part[i]);
	return t;
}

/* e^(x - by); in bf16 by the fast instruction. */
template <typename T> static __device__ inline float power(float x, float by)
{
	return sizeof(T) == 2 ? pt_exp2((x - by) * 1.4426950408889634f) : expf(x - by);
}

/*
 * One row: loss, log-sum-exp, the best token, in one pass; with BACK the
 * gradients of the logits in their place in a second, which finds the row in
 * shared memory (keep) or in the cache. PLAIN: no scale, cap or smoothing.
 * from: the first of these rows among all.
 */
template <typename T, int V, bool BACK, bool PLAIN> __global__ __launch_bounds__(ROW)
static void row_loss(const __grid_constant__ struct pt_k_nll k, T *logits, int64_t from, bool know_lse, bool keep)
{
	extern __shared__ __align__(16) char shared[];
	__shared__ struct top tops[ROW / 32];
	__shared__ float part[33];
	pt_vec<T, V> *kept = (pt_vec<T, V> *)shared;
	int64_t i = from + blockIdx.x;
	T *z = logits + blockIdx.x * k.v;
	struct top t = { -INFINITY, 0, INT32_MAX };
	int32_t label = k.label[i], v = (int32_t)k.v;
	float mean = 0, lse, target = pt_f(z[label]), weight, even = k.smoothing / (float)k.v;

	if (!PLAIN)
		target = logit(k, target);
	for (int32_t j = threadIdx.x * V; j < v; j += ROW * V) {
		pt_vec<T, V> a = *(const pt_vec<T, V> *)(z + j);
		float x[V], high;

		if (BACK && keep)
			kept[j / V] = a;
#pragma unroll
		for (int e = 0; e < V; e++) {
			x[e] = pt_f(a.e[e]);
			if (!PLAIN) {
				x[e] = logit(k, x[e]);
				mean += x[e];
			}
			high = e ? fmaxf(high, x[e]) : x[e];
		}
		if (high > t.v) {
			t.sum = t.sum != 0 ? t.sum * expf(t.v - high) : 0;
			t.v = high;
#pragma unroll
			for (int e = V - 1; e >= 0; e--)
				t.i = x[e] == high ? j + e : t.i;
		}
#pragma unroll
		for (int e = 0; e < V; e++)
			t.sum += power<T>(x[e], t.v);
	}
	t = block_top(t, tops);
	mean = !PLAIN && k.smoothing > 0 ? pt_block_sum(mean, part) / (float)k.v : 0;
	lse = know_lse ? k.lse[i] : t.v + logf(t.sum);
	if (threadIdx.x == 0) {
		if (k.nll)
			k.nll[i] = (1 - k.smoothing) * (lse - target) + k.smoothing * (lse - mean);
		if (k.lse && !know_lse)
			k.lse[i] = lse;
		if (k.argmax)
			k.argmax[i] = t.i < k.v ? t.i : 0;
	}
	if (!BACK)
		return;
	weight = k.weight[i];
	for (int32_t j = threadIdx.x * V; j < v; j += ROW * V) {
		pt_vec<T, V> a = keep ? kept[j / V] : *(const pt_vec<T, V> *)(z + j);

#pragma unroll
		for (int e = 0; e < V; e++) {
			float x = PLAIN ? pt_f(a.e[e]) : logit(k, pt_f(a.e[e])), c = !PLAIN && k.cap > 0 ? x / k.cap : 0;
			float g = power<T>(x, lse) - (j + e == label ? 1 - k.smoothing : 0);

			a.e[e] = pt_t<T>(PLAIN ? g * weight : (g - even) * weight * (1 - c * c) * k.scale);
		}
		*(pt_vec<T, V> *)(z + j) = a;
	}
}

template <typename T, int V, bool PLAIN> static void rows_launch(struct pt_device *dev, const struct pt_k_nll *k, T *z,
								 int64_t at, int64_t n, bool back, bool know_lse)
{
	size_t row = (size_t)k->v * sizeof(T);
	size_t most = pt_cuda_of(dev)->shared - 2048, shared = back ? (most < ALONE ? most : ALONE) : 0;
	bool keep = back && row <= most;

	if (keep)
		shared = row;
	cudaFuncSetAttribute(row_loss<T, V, true, PLAIN>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)most);
	if (back)
		row_loss<T, V, true, PLAIN><<<(unsigned)n, ROW, shared, pt_cuda_stream(dev)>>>(*k, z, at, know_lse, keep);
	else
		row_loss<T, V, false, PLAIN><<<(unsigned)n, ROW, 0, pt_cuda_stream(dev)>>>(*k, z, at, know_lse, false);
}

template <typename T, int V> static void rows_any(struct pt_device *dev, const struct pt_k_nll *k, T *z, int64_t at,
						  int64_t n, bool back, bool know_lse)
{
	if (k->scale == 1 && k->cap <= 0 && k->smoothing <= 0)
		rows_launch<T, V, true>(dev, k, z, at, n, back, know_lse);
	else
		rows_launch<T, V, false>(dev, k, z, at, n, back, know_lse);
}

template <typename T> __global__ static void scatter(int64_t c, const T *dx, const int32_t *row, T *out)
{
	T *to = out + row[blockIdx.x] * c;

	for (int64_t j = threadIdx.x; j < c; j += blockDim.x)
		to[j] = pt_t<T>(pt_f(to[j]) + pt_f(dx[blockIdx.x * c + j]));
}

static int some_rows(struct pt_device *dev, const struct pt_k_nll *k, const struct work *w, int64_t at, int64_t n,
		     bool back, bool know_lse, struct pt_error *err)
{
	struct pt_k_lowrank term[PT_NLL_MAX_TERMS];
	struct pt_k_linear l;
	struct pt_k_linear_group g = head_of(k, w, n, &l, term);
	cudaStream_t s = pt_cuda_stream(dev);

	if (pt_cuda_gather_fwd(dev, n, (size_t)k->c * pt_cuda_size(k->type), k->x, k->row + at, w->x, err))
		return err->status;
	if (k->rng.key && k->rng.pos && l.nterms)
		take_keys<<<pt_grid(n, BLOCK), BLOCK, 0, s>>>(n, k->row + at, k->rng, w->key, w->pos);
	if (pt_cuda_linear_fwd(dev, &g, err))
		return err->status;
	PT_ACT_TYPE(k->type, {
		if (k->v % pt_wide<T>::n == 0)
			rows_any<T, pt_wide<T>::n>(dev, k, (T *)w->z, at, n, back, know_lse);
		else
			rows_any<T, 1>(dev, k, (T *)w->z, at, n, back, know_lse);
	});
	if (back) {
		if (pt_cuda_launched(err, "loss") || pt_cuda_linear_grads(dev, &g, err))
			return err->status;
		if (k->dx)
			PT_ACT_TYPE(k->type, (scatter<T><<<(unsigned)n, 256, 0, s>>>(k->c, (const T *)w->dx, k->row + at,
										     (T *)k->dx)));
	}
	return pt_cuda_launched(err, "loss");
}

static int all_rows(struct pt_device *dev, const struct pt_k_nll *k, bool back, bool know_lse, struct pt_error *err)
{
	struct work w = layout(dev, k, back, k->scratch);

	if (back && k->dx && !k->acc_dx && pt_cuda_fill(dev, k->type, k->dx, (size_t)(k->n * k->c), 0, err))
		return err->status;
	for (int64_t at = 0; at < k->rows; at += w.rows) {
		int64_t n = k->rows - at < w.rows ? k->rows - at : w.rows;

		if (some_rows(dev, k, &w, at, n, back, know_lse, err))
			return err->status;
	}
	return 0;
}

int pt_cuda_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	return all_rows(dev, k, k->weight != NULL, false, err);
}

int pt_cuda_nll_bwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *err)
{
	return all_rows(dev, k, true, k->lse != NULL, err);
}
