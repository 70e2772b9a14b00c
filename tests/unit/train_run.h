/* SPDX-License-Identifier: MIT */
/*
 * train_run.h - what the tests of whole runs share: one start of a run, with
 * a stop at will and its metrics checked, and a run from begin to end.
 */
#ifndef PT_TRAIN_RUN_H
#define PT_TRAIN_RUN_H

#include "train_fix.h"

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
	bool made;

	tfix_open(&u->x, "cpu", FIX_LORA, PT_TASK_CAUSAL_LM, 0);
	assert_ok(pt_loop_lock(o->out, &fd, &made, &err), &err);
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

#endif
