/* SPDX-License-Identifier: MIT */
/*
 * kernels.c - how much of this machine's arithmetic the CPU's kernels use:
 * products, linear groups with LoRA, token_nll and attention of the shapes of
 * three workloads, as a share of what the processor does when it only
 * multiplies and adds in registers. Best of several runs each.
 *
 * usage: kernels [threads [peak]]
 */
#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rng.h"
#include "device/device.h"
#include "device/kernels.h"

#define SECONDS 0.25	/* of each measurement */

static struct pt_device *dev;
static struct pt_error err;
static int threads;

/* One thread is measured in its own time, so that a busy machine does not show. */
static clockid_t clock_used = CLOCK_MONOTONIC;

static double now(void)
{
	struct timespec t;

	clock_gettime(clock_used, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int status)
{
	if (!status)
		return;
	fprintf(stderr, "kernels: %s\n", err.msg);
	exit(status);
}

/* Ten vectors of multiply-adds that wait for nobody. Returns the operations in 1e9. */
#define PEAK_RUNS 500000
#define STEP(i) s##i = s##i * x + y;
#define PEAK(name, lanes, how) \
	how static double name(float *out) \
	{ \
		typedef float vf __attribute__((vector_size(4 * lanes))); \
		vf x = (vf){ 0 } + out[0], y = (vf){ 0 } + out[1]; \
		vf s0 = x, s1 = x + y, s2 = s1 + y, s3 = s2 + y, s4 = s3 + y, s5 = s4 + y, s6 = s5 + y, s7 = s6 + y; \
		vf s8 = s7 + y, s9 = s8 + y; \
\
		for (long r = 0; r < PEAK_RUNS; r++) { \
			STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9) \
		} \
		s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9; \
		out[2] = s0[0]; \
		return PEAK_RUNS * 10 * 2 * lanes * 1e-9; \
	}
#if defined(__x86_64__)
PEAK(peak_generic, 4, __attribute__((noinline)))
PEAK(peak_avx2, 8, __attribute__((noinline, target("avx2,fma"), optimize("fp-contract=fast"))))
PEAK(peak_avx512, 16, __attribute__((noinline, target("avx512f,avx2,fma"), optimize("fp-contract=fast"))))
#else
PEAK(peak_generic, 4, __attribute__((noinline)))
#define peak_avx2 peak_generic
#define peak_avx512 peak_generic
#endif

static double measure_peak(void)
{
	double (*fn)(float *) = !strncmp(dev->path, "generic", 7) ? peak_generic :
				!strncmp(dev->path, "avx2", 4) ? peak_avx2 : peak_avx512;
	double t = now(), work = 0;

#pragma omp parallel num_threads(threads) reduction(+:work)
	{
		float x[3] = { 0.5f, 1, 0 };

		work += fn(x);
	}
	return work / (now() - t);
}

static float *fill(int64_t n)
{
	float *x = aligned_alloc(64, ((size_t)n * sizeof *x + 127) / 64 * 64);

	pt_rng_uniform((uint64_t)n, x, (size_t)n, -1, 1);
	return x;
}

typedef void call_fn(const void *arg);

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The best time of some runs, and the median of their shares of the peak as it is just then. */
static void show(const char *what, double gflop, call_fn *fn, const void *arg)
{
	double start = now(), best = 1e9, share[300];
	int n = 0;

	fn(arg);
	do {
		double t = now();

		fn(arg);
		t = now() - t;
		best = fmin(best, t);
		share[n++] = gflop / t / measure_peak();
	} while (n < 300 && (now() - start < SECONDS || n < 3));
	qsort(share, (size_t)n, sizeof *share, by_value);
	printf("%-58s %9.3f ms %7.1f GFLOP/s %4.0f%%\n", what, best * 1e3, gflop / best, 100 * share[n / 2]);
}

static void call_gemm(const void *arg)
{
	check(dev->k->gemm(dev, arg, &err));
}

typedef void sgemm_fn(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
		      const float *b, int ldb, float beta, float *c, int ldc);
static sgemm_fn *sgemm;

static void call_blas(const void *arg)
{
	const struct pt_k_gemm *g = arg;

	sgemm(101, g->ta ? 112 : 111, g->tb ? 112 : 111, (int)g->m, (int)g->n, (int)g->k, 1, g->a, (int)g->lda, g->b,
	      (int)g->ldb, 0, g->c, (int)g->ldc);
}

