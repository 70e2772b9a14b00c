/* SPDX-License-Identifier: MIT */
/*
 * Whole runs in-process: saved, stopped at every step, resumed, and the same
 * to the bit; what a resumed run refuses; what it leaves on disk.
 */
#include "train_fix.h"

#include <math.h>
#include <dirent.h>

#include "train/checkpoint_priv.h"
#include "train/loop_priv.h"

enum { STEPS = 7 };

struct run {
	struct tfix x;
	struct pt_reader *r;
	struct pt_loop l;
	int asked, stop_after;		/* calls of stop(); non-zero from this one on; 0: never */
	int rows, again;
	double loss[64];
};

static int stop(void *arg)
{
	struct run *u = arg;

	return u->stop_after && ++u->asked >= u->stop_after;
}

static int metric(void *arg, const struct pt_history *h, size_t i, bool again, struct pt_error *e)
{
	struct run *u = arg;

	(void)e;
	assert_int_equal(h->row[i].step, u->rows + 1);
	u->loss[u->rows++] = h->row[i].loss;
	u->again += again;
	return 0;
}

static struct pt_loop_options options(struct run *u, const char *out)
{
	return (struct pt_loop_options){ .out = out, .tool = "test", .options = "lr=0.01 seed=11",
		.schedule = { PT_SCHEDULE_LINEAR, 0.01, 0, STEPS }, .eval_steps = 2, .keep = 2, .stop = stop,
		.metric = metric, .arg = u };
}

