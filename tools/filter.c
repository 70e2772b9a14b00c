/* SPDX-License-Identifier: MIT */
/*
 * filter.c - see filter.h.
 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "io/join.h"

int filter_end(struct pt_writer *w, struct pt_reader *const *in, int nin, struct pt_error *err)
{
	int sig = err->status ? tool_signal() : 0;

	if (sig)
		pt_error(err, PT_STOPPED, "stopped by %s", tool_signal_name(sig));
	else if (err->status)
		tool_report(err);
	if (err->status && w)
		pt_writer_fail_from(w, in, nin, err, sig ? tool_signal_name(sig) : NULL);
	pt_writer_close(w);
	for (int i = 0; i < nin; i++)
		pt_reader_close(in[i]);
	if (sig)
		tool_die_of(sig);
	return err->status;
}

/* The HEAD of one operand, without touching the reader that will read it. */
static int look_ahead(const char *path, struct pt_reader **r, const struct pt_record **head,
		      struct pt_error *err)
{
	*head = NULL;
	if (pt_reader_open(r, &path, 1, NULL, 0, err))
		return err->status;
	return pt_reader_head(*r, head, err);
}

/* HEADs of several regular files are known before the first is copied. */
static int heads_of(const struct pt_tool *t, struct pt_st_build *made, struct pt_error *err)
{
	struct pt_reader **r = pt_calloc((size_t)t->noperands, sizeof *r, err);
	const struct pt_record **head = pt_calloc((size_t)t->noperands, sizeof *head, err);
	bool known = true;
	int n = 0, opened = 0;

	for (int i = 0; i < t->noperands && r && head && !err->status; i++) {
		if (!pt_is_file(t->operand[i])) {
			known = false;
			continue;
		}
		if (look_ahead(t->operand[i], &r[opened], &head[n], err))
			break;
		n += head[n] != NULL;
		pt_reader_drain(r[opened++]);	/* closes the file, keeps the HEAD: operands may be many */
	}
	if (!err->status && n)
		pt_join_heads(made, head, n, known, err);
	for (int i = 0; r && i < t->noperands; i++)
		pt_reader_close(r[i]);
	free(r);
	free(head);
	return err->status;
}

static int start(const struct filter *f, struct pt_reader *in, struct pt_writer *w, struct pt_st_build *made,
		 struct pt_join *j, struct pt_error *err)
{
	const struct pt_record *head;
	const char *kind, *options;

	if (pt_reader_head(in, &head, err))
		return err->status;
	if (!head)
		return pt_error(err, PT_DATA, "%s: no HEAD begins it", pt_reader_name(in));
	kind = pt_st_meta(&head->st, "kind");
	options = pt_st_meta(&head->st, "options");
	if (!made->npairs)
		pt_head_inherit(made, head);
	if (options)
		pt_st_build_meta(made, "options", options);
	pt_join_init(j, pt_kind_parse(kind));
	if (pt_writer_kind(w, kind, err))
		return err->status;
	return pt_writer_head(w, made, &head, 1, f->options, err);
}

static int copy(const struct filter *f, struct pt_reader *in, struct pt_writer *w, struct pt_st_build *made,
		struct pt_error *err)
{
	const struct pt_record *rec = NULL;
	int64_t left = f->limit, n, total;
	struct pt_join j = { 0 };
	const char *text;

	if (start(f, in, w, made, &j, err))
		goto out;
	while (left != 0) {
		if (pt_reader_next(in, &rec, err) || !rec)
			break;
		if (rec->type == PT_HEAD && pt_join_segment(&j, made, rec, err)) {
			pt_error_prefix(err, "%s", pt_reader_name(in));
			break;
		}
		if (rec->type != PT_RECORD)
			continue;
		n = pt_kind_count(j.kind, &rec->st);
		if (left > 0 && n > left)
			n = left;
		if (pt_join_write(&j, w, rec, n, err))
			break;
		left -= left > 0 ? n : 0;
	}
	text = pt_st_build_get_meta(made, "total_steps");
	if (!err->status && !pt_meta_int(text, "total_steps", 0, INT64_MAX, &total, err) && j.kind == PT_KIND_BATCH &&
	    j.next[PT_JOIN_STEP] - 1 > total)
		pt_error(err, PT_DATA, "more steps than the %lld that were promised: name all streams as operands, "
			 "they are looked at first", (long long)total);
	if (!err->status && !pt_writer_end(w, NULL, &in, 1, left == 0, err) && left == 0)
		pt_reader_drain(in);
out:
	pt_join_release(&j);
	return err->status;
}

int filter_run(const struct filter *f, const struct pt_tool *t)
{
	struct pt_writer_options o = { .path = f->output, .tool = f->tool, .zstd = f->zstd };
	struct pt_error err = PT_ERROR_INIT;
	struct pt_reader *in = NULL;
	struct pt_writer *w = NULL;
	struct pt_st_build made;

	if (tool_check_input(t->operand, t->noperands, &err) || tool_check_output(f->output, &err) ||
	    tool_check_same(f->output, t->operand, t->noperands, &err))
		return tool_report(&err);
	tool_catch_signals_briefly();
	pt_st_build_init(&made);
	/* The output first: who reads it learns by FAIL what is wrong with the input. */
	if (!pt_writer_open(&w, &o, &err) && (t->noperands < 2 || !heads_of(t, &made, &err)) &&
	    !pt_reader_open(&in, (const char *const *)t->operand, t->noperands, NULL, 0, &err))
		copy(f, in, w, &made, &err);
	pt_st_build_release(&made);
	return filter_end(w, &in, 1, &err);
}
