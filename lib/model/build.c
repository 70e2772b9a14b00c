/* SPDX-License-Identifier: MIT */
/*
 * build.c - the body of a model: stacks and head of its task, the parts of
 * each by role, and the memory that all of it has.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/body.h"

/* Under the body's prefix, or, in files of a bare body, without. */
static bool has_idle(const struct pt_model *m, const struct pt_head *h)
{
	char path[100];

	snprintf(path, sizeof path, "%s.%s", m->cfg.family->prefix, h->dense);
	return pt_weights_head_rows(m, h->dense) || pt_weights_head_rows(m, path);
}

static int add_head(struct pt_model *m, const char *prefix, struct pt_error *err)
{
	const struct pt_head *h = m->body->head;
	struct pt_weight *w;

	if (!h)
		return 0;
	if (h->dense && !(h->dense_idle && !has_idle(m, h)) &&
	    pt_sites_add(m, NULL, PT_ROLE_HEAD_DENSE, h->dense_in_body ? prefix : "", h->dense, -1, -1, err))
		return err->status;
	if (h->norm && pt_sites_add(m, NULL, PT_ROLE_HEAD_NORM, "", h->norm, -1, -1, err))
		return err->status;
	if (h->out && pt_sites_add(m, NULL, PT_ROLE_HEAD_OUT, "", h->out, -1, -1, err))
		return err->status;
	if (pt_task_vocab(m->task) && pt_sites_add(m, NULL, PT_ROLE_HEAD_IN, "", h->out, -1, -1, err))
		return err->status;
	if (!h->file)
		return 0;
	w = m->body->part[PT_ROLE_HEAD_OUT]->weight;
	w->file = pt_format(err, "%s.weight", h->file);
	return err->status;
}

/* A dropout of the base has a random site of its own, apart from that of an adapter at the same module. */
static uint64_t dropout_site(const struct pt_site *s)
{
	return s ? pt_rng_mix_str(s->rng, "dropout") : 0;
}

static void set_stack(struct pt_stack *s)
{
	for (int i = 0; i < s->cfg->layers; i++) {
		struct pt_layer *l = &s->layer[i];

		l->index = i;
		l->cfg = &s->cfg->layer[i];
		l->rng_attn = dropout_site(l->part[PT_ROLE_KV]);
		l->rng_attn_out = dropout_site(l->part[PT_ROLE_O]);
		l->rng_cross = dropout_site(l->part[PT_ROLE_CROSS_KV]);
		l->rng_cross_out = dropout_site(l->part[PT_ROLE_CROSS_O]);
		l->rng_act = dropout_site(l->part[PT_ROLE_UP] ? l->part[PT_ROLE_UP] : l->part[PT_ROLE_GATE_UP]);
		l->rng_ffn_out = dropout_site(l->part[PT_ROLE_DOWN]);
	}
	s->rng_embed = dropout_site(s->part[PT_ROLE_EMBED]);
	s->rng_final = dropout_site(s->part[PT_ROLE_FINAL_NORM]);
}

const char *pt_model_prefix(const struct pt_model *m)
{
	const struct pt_head *h = m->body->head;

	if (pt_task_bare(m->task))
		return "";
	return h && h->prefix ? h->prefix : m->cfg.family->prefix;
}

bool pt_model_head_is_own(const struct pt_model *m)
{
	return m->body->head == &m->body->own_head;
}

/* The class's head with other linears; where the class has none, one that reads what such a head would. */
static int set_head(struct pt_model *m, const struct pt_head_spec *spec, struct pt_error *err)
{
	static const char eps[] = "layer_norm_eps";
	struct pt_body *b = m->body;
	struct pt_head *h = &b->own_head;
	const struct pt_config *c = &m->cfg;

	b->head = pt_family_head(c->family, m->task);
	if (!spec)
		return 0;
	if (spec->pooler && !(b->head && b->head->dense_in_body))
		return pt_error(err, PT_USAGE, "a model of type %s has no head with a pooler", c->family->model_type);
	*h = b->head ? *b->head : (struct pt_head){ .task = m->task, .pool = m->task != PT_TASK_SEQ_CLS ? PT_POOL_ROWS :
						    c->family->causal ? PT_POOL_LAST : PT_POOL_FIRST };
	h->file = h->norm = h->bias_path = h->drop_key = NULL;
	if (!spec->pooler) {
		h->dense = NULL;
		h->dense_in_body = h->dense_idle = h->dropout_dense = false;
	}
	h->dropout = spec->dropout;
	h->out = b->own_out = pt_strdup(spec->out, err);
	h->out_bias = spec->out_bias;
	b->own_act = spec->act;
	b->own_dropout = spec->dropout;
	/* As the library asks for it: the model's where that key of it is called so. */
	b->own_eps = c->family->keys->eps && !strcmp(c->family->keys->eps, eps) ? c->eps : 1e-12f;
	b->own = pt_calloc((size_t)spec->nsteps, sizeof *b->own, err);
	b->head = h;
	return err->status;
}