/* One start of a run; its status. */
static int go(struct run *u, const char *input, const struct pt_loop_options *o)
{
	const char *const paths[] = { input };
	int fd, status;

	tfix_open(&u->x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	assert_ok(pt_loop_lock(o->out, &fd, &err), &err);
	assert_ok(pt_reader_open(&u->r, paths, 1, "batch", 0, &err), &err);
	status = pt_loop_open(&u->l, o, &u->x.s, u->r, &err);
	if (!status)
		status = pt_loop_run(&u->l, &err);
	return pt_lock_close(&fd), status;
}

static void end(struct run *u)
{
	pt_loop_close(&u->l);
	pt_reader_close(u->r);
	tfix_close(&u->x);
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
	char *p = pt_path_join(a, name, &err), *q = pt_path_join(b, name, &err);
	struct pt_buf x = PT_BUF_INIT, y = PT_BUF_INIT;

	assert_ok(pt_file_read(p, 1 << 24, &x, &err), &err);
	assert_ok(pt_file_read(q, 1 << 24, &y, &err), &err);
	if (x.len != y.len || memcmp(x.data, y.data, x.len))
		fail_msg("%s and %s differ", p, q);
	pt_buf_release(&x);
	pt_buf_release(&y);
	free(p);
	free(q);
}

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

static void reference(const char *out)
{
	struct pt_loop_options o;
	struct run u = { 0 };

	tstream_write(in_dir("b.pts"), STEPS, 2, 3, 20, STEPS);
	o = options(&u, out);
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_int_equal(u.rows, STEPS);
	assert_int_equal(u.again, 0);
	assert_false(u.l.limited);
	end(&u);
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
	refuse(in_dir("b.pts"), &o, &u, PT_USAGE, "not steps=3");
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

/* Newest two and the best are kept; a damaged one is passed over. */
static void kept(void **state)
{
	char out[300], path[400];
	struct run u = { 0 };
	struct pt_loop_options o;
	struct pt_checkpoint c;
	int64_t *steps;
	size_t n;
	FILE *f;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	tstream_write(in_dir("b.pts"), STEPS, 1, 3, 20, STEPS);
	tstream_write(in_dir("e.pts"), 2, 1, 3, 20, 0);
	o = options(&u, out);
	o.save_steps = 1;
	o.eval = in_dir("e.pts");
	o.schedule.lr = 1;		/* too much: evaluations get worse */
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	assert_ok(pt_checkpoint_steps(out, &steps, &n, &err), &err);
	assert_true(u.l.at.best_step > 0 && u.l.at.best_step < STEPS - 1);
	assert_int_equal(n, 3);
	assert_int_equal(steps[0], u.l.at.best_step);
	assert_int_equal(steps[1], STEPS - 1);
	assert_int_equal(steps[2], STEPS);
	/* What was published is the best. */
	snprintf(path, sizeof path, "%s/checkpoints/step-%08d", out, (int)steps[0]);
	assert_same_file(path, out, "adapter_model.safetensors");
	end(&u);
	free(steps);
	snprintf(path, sizeof path, "%s/checkpoints/step-%08d/training_state.safetensors", out, STEPS);
	f = fopen(path, "r+b");
	assert_non_null(f);
	fseek(f, -5, SEEK_END);
	fputc('x', f);
	fclose(f);
	assert_ok(pt_checkpoint_find(&c, out, INT64_MAX, &err), &err);
	assert_int_equal(c.at.step, STEPS - 1);
	pt_checkpoint_release(&c);
}

static void overwrite(const char *path, const char *bytes)
{
	FILE *f = fopen(path, "r+b");

	assert_non_null(f);
	assert_true(fputs(bytes, f) >= 0);
	fclose(f);
}

static void assert_steps(const char *out, int count, int64_t first)
{
	int64_t *steps;
	size_t n;

	assert_ok(pt_checkpoint_steps(out, &steps, &n, &err), &err);
	assert_int_equal(n, count);
	assert_int_equal(steps[0], first);
	free(steps);
}

/*
 * What cannot be loaded is set aside, the checkpoint before it is taken, and
 * what is saved next stays though its number is smaller.
 */
static void damaged(void **state)
{
	static const char *const files[] = { "training_state.json", "training_state.safetensors", "metrics.pts" };
	char whole[300], out[300];

	(void)state;
	snprintf(whole, sizeof whole, "%s", in_dir("whole"));
	reference(whole);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct run u = { .stop_after = 10 };
		struct pt_loop_options o;
		char path[400];

		snprintf(out, sizeof out, "%s/out-%zu", dir, i);
		o = options(&u, out);
		o.save_steps = 2;
		assert_int_equal(go(&u, in_dir("b.pts"), &o), PT_STOPPED);
		assert_steps(out, 2, 2);
		assert_int_equal(u.l.saved, 4);
		end(&u);
		snprintf(path, sizeof path, "%s/checkpoints/step-00000004/%s", out, files[i]);
		overwrite(path, "damaged");
		/* Begins again at 2, is stopped at 3. */
		memset(&u, 0, sizeof u);
		u.stop_after = 8;
		o.keep = 1;
		assert_int_equal(go(&u, in_dir("b.pts"), &o), PT_STOPPED);
		assert_int_equal(u.l.resumed, 2);
		assert_int_equal(u.l.saved, 3);
		assert_steps(out, 1, 3);
		snprintf(path, sizeof path, "%s/checkpoints/damaged-00000004", out);
		assert_true(pt_is_dir(path));
		end(&u);
		/* Nothing is left to go on from: from the start, with the values of -a. */
		snprintf(path, sizeof path, "%s/checkpoints/step-00000003/%s", out, files[i]);
		overwrite(path, "damaged");
		memset(&u, 0, sizeof u);
		assert_ok(go(&u, in_dir("b.pts"), &o), &err);
		assert_int_equal(u.l.resumed, 0);
		end(&u);
		assert_steps(out, 1, STEPS);
		assert_same_file(whole, out, "adapter_model.safetensors");
	}
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

/* An evaluation that is not finite is never the best, and does not read as 0 from a checkpoint. */
static void nan_is_never_best(void **state)
{
	struct pt_checkpoint c;
	char out[300];
	struct run u = { 0 };
	struct pt_loop_options o;
	struct pt_progress *at = &u.l.at;
	struct pt_param *p;
	float was, nan = NAN;
	bool best;

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	tstream_write(in_dir("b.pts"), STEPS, 1, 3, 20, STEPS);
	tstream_write(in_dir("e.pts"), 2, 1, 3, 20, 0);
	o = options(&u, out);
	o.eval = in_dir("e.pts");
	assert_ok(go(&u, in_dir("b.pts"), &o), &err);
	p = u.x.s.opt.params->item[0];
	assert_ok(u.x.dev->download(u.x.dev, &was, p->t.data, sizeof was, &err), &err);
	assert_ok(u.x.dev->upload(u.x.dev, p->t.data, &nan, sizeof nan, &err), &err);
	at->best_step = at->stale = 0;
	assert_ok(pt_loop_evaluate(&u.l, &best, &err), &err);
	assert_true(!best && at->best_step == 0 && at->stale == 1);
	at->best_loss = NAN;
	at->best_step = 5;
	assert_ok(pt_checkpoint_save(out, &u.l.id, at, NULL, &u.x.s.opt, &u.l.h, 2, &err), &err);
	assert_ok(pt_checkpoint_find(&c, out, INT64_MAX, &err), &err);
	assert_int_equal(c.at.step, STEPS);
	assert_int_equal(c.at.best_step, 0);
	pt_checkpoint_release(&c);
	at->best_step = 0;
	assert_ok(u.x.dev->upload(u.x.dev, p->t.data, &was, sizeof was, &err), &err);
	assert_ok(pt_loop_evaluate(&u.l, &best, &err), &err);
	assert_true(best && at->best_step == STEPS && isfinite(at->best_loss));
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
	struct pt_measure m = { .task = PT_TASK_CAUSAL_LM, .loss = 6, .weight = 3, .targets = 4, .correct = 1 };

	(void)state;
	for (int i = 0; i < 9; i++) {
		struct pt_metric row = { .step = i + 1, .loss = 1.0 / (i + 1), .lr = 0.1, .grad_norm = i, .tokens = 7 * i,
					 .examples = i, .seconds = 0.5 };

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
			    a->evaluated == b->evaluated);
		for (int k = 0; a->evaluated && k < g.names; k++) {
			int j = 0;

			while (strcmp(h.name[j], g.name[k]))
				j++;
			assert_true(a->eval[j] == b->eval[k]);
		}
	}
	pt_history_release(&h);
	pt_history_release(&g);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
	const struct CMUnitTest tests[] = {
		CASE(stops), CASE(finished), CASE(refusals), CASE(too_many), CASE(kept), CASE(damaged), CASE(patience),
		CASE(nan_is_never_best), CASE(stop_in_evaluation), CASE(history),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
