/* SPDX-License-Identifier: MIT */
/*
 * device_cuda_memory.c - the GPU's memory, uploads, the optimiser's kernels,
 * and what happens when the n-th allocation fails. Skipped where no GPU opens.
 */
#include "device_fix.h"

#include "tensor/param.h"
#include "train/optimizer.h"

static struct pt_error err = PT_ERROR_INIT;

static void need_gpu(void)
{
	struct pt_device *dev;

	if (!pt_device_open(&dev, "cuda", NULL, &err)) {
		pt_device_close(dev);
		return;
	}
	print_message("# skipped: %s\n", err.msg);
	skip();
}

/* AdamW and the sums before it: kernels without a node. */
static void test_optimiser(void **state)
{
	struct pt_device *dev[2];

	(void)state;
	need_gpu();
	assert_ok(pt_device_open(&dev[0], "cpu", NULL, &err), &err);
	assert_ok(pt_device_open(&dev[1], "cuda", NULL, &err), &err);
	for (size_t n = 1; n < 3000000; n = n * 7 + 3) {
		float *host = fix_floats(&(struct fix_rnd){ n, 1 }, (int64_t)n, 1), *got[2];
		double sum[2];
		int64_t bad[2];

		host[n / 2] = n % 2 ? 1 : INFINITY;
		for (int d = 0; d < 2; d++) {
			struct pt_k_adamw k = { .n = n, .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8,
						.decay = 0.1, .t = 3 };
			void *p[5], *out;

			for (int i = 0; i < 5; i++)
				assert_ok(dev[d]->alloc(dev[d], n * 4, &p[i], &err), &err);
			assert_ok(dev[d]->alloc(dev[d], 16, &out, &err), &err);
			assert_ok(dev[d]->upload(dev[d], p[4], host, n * 4, &err), &err);
			assert_ok(dev[d]->k->nonfinite(dev[d], p[4], n, out, &err), &err);
			assert_ok(dev[d]->download(dev[d], &bad[d], out, 8, &err), &err);
			host[n / 2] = 1;
			for (int i = 0; i < 5; i++)
				assert_ok(dev[d]->upload(dev[d], p[i], host, n * 4, &err), &err);
			assert_ok(dev[d]->k->axpby(dev[d], PT_F32, n, 0.5f, p[0], -1, p[1], &err), &err);
			assert_ok(dev[d]->k->axpby(dev[d], PT_F32, n, 2, p[1], 0, p[2], &err), &err);
			assert_ok(dev[d]->k->fill(dev[d], PT_F32, p[3], n, 0.25f, &err), &err);
			k.p = p[0];
			k.m = p[1];
			k.v = p[3];
			k.g = p[4];
			assert_ok(dev[d]->k->sumsq(dev[d], 1, &(struct pt_k_sumsq){ p[4], n, out }, &err), &err);
			assert_ok(dev[d]->k->adamw(dev[d], 1, &k, &err), &err);
			assert_ok(dev[d]->download(dev[d], &sum[d], out, 8, &err), &err);
			got[d] = calloc(2 * n, 4);
			assert_ok(dev[d]->download(dev[d], got[d], p[0], n * 4, &err), &err);
			assert_ok(dev[d]->k->inv_norm(dev[d], (int64_t)n, 1, p[4], p[4], p[4], p[2], &err), &err);
			assert_ok(dev[d]->download(dev[d], got[d] + n, p[2], n * 4, &err), &err);
			for (int i = 0; i < 5; i++)
				dev[d]->free(dev[d], p[i], n * 4);
			dev[d]->free(dev[d], out, 16);
			host[n / 2] = n % 2 ? 1 : INFINITY;
		}
		assert_int_equal(bad[0], bad[1]);
		assert_true(fabs(sum[0] - sum[1]) <= 1e-12 * sum[0]);
		fix_near("AdamW", got[1], got[0], (int64_t)n, 1e-6);
		fix_near("1 / norm", got[1] + n, got[0] + n, (int64_t)n, 1e-6);
		free(got[0]);
		free(got[1]);
		free(host);
	}
	assert_int_equal(dev[1]->used, 0);
	pt_device_close(dev[0]);
	pt_device_close(dev[1]);
}

