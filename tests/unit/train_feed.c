/* SPDX-License-Identifier: MIT */
/*
 * Micro-batches as the model reads them: the causal shift, weights, classes
 * by map, random keys; and what an evaluation makes of results.
 */
#include "train_fix.h"

#include <math.h>

#include "train/measure.h"

static struct pt_device *dev;
static struct pt_run run;

static int open_run(void **state)
{
	(void)state;
	assert_ok(pt_device_open(&dev, "cpu", &(struct pt_device_options){ .threads = 1 }, &err), &err);
	assert_ok(pt_run_init(&run, dev, 1 << 20, &err), &err);
	return 0;
}

static int close_run(void **state)
{
	(void)state;
	pt_run_release(&run);
	pt_device_close(dev);
	return 0;
}

/* Three sequences; labels on first tokens and -100 in between. */
static const int64_t idx[3] = { 4, 9, 2 }, cu[4] = { 0, 3, 4, 8 };
static const int32_t ids[8] = { 10, 11, 12, 20, 30, 31, 32, 33 };
static const int32_t labels[8] = { 10, 11, -100, 20, -100, 31, 32, -100 };

static struct pt_examples three(void)
{
	return (struct pt_examples){ .n = 3, .tokens = 8, .index = idx, .offsets = cu, .input_ids = ids,
		.labels = labels, .step = 1, .micro = 1, .micros = 1, .epoch = 2, .step_examples = 3,
		.step_tokens = 6, .step_weight = 3 };
}

static void shift(void **state)
{
	struct pt_feed_options o = { .task = PT_TASK_CAUSAL_LM, .seed = 1 };
	struct pt_examples x = three();
	struct pt_feed f;

	(void)state;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	/* The label on the first token of a sequence is no target. */
	assert_int_equal(f.rows, 3);
	assert_int_equal(f.seq[0], 0);
	assert_int_equal(f.at[0], 0);
	assert_int_equal(f.label[0], 11);
	assert_int_equal(f.seq[1], 2);
	assert_int_equal(f.at[1], 0);
	assert_int_equal(f.label[1], 31);
	assert_int_equal(f.at[2], 1);
	assert_int_equal(f.label[2], 32);
	for (int i = 0; i < 3; i++)
		assert_true(f.weight[i] == 1.0f / 6);
	assert_int_equal(f.in.rows.n, 8);
	assert_int_equal(f.in.rows.batch, 3);
	assert_int_equal(f.in.rows.max_len, 4);
	assert_int_equal(f.in.rows.host_cu[2], 4);
	pt_feed_release(&f);
}

/* A decoder reads its targets one place to the right; the first is a target, too. */
static void decoder(void **state)
{
	static const int64_t dcu[4] = { 0, 2, 2, 5 };
	static const int32_t dids[5] = { 40, 41, 50, 51, 52 }, dlabels[5] = { 40, -100, 50, -100, 52 };
	static const int32_t read[5] = { 7, 40, 7, 50, 51 };
	struct pt_feed_options o = { .task = PT_TASK_SEQ2SEQ_LM, .decoder_start = 7, .seed = 1 };
	struct pt_bounds b, less;
	struct pt_examples x = three();
	struct pt_feed f;

	(void)state;
	x.step_tokens = 5;
	x.labels = NULL;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_fails(pt_feed_fill(&f, &run, &x, &err), PT_DATA, "no decoder_ids", &err);
	x.decoder_ids = dids;
	x.decoder_offsets = dcu;
	x.decoder_tokens = 5;
	pt_run_reset(&run);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_int_equal(f.in.rows.n, 8);
	assert_int_equal(f.in.decoder_rows.n, 5);
	assert_int_equal(f.in.decoder_rows.batch, 3);
	assert_int_equal(f.in.decoder_rows.max_len, 3);
	assert_memory_equal(f.in.host_decoder_ids, read, sizeof read);
	assert_memory_equal(f.in.decoder_ids, read, sizeof read);
	assert_memory_equal(f.in.decoder_rows.pos, ((int32_t[]){ 0, 1, 0, 1, 2 }), sizeof read);
	assert_int_equal(f.in.decoder_rows.host_cu[2], 2);
	/* Random numbers of an example are the same on both sides; places and modules tell them apart. */
	assert_true(f.in.decoder_rows.key[2] == f.in.rows.key[4]);
	assert_ptr_equal(pt_feed_target_rows(&f), &f.in.decoder_rows);
	assert_int_equal(f.rows, 5);
	assert_memory_equal(f.label, dids, sizeof dids);
	assert_true(f.seq[2] == 2 && f.at[2] == 0 && f.seq[4] == 2 && f.at[4] == 2);
	assert_true(f.weight[0] == 1.0f / 5);

	x.decoder_labels = dlabels;
	pt_run_reset(&run);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_int_equal(f.rows, 3);
	assert_true(f.label[1] == 50 && f.seq[1] == 2 && f.at[1] == 0 && f.label[2] == 52 && f.at[2] == 2);
	assert_memory_equal(f.in.host_decoder_ids, read, sizeof read);

	b = pt_bounds_of(&x);
	assert_true(b.tokens == 8 && b.seqs == 3 && b.len == 4 && b.decoder_tokens == 5 && b.decoder_len == 3);
	less = b;
	assert_true(pt_bounds_hold(&less, &b));
	less.decoder_len--;
	assert_false(pt_bounds_hold(&less, &b));
	less.decoder_tokens--;
	pt_bounds_raise(&less, &b);
	assert_true(pt_bounds_hold(&less, &b) && pt_bounds_hold(&b, &less));
	/* Fewer decoder tokens than sequences: the last ones are empty. */
	b.decoder_tokens = 2;
	pt_run_reset(&run);
	assert_ok(pt_feed_plan(&f, &run, &b, &err), &err);
	assert_true(f.rows == 2 && f.in.rows.n == 8 && f.in.rows.max_len == 4 && f.in.decoder_rows.n == 2);
	assert_memory_equal(f.in.decoder_rows.host_cu, ((int32_t[]){ 0, 1, 2, 2 }), 4 * sizeof *dids);
	b.decoder_tokens = 6;
	pt_run_reset(&run);
	assert_ok(pt_feed_plan(&f, &run, &b, &err), &err);
	assert_true(f.rows == 6 && f.in.decoder_rows.max_len == 3);
	assert_memory_equal(f.in.decoder_rows.host_cu, ((int32_t[]){ 0, 3, 5, 6 }), 4 * sizeof *dids);
	pt_feed_release(&f);
}