/* What stands before the last linear of such a head. */
static int add_steps(struct pt_model *m, const struct pt_head_spec *spec, struct pt_error *err)
{
	struct pt_body *b = m->body;

	for (int i = 0; spec && i < spec->nsteps; i++) {
		const struct pt_head_step *from = &spec->step[i];
		struct pt_own_step *to = &b->own[b->nown];

		if (pt_sites_add(m, NULL, PT_ROLE_OWN_DENSE, "", from->dense, -1, -1, err))
			return err->status;
		to->dense = b->part[PT_ROLE_OWN_DENSE];
		to->rng = dropout_site(to->dense);
		if (from->norm && pt_sites_add(m, NULL, PT_ROLE_OWN_NORM, "", from->norm, -1, -1, err))
			return err->status;
		to->norm = from->norm ? b->part[PT_ROLE_OWN_NORM] : NULL;
		b->nown++;
	}
	return 0;
}

int pt_body_build(struct pt_model *m, const struct pt_head_spec *head, struct pt_error *err)
{
	const struct pt_config *c = &m->cfg;
	size_t sites = PT_ROLES + 2 * (size_t)(head ? head->nsteps : 0);	/* of the head */
	size_t experts = (size_t)c->experts;

	m->body = pt_calloc(1, sizeof *m->body, err);
	if (!m->body)
		return err->status;
	if (set_head(m, head, err))
		return err->status;
	m->body->pool = m->body->head ? m->body->head->pool : PT_POOL_ROWS;
	m->body->nstacks = m->body->head && m->body->head->first_stack ? 1 : c->nstacks;
	for (int i = 0; i < m->body->nstacks; i++) {
		struct pt_stack *s = &m->body->stack[i];

		s->cfg = &c->stack[i];
		s->first = i ? s[-1].first + s[-1].cfg->layers : 0;
		s->layer = pt_calloc((size_t)s->cfg->layers, sizeof *s->layer, err);
		if (!s->layer)
			return err->status;
		sites += ((size_t)s->cfg->layers + 1) * PT_ROLES;
		for (int k = 0; k < s->cfg->layers; k++) {
			if (!s->cfg->layer[k].sparse)
				continue;
			sites += 3 * experts;
			s->layer[k].expert_in = pt_calloc(3 * experts, sizeof(struct pt_site *), err);
			if (!s->layer[k].expert_in)
				return err->status;
			s->layer[k].expert_out = s->layer[k].expert_in + 2 * experts;
		}
	}
	m->site = pt_calloc(sites, sizeof *m->site, err);
	m->weight = pt_calloc(2 * sites, sizeof *m->weight, err);
	if (!m->site || !m->weight)
		return err->status;
	for (int i = 0; i < m->body->nstacks; i++) {
		if (pt_sites_add_stack(m, &m->body->stack[i], pt_model_prefix(m), err))
			return err->status;
		set_stack(&m->body->stack[i]);
	}
	if (add_steps(m, head, err) || add_head(m, pt_model_prefix(m), err))
		return err->status;
	m->body->rng_dense = dropout_site(m->body->part[PT_ROLE_HEAD_DENSE]);
	m->body->rng_head = dropout_site(m->body->part[PT_ROLE_HEAD_OUT]);
	return 0;
}

void pt_body_free(struct pt_model *m)
{
	/* While there are weights: they are told that they have no place any more. */
	if (m->body)
		pt_parts_release(&m->body->parts);
	for (int i = 0; i < m->nsites; i++) {
		free(m->site[i].path);
		free(m->site[i].file);
		free(m->site[i].hook);
	}
	for (int i = 0; i < m->nweights; i++) {
		free(m->weight[i].path);
		free(m->weight[i].file);
		free(m->weight[i].old);
	}
	free(m->site);
	free(m->weight);
	if (!m->body)
		return;
	for (size_t i = 0; i < m->body->nowned; i++) {
		const struct pt_owned *o = &m->body->owned[i];

		m->dev->free(m->dev, o->p, o->n);
	}
	for (int i = 0; i < PT_MAX_ROPES; i++)
		pt_rope_table_release(&m->body->rope[i]);
	for (int i = 0; i < PT_MAX_STACKS; i++) {
		struct pt_stack *s = &m->body->stack[i];

		for (int k = 0; s->layer && k < s->cfg->layers; k++)
			free(s->layer[k].expert_in);
		free(s->layer);
	}
	free(m->body->own_out);
	free(m->body->own);
	pt_map_release(&m->body->names);
	free(m->body->owned);
	free(m->body);
}
