/* SPDX-License-Identifier: MIT */
/*
 * view_metrics.c - metrics as a table. What was evaluated stands only in some
 * records: in text behind its line, in TSV in columns, which are known at the end.
 */
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/dtype.h"
#include "base/mem.h"

static const struct { const char *name, *head, *format; } fixed[] = {
	{ "step", "%8s", "%8.0f" }, { "loss", " %10s", " %10.5g" }, { "lr", " %10s", " %10.4g" },
	{ "grad_norm", " %10s", " %10.4g" }, { "tokens", " %8s", " %8.0f" }, { "examples", " %8s", " %8.0f" },
	{ "seconds", " %9s", " %9.3f" },
};
enum { N_FIXED = sizeof fixed / sizeof *fixed };

static bool is_fixed(const char *name)
{
	for (int i = 0; i < N_FIXED; i++)
		if (!strcmp(fixed[i].name, name))
			return true;
	return false;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void text_row(struct view *v, struct table *t, const struct pt_st *st, size_t row)
{
	double x;

	for (int i = 0; !t->headed && i < N_FIXED; i++)
		pt_buf_printf(&v->out, fixed[i].head, fixed[i].name);
	pt_buf_str(&v->out, t->headed ? "" : "\n");
	t->headed = true;
	for (int i = 0; i < N_FIXED; i++) {
		values_load(pt_st_find(st, fixed[i].name), row, 1, &x);
		pt_buf_printf(&v->out, fixed[i].format, pt_plain_nan(x));
	}
	for (size_t i = 0; i < st->ntensors; i++) {
		if (*st->tensor[i].name == '_' || is_fixed(st->tensor[i].name))
			continue;
		values_load(&st->tensor[i], row, 1, &x);
		pt_buf_str(&v->out, "  ");
		view_name(v, st->tensor[i].name);
		pt_buf_printf(&v->out, " %.5g", pt_plain_nan(x));
	}
	pt_buf_char(&v->out, '\n');
}
#pragma GCC diagnostic pop

static void json_member(struct view *v, const struct pt_st_tensor *t, size_t row, const char *between)
{
	pt_buf_str(&v->out, between);
	view_name(v, t->name);
	pt_buf_char(&v->out, ':');
	values_text(t, row, true, &v->out);
}

static void json_row(struct view *v, const struct pt_st *st, size_t row)
{
	const char *between = "{";

	for (int i = 0; i < N_FIXED; i++)
		if (view_wanted(v, fixed[i].name)) {
			json_member(v, pt_st_find(st, fixed[i].name), row, between);
			between = ",";
		}
	for (size_t i = 0; i < st->ntensors; i++)
		if (*st->tensor[i].name != '_' && !is_fixed(st->tensor[i].name) && view_wanted(v, st->tensor[i].name)) {
			json_member(v, &st->tensor[i], row, between);
			between = ",";
		}
	pt_buf_str(&v->out, *between == '{' ? "{}\n" : "}\n");
}

static int column_of(struct table *t, const char *name, size_t *at, struct pt_error *err)
{
	for (*at = 0; *at < t->ncolumns; ++*at)
		if (!strcmp(t->column[*at], name))
			return 0;
	if (pt_grow(&t->column, &t->cap_columns, t->ncolumns + 1, sizeof *t->column, err))
		return err->status;
	t->column[t->ncolumns] = pt_strdup(name, err);
	t->ncolumns += t->column[t->ncolumns] != NULL;
	return err->status;
}

static int add_cell(struct view *v, struct table *t, const struct pt_st_tensor *x, size_t row, struct pt_error *err)
{
	struct pt_buf text = PT_BUF_INIT;
	size_t column;

	if (!view_wanted(v, x->name) || column_of(t, x->name, &column, err) ||
	    pt_grow(&t->cell, &t->cap_cells, t->ncells + 1, sizeof *t->cell, err))
		return err->status;
	values_text(x, row, false, &text);
	if (pt_buf_check(&text, err)) {
		pt_buf_release(&text);
		return err->status;
	}
	t->cell[t->ncells++] = (struct table_cell){ t->nrows, column, text.data };
	return 0;
}

static int add_row(struct view *v, struct table *t, const struct pt_st *st, size_t row, struct pt_error *err)
{
	for (int i = 0; i < N_FIXED; i++)
		if (add_cell(v, t, pt_st_find(st, fixed[i].name), row, err))
			return err->status;
	for (size_t i = 0; i < st->ntensors; i++)
		if (*st->tensor[i].name != '_' && !is_fixed(st->tensor[i].name) &&
		    add_cell(v, t, &st->tensor[i], row, err))
			return err->status;
	t->nrows++;
	return 0;
}

int view_metrics(struct view *v, struct table *t, const struct pt_record *rec, int64_t n, struct pt_error *err)
{
	for (int64_t i = 0; i < n && !err->status; i++) {
		if (v->format == VIEW_TSV)
			add_row(v, t, &rec->st, (size_t)i, err);
		else if (v->format == VIEW_JSON)
			json_row(v, &rec->st, (size_t)i);
		else
			text_row(v, t, &rec->st, (size_t)i);
	}
	if (!err->status && v->format != VIEW_TSV) {
		view_flush(v, err);
		/* Somebody may be watching a run. */
		fflush(stdout);
	}
	return err->status;
}

void view_metrics_end(struct view *v, struct table *t)
{
	size_t at = 0;

	for (size_t c = 0; c < t->ncolumns; c++) {
		pt_buf_str(&v->out, c ? "\t" : "");
		view_name(v, t->column[c]);
	}
	pt_buf_str(&v->out, t->ncolumns ? "\n" : "");
	for (size_t row = 0; row < t->nrows; row++) {
		/* The cells of a row follow each other, not always in the order of the columns. */
		for (size_t c = 0; c < t->ncolumns; c++) {
			pt_buf_str(&v->out, c ? "\t" : "");
			for (size_t i = at; i < t->ncells && t->cell[i].row == row; i++)
				if (t->cell[i].column == c)
					pt_buf_str(&v->out, t->cell[i].text);
		}
		pt_buf_char(&v->out, '\n');
		while (at < t->ncells && t->cell[at].row == row)
			at++;
	}
	for (size_t i = 0; i < t->ncells; i++)
		free(t->cell[i].text);
	for (size_t i = 0; i < t->ncolumns; i++)
		free(t->column[i]);
	free(t->cell);
	free(t->column);
	*t = (struct table){ 0 };
}
