/* SPDX-License-Identifier: MIT */
/*
 * adapter.c - the life of an adapter: made or opened, switched, merged,
 * closed.
 */
#include "peft/adapter.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/tokens.h"

static int start(struct pt_adapter **out, struct pt_model *m, const struct pt_adapter_origin *from, struct pt_error *err)
{
	struct pt_adapter *a = pt_calloc(1, sizeof *a, err);

	*out = a;
	if (!a)
		return err->status;
	a->model = m;
	a->layout = &pt_layout_peft;
	a->task = m->task;
	a->trainable = from->trainable;
	a->fresh = !from->dir;
	a->below = from->below;
	a->level = from->below ? from->below->level + 1 : 0;
	a->under = from->under;
	a->prov = (struct pt_prov)PT_PROV_INIT;
	if (pt_params_init(&a->params, m->dev) || pt_params_init(&a->frozen, m->dev))
		return PT_FAIL;
	a->frozen.frozen = true;
	if (from->dir)
		a->dir = pt_strdup(from->dir, err);
	return err->status;
}

/* a->site[] from what the configuration, or the method, names. */
static int select_sites(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_model *m = a->model;
	bool *matched = pt_calloc((size_t)m->nsites, sizeof *matched, err);
	int st = matched ? 0 : err->status, n = 0;

	if (!st)
		st = a->method->match ? pt_targets_saved(a, err) : pt_targets_select(a, matched, err);
	for (int i = 0; i < m->nsites && !st && a->method->match; i++)
		matched[i] = a->method->match(a, &m->site[i]);
	for (int i = 0; i < m->nsites && !st; i++)
		n += matched[i];
	if (!st) {
		a->site = pt_calloc((size_t)n, sizeof *a->site, err);
		st = a->site ? 0 : err->status;
	}
	for (int i = 0; i < m->nsites && !st; i++) {
		struct pt_adapter_site *s = &a->site[a->nsites];

		if (!matched[i])
			continue;
		*s = (struct pt_adapter_site){ .site = &m->site[i], .scale = 1,
					       .rng = a->level ? pt_rng_mix(m->site[i].rng, (uint64_t)a->level) : m->site[i].rng };
		s->hook.state = s;
		a->nsites++;
	}
	free(matched);
	return st;
}

int pt_adapter_create(struct pt_adapter *a, struct pt_error *err)
{
	int st = select_sites(a, err);

	if (!st && a->fresh && a->method->observe)
		st = a->method->observe(a, err);
	if (!st)
		st = pt_adapter_index_acts(a, err);
	if (!st && a->method->prepare)
		st = a->method->prepare(a, err);
	for (int i = 0; i < a->nsites && !st; i++) {
		const struct pt_site *s = a->site[i].site;

		if (a->method->no_conv1d && s->transposed)
			return pt_error(err, PT_USAGE, "%s is a %s, which PEFT has no %s for", s->path, s->module,
					a->method->name);
		st = a->method->create(a, &a->site[i], err);
		/* The head of a loss that never has whole logits: terms of its product, or nothing. */
		if (!st && a->fresh && s->output && a->site[i].hook.ops &&
		    (a->site[i].hook.ops->input || a->site[i].hook.ops->output))
			return pt_error(err, PT_USAGE, "%s is the output embedding: %s cannot act on it", s->path, a->method->name);
		if (!st && s->expert && a->site[i].hook.ops && (a->site[i].hook.ops->input || a->site[i].hook.ops->output))
			return pt_error(err, PT_USAGE, "%s is of an expert: %s cannot act on it (--exclude leaves it out)", s->path,
					a->method->name);
	}
	if (!st)
		st = pt_adapter_replace_all(a, err);
	return st ? st : pt_tokens_beside(a, err);
}

static int hook_in(struct pt_adapter *a, struct pt_error *err)
{
	int st = 0;

	for (int i = 0; i < a->nsites && !st; i++) {
		struct pt_adapter_site *s = &a->site[i];

		if (s->hook.ops)
			st = pt_site_add_hook(s->site, &s->hook, err);
		for (int k = 0; s->piece && k < s->site->npieces && !st; k++)
			st = pt_site_add_hook(s->site->piece[k], &s->piece[k], err);
	}
	if (!st)
		st = pt_tokens_hook_in(a, err);
	pt_adapter_enable(a, true);
	return st;
}

