/* SPDX-License-Identifier: MIT */
/*
 * What a run takes on a device with a memory of its own is what was counted
 * before it began: with each method, with adapters below the one that trains,
 * with weights that train themselves; and what is left for the weights when
 * nothing is learned.
 */
#include "memory_fix.h"
#include "method_fix.h"

#include "base/rng.h"
#include "device/kernels.h"
#include "model/body.h"
#include "peft/adapter_priv.h"

#define STEPS 60

/* In as little as it says that it takes: nothing is allocated beyond that, and one byte less is refused. */
static void in_the_least(struct tfix *x, const char *what)
{
	size_t least, held;
	float *got;

	x->s.recompute_max = BLOCKS;
	assert_ok(pt_step_least(&x->s, &bounds, &bounds, &least, &err), &err);
	assert_fails(pt_step_fit(&x->s, &bounds, &bounds, least - 1, &err), PT_USAGE, "bytes", &err);
	assert_ok(pt_step_fit(&x->s, &bounds, &bounds, least, &err), &err);
	held = x->dev->used;
	if (held > least || held < least - 256)
		fail_msg("%s: %zu bytes are allocated, %zu were counted", what, held, least);
	x->dev->peak = 0;
	two_steps(x, &got);
	assert_true(isfinite(got[0]) && isfinite(got[2]));
	free(got);
	if (x->dev->used != held || x->dev->peak > held)
		fail_msg("%s: %zu bytes at the end, %zu at the most, %zu were allocated", what, x->dev->used, x->dev->peak, held);
}

static void every_method(void **state)
{
	const struct pt_method *m;

	(void)state;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		struct tfix x;

		open_base(&x, device());
		assert_ok(pt_adapter_new(&x.a, x.m, method_config(m), 7, NULL, &err), &err);
		assert_ok(pt_adapter_begin(x.a, STEPS, &err), &err);
		begin_step(&x);
		in_the_least(&x, m->name);
		tfix_close(&x);
	}
}

/* The adapters below stand still, and count. */
static void stacked(void **state)
{
	static const char *const config[] = {
		 "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":32,\"target_modules\":\"all-linear\"}", "{\"peft_type\":\"BOTTLENECK\",\"task_type\":\"CAUSAL_LM\"}", FIX_LORA,
	};
	char *path[3];
	size_t used, trained;
	struct tfix x;

	(void)state;
	for (int i = 0; i < 3; i++) {
		char name[8];

		snprintf(name, sizeof name, "a%d", i);
		path[i] = strdup(in_dir(name));
		assert_ok(pt_dir_make(path[i], &err), &err);
		open_step(&x, "cpu", config[i]);
		assert_ok(pt_adapter_save(x.a, path[i], PT_SAVE_ALL, &err), &err);
		tfix_close(&x);
	}
	open_base(&x, device());
	used = x.dev->used;
	assert_ok(pt_adapter_open_stack(&x.a, x.m, (const char *const *)path, 3, true, &err), &err);
	begin_step(&x);
	trained = (size_t)pt_params_count(&x.a->params) * 4 * sizeof(float);
	assert_int_equal(pt_step_state_bytes(&x.s), x.dev->used);
	assert_true(x.dev->used - used > trained + trained / 4);
	in_the_least(&x, "a stack");
	tfix_close(&x);
	for (int i = 0; i < 3; i++)
		free(path[i]);
}

#define V_PROJ "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":2,\"init_lora_weights\":false,\"target_modules\":[\"v_proj\"],"

/* The loss of a stack of n adapters in one directory. */
static float loss_of(const char *path, int n)
{
	const char *list[20];
	struct pt_loss l;
	struct tbatch b;
	struct tfix x;
	float loss;

	open_base(&x, device());
	for (int i = 0; i < n; i++)
		list[i] = path;
	assert_ok(pt_adapter_open_stack(&x.a, x.m, list, n, true, &err), &err);
	begin_step(&x);
	assert_ok(pt_step_fit(&x.s, &bounds, &bounds, 0, &err), &err);
	tbatch_make(&b, 0, 8, 20, false);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	pt_run_reset(&x.s.run);
	x.s.run.record = x.s.run.train = false;
	assert_ok(pt_feed_fill(&x.s.feed, &x.s.run, &b.x, &err), &err);
	assert_ok(pt_loss_forward(&x.s.run, x.m, &x.s.feed, false, &l, &err), &err);
	assert_ok(x.dev->download(x.dev, &loss, l.value->data, sizeof loss, &err), &err);
	tfix_close(&x);
	return loss;
}

/* Any number of adapters at one linear: twenty of a kind are one of twenty times the scale. */
static void twenty(void **state)
{
	static const char *const config[] = { V_PROJ "\"lora_alpha\":4}", V_PROJ "\"lora_alpha\":80}" };
	float loss[3];
	struct tfix x;

	(void)state;
	for (int i = 0; i < 2; i++) {
		char *path = strdup(in_dir(i ? "one" : "many"));

		assert_ok(pt_dir_make(path, &err), &err);
		open_step(&x, "cpu", config[i]);
		assert_ok(pt_adapter_save(x.a, path, PT_SAVE_ALL, &err), &err);
		tfix_close(&x);
		loss[i] = loss_of(path, i ? 1 : 20);
		loss[2] = loss_of(path, 1);
		if (!i)
			assert_true(fabsf(loss[0] - loss[2]) > 1e-3f);
		free(path);
	}
	assert_true(fabsf(loss[0] - loss[1]) < 1e-4f * fabsf(loss[1]));
}