static void weights(void **state)
{
	static const float w[3] = { 1, 0, 3 }, none[3] = { 0, 0, 0 };
	struct pt_feed_options o = { .task = PT_TASK_CAUSAL_LM };
	struct pt_examples x = three();
	struct pt_feed f;

	(void)state;
	x.weight = w;
	x.step_weight = 4;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_true(fabs(f.weight[0] - 1.0 / 6 * 3 / 4) < 1e-7);
	assert_true(fabs(f.weight[1] - 3.0 / 6 * 3 / 4) < 1e-7);
	/* A step of which nothing counts. */
	x.weight = none;
	x.step_weight = 0;
	pt_run_reset(&run);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_true(f.weight[0] == 0);
	pt_feed_release(&f);
}

static void classes(void **state)
{
	static const int32_t cls[3] = { 1, 0, -100 }, map[2] = { 2, 0 };
	struct pt_feed_options o = { .task = PT_TASK_SEQ_CLS, .problem = PT_PROBLEM_SINGLE, .nlabels = 3,
				     .class_map = map, .nmap = 2 };
	struct pt_examples x = three();
	int32_t wrong[3] = { 0, 2, 0 };
	float target[6] = { 0 };
	struct pt_feed f;

	(void)state;
	x.labels = NULL;
	x.cls = cls;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_int_equal(f.rows, 3);
	assert_int_equal(f.label[0], 0);
	assert_int_equal(f.label[1], 2);
	assert_int_equal(f.label[2], -100);
	assert_true(f.weight[0] == 1.0f / 3);
	x.cls = wrong;
	assert_fails(pt_feed_fill(&f, &run, &x, &err), PT_DATA, "example 9 has class 2", &err);
	x.cls = NULL;
	x.target = target;
	x.k = 2;
	assert_fails(pt_feed_fill(&f, &run, &x, &err), PT_DATA, "the model learns classes", &err);
	pt_feed_release(&f);
	o.problem = PT_PROBLEM_REGRESSION;
	o.class_map = NULL;
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_fails(pt_feed_fill(&f, &run, &x, &err), PT_DATA, "targets of 2 numbers", &err);
	pt_feed_release(&f);
	o.task = PT_TASK_NONE;
	assert_fails(pt_feed_init(&f, &o, &err), PT_USAGE, "a body without a task", &err);
}

/* Columns of several labels follow the names too. */
static void several_labels(void **state)
{
	static const int32_t map[2] = { 2, 0 };
	static const float target[6] = { 1, 0, 0, 1, 1, 1 };
	static const float want[9] = { 0, 0, 1, 1, 0, 0, 1, 0, 1 };
	struct pt_feed_options o = { .task = PT_TASK_SEQ_CLS, .problem = PT_PROBLEM_MULTI, .nlabels = 3,
				     .class_map = map, .nmap = 2 };
	struct pt_examples x = three();
	struct pt_feed f;

	(void)state;
	x.labels = NULL;
	x.target = target;
	x.k = 2;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_memory_equal(f.target, want, sizeof want);
	pt_feed_release(&f);
}