static void products(int64_t m, int64_t n, int64_t k, enum pt_dtype wt)
{
	float *x = fill(m * k), *y = fill(m * n), *w = fill(n * k), *ws = w;
	double gflop = 2e-9 * (double)(m * n * k);
	char s[100];
	struct pt_k_gemm g[3] = {
		{ m, n, k, x, w, y, PT_F32, wt, PT_F32, k, k, n, false, true, 1, 0, false },
		{ m, k, n, y, w, x, PT_F32, wt, PT_F32, n, k, k, false, false, 1, 0, false },
		{ n, k, m, y, x, w, PT_F32, PT_F32, PT_F32, n, k, k, true, false, 1, 1, false },
	};
	static const char *const name[] = { "x W'", "dy W", "dy' x" };

	if (wt != PT_F32) {
		ws = malloc((size_t)(n * k) * 2);
		pt_from_f32(ws, wt, w, (size_t)(n * k));
		g[0].b = g[1].b = ws;
	}
	for (int i = 0; i < (wt == PT_F32 ? 3 : 2); i++) {
		snprintf(s, sizeof s, "%-5s %lld x %lld x %lld, %s", name[i], (long long)m, (long long)n, (long long)k,
			 pt_dtype_name(wt));
		show(s, gflop, call_gemm, &g[i]);
		if (sgemm && wt == PT_F32) {
			snprintf(s, sizeof s, "      (OpenBLAS)");
			show(s, gflop, call_blas, &g[i]);
		}
	}
	if (ws != w)
		free(ws);
	free(x);
	free(y);
	free(w);
}

struct group {
	struct pt_k_linear_group f, b;
};

static void call_fwd(const void *arg)
{
	check(dev->k->linear_fwd(dev, arg, &err));
}

static void call_bwd(const void *arg)
{
	check(dev->k->linear_bwd(dev, arg, &err));
}

/* n linears of k to nout, LoRA of rank r on those whose bit is set; full: weights train. */
static void linears(const char *what, int64_t rows, int64_t k, int64_t nout, int n, unsigned lora, int64_t r, float drop,
		    bool full, enum pt_dtype wt)
{
	struct pt_k_linear lin[4] = { { 0 } };
	struct pt_k_lowrank term[4] = { { 0 } };
	uint64_t *key = calloc((size_t)rows, sizeof *key);
	int32_t *pos = calloc((size_t)rows, sizeof *pos);
	struct pt_k_linear_group g = { .rows = rows, .k = k, .x = fill(rows * k), .type = PT_F32, .lin = lin, .n = n,
		.rng = { key, pos } };
	double gflop = 2e-9 * (double)(rows * k * nout * n);
	char s[100];

	for (int j = 0; j < n; j++) {
		float *w = fill(k * nout);

		lin[j] = (struct pt_k_linear){ .n = nout, .w = w, .wtype = wt, .bias = fill(nout), .y = fill(rows * nout),
			.dy = fill(rows * nout), .dw = full ? fill(k * nout) : NULL, .term = &term[j] };
		if (wt != PT_F32) {
			lin[j].w = malloc((size_t)(k * nout) * 2);
			pt_from_f32((void *)(uintptr_t)lin[j].w, wt, w, (size_t)(k * nout));
			free(w);
		}
		if (lora & 1u << j) {
			lin[j].nterms = 1;
			term[j] = (struct pt_k_lowrank){ .r = r, .a = fill(r * k), .b = fill(r * nout), .scale = 2,
				.dropout = drop, .u = fill(rows * r), .da = fill(r * k), .db = fill(r * nout) };
		}
	}
	g.scratch = fill((int64_t)dev->k->linear_scratch(dev, &g, false) / 4);
	snprintf(s, sizeof s, "%s, forward", what);
	show(s, gflop, call_fwd, &g);
	free(g.scratch);
	g.dx = fill(rows * k);
	g.scratch = fill((int64_t)dev->k->linear_scratch(dev, &g, true) / 4);
	snprintf(s, sizeof s, "%s, backward", what);
	show(s, gflop * (full ? 2 : 1), call_bwd, &g);
	/* The process ends soon: what the operands take is not given back. */
}

static void call_nll(const void *arg)
{
	check(dev->k->nll_fwd(dev, arg, &err));
}

static void nll(const char *what, int64_t rows, int64_t c, int64_t v, bool full, enum pt_dtype wt)
{
	int32_t *row = malloc((size_t)rows * sizeof *row), *label = malloc((size_t)rows * sizeof *label);
	struct pt_k_nll k = { .rows = rows, .n = rows, .c = c, .v = v, .x = fill(rows * c), .type = PT_F32, .row = row,
		.label = label, .scale = 1, .nll = fill(rows), .lse = fill(rows), .weight = fill(rows),
		.dx = fill(rows * c) };
	float *w = fill(c * v);

	for (int64_t i = 0; i < rows; i++) {
		row[i] = (int32_t)i;
		label[i] = (int32_t)(i * 7919 % v);
	}
	k.head = (struct pt_k_linear){ .n = v, .w = w, .wtype = wt, .dw = full ? fill(c * v) : NULL };
	if (wt != PT_F32) {
		k.head.w = malloc((size_t)(c * v) * 2);
		pt_from_f32((void *)(uintptr_t)k.head.w, wt, w, (size_t)(c * v));
	}
	k.scratch = fill((int64_t)dev->k->nll_scratch(dev, &k, true) / 4);
	show(what, 2e-9 * (double)(rows * c * v) * (full ? 3 : 2), call_nll, &k);
}

