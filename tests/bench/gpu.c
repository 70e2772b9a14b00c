/* SPDX-License-Identifier: MIT */
/*
 * gpu.c - training steps of a model directory with LoRA on all linear layers,
 * on random tokens: tokens a second, peak memory, time to the first step; with
 * "profile", where the last step's time goes (profile.h; profile_svg.py draws it).
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

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "profile.h"
#include "train/step.h"

static struct pt_error err;

static void check(int status)
{
	if (!status)
		return;
	fprintf(stderr, "gpu: %s\n", err.msg);
	exit(status);
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
	double from = pt_now(), called, norm;

	download = s->dev->download;
	s->dev->download = seldom;
	waited_for = norms ? s->opt.sumsq : NULL;
	for (int i = 0; i < steps; i++) {
		check(pt_step_clear(s, &err));
		check(pt_step_micro(s, x, &err));
		check(pt_step_update(s, 1e-6, i + 1, steps, &norm, &bad, &err));
	}
	called = pt_now() - from;
	s->dev->download = download;
	wait_for(s->dev);
	printf("waiting for %s: step %.3f ms, the host's calls %.3f ms of it\n", norms ? "norms" : "nothing",
	       1e3 * (pt_now() - from) / steps, 1e3 * called / steps);
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
	double start = pt_now(), *t, first = 0, norm;
	int steps, len;
	bool around, timed = false, gap = false;
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
		timed |= !strcmp(argv[i], "profile");
		gap |= !strcmp(argv[i], "gap");
		if (!strncmp(argv[i], "mem=", 4))
			mem = (size_t)strtoull(argv[i] + 4, NULL, 10);
	}
	check(pt_modeldir_open(&dir, argv[2], 0, &err));
	check(pt_model_open(&m, dev, &dir, &mo, &err));
	j = pt_json_parse(config, strlen(config), 0, "config", &err);
	check(pt_adapter_new(&a, m, j, 7, NULL, &err));
	if (timed)
		profile_rates(dev);
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
		double from = pt_now();

		if (timed && i == steps - 1)
			profile_start(dev);
		check(pt_step_clear(&s, &err));
		check(pt_step_micro(&s, &x, &err));
		check(pt_step_update(&s, 1e-3, i + 1, steps, &norm, &bad, &err));
		wait_for(dev);
		t[i] = pt_now() - from;
		if (i == 0)
			first = pt_now() - start;
		printf("step %d: loss %.5f, norm %.4f, %.1f ms\n", i + 1, s.loss, norm, 1e3 * t[i]);
	}
	if (profile.on) {
		steps--;
		profile_show();
	}
	qsort(t, (size_t)steps, sizeof *t, by_value);
	printf("%s (%s), %s, %lld x %s: %.0f tokens/s, step %.3f ms, first step after %.2f s, %.2f GB in use\n", dev->name,
	       dev->path, argv[2], (long long)b.seqs, argv[4], (double)b.tokens / t[steps / 2], 1e3 * t[steps / 2],
	       first, 1e-9 * (double)(dev->peak));
	printf("%.3f GB counted, %.3f GB taken of %.3f GB that there were\n", 1e-9 * (double)dev->used,
	       1e-9 * (double)(all - dev->memory(dev) + dev->used), 1e-9 * (double)all);
	for (int norms = 0; gap && norms < 2; norms++)
		show_gap(&s, &x, steps, norms);
	if (profile.on)
		printf("products and attention: %.1f TFLOP a step, %.0f TFLOP/s, %.1f%% of the product's\n",
		       1e-12 * profile_ops(), 1e-12 * profile_ops() / t[steps / 2],
		       100 * profile_ops() / t[steps / 2] / profile.product);
	return 0;
}
