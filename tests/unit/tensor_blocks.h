/* SPDX-License-Identifier: MIT */
/*
 * tensor_blocks.h - two small models of hand-made tensors: a decoder with
 * LoRA, prefix and tied head, and an encoder-decoder with bias tables and
 * cross attention.
 */
#ifndef PT_TENSOR_BLOCKS_H
#define PT_TENSOR_BLOCKS_H

#include "tensor_fix.h"

#define DEC_C 8
#define DEC_V 11
#define DEC_LAYERS 2

struct dec_arg {
	const int32_t *ids, *row, *label;
	int64_t labelled;
	struct pt_prefix prefix;
	struct pt_rope rope;
	const float *weight;		/* of token_nll */
	int scopes;			/* 1: a recomputed scope per block; 2: and one inside it for the feed-forward part */
	bool done;			/* say which tensors are done with */
	bool train;
};

/* Name of a tensor of a layer. */
static struct pt_tensor *lay(struct fix *f, int layer, const char *name)
{
	char s[40];

	snprintf(s, sizeof s, "%d.%s", layer, name);
	return par(f, s);
}

static void dec_params(struct fix *f) REF_UNUSED;
static void dec_params(struct fix *f)
{
	static const struct { const char *name; int64_t a, b; } t[] = {
		{ "n1", DEC_C, 0 }, { "wq", 8, DEC_C }, { "wk", 4, DEC_C }, { "wv", 4, DEC_C },
		{ "qa", 3, DEC_C }, { "qb", 8, 3 }, { "va", 2, DEC_C }, { "vb", 4, 2 },
		{ "wo", DEC_C, 8 }, { "pk", 5, 4 }, { "pv", 5, 4 }, { "n2", DEC_C, 0 },
		{ "gate", 13, DEC_C }, { "up", 13, DEC_C }, { "down", DEC_C, 13 }, { "da", 2, 13 },
		{ "db", DEC_C, 2 },
	};

	fix_param(f, "embed", DEC_V, DEC_C, 0.7f);
	fix_param(f, "nf", DEC_C, 0, 1);
	for (int l = 0; l < DEC_LAYERS; l++) {
		for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
			char s[40];

			snprintf(s, sizeof s, "%d.%s", l, t[i].name);
			fix_param(f, s, t[i].a, t[i].b, t[i].b ? 0.4f : 1);
		}
	}
}

struct dec_call {
	struct fix *f;
	int layer;
};

static void drop_if(struct fix *f, bool say, struct pt_tensor *t)
{
	if (say)
		pt_tensor_done(&f->run, t);
}

static int dec_ffn(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
		   struct pt_tensor **out, int nout)
{
	struct dec_call *c = arg;
	struct fix *f = c->f;
	const struct dec_arg *a = f->arg;
	struct pt_lowrank td = { lay(f, c->layer, "da"), lay(f, c->layer, "db"), NULL, 0.5f, 0.2f, 33 };
	struct pt_linear lin[2] = { { .w = lay(f, c->layer, "gate") }, { .w = lay(f, c->layer, "up") } };
	struct pt_linear down = { .w = lay(f, c->layer, "down"), .term = &td, .nterms = 1 };
	struct pt_tensor *y[2], *g;

	(void)nin, (void)nout;
	pt_op_linear_group(run, in[0], lin, 2, y);
	g = pt_op_glu(run, y[0], y[1], PT_ACT_SILU);
	drop_if(f, a->done, y[0]);
	drop_if(f, a->done, y[1]);
	out[0] = pt_op_linear(run, g, &down);
	drop_if(f, a->done, g);
	return 0;
}

static int dec_block(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
		     struct pt_tensor **out, int nout)
{
	struct dec_call *c = arg;
	struct fix *f = c->f;
	const struct dec_arg *d = f->arg;
	struct pt_prefix prefix = d->prefix;
	struct pt_attn at = { 2, 1, 4, .causal = true, .window = 4, .scale = 0.5f, .dropout = 0.1f,
			      .site = 40 + (uint64_t)c->layer, .prefix = &prefix };
	struct pt_lowrank tq = { lay(f, c->layer, "qa"), lay(f, c->layer, "qb"), NULL, 0.5f, 0.2f, 31 };
	struct pt_lowrank tv = { lay(f, c->layer, "va"), lay(f, c->layer, "vb"), NULL, 2, 0.2f, 32 };
	struct pt_linear lin[3] = {
		{ .w = lay(f, c->layer, "wq"), .term = &tq, .nterms = 1 },
		{ .w = lay(f, c->layer, "wk") },
		{ .w = lay(f, c->layer, "wv"), .term = &tv, .nterms = 1 },
	};
	struct pt_linear o = { .w = lay(f, c->layer, "wo") };
	struct pt_norm n1 = { PT_NORM_RMS, lay(f, c->layer, "n1"), NULL, 1e-5f };
	struct pt_norm n2 = { PT_NORM_RMS, lay(f, c->layer, "n2"), NULL, 1e-5f };
	struct pt_shape shape = { .ndim = 2, .dim = { f->rows.n, DEC_C }, .rows = &f->rows };
	struct pt_tensor *x = in[0], *y[3], *h, *a, *sum, *z;

