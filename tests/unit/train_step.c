/* SPDX-License-Identifier: MIT */
/*
 * One optimiser step: accumulation, the memory that is planned for it, what
 * is not finite.
 */
#include "train_fix.h"

#include <math.h>

#include "train/eval.h"
#include "train/guard.h"

static float *gradients(struct tfix *x)
{
	float *all = calloc((size_t)pt_params_count(&x->a->params), sizeof *all);
	size_t at = 0;

	for (int i = 0; i < x->a->params.n; i++) {
		struct pt_tensor *t = &x->a->params.item[i]->t;
		size_t n = (size_t)pt_tensor_count(t);

		assert_ok(x->dev->download(x->dev, all + at, t->grad, n * sizeof *all, &err), &err);
		at += n;
	}
	return all;
}

static void fit(struct tfix *x, const struct tbatch *b)
{
	struct pt_bounds f = { .tokens = b->x.tokens, .seqs = b->x.n, .len = 64 };

	assert_ok(pt_step_fit(&x->s, &f, NULL, 0, &err), &err);
}

/* Four micro-batches of one example give the gradient of one of four: the denominators are the step's. */
static void accumulation(void **state)
{
	struct tbatch whole, part;
	struct tfix x;
	float *a, *b;
	double loss;

	(void)state;
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	tbatch_make(&whole, 0, 4, 20, false);
	fit(&x, &whole);
	assert_ok(pt_step_clear(&x.s, &err), &err);
	assert_ok(pt_step_micro(&x.s, &whole.x, &err), &err);
	assert_ok(pt_step_settle(&x.s, &err), &err);
	a = gradients(&x);
	loss = x.s.loss;
	assert_true(loss > 4 && loss < 8);
	assert_ok(pt_step_clear(&x.s, &err), &err);
	for (int i = 0; i < 4; i++) {
		tbatch_make(&part, i, 1, 20, false);
		part.x.step_tokens = whole.x.step_tokens;
		part.x.step_examples = 4;
		part.x.step_weight = 4;
		assert_ok(pt_step_micro(&x.s, &part.x, &err), &err);
	}
	assert_ok(pt_step_settle(&x.s, &err), &err);
	b = gradients(&x);
	assert_true(fabs(x.s.loss - loss) < 1e-6 * loss);
	assert_int_equal(x.s.tokens, whole.x.tokens);
	assert_int_equal(x.s.examples, 4);
	for (int64_t i = 0; i < pt_params_count(&x.a->params); i++)
		assert_true(fabsf(a[i] - b[i]) <= 2e-6f + 1e-4f * fabsf(a[i]));
	free(a);
	free(b);
	tfix_close(&x);
}

/* The plan counts what the run uses, to the byte, for the shape that was planned. */
static void plan_is_exact(void **state)
{
	static const bool recompute[2] = { false, true };
	struct tbatch b;
	struct tfix x;
	size_t bytes, need[2];

	(void)state;
	for (int r = 0; r < 2; r++) {
		tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
		x.m->recompute = recompute[r] ? pt_model_blocks(x.m) : 0;
		memset(&b, 0, sizeof b);
		tbatch_make(&b, 0, 3, 21, false);
		/* Sequences of 21 rows, every one learned but the first. */
		for (int e = 0; e <= 3; e++)
			b.offsets[e] = 21 * e;
		b.x.tokens = 63;
		for (int t = 0; t < 63; t++)
			b.labels[t] = b.ids[t] = t;
		assert_ok(pt_step_plan(&x.s, &(struct pt_bounds){ .tokens = 63, .seqs = 3, .len = 21 }, true, &bytes, &err), &err);
		fit(&x, &b);
		assert_ok(pt_step_clear(&x.s, &err), &err);
		assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
		/* Types of tokens are planned for, this micro-batch has none. */
		assert_int_equal(x.s.run.arena.peak + 256, bytes);
		need[r] = bytes;
		tfix_close(&x);
	}
	assert_true(need[1] < need[0]);
}

static void too_large(void **state)
{
	struct pt_bounds b = { .tokens = 4096, .seqs = 64, .len = 64 };
	int64_t most;
	size_t bytes;
	struct tfix x;

	(void)state;
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	assert_fails(pt_step_fit(&x.s, &b, NULL, 1 << 20, &err), PT_USAGE, "tokens fit", &err);
	assert_ok(pt_step_largest(&x.s, &b, 1 << 20, &most, &err), &err);
	assert_true(most > 0 && most < 4096);
	assert_ok(pt_step_plan(&x.s, &(struct pt_bounds){ .tokens = most, .seqs = (most + 63) / 64, .len = 64 }, true, &bytes, &err), &err);
	assert_true(bytes <= 1 << 20 && bytes > (1 << 20) * 9 / 10);
	tfix_close(&x);
}