/* PEFT finds out whether linears are stored the other way round and writes what the last one was. */
static int set_fan(struct pt_adapter *a, struct pt_error *err)
{
	static const char key[] = "fan_in_fan_out";
	const struct pt_site *last = NULL;

	for (int i = 0; i < a->nsites; i++) {
		if (a->site[i].site->kind == PT_SITE_LINEAR)
			last = a->site[i].site;
	}
	if (!last || !cJSON_GetObjectItemCaseSensitive(a->config, key))
		return 0;
	return pt_config_set(a->config, key, cJSON_CreateBool(last->transposed), err);
}

static int make_fresh(struct pt_adapter *a, uint64_t seed, struct pt_error *err)
{
	int st = pt_adapter_check_task(a, err);

	if (!st && a->method->preset)
		st = a->method->preset(a->config, err);
	if (!st)
		st = pt_adapter_config_complete(a->config, a->method->defaults, err);
	if (!st)
		st = pt_adapter_set_task(a, err);
	if (!st)
		st = pt_adapter_list_heads(a, err);
	if (!st && a->layout->describe)
		st = a->layout->describe(a, err);
	if (!st)
		st = a->method->parse(a, err);
	if (!st)
		st = pt_adapter_create(a, err);
	if (!st)
		st = set_fan(a, err);
	for (int i = 0; i < a->nsites && !st && a->method->init; i++) {
		st = pt_stopped(a->stop, err);
		if (!st)
			st = a->method->init(a, &a->site[i], seed, err);
	}
	if (!st)
		st = pt_tokens_init(a, seed, err);
	if (!st && a->method->settle)
		st = a->method->settle(a, err);
	if (!st)
		pt_rank_warn(a);
	return st;
}

/* What it would have stood on is still the caller's. */
static void give_up(struct pt_adapter *a)
{
	if (a)
		a->below = NULL;
	pt_adapter_close(a);
}

int pt_adapter_make(struct pt_adapter **out, struct pt_model *m, const struct pt_method *method,
		    cJSON *config_take, const struct pt_adapter_origin *from, struct pt_error *err)
{
	const char *dir = from->dir;
	struct pt_adapter *a;
	int st = start(&a, m, from, err);

	*out = NULL;
	if (st) {
		give_up(a);
		pt_json_free(config_take);
		return st;
	}
	a->method = method;
	a->layout = pt_method_layout(method);
	a->config = config_take;
	a->full = !method;
	a->tokenize = from->from ? from->from->tokenize : NULL;
	a->batches = from->from ? from->from->batches : NULL;
	a->stop = from->from ? from->from->stop : NULL;
	st = dir ? pt_adapter_read(a, dir, err) : make_fresh(a, from->seed, err);
	if (!st)
		st = hook_in(a, err);
	if (st) {
		give_up(a);
		return st;
	}
	/* Who trains does not look at the bare base. */
	pt_adapter_spare(a, a->trainable);
	*out = a;
	return 0;
}

int pt_adapter_new(struct pt_adapter **out, struct pt_model *m, cJSON *config_take, uint64_t seed,
		   const struct pt_sources *from, struct pt_error *err)
{
	const struct pt_adapter_origin fresh = { .trainable = true, .seed = seed, .from = from };
	const struct pt_method *method;
	int st = pt_method_of_config(config_take, &method, err);

	*out = NULL;
	if (!st)
		return pt_adapter_make(out, m, method, config_take, &fresh, err);
	pt_json_free(config_take);
	return st;
}

int pt_adapter_new_full(struct pt_adapter **out, struct pt_model *m, const char *const *modules, int n,
			struct pt_error *err)
{
	const struct pt_adapter_origin fresh = { .trainable = true };
	struct pt_adapter *a;
	int st = start(&a, m, &fresh, err);

	*out = NULL;
	if (!st)
		st = pt_full_names(a, modules, n, err);
	if (!st)
		st = pt_full_make(a, err);
	if (st) {
		pt_adapter_close(a);
		return st;
	}
	pt_adapter_enable(a, true);
	pt_adapter_spare(a, true);
	*out = a;
	return 0;
}

