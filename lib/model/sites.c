/* SPDX-License-Identifier: MIT */
/*
 * sites.c - the modules of a model from its family's table: sites and
 * parameters with their paths and shapes, in HF's order, and the parts by
 * role that the formulas use.
 */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/body.h"

/* What a role is: kind of site, shape, and whether it has parameters and a bias. */
struct shape {
	enum pt_site_kind kind;
	int64_t in, out;	/* EMBEDDING: rows and width; NORM: width in .out */
	bool bias;
};

static struct shape role_shape(const struct pt_model *m, enum pt_role role)
{
	const struct pt_config *c = &m->cfg;
	const struct pt_head *h = m->body->head;
	int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;

	switch (role) {
	case PT_ROLE_SHARED:
	case PT_ROLE_EMBED:
		return (struct shape){ PT_SITE_EMBEDDING, c->vocab, c->embed_width, false };
	case PT_ROLE_POS:
		return (struct shape){ PT_SITE_EMBEDDING, c->positions + c->pos_offset, c->hidden, false };
	case PT_ROLE_TYPE:
		return (struct shape){ PT_SITE_EMBEDDING, c->types, c->hidden, false };
	case PT_ROLE_INPUT:
		return (struct shape){ PT_SITE_INPUT, c->embed_width, c->embed_width, false };
	case PT_ROLE_EMBEDDED:
		return (struct shape){ PT_SITE_STREAM, c->hidden, c->hidden, false };
	case PT_ROLE_HEAD_IN:
		return (struct shape){ PT_SITE_STREAM, c->embed_width, c->embed_width, false };
	case PT_ROLE_PROJ_IN:
		return (struct shape){ PT_SITE_LINEAR, c->embed_width, c->hidden, false };
	case PT_ROLE_PROJ_OUT:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, c->embed_width, false };
	case PT_ROLE_QKV:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, q + 2 * kv, c->bias_qkv };
	case PT_ROLE_Q:
	case PT_ROLE_CROSS_Q:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, q, c->bias_qkv };
	case PT_ROLE_REL_BIAS:
		return (struct shape){ PT_SITE_TABLE, c->buckets, c->heads, false };
	case PT_ROLE_K:
	case PT_ROLE_V:
	case PT_ROLE_CROSS_K:
	case PT_ROLE_CROSS_V:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, kv, c->bias_qkv };
	case PT_ROLE_O:
	case PT_ROLE_CROSS_O:
		return (struct shape){ PT_SITE_LINEAR, q, c->hidden, c->bias_o };
	case PT_ROLE_KV:
	case PT_ROLE_CROSS_KV:
		return (struct shape){ PT_SITE_KV, kv, kv, false };
	case PT_ROLE_GATE_UP:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, 2 * c->ffn, c->bias_ffn };
	case PT_ROLE_GATE:
	case PT_ROLE_UP:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, c->ffn, c->bias_ffn };
	case PT_ROLE_DOWN:
		return (struct shape){ PT_SITE_LINEAR, c->ffn, c->hidden, c->bias_ffn };
	case PT_ROLE_ROUTER:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, c->experts, false };
	case PT_ROLE_EXPERT_GATE:
	case PT_ROLE_EXPERT_UP:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, c->expert_ffn, false };
	case PT_ROLE_EXPERT_DOWN:
		return (struct shape){ PT_SITE_LINEAR, c->expert_ffn, c->hidden, false };
	case PT_ROLE_SHARED_GATE:
	case PT_ROLE_SHARED_UP:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, c->shared_ffn, false };
	case PT_ROLE_SHARED_DOWN:
		return (struct shape){ PT_SITE_LINEAR, c->shared_ffn, c->hidden, false };
	case PT_ROLE_SHARED_MIX:
		return (struct shape){ PT_SITE_LINEAR, c->hidden, 1, false };
	case PT_ROLE_ROUTER_PARAM:
		return (struct shape){ PT_SITE_PARAM, c->hidden, c->experts, false };
	case PT_ROLE_EXPERTS_IN:
		return (struct shape){ PT_SITE_PARAM, c->hidden, 2 * c->expert_ffn, false };
	case PT_ROLE_EXPERTS_OUT:
		return (struct shape){ PT_SITE_PARAM, c->expert_ffn, c->hidden, false };
	case PT_ROLE_ATTN_OUT:
	case PT_ROLE_CROSS_OUT:
	case PT_ROLE_FFN_OUT:
		return (struct shape){ PT_SITE_BLOCK, c->hidden, c->hidden, false };
	case PT_ROLE_Q_NORM:
	case PT_ROLE_K_NORM:
		q = !c->wide_head_norms ? c->head_dim : role == PT_ROLE_Q_NORM ? q : kv;
		return (struct shape){ PT_SITE_NORM, q, q, c->norm_bias };
	case PT_ROLE_OWN_NORM:
		return (struct shape){ PT_SITE_NORM, c->embed_width, c->embed_width, true };
	case PT_ROLE_OWN_DENSE:
	case PT_ROLE_HEAD_DENSE:
		return (struct shape){ PT_SITE_LINEAR, c->embed_width, c->embed_width, true };
	case PT_ROLE_HEAD_OUT:
		return (struct shape){ PT_SITE_LINEAR, c->embed_width,
				       pt_task_vocab(m->task) ? c->vocab :
				       pt_task_labels(m->task) ? m->num_labels : pt_task_outputs(m->task), h->out_bias };
	default:
		return (struct shape){ PT_SITE_NORM, c->hidden, c->hidden, c->norm_bias };
	}
}

