/* SPDX-License-Identifier: MIT */
/*
 * peft_resume.c - each method on each shape of model, as the golden files have
 * them: a run that went on from a checkpoint ends with the same bits as one
 * that never stopped, in what trains, in what it keeps beside it, and in files.
 */
#include "lora_walk.h"

#include "train/checkpoint.h"

enum { STEPS = 6, HALF = 3 };

/* Steps from..to; what training is then, as a directory. */
static void run(struct lfix *l, const char *out, int from, int to, const char *saved)
{
	struct pt_identity id = { .options = "", .path = "cpu" };
	struct pt_error *err = &l->x.f.err;
	struct pt_history h = { 0 };
	struct pt_optimizer o;
	struct pt_schedule s;

	lfix_open(l, "cpu");
	lwalk_begin(l, &o, &s);
	if (from) {
		struct pt_checkpoint c;

		assert_ok(pt_checkpoint_find(&c, out, INT64_MAX, err), err);
		assert_int_equal(c.at.step, from);
		assert_ok(pt_checkpoint_load(&c, l->a, &o, &h, err), err);
		pt_checkpoint_release(&c);
	}
	for (int t = from; t < to; t++) {
		struct pt_metric m = { .step = t + 1, .loss = (double)lwalk_step(l, &o, &s, t, 0) };

		assert_ok(pt_history_add(&h, &m, err), err);
	}
	assert_ok(pt_checkpoint_save(out, &id, &(struct pt_progress){ .step = to }, l->a, &o, &h, 2, err), err);
	assert_ok(pt_adapter_save(l->a, saved, PT_SAVE_ALL, err), err);
	pt_history_release(&h);
	pt_optimizer_release(&o);
	lfix_close(l);
}

static void same(const char *name, const char *a, const char *b, const char *file, bool always)
{
	char x[400], y[400];

	snprintf(x, sizeof x, "%s/%s", a, file);
	snprintf(y, sizeof y, "%s/%s", b, file);
	if (!always && access(x, F_OK) && access(y, F_OK))
		return;
	if (!pt_file_same(x, y))
		fail_msg("%s: %s of a run that went on is another one", name, file);
}

static void one(const char *name)
{
	static const char *const dirs[] = { "whole", "parts", "end0", "end1", "whole/checkpoints", "parts/checkpoints" };
	char path[6][300];
	struct lfix l;

	lfix_golden(&l, name);
	lfix_open_model(&l, "cpu");
	lfix_write(&l);
	mfix_close(&l.x);
	for (int i = 0; i < 6; i++) {
		snprintf(path[i], sizeof path[i], "%s/%s", l.x.dir, dirs[i]);
		assert_ok(pt_dir_make(path[i], &l.x.f.err), &l.x.f.err);
	}
	run(&l, path[0], 0, STEPS, path[2]);
	run(&l, path[1], 0, HALF, path[3]);
	run(&l, path[1], HALF, STEPS, path[3]);
	same(name, path[2], path[3], pt_layout_of(l.config)->weights, true);
	same(name, path[2], path[3], PT_ADAPTER_CONFIG, true);
	same(name, path[2], path[3], PT_ADAPTER_STATE, false);
	same(name, path[0], path[1], "checkpoints/step-00000006/training_state.safetensors", true);
	lfix_release(&l);
}

static void test_all(void **state)
{
	static const char *const kins[] = { "methods", "lowrank", "virtual", "tokens", "fused", "encdec", "experts", "moe" };

	(void)state;
	for (size_t k = 0; k < sizeof kins / sizeof *kins; k++) {
		int n;
		char **name = golden_names("lora", kins[k], &n);

		for (int i = 0; i < n; i++)
			one(name[i]);
		golden_names_free(name, n);
	}
}

/* Stacks, heads of their own, one update at two ends, a bottleneck of each shape. */
static void test_some(void **state)
{
	static const char *const names[] = {
		"bn-llama", "bn-bert", "bn-gpt2", "bn-t5", "bn-llama-compacter", "bn-llama-stack", "bn-bert-flex", "llama-ends",
		"llama-rich", "bert-class", "t5-rich", "falcon-40b",
	};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		one(names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_all), cmocka_unit_test(test_some) };

	return cmocka_run_group_tests_name("peft_resume", tests, NULL, NULL);
}
