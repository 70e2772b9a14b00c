/* SPDX-License-Identifier: MIT */
/*
 * tensor_arena.c - places, holes, marks, kept blocks, and the refusal.
 */
#include "tensor_fix.h"
#include "tensor/arena.h"
#include "tensor/pool.h"

static struct pt_error err;

static char *push(struct pt_arena *a, size_t n)
{
	void *p;

	assert_ok(pt_arena_push(a, n, &p, &err), &err);
	return p;
}

static char *take(struct pt_arena *a, size_t n)
{
	void *p;

	assert_ok(pt_arena_take(a, n, &p, &err), &err);
	return p;
}

static void two_ends(void **state)
{
	struct pt_device *dev = ref_device_new();
	struct pt_arena a;
	char *p, *q, *s, *h, *g;
	size_t mark;

	assert_ok(pt_arena_init(&a, dev, 4096 + 100, &err), &err);
	assert_int_equal(a.capacity, 4096);
	p = push(&a, 0);
	q = push(&a, 257);
	mark = pt_arena_mark(&a);
	s = push(&a, 1);
	assert_ptr_equal(p, a.base);
	assert_ptr_equal(q, p + 256);
	assert_ptr_equal(s, q + 512);
	h = take(&a, 256);
	g = take(&a, 1);
	assert_ptr_equal(h, a.base + 4096 - 256);
	assert_ptr_equal(g, h - 256);
	assert_int_equal(a.peak, 1024 + 512);

	/* A hole at either end is filled first. */
	pt_arena_drop(&a, h);
	assert_ptr_equal(take(&a, 200), h);
	pt_arena_drop(&a, q);
	assert_ptr_equal(push(&a, 256), q);
	assert_ptr_equal(push(&a, 512), s + 256);
	assert_int_equal(a.low.extent, 1024 + 512);

	/* What was pushed after the mark goes, the hole's filling too, unless kept. */
	pt_arena_keep(&a, s);
	pt_arena_rewind(&a, mark);
	assert_int_equal(a.low.n, 2);
	assert_int_equal(a.low.extent, 1024);
	assert_ptr_equal(push(&a, 1), q);
	pt_arena_rewind(&a, mark);
	pt_arena_drop(&a, s);
	assert_int_equal(a.low.extent, 256);
	pt_arena_drop(&a, NULL);
	pt_arena_reset(&a);
	assert_int_equal(a.low.n + a.high.n, 0);
	assert_int_equal(a.low.extent + a.high.extent, 0);
	pt_arena_release(&a);
	assert_int_equal(dev->used, 0);
	dev->close(dev);
	(void)state;
}

static void refusal(void **state)
{
	struct pt_device *dev = ref_device_new();
	struct pt_arena a;
	void *p;

	assert_ok(pt_arena_init(&a, dev, 1024, &err), &err);
	push(&a, 256);
	take(&a, 512);
	assert_fails(pt_arena_push(&a, 300, &p, &err), PT_DEVICE, "300 bytes wanted, 768 of 1024", &err);
	assert_null(p);
	assert_fails(pt_arena_take(&a, SIZE_MAX, &p, &err), PT_DEVICE, "wanted", &err);
	assert_fails(pt_arena_take(&a, SIZE_MAX - 300, &p, &err), PT_DEVICE, "wanted", &err);
	push(&a, 256);
	assert_fails(pt_arena_take(&a, 1, &p, &err), PT_DEVICE, "1 bytes wanted, 1024 of 1024", &err);
	assert_int_equal(a.peak, 1024);
	pt_arena_release(&a);
	assert_fails(pt_arena_init(&a, dev, 100, &err), PT_FAIL, "0 bytes", &err);
	dev->close(dev);
	(void)state;
}

/* Random use never overlaps, and the extents do not depend on the capacity. */
static void random_use(void **state)
{
	enum { LIVE = 40 };
	struct pt_device *dev = ref_device_new();
	struct { char *p[2]; size_t n; bool low; } b[LIVE] = { 0 };
	struct pt_arena a[2];

	assert_ok(pt_arena_init(&a[0], dev, 1 << 20, &err), &err);
	assert_ok(pt_arena_init(&a[1], dev, 3 << 20, &err), &err);
	for (uint64_t i = 0; i < 4000; i++) {
		size_t at = (size_t)pt_rng_below(1, i, LIVE);

		for (int k = 0; k < 2 && b[at].p[k]; k++) {
			for (size_t j = 0; j < b[at].n; j++)
				assert_int_equal((unsigned char)b[at].p[k][j], at);
			pt_arena_drop(&a[k], b[at].p[k]);
		}
		b[at].n = (size_t)pt_rng_below(2, i, 3000);
		b[at].low = pt_rng_below(3, i, 2);
		for (int k = 0; k < 2; k++) {
			b[at].p[k] = b[at].low ? push(&a[k], b[at].n) : take(&a[k], b[at].n);
			memset(b[at].p[k], (int)at, b[at].n);
		}
		assert_int_equal(a[0].low.extent, a[1].low.extent);
		assert_int_equal(a[0].high.extent, a[1].high.extent);
	}
	assert_true(a[0].peak < LIVE * 3072);
	pt_arena_release(&a[0]);
	pt_arena_release(&a[1]);
	dev->close(dev);
	(void)state;
}

static void pool(void **state)
{
	struct pt_pool p = { 0 };
	struct pt_pool_mark m;
	char *x, *y;

	x = pt_pool_alloc(&p, 100, &err);
	memset(x, 1, 100);
	m = pt_pool_mark(&p);
	y = pt_pool_alloc(&p, 200000, &err);
	memset(y, 1, 200000);
	assert_int_equal((uintptr_t)y % 16, 0);
	for (int i = 0; i < 100; i++)
		memset(pt_pool_alloc(&p, 5000, &err), 1, 5000);
	pt_pool_rewind(&p, m);
	assert_ptr_equal(pt_pool_alloc(&p, 200000, &err), y);
	for (int i = 0; i < 200000; i++)
		assert_int_equal(y[i], 0);
	assert_int_equal(x[99], 1);
	assert_null(pt_pool_alloc(&p, SIZE_MAX, &err));
	pt_pool_release(&p);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_ends),
		cmocka_unit_test(refusal),
		cmocka_unit_test(random_use),
		cmocka_unit_test(pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
