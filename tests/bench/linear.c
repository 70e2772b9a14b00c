/* SPDX-License-Identifier: MIT */
/*
 * linear.c - how fast linears of one input with low-rank terms are on a device
 * in bf16, forward and backward, in operations a second of the products with W
 * alone: ten calls, and so many that a device which its power holds back is held
 * back. Rank 0 measures the product that the device takes from a library.
 *
 * usage: linear DEVICE SECONDS ROWS {IN:OUT:LINEARS:RANK}...
 */
#include "kernel.h"

#define MOST 4

static double seconds(const struct pt_k_linear_group *g, bool back, int runs)
{
	static char c, *p;
	double t;

	if (!p)
		p = on_device(256, NULL);
	check(dev->download(dev, &c, p, 1, &err));
	t = pt_now();
	for (int i = 0; i < runs; i++)
		check(back ? dev->k->linear_bwd(dev, g, &err) : dev->k->linear_fwd(dev, g, &err));
	check(dev->download(dev, &c, p, 1, &err));
	return (pt_now() - t) / runs;
}

static void measure(int64_t rows, int64_t k, int64_t n, int linears, int64_t r, double length)
{
	struct pt_k_lowrank term[MOST] = { { 0 } };
	struct pt_k_linear lin[MOST] = { { 0 } };
	struct pt_k_linear_group g = { .rows = rows, .k = k, .type = PT_BF16, .lin = lin, .n = linears };
	double ops = 2.0 * (double)rows * (double)k * (double)n * linears;
	size_t scratch[2];

	g.x = numbers(rows * k, 1, true);
	g.dx = on_device((size_t)(rows * k) * 2, NULL);
	for (int i = 0; i < linears; i++) {
		term[i] = (struct pt_k_lowrank){ .r = r, .scale = 2 };
		lin[i] = (struct pt_k_linear){ .n = n, .w = numbers(n * k, 0.02f, true), .wtype = PT_BF16,
			.y = on_device((size_t)(rows * n) * 2, NULL), .dy = numbers(rows * n, 1, true),
			.term = &term[i], .nterms = r > 0 };
		if (!r)
			continue;
		term[i].a = numbers(r * k, 0.02f, false);
		term[i].b = numbers(n * r, 0.02f, false);
		term[i].u = on_device((size_t)(rows * r) * 2, NULL);
		term[i].da = numbers(r * k, 0, false);
		term[i].db = numbers(n * r, 0, false);
	}
	scratch[0] = dev->k->linear_scratch(dev, &g, false);
	scratch[1] = dev->k->linear_scratch(dev, &g, true);
	g.scratch = on_device((scratch[0] > scratch[1] ? scratch[0] : scratch[1]) + 256, NULL);
	for (int back = 0; back < 2; back++) {
		double burst, some;

		seconds(&g, back, 3);
		burst = seconds(&g, back, 10);
		some = seconds(&g, back, (int)(length / burst) + 1);
		printf("%lld x %lld to %d x %lld, rank %lld, %s: ten %.1f us, %.0f TFLOP/s; %.0f s %.1f us, %.0f TFLOP/s\n",
		       (long long)rows, (long long)k, linears, (long long)n, (long long)r, back ? "backward" : "forward",
		       1e6 * burst, 1e-12 * ops / burst, length, 1e6 * some, 1e-12 * ops / some);
		fflush(stdout);
	}
	/* Memory is the device's until the end: shapes are few. */
}

int main(int argc, char **argv)
{
	if (argc < 5) {
		fprintf(stderr, "usage: linear DEVICE SECONDS ROWS {IN:OUT:LINEARS:RANK}...\n");
		return 2;
	}
	check(pt_device_open(&dev, argv[1], NULL, &err));
	for (int i = 4; i < argc; i++) {
		int k, n, linears, r;

		if (sscanf(argv[i], "%d:%d:%d:%d", &k, &n, &linears, &r) != 4 || linears < 1 || linears > MOST) {
			fprintf(stderr, "linear: not IN:OUT:LINEARS:RANK: %s\n", argv[i]);
			return 2;
		}
		measure(atoll(argv[3]), k, n, linears, r, atof(argv[2]));
	}
	pt_device_close(dev);
	return 0;
}
