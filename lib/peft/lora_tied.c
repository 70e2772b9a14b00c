/* SPDX-License-Identifier: MIT */
/*
 * lora_tied.c - LoRA on a table that writes words too (ensure_weight_tying): a
 * linear that is tied to an embedding has the embedding's update, turned
 * over, A = B' and B = A', so that what is merged stays tied. Files have both.
 *
 * PEFT has two parameters of one memory there, each of which its optimiser
 * steps by itself; here it is one, with the gradient of both ends. Where a
 * file's two updates differ (PEFT's do on weights that are not f32) they are
 * two adapters, and train as such.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/lora.h"

enum { A = PT_LORA_A, B = PT_LORA_B };

struct tied {
	const struct pt_lora *l;
	float *kept[2];			/* what the last save() gave to the file */
};

static const char *const names[2] = { "lora_A.weight", "lora_B.weight" };
static const char *const table_names[2] = { "lora_embedding_A", "lora_embedding_B" };

static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	const struct pt_adapter_site *s = h->state;
	const struct tied *x = s->state;
	struct pt_compute was;

	if (max < 1)
		return 1;
	was = pt_run_exact(run);
	term[0] = (struct pt_lowrank){
		.a = pt_op_transpose(run, &s->twin->param[B]->t), .b = pt_op_transpose(run, &s->twin->param[A]->t),
		.scale = s->scale, .dropout = (float)x->l->dropout, .site = s->rng,
	};
	pt_run_resume(run, was);
	return 1;
}

static const struct pt_hook_ops hook = { .terms = terms };

static char *key_of(const struct pt_adapter_site *s, const char *name, struct pt_error *err)
{
	return pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);
}

static const struct pt_st_tensor *stored(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *name,
					 struct pt_error *err)
{
	char *key = key_of(s, name, err);
	const struct pt_st_tensor *t = key ? pt_adapter_stored(a, key) : NULL;

	free(key);
	return t;
}

/* Whether x [rows,cols] is y [cols,rows] turned over. */
static int is_turned(const struct pt_st_tensor *x, const struct pt_st_tensor *y, bool *yes, struct pt_error *err)
{
	float *v, *w;

	*yes = x->ndim == 2 && y->ndim == 2 && x->shape[0] == y->shape[1] && x->shape[1] == y->shape[0];
	if (!*yes)
		return 0;
	v = pt_malloc(x->count, sizeof *v, err);
	w = pt_malloc(y->count, sizeof *w, err);
	if (v && w) {
		pt_to_f32(v, x->data, x->dtype, x->count);
		pt_to_f32(w, y->data, y->dtype, y->count);
	}
	for (int64_t i = 0; v && w && *yes && i < x->shape[0]; i++) {
		for (int64_t j = 0; j < x->shape[1]; j++)
			*yes &= v[i * x->shape[1] + j] == w[j * x->shape[0] + i];
	}
	free(v);
	free(w);
	return err->status;
}

int pt_lora_tied_wanted(const struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_weight *w = s->site->weight;
	struct pt_adapter_site *table = NULL;
	bool tying, same = true;

	if (pt_json_bool(a->config, "ensure_weight_tying", false, &tying, err) || !tying || !s->site->output)
		return err->status;
	for (struct pt_adapter_site *o = a->site; o < s; o++) {
		if (o->site->kind == PT_SITE_EMBEDDING && (w->tied == o->site->weight || o->site->weight->tied == w))
			table = o;
	}
	for (int i = 0; i < 2 && table && same && !a->fresh; i++) {
		const struct pt_st_tensor *own = stored(a, s, names[i], err), *other = stored(a, table, table_names[1 - i], err);

		if (err->status || (own && other && is_turned(own, other, &same, err)))
			return err->status;
	}
	s->twin = same ? table : NULL;
	return 0;
}

int pt_lora_tied_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct tied *x;

	if (s->rank != s->twin->rank)
		return pt_error(err, PT_USAGE, "%s has rank %d, %s, which is tied to it, %d", s->site->path, s->rank,
				s->twin->site->path, s->twin->rank);
	x = pt_calloc(1, sizeof *x, err);
	s->state = x;
	if (!x)
		return err->status;
	x->l = a->state;
	for (int i = 0; i < 2; i++) {
		char *key = key_of(s, names[i], err);
		int st = key ? pt_adapter_made(a, key, PT_TENSOR_OPTIONAL, err) : err->status;

		free(key);
		if (st)
			return st;
	}
	s->hook.ops = &hook;
	return 0;
}

bool pt_lora_tied(const struct pt_adapter_site *s)
{
	return s->hook.ops == &hook;
}

/* A, or B, of s: the table's other one, turned over; freed by the caller. */
static float *turned(struct pt_adapter *a, const struct pt_adapter_site *s, int which, struct pt_error *err)
{
	const struct pt_param *p = s->twin->param[which == A ? B : A];
	int64_t rows = p->t.shape[0], cols = p->t.shape[1];
	float *v = pt_malloc((size_t)(rows * cols), sizeof *v, err), *out = pt_malloc((size_t)(rows * cols), sizeof *out, err);

	if (!v || !out || pt_adapter_get(a, p, v, err)) {
		free(v);
		free(out);
		return NULL;
	}
	pt_lora_transpose(v, rows, cols, out);
	free(v);
	return out;
}

int pt_lora_tied_save(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_st_build *file, struct pt_error *err)
{
	int64_t shape[2][2] = { { s->rank, s->site->in }, { s->site->out, s->rank } };
	struct tied *x = s->state;

	for (int i = 0; i < 2; i++) {
		char *key = key_of(s, names[i], err);

		free(x->kept[i]);
		x->kept[i] = key ? turned(a, s, i, err) : NULL;
		if (x->kept[i])
			pt_st_build_tensor(file, key, PT_F32, 2, shape[i], x->kept[i]);
		free(key);
		if (!x->kept[i])
			return err->status;
	}
	return 0;
}

int pt_lora_tied_merge(struct pt_adapter *a, const struct pt_adapter_site *s, float *value, struct pt_error *err)
{
	float *va = turned(a, s, A, err), *vb = va ? turned(a, s, B, err) : NULL;
	int st = vb ? pt_lora_merge_values(s, va, vb, value, err) : err->status;

	free(va);
	free(vb);
	return st;
}

void pt_lora_tied_release(struct pt_adapter_site *s)
{
	struct tied *x = s->state;

	if (x) {
		free(x->kept[0]);
		free(x->kept[1]);
	}
	free(x);
}
