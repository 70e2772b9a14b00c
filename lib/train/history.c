/* SPDX-License-Identifier: MIT */
/*
 * history.c - metrics of a run; see history.h.
 */
#include "train/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define ROUTER "router_loss"

void pt_history_release(struct pt_history *h)
{
	free(h->row);
	memset(h, 0, sizeof *h);
}

int pt_history_add(struct pt_history *h, const struct pt_metric *m, struct pt_error *err)
{
	if (pt_grow(&h->row, &h->cap, h->n + 1, sizeof *h->row, err))
		return err->status;
	h->row[h->n++] = *m;
	return 0;
}

/* Column of a result by its name, a new one where it is the first; -1: no room. */
static int column(struct pt_history *h, const char *name)
{
	for (int j = 0; j < h->names; j++)
		if (!strcmp(h->name[j], name))
			return j;
	if (h->names == PT_EVAL_MAX || strlen(name) >= sizeof h->name[0])
		return -1;
	snprintf(h->name[h->names], sizeof h->name[0], "%s", name);
	return h->names++;
}

int pt_history_eval(struct pt_history *h, const struct pt_measure *m, struct pt_error *err)
{
	struct pt_metric *last;
	const char *name;
	double v;

	if (!h->n)
		return pt_error(err, PT_FAIL, "an evaluation before the first step");
	last = &h->row[h->n - 1];
	for (int i = 0; (name = pt_measure_result(m, i, &v)) != NULL; i++) {
		char full[40];
		int j;

		snprintf(full, sizeof full, "eval_%s", name);
		j = column(h, full);
		if (j < 0)
			return pt_error(err, PT_FAIL, "too many results of an evaluation: %s", full);
		last->eval[j] = v;
		last->evaluated = true;
	}
	return 0;
}

/* Columns of rows [from, to), which are alike in what they have. */
static int write_rows(const struct pt_history *h, size_t from, size_t to, struct pt_writer *w,
		      struct pt_error *err)
{
	enum { INTS = 3, EVALS = 5, REALS = EVALS + PT_EVAL_MAX };
	size_t n = to - from;
	int64_t *ints = pt_malloc(INTS * n, sizeof *ints, err);
	double *reals = pt_malloc(REALS * n, sizeof *reals, err);
	struct pt_st_build b;
	int status = PT_FAIL;

	pt_st_build_init(&b);
	if (!ints || !reals)
		goto out;
	for (size_t i = 0; i < n; i++) {
		const struct pt_metric *m = &h->row[from + i];

		ints[i] = m->step;
		ints[n + i] = m->tokens;
		ints[2 * n + i] = m->examples;
		reals[i] = m->loss;
		reals[n + i] = m->lr;
		reals[2 * n + i] = m->grad_norm;
		reals[3 * n + i] = m->seconds;
		reals[4 * n + i] = m->router;
		for (int k = 0; k < h->names; k++)
			reals[(size_t)(EVALS + k) * n + i] = m->eval[k];
	}
	pt_st_build_array(&b, "step", PT_I64, (int64_t)n, ints);
	pt_st_build_array(&b, "tokens", PT_I64, (int64_t)n, ints + n);
	pt_st_build_array(&b, "examples", PT_I64, (int64_t)n, ints + 2 * n);
	pt_st_build_array(&b, "loss", PT_F64, (int64_t)n, reals);
	pt_st_build_array(&b, "lr", PT_F64, (int64_t)n, reals + n);
	pt_st_build_array(&b, "grad_norm", PT_F64, (int64_t)n, reals + 2 * n);
	pt_st_build_array(&b, "seconds", PT_F64, (int64_t)n, reals + 3 * n);
	if (h->row[from].routed)
		pt_st_build_array(&b, ROUTER, PT_F64, (int64_t)n, reals + 4 * n);
	for (int k = 0; h->row[from].evaluated && k < h->names; k++)
		pt_st_build_array(&b, h->name[k], PT_F64, (int64_t)n, reals + (size_t)(EVALS + k) * n);
	status = pt_writer_data(w, &b, err);
out:
	pt_st_build_release(&b);
	free(ints);
	free(reals);
	return status;
}

