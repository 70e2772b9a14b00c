/* SPDX-License-Identifier: MIT */
/*
 * join.c - see join.h. The index is moved by the largest one seen, not by the
 * number of examples: what a filter or a split left over has gaps.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/bounds.h"
#include "io/join.h"

static const char *const moved_name[PT_JOIN_STEP] = { "index", "group", "source" };

void pt_join_init(struct pt_join *j, enum pt_kind kind)
{
	*j = (struct pt_join){ .kind = kind };
	j->next[PT_JOIN_STEP] = 1;
}

void pt_join_release(struct pt_join *j)
{
	for (int i = 0; i < PT_JOIN_STEP; i++)
		free(j->moved[i]);
	memset(j, 0, sizeof *j);
}

int pt_join_segment(struct pt_join *j, const struct pt_st_build *made, const struct pt_record *head,
		    struct pt_error *err)
{
	struct pt_bounds b;

	memcpy(j->base, j->next, sizeof j->base);
	j->base[PT_JOIN_STEP]--;	/* steps count from 1 */
	if (pt_bounds_read(&b, &head->st, err))
		return err->status;
	for (int i = 0; i < PT_BOUNDS; i++) {
		const char *key = pt_bounds_key(i);
		int64_t promised, v = *pt_bounds_at(&b, i);

		if (pt_meta_int(pt_st_build_get_meta(made, key), key, 0, -1, &promised, err))
			return err->status;
		if (promised >= 0 && (v < 0 || v > promised))
			return pt_error(err, PT_DATA, "a further segment has a larger %s than the %lld that was "
					"promised: name all streams as operands, they are looked at first",
					key, (long long)promised);
	}
	return 0;
}

int pt_join_heads(struct pt_st_build *made, const struct pt_record *const *heads, int n, bool known,
		  struct pt_error *err)
{
	struct pt_bounds all = PT_BOUNDS_NONE, b;
	int64_t total = 0;

	pt_head_inherit(made, heads[0]);
	for (int i = 0; i < n; i++) {
		const struct pt_st *st = &heads[i]->st;
		int64_t steps;

		if (pt_bounds_read(&b, st, err) ||
		    pt_meta_int(pt_st_meta(st, "total_steps"), "total_steps", 0, -1, &steps, err))
			return err->status;
		if (!i)
			all = b;
		/* What one of them does not promise, all together do not. */
		for (int k = 0; k < PT_BOUNDS; k++) {
			int64_t *most = pt_bounds_at(&all, k), v = *pt_bounds_at(&b, k);

			*most = v < 0 || *most < 0 ? -1 : v > *most ? v : *most;
		}
		if (steps < 0 || !known || total < 0 || __builtin_add_overflow(total, steps, &total))
			total = -1;
	}
	pt_bounds_build(&all, made);
	if (total < 0)
		pt_st_build_drop_meta(made, "total_steps");
	else
		pt_st_build_meta_int(made, "total_steps", total);
	return 0;
}

/* v + base, and what comes after it. */
static int move(struct pt_join *j, int counter, int64_t *v, struct pt_error *err)
{
	int64_t after;

	if (__builtin_add_overflow(*v, j->base[counter], v) || __builtin_add_overflow(*v, 1, &after))
		return pt_error(err, PT_DATA, "numbers of examples are too large to be joined");
	if (after > j->next[counter])
		j->next[counter] = after;
	return 0;
}

/* The first n values of a tensor that is numbered, moved into scratch. */
static int move_all(struct pt_join *j, int counter, const struct pt_st_tensor *t, int64_t n, struct pt_error *err)
{
	int64_t *v;

	if (pt_grow(&j->moved[counter], &j->cap[counter], (size_t)n + 1, sizeof *v, err))
		return err->status;
	v = j->moved[counter];
	if (n)
		memcpy(v, t->data, (size_t)n * sizeof *v);
	for (int64_t i = 0; i < n; i++)
		if (move(j, counter, &v[i], err))
			return err->status;
	return 0;
}

