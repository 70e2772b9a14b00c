/* SPDX-License-Identifier: MIT */
/*
 * profile.h - where a step's time goes on a device: each kernel of the table
 * with a wait before and behind it, linears by shape, and beside its time the
 * least that its operations or its bytes would take at the rates that this
 * device reaches in one large product and one large copy.
 *
 * Bytes: each input read once, each result written once, adapters left out.
 */
#ifndef PT_BENCH_PROFILE_H
#define PT_BENCH_PROFILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "device/wrap.h"

#define PROFILE_ENTRIES 200

static struct {
	struct pt_device *in;		/* what is timed */
	bool on;
	double product, copy;		/* operations and bytes a second that the device reaches */
	double wait;			/* seconds that a wait for nothing much takes */
	double ops, bytes;		/* of the kernel that is next */
	struct profile_entry {
		char name[80];
		double seconds, least, ops;
		long calls;
	} entry[PROFILE_ENTRIES];
} profile;

static void wait_for(struct pt_device *dev)
{
	char c;
	static void *p;
	struct pt_error e = PT_ERROR_INIT;

	if (!p && dev->alloc(dev, 256, &p, &e))
		exit(1);
	if (dev->download(dev, &c, p, 1, &e)) {
		fprintf(stderr, "gpu: %s\n", e.msg);
		exit(1);
	}
}

/* The least time of so much work. */
static double profile_least(double ops, double bytes)
{
	double a = profile.product > 0 ? ops / profile.product : 0, b = profile.copy > 0 ? bytes / profile.copy : 0;

	return a > b ? a : b;
}

static void profile_note(const char *name, double t)
{
	struct profile_entry *e = profile.entry;

	while (e < profile.entry + PROFILE_ENTRIES - 1 && e->name[0] && strcmp(e->name, name) != 0)
		e++;
	snprintf(e->name, sizeof e->name, "%s", name);
	e->seconds += t > profile.wait ? t - profile.wait : 0;
	e->least += profile_least(profile.ops, profile.bytes);
	e->ops += profile.ops;
	e->calls++;
	profile.ops = profile.bytes = 0;
}

#define PROFILE_KERNEL(name, params, args) \
static int timed_##name(struct pt_device *dev, params, struct pt_error *e) \
{ \
	struct pt_device *in = profile.in; \
	double t = 0; \
	int status; \
\
	(void)dev; \
	if (profile.on) { \
		wait_for(in); \
		t = pt_now(); \
	} \
	status = in->k->name(in, args, e); \
	if (profile.on) { \
		wait_for(in); \
		profile_note(#name, pt_now() - t); \
	} \
	return status; \
}
PT_KERNELS(PROFILE_KERNEL)

static double width(enum pt_dtype t)
{
	return (double)pt_dtype_size(t);
}

static int timed_linear(const struct pt_k_linear_group *k, bool back, struct pt_error *e)
{
	struct pt_device *in = profile.in;
	double t = 0, rows = (double)k->rows, in_bytes = rows * (double)k->k * width(k->type);
	char name[80];
	int64_t out = 0;
	int status;

	for (int i = 0; i < k->n; i++) {
		double n = (double)k->lin[i].n;

		out += k->lin[i].n;
		profile.ops += 2 * rows * n * (double)k->k;
		profile.bytes += n * (double)k->k * width(k->lin[i].wtype) + rows * n * width(k->type);
	}
	profile.bytes += back ? 2 * in_bytes : in_bytes;
	if (back && k->dz)
		profile.bytes += 4 * (double)k->rows * (double)k->lin->n * width(k->type);
	snprintf(name, sizeof name, "linear %s %lld -> %lld", back ? "bwd" : "fwd", (long long)k->k, (long long)out);
	if (profile.on) {
		wait_for(in);
		t = pt_now();
	}
	status = back ? in->k->linear_bwd(in, k, e) : in->k->linear_fwd(in, k, e);
	if (profile.on) {
		wait_for(in);
		profile_note(name, pt_now() - t);
	}
	return status;
}

static int sized_linear_fwd(struct pt_device *dev, const struct pt_k_linear_group *k, struct pt_error *e)
{
	(void)dev;
	return timed_linear(k, false, e);
}

static int sized_linear_bwd(struct pt_device *dev, const struct pt_k_linear_group *k, struct pt_error *e)
{
	(void)dev;
	return timed_linear(k, true, e);
}

/* Products of queries and keys that see each other. */
static double pairs(const struct pt_k_attn *k)
{
	double n = 0;

	for (int b = 0; b < k->batch; b++) {
		double q = k->host_cu_q[b + 1] - k->host_cu_q[b], kk = k->host_cu_k[b + 1] - k->host_cu_k[b];

		n += k->causal ? q * (kk - q) + q * (q + 1) / 2 : q * kk;
	}
	return n * k->heads * k->head_dim;
}

static int sized_attn_fwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *e)
{
	profile.ops = 4 * pairs(k);
	profile.bytes = 2 * width(k->type) * (double)((k->nq * k->heads + k->nk * k->kv_heads) * k->head_dim);
	return timed_attn_fwd(dev, k, e);
}