static void call_attn_fwd(const void *arg)
{
	check(dev->k->attn_fwd(dev, arg, &err));
}

static void call_attn_bwd(const void *arg)
{
	check(dev->k->attn_bwd(dev, arg, &err));
}

static void attention(const char *what, int batch, int len, int heads, int kv_heads, int d, bool causal)
{
	int64_t n = (int64_t)batch * len, cq = (int64_t)heads * d, ck = (int64_t)kv_heads * d;
	int32_t *cu = malloc(((size_t)batch + 1) * sizeof *cu);
	struct pt_k_attn k = { .nq = n, .nk = n, .batch = batch, .heads = heads, .kv_heads = kv_heads, .head_dim = d,
		.type = PT_F32, .q = fill(n * cq), .k = fill(n * ck), .v = fill(n * ck), .ldq = cq, .ldk = ck, .ldv = ck,
		.ldo = cq, .cu_q = cu, .cu_k = cu, .host_cu_q = cu, .host_cu_k = cu, .causal = causal,
		.scale = 1 / sqrtf((float)d), .o = fill(n * cq), .lse = fill(n * heads), .doo = fill(n * cq),
		.dq = fill(n * cq), .dk = fill(n * ck), .dv = fill(n * ck) };
	double gflop = 4e-9 * (double)n * len * (double)cq * (causal ? 0.5 : 1);
	size_t f = dev->k->attn_scratch(dev, &k, false), b = dev->k->attn_scratch(dev, &k, true);
	char s[100];

	for (int i = 0; i <= batch; i++)
		cu[i] = i * len;
	k.scratch = fill((int64_t)(f > b ? f : b) / 4 + 64);
	snprintf(s, sizeof s, "%s, forward", what);
	show(s, gflop, call_attn_fwd, &k);
	snprintf(s, sizeof s, "%s, backward", what);
	show(s, gflop * 2.5, call_attn_bwd, &k);
}

int main(int argc, char **argv)
{
	struct pt_device_options o = { .threads = argc > 1 ? atoi(argv[1]) : 0 };
	void *so;

	check(pt_device_open(&dev, "cpu", &o, &err));
	threads = o.threads > 0 ? o.threads : omp_get_max_threads();
	if (threads == 1)
		clock_used = CLOCK_PROCESS_CPUTIME_ID;
	if (argc > 2) {
		double best = 0;

		for (int i = 0; i < 50; i++)
			best = fmax(best, measure_peak());
		printf("%.1f\n", best);
		return 0;
	}
	setenv("OPENBLAS_NUM_THREADS", argc > 1 ? argv[1] : "0", 1);
	so = dlopen("libopenblas.so.0", RTLD_NOW);
	if (so)
		*(void **)&sgemm = dlsym(so, "cblas_sgemm");
	printf("path %s, %d threads, multiply-add in registers: %.1f GFLOP/s = 100%%\n", dev->path, threads,
	       measure_peak());

	puts("\nMiniLM: 16 sequences of 28 tokens, 384 wide");
	products(448, 384, 384, PT_F32);
	products(448, 1536, 384, PT_F32);
	products(448, 384, 1536, PT_F32);
	linears("q,k,v with LoRA 8 on q and v", 448, 384, 384, 3, 5, 8, 0, false, PT_F32);
	linears("q,k,v with LoRA 8, dropout 0.1", 448, 384, 384, 3, 5, 8, 0.1f, false, PT_F32);
	linears("384 to 1536, frozen", 448, 384, 1536, 1, 0, 0, 0, false, PT_F32);
	linears("1536 to 384, frozen", 448, 1536, 384, 1, 0, 0, 0, false, PT_F32);
	attention("attention, 12 heads of 32", 16, 28, 12, 12, 32, false);

	puts("\nSmall decoder, all of it training: 16 sequences of 128 tokens, 256 wide");
	products(2048, 256, 256, PT_F32);
	linears("q,k,v", 2048, 256, 256, 3, 0, 0, 0, true, PT_F32);
	linears("gate, up", 2048, 256, 768, 2, 0, 0, 0, true, PT_F32);
	attention("attention, 8 heads of 32, causal", 16, 128, 8, 8, 32, true);
	nll("token_nll of 2000 words, with gradients", 2048, 256, 2000, true, PT_F32);

	puts("\nLlama 1B: 512 tokens, 2048 wide, weights stored in bf16");
	products(512, 2048, 2048, PT_BF16);
	products(512, 8192, 2048, PT_BF16);
	products(512, 2048, 8192, PT_BF16);
	linears("q of 2048 with LoRA 16", 512, 2048, 2048, 1, 1, 16, 0, false, PT_BF16);
	linears("gate, up with LoRA 16", 512, 2048, 8192, 2, 3, 16, 0, false, PT_BF16);
	attention("attention, 32 heads (8 of keys) of 64, causal", 1, 512, 32, 8, 64, true);
	nll("token_nll of 32000 words, frozen", 512, 2048, 32000, false, PT_BF16);
	pt_device_close(dev);
	return 0;
}