/* What an arena of so many bytes takes, with all that stands beside it. */
static size_t room_for(const struct tfix *x, size_t arena)
{
	size_t more = x->dev->copies ? arena / 32 + 4096 + pt_model_place_bytes(x->m, 0) : 0;

	return arena + more + pt_step_state_bytes(&x->s);
}

/* Where memory is short, as few blocks as that takes are computed again: to the same loss and gradients. */
static void recompute_to_fit(void **state)
{
	struct pt_bounds bounds = { .tokens = 63, .seqs = 3, .len = 21 };
	size_t need[8] = { 0 };
	float *want = NULL;
	double loss = 0;
	struct tbatch b;
	struct tfix x;

	(void)state;
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	memset(&b, 0, sizeof b);
	tbatch_make(&b, 0, 3, 21, false);
	int n = pt_model_blocks(x.m);
	assert_in_range(n, 2, 7);
	for (int k = 0; k <= n; k++) {
		x.m->recompute = k;
		assert_ok(pt_step_plan(&x.s, &bounds, true, &need[k], &err), &err);
		assert_true(!k || need[k] < need[k - 1]);
	}
	for (int k = 0; k <= n; k++) {
		size_t room = room_for(&x, need[k]);
		float *got;

		x.m->recompute = 0;
		x.s.recompute_max = n;
		x.s.train = (struct pt_bounds){ 0 };
		assert_ok(pt_step_fit(&x.s, &bounds, NULL, room, &err), &err);
		assert_int_equal(x.m->recompute, k);
		assert_ok(pt_step_clear(&x.s, &err), &err);
		assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
		assert_ok(pt_step_settle(&x.s, &err), &err);
		got = gradients(&x);
		if (!k) {
			want = got;
			loss = x.s.loss;
			continue;
		}
		assert_true(loss == x.s.loss);
		assert_memory_equal(got, want, (size_t)pt_params_count(&x.a->params) * sizeof *got);
		free(got);
	}
	x.m->recompute = 0;
	if (!x.dev->copies)
		assert_fails(pt_step_fit(&x.s, &bounds, NULL, room_for(&x, need[n]) - 1, &err), PT_USAGE, "tokens fit", &err);
	assert_int_equal(x.m->recompute, 0);
	free(want);
	tfix_close(&x);
}

static void set(struct tfix *x, struct pt_param *p, float v)
{
	float *host = calloc((size_t)pt_tensor_count(&p->t), sizeof *host);

	assert_ok(pt_param_read(&x->a->params, p, host, &err), &err);
	host[1] = v;
	assert_ok(pt_param_write(&x->a->params, p, host, &err), &err);
	free(host);
}

/* A bad value is named with the examples, and the micro-batch can be run again. */
static void not_finite(void **state)
{
	const char *path = in_dir("nan.pts");
	const char *const paths[] = { path };
	struct pt_kept kept = { 0 };
	const struct pt_record *rec, *head;
	struct pt_reader *r;
	struct pt_examples e;
	struct tfix x;
	int n = 0;

	(void)state;
	tstream_write(in_dir("b.pts"), 1, 2, 3, 20, 1);
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	assert_ok(pt_step_fit(&x.s, &(struct pt_bounds){ .tokens = 60, .seqs = 3, .len = 20 }, NULL, 0, &err), &err);
	set(&x, x.a->params.item[1], NAN);
	assert_ok(pt_reader_open(&r, (const char *const[]){ in_dir("b.pts") }, 1, "batch", 0, &err), &err);
	assert_ok(pt_reader_head(r, &head, &err), &err);
	assert_ok(pt_reader_data(r, &rec, &err), &err);
	assert_ok(pt_kept_add(&kept, rec, &err), &err);
	assert_ok(pt_examples_view(&e, PT_KIND_BATCH, &rec->st, &err), &err);
	assert_int_equal(pt_step_micro(&x.s, &e, &err) ? err.status : pt_step_settle(&x.s, &err), PT_NUMERIC);
	assert_int_equal(pt_guard_numeric(&x.s, &kept, head, 1, path, &err), PT_NUMERIC);
	assert_non_null(strstr(err.msg, x.a->params.item[1]->name));
	assert_non_null(strstr(err.msg, "examples 0, 1, 2"));
	assert_non_null(strstr(err.msg, "nan.pts"));
	pt_reader_close(r);
	pt_kept_release(&kept);
	/* What was written is a run of one step of one micro-batch. */
	assert_ok(pt_reader_open(&r, paths, 1, "batch", 0, &err), &err);
	for (;;) {
		assert_ok(pt_reader_data(r, &rec, &err), &err);
		if (!rec)
			break;
		assert_ok(pt_examples_view(&e, PT_KIND_BATCH, &rec->st, &err), &err);
		assert_int_equal(e.micros, 1);
		assert_int_equal(e.n, 3);
		assert_int_equal(e.step_examples, 6);
		n++;
	}
	assert_int_equal(n, 1);
	pt_reader_close(r);
	tfix_close(&x);
}

