/* SPDX-License-Identifier: MIT */
/*
 * view_model.c - a model directory as the tools understand it: the switches
 * of its family, its sites, its parameters.
 */
#include "view.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "device/device.h"
#include "model/describe.h"
#include "model/model.h"

/* Sites of one form: those of all blocks are one line. */
struct form {
	char *path;			/* numbers are '*' */
	const struct pt_site *site;	/* the first */
	int64_t n;
};

struct forms {
	struct form *form;
	size_t n, cap;
};

static char *pattern(const char *path, struct pt_error *err)
{
	char *p = pt_strdup(path, err), *to = p;

	for (const char *s = path; p && *s; ) {
		size_t n = strcspn(s, "."), digits = strspn(s, "0123456789");

		if (n && digits == n) {
			*to++ = '*';
		} else {
			memcpy(to, s, n);
			to += n;
		}
		s += n;
		if (*s)
			*to++ = *s++;
		*to = '\0';
	}
	return p;
}

static bool alike(const struct form *f, const char *path, const struct pt_site *s)
{
	const struct pt_weight *a = f->site->weight, *b = s->weight;

	return f->site->kind == s->kind && f->site->in == s->in && f->site->out == s->out && !a == !b &&
	       !f->site->bias == !s->bias && (!a || a->t.type == b->t.type) && !strcmp(f->path, path);
}

static int add(struct forms *f, const struct pt_site *s, struct pt_error *err)
{
	char *path = pattern(s->path, err);

	for (size_t i = 0; path && i < f->n; i++) {
		if (alike(&f->form[i], path, s)) {
			f->form[i].n++;
			free(path);
			return 0;
		}
	}
	if (!path || pt_grow(&f->form, &f->cap, f->n + 1, sizeof *f->form, err)) {
		free(path);
		return err->status;
	}
	f->form[f->n++] = (struct form){ path, s, 1 };
	return 0;
}

static int64_t weights(const struct pt_site *s)
{
	return (s->weight && !s->weight->tied ? pt_tensor_count(&s->weight->t) : 0) +
	       (s->bias && !s->bias->tied ? pt_tensor_count(&s->bias->t) : 0);
}

static void show_site(struct view *v, const char *path, const struct pt_site *s, int64_t n, int width)
{
	const char *type = s->weight ? pt_dtype_name(s->weight->t.type) : "-";
	size_t start = v->out.len;

	if (v->format == VIEW_JSON) {
		pt_buf_str(&v->out, "{\"site\":");
		view_name(v, path);
		pt_buf_printf(&v->out, ",\"kind\":\"%s\",\"module\":\"%s\",\"layer\":%d,\"in\":%lld,\"out\":%lld,",
			      pt_site_kind_name((int)s->kind), s->module, s->layer, (long long)s->in,
			      (long long)s->out);
		pt_buf_printf(&v->out, "\"dtype\":%s%s%s,\"bias\":%s,\"parameters\":%lld}\n",
			      s->weight ? "\"" : "", s->weight ? type : "null", s->weight ? "\"" : "",
			      s->bias ? "true" : "false", (long long)weights(s));
		return;
	}
	if (v->format == VIEW_TSV) {
		view_name(v, path);
		pt_buf_printf(&v->out, "\t%s\t%s\t%d\t%lld\t%lld\t%s\t%d\t%lld\n", pt_site_kind_name((int)s->kind),
			      s->module, s->layer, (long long)s->in, (long long)s->out, type, s->bias != NULL,
			      (long long)weights(s));
		return;
	}
	pt_buf_str(&v->out, "  ");
	view_name(v, path);
	while (v->out.len < start + 2 + (size_t)width && !v->out.failed)
		pt_buf_char(&v->out, ' ');
	pt_buf_printf(&v->out, "  %-11s %7lld -> %-7lld %-4s %s", pt_site_kind_name((int)s->kind), (long long)s->in,
		      (long long)s->out, type, s->bias ? "bias" : "    ");
	if (n > 1)
		pt_buf_printf(&v->out, " x %lld", (long long)n);
	pt_buf_char(&v->out, '\n');
}

/* Every one, or where the format is text one line for all of a form. */
static int show_sites(struct view *v, const struct pt_model *m, struct pt_error *err)
{
	struct forms f = { 0 };
	size_t width = 4, n;

	for (int i = 0; v->format == VIEW_TEXT && i < m->nsites && !err->status; i++)
		add(&f, &m->site[i], err);
	for (size_t i = 0; i < f.n; i++) {
		n = strlen(f.form[i].path);
		width = n > width && n <= 80 ? n : width;
	}
	if (f.n && !err->status)
		pt_buf_str(&v->out, "sites\n");
	for (size_t i = 0; i < f.n && !err->status; i++)
		show_site(v, f.form[i].path, f.form[i].site, f.form[i].n, (int)width);
	if (v->format == VIEW_TSV && v->sites)
		pt_buf_str(&v->out, "site\tkind\tmodule\tlayer\tin\tout\tdtype\tbias\tparameters\n");
	for (int i = 0; (v->sites ? v->format != VIEW_TEXT : v->format == VIEW_JSON) && i < m->nsites; i++)
		show_site(v, m->site[i].path, &m->site[i], 1, 0);
	for (size_t i = 0; i < f.n; i++)
		free(f.form[i].path);
	free(f.form);
	return err->status;
}

