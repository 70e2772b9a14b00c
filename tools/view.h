/* SPDX-License-Identifier: MIT */
/*
 * view.h - the parts of peft-view: each shows one sort of thing as text, TSV
 * or JSON lines.
 */
#ifndef PT_VIEW_H
#define PT_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/opt.h"
#include "io/kinds.h"
#include "io/modeldir.h"
#include "operand.h"
#include "values.h"

enum view_format { VIEW_TEXT, VIEW_TSV, VIEW_JSON };

struct decode;

struct view {
	enum view_format format;
	bool stats, values, sites;
	int64_t limit;			/* examples, micro-batches, steps, predictions; -1: all */
	struct pt_opt_list only;	/* names of tensors; none: all */
	struct decode *decode;	/* NULL: ids are not decoded */
	cJSON *labels;			/* of the HEAD: class names, or NULL */
	int width;			/* of names in the table of statistics */
	struct pt_buf out;
};

/* Print what is in v->out, and empty it. */
int view_flush(struct view *v, struct pt_error *err);
bool view_wanted(const struct view *v, const char *name);

int view_stream(struct view *v, struct operand *o, struct pt_error *err);
int view_tensors(struct view *v, struct operand *o, struct pt_error *err);
/* The kinds of models that are supported, with their tasks and default targets of LoRA. */
int view_families(struct view *v, struct pt_error *err);
/* A model's description and sites, or that it is not supported and why. */
int view_model(struct view *v, const struct pt_modeldir *dir, struct pt_error *err);

const char *view_label(const struct view *v, int32_t cls);	/* name of a class, or NULL */

/* Pieces of text. */
void view_name(struct view *v, const char *name);			/* JSON: quoted; else without control characters */
/* Text only: "  key   value", keys padded to width. */
void view_pair(struct view *v, const char *key, const char *value, int width);
#define VIEW_KEY 14
void view_first_values(struct view *v, const struct pt_st_tensor *t);	/* "1 2 3 ..." */
/* Values from..from+n with this between them. */
void view_values(struct view *v, const struct pt_st_tensor *t, size_t from, size_t n, const char *between);
void view_stats_head(struct view *v);					/* names of the columns */
void view_stats_row(struct view *v, const char *name, const char *form, const struct stats *s);

/* The examples of a record, a row each; *left counts down from the limit (negative: no limit). */
struct rows {
	enum pt_kind kind;
	bool batch;
	char columns[512];		/* of the TSV header that was printed last */
};
int view_rows(struct view *v, struct rows *r, const struct pt_record *rec, int64_t n, struct pt_error *err);

/* Steps of metrics: a table whose columns are known at its end (TSV), lines at once (text, JSON). */
struct table {
	char **column;
	size_t ncolumns, cap_columns;
	struct table_cell { size_t row, column; char *text; } *cell;
	size_t ncells, cap_cells, nrows;
	bool headed;
};
int view_metrics(struct view *v, struct table *t, const struct pt_record *rec, int64_t n, struct pt_error *err);
void view_metrics_end(struct view *v, struct table *t);		/* also releases it */

#endif
