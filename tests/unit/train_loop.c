/* SPDX-License-Identifier: MIT */
/*
 * Whole runs in-process: saved, stopped at every step, resumed, and the same
 * to the bit; what a resumed run refuses.
 */
#include "train_run.h"

#include <dirent.h>

static int count_files(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int n = 0;

	assert_non_null(d);
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void assert_same_runs(const char *a, const char *b)
{
	static const char *const names[] = { "adapter_model.safetensors", "adapter_config.json", "provenance.json",
		"checkpoints/step-00000007/training_state.safetensors",
		"checkpoints/step-00000007/adapter_model.safetensors", "checkpoints/finished" };

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		assert_same_file(a, b, names[i]);
	assert_int_equal(count_files(a), count_files(b));
}

/* Stopped before each micro-batch in turn, again and again: the same end. */
static void stops(void **state)
{
	char whole[300], out[300];

	(void)state;
	snprintf(whole, sizeof whole, "%s", in_dir("whole"));
	reference(whole);
	for (int after = 2; after < 9; after += 3) {
		int starts = 0, status;

		snprintf(out, sizeof out, "%s/out-%d", dir, after);
		do {
			struct run u = { .stop_after = after + 3 * starts };
			struct pt_loop_options o = options(&u, out);
			int64_t before;

			status = go(&u, in_dir("b.pts"), &o);
			before = u.l.resumed;
			assert_true(status == 0 || status == PT_STOPPED);
			assert_int_equal(u.again, before);
			assert_int_equal(u.rows, u.l.at.step);
			end(&u);
			assert_true(++starts < 30);
		} while (status);
		assert_true(starts > 1);
		assert_same_runs(whole, out);
	}
}

/* A finished run is read through and left alone; more input is another run's. */
static void finished(void **state)
{
	char out[300];
	struct run u = { 0 };
	struct pt_loop_options o;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("whole"));
	o = options(&u, out);
	reference(out);
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_int_equal(u.again, STEPS);
	assert_true(u.l.finished_before);
	end(&u);
	/* The published file is missing: killed before the last rename. */
	assert_int_equal(unlink(in_dir("whole/adapter_model.safetensors")), 0);
	memset(&u, 0, sizeof u);
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_true(pt_is_file(in_dir("whole/adapter_model.safetensors")));
	end(&u);
}

static void refuse(const char *input, const struct pt_loop_options *o, struct run *u, int status, const char *part)
{
	memset(u, 0, sizeof *u);
	assert_fails(go(u, input, o), status, part, &err);
	end(u);
}

static void refusals(void **state)
{
	char out[300];
	struct run u = { .stop_after = 8 };
	struct pt_loop_options o;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	tstream_write(in_dir("b.pts"), STEPS, 2, 3, 20, STEPS);
	o = options(&u, out);
	assert_int_equal(go(&u, in_dir("b.pts"), &o), PT_STOPPED);
	assert_int_equal(u.l.saved, 3);
	end(&u);
	/* Other examples under the same HEAD, another HEAD, other options, another base, fewer steps. */
	fix_salt = 1;
	tstream_write(in_dir("other.pts"), STEPS, 2, 3, 20, STEPS);
	fix_salt = 0;
	refuse(in_dir("other.pts"), &o, &u, PT_USAGE, "the input differs");
	o.options = "lr=0.02 seed=11";
	refuse(in_dir("b.pts"), &o, &u, PT_USAGE, "begun with lr=0.01, not lr=0.02");
	o.options = "lr=0.01 seed=11 steps=3";
	refuse(in_dir("b.pts"), &o, &u, PT_USAGE, "begun without steps=3");
	o.options = "lr=0.01";
	refuse(in_dir("b.pts"), &o, &u, PT_USAGE, "begun with seed=11: give");
	o = options(&u, out);
	o.base = 5;
	refuse(in_dir("b.pts"), &o, &u, PT_USAGE, "another base");
	o.base = 0;
	tstream_write(in_dir("other.pts"), STEPS, 2, 3, 20, STEPS + 1);
	refuse(in_dir("other.pts"), &o, &u, PT_USAGE, "other data");
	tstream_write(in_dir("other.pts"), STEPS, 2, 2, 30, STEPS);
	refuse(in_dir("other.pts"), &o, &u, PT_USAGE, "other data");
	tstream_write(in_dir("other.pts"), 2, 2, 3, 20, STEPS);
	refuse(in_dir("other.pts"), &o, &u, PT_USAGE, "the input ends at step 2");
	memset(&u, 0, sizeof u);
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	end(&u);
}

/* More steps than promised: refused, with what is trained saved. */
static void too_many(void **state)
{
	char out[300];
	struct run u = { 0 };
	struct pt_loop_options o;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	tstream_write(in_dir("b.pts"), 3, 1, 3, 20, 2);
	o = options(&u, out);
	o.schedule.total = 2;
	assert_fails(go(&u, in_dir("b.pts"), &o), PT_DATA, "more than the 2 steps", &err);
	assert_int_equal(u.l.saved, 2);
	assert_true(pt_is_dir(in_dir("out/checkpoints/step-00000002")));
	assert_false(pt_is_file(in_dir("out/adapter_model.safetensors")));
	end(&u);
}