static int sized_attn_bwd(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *e)
{
	profile.ops = 10 * pairs(k);
	profile.bytes = 4 * width(k->type) * (double)((k->nq * k->heads + k->nk * k->kv_heads) * k->head_dim);
	return timed_attn_bwd(dev, k, e);
}

/* Logits do not fit into a cache: written, read for their gradients in place, read for the input's. */
static int sized_nll_fwd(struct pt_device *dev, const struct pt_k_nll *k, struct pt_error *e)
{
	double rows = (double)k->rows, v = (double)k->v;

	profile.ops = (k->weight ? 4 : 2) * rows * v * (double)k->c;
	profile.bytes = (k->weight ? 4 : 2) * rows * v * width(k->type) + v * (double)k->c * width(k->head.wtype);
	return timed_nll_fwd(dev, k, e);
}

static int sized_norm_fwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *e)
{
	profile.bytes = (k->delta ? 4 : 2) * width(k->type) * (double)(k->n * k->c);
	return timed_norm_fwd(dev, k, e);
}

static int sized_norm_bwd(struct pt_device *dev, const struct pt_k_norm *k, struct pt_error *e)
{
	profile.bytes = (k->acc_dx ? 4 : 3) * width(k->type) * (double)(k->n * k->c);
	return timed_norm_bwd(dev, k, e);
}

static int sized_act_fwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *e)
{
	profile.bytes = (k->u ? 3 : 2) * width(k->type) * (double)k->n;
	return timed_act_fwd(dev, k, e);
}

static int sized_act_bwd(struct pt_device *dev, const struct pt_k_act *k, struct pt_error *e)
{
	profile.bytes = ((k->u ? 5 : 3) + k->acc_dx + k->acc_du) * width(k->type) * (double)k->n;
	return timed_act_bwd(dev, k, e);
}

static int sized_rope(struct pt_device *dev, const struct pt_k_rope *k, struct pt_error *e)
{
	profile.bytes = 2 * width(k->type) * (double)(k->n * k->heads * k->rot_dim);
	return timed_rope(dev, k, e);
}

static int sized_copy(struct pt_device *dev, void *dst, const void *src, size_t bytes, struct pt_error *e)
{
	profile.bytes = 2 * (double)bytes;
	return timed_copy(dev, dst, src, bytes, e);
}

static int sized_fill(struct pt_device *dev, enum pt_dtype type, void *x, size_t n, float value, struct pt_error *e)
{
	profile.bytes = width(type) * (double)n;
	return timed_fill(dev, type, x, n, value, e);
}

static int sized_adamw(struct pt_device *dev, int count, const struct pt_k_adamw *k, struct pt_error *e)
{
	for (int i = 0; i < count; i++)
		profile.bytes += (7 + k[i].clear) * sizeof(float) * (double)k[i].n;
	return timed_adamw(dev, count, k, e);
}

static int sized_sumsq(struct pt_device *dev, int count, const struct pt_k_sumsq *k, struct pt_error *e)
{
	for (int i = 0; i < count; i++)
		profile.bytes += sizeof(float) * (double)k[i].n;
	return timed_sumsq(dev, count, k, e);
}

#define PROFILE_SCRATCH(name, params, args) \
static size_t inside_##name(struct pt_device *dev, params) \
{ \
	(void)dev; \
	return profile.in->k->name(profile.in, args); \
}
PT_KERNEL_SCRATCH(PROFILE_SCRATCH)

static struct pt_kernels profile_kernels = {
#define PROFILE_ENTRY(name, params, args) .name = timed_##name,
	PT_KERNELS(PROFILE_ENTRY)
#define PROFILE_SCRATCH_ENTRY(name, params, args) .name = inside_##name,
	PT_KERNEL_SCRATCH(PROFILE_SCRATCH_ENTRY)
};

/* What the device reaches: a product of SIDE cubed in bf16, a copy of as many bytes as it has numbers. */
#define SIDE 8192