/* Uploads larger than the ring, copies beside the kernels, memory that there is not. */
static void test_memory(void **state)
{
	size_t n = (size_t)50 << 20;
	struct pt_device *dev;
	unsigned char *a, *b;
	uint64_t ticket[2];
	void *p, *pinned, *q;

	(void)state;
	need_gpu();
	assert_ok(pt_device_open(&dev, "cuda", NULL, &err), &err);
	a = malloc(n);
	b = calloc(1, n);
	for (size_t i = 0; i < n; i++)
		a[i] = (unsigned char)(i * 31 + (i >> 12));
	assert_ok(dev->alloc(dev, n, &p, &err), &err);
	for (int i = 0; i < 100; i++)
		assert_ok(dev->upload(dev, (char *)p + i * 333, a + i * 333, 333, &err), &err);
	assert_ok(dev->upload(dev, (char *)p + 33300, a + 33300, n - 33300, &err), &err);
	assert_ok(dev->download(dev, b, p, n, &err), &err);
	assert_memory_equal(a, b, n);
	/* Behind the kernels before, before those behind the wait: zeros to the host, what was there back from it. */
	assert_ok(dev->alloc(dev, n, &q, &err), &err);
	assert_ok(dev->pin(dev, 2 * n, &pinned, &err), &err);
	memcpy(pinned, a, n);
	for (int i = 0; i < 40; i++) {
		assert_ok(dev->k->fill(dev, PT_F32, q, n / 4, (float)i, &err), &err);
		assert_ok(dev->store(dev, (char *)pinned + n, q, n, &ticket[0], &err), &err);
		assert_ok(dev->wait(dev, ticket[0], &err), &err);
		assert_ok(dev->k->fill(dev, PT_F32, q, n / 4, -1, &err), &err);
		assert_ok(dev->fetch(dev, p, (char *)pinned + n, n, &ticket[0], &err), &err);
		assert_ok(dev->fetch(dev, q, pinned, n, &ticket[1], &err), &err);
		assert_ok(dev->wait(dev, ticket[1], &err), &err);
		assert_ok(dev->k->axpby(dev, PT_F32, n / 4, 1, p, 0, p, &err), &err);
		assert_ok(dev->download(dev, b, p, n, &err), &err);
		for (size_t k = 0; k < n; k += 4)
			assert_true(*(float *)(void *)(b + k) == (float)i);
		assert_ok(dev->download(dev, b, q, n, &err), &err);
		assert_memory_equal(a, b, n);
	}
	dev->unpin(dev, pinned, 2 * n);
	dev->free(dev, q, n);
	dev->free(dev, p, n);
	assert_int_equal(dev->used, 0);
	assert_true(dev->memory(dev) > (size_t)1 << 30);
	assert_fails(dev->alloc(dev, (size_t)1 << 45, &p, &err), PT_DEVICE, "no memory for", &err);
	assert_ok(dev->alloc(dev, 100, &p, &err), &err);
	dev->free(dev, p, 100);
	pt_device_close(dev);
	free(a);
	free(b);
}

static int left;
static int (*real_alloc)(struct pt_device *, size_t, void **, struct pt_error *);

static int failing_alloc(struct pt_device *dev, size_t n, void **out, struct pt_error *e)
{
	if (left-- > 0)
		return real_alloc(dev, n, out, e);
	*out = NULL;
	return pt_error(e, PT_DEVICE, "no memory for %zu bytes on %s", n, dev->name);
}

/* Parameters, an optimiser and an arena, with memory for so many allocations; whether that was enough. */
static bool with_memory_for(struct pt_device *dev, int allocations)
{
	const struct pt_adamw cfg = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8 };
	struct pt_optimizer o = { 0 };
	struct pt_params p;
	struct pt_run run;
	int status;

	left = allocations;
	assert_ok(pt_params_init(&p, dev), &err);
	status = pt_params_add(&p, "a", 2, (int64_t[]){ 30, 7 }, NULL, &err);
	if (!status)
		status = pt_params_add(&p, "b", 1, (int64_t[]){ 9 }, NULL, &err);
	if (!status)
		status = pt_optimizer_init(&o, &cfg, &p, &err);
	if (!status)
		status = pt_run_init(&run, dev, 1 << 20, &err);
	if (!status)
		pt_run_release(&run);
	pt_optimizer_release(&o);
	pt_params_release(&p);
	assert_int_equal(dev->used, 0);
	if (status) {
		assert_int_equal(status, PT_DEVICE);
		assert_non_null(strstr(err.msg, "no memory for"));
	}
	return !status;
}

static void test_no_memory(void **state)
{
	struct pt_device *dev;
	int n = 0;

	(void)state;
	need_gpu();
	assert_ok(pt_device_open(&dev, "cuda", NULL, &err), &err);
	real_alloc = dev->alloc;
	dev->alloc = failing_alloc;
	while (!with_memory_for(dev, n))
		n++;
	assert_true(n > 8);
	pt_device_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_optimiser),
		cmocka_unit_test(test_no_memory),
	};

	cmocka_set_test_filter(getenv("PEFT_TEST_ONLY"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
