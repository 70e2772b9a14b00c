/* SPDX-License-Identifier: MIT */
/*
 * lora_moe.c - golden values of adapters on mixtures of experts (lora_walk.h),
 * also by the steps of training: what the routers add to the loss, by
 * micro-batch and with recomputed blocks.
 */
#include "lora_walk.h"

#include "peft/merge.h"
#include "train/step.h"

static const struct lwalk_mutation mutations[] = {
	{ "mixtral-params", false, "lora_alpha", "2.9" },
	{ "mixtral-params", false, "alpha_pattern", "{}" },
	{ "mixtral-split", false, "lora_alpha", "2.9" },
	{ "qwen2-moe-params", false, "use_rslora", "false" },
	{ "qwen3-moe-params", false, "lora_alpha", "3.9" },
};

/* On a base that keeps its experts as parameters of three dimensions: all of a case. */
static void test_packed(void **state)
{
	static const char *const names[] = { "mixtral-params", "mixtral-split", "qwen2-moe-params" };

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct lfix l;

		lfix_golden(&l, names[i]);
		l.x.packed = true;
		lfix_open(&l, "cpu");
		assert_non_null(pt_modeldir_find(&l.x.md, "model.layers.0.mlp.experts.down_proj"));
		lwalk_case(&l, true);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* Merged, such a base keeps its form. */
static void test_packed_merged(void **state)
{
	static const char *const names[] = { "mixtral-params", "qwen2-moe-params" };
	static const int merged[] = { 8, 4 };	/* queries or values, routers or gates of the shared, parameters of experts */

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct pt_model_options o = { .task = PT_TASK_CAUSAL_LM };
		struct pt_merge_options mo = { .dtype = -1 };
		const struct pt_st_tensor *t, *u;
		struct pt_model *base, *m;
		struct pt_modeldir md;
		struct pt_merge mg;
		struct pt_error *err;
		struct lfix l;
		char dir[300];
		size_t n, same = 0, all = 0;
		float *y;

		lfix_golden(&l, names[i]);
		l.x.packed = true;
		lfix_open(&l, "cpu");
		err = &l.x.f.err;
		snprintf(dir, sizeof dir, "%s/merged", l.x.dir);
		assert_ok(pt_dir_make(dir, err), err);
		assert_ok(pt_merge_init(&mg, l.x.m, l.a, &mo, err), err);
		assert_ok(pt_merge_write(&mg, dir, err), err);
		assert_ok(pt_modeldir_open(&md, dir, 0, err), err);
		for (; (t = pt_modeldir_tensor(&l.x.md, all)); all++) {
			u = pt_modeldir_find(&md, t->name);
			assert_true(u && u->dtype == t->dtype && u->ndim == t->ndim && u->bytes == t->bytes);
			same += !memcmp(u->data, t->data, t->bytes);
		}
		assert_null(pt_modeldir_tensor(&md, all));
		assert_int_equal(mg.total, all);
		assert_int_equal(all - same, merged[i]);
		pt_merge_release(&mg);
		base = l.x.m;
		assert_ok(pt_model_open(&m, l.x.f.dev, &md, &o, err), err);
		l.x.m = m;
		y = mfix_out(&l.x, &n);
		assert_true(golden_result(&l.x.g, "out", y, n, 0) <= 2);
		free(y);
		l.x.m = base;
		pt_model_close(m);
		pt_modeldir_close(&md);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* The sequences [from, to) of the golden file, as a micro-batch of a step with so many targets. */
struct micro {
	struct pt_examples x;
	int64_t index[8], offsets[9];
	int64_t targets;
};

static void micro_make(struct micro *b, struct lfix *l, int from, int to, int64_t step_targets)
{
	const struct pt_st_tensor *cu = mfix_in(&l->x, "in.cu");
	const int32_t *c = cu->data, *y = mfix_in(&l->x, "in.labels")->data;

	memset(b, 0, sizeof *b);
	assert_true(to - from <= 8);
	b->x = (struct pt_examples){ .n = to - from, .tokens = c[to] - c[from], .index = b->index, .offsets = b->offsets,
				     .input_ids = (const int32_t *)mfix_in(&l->x, "in.ids")->data + c[from],
				     .labels = y + c[from], .step = 1, .micro = 1, .micros = 1, .epoch = 1 };
	for (int i = from; i < to; i++) {
		b->index[i - from] = i;
		b->offsets[i - from + 1] = c[i + 1] - c[from];
		for (int32_t t = c[i] + 1; t < c[i + 1]; t++)
			b->targets += y[t] != -100;
	}
	b->x.step_tokens = step_targets ? step_targets : b->targets;
	b->x.step_examples = (int64_t)cu->count - 1;
	b->x.step_weight = (double)b->x.step_examples;
}

/* The steps of training over the golden adapter, with room for all of its sequences. */
static void stepper_open(struct pt_step *s, struct lfix *l, struct pt_device **plan)
{
	const cJSON *h = l->hyper;
	struct pt_adamw cfg = {
		.beta1 = golden_number(h, "beta1"), .beta2 = golden_number(h, "beta2"), .eps = golden_number(h, "eps"),
		.decay = golden_number(h, "decay"), .clip = golden_number(h, "clip"),
	};
	struct pt_feed_options feed = { .task = PT_TASK_CAUSAL_LM };
	struct pt_bounds b = { .tokens = l->x.in.rows.n, .seqs = l->x.in.rows.batch, .len = l->x.in.rows.max_len };
	struct pt_error *err = &l->x.f.err;

	l->x.m->router_loss = pt_model_router_factor(l->x.m);
	assert_true(l->x.m->router_loss > 0);
	assert_ok(pt_device_plan(plan, l->x.f.dev, err), err);
	assert_ok(pt_step_init(s, l->x.m, l->a, &l->a->params, l->x.f.dev, *plan, &feed, &cfg, false, err), err);
	assert_ok(pt_step_fit(s, &b, NULL, 0, err), err);
}

static void stepper_close(struct pt_step *s, struct pt_device *plan)
{
	pt_step_release(s);
	pt_device_close(plan);
}

/* One micro-batch into the step; its gradient so far, all tensors one after the other. */
static float *add_micro(struct pt_step *s, struct lfix *l, const struct micro *b)
{
	float *all = calloc((size_t)pt_params_count(&l->a->params), sizeof *all);
	size_t at = 0;

	assert_ok(pt_step_micro(s, &b->x, &l->x.f.err), &l->x.f.err);
	assert_ok(pt_step_settle(s, &l->x.f.err), &l->x.f.err);
	for (int i = 0; i < l->a->params.n; i++) {
		struct pt_param *p = l->a->params.item[i];
		float *g = fix_grad(&l->x.f, p);

		memcpy(all + at, g, (size_t)pt_tensor_count(&p->t) * sizeof *g);
		at += (size_t)pt_tensor_count(&p->t);
		free(g);
	}
	return all;
}

/* Ten steps as HF PEFT makes them, the loss of the routers in them. */
static void test_steps(void **state)
{
	(void)state;
	for (int d = 0; lwalk_devices[d]; d++) {
		struct pt_schedule schedule;
		const struct pt_param *bad;
		struct pt_device *plan;
		struct pt_step s;
		struct micro b;
		struct lfix l;
		float losses[10];
		double norm;

		lfix_golden(&l, "mixtral-params");
		lfix_open(&l, lwalk_devices[d]);
		stepper_open(&s, &l, &plan);
		schedule = (struct pt_schedule){
			.kind = PT_SCHEDULE_LINEAR, .lr = golden_number(l.hyper, "lr"),
			.warmup = (int64_t)golden_number(l.hyper, "warmup"), .total = (int64_t)golden_number(l.hyper, "total"),
		};
		micro_make(&b, &l, 0, l.x.in.rows.batch, 0);
		for (int t = 0; t < 10; t++) {
			assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
			assert_ok(pt_step_micro(&s, &b.x, &l.x.f.err), &l.x.f.err);
			assert_ok(pt_step_update(&s, pt_schedule_rate(&schedule, t), t + 1, schedule.total, &norm, &bad,
						 &l.x.f.err), &l.x.f.err);
			losses[t] = (float)s.loss;
		}
		lwalk_right(&l, "losses", golden_result(&l.x.g, "losses", losses, 10, 0));
		lwalk_right(&l, "a tensor after ten steps", lwalk_tensors(&l, true));
		stepper_close(&s, plan);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* The routers' loss of a step is the mean of its micro-batches, weighted by their shares of the targets. */
static void test_micro_batches(void **state)
{
	float *alone[2], *whole, *both;
	double loss[2], router[2], share;
	struct micro part[2], all;
	struct pt_device *plan;
	struct pt_step s;
	struct lfix l;

	(void)state;
	lfix_golden(&l, "mixtral-params");
	lfix_open(&l, "cpu");
	stepper_open(&s, &l, &plan);
	micro_make(&all, &l, 0, 6, 0);
	assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
	whole = add_micro(&s, &l, &all);
	assert_true(s.router > 1.5 && s.router < 5);	/* as many as are chosen where all are used alike: 2 */
	loss[0] = s.router;
	for (int i = 0; i < 2; i++) {
		micro_make(&part[i], &l, i ? 4 : 0, i ? 6 : 4, 0);
		assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
		alone[i] = add_micro(&s, &l, &part[i]);
		/* It is no mean over rows: of parts it is another than of all. */
		assert_true(fabs(s.router - loss[0]) > 1e-3);
		router[i] = s.router;
		part[i].x.step_tokens = all.targets;
	}
	for (int i = 0; i < 2; i++) {
		assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
		free(add_micro(&s, &l, &part[i]));
		loss[i] = s.loss;
	}
	share = (double)part[0].targets / (double)all.targets;
	assert_true(share > 0.05 && share < 0.4);
	assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
	free(add_micro(&s, &l, &part[0]));
	both = add_micro(&s, &l, &part[1]);
	assert_true(fabs(s.router - share * router[0] - (1 - share) * router[1]) < 1e-6);
	assert_true(fabs(s.loss - loss[0] - loss[1]) < 1e-6);
	for (int64_t i = 0; i < pt_params_count(&l.a->params); i++) {
		double want = share * (double)alone[0][i] + (1 - share) * (double)alone[1][i];

		assert_true(fabs((double)both[i] - want) <= 1e-6 + 1e-4 * fabs(want));
	}
	assert_memory_not_equal(both, whole, (size_t)pt_params_count(&l.a->params) * sizeof *both);
	free(alone[0]);
	free(alone[1]);
	free(both);
	free(whole);
	stepper_close(&s, plan);
	lfix_close(&l);
	lfix_release(&l);
}

/* Recomputed blocks: the same to the bit; and the plan holds what the step uses. */
static void test_recompute(void **state)
{
	double loss[2], router[2];
	float *g[2];
	size_t n;

	(void)state;
	for (int r = 0; r < 2; r++) {
		struct pt_device *plan;
		struct pt_step s;
		struct micro b;
		struct lfix l;
		size_t bytes;

		lfix_golden(&l, "mixtral-params");
		lfix_open(&l, "cpu");
		l.x.m->recompute = r ? pt_model_blocks(l.x.m) : 0;
		stepper_open(&s, &l, &plan);
		micro_make(&b, &l, 0, 6, 0);
		assert_ok(pt_step_plan(&s, &s.train, true, &bytes, &l.x.f.err), &l.x.f.err);
		assert_ok(pt_step_clear(&s, &l.x.f.err), &l.x.f.err);
		g[r] = add_micro(&s, &l, &b);
		assert_true(s.run.arena.peak <= bytes && s.run.arena.peak > bytes - bytes / 8);
		loss[r] = s.loss;
		router[r] = s.router;
		n = (size_t)pt_params_count(&l.a->params);
		stepper_close(&s, plan);
		lfix_close(&l);
		lfix_release(&l);
	}
	assert_true(loss[0] == loss[1] && router[0] == router[1]);
	assert_memory_equal(g[0], g[1], n * sizeof *g[0]);
	free(g[0]);
	free(g[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LWALK_TESTS,
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_packed_merged),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_micro_batches),
		cmocka_unit_test(test_recompute),
	};

	lwalk_kin("moe", mutations, sizeof mutations / sizeof *mutations);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