struct lines {
	struct view *v;
	int n;
};

static void line(void *arg, const char *key, const char *text)
{
	struct lines *l = arg;

	if (l->v->format == VIEW_TEXT) {
		view_pair(l->v, key, text, VIEW_KEY);
		return;
	}
	pt_buf_str(&l->v->out, l->n++ ? "," : "");
	pt_buf_json(&l->v->out, key, strlen(key));
	pt_buf_char(&l->v->out, ':');
	pt_buf_json(&l->v->out, text, strlen(text));
}

static int show_description(struct view *v, const struct pt_model *m, struct pt_error *err)
{
	struct lines l = { v, 0 };
	int64_t count[PT_SITE_KINDS] = { 0 }, all = 0;
	struct pt_buf b = PT_BUF_INIT;

	if (v->format == VIEW_TSV)
		return 0;
	pt_buf_str(&v->out, v->format == VIEW_JSON ? "{\"model\":{" : "");
	if (pt_config_describe(&m->cfg, m->task, line, &l, err))
		return err->status;
	for (int i = 0; i < m->nsites; i++) {
		count[m->site[i].kind] += weights(&m->site[i]);
		all += weights(&m->site[i]);
	}
	pt_buf_printf(&b, "%lld", (long long)all);
	for (int k = 0; k < PT_SITE_KINDS; k++) {
		if (count[k])
			pt_buf_printf(&b, ", %s %lld", pt_site_kind_name(k), (long long)count[k]);
	}
	if (pt_buf_check(&b, err) == 0)
		line(&l, "parameters", b.data);
	pt_buf_str(&v->out, v->format == VIEW_JSON ? "}}\n" : "");
	pt_buf_release(&b);
	return err->status;
}

/* Tasks of a family, by their names in options. */
static void list_tasks(struct view *v, const struct pt_family *f, const char *between)
{
	int n = 0;

	for (int t = PT_TASK_NONE + 1; t < PT_TASKS; t++) {
		if (pt_family_head(f, (enum pt_task)t))
			pt_buf_printf(&v->out, "%s%s", n++ ? between : "", pt_task_name((enum pt_task)t));
	}
}

int view_families(struct view *v, struct pt_error *err)
{
	const struct pt_family *f;

	if (v->format != VIEW_JSON)
		pt_buf_printf(&v->out, v->format == VIEW_TSV ? "model_type\tclass\ttasks\ttargets\n" :
			      "%-14s %-12s %-50s %s\n", "model_type", "class", "tasks", "targets");
	for (int i = 0; (f = pt_family_at(i)); i++) {
		size_t start = v->out.len;

		if (v->format == VIEW_JSON)
			pt_buf_printf(&v->out, "{\"model_type\":\"%s\",\"class\":\"%s\",\"tasks\":[\"", f->model_type,
				      f->stem);
		else
			pt_buf_printf(&v->out, v->format == VIEW_TSV ? "%s\t%s\t" : "%-14s %-12s ", f->model_type,
				      f->stem);
		list_tasks(v, f, v->format == VIEW_JSON ? "\",\"" : v->format == VIEW_TSV ? "," : " ");
		while (v->format == VIEW_TEXT && v->out.len < start + 78 && !v->out.failed)
			pt_buf_char(&v->out, ' ');
		pt_buf_printf(&v->out, v->format == VIEW_JSON ? "\"],\"targets\":\"%s\"}\n" :
			      v->format == VIEW_TSV ? "\t%s\n" : " %s\n", f->lora_targets ? f->lora_targets : "");
	}
	return view_flush(v, err);
}

/* The task of config.json where the tools have it, else the body alone. */
static enum pt_task own_task(const struct pt_modeldir *dir)
{
	struct pt_error none = PT_ERROR_INIT;
	enum pt_task task = PT_TASK_NONE;
	struct pt_config c;

	if (pt_config_read(&c, dir->config, &none))
		return task;
	if (pt_family_head(c.family, c.task))
		task = c.task;
	pt_config_release(&c);
	return task;
}

int view_model(struct view *v, const struct pt_modeldir *dir, struct pt_error *err)
{
	const struct pt_model_options o = {
		.task = own_task(dir), .head_may_lack = true, .structure = !dir->weights,
	};
	struct pt_error why = PT_ERROR_INIT;
	struct pt_device *dev;
	struct pt_model *m = NULL;

	if (pt_device_open(&dev, "cpu", NULL, err))
		return err->status;
	if (pt_model_open(&m, dev, dir, &o, &why)) {
		/* Its files can be looked at all the same. */
		if (v->format == VIEW_TEXT) {
			view_pair(v, "not supported", why.msg, VIEW_KEY);
		} else if (v->format == VIEW_JSON) {
			pt_buf_str(&v->out, "{\"not supported\":");
			pt_buf_json(&v->out, why.msg, strlen(why.msg));
			pt_buf_str(&v->out, "}\n");
		}
		if (v->sites)
			*err = why;
	} else if (!show_description(v, m, err)) {
		show_sites(v, m, err);
	}
	pt_model_close(m);
	pt_device_close(dev);
	return err->status;
}
