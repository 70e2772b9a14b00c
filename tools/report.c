/* SPDX-License-Identifier: MIT */
/*
 * report.c - metrics and progress; see report.h.
 */
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tool.h"

/* Nobody reads any more, or the disk is full: the training goes on. */
static void give_up(struct report *r, const struct pt_error *err)
{
	pt_writer_close(r->w);
	r->w = NULL;
	r->broken = true;
	r->why = *err;
	tool_warn("metrics: %s; training goes on without them", err->msg);
}

int report_open(struct report *r, bool quiet, struct pt_error *err)
{
	struct pt_writer_options o = { .tool = "peft-step", .kind = "metrics" };

	r->text = isatty(STDOUT_FILENO);
	r->progress = !quiet && isatty(STDERR_FILENO);
	return r->text ? 0 : pt_writer_open(&r->w, &o, err);
}

void report_head(struct report *r, const struct pt_record *head, const char *options, int64_t total)
{
	struct pt_error e = PT_ERROR_INIT;
	struct pt_st_build b;

	r->total = total;
	r->began = pt_now();
	if (!r->w)
		return;
	pt_st_build_init(&b);
	pt_head_inherit(&b, head);
	if (pt_writer_head(r->w, &b, &head, 1, options, &e))
		give_up(r, &e);
	pt_st_build_release(&b);
}

static void clear_line(struct report *r)
{
	if (r->progress && r->shown > 0)
		fputs("\r\033[K", stderr);
}

static void print_row(const struct pt_history *h, const struct pt_metric *m)
{
	printf("step %lld  loss %.4f  lr %.3g  grad_norm %.4g  %lld tokens  %.3f s", (long long)m->step, m->loss,
	       m->lr, m->grad_norm, (long long)m->tokens, m->seconds);
	if (m->routed)
		printf("  router_loss %.4f", m->router);
	for (int k = 0; m->evaluated && k < h->names; k++)
		printf("  %s %.4f", h->name[k], m->eval[k]);
	putchar('\n');
	fflush(stdout);
}

static void show_progress(struct report *r, const struct pt_metric *m)
{
	double t = pt_now(), used = t - r->began;
	int64_t left = r->total > m->step ? r->total - m->step : 0;

	r->steps++;
	r->tokens += m->tokens;
	if (!r->progress || (t - r->shown < 0.1 && left))
		return;
	r->shown = t;
	fprintf(stderr, "\rstep %lld", (long long)m->step);
	if (r->total)
		fprintf(stderr, "/%lld", (long long)r->total);
	fprintf(stderr, "  loss %.4f  %.0f tokens/s", m->loss, used > 0 ? (double)r->tokens / used : 0);
	if (r->total) {
		long s = (long)(used / (double)r->steps * (double)left + 0.5);

		fprintf(stderr, "  %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
	}
	fputs("\033[K", stderr);
	fflush(stderr);
}

int report_row(struct report *r, const struct pt_history *h, size_t i, bool again, struct pt_error *err)
{
	struct pt_error e = PT_ERROR_INIT;

	(void)err;
	if (r->text) {
		clear_line(r);
		print_row(h, &h->row[i]);
	} else if (r->w && pt_history_write(h, i, r->w, &e)) {
		clear_line(r);
		give_up(r, &e);
	}
	if (!again)
		show_progress(r, &h->row[i]);
	return 0;
}

void report_close(struct report *r, struct pt_reader *in, bool limited, const struct pt_error *err,
		  const char *signal)
{
	struct pt_error e = PT_ERROR_INIT;

	clear_line(r);
	if (r->w && err->status)
		pt_writer_fail_from(r->w, &in, 1, err, signal);
	else if (r->w && pt_writer_end(r->w, NULL, &in, 1, limited, &e))
		give_up(r, &e);
	pt_writer_close(r->w);
	r->w = NULL;
}
