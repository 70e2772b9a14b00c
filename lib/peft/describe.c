/* SPDX-License-Identifier: MIT */
/*
 * describe.c - the table of what an adapter matched: a line for all layers
 * that have the same module, then the totals.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/tokens.h"

struct line {
	char name[200];			/* path with '#' for the layer */
	const char *module;		/* class of the module, or what is done with a weight of the base */
	char shape[48];
	char rank[16], scale[24];	/* empty where there are none */
	int count, from, to;		/* layers */
	int64_t elements;
};

struct table {
	struct line *line;
	size_t n, cap;
	struct pt_error err;
};

/* The path with the number of the layer replaced by '#'. */
static void name_of(const char *path, int layer, char *out, size_t size)
{
	char number[24];
	const char *at;

	snprintf(number, sizeof number, ".%d.", layer);
	at = layer < 0 ? NULL : strstr(path, number);
	if (at)
		snprintf(out, size, "%.*s.#.%s", (int)(at - path), path, at + strlen(number));
	else
		snprintf(out, size, "%s", path);
}

static void add(struct table *t, const struct line *l, int layer)
{
	struct line *e;

	for (size_t i = t->n; i--; ) {
		e = &t->line[i];
		if (strcmp(e->name, l->name) || strcmp(e->module, l->module) || strcmp(e->shape, l->shape) ||
		    strcmp(e->rank, l->rank) || strcmp(e->scale, l->scale))
			continue;
		e->count++;
		e->to = layer;
		e->elements += l->elements;
		return;
	}
	if (pt_grow(&t->line, &t->cap, t->n + 1, sizeof *t->line, &t->err))
		return;
	e = &t->line[t->n++];
	*e = *l;
	e->count = 1;
	e->from = e->to = layer;
}

static void add_sites(struct table *t, const struct pt_adapter *a)
{
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adapter_site *s = &a->site[i];
		struct line l = { .module = *s->site->module ? s->site->module : "-" };

		/* Weights of the base that train are listed as such. */
		if (!s->hook.ops)
			continue;
		name_of(s->site->path, s->site->layer, l.name, sizeof l.name);
		snprintf(l.shape, sizeof l.shape, "%" PRId64 " -> %" PRId64, s->site->in, s->site->out);
		if (s->rank) {
			snprintf(l.rank, sizeof l.rank, "%d", s->rank);
			snprintf(l.scale, sizeof l.scale, "%g", (double)s->scale);
		}
		for (int k = 0; k < s->nparams; k++)
			l.elements += s->param[k]->t.needs_grad || !a->trainable ? pt_tensor_count(&s->param[k]->t) : 0;
		add(t, &l, s->site->layer);
	}
}

static const struct pt_site *site_of(const struct pt_model *m, const struct pt_weight *w)
{
	for (int i = 0; i < m->nsites; i++) {
		if (m->site[i].weight == w || m->site[i].bias == w)
			return &m->site[i];
	}
	return NULL;
}

static void add_weights(struct table *t, const struct pt_adapter *a)
{
	for (size_t i = 0; i < a->nweights; i++) {
		const struct pt_weight *w = a->weight[i].weight;
		const struct pt_param *p = a->weight[i].param;
		const struct pt_site *s = site_of(a->model, w);
		struct line l = { .module = p->t.needs_grad ? "trained" : "replaced" };

		name_of(w->path, s ? s->layer : -1, l.name, sizeof l.name);
		if (w->t.ndim == 2)
			snprintf(l.shape, sizeof l.shape, "%" PRId64 " x %" PRId64, w->t.shape[0], w->t.shape[1]);
		else
			snprintf(l.shape, sizeof l.shape, "%" PRId64, w->t.shape[0]);
		l.elements = pt_tensor_count(&w->t);
		add(t, &l, s ? s->layer : -1);
	}
}

static void add_rows(struct table *t, const struct pt_adapter *a)
{
	for (int i = 0; i < a->nrows; i++) {
		const struct pt_token_rows *r = a->rows[i];

		for (int k = 0; k < r->nplaces; k++) {
			const struct pt_site *s = r->place[k].site;
			struct line l = { .module = k ? "tied" : s->module };

			name_of(s->path, s->layer, l.name, sizeof l.name);
			snprintf(l.shape, sizeof l.shape, "%" PRId64 " of %" PRId64 " x %" PRId64, r->n, s->weight->t.shape[0],
				 s->weight->t.shape[1]);
			l.elements = k ? 0 : pt_tensor_count(&r->value->t);
			add(t, &l, s->layer);
		}
	}
}

static int width(const struct table *t, size_t offset, int least)
{
	for (size_t i = 0; i < t->n; i++) {
		int n = (int)strlen((const char *)&t->line[i] + offset);

		least = n > least ? n : least;
	}
	return least;
}

static void print_lines(const struct table *t, struct pt_buf *out)
{
	int name = width(t, offsetof(struct line, name), 6), shape = width(t, offsetof(struct line, shape), 5);

	pt_buf_printf(out, "%-*s  %-9s  %-6s  %-*s  %4s  %7s  %12s\n", name, "module", "kind", "layers", shape, "shape",
		      "rank", "scale", "parameters");
	for (size_t i = 0; i < t->n; i++) {
		const struct line *l = &t->line[i];
		char layers[40] = "-";

		if (l->from >= 0 && l->count == l->to - l->from + 1)
			snprintf(layers, sizeof layers, l->count > 1 ? "%d-%d" : "%d", l->from, l->to);
		else if (l->from >= 0)
			snprintf(layers, sizeof layers, "%d of %d-%d", l->count, l->from, l->to);
		pt_buf_printf(out, "%-*s  %-9s  %-6s  %-*s  %4s  %7s  %12" PRId64 "\n", name, l->name, l->module, layers,
			      shape, l->shape, l->rank, l->scale, l->elements);
	}
}

/*
 * Parameters of the model with the adapter on it: a weight that is replaced counts once, a tied one too; what a
 * method merely remembers is none.
 */
static int64_t count_all(const struct pt_adapter *a)
{
	int64_t n = pt_params_count(&a->params) + pt_params_count(&a->frozen);

	for (size_t i = 0; i < a->ntensors; i++) {
		if (a->tensor[i].memory)
			n -= pt_tensor_count(&a->tensor[i].param->t);
	}
	for (int i = 0; i < a->model->nweights; i++) {
		const struct pt_weight *w = &a->model->weight[i];

		if (!w->tied && !pt_adapter_replaced(a, w))
			n += pt_tensor_count(&w->t);
	}
	return n;
}

void pt_adapter_describe(const struct pt_adapter *a, struct pt_buf *out)
{
	struct table t = { .err = PT_ERROR_INIT };
	int64_t trains = pt_params_count(&a->params), all = count_all(a);

	add_sites(&t, a);
	add_rows(&t, a);
	add_weights(&t, a);
	if (t.err.status)
		out->failed = true;
	else
		print_lines(&t, out);
	pt_buf_printf(out, "trainable parameters: %" PRId64 " of %" PRId64 " (%.4g%%)\n", trains, all,
		      all ? 100.0 * (double)trains / (double)all : 0);
	free(t.line);
}
