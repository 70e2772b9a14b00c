/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - training steps of a model directory with LoRA on all linear layers,
 * on random tokens: tokens a second, peak memory, time to the first step; with
 * "profile", where the time goes: each kernel of the table with the wait for
 * it, linears by shape.
 *
 * usage: gpu DEVICE MODEL SEQUENCES LENGTH STEPS [profile] [gap] [mem=BYTES]
 *
 * LENGTH ~N: sequences of N/2 to 3N/2 tokens, N on average, without padding.
 * gap: as many steps again in which the host waits for nothing: what its
 * waiting costs, and how much of a step it needs to call the kernels. mem: of
 * the device's memory so much.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "device/wrap.h"
#include "train/step.h"

static struct pt_error err;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(int status)
{
	if (!status)
		return;
	fprintf(stderr, "gpu: %s\n", err.msg);
	exit(status);
}

/* The profile: the device with a wait before and after each kernel. */
#define ENTRIES 200

static struct entry {
	char name[80];
	double seconds;
	long calls;
} entry[ENTRIES];
static struct pt_wrap inside;
static bool profiling;

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

static void note(const char *name, double t)
{
	int i = 0;

	while (i < ENTRIES - 1 && entry[i].name[0] && strcmp(entry[i].name, name) != 0)
		i++;
	snprintf(entry[i].name, sizeof entry[i].name, "%s", name);
	entry[i].seconds += t;
	entry[i].calls++;
}

static int timed_linear(struct pt_device *dev, const struct pt_k_linear_group *k, bool back, struct pt_error *e)
{
	struct pt_device *in = inside.in;
	double t = 0;
	char name[80];
	int64_t out = 0;
	int status;

	for (int i = 0; i < k->n; i++)
		out += k->lin[i].n;
	snprintf(name, sizeof name, "linear %s %lld -> %lld", back ? "bwd" : "fwd", (long long)k->k, (long long)out);
	(void)dev;
	if (profiling) {
		wait_for(in);
		t = now();
	}
	status = back ? in->k->linear_bwd(in, k, e) : in->k->linear_fwd(in, k, e);
	if (profiling) {
		wait_for(in);
		note(name, now() - t);
	}
	return status;
}

#define KERNEL(name, params, args) \
static int timed_##name(struct pt_device *dev, params, struct pt_error *e) \
{ \
	struct pt_device *in = inside.in; \
	double t = 0; \
	int status; \
\
	(void)dev; \
	if (profiling) { \
		wait_for(in); \
		t = now(); \
	} \
	status = in->k->name(in, args, e); \
	if (profiling) { \
		wait_for(in); \
		note(#name, now() - t); \
	} \
	return status; \
}
PT_WRAP(KERNEL)

static int by_shape_fwd(struct pt_device *dev, const struct pt_k_linear_group *k, struct pt_error *e)
{
	return timed_linear(dev, k, false, e);
}

static int by_shape_bwd(struct pt_device *dev, const struct pt_k_linear_group *k, struct pt_error *e)
{
	return timed_linear(dev, k, true, e);
}

static struct pt_kernels timed = {
	.abi = PT_DEVICE_ABI,
#define ENTRY(name, params, args) .name = timed_##name,
	PT_WRAP(ENTRY)
};

static size_t linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *k, bool back)
{
	(void)dev;
	return inside.in->k->linear_scratch(inside.in, k, back);
}

static size_t attn_scratch(struct pt_device *dev, const struct pt_k_attn *k, bool back)
{
	(void)dev;
	return inside.in->k->attn_scratch(inside.in, k, back);
}

static size_t nll_scratch(struct pt_device *dev, const struct pt_k_nll *k, bool back)
{
	(void)dev;
	return inside.in->k->nll_scratch(inside.in, k, back);
}

static int by_time(const void *a, const void *b)
{
	double x = ((const struct entry *)a)->seconds, y = ((const struct entry *)b)->seconds;

	return x < y ? 1 : x > y ? -1 : 0;
}

static void show_profile(void)
{
	double all = 0;

	qsort(entry, ENTRIES, sizeof *entry, by_time);
	for (int i = 0; i < ENTRIES; i++)
		all += entry[i].seconds;
	for (int i = 0; i < ENTRIES && entry[i].seconds > all / 500; i++)
		printf("  %5.1f%% %9.3f ms %6ld calls  %8.1f us  %s\n", 100 * entry[i].seconds / all,
		       1e3 * entry[i].seconds, entry[i].calls, 1e6 * entry[i].seconds / (double)entry[i].calls,
		       entry[i].name);
	printf("  %.3f ms in all\n", 1e3 * all);
}

/* around: lengths from half to one and a half of len. */
static void fill(struct pt_examples *x, int n, int len, bool around, int64_t vocab, uint64_t key)
{
	int64_t *index = calloc((size_t)n, sizeof *index), *offsets = calloc((size_t)n + 1, sizeof *offsets);
	int32_t *ids;

	for (int i = 0; i < n; i++) {
		int own = around ? len / 2 + (int)pt_rng_below(key + 1, (uint64_t)i, (uint64_t)len) : len;

		index[i] = i;
		offsets[i + 1] = offsets[i] + own;
	}
	ids = calloc((size_t)offsets[n], sizeof *ids);
	for (int64_t i = 0; i < offsets[n]; i++)
		ids[i] = (int32_t)pt_rng_below(key, (uint64_t)i, (uint64_t)vocab);
	*x = (struct pt_examples){ .n = n, .index = index, .input_ids = ids, .offsets = offsets, .labels = ids,
		.tokens = offsets[n], .step = 1, .micro = 1, .micros = 1, .epoch = 1, .step_examples = n,
		.step_weight = n, .step_tokens = offsets[n] - n };
}

