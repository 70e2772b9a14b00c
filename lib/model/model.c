/* SPDX-License-Identifier: MIT */
/*
 * model.c - opening a model: description, modules, values.
 */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/body.h"

static int check_task(const struct pt_model *m, struct pt_error *err)
{
	char name[100];

	if (pt_family_class(m->cfg.family, m->task, name, sizeof name))
		return 0;
	return pt_error(err, PT_USAGE, "task %s is not supported for model type %s",
			pt_task_name(m->task), m->cfg.family->model_type);
}

/* Labels: rows of the checkpoint's head, else those asked for, else those of config.json. */
static int count_labels(struct pt_model *m, const struct pt_model_options *o, struct pt_error *err)
{
	const struct pt_head *h = pt_family_head(m->cfg.family, m->task);
	int64_t rows;

	m->num_labels = o->num_labels ? o->num_labels : m->cfg.num_labels;
	if (!pt_task_labels(m->task) || o->random || o->head)
		return 0;
	rows = pt_weights_head_rows(m, h->out);
	if (!rows)
		return 0;
	if (rows > 1 << 20)
		return pt_error(err, PT_DATA, "%s: a head of %lld labels", m->dir->given, (long long)rows);
	if (o->num_labels && rows != o->num_labels)
		return pt_error(err, PT_USAGE, "%s has a head of %lld labels, %d were asked for; use the model's labels or a base without head",
				m->dir->given, (long long)rows, o->num_labels);
	m->num_labels = (int)rows;
	return 0;
}

/* A classifier's dropout, where it has a key of its own or is the head's. */
static int head_dropout(struct pt_model *m, const struct pt_head_spec *spec, struct pt_error *err)
{
	const struct pt_head *h = m->body->head;
	double p;

	if (spec && spec->drop >= 0)
		m->cfg.drop_class = (float)spec->drop;
	if (spec || !h || !h->drop_key)
		return 0;
	if (pt_json_double(m->cfg.json, h->drop_key, h->drop, &p, err))
		return err->status;
	if (!(p >= 0 && p < 1))
		return pt_error(err, PT_DATA, "%s %g is no probability below 1", h->drop_key, p);
	m->cfg.drop_class = (float)p;
	return 0;
}

/* A second stack begins with a token that config.json names. */
static int check_start(const struct pt_model *m, struct pt_error *err)
{
	if (m->body->nstacks < 2 || m->cfg.decoder_start >= 0)
		return 0;
	return pt_error(err, PT_DATA, "%s: config.json: decoder_start_token_id is missing", m->dir->given);
}

int pt_model_open(struct pt_model **out, struct pt_device *dev, const struct pt_modeldir *dir,
		  const struct pt_model_options *o, struct pt_error *err)
{
	struct pt_model *m;
	int st;

	*out = NULL;
	if (!dir->weights && !o->random && !o->structure)
		return pt_error(err, PT_DATA, "%s has no weights; peft-init -t full makes a model of it",
				dir->given);
	m = pt_calloc(1, sizeof *m, err);
	if (!m)
		return err->status;
	m->dev = dev;
	m->dir = dir;
	m->task = o->task;
	st = pt_config_read(&m->cfg, dir->config, err);
	if (st) {
		pt_error_prefix(err, "%s", dir->given);
		goto fail;
	}
	if ((!o->head && (st = check_task(m, err))) || (st = count_labels(m, o, err)) ||
	    (st = pt_body_build(m, o->head, err)) || (st = head_dropout(m, o->head, err)) || (st = check_start(m, err)) ||
	    (m->task == PT_TASK_CONTRASTIVE && (st = pt_sentence_read(m, err))))
		goto fail;
	if ((st = pt_weights_load(m, o, err)) || (!o->structure && (st = pt_body_positions(m, err))) ||
	    (!o->structure && !o->defer && (st = pt_model_place(m, 0, err))))
		goto fail;
	m->digest = pt_modeldir_digest(dir);
	*out = m;
	return 0;
fail:
	pt_model_close(m);
	return st;
}

void pt_model_close(struct pt_model *m)
{
	if (!m)
		return;
	pt_body_free(m);
	pt_config_release(&m->cfg);
	free(m);
}

void pt_head_spec_release(struct pt_head_spec *s)
{
	for (int i = 0; i < s->nsteps; i++) {
		free(s->step[i].dense);
		free(s->step[i].norm);
	}
	free(s->step);
	free(s->out);
	*s = (struct pt_head_spec){ 0 };
}

bool pt_model_head_is_new(const struct pt_model *m)
{
	return m->body->head_is_new;
}

int pt_model_blocks(const struct pt_model *m)
{
	const struct pt_stack *last = &m->body->stack[m->body->nstacks - 1];

	return last->first + last->cfg->layers;
}

struct pt_site *pt_model_site(const struct pt_model *m, const char *path)
{
	for (int i = 0; i < m->nsites; i++) {
		if (!strcmp(m->site[i].path, path))
			return &m->site[i];
	}
	return NULL;
}

struct pt_site *pt_model_site_kind(const struct pt_model *m, const char *path, enum pt_site_kind kind)
{
	for (int i = 0; i < m->nsites; i++) {
		if (m->site[i].kind == kind && !strcmp(m->site[i].path, path))
			return &m->site[i];
	}
	return NULL;
}

struct pt_weight *pt_model_weight(const struct pt_model *m, const char *path)
{
	int64_t i = pt_map_get(&m->body->names, path, strlen(path));

	return i >= 0 && i < m->nweights ? &m->weight[i] : NULL;
}

int64_t pt_model_max_len(const struct pt_model *m)
{
	int front, rows;

	pt_model_front(m, true, &front, &rows);
	return (m->cfg.nropes && m->cfg.rope[0].type == PT_ROPE_DYNAMIC ? INT32_MAX : m->cfg.positions) - front;
}

int64_t pt_model_restart(const struct pt_model *m)
{
	const struct pt_rope_config *r = &m->cfg.rope[0];

	return m->cfg.family->long_restart && r->type == PT_ROPE_LONG ? r->original + 1 : 0;
}