int pt_history_write(const struct pt_history *h, size_t i, struct pt_writer *w, struct pt_error *err)
{
	return write_rows(h, i, i + 1, w, err);
}

int pt_history_save(const struct pt_history *h, const char *path, struct pt_error *err)
{
	enum { MOST = 1 << 16 };	/* rows of a record */
	struct pt_writer_options o = { .path = path, .tool = "peft-step", .kind = "metrics" };
	struct pt_writer *w;
	size_t from = 0, to;
	int status = pt_writer_open(&w, &o, err);

	if (status)
		return status;
	status = pt_writer_head(w, NULL, NULL, 0, NULL, err);
	for (; !status && from < h->n; from = to) {
		for (to = from + 1; to < h->n && to - from < MOST &&
		     h->row[to].evaluated == h->row[from].evaluated &&
		     h->row[to].routed == h->row[from].routed; )
			to++;
		status = write_rows(h, from, to, w, err);
	}
	if (!status)
		status = pt_writer_end(w, NULL, NULL, 0, true, err);
	pt_writer_close(w);
	return status;
}

static int load_rows(struct pt_history *h, const struct pt_st *st, struct pt_error *err)
{
	const struct pt_st_tensor *step = pt_st_find(st, "step"), *router = pt_st_find(st, ROUTER);
	const struct pt_st_tensor *col[6 + PT_EVAL_MAX] = { NULL };
	static const char *const name[6] = { "tokens", "examples", "loss", "lr", "grad_norm", "seconds" };
	int64_t n = step ? step->shape[0] : 0;
	int evals = 0;

	if (router && pt_st_require(st, ROUTER, PT_F64, 1, &n, &router, err))
		return err->status;
	for (int i = 0; i < 6; i++)
		if (pt_st_require(st, name[i], i < 2 ? PT_I64 : PT_F64, 1, &n, &col[i], err))
			return err->status;
	for (size_t i = 0; i < st->ntensors; i++)
		evals += !strncmp(st->tensor[i].name, "eval_", 5);
	for (int64_t i = 0; i < n; i++) {
		struct pt_metric m = { .step = ((const int64_t *)step->data)[i],
			.tokens = ((const int64_t *)col[0]->data)[i],
			.examples = ((const int64_t *)col[1]->data)[i],
			.loss = ((const double *)col[2]->data)[i], .lr = ((const double *)col[3]->data)[i],
			.grad_norm = ((const double *)col[4]->data)[i],
			.seconds = ((const double *)col[5]->data)[i], .evaluated = evals > 0, .routed = router != NULL,
			.router = router ? ((const double *)router->data)[i] : 0 };

		for (size_t k = 0; k < st->ntensors && evals; k++) {
			const struct pt_st_tensor *t = &st->tensor[k];
			int j;

			if (strncmp(t->name, "eval_", 5))
				continue;
			j = column(h, t->name);
			if (j < 0)
				return pt_error(err, PT_DATA, "an unknown result %.40s", t->name);
			m.eval[j] = ((const double *)t->data)[i];
		}
		if (pt_history_add(h, &m, err))
			return err->status;
	}
	return 0;
}

int pt_history_load(struct pt_history *h, const char *path, struct pt_error *err)
{
	const char *const paths[] = { path };
	const struct pt_record *rec;
	struct pt_reader *r;
	int status = pt_reader_open(&r, paths, 1, "metrics", 0, err);

	pt_history_release(h);
	while (!status) {
		status = pt_reader_data(r, &rec, err);
		if (status || !rec)
			break;
		status = load_rows(h, &rec->st, err);
	}
	pt_reader_close(r);
	return status;
}