static const char *module_class(const struct pt_model *m, enum pt_role role, enum pt_site_kind kind, bool transposed)
{
	switch (kind) {
	case PT_SITE_LINEAR:
		return transposed ? "Conv1D" : "Linear";
	case PT_SITE_EMBEDDING:
	case PT_SITE_TABLE:
		return "Embedding";
	case PT_SITE_NORM:
		return m->cfg.norm == PT_NORM_LAYER || role == PT_ROLE_OWN_NORM ? "LayerNorm" : "RMSNorm";
	default:
		return "";
	}
}

/* prefix.path with the numbers of block and expert in it, up to the name of a parameter; outside of blocks (layer -1) as it is. */
static char *site_path(const char *prefix, const char *path, int layer, int expert, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	char *s = NULL;

	pt_buf_printf(&b, "%s%s", prefix, *prefix && *path ? "." : "");
	for (; *path && (layer < 0 || *path != ':'); path++) {
		if (layer >= 0 && strchr("#@^", *path))
			pt_buf_printf(&b, "%d", *path == '@' ? expert : layer);
		else
			pt_buf_char(&b, *path);
	}
	if (!pt_buf_check(&b, err))
		s = pt_strdup(b.data, err);
	pt_buf_release(&b);
	return s;
}

static struct pt_weight *add_weight(struct pt_model *m, const struct pt_site *s, bool bias,
				    struct pt_error *err)
{
	struct pt_weight *w = &m->weight[m->nweights];
	int64_t shape[2] = { s->transposed ? s->in : s->out, s->transposed ? s->out : s->in };
	int ndim = 2;