static void keys(void **state)
{
	uint64_t a = pt_feed_key(1, 2, 3, 0);

	(void)state;
	assert_true(a == pt_feed_key(1, 2, 3, 0));
	assert_true(a != pt_feed_key(2, 2, 3, 0) && a != pt_feed_key(1, 3, 3, 0) && a != pt_feed_key(1, 2, 4, 0) &&
		    a != pt_feed_key(1, 2, 3, 1));
}

static double result(const struct pt_measure *m, const char *name)
{
	const char *is;
	double v;

	for (int i = 0; (is = pt_measure_result(m, i, &v)) != NULL; i++)
		if (!strcmp(is, name))
			return v;
	fail_msg("no result %s", name);
	return 0;
}

static void measures(void **state)
{
	struct pt_feed_options o = { .task = PT_TASK_SEQ_CLS, .problem = PT_PROBLEM_SINGLE, .nlabels = 3 };
	static const int32_t cls[3] = { 1, 0, 1 };
	static const float z[9] = { 0, 1, 0, 2, 1, 0, 0, 0, 3 }, loss[3] = { 0.5f, 0.25f, 3 };
	struct pt_examples x = three();
	struct pt_measure m;
	struct pt_feed f;
	double p, r, f1;
	int which;

	(void)state;
	x.labels = NULL;
	x.cls = cls;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_ok(pt_measure_init(&m, &o, &err), &err);
	assert_null(pt_measure_result(&m, 0, &p));
	assert_ok(pt_measure_add(&m, &f, loss, z, NULL, NULL, &err), &err);
	/* scikit-learn: accuracy 2/3, f1 of the classes 1, 2/3 and 0, macro 0.5556 */
	assert_true(fabs(result(&m, "loss") - 1.25) < 1e-12);
	assert_true(fabs(result(&m, "accuracy") - 2.0 / 3) < 1e-12);
	assert_true(fabs(result(&m, "f1_macro") - 5.0 / 9) < 1e-12);
	assert_int_equal(pt_measure_class(&m, 1, &p, &r, &f1), 2);
	assert_true(p == 1 && r == 0.5 && fabs(f1 - 2.0 / 3) < 1e-12);
	assert_true(fabs(pt_measure_majority(&m, &which) - 2.0 / 3) < 1e-12);
	assert_int_equal(which, 1);
	pt_measure_clear(&m);
	assert_null(pt_measure_result(&m, 0, &p));
	pt_measure_release(&m);
	pt_feed_release(&f);
}

static void token_measures(void **state)
{
	struct pt_feed_options o = { .task = PT_TASK_CAUSAL_LM };
	static const float loss[3] = { 1, 2, 3 };
	static const int32_t argmax[3] = { 11, 30, 32 };
	static const float router[2] = { 3, 2 };
	struct pt_examples x = three();
	struct pt_measure m;
	struct pt_feed f;
	double v;

	(void)state;
	pt_run_reset(&run);
	assert_ok(pt_feed_init(&f, &o, &err), &err);
	assert_ok(pt_feed_fill(&f, &run, &x, &err), &err);
	assert_ok(pt_measure_init(&m, &o, &err), &err);
	assert_ok(pt_measure_add(&m, &f, loss, NULL, argmax, NULL, &err), &err);
	assert_true(result(&m, "loss") == 2);
	assert_true(fabs(result(&m, "perplexity") - exp(2)) < 1e-12);
	assert_true(fabs(result(&m, "accuracy") - 2.0 / 3) < 1e-12);
	/* What routers did counts as much as the losses of its micro-batch, and comes last. */
	assert_null(pt_measure_result(&m, 3, &v));
	pt_measure_clear(&m);
	assert_ok(pt_measure_add(&m, &f, loss, NULL, argmax, &router[0], &err), &err);
	f.rows = 1;
	assert_ok(pt_measure_add(&m, &f, loss, NULL, argmax, &router[1], &err), &err);
	assert_string_equal(pt_measure_result(&m, 3, &v), "router_loss");
	assert_true(v == 2.75);
	assert_true(result(&m, "loss") == 7.0 / 4);
	assert_null(pt_measure_result(&m, 4, &v));
	pt_measure_release(&m);
	pt_feed_release(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shift), cmocka_unit_test(decoder), cmocka_unit_test(weights), cmocka_unit_test(classes),
		cmocka_unit_test(several_labels), cmocka_unit_test(keys), cmocka_unit_test(measures),
		cmocka_unit_test(token_measures),
	};

	return cmocka_run_group_tests(tests, open_run, close_run);
}
