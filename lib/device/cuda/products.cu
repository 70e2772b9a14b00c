/* SPDX-License-Identifier: MIT */
/*
 * products.cu - matrix products by cublasLt. Its heuristics are asked once for
 * each shape; the algorithm they name first is kept, so that the same shape is
 * computed the same way in every call and every run. What cublasLt has no
 * algorithm for (addresses that are not even, types that differ) is computed
 * by a plain kernel.
 */
#include "device/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 8192

/* What decides the algorithm; compared as bytes. */
struct key {
	int64_t m, n, k, lda, ldb, ldc;
	int32_t abt, ct, flags, align;
};

struct pt_cuda_plan {
	struct slot {
		bool used, works;
		struct key key;
		cublasLtMatmulDesc_t op;
		cublasLtMatrixLayout_t a, b, c;
		cublasLtMatmulAlgo_t algo;
	} slot[SLOTS];
};

static void slot_release(struct pt_cuda_plan::slot *s)
{
	if (s->a)
		cublasLtMatrixLayoutDestroy(s->a);
	if (s->b)
		cublasLtMatrixLayoutDestroy(s->b);
	if (s->c)
		cublasLtMatrixLayoutDestroy(s->c);
	if (s->op)
		cublasLtMatmulDescDestroy(s->op);
	memset(s, 0, sizeof *s);
}

void pt_cuda_products_close(struct pt_cuda *c)
{
	for (int i = 0; c->plan && i < SLOTS; i++)
		slot_release(&c->plan->slot[i]);
	free(c->plan);
	c->plan = NULL;
}

static cudaDataType_t type_of(enum pt_dtype t)
{
	return t == PT_F32 ? CUDA_R_32F : t == PT_BF16 ? CUDA_R_16BF : CUDA_R_16F;
}

/* The largest power of two up to 16 that divides an address and its rows. */
static int alignment(const void *p, int64_t ld, enum pt_dtype t)
{
	uintptr_t all = (uintptr_t)p | (uintptr_t)(ld * (int64_t)pt_cuda_size(t)) | 16;

	return (int)(all & -all);
}

/*
 * cublasLt's matrices are column-major: ours, read so, are transposed, and C'
 * = op(B)' op(A)'. Its first matrix is our B.
 */
static bool slot_make(struct pt_cuda *c, struct pt_cuda_plan::slot *s, const struct pt_product *p)
{
	cublasOperation_t ta = p->tb ? CUBLAS_OP_T : CUBLAS_OP_N, tb = p->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
	cudaDataType_t in = type_of(p->abt), out = type_of(p->ct);
	cublasLtMatmulHeuristicResult_t best;
	cublasLtMatmulPreference_t pref = NULL;
	cublasLtEpilogue_t epi = CUBLASLT_EPILOGUE_BIAS;
	uint32_t align[3] = { (uint32_t)alignment(p->b, p->ldb, p->abt), (uint32_t)alignment(p->a, p->lda, p->abt),
			      (uint32_t)alignment(p->c, p->ldc, p->ct) };
	/* Shares of a product are added in f32, not in the type of the result. */
	uint32_t shares = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
	int found = 0;
	bool ok = !cublasLtMatmulDescCreate(&s->op, CUBLAS_COMPUTE_32F, CUDA_R_32F) &&
		!cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta) &&
		!cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb) &&
		!cublasLtMatrixLayoutCreate(&s->a, in, (uint64_t)(p->tb ? p->k : p->n),
					    (uint64_t)(p->tb ? p->n : p->k), p->ldb) &&
		!cublasLtMatrixLayoutCreate(&s->b, in, (uint64_t)(p->ta ? p->m : p->k),
					    (uint64_t)(p->ta ? p->k : p->m), p->lda) &&
		!cublasLtMatrixLayoutCreate(&s->c, out, (uint64_t)p->n, (uint64_t)p->m, p->ldc);

	if (ok && p->bias)
		ok = !cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epi, sizeof epi) &&
		     !cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &out, sizeof out) &&
		     !cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
	if (ok)
		ok = !cublasLtMatmulPreferenceCreate(&pref) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &c->work_size,
							   sizeof c->work_size) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &shares,
							   sizeof shares) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align[0], 4) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align[1], 4) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align[2], 4) &&
		     !cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align[2], 4) &&
		     !cublasLtMatmulAlgoGetHeuristic(c->lt, s->op, s->a, s->b, s->c, s->c, pref, 1, &best, &found) &&
		     found > 0;
	if (pref)
		cublasLtMatmulPreferenceDestroy(pref);
	if (ok)
		s->algo = best.algo;
	return ok;
}

static struct pt_cuda_plan::slot *slot_find(struct pt_cuda *c, const struct pt_product *p)
{
	struct pt_cuda_plan::slot *s;
	struct key k;
	uint64_t h = 1469598103934665603u;

	memset(&k, 0, sizeof k);
	k.m = p->m;
	k.n = p->n;
	k.k = p->k;
	k.lda = p->lda;
	k.ldb = p->ldb;
	k.ldc = p->ldc;
	k.abt = p->abt;
	k.ct = p->ct;
	k.flags = p->ta | p->tb << 1 | (p->beta != 0) << 2 | (p->bias != NULL) << 3;
	k.align = alignment(p->a, p->lda, p->abt) | alignment(p->b, p->ldb, p->abt) << 8 |
		  alignment(p->c, p->ldc, p->ct) << 16;
	for (size_t i = 0; i < sizeof k; i++)
		h = (h ^ ((const unsigned char *)&k)[i]) * 1099511628211u;
	s = &c->plan->slot[h % SLOTS];
	if (s->used && !memcmp(&s->key, &k, sizeof k))
		return s;
	if (s->used)
		slot_release(s);
	s->used = true;
	s->key = k;
	s->works = slot_make(c, s, p);
	return s;
}

