/* SPDX-License-Identifier: MIT */
/*
 * describe.c - struct pt_config in words; see describe.h. Lines are made of
 * the switches alone, so that a new family needs nothing here.
 */
#include "model/describe.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include "model/site.h"

const char *pt_site_kind_name(int kind)
{
	static const char *const names[] = {
		[PT_SITE_LINEAR] = "linear", [PT_SITE_EMBEDDING] = "embedding", [PT_SITE_NORM] = "norm",
		[PT_SITE_KV] = "keys/values", [PT_SITE_BLOCK] = "output", [PT_SITE_INPUT] = "input",
		[PT_SITE_PARAM] = "parameter", [PT_SITE_STREAM] = "stream",
	};

	return kind >= 0 && kind < (int)(sizeof names / sizeof names[0]) && names[kind] ? names[kind] : "other";
}

/* Collects a line; commas between its parts. */
static void part(struct pt_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void part(struct pt_buf *b, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	pt_buf_printf(b, "%s%s", b->len ? ", " : "", text);
}

static void sizes(const struct pt_config *c, struct pt_buf *b)
{
	part(b, "vocabulary %lld", (long long)c->vocab);
	part(b, "hidden %lld", (long long)c->hidden);
	if (c->embed_width != c->hidden)
		part(b, "embeddings of %lld", (long long)c->embed_width);
	part(b, "feed-forward %lld", (long long)c->ffn);
	if (c->nstacks > 1)
		part(b, "%d encoder and %d decoder layers", c->stack[0].layers, c->stack[1].layers);
	else
		part(b, "%d layers", c->stack[0].layers);
	part(b, "%d heads of %d", c->heads, c->head_dim);
	if (c->kv_heads != c->heads)
		part(b, "%d of keys and values", c->kv_heads);
}

/* Of a block whose norms are on the outputs of its sub-blocks alone. */
static bool norms_outputs(const struct pt_config *c)
{
	for (const struct pt_part *p = c->stack[0].part; p->path; p++) {
		if (p->role == PT_ROLE_ATTN_NORM)
			return false;
	}
	return true;
}

static void block(const struct pt_config *c, struct pt_buf *b)
{
	static const char *const form[] = {
		[PT_BLOCK_PRE] = "norm first", [PT_BLOCK_POST] = "norm last", [PT_BLOCK_PARALLEL] = "parallel",
	};
	static const char *const norm[] = {
		[PT_NORM_RMS] = "RMSNorm", [PT_NORM_RMS1P] = "RMSNorm (1 + w)", [PT_NORM_LAYER] = "LayerNorm",
	};

	part(b, "%s", norms_outputs(c) ? "norms of outputs" : form[c->form]);
	part(b, "%s%s eps %g", norm[c->norm], c->norm_weight ? "" : " without weights", (double)c->eps);
	part(b, "%s feed-forward (%s)", c->ffn_form == PT_FFN_GATED ? "gated" : "plain", pt_act_name(c->act));
	if (c->input_scale != 1)
		part(b, "embeddings times %g", (double)c->input_scale);
	if (c->residual_scale != 1)
		part(b, "outputs times %g", (double)c->residual_scale);
	if (c->transposed)
		part(b, "linears stored [in, out]");
}

/* Nothing of a model without experts. */
static void experts(const struct pt_config *c, struct pt_buf *b)
{
	const struct pt_stack_config *s = &c->stack[0];
	int sparse = 0;

	if (!c->experts)
		return;
	part(b, "%d of %d of width %lld", c->expert_choices, c->experts, (long long)c->expert_ffn);
	for (int i = 0; i < s->layers; i++)
		sparse += s->layer[i].sparse;
	if (sparse < s->layers)
		part(b, "in %d of %d layers", sparse, s->layers);
	if (c->expert_renorm)
		part(b, "weights sum to 1");
	if (c->shared_ffn)
		part(b, "one shared of width %lld", (long long)c->shared_ffn);
	if (c->router_loss_on)
		part(b, "router loss times %g", c->router_loss);
}

static void positions(const struct pt_config *c, struct pt_buf *b)
{
	if (c->position == PT_POS_LEARNED && c->pos_offset)
		part(b, "learned, from row %d", c->pos_offset);
	else if (c->position == PT_POS_LEARNED)
		part(b, "learned");
	else if (c->position == PT_POS_SLOPES)
		part(b, "slopes (ALiBi)");
	else if (c->position == PT_POS_BUCKETS)
		part(b, "relative, in buckets");
	else if (c->position == PT_POS_NONE)
		part(b, "none");
	for (int i = 0; i < c->nropes; i++) {
		const struct pt_rope_config *r = &c->rope[i];

		part(b, "rotary theta %g", r->theta);
		if (r->type != PT_ROPE_DEFAULT)
			part(b, "%s by %g", pt_rope_type_name(r->type), r->factor);
		if (r->dims != c->head_dim)
			part(b, "%d of %d dimensions", r->dims, c->head_dim);
	}
	if (c->positions < INT32_MAX)
		part(b, "at most %lld", (long long)c->positions);
}

/* "0-3 5": the layers with this window, or those without rotation. */
static void layer_list(const struct pt_stack_config *s, int window, bool unrotated, struct pt_buf *b)
{
	int from = -1, n = 0;

	for (int i = 0; i <= s->layers; i++) {
		bool in = i < s->layers && (unrotated ? s->layer[i].rope < 0 : s->layer[i].window == window);

		if (in && from < 0)
			from = i;
		if (in || from < 0)
			continue;
		pt_buf_printf(b, "%s%d", n++ ? " " : "", from);
		if (i - 1 > from)
			pt_buf_printf(b, "-%d", i - 1);
		from = -1;
	}
}

static void attention(const struct pt_config *c, const struct pt_stack_config *s, struct pt_buf *b)
{
	bool rotates = false, skips = false;
	int window = 0, full = 0;

	part(b, "%s", s->causal ? "causal" : "both directions");
	for (int i = 0; i < s->layers; i++) {
		window = s->layer[i].window ? s->layer[i].window : window;
		full += s->layer[i].window == 0;
		rotates |= s->layer[i].rope >= 0;
		skips |= s->layer[i].rope < 0;
	}
	if (window)
		part(b, "window %d", window);
	if (window && full) {
		pt_buf_str(b, " in layers ");
		layer_list(s, window, false, b);
	}
	if (rotates && skips) {
		part(b, "no rotation in layers ");
		layer_list(s, 0, true, b);
	}
	part(b, "scale %g", (double)s->layer[0].scale);
	if (c->attn_softcap > 0)
		part(b, "soft cap %g", (double)c->attn_softcap);
}

static void dropouts(const struct pt_config *c, enum pt_task task, struct pt_buf *b)
{
	const struct pt_head *h = pt_family_head(c->family, task);
	bool classifies = h && (h->dropout || h->dropout_dense);
	const struct {
		const char *where;
		float p;
	} drop[] = {
		{ "embeddings", c->drop_embed }, { "attention", c->drop_attn },
		{ "attention's output", c->drop_attn_out }, { "activation", c->drop_act },
		{ "feed-forward's output", c->drop_ffn_out }, { "both outputs", c->drop_sum },
		{ "last norm", c->drop_final }, { "classifier", classifies ? c->drop_class : 0 },
	};

	for (size_t i = 0; i < sizeof drop / sizeof drop[0]; i++) {
		if (drop[i].p > 0)
			part(b, "%s %g", drop[i].where, (double)drop[i].p);
	}
}

static void head(const struct pt_config *c, enum pt_task task, struct pt_buf *b)
{
	const struct pt_head *h = pt_family_head(c->family, task);

	if (h && h->out)
		part(b, "%s", h->out);
	if (pt_task_vocab(task) && c->tie)
		part(b, "tied to the embeddings");
	if (pt_task_vocab(task) && c->final_softcap > 0)
		part(b, "soft cap %g", (double)c->final_softcap);
	if (pt_task_vocab(task) && c->logit_scale != 1)
		part(b, "scale %g", (double)c->logit_scale);
	if (pt_task_labels(task))
		part(b, "%d labels", c->num_labels);
}

int pt_config_describe(const struct pt_config *c, enum pt_task task, pt_describe_fn fn, void *arg,
		       struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	char name[100];

	fn(arg, "family", c->family->model_type);
	if (pt_family_class(c->family, task, name, sizeof name))
		fn(arg, "class", name);
	fn(arg, "task", pt_task_name(task));
#define LINE(key, ...) do { \
		pt_buf_clear(&b); \
		__VA_ARGS__; \
		if (!b.failed && b.len) \
			fn(arg, key, b.data); \
	} while (0)
	LINE("sizes", sizes(c, &b));
	LINE("block", block(c, &b));
	LINE("experts", experts(c, &b));
	LINE("positions", positions(c, &b));
	LINE("attention", attention(c, &c->stack[0], &b));
	if (c->nstacks > 1)
		LINE("decoder", attention(c, &c->stack[1], &b));
	LINE("dropout", dropouts(c, task, &b));
	LINE("head", head(c, task, &b));
#undef LINE
	if (c->family->lora_targets)
		fn(arg, "targets", c->family->lora_targets);
	pt_buf_check(&b, err);
	pt_buf_release(&b);
	return err->status;
}
