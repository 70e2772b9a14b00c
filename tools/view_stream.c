/* SPDX-License-Identifier: MIT */
/*
 * view_stream.c - a stream: HEAD, provenance, records, END.
 */
#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/hash.h"
#include "decode.h"
#include "io/digest.h"
#include "io/prov.h"

struct sum {
	char *name, *form;
	struct stats s;
	double total;
};

struct showing {
	struct view *v;
	struct operand *o;
	struct rows rows;
	struct table table;
	struct sum *sum;
	size_t nsums, cap_sums;
	int64_t left, records;
};

static int tree(struct view *v, const struct pt_st *st, struct pt_error *err)
{
	struct pt_prov prov = PT_PROV_INIT;
	const char *text = pt_st_meta(st, "id");
	uint64_t id;

	if (text && pt_unhex64(text, &id) && !pt_prov_add_record(&prov, st, err)) {
		pt_buf_str(&v->out, "provenance\n");
		pt_prov_tree(&prov, id, &v->out, err);
	}
	pt_prov_release(&prov);
	return err->status;
}

/* The metadata of HEAD or END. */
static int show_meta(struct view *v, const struct pt_st *st, struct pt_error *err)
{
	if (v->format == VIEW_JSON) {
		for (size_t i = 0; i < st->nmeta; i++) {
			pt_buf_char(&v->out, i ? ',' : '{');
			view_name(v, st->meta[i].key);
			pt_buf_char(&v->out, ':');
			view_name(v, st->meta[i].value);
		}
		pt_buf_str(&v->out, "}\n");
	} else if (v->format == VIEW_TEXT) {
		view_name(v, pt_st_meta(st, "pts"));
		pt_buf_char(&v->out, '\n');
		for (size_t i = 0; i < st->nmeta; i++)
			if (strcmp(st->meta[i].key, "pts") && strncmp(st->meta[i].key, "prov.", 5) && *st->meta[i].value)
				view_pair(v, st->meta[i].key, st->meta[i].value, VIEW_KEY);
		tree(v, st, err);
	}
	return err->status ? err->status : view_flush(v, err);
}

static int on_head(struct showing *s, const struct pt_st *st, struct pt_error *err)
{
	const char *labels = pt_st_meta(st, "labels");

	s->rows.kind = pt_kind_parse(pt_st_meta(st, "kind"));
	pt_json_free(s->v->labels);
	s->v->labels = labels ? pt_json_parse(labels, strlen(labels), 0, "labels", err) : NULL;
	if (err->status)
		return err->status;
	if (s->v->decode)
		decode_head(s->v->decode, st);
	return show_meta(s->v, st, err);
}

static struct sum *sum_of(struct showing *s, const char *name, const struct pt_st_tensor *t, struct pt_error *err)
{
	for (size_t i = 0; i < s->nsums; i++)
		if (!strcmp(s->sum[i].name, name))
			return &s->sum[i];
	if (pt_grow(&s->sum, &s->cap_sums, s->nsums + 1, sizeof *s->sum, err))
		return NULL;
	s->sum[s->nsums] = (struct sum){ .name = pt_strdup(name, err), .form = pt_strdup(pt_dtype_name(t->dtype), err) };
	if (err->status) {
		free(s->sum[s->nsums].name);
		free(s->sum[s->nsums].form);
		return NULL;
	}
	return &s->sum[s->nsums++];
}

static int add_stats(struct showing *s, const char *name, const struct pt_st_tensor *t, struct pt_error *err)
{
	struct sum *u = sum_of(s, name, t, err);
	struct stats x;

	if (!u)
		return err->status;
	values_stats(t, &x);
	if (x.n && (!u->s.n || x.min < u->s.min))
		u->s.min = x.min;
	if (x.n && (!u->s.n || x.max > u->s.max))
		u->s.max = x.max;
	u->total += x.mean * (double)x.n;
	u->s.n += x.n;
	u->s.nan += x.nan;
	u->s.inf += x.inf;
	return 0;
}

/* Offsets say something by their differences only. */
static int add_lengths(struct showing *s, const struct pt_st_tensor *offsets, const char *name, struct pt_error *err)
{
	const int64_t *o = offsets->data;
	struct pt_st_tensor t = { .dtype = PT_I64, .count = offsets->count - 1 };
	int64_t *length = pt_malloc(t.count, sizeof *length, err);

	if (!length)
		return err->status;
	for (size_t i = 0; i < t.count; i++)
		length[i] = o[i + 1] - o[i];
	t.data = length;
	add_stats(s, name, &t, err);
	free(length);
	return err->status;
}

static int record_stats(struct showing *s, const struct pt_st *st, struct pt_error *err)
{
	for (size_t i = 0; i < st->ntensors && !err->status; i++) {
		const struct pt_st_tensor *t = &st->tensor[i];
		const struct pt_kind_tensor *k = pt_kind_entry(s->rows.kind, t->name);

		if (*t->name == '_' || !view_wanted(s->v, t->name))
			continue;
		if (k && (k->shape == PT_OFFSETS || k->shape == PT_DECODER_OFFSETS))
			add_lengths(s, t, k->shape == PT_OFFSETS ? "tokens of an example" :
				    "decoder tokens of an example", err);
		else
			add_stats(s, t->name, t, err);
	}
	return err->status;
}

