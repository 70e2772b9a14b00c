/* SPDX-License-Identifier: MIT */
/*
 * What runs leave on disk: which checkpoints are kept, what is done with
 * damaged ones, which is the best.
 */
#include "train_run.h"

#include <math.h>

#include "train/checkpoint_priv.h"
#include "train/loop_priv.h"

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

/* What cannot be read now may be whole: the start fails, and every checkpoint stays under its name. A file that is gone is damage. */
static void unreadable(void **state)
{
	static const char *const files[] = { "training_state.json", "training_state.safetensors", "metrics.pts" };
	char out[300], path[400], kept[410];

	(void)state;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct run u = { .stop_after = 10 };
		struct pt_loop_options o;

		snprintf(out, sizeof out, "%s/out-%zu", dir, i);
		tstream_write(in_dir("b.pts"), STEPS, 2, 3, 20, STEPS);
		o = options(&u, out);
		o.save_steps = 2;
		assert_int_equal(go(&u, in_dir("b.pts"), &o), PT_STOPPED);
		end(&u);
		snprintf(path, sizeof path, "%s/checkpoints/step-00000004/%s", out, files[i]);
		snprintf(kept, sizeof kept, "%s.kept", path);
		assert_int_equal(rename(path, kept), 0);
		/* A link to itself: also root cannot read it. */
		assert_int_equal(symlink(files[i], path), 0);
		memset(&u, 0, sizeof u);
		assert_fails(go(&u, in_dir("b.pts"), &o), PT_FAIL, files[i], &err);
		end(&u);
		assert_steps(out, 2, 2);
		assert_int_equal(unlink(path), 0);
		memset(&u, 0, sizeof u);
		assert_ok(go(&u, in_dir("b.pts"), &o), &err);
		assert_int_equal(u.l.resumed, 2);
		end(&u);
	}
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

/* A file that was damaged in its checkpoint is not published. */
static void published(void **state)
{
	struct run u = { 0 };
	struct pt_loop_options o;
	char out[300];

	(void)state;
	snprintf(out, sizeof out, "%s", in_dir("out"));
	reference(out);
	assert_int_equal(unlink(in_dir("out/adapter_model.safetensors")), 0);
	overwrite(in_dir("out/checkpoints/step-00000007/adapter_model.safetensors"), "damaged");
	o = options(&u, out);
	assert_fails(go(&u, in_dir("b.pts"), &o), PT_DATA, "adapter_model.safetensors is damaged", &err);
	assert_false(pt_is_file(in_dir("out/adapter_model.safetensors")));
	end(&u);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)
	const struct CMUnitTest tests[] = {
		CASE(kept), CASE(damaged), CASE(unreadable), CASE(nan_is_never_best), CASE(published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