	(void)nin, (void)nout;
	prefix.k = lay(f, c->layer, "pk");
	prefix.v = lay(f, c->layer, "pv");
	h = pt_op_norm(run, x, &n1);
	if (d->done)
		pt_op_norm_again(h);
	pt_op_linear_group(run, h, lin, 3, y);
	drop_if(f, d->done, h);
	y[0] = pt_op_rope(run, y[0], 2, 4, &d->rope);
	y[1] = pt_op_rope(run, y[1], 1, 4, &d->rope);
	a = pt_op_attn(run, y[0], y[1], y[2], &at);
	for (int i = 0; i < 3; i++)
		drop_if(f, d->done, y[i]);
	h = pt_op_linear(run, a, &o);
	drop_if(f, d->done, a);
	z = pt_op_dropout(run, h, 0.1f, 50 + (uint64_t)c->layer);
	drop_if(f, d->done && z != h, h);
	a = pt_op_add_norm(run, x, z, &n2, &sum);
	drop_if(f, d->done, z);
	drop_if(f, d->done, x);
	if (d->scopes == 2)
		pt_scope(run, PT_SCOPE_RECOMPUTE, dec_ffn, c, sizeof *c, &a, 1, &shape, &z, 1);
	else if (!run->err.status)
		dec_ffn(run, c, &a, 1, &z, 1);
	drop_if(f, d->done, a);
	out[0] = pt_op_add(run, sum, z);
	drop_if(f, d->done, sum);
	drop_if(f, d->done, z);
	return 0;
}

/* nll of the labelled rows. */
static struct pt_tensor *decoder(struct fix *f) REF_UNUSED;
static struct pt_tensor *decoder(struct fix *f)
{
	const struct dec_arg *d = f->arg;
	struct pt_shape shape = { .ndim = 2, .dim = { f->rows.n, DEC_C }, .rows = &f->rows };
	struct pt_norm nf = { PT_NORM_RMS, par(f, "nf"), NULL, 1e-5f };
	struct pt_nll nll = { .head = { .w = par(f, "embed") }, .scale = 1, .rows = d->labelled,
			      .row = d->row, .label = d->label, .weight = d->weight };
	struct pt_tensor *x, *y;

	f->run.train = d->train;
	x = pt_op_embed(&f->run, par(f, "embed"), false, d->ids, &f->rows, 1, -1);
	for (int l = 0; l < DEC_LAYERS && !f->run.err.status; l++) {
		struct dec_call c = { f, l };

		if (d->scopes)
			pt_scope(&f->run, PT_SCOPE_RECOMPUTE, dec_block, &c, sizeof c, &x, 1, &shape, &y, 1);
		else
			dec_block(&f->run, &c, &x, 1, &y, 1);
		x = y;
	}
	y = pt_op_norm(&f->run, x, &nf);
	drop_if(f, d->done, x);
	x = pt_op_token_nll(&f->run, y, &nll);
	drop_if(f, d->done, y);
	return x;
}

static void dec_start(struct fix *f, const char *device, size_t arena, struct dec_arg *d) REF_UNUSED;
static void dec_start(struct fix *f, const char *device, size_t arena, struct dec_arg *d)
{
	static const int lens[] = { 3, 0, 1, 5 };
	static const int32_t ids[11] = { 4, 0, 4, 10, 1, 1, 2, 3, 4, 0, 0 };
	static const int32_t row[4] = { 0, 1, 5, 7 }, label[4] = { 0, 4, 2, 10 };
	static const int32_t cu_p[3] = { 0, 2, 5 }, index[4] = { 1, 0, -1, 0 };
	float cs[32], sn[32];

	fix_init(f, device, arena);
	fix_rows(f, &f->rows, lens, 4, 2);
	dec_params(f);
	for (int i = 0; i < 32; i++) {
		cs[i] = cosf((float)(i / 2) * (i % 2 ? 0.1f : 1));
		sn[i] = sinf((float)(i / 2) * (i % 2 ? 0.1f : 1));
	}
	*d = (struct dec_arg){ .ids = fix_put(f, ids, sizeof ids), .row = fix_put(f, row, sizeof row),
		.label = fix_put(f, label, sizeof label), .labelled = 4, .train = true,
		.prefix = { .n = 2, .cu = fix_put(f, cu_p, sizeof cu_p), .host_cu = cu_p,
			    .index = fix_put(f, index, sizeof index), .host_index = index },
		.rope = { fix_put(f, cs, sizeof cs), fix_put(f, sn, sizeof sn), 16, 4, NULL } };
	f->arg = d;
}