	if (s->kind == PT_SITE_EMBEDDING || s->kind == PT_SITE_TABLE) {
		shape[0] = s->in;
		shape[1] = s->out;
	}
	if (bias || s->kind == PT_SITE_NORM) {
		shape[0] = s->out;
		ndim = 1;
	}
	/* A head that is not tied has a bias of its own under transformers 5; older files know the other name. */
	if (bias && s == m->body->part[PT_ROLE_HEAD_OUT] && m->body->head->bias_path) {
		char **to = m->cfg.tie ? &w->path : &w->file;

		*to = pt_strdup(m->body->head->bias_path, err);
		if (*to && m->cfg.tie)
			w->old = pt_format(err, "%s.bias", s->path);
		if (err->status)
			return NULL;
	}
	if (!w->path)
		w->path = pt_format(err, "%s.%s", s->path, bias ? "bias" : "weight");
	if (!w->path)
		return NULL;
	w->mapped = -1;
	w->readers = 1;
	m->nweights++;
	pt_tensor_init(&w->t, PT_F32, ndim, shape, NULL);
	w->t.name = w->path;
	w->use = &w->t;
	w->norm = s->kind == PT_SITE_NORM;
	w->bias = bias;
	return w;
}

/* Of the task, not of the body: a pooler is the body's. */
static bool is_head(const struct pt_model *m, enum pt_role role)
{
	return role == PT_ROLE_HEAD_OUT || role == PT_ROLE_HEAD_NORM || role == PT_ROLE_OWN_DENSE || role == PT_ROLE_OWN_NORM ||
	       (role == PT_ROLE_HEAD_DENSE && !m->body->head->dense_in_body);
}

/* The linears that a parameter holds. */
static void set_pieces(const struct pt_model *m, struct pt_layer *l, enum pt_role role, struct pt_site *s)
{
	s->experts = role == PT_ROLE_ROUTER_PARAM ? 1 : m->cfg.experts;
	s->npieces = role == PT_ROLE_EXPERTS_IN ? 2 * s->experts : s->experts;
	s->piece = role == PT_ROLE_EXPERTS_IN ? l->expert_in :
		   role == PT_ROLE_EXPERTS_OUT ? l->expert_out : &l->part[PT_ROLE_ROUTER];
}

static void set_expert(struct pt_layer *l, enum pt_role role, int expert, struct pt_site *s)
{
	if (role == PT_ROLE_EXPERT_DOWN)
		l->expert_out[expert] = s;
	else
		l->expert_in[2 * expert + (role == PT_ROLE_EXPERT_UP)] = s;
}

/* Of the first block alone, whose module the others read. */
static bool is_shared(const char *path)
{
	return strchr(path, '^') != NULL;
}

/* In a block there are parts that each has, or the first. */
static bool in_block(const char *path)
{
	return strchr(path, '#') || is_shared(path);
}

static enum pt_sub_block sub_block(enum pt_role role)
{
	switch (role) {
	case PT_ROLE_CROSS_KV:
	case PT_ROLE_CROSS_OUT:
		return PT_SUB_CROSS;
	case PT_ROLE_FFN_OUT:
		return PT_SUB_FFN;
	default:
		return PT_SUB_ATTENTION;
	}
}

