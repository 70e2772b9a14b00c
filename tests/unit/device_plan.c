/* SPDX-License-Identifier: MIT */
/*
 * device_plan.c - the plan device counts what the CPU takes, to the byte, with
 * any number of threads; on the guard device nobody reads device memory.
 */
#include "tensor_blocks.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/wrap.h"

/* Forward and backward of a formula, without a look at its values; the arena's peak. */
static size_t peak_of(struct fix *f, fix_fn fn, int *status)
{
	static const float seed[32] = { 0 };
	struct pt_tensor *y;
	size_t peak;

	f->run.record = true;
	f->run.arena.peak = 0;
	y = fn(f);
	*status = pt_run_check(&f->run, &f->err);
	if (!*status)
		*status = pt_backward(&f->run, y, pt_run_upload(&f->run, seed, (size_t)pt_tensor_count(y) * 4),
				      &f->err);
	peak = f->run.arena.peak;
	fix_release(f);
	return peak;
}

static void plan_is_exact(void **state)
{
	int status;

	for (fix_threads = 1; fix_threads <= 4; fix_threads *= 2) {
		for (int v = 0; v < 7; v++) {
			size_t want, got = 0;

			/* The plan first: its peak is then room enough, and one block less is not. */
			for (int less = -1; less < 2; less++) {
				struct t5_arg t;
				struct dec_arg d;
				struct fix f;
				size_t room = less < 0 ? 0 : want - (size_t)less * 256;

				if (v < 6) {
					dec_start(&f, less < 0 ? "plan" : "cpu", room, &d);
					d.scopes = v % 3;
					d.done = v / 3;
				} else {
					t5_start(&f, less < 0 ? "plan" : "cpu", room, &t);
				}
				got = peak_of(&f, v < 6 ? decoder : t5, &status);
				if (less < 0)
					want = got;
				assert_int_equal(status, less == 1 ? PT_DEVICE : 0);
				assert_true(less == 1 || got == want);
			}
		}
	}
	fix_threads = 1;
	(void)state;
}

/* What alloc() hands out is counted alike, and attention's scratch is that of the CPU. */
static void counts(void **state)
{
	static const char *const name[] = { "cpu", "plan", "guard" };
	struct pt_error err = PT_ERROR_INIT;
	size_t used[3], peak[3];

	for (int i = 0; i < 3; i++) {
		struct pt_device *dev;
		void *p[40];

		assert_ok(pt_device_open(&dev, name[i], NULL, &err), &err);
		assert_string_equal(dev->name, name[i]);
		assert_int_equal(dev->plan, i == 1);
		for (size_t j = 0; j < 40; j++) {
			assert_ok(dev->alloc(dev, j * 1000, &p[j], &err), &err);
			assert_true(p[j] && (uintptr_t)p[j] % 256 == 0);
			if (j % 3 == 2)
				dev->free(dev, p[j - 1], (j - 1) * 1000);
		}
		used[i] = dev->used;
		peak[i] = dev->peak;
		for (size_t j = 0; j < 40; j++)
			if (j % 3 != 1)
				dev->free(dev, p[j], j * 1000);
		pt_device_close(dev);
	}
	assert_int_equal(used[0], used[1]);
	assert_int_equal(used[0], used[2]);
	assert_int_equal(peak[0], peak[1]);
	assert_int_equal(peak[0], peak[2]);
	(void)state;
}

/* Whether reading n bytes in a child ends it. */
static bool deadly(const volatile char *p)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		_exit(*p ? 1 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status);
}

static void guard_guards(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *dev;
	float host[3] = { 1, 2, 3 };
	void *p[3];

	assert_ok(pt_device_open(&dev, "guard", NULL, &err), &err);
	for (int i = 0; i < 3; i++)
		assert_ok(dev->alloc(dev, 5000, &p[i], &err), &err);
	for (int i = 0; i < 3; i++) {
		assert_true(deadly(p[i]));
		assert_true(deadly((char *)p[i] + 4999));
	}
	assert_ok(dev->upload(dev, p[1], host, sizeof host, &err), &err);
	assert_ok(dev->k->axpby(dev, PT_F32, 3, 2, p[1], 0, p[2], &err), &err);
	assert_true(deadly(p[1]));
	assert_ok(dev->download(dev, host, p[2], sizeof host, &err), &err);
	assert_true(host[0] == 2 && host[1] == 4 && host[2] == 6);
	/* The place of what was freed is handed out again. */
	dev->free(dev, p[1], 5000);
	assert_true(deadly(p[1]));
	assert_ok(dev->alloc(dev, 100, &p[1], &err), &err);
	assert_ok(dev->k->fill(dev, PT_F32, p[1], 25, 7, &err), &err);
	assert_ok(dev->download(dev, host, p[2], sizeof host, &err), &err);
	assert_true(host[0] == 2 && host[2] == 6);
	for (int i = 0; i < 3; i++)
		dev->free(dev, p[i], i == 1 ? 100 : 5000);
	assert_int_equal(dev->used, 0);
	pt_device_close(dev);
	(void)state;
}

/* Each path of the CPU, the plan and the guard have all kernels. */
static void tables_are_whole(void **state)
{
	static const char *const name[] = { "cpu", "plan", "guard" };
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		struct pt_device *dev;

		assert_ok(pt_device_open(&dev, name[i], NULL, &err), &err);
#define THERE(kernel, params, args) assert_non_null(dev->k->kernel);
		PT_KERNELS(THERE)
		pt_device_close(dev);
	}
}

/* A plan is made for the most rows: fewer must never want more room. */
static void fewer_rows_want_no_more(void **state)
{
	static const int64_t width[] = { 3, 53, 8191, 32000, 65024 };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_device *dev;

	(void)state;
	assert_ok(pt_device_open(&dev, "cpu", NULL, &err), &err);
	for (size_t i = 0; i < sizeof width / sizeof width[0]; i++) {
		size_t nll[2] = { 0 }, lin[2] = { 0 };

		for (int64_t rows = 1; rows < 1500; rows++) {
			struct pt_k_linear l = { .n = width[i], .wtype = PT_BF16 };
			struct pt_k_linear_group g = { .rows = rows, .k = 24, .n = 1, .lin = &l };
			struct pt_k_nll k = { .rows = rows, .n = rows, .c = 24, .v = width[i], .head = l };

			for (int b = 0; b < 2; b++) {
				size_t n = dev->k->nll_scratch(dev, &k, b), m = dev->k->linear_scratch(dev, &g, b);

				if (n < nll[b] || m < lin[b])
					fail_msg("%lld rows want %zu and %zu bytes, one less %zu and %zu", (long long)rows,
						 n, m, nll[b], lin[b]);
				nll[b] = n;
				lin[b] = m;
			}
		}
	}
	pt_device_close(dev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_whole),
		cmocka_unit_test(plan_is_exact),
		cmocka_unit_test(fewer_rows_want_no_more),
		cmocka_unit_test(counts),
		cmocka_unit_test(guard_guards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
