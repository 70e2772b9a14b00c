/* SPDX-License-Identifier: MIT */
/*
 * maker_label.c - classes by name, numbers, several labels.
 */
#include "data/maker_priv.h"

#include <math.h>

static int unknown_label(const struct pt_classes *l, const char *name, struct pt_error *err)
{
	struct pt_buf known = PT_BUF_INIT;

	for (size_t i = 0; l && i < l->n && i < 10; i++)
		pt_buf_printf(&known, "%s%.60s", i ? ", " : "", l->name[i]);
	if (l && l->n > 10)
		pt_buf_str(&known, " ...");
	pt_error(err, PT_DATA, "unknown label '%.200s'%s%s", name, known.len ? "; known: " : "",
		 known.len ? known.data : "");
	pt_buf_release(&known);
	return err->status;
}

int pt_maker_class(struct pt_maker *m, const cJSON *v, int32_t *cls, struct pt_error *err)
{
	const struct pt_classes *l = m->o->labels;
	const char *name = pt_classes_name(v, &m->name);
	double d = v->valuedouble;

	if (!name)
		return pt_error(err, PT_DATA, "\"label\" is neither a name nor a number");
	*cls = l ? pt_classes_find(l, name) : -1;
	/* A number that is no name is the class's number. */
	if (*cls < 0 && l && cJSON_IsNumber(v) && d >= 0 && d < (double)l->n && d == floor(d))
		*cls = (int32_t)d;
	return *cls < 0 ? unknown_label(l, name, err) : 0;
}

static int get_targets(struct pt_maker *m, const cJSON *label, struct pt_error *err)
{
	bool many = m->o->task.problem == PT_PROBLEM_MULTI, list = cJSON_IsArray(label);
	size_t i = 0, k = (size_t)m->o->k;

	if (many && !list)
		return pt_error(err, PT_DATA, "\"label\" is not a list of labels");
	for (size_t j = 0; many && j < k; j++)
		m->target[j] = 0;
	for (const cJSON *v = list ? label->child : label; v; v = list ? v->next : NULL, i++) {
		int32_t cls = (int32_t)i;

		if (many && pt_maker_class(m, v, &cls, err))
			return err->status;
		if (!many && (!cJSON_IsNumber(v) || i >= k || !isfinite((float)v->valuedouble)))
			return pt_error(err, PT_DATA, "\"label\" is not %zu finite number%s", k, k == 1 ? "" : "s");
		m->target[cls] = many ? 1 : (float)v->valuedouble;
	}
	if (!many && i != k)
		return pt_error(err, PT_DATA, "\"label\" has %zu numbers, the first line's %zu", i, k);
	return 0;
}

int pt_maker_label(struct pt_maker *m, const struct pt_sample *s, int32_t *cls, struct pt_error *err)
{
	const struct pt_maker_options *o = m->o;

	*cls = PT_IGNORE;
	if (o->sets && s->has_group)
		return pt_error(err, PT_DATA, "\"group\": --task %s makes a group of each line", pt_maker_task_name(&o->task));
	/* The weight of a contrastive set is that of its line, or 1. */
	if ((!o->sets && s->has_group != o->groups) ||
	    (o->task.task != PT_TASK_CONTRASTIVE && s->has_weight != o->weights))
		return pt_error(err, PT_DATA, "\"group\" and \"weight\" stand in all lines or in none");
	if (!pt_maker_task_labelled(&o->task))
		return 0;
	if (!s->label != !o->labelled)
		return pt_error(err, PT_DATA, s->label ? "a \"label\", which the first line has not" : "no \"label\"");
	if (!s->label)
		return 0;
	return o->task.problem == PT_PROBLEM_SINGLE ? pt_maker_class(m, s->label, cls, err) : get_targets(m, s->label, err);
}