/* Evaluations that get no better end the run; the best is what is published. */
static void patience(void **state)
{
	char out[300];
	struct run u = { 0 };
	struct pt_loop_options o;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	tstream_write(in_dir("b.pts"), 40, 1, 3, 20, 40);
	tstream_write(in_dir("e.pts"), 2, 1, 3, 20, 0);
	o = options(&u, out);
	o.eval = in_dir("e.pts");
	o.eval_steps = 1;
	o.patience = 3;
	o.schedule = (struct pt_schedule){ PT_SCHEDULE_CONSTANT, 1, 0, 40 };
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_true(u.l.early && u.l.limited);
	assert_int_equal(u.l.at.step, u.l.at.best_step + 3);
	end(&u);
	/* Again: ends where it ended. */
	memset(&u, 0, sizeof u);
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_true(u.l.finished_before && u.l.early);
	end(&u);
}

static int loss_column(const struct pt_history *h)
{
	int j = 0;

	while (strcmp(h->name[j], "eval_loss"))
		j++;
	return j;
}

/* A stop while an evaluation runs: it is done again after the restart, and nothing is told twice. */
static void stop_in_evaluation(void **state)
{
	struct pt_metric rows[STEPS];
	char whole[300], out[300];

	(void)state;
	tstream_write(in_dir("b.pts"), STEPS, 1, 3, 20, STEPS);
	tstream_write(in_dir("e.pts"), 3, 1, 3, 20, 0);
	for (int after = 0; after < 14; after++) {
		struct run u = { .stop_after = after }, v = { 0 };
		struct pt_loop_options o;

		snprintf(whole, sizeof whole, "%s/whole", dir);
		snprintf(out, sizeof out, "%s/out-%d", dir, after);
		o = options(&u, after ? out : whole);
		o.eval = in_dir("e.pts");
		assert_int_equal(go(&u, in_dir("b.pts"), &o), after ? PT_STOPPED : 0);
		if (!after)
			memcpy(rows, u.l.h.row, sizeof rows);
		end(&u);
		if (!after)
			continue;
		o.arg = &v;
		assert_ok(go(&v, in_dir("b.pts"), &o), &err);
		assert_int_equal(v.rows, STEPS);
		for (int i = 0; i < STEPS; i++) {
			const struct pt_metric *is = &v.l.h.row[i];

			assert_true(is->evaluated == rows[i].evaluated && is->loss == rows[i].loss);
			/* Columns that were read stand in the order of their names. */
			assert_true(!is->evaluated || is->eval[loss_column(&v.l.h)] == rows[i].eval[0]);
		}
		end(&v);
		assert_same_runs(whole, out);
	}
}

static void history(void **state)
{
	struct pt_history h = { 0 }, g = { 0 };
	struct pt_feed_options o = { .task = PT_TASK_CAUSAL_LM };
	struct pt_measure m;

	(void)state;
	assert_ok(pt_measure_init(&m, &o, &err), &err);
	m.loss = 6;
	m.weight = 3;
	m.targets = 4;
	m.correct = 1;
	for (int i = 0; i < 9; i++) {
		struct pt_metric row = { .step = i + 1, .loss = 1.0 / (i + 1), .lr = 0.1, .grad_norm = i, .tokens = 7 * i,
					 .examples = i, .seconds = 0.5, .routed = i > 4, .router = i > 4 ? 2.5 + i : 0 };

		assert_ok(pt_history_add(&h, &row, &err), &err);
		if (i % 3 == 2)
			assert_ok(pt_history_eval(&h, &m, &err), &err);
	}
	assert_ok(pt_history_save(&h, in_dir("m.pts"), &err), &err);
	assert_ok(pt_history_load(&g, in_dir("m.pts"), &err), &err);
	assert_int_equal(g.n, 9);
	/* Columns that were read keep their places when an evaluation follows. */
	assert_ok(pt_history_eval(&g, &m, &err), &err);
	for (size_t i = 0; i < 9; i++) {
		const struct pt_metric *a = &h.row[i], *b = &g.row[i];

		assert_true(a->step == b->step && a->loss == b->loss && a->lr == b->lr && a->grad_norm == b->grad_norm &&
			    a->tokens == b->tokens && a->examples == b->examples && a->seconds == b->seconds &&
			    a->evaluated == b->evaluated && a->routed == b->routed && a->router == b->router);
		for (int k = 0; a->evaluated && k < g.names; k++) {
			int j = 0;

			while (strcmp(h.name[j], g.name[k]))
				j++;
			assert_true(a->eval[j] == b->eval[k]);
		}
	}
	pt_measure_release(&m);
	pt_history_release(&h);
	pt_history_release(&g);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
	const struct CMUnitTest tests[] = {
		CASE(stops), CASE(finished), CASE(refusals), CASE(too_many), CASE(patience),
		CASE(stop_in_evaluation), CASE(history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
