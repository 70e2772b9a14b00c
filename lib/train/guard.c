/* SPDX-License-Identifier: MIT */
/*
 * guard.c - tracing what is not finite; see guard.h.
 */
#include "train/guard.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/kinds.h"
#include "train/objective.h"

enum { CHUNK = 1 << 16, MOST_LISTED = 8, MOST_TEXT = 1400 };

void pt_kept_release(struct pt_kept *k)
{
	for (size_t i = 0; i < k->cap; i++)
		pt_buf_release(&k->rec[i]);
	free(k->rec);
	memset(k, 0, sizeof *k);
}

void pt_kept_clear(struct pt_kept *k)
{
	k->n = 0;
}

int pt_kept_add(struct pt_kept *k, const struct pt_record *rec, struct pt_error *err)
{
	size_t old = k->cap;

	if (pt_grow(&k->rec, &k->cap, k->n + 1, sizeof *k->rec, err))
		return err->status;
	if (k->cap > old)
		memset(k->rec + old, 0, (k->cap - old) * sizeof *k->rec);
	pt_buf_clear(&k->rec[k->n]);
	pt_buf_add(&k->rec[k->n], rec->bytes, rec->size);
	return pt_buf_check(&k->rec[k->n++], err);
}

/* Whether a tensor in device memory, or the base's w, holds something that is not finite. */
static int nonfinite(const struct pt_step *s, const struct pt_weight *w, const void *data, enum pt_dtype type, size_t n,
		     bool *bad, struct pt_error *err)
{
	struct pt_device *dev = s->dev;
	size_t size = pt_dtype_size(type);
	char *raw = pt_malloc(CHUNK, size, err);
	float *f = pt_malloc(CHUNK, sizeof *f, err);
	int status = raw && f ? 0 : err->status;

	*bad = false;
	for (size_t at = 0; !status && !*bad && at < n; at += CHUNK) {
		size_t k = n - at < CHUNK ? n - at : CHUNK;

		status = w ? pt_weight_read(s->model, w, at * size, k * size, raw, err) :
			     dev->download(dev, raw, (const char *)data + at * size, k * size, err);
		if (status)
			break;
		pt_to_f32(f, raw, type, k);
		for (size_t i = 0; i < k; i++)
			*bad |= !isfinite(f[i]);
	}
	free(raw);
	free(f);
	return status;
}

static int bad_tensor(struct pt_step *s, const struct pt_weight *w, const struct pt_tensor *t, const void *data,
		      bool *bad, struct pt_error *err)
{
	*bad = false;
	if (t->type != PT_F32 && t->type != PT_BF16 && t->type != PT_F16 && t->type != PT_F64)
		return 0;
	return nonfinite(s, w, data, t->type, (size_t)pt_tensor_count(t), bad, err);
}

/* The first tensor at fault: what trains, then the base, then a gradient. "" where none is. */
static int find_tensor(struct pt_step *s, struct pt_buf *name, struct pt_error *err)
{
	struct pt_params *p = s->opt.params;
	bool bad = false;

	for (int i = 0; i < p->n; i++) {
		if (bad_tensor(s, NULL, &p->item[i]->t, p->item[i]->t.data, &bad, err))
			return err->status;
		if (bad) {
			pt_buf_printf(name, "the value of %s", p->item[i]->name);
			return pt_buf_check(name, err);
		}
	}
	for (int i = 0; i < s->model->nweights; i++) {
		const struct pt_weight *w = &s->model->weight[i];

		if (w->tied)
			continue;
		if (bad_tensor(s, w, &w->t, NULL, &bad, err))
			return err->status;
		if (bad) {
			pt_buf_printf(name, "the base's %s", w->path);
			return pt_buf_check(name, err);
		}
	}
	for (int i = 0; i < p->n; i++) {
		if (bad_tensor(s, NULL, &p->item[i]->t, p->item[i]->t.grad, &bad, err))
			return err->status;
		if (bad) {
			pt_buf_printf(name, "the gradient of %s", p->item[i]->name);
			return pt_buf_check(name, err);
		}
	}
	return 0;
}

/* Run a kept micro-batch alone; *bad whether loss or gradient are not finite then. */
static int try_one(struct pt_step *s, const struct pt_examples *x, bool *bad, struct pt_error *err)
{
	struct pt_error e = PT_ERROR_INIT;
	const struct pt_param *first;
	double norm;
	int status;

	*bad = false;
	if (pt_step_clear(s, err))
		return err->status;
	status = pt_step_micro(s, x, &e);
	if (!status)
		status = pt_step_settle(s, &e);
	if (!status)
		status = pt_optimizer_norm(&s->opt, &norm, &first, &e);
	if (status && status != PT_NUMERIC) {
		*err = e;
		return status;
	}
	*bad = status == PT_NUMERIC || (!status && first);
	return 0;
}