static int (*download)(struct pt_device *, void *, const void *, size_t, struct pt_error *);
static const void *waited_for;		/* NULL: nothing */

static int seldom(struct pt_device *dev, void *host, const void *src, size_t n, struct pt_error *e)
{
	if (src == waited_for)
		return download(dev, host, src, n, e);
	memset(host, 0, n);
	return 0;
}

/* Steps one after the other, losses unread, and norms too unless they are waited for. */
static void show_gap(struct pt_step *s, const struct pt_examples *x, int steps, bool norms)
{
	const struct pt_param *bad;
	double from = now(), called, norm;

	download = s->dev->download;
	s->dev->download = seldom;
	waited_for = norms ? s->opt.sumsq : NULL;
	for (int i = 0; i < steps; i++) {
		check(pt_step_clear(s, &err));
		check(pt_step_micro(s, x, &err));
		check(pt_step_update(s, 1e-6, i + 1, steps, &norm, &bad, &err));
	}
	called = now() - from;
	s->dev->download = download;
	wait_for(s->dev);
	printf("waiting for %s: step %.3f ms, the host's calls %.3f ms of it\n", norms ? "norms" : "nothing",
	       1e3 * (now() - from) / steps, 1e3 * called / steps);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static const char config[] = "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"r\": 16, "
		"\"lora_alpha\": 32, \"target_modules\": \"all-linear\"}";
	struct pt_model_options mo = { .task = PT_TASK_CAUSAL_LM, .defer = true };
	struct pt_feed_options fo = { .task = PT_TASK_CAUSAL_LM };
	struct pt_adamw adamw = { .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .clip = 1 };
	struct pt_bounds b = { 0 };
	const struct pt_param *bad;
	struct pt_device *dev, *plan;
	struct pt_modeldir dir;
	struct pt_adapter *a;
	struct pt_examples x;
	struct pt_model *m;
	struct pt_step s;
	double start = now(), *t, first = 0, norm;
	int steps, len;
	bool around, profile = false, gap = false;
	size_t mem, all;
	cJSON *j;

	if (argc < 6) {
		fprintf(stderr, "usage: gpu DEVICE MODEL SEQUENCES LENGTH STEPS [profile] [gap] [mem=BYTES]\n");
		return 2;
	}
	steps = atoi(argv[5]);
	around = argv[4][0] == '~';
	b.seqs = atoi(argv[3]);
	b.len = atoi(argv[4] + around);
	t = calloc((size_t)steps + 1, sizeof *t);
	check(pt_device_open(&dev, argv[1], NULL, &err));
	mem = all = dev->memory(dev);
	for (int i = 6; i < argc; i++) {
		profile |= !strcmp(argv[i], "profile");
		gap |= !strcmp(argv[i], "gap");
		if (!strncmp(argv[i], "mem=", 4))
			mem = (size_t)strtoull(argv[i] + 4, NULL, 10);
	}
	check(pt_modeldir_open(&dir, argv[2], 0, &err));
	check(pt_model_open(&m, dev, &dir, &mo, &err));
	j = pt_json_parse(config, strlen(config), 0, "config", &err);
	check(pt_adapter_new(&a, m, j, 7, NULL, &err));
	if (profile) {
		inside.in = dev;
		timed.linear_scratch = linear_scratch;
		timed.attn_scratch = attn_scratch;
		timed.nll_scratch = nll_scratch;
		timed.linear_fwd = by_shape_fwd;
		timed.linear_bwd = by_shape_bwd;
		wait_for(dev);
	}
	len = (int)b.len;
	fill(&x, (int)b.seqs, len, around, m->cfg.vocab, 5);
	b.tokens = x.tokens;
	b.len = around ? len / 2 + len : len;
	check(pt_device_plan(&plan, dev, &err));
	check(pt_step_init(&s, m, a, &a->params, dev, plan, &fo, &adamw, dev->bf16, &err));
	s.recompute_max = pt_model_blocks(m);
	check(pt_step_fit(&s, &b, NULL, mem, &err));
	printf("%d of %d blocks computed again, inputs of %d on the host\n", m->recompute, pt_model_blocks(m), m->away);
	for (int i = 0; i < steps; i++) {
		double from = now();
		struct pt_device copy = *dev;

		if (profile && i == steps - 1) {
			inside.in = malloc(sizeof copy);
			*inside.in = copy;
			dev->k = &timed;
			profiling = true;
		}
		check(pt_step_clear(&s, &err));
		check(pt_step_micro(&s, &x, &err));
		check(pt_step_update(&s, 1e-3, i + 1, steps, &norm, &bad, &err));
		wait_for(dev);
		t[i] = now() - from;
		if (i == 0)
			first = now() - start;
		printf("step %d: loss %.5f, norm %.4f, %.1f ms\n", i + 1, s.loss, norm, 1e3 * t[i]);
	}
	if (profiling) {
		steps--;
		show_profile();
	}
	qsort(t, (size_t)steps, sizeof *t, by_value);
	printf("%s (%s), %s, %lld x %s: %.0f tokens/s, step %.3f ms, first step after %.2f s, %.2f GB in use\n", dev->name,
	       dev->path, argv[2], (long long)b.seqs, argv[4], (double)b.tokens / t[steps / 2], 1e3 * t[steps / 2],
	       first, 1e-9 * (double)(dev->peak));
	printf("%.3f GB counted, %.3f GB taken of %.3f GB that there were\n", 1e-9 * (double)dev->used,
	       1e-9 * (double)(all - dev->memory(dev) + dev->used), 1e-9 * (double)all);
	for (int norms = 0; gap && norms < 2; norms++)
		show_gap(&s, &x, steps, norms);
	return 0;
}
