/* SPDX-License-Identifier: MIT */
/*
 * attn.c - how fast causal attention of bf16 is on a device, forward and
 * backward, in operations a second (two and five products of the pairs that see
 * each other). attn.py measures torch's forms of it on the same shapes.
 *
 * usage: attn DEVICE {HEADS KV_HEADS HEAD_DIM SEQUENCES LENGTH}...
 */
#include <math.h>

#include "kernel.h"

#define RUNS 30

static double seconds(struct pt_k_attn *k, bool back)
{
	void *p = on_device(256, NULL);
	double t = 0;
	char c;

	for (int i = 0; i < RUNS + 5; i++) {
		if (i == 5) {
			check(dev->download(dev, &c, p, 1, &err));
			t = pt_now();
		}
		check(back ? dev->k->attn_bwd(dev, k, &err) : dev->k->attn_fwd(dev, k, &err));
	}
	check(dev->download(dev, &c, p, 1, &err));
	t = (pt_now() - t) / RUNS;
	dev->free(dev, p, 256);
	return t;
}

static void measure(int heads, int kv, int d, int batch, int len)
{
	int64_t n = (int64_t)batch * len, q = n * heads * d, kk = n * kv * d;
	struct pt_k_attn k = { .heads = heads, .kv_heads = kv, .head_dim = d, .batch = batch, .nq = n, .nk = n, .causal = true,
		.type = PT_BF16, .scale = 1 / sqrtf((float)d), .ldq = heads * d, .ldo = heads * d, .ldk = kv * d,
		.ldv = kv * d };
	double pairs = (double)batch * len * (len + 1.0) / 2 * heads * d, fwd, back;
	int32_t *cu = calloc((size_t)batch + 1, sizeof *cu);

	for (int b = 0; b < batch; b++)
		cu[b + 1] = cu[b] + len;
	k.host_cu_q = k.host_cu_k = cu;
	k.cu_q = k.cu_k = on_device(((size_t)batch + 1) * sizeof *cu, cu);
	k.q = numbers(q, 1, true);
	k.k = numbers(kk, 1, true);
	k.v = numbers(kk, 1, true);
	k.doo = numbers(q, 1, true);
	k.o = on_device((size_t)q * 2, NULL);
	k.dq = on_device((size_t)q * 2, NULL);
	k.dk = on_device((size_t)kk * 2, NULL);
	k.dv = on_device((size_t)kk * 2, NULL);
	k.lse = on_device((size_t)(n * heads) * sizeof(float), NULL);
	k.scratch = on_device(dev->k->attn_scratch(dev, &k, true) + 256, NULL);
	fwd = seconds(&k, false);
	back = seconds(&k, true);
	printf("ours: %d/%d heads of %d, %d x %d: forward %.1f us, %.0f TFLOP/s; backward %.1f us, %.0f TFLOP/s\n", heads, kv,
	       d, batch, len, 1e6 * fwd, 4e-12 * pairs / fwd, 1e6 * back, 1e-11 * pairs / back);
	fflush(stdout);
	free(cu);
}

int main(int argc, char **argv)
{
	if (argc < 7 || argc % 5 != 2) {
		fprintf(stderr, "usage: attn DEVICE {HEADS KV_HEADS HEAD_DIM SEQUENCES LENGTH}...\n");
		return 2;
	}
	check(pt_device_open(&dev, argv[1], NULL, &err));
	for (int i = 2; i < argc; i += 5)
		measure(atoi(argv[i]), atoi(argv[i + 1]), atoi(argv[i + 2]), atoi(argv[i + 3]), atoi(argv[i + 4]));
	pt_device_close(dev);
	return 0;
}