/* A bias table shared by the layers of one side, as T5 has it. */
#define T5_C 6

struct t5_arg {
	const int32_t *ids, *decoder_ids, *row, *label;
};

static void t5_start(struct fix *f, const char *device, size_t arena, struct t5_arg *a) REF_UNUSED;
static void t5_start(struct fix *f, const char *device, size_t arena, struct t5_arg *a)
{
	static const int lens[] = { 6, 1, 4 }, lens_d[] = { 2, 3, 0 };
	static const int32_t ids[11] = { 4, 0, 4, 6, 1, 1, 2, 3, 4, 0, 0 }, dids[5] = { 0, 3, 0, 2, 6 };
	static const int32_t row[5] = { 0, 1, 2, 3, 4 }, label[5] = { 3, 1, 2, 6, 1 };
	static const char *const att[] = { "e0", "e1", "d", "c" };
	char s[40];

	fix_init(f, device, arena);
	fix_rows(f, &f->rows, lens_d, 3, 0);
	fix_rows(f, &f->rows_k, lens, 3, 0);
	fix_param(f, "embed", 7, T5_C, 1);
	fix_param(f, "bias_e", 8, 2, 0.5f);
	fix_param(f, "bias_d", 6, 2, 0.5f);
	for (int i = 0; i < 4; i++) {
		for (int j = 0; j < 4; j++) {
			snprintf(s, sizeof s, "%s.%c", att[i], "qkvo"[j]);
			fix_param(f, s, 6, T5_C, 0.4f);
		}
		snprintf(s, sizeof s, "%s.n", att[i]);
		fix_param(f, s, T5_C, 0, 1);
	}
	fix_param(f, "wi", 9, T5_C, 0.5f);
	fix_param(f, "wo", T5_C, 9, 0.5f);
	*a = (struct t5_arg){ fix_put(f, ids, sizeof ids), fix_put(f, dids, sizeof dids),
			      fix_put(f, row, sizeof row), fix_put(f, label, sizeof label) };
	f->arg = a;
}

static struct pt_tensor *t5_attn(struct fix *f, const char *name, struct pt_tensor *x, struct pt_tensor *mem,
				 const char *table, int buckets, bool causal)
{
	struct pt_attn at = { 2, 2, 3, .scale = 1, .causal = causal };
	struct pt_tensor *w[5], *y[3], *h;
	struct pt_linear lin[3] = { { 0 } }, o = { 0 };

	for (int i = 0; i < 5; i++) {
		char s[40];

		snprintf(s, sizeof s, "%s.%c", name, "qkvon"[i]);
		w[i] = par(f, s);
		if (i < 3)
			lin[i].w = w[i];
	}
	o.w = w[3];
	if (table) {
		at.bias = PT_BIAS_BUCKETS;
		at.bias_table = par(f, table);
		at.buckets = buckets;
		at.max_distance = 5;
		at.bidirectional = !causal;
	}
	h = pt_op_norm(&f->run, x, &(struct pt_norm){ PT_NORM_RMS, w[4], NULL, 1e-6f });
	if (mem) {
		y[0] = pt_op_linear(&f->run, h, &lin[0]);
		pt_op_linear_group(&f->run, mem, lin + 1, 2, y + 1);
	} else {
		pt_op_linear_group(&f->run, h, lin, 3, y);
	}
	h = pt_op_linear(&f->run, pt_op_attn(&f->run, y[0], y[1], y[2], &at), &o);
	return pt_op_add(&f->run, x, h);
}

static struct pt_tensor *t5(struct fix *f) REF_UNUSED;
static struct pt_tensor *t5(struct fix *f)
{
	const struct t5_arg *a = f->arg;
	struct pt_nll nll = { .head = { .w = par(f, "embed") }, .scale = 0.408f, .rows = 5, .row = a->row,
			      .label = a->label };
	struct pt_linear wi = { .w = par(f, "wi") }, wo = { .w = par(f, "wo") };
	struct pt_tensor *x, *y;

	x = pt_op_embed(&f->run, par(f, "embed"), false, a->ids, &f->rows_k, 1, -1);
	x = t5_attn(f, "e0", x, NULL, "bias_e", 8, false);
	x = pt_op_add(&f->run, x, pt_op_linear(&f->run, pt_op_act(&f->run, pt_op_linear(&f->run, x, &wi),
								  PT_ACT_GELU_TANH), &wo));
	x = t5_attn(f, "e1", x, NULL, "bias_e", 8, false);
	y = pt_op_embed(&f->run, par(f, "embed"), false, a->decoder_ids, &f->rows, 1, -1);
	y = t5_attn(f, "d", y, NULL, "bias_d", 6, true);
	y = t5_attn(f, "c", y, x, NULL, 0, false);
	return pt_op_token_nll(&f->run, y, &nll);
}

#endif