static int64_t end_of(const struct pt_st *st, const char *offsets, int64_t n)
{
	const struct pt_st_tensor *t = pt_st_find(st, offsets);

	return t ? ((const int64_t *)t->data)[n] : 0;
}

/* Rows of a tensor of the table that belong to the first n examples. */
static int64_t rows_of(const struct pt_st *st, enum pt_kind_shape shape, int64_t n)
{
	switch (shape) {
	case PT_PER_TOKEN:
		return end_of(st, "offsets", n);
	case PT_PER_DECODER:
		return end_of(st, "decoder_offsets", n);
	case PT_OFFSETS:
	case PT_DECODER_OFFSETS:
		return n + 1;
	default:
		return n;
	}
}

static void add_tensor(struct pt_join *j, struct pt_st_build *b, const struct pt_record *rec,
		       const struct pt_st_tensor *t, int64_t n, bool all)
{
	const struct pt_kind_tensor *k = pt_kind_entry(j->kind, t->name);
	int64_t shape[PT_ST_MAX_DIMS];
	const void *data = t->data;

	memcpy(shape, t->shape, sizeof shape);
	/* What the format does not know is kept where the record stays whole. */
	if (!all && !k && t->name[0] == '_')
		return;
	if (!all)
		shape[0] = k ? rows_of(&rec->st, k->shape, n) : n;
	for (int i = 0; k && i < PT_JOIN_STEP; i++)
		if (!strcmp(t->name, moved_name[i]))
			data = j->moved[i];
	pt_st_build_tensor(b, t->name, t->dtype, t->ndim, shape, data);
}

static void add_meta(struct pt_join *j, struct pt_st_build *b, const struct pt_record *rec, int64_t step)
{
	for (size_t i = 0; i < rec->st.nmeta; i++)
		if (strcmp(rec->st.meta[i].key, "pts"))
			pt_st_build_meta(b, rec->st.meta[i].key, rec->st.meta[i].value);
	if (j->kind == PT_KIND_BATCH)
		pt_st_build_meta_int(b, "step", step);
}

int pt_join_write(struct pt_join *j, struct pt_writer *w, const struct pt_record *rec, int64_t n,
		  struct pt_error *err)
{
	const struct pt_st *st = &rec->st;
	int64_t step = 0, rows = n;
	bool all = n == pt_kind_count(j->kind, st), still = true;
	const struct pt_st_tensor *t;
	struct pt_st_build b;
	struct pt_examples x;
	int status;

	if (j->kind == PT_KIND_BATCH) {
		if (pt_examples_view(&x, j->kind, st, err))
			return err->status;
		step = x.step;
		rows = x.n;
		if (move(j, PT_JOIN_STEP, &step, err))
			return err->status;
		still = step == x.step;
	}
	for (int i = 0; j->kind != PT_KIND_OTHER && j->kind != PT_KIND_METRICS && i < PT_JOIN_STEP; i++) {
		t = pt_st_find(st, moved_name[i]);
		if (t && move_all(j, i, t, rows, err))
			return err->status;
		still = still && (!t || !j->base[i]);
	}
	if (all && still)
		return pt_writer_copy(w, rec, err);
	pt_st_build_init(&b);
	for (size_t i = 0; i < st->ntensors; i++)
		add_tensor(j, &b, rec, &st->tensor[i], n, all);
	add_meta(j, &b, rec, step);
	status = pt_writer_data(w, &b, err);
	pt_st_build_release(&b);
	return status;
}

int pt_join_view(struct pt_join *j, const struct pt_record *rec, struct pt_examples *x, struct pt_error *err)
{
	const struct pt_st_tensor *t;

	if (pt_examples_view(x, j->kind, &rec->st, err))
		return err->status;
	for (int i = 0; i < PT_JOIN_STEP; i++) {
		t = pt_st_find(&rec->st, moved_name[i]);
		if (t && move_all(j, i, t, x->n, err))
			return err->status;
	}
	x->index = j->moved[PT_JOIN_INDEX];
	x->group = x->group ? j->moved[PT_JOIN_GROUP] : NULL;
	x->source = x->source ? j->moved[PT_JOIN_SOURCE] : NULL;
	return 0;
}