static void no_gradient(void **state)
{
	struct pt_buf list = PT_BUF_INIT;
	const struct pt_param *bad;
	struct tbatch b;
	struct tfix x;
	double norm;

	(void)state;
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	tbatch_make(&b, 0, 4, 20, false);
	fit(&x, &b);
	assert_int_equal(pt_guard_unmoved(&x.s.opt, &list), x.a->params.n);
	pt_buf_clear(&list);
	assert_ok(pt_step_clear(&x.s, &err), &err);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	assert_ok(pt_step_update(&x.s, 1e-3, 1, 10, &norm, &bad, &err), &err);
	/* B is zero at first: no gradient has reached A. */
	assert_int_equal(pt_guard_unmoved(&x.s.opt, &list), x.a->params.n / 2);
	assert_non_null(strstr(list.data, "lora_A"));
	assert_null(strstr(list.data, "lora_B"));
	assert_ok(pt_step_clear(&x.s, &err), &err);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	assert_ok(pt_step_update(&x.s, 1e-3, 2, 10, &norm, &bad, &err), &err);
	assert_int_equal(pt_guard_unmoved(&x.s.opt, NULL), 0);
	pt_buf_release(&list);
	tfix_close(&x);
}

static struct pt_tensor *two_losses(struct pt_run *run, struct pt_adapter *a)
{
	(void)a;
	return pt_tensor_new(run, 1, (const int64_t[]){ 2 }, NULL);
}

/* A method's own loss is one number. */
static void method_loss(void **state)
{
	const struct pt_param *bad;
	struct pt_method m;
	struct tbatch b;
	struct tfix x;
	double norm;

	(void)state;
	tfix_open(&x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	tbatch_make(&b, 0, 4, 20, false);
	fit(&x, &b);
	m = *x.a->method;
	m.loss = two_losses;
	x.a->method = &m;
	assert_ok(pt_step_clear(&x.s, &err), &err);
	assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
	assert_fails(pt_step_update(&x.s, 1e-3, 1, 10, &norm, &bad, &err), PT_FAIL, "has 2 elements, not one", &err);
	tfix_close(&x);
}

/* Steps on one batch learn it; evaluation has no dropout and leaves no trace. */
static void learns(void **state)
{
	struct pt_evaluator e;
	const struct pt_param *bad;
	struct tbatch b;
	struct tfix x;
	double norm, first = 0, before, after;

	(void)state;
	tfix_open(&x, "cpu", FIX_CLASS, PT_TASK_SEQ_CLS, 3);
	tbatch_make(&b, 0, 6, 20, true);
	fit(&x, &b);
	assert_ok(pt_evaluator_init(&e, &x.s.run, x.m, &x.s.feed.o, &err), &err);
	for (int t = 0; t < 30; t++) {
		assert_ok(pt_step_clear(&x.s, &err), &err);
		assert_ok(pt_step_micro(&x.s, &b.x, &err), &err);
		assert_ok(pt_step_update(&x.s, 1e-2, t + 1, 30, &norm, &bad, &err), &err);
		if (!t)
			first = x.s.loss;
	}
	assert_true(x.s.loss < 0.7 * first);
	assert_ok(pt_evaluator_add(&e, &b.x, &err), &err);
	assert_non_null(pt_measure_result(&e.measure, 0, &before));
	pt_measure_clear(&e.measure);
	assert_ok(pt_evaluator_add(&e, &b.x, &err), &err);
	assert_non_null(pt_measure_result(&e.measure, 0, &after));
	assert_true(before == after);
	assert_int_equal(e.measure.targets, 6);
	pt_evaluator_release(&e);
	tfix_close(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accumulation), cmocka_unit_test(plan_is_exact), cmocka_unit_test(too_large), cmocka_unit_test(recompute_to_fit),
		cmocka_unit_test_setup_teardown(not_finite, make_dir, drop_dir), cmocka_unit_test(no_gradient),
		cmocka_unit_test(method_loss), cmocka_unit_test(learns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