/* stack NULL: of the head. */
int pt_sites_add(struct pt_model *m, struct pt_stack *stack, enum pt_role role, const char *prefix,
		    const char *path, int layer, int expert, struct pt_error *err)
{
	struct pt_site *s = &m->site[m->nsites];
	struct shape sh = role_shape(m, role);
	int end = layer >= 0 && is_shared(path) ? stack->cfg->layers : layer + 1;

	s->path = site_path(prefix, path, layer, expert, err);
	if (!s->path)
		return err->status;
	m->nsites++;
	s->kind = sh.kind;
	s->transposed = sh.kind == PT_SITE_LINEAR && layer >= 0 && m->cfg.transposed;
	s->module = module_class(m, role, sh.kind, s->transposed);
	s->layer = layer;
	s->stack = stack ? (int)(stack - m->body->stack) : -1;
	s->sub = sub_block(role);
	s->in = sh.in;
	s->out = sh.out;
	s->embed_scale = role == PT_ROLE_EMBED ? m->cfg.embed_scale : 1;
	s->pad = role == PT_ROLE_EMBED && m->cfg.family->pad_row ? m->cfg.pad : -1;
	s->rng = pt_rng_mix_str(0, s->path);
	s->init_std = m->cfg.family->std ? m->cfg.family->std(&m->cfg, m->task, role) : m->cfg.init_std;
	s->head = !pt_task_vocab(m->task) && is_head(m, role);
	s->expert = sh.kind == PT_SITE_LINEAR && expert >= 0;
	s->packed = sh.kind == PT_SITE_LINEAR && (expert >= 0 || role == PT_ROLE_ROUTER) && !m->cfg.family->linear_experts;
	s->output = role == PT_ROLE_HEAD_OUT && pt_task_vocab(m->task);
	if (!stack)
		m->body->part[role] = s;
	else if (layer < 0)
		stack->part[role] = s;
	else if (expert >= 0)
		set_expert(&stack->layer[layer], role, expert, s);
	else
		for (int i = layer; i < end; i++)
			stack->layer[i].part[role] = s;
	if (sh.kind == PT_SITE_PARAM) {
		s->param = strchr(path, ':') + 1;
		set_pieces(m, &stack->layer[layer], role, s);
	}
	if ((sh.kind == PT_SITE_NORM && !m->cfg.norm_weight && role != PT_ROLE_OWN_NORM) ||
	    (sh.kind != PT_SITE_LINEAR && sh.kind != PT_SITE_EMBEDDING && sh.kind != PT_SITE_NORM &&
	     sh.kind != PT_SITE_TABLE))
		return 0;
	s->weight = add_weight(m, s, false, err);
	if (s->weight && sh.bias)
		s->bias = add_weight(m, s, true, err);
	return err->status;
}

static bool lacks(const struct pt_model *m, enum pt_role role)
{
	return m->cfg.absent >> role & 1;
}

/* Whether block i has this part: a mixture of experts stands in place of the feed-forward. */
static bool has_part(const struct pt_model *m, const struct pt_stack_config *s, int i, const struct pt_part *p)
{
	const struct pt_layer_config *l = &s->layer[i];
	enum pt_role role = p->role;

	if (lacks(m, role) || (i > 0 && is_shared(p->path)))
		return false;
	if (role >= PT_ROLE_GATE_UP && role <= PT_ROLE_DOWN)
		return !l->sparse;
	return l->sparse || role < PT_ROLE_ROUTER || role > PT_ROLE_EXPERTS_OUT;
}

/* The parts p up to end of block i; those of experts stand together, and follow expert by expert. */
static int add_block(struct pt_model *m, struct pt_stack *stack, const char *prefix, const struct pt_part *p,
		     const struct pt_part *end, int i, struct pt_error *err)
{
	const struct pt_part *rest;
	int st = 0;

	for (; p < end && !st; p = rest) {
		bool there = has_part(m, stack->cfg, i, p);

		rest = p + 1;
		if (!strchr(p->path, '@')) {
			st = there ? pt_sites_add(m, stack, p->role, prefix, p->path, i, -1, err) : 0;
			continue;
		}
		while (rest < end && strchr(rest->path, '@'))
			rest++;
		for (int e = 0; e < m->cfg.experts && there; e++) {
			for (const struct pt_part *q = p; q < rest && !st; q++)
				st = pt_sites_add(m, stack, q->role, prefix, q->path, i, e, err);
		}
	}
	return st;
}

int pt_sites_add_stack(struct pt_model *m, struct pt_stack *stack, const char *prefix, struct pt_error *err)
{
	const struct pt_part *p = stack->cfg->part, *end;

	while (p->path) {
		if (!in_block(p->path)) {
			if (!lacks(m, p->role) && pt_sites_add(m, stack, p->role, prefix, p->path, -1, -1, err))
				return err->status;
			p++;
			continue;
		}
		for (end = p; end->path && in_block(end->path); end++)
			;
		for (int i = 0; i < stack->cfg->layers; i++) {
			if (add_block(m, stack, prefix, p, end, i, err))
				return err->status;
		}
		p = end;
	}
	return 0;
}
