/* SPDX-License-Identifier: MIT */
/*
 * lora_param.c - LoRA on parameters of three dimensions, as PEFT's
 * target_parameters: P[e] += s B[e] A[e] for each of E experts.
 *
 * In the file A is [E*R,in], expert by expert, and B [out,R*E] with the
 * column of rank i of expert e at i*E+e. In memory B is [E,out,R], so that
 * each expert's linears (the rows of out may be those of several) find their
 * part in one piece; pt_adapter_grouped() has the files see the other order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/lora.h"

enum { A, B };

/* One linear's share: views of the tensors of all. */
struct piece {
	struct pt_tensor a, b;
	float scale;
};

static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	struct piece *p = h->state;

	(void)run;
	if (max >= 1)
		term[0] = (struct pt_lowrank){ .a = &p->a, .b = &p->b, .scale = p->scale };
	return 1;
}

static const struct pt_hook_ops hook = { .terms = terms };

/* Wrappers of parameters of one module nest in PEFT: the last is outermost, each other is one base_layer deeper. */
int pt_lora_param_name(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *name, char **out,
		       struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;

	for (const struct pt_adapter_site *o = s + 1; o < a->site + a->nsites; o++)
		if (o->site->kind == PT_SITE_PARAM && !strcmp(o->site->path, s->site->path))
			pt_buf_str(&b, "base_layer.");
	pt_buf_str(&b, name);
	*out = pt_buf_check(&b, err) ? NULL : pt_strdup(b.data, err);
	pt_buf_release(&b);
	return *out ? 0 : err->status;
}

static int add_tensor(struct pt_adapter *a, struct pt_adapter_site *s, const char *name, int flags, int64_t rows,
		      int64_t cols, struct pt_error *err)
{
	char *full;
	int st = pt_lora_param_name(a, s, name, &full, err);

	if (!st)
		st = pt_adapter_tensor_at(a, s, full, flags, 2, (int64_t[]){ rows, cols }, err);
	free(full);
	return st;
}

static void view(struct pt_tensor *v, const struct pt_tensor *of, int64_t at, int64_t rows, int64_t cols)
{
	pt_tensor_init(v, PT_F32, 2, (int64_t[]){ rows, cols }, (float *)of->data + at);
	v->grad = of->grad ? (float *)of->grad + at : NULL;
	v->needs_grad = of->needs_grad;
	v->external = true;
	v->name = of->name;
}

static int make_pieces(struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_site *site = s->site;
	int64_t per = site->npieces / site->experts, out = site->out / per;
	struct piece *p = pt_calloc((size_t)site->npieces, sizeof *p, err);

	s->state = p;
	s->piece = pt_calloc((size_t)site->npieces, sizeof *s->piece, err);
	if (!p || !s->piece)
		return err->status;
	for (int i = 0; i < site->npieces; i++) {
		view(&p[i].a, &s->param[A]->t, i / per * s->rank * site->in, s->rank, site->in);
		view(&p[i].b, &s->param[B]->t, i * out * s->rank, out, s->rank);
		p[i].scale = s->scale;
		s->piece[i] = (struct pt_hook){ .ops = &hook, .state = &p[i] };
	}
	return 0;
}

int pt_lora_param_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	int64_t all = (int64_t)s->rank * s->site->experts;
	int st;

	if (l->dropout > 0 || l->bias || l->init == PT_LORA_ORTHOGONAL)
		return pt_error(err, PT_USAGE, "%s does not go with target_parameters (%s.%s)",
				l->dropout > 0 ? "lora_dropout" : l->bias ? "lora_bias" : "init_lora_weights orthogonal",
				s->site->path, s->site->param);
	st = add_tensor(a, s, "lora_A.weight", 0, all, s->site->in, err);
	if (!st)
		st = add_tensor(a, s, "lora_B.weight", PT_TENSOR_UP, s->site->out, all, err);
	if (!st)
		pt_adapter_grouped(a, s->site->experts);
	return st ? st : make_pieces(s, err);
}

/* Host values of a view. */
static float *read_view(const struct pt_adapter *a, const struct pt_tensor *t, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	size_t n = (size_t)pt_tensor_count(t);
	float *v = pt_malloc(n, sizeof *v, err);

	if (v && !dev->download(dev, v, t->data, n * sizeof *v, err))
		return v;
	free(v);
	return NULL;
}

int pt_lora_param_merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w,
			float *value, struct pt_error *err)
{
	const struct pt_site *site = s->site;
	const struct piece *p = s->state;
	int64_t in = site->in, out = site->out / (site->npieces / site->experts);
	float *va, *vb, *sum;
	int i = 0;

	while (site->piece[i]->weight != w)
		i++;
	va = read_view(a, &p[i].a, err);
	vb = va ? read_view(a, &p[i].b, err) : NULL;
	sum = vb ? pt_malloc((size_t)in, sizeof *sum, err) : NULL;
	if (sum)
		pt_lora_add_product(value, out, in, s->scale, vb, va, s->rank, sum);
	free(va);
	free(vb);
	free(sum);
	return sum ? 0 : err->status;
}