static void name_examples(const struct pt_step *s, const struct pt_examples *x, struct pt_buf *b)
{
	int listed = 0;
	int64_t last = -1;

	/* Those whose loss is not finite; where all are, any of them may be the one. */
	for (int64_t i = 0; s->bad >= 0 && i < s->feed.rows; i++) {
		int64_t e = s->feed.of->example(&s->feed, i);

		if (isfinite(s->value[i]) || e == last)
			continue;
		last = e;
		if (listed++ < MOST_LISTED)
			pt_buf_printf(b, "%s%lld", listed > 1 ? ", " : "", (long long)x->index[e]);
	}
	for (int64_t i = 0; s->bad < 0 && i < x->n; i++)
		if (listed++ < MOST_LISTED)
			pt_buf_printf(b, "%s%lld", listed > 1 ? ", " : "", (long long)x->index[i]);
	if (listed > MOST_LISTED)
		pt_buf_str(b, " ...");
}

/* The micro-batch as a run of one step. */
static int write_one(const char *path, const struct pt_record *head, struct pt_examples x, struct pt_error *err)
{
	struct pt_writer_options o = { .path = path, .tool = "peft-step", .kind = "batch" };
	struct pt_writer *w = NULL;
	struct pt_st_build b;
	int status = pt_writer_open(&w, &o, err);

	if (status)
		return status;
	pt_st_build_init(&b);
	pt_head_inherit(&b, head);
	pt_st_build_meta(&b, "total_steps", "1");
	status = pt_writer_head(w, &b, &head, 1, "micro-batch that was not finite", err);
	pt_st_build_clear(&b);
	x.micro = x.micros = 1;
	pt_examples_build(&x, PT_KIND_BATCH, &b);
	if (!status)
		status = pt_writer_data(w, &b, err);
	if (!status)
		status = pt_writer_end(w, NULL, NULL, 0, true, err);
	pt_st_build_release(&b);
	pt_writer_close(w);
	return status;
}

int pt_guard_numeric(struct pt_step *s, const struct pt_kept *kept, const struct pt_record *head,
		     int64_t t, const char *path, struct pt_error *err)
{
	struct pt_buf tensor = PT_BUF_INIT, examples = PT_BUF_INIT;
	struct pt_error cause = *err, e = PT_ERROR_INIT;
	struct pt_examples x;
	struct pt_st st = { 0 };
	bool bad = false;
	int status = 0;

	for (size_t i = 0; i < kept->n && !bad && !status; i++) {
		pt_st_release(&st);
		memset(&st, 0, sizeof st);
		status = pt_st_parse(&st, kept->rec[i].data, kept->rec[i].len, &e);
		if (!status)
			status = pt_examples_view(&x, PT_KIND_BATCH, &st, &e);
		if (!status)
			status = try_one(s, &x, &bad, &e);
	}
	if (!status)
		status = find_tensor(s, &tensor, &e);
	if (!status && bad) {
		name_examples(s, &x, &examples);
		status = write_one(path, head, x, &e);
	}
	if (status)
		*err = e;
	else if (bad)
		pt_error(err, PT_NUMERIC, "step %lld: %s in example%s %s%s%s; nothing was updated; the micro-batch is in %s, peft-step runs it again: look at it, lower --lr, or leave these examples out",
			 (long long)t, cause.msg, examples.data && strchr(examples.data, ',') ? "s" : "",
			 examples.data ? examples.data : "?", tensor.len ? "; first bad tensor: " : "",
			 tensor.len ? tensor.data : "", path);
	else
		pt_error(err, PT_NUMERIC, "step %lld: %s, though no micro-batch alone shows it (an overflow of their sum); nothing was updated: lower --lr",
			 (long long)t, cause.msg);
	pt_st_release(&st);
	pt_buf_release(&tensor);
	pt_buf_release(&examples);
	return err->status;
}

int pt_guard_unmoved(const struct pt_optimizer *opt, struct pt_buf *list)
{
	int n = 0, left = 0;

	for (int i = 0; i < opt->params->n; i++) {
		const char *name = opt->params->item[i]->name;

		if (opt->moved[i] || !opt->params->item[i]->t.needs_grad)
			continue;
		/* As many as a message holds. */
		if (list && list->len + strlen(name) < MOST_TEXT)
			pt_buf_printf(list, "%s%s", n ? ", " : "", name);
		else
			left++;
		n++;
	}
	if (list && left)
		pt_buf_printf(list, " and %d more", left);
	return n;
}