/* Element of a matrix in f32, whatever its type. */
struct operand {
	const void *p;
	enum pt_dtype type;
	int64_t ld;
	bool t;
};

static __device__ inline float at(const struct operand &o, int64_t row, int64_t col)
{
	return pt_weight_at(o.p, o.type, o.t ? col * o.ld + row : row * o.ld + col);
}

#define TILE 32
#define SMALL 0x1p24			/* multiplications of a product in f32 that is summed in f64, as other sums are */

/* S: type of the sums. */
template <typename S> __global__ static void plain(int64_t m, int64_t n, int64_t k, struct operand a, struct operand b, void *c, int64_t ldc,
			     enum pt_dtype ct, const void *bias, float alpha, float beta)
{
	__shared__ float sa[TILE][TILE + 1], sb[TILE][TILE + 1];
	int64_t row = blockIdx.x * (int64_t)TILE, col = blockIdx.y * (int64_t)TILE;
	int tx = threadIdx.x, ty = threadIdx.y;
	S sum[4] = { 0, 0, 0, 0 };

	for (int64_t l = 0; l < k; l += TILE) {
		for (int i = ty; i < TILE; i += 8) {
			sa[i][tx] = row + i < m && l + tx < k ? at(a, row + i, l + tx) : 0;
			sb[i][tx] = l + i < k && col + tx < n ? at(b, l + i, col + tx) : 0;
		}
		__syncthreads();
		for (int i = 0; i < TILE; i++)
			for (int r = 0; r < 4; r++)
				sum[r] += (S)sa[ty + 8 * r][i] * (S)sb[i][tx];
		__syncthreads();
	}
	for (int r = 0; r < 4; r++) {
		int64_t i = row + ty + 8 * r, j = col + tx;
		float v;

		if (i >= m || j >= n)
			continue;
		v = alpha * (float)sum[r];
		if (beta != 0)
			v += beta * pt_weight_at(c, ct, i * ldc + j);
		if (bias)
			v += pt_weight_at(bias, ct, j);
		if (ct == PT_F32)
			((float *)c)[i * ldc + j] = v;
		else
			((pt_bf16 *)c)[i * ldc + j] = pt_t<pt_bf16>(v);
	}
}

static int plain_product(struct pt_device *dev, const struct pt_product *p, enum pt_dtype at, enum pt_dtype bt,
			 struct pt_error *err)
{
	struct operand a = { p->a, at, p->lda, p->ta }, b = { p->b, bt, p->ldb, p->tb };
	dim3 grid(pt_grid(p->m, TILE), pt_grid(p->n, TILE));

	(at == PT_F32 ? plain<double> : plain<float>)<<<grid, dim3(TILE, 8), 0, pt_cuda_stream(dev)>>>(
		p->m, p->n, p->k, a, b, p->c, p->ldc, p->ct, p->bias, p->alpha, p->beta);
	return pt_cuda_launched(err, "product");
}

int pt_cuda_product(struct pt_device *dev, const struct pt_product *p, struct pt_error *err)
{
	struct pt_cuda *c = pt_cuda_of(dev);
	struct pt_cuda_plan::slot *s;
	cublasStatus_t e;

	if (!p->m || !p->n)
		return 0;
	if (!c->plan)
		c->plan = (struct pt_cuda_plan *)calloc(1, sizeof *c->plan);
	if (!c->plan)
		return pt_cuda_error(err, PT_FAIL, "out of memory");
	s = p->k && !c->plain && !(p->abt == PT_F32 && (double)p->m * (double)p->n * (double)p->k <= SMALL) ? slot_find(c, p) : NULL;
	if (!s || !s->works)
		return plain_product(dev, p, p->abt, p->abt, err);
	if (p->bias)
		cublasLtMatmulDescSetAttribute(s->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
	e = cublasLtMatmul(c->lt, s->op, &p->alpha, p->b, s->a, p->a, s->b, &p->beta, p->c, s->c, p->c, s->c, &s->algo,
			   c->work, c->work_size, c->stream);
	return e ? pt_cuda_error(err, PT_DEVICE, "cublasLt: product of [%lld,%lld] and [%lld,%lld]: %s", (long long)p->m,
				 (long long)p->k, (long long)p->k, (long long)p->n, cublasLtGetStatusString(e)) : 0;
}

int pt_cuda_gemm(struct pt_device *dev, const struct pt_k_gemm *k, struct pt_error *err)
{
	struct pt_product p = { k->m, k->n, k->k, k->a, k->b, NULL, k->c, k->at, k->ct, k->lda, k->ldb, k->ldc,
				k->ta, k->tb, k->alpha, k->beta };

	if (!k->m || !k->n)
		return 0;
	if (k->at == k->bt && (k->ct == PT_F32 || k->ct == k->at))
		return pt_cuda_product(dev, &p, err);
	return plain_product(dev, &p, k->at, k->bt, err);
}