void pt_adapter_close(struct pt_adapter *a)
{
	if (!a)
		return;
	pt_adapter_enable(a, false);
	pt_adapter_spare(a, false);
	for (int i = 0; i < a->nsites; i++) {
		struct pt_adapter_site *s = &a->site[i];

		pt_site_remove_hook(s->site, &s->hook);
		for (int k = 0; s->piece && k < s->site->npieces; k++)
			pt_site_remove_hook(s->site->piece[k], &s->piece[k]);
		free(s->piece);
	}
	pt_tokens_release(a);
	pt_adapter_precondition_release(a);
	if (a->method && a->method->release)
		a->method->release(a);
	for (size_t i = 0; i < a->ntensors; i++)
		free(a->tensor[i].key);
	free(a->tensor);
	for (size_t i = 0; i < a->nmade; i++)
		free(a->made[i].key);
	free(a->made);
	free(a->weight);
	free(a->site);
	free(a->act);
	pt_params_release(&a->params);
	pt_params_release(&a->frozen);
	pt_labels_free(a->labels, a->nlabels);
	pt_labels_free(a->modules, a->nmodules);
	pt_prov_release(&a->prov);
	pt_json_free(a->config);
	pt_adapter_close(a->below);
	free(a->dir);
	free(a);
}

int pt_adapter_set_labels(struct pt_adapter *a, const char *const *labels, int n, struct pt_error *err)
{
	char **copy = pt_calloc((size_t)n, sizeof(char *), err);

	for (int i = 0; copy && i < n; i++) {
		copy[i] = pt_strdup(labels[i], err);
		if (!copy[i]) {
			pt_labels_free(copy, n);
			copy = NULL;
		}
	}
	if (!copy)
		return err->status;
	pt_labels_free(a->labels, a->nlabels);
	a->labels = copy;
	a->nlabels = n;
	return 0;
}

void pt_adapter_enable(struct pt_adapter *a, bool on)
{
	if (a->below)
		pt_adapter_enable(a->below, on);
	for (int i = 0; i < a->nsites; i++) {
		struct pt_adapter_site *s = &a->site[i];

		s->hook.enabled = on;
		for (int k = 0; s->piece && k < s->site->npieces; k++)
			s->piece[k].enabled = on;
	}
	pt_tokens_enable(a, on);
	for (size_t i = 0; i < a->nweights; i++)
		a->weight[i].weight->use = on ? &a->weight[i].param->t : &a->weight[i].weight->t;
}

int pt_adapter_merges(const struct pt_adapter *a, struct pt_error *err)
{
	if (!a->method || a->method->merges)
		return 0;
	return pt_error(err, PT_USAGE, "%s cannot be merged into a model: it is no change of weights", a->method->name);
}

int pt_adapter_merge(struct pt_adapter *a, const struct pt_weight *w, float *value, bool *changed,
		     struct pt_error *err)
{
	const struct pt_adapter_weight *r = pt_adapter_replaced(a, w);
	const struct pt_adapter_act *act;
	size_t n;
	int st = pt_adapter_merges(a, err);

	if (!st && r)
		st = pt_adapter_get(a, r->param, value, err);
	*changed = r != NULL;
	for (act = pt_adapter_acts(a, w, &n); n && !st; act++, n--) {
		st = a->method->merge(a, &a->site[act->site], w, value, err);
		*changed = true;
	}
	return st ? st : pt_tokens_merge(a, w, value, changed, err);
}

struct pt_tensor *pt_adapter_loss(struct pt_run *run, struct pt_adapter *a)
{
	return a->method && a->method->loss ? a->method->loss(run, a) : NULL;
}

int pt_adapter_begin(struct pt_adapter *a, int64_t total, struct pt_error *err)
{
	return a->method && a->method->begin ? a->method->begin(a, total, err) : 0;
}

int pt_adapter_plan(const struct pt_adapter *a, int64_t total, struct pt_buf *out, struct pt_error *err)
{
	return a->method && a->method->plan ? a->method->plan(a, total, out, err) : 0;
}

int pt_adapter_gradient(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err)
{
	return a->method && a->method->gradient ? a->method->gradient(a, at, err) : 0;
}

int pt_adapter_after_step(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err)
{
	return a->method && a->method->after_step ? a->method->after_step(a, at, err) : 0;
}