static void profile_rates(struct pt_device *dev)
{
	struct pt_k_gemm g = { SIDE, SIDE, SIDE, .at = PT_BF16, .bt = PT_BF16, .ct = PT_BF16, .lda = SIDE, .ldb = SIDE,
		.ldc = SIDE, .tb = true, .alpha = 1 };
	size_t size = (size_t)SIDE * SIDE * 2;
	struct pt_error e = PT_ERROR_INIT;
	uint16_t *host = malloc(size);
	void *p[3];
	double t = 0;

	for (size_t i = 0; host && i < size / 2; i++)
		host[i] = pt_f32_to_bf16((float)(i * 2654435761u % 4096) / 2048 - 1);
	for (int i = 0; i < 3; i++)
		if (!host || dev->alloc(dev, size, &p[i], &e) || dev->upload(dev, p[i], host, size, &e))
			exit(1);
	g.a = p[0];
	g.b = p[1];
	g.c = p[2];
	for (int i = 0; i < 30; i++) {
		if (i == 10) {
			wait_for(dev);
			t = pt_now();
		}
		if (dev->k->gemm(dev, &g, &e))
			exit(1);
	}
	wait_for(dev);
	profile.product = 20 * 2.0 * SIDE * SIDE * SIDE / (pt_now() - t);
	for (int i = 0; i < 30; i++) {
		if (i == 10) {
			wait_for(dev);
			t = pt_now();
		}
		if (dev->k->copy(dev, p[1], p[0], size, &e))
			exit(1);
	}
	wait_for(dev);
	profile.copy = 20 * 2.0 * (double)size / (pt_now() - t);
	for (int i = 0; i < 3; i++)
		dev->free(dev, p[i], size);
	free(host);
	dev->peak = dev->used;
	printf("bf16 product %.0f TFLOP/s, copy %.2f TB/s\n", 1e-12 * profile.product, 1e-12 * profile.copy);
}

/* From here on dev's kernels are timed. */
static void profile_start(struct pt_device *dev)
{
	struct pt_kernels *k = &profile_kernels;
	struct pt_device *in = malloc(sizeof *in);
	double t;

	if (!in)
		exit(1);
	*in = *dev;
	profile.in = in;
	k->linear_fwd = sized_linear_fwd;
	k->linear_bwd = sized_linear_bwd;
	k->attn_fwd = sized_attn_fwd;
	k->attn_bwd = sized_attn_bwd;
	k->nll_fwd = sized_nll_fwd;
	k->norm_fwd = sized_norm_fwd;
	k->norm_bwd = sized_norm_bwd;
	k->act_fwd = sized_act_fwd;
	k->act_bwd = sized_act_bwd;
	k->rope = sized_rope;
	k->copy = sized_copy;
	k->fill = sized_fill;
	k->adamw = sized_adamw;
	k->sumsq = sized_sumsq;
	wait_for(in);
	t = pt_now();
	for (int i = 0; i < 20; i++)
		wait_for(in);
	profile.wait = (pt_now() - t) / 20;
	dev->k = k;
	profile.on = true;
}

static int profile_order(const void *a, const void *b)
{
	double x = ((const struct profile_entry *)a)->seconds, y = ((const struct profile_entry *)b)->seconds;

	return x < y ? 1 : x > y ? -1 : 0;
}

/* Columns: share, time, calls, time of one, the least time as a share of the time, kernel. */
static void profile_show(void)
{
	double all = 0, least = 0;

	qsort(profile.entry, PROFILE_ENTRIES, sizeof *profile.entry, profile_order);
	for (int i = 0; i < PROFILE_ENTRIES; i++) {
		all += profile.entry[i].seconds;
		least += profile.entry[i].least;
	}
	for (int i = 0; i < PROFILE_ENTRIES && profile.entry[i].seconds > all / 500; i++) {
		const struct profile_entry *e = &profile.entry[i];

		printf("  %5.1f%% %9.3f ms %6ld calls  %8.1f us  %5.1f%% of its limit  %s\n", 100 * e->seconds / all,
		       1e3 * e->seconds, e->calls, 1e6 * e->seconds / (double)e->calls, 100 * e->least / e->seconds,
		       e->name);
	}
	printf("  %.3f ms in all, %.1f%% of the limit\n", 1e3 * all, 100 * least / all);
}

/* Operations of products and attention of what was timed. */
static double profile_ops(void)
{
	double ops = 0;

	for (int i = 0; i < PROFILE_ENTRIES; i++)
		ops += profile.entry[i].ops;
	return ops;
}

#endif