static int64_t elements(const struct pt_model *m, const char *part)
{
	int64_t n = 0;

	for (int i = 0; i < m->nweights; i++)
		if (!m->weight[i].tied && strstr(m->weight[i].path, part))
			n += pt_tensor_count(&m->weight[i].t);
	return n;
}

/* Weights whose copies train are not on the device beside them, and are there again for who comes after. */
static void replaced(void **state)
{
	static const char *const part[] = { ".mlp.", "embed_tokens" };
	struct tfix x;
	size_t all;

	(void)state;
	for (int i = 0; i < 3; i++) {
		const char *names[] = { i == 1 ? "mlp" : "embed_tokens" };

		open_base(&x, device());
		all = pt_model_place_bytes(x.m, 0);
		if (!x.dev->copies)
			skip();
		assert_ok(pt_adapter_new_full(&x.a, x.m, names, i > 0, &err), &err);
		begin_step(&x);
		if (i)
			assert_int_equal(all - pt_model_place_bytes(x.m, 0), (size_t)elements(x.m, part[i - 1]) * sizeof(float));
		else
			assert_int_equal(pt_model_place_bytes(x.m, 0), 0);
		in_the_least(&x, "full training");
		assert_int_equal(pt_model_place_held(x.m), pt_model_place_bytes(x.m, x.m->body->parts.turns));
		pt_step_release(&x.s);
		pt_adapter_close(x.a);
		x.a = NULL;
		assert_int_equal(pt_model_place_bytes(x.m, 0), all);
		assert_ok(pt_model_place(x.m, 0, &err), &err);
		for (int k = 0; k < x.m->nweights; k++)
			assert_non_null(x.m->weight[k].t.data);
		tfix_close(&x);
	}
}

/* Of tied weights one that is replaced alone leaves the other where it is. */
static void replaced_twin(void **state)
{
	struct tfix x;
	size_t all;
	float *got;

	(void)state;
	open_base(&x, device());
	all = pt_model_place_bytes(x.m, 0);
	tfix_close(&x);
	open_step(&x, device(), "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":2,\"target_modules\":[\"q_proj\"],"
		  "\"modules_to_save\":[\"lm_head\"]}");
	assert_int_equal(pt_model_place_bytes(x.m, 0), all);
	assert_ok(pt_step_fit(&x.s, &bounds, NULL, 0, &err), &err);
	two_steps(&x, &got);
	free(got);
	tfix_close(&x);
}

/* Loss of a micro-batch without learning in limit bytes; how many blocks take turns then. */
static float forward(struct tfix *x, struct pt_run *run, struct pt_feed *f, const struct pt_bounds *b, size_t more,
		     size_t limit, int *turns)
{
	struct tbatch batch;
	struct pt_loss l;
	size_t bytes;
	float loss;

	assert_ok(pt_loss_plan(x->plan, x->m, f, b, false, false, &bytes, NULL, &err), &err);
	assert_ok(pt_model_run(x->m, run, bytes + more, limit, false, &err), &err);
	assert_true(x->dev->used <= limit);
	*turns = x->m->body->parts.turns;
	tbatch_make(&batch, 0, 1, 20, false);
	assert_ok(pt_feed_fill(f, run, &batch.x, &err), &err);
	assert_ok(pt_loss_forward(run, x->m, f, false, &l, &err), &err);
	assert_ok(x->dev->download(x->dev, &loss, l.value->data, sizeof loss, &err), &err);
	return loss;
}

/* A micro-batch that is larger than those before: weights that are there begin to take turns. */
static void larger_later(void **state)
{
	const struct pt_feed_options fo = { .task = PT_TASK_CAUSAL_LM };
	const struct pt_bounds small = { .tokens = 20, .seqs = 1, .len = 20 };
	struct pt_run run = { 0 };
	struct pt_feed f;
	struct tfix x;
	size_t weights, limit, bytes;
	float loss;
	int turns;

	(void)state;
	open_base(&x, device());
	if (!x.dev->copies)
		skip();
	assert_ok(pt_feed_init(&f, &fo, &err), &err);
	weights = pt_model_place_bytes(x.m, 0);
	assert_ok(pt_loss_plan(x.plan, x.m, &f, &small, false, false, &bytes, NULL, &err), &err);
	limit = weights + bytes + bytes / 16 + 4096 + x.dev->used;
	loss = forward(&x, &run, &f, &small, 0, limit, &turns);
	assert_int_equal(turns, 0);
	assert_true(forward(&x, &run, &f, &small, (weights - pt_model_place_bytes(x.m, 4)) / 2, limit, &turns) == loss);
	assert_in_range(turns, 3, 4);
	assert_true(forward(&x, &run, &f, &small, 0, limit, &turns) == loss);
	assert_in_range(turns, 3, 4);
	assert_fails(pt_model_run(x.m, &run, limit, limit, false, &err), PT_USAGE, "the work", &err);
	assert_true(forward(&x, &run, &f, &small, 0, limit, &turns) == loss);
	pt_run_release(&run);
	pt_feed_release(&f);
	tfix_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_method), cmocka_unit_test(stacked), cmocka_unit_test(twenty),
		cmocka_unit_test(replaced), cmocka_unit_test(replaced_twin), cmocka_unit_test(larger_later),
	};

	return cmocka_run_group_tests(tests, make_base, drop_dir);
}