static void show_stats(struct showing *s)
{
	s->v->width = 28;
	view_stats_head(s->v);
	for (size_t i = 0; i < s->nsums; i++) {
		struct sum *u = &s->sum[i];

		u->s.mean = u->s.n ? u->total / (double)u->s.n : 0;
		view_stats_row(s->v, u->name, u->form, &u->s);
	}
}

/* What a record is, and the first values of its tensors. */
static void list(struct showing *s, const struct pt_record *rec)
{
	const struct pt_st *st = &rec->st;
	struct pt_error ignored = PT_ERROR_INIT;
	struct view *v = s->v;
	struct pt_examples x;

	pt_buf_printf(&v->out, "record %llu", (unsigned long long)rec->ordinal);
	if (s->rows.kind == PT_KIND_BATCH && !pt_examples_view(&x, s->rows.kind, st, &ignored))
		pt_buf_printf(&v->out, ": step %lld, micro-batch %lld of %lld, epoch %lld; %lld examples, %lld tokens",
			      (long long)x.step, (long long)x.micro, (long long)x.micros, (long long)x.epoch,
			      (long long)x.n, (long long)x.tokens);
	else if (s->rows.kind == PT_KIND_EXAMPLES && !pt_examples_view(&x, s->rows.kind, st, &ignored))
		pt_buf_printf(&v->out, ": %lld examples, %lld tokens", (long long)x.n, (long long)x.tokens);
	else if (s->rows.kind == PT_KIND_PREDICTIONS)
		pt_buf_printf(&v->out, ": %lld predictions", (long long)pt_kind_count(s->rows.kind, st));
	pt_buf_char(&v->out, '\n');
	for (size_t i = 0; i < st->ntensors; i++) {
		const struct pt_st_tensor *t = &st->tensor[i];
		struct pt_buf form = PT_BUF_INIT;

		if (!view_wanted(v, t->name))
			continue;
		pt_st_shape_text(t, &form);
		pt_buf_printf(&v->out, "  %-16s %-14s ", t->name, form.data ? form.data : "");
		view_first_values(v, t);
		pt_buf_char(&v->out, '\n');
		pt_buf_release(&form);
	}
}

/* Of a kind that is not known here: its tensors with the number of the record. */
static void other(struct showing *s, const struct pt_record *rec)
{
	const struct pt_st *st = &rec->st;
	struct view *v = s->v;

	if (v->format == VIEW_TSV && !s->records)
		pt_buf_str(&v->out, "record\tname\ttensor\tvalues\n");
	for (size_t i = 0; i < st->ntensors; i++) {
		const struct pt_st_tensor *t = &st->tensor[i];
		struct pt_buf form = PT_BUF_INIT;
		bool json = v->format == VIEW_JSON;

		if (!view_wanted(v, t->name))
			continue;
		pt_st_shape_text(t, &form);
		pt_buf_printf(&v->out, json ? "{\"record\":%llu,\"name\":" : "%llu\t", (unsigned long long)rec->ordinal);
		view_name(v, t->name);
		pt_buf_printf(&v->out, json ? ",\"tensor\":\"%s\",\"values\":[" : "\t%s\t", form.data ? form.data : "");
		view_values(v, t, 0, t->count, json ? "," : " ");
		pt_buf_str(&v->out, json ? "]}\n" : "\n");
		pt_buf_release(&form);
	}
}

static int on_data(struct showing *s, const struct pt_record *rec, struct pt_error *err)
{
	struct view *v = s->v;
	int64_t n = pt_kind_count(s->rows.kind, &rec->st);

	if (s->left >= 0 && n > s->left)
		n = s->left;
	s->left -= s->left > 0 ? n : 0;
	if (v->stats)
		record_stats(s, &rec->st, err);
	else if (s->rows.kind == PT_KIND_METRICS)
		view_metrics(v, &s->table, rec, n, err);
	else if (v->format == VIEW_TEXT && !v->values && !v->decode)
		list(s, rec);
	else if (s->rows.kind == PT_KIND_OTHER)
		other(s, rec);
	else
		/* All examples of a micro-batch, which counts as one. */
		view_rows(v, &s->rows, rec, s->rows.kind == PT_KIND_BATCH ?
			  pt_st_find(&rec->st, "index")->shape[0] : n, err);
	s->records++;
	return err->status ? err->status : view_flush(v, err);
}

int view_stream(struct view *v, struct operand *o, struct pt_error *err)
{
	struct showing s = { .v = v, .o = o, .left = v->limit };
	struct pt_error ignored = PT_ERROR_INIT;
	const struct pt_record *rec;

	for (;;) {
		if (pt_reader_next(o->reader, &rec, err) || !rec)
			break;
		if (rec->type == PT_HEAD)
			on_head(&s, &rec->st, err);
		else if (rec->type == PT_RECORD)
			on_data(&s, rec, err);
		else if (rec->type == PT_END)
			show_meta(v, &rec->st, err);
		if (err->status || s.left == 0)
			break;
	}
	if (v->stats && !err->status)
		show_stats(&s);
	view_metrics_end(v, &s.table);
	/* What was read before a failure is shown. */
	view_flush(v, err->status ? &ignored : err);
	if (s.left == 0 && !err->status) {
		fflush(stdout);
		pt_reader_drain(o->reader);
	}
	for (size_t i = 0; i < s.nsums; i++) {
		free(s.sum[i].name);
		free(s.sum[i].form);
	}
	free(s.sum);
	pt_json_free(v->labels);
	v->labels = NULL;
	return err->status;
}
