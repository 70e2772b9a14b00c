/* SPDX-License-Identifier: MIT */
/*
 * maker_task.c - what is made of a source: as its user says, else as the first
 * line looks, else what the model is for.
 */
#include <string.h>

#include "data/maker_priv.h"

struct pt_maker_task pt_maker_task_of(enum pt_task task, enum pt_problem problem)
{
	struct pt_maker_task t = { task, problem };

	if (task != PT_TASK_SEQ_CLS)
		t.problem = PT_PROBLEM_UNSET;
	else if (problem == PT_PROBLEM_UNSET)
		t.problem = PT_PROBLEM_SINGLE;
	return t;
}

int pt_maker_task_parse(struct pt_maker_task *t, const char *name, struct pt_error *err)
{
	struct pt_buf known = PT_BUF_INIT;
	const char *s;

	*t = (struct pt_maker_task){ PT_TASK_NONE, PT_PROBLEM_UNSET };
	if (!strcmp(name, "auto"))
		return 0;
	for (int i = 0; (s = pt_task_list(i)); i++) {
		if (!strcmp(name, s)) {
			*t = pt_maker_task_of(pt_task_of_head(name), pt_task_parse_problem(name));
			pt_buf_release(&known);
			return 0;
		}
		pt_buf_printf(&known, "%s%s", pt_task_list(i + 1) ? ", " : " or ", s);
	}
	pt_error(err, PT_USAGE, "--task '%s': auto%s", name, known.failed ? "" : known.data);
	pt_buf_release(&known);
	return err->status;
}

const char *pt_maker_task_name(const struct pt_maker_task *t)
{
	return pt_task_problem_name(t->task, t->problem);
}

bool pt_maker_task_labelled(const struct pt_maker_task *t)
{
	return t->task == PT_TASK_SEQ_CLS || t->task == PT_TASK_CONTRASTIVE;
}

bool pt_maker_task_classes(const struct pt_maker_task *t)
{
	return pt_task_labels(t->task) && t->problem != PT_PROBLEM_REGRESSION;
}

/* A number that is written as one of a continuous quantity: 0.5, 1.0, 1e3. */
static bool is_float(const cJSON *v)
{
	return cJSON_IsNumber(v) && (v->valuestring ? strpbrk(v->valuestring, ".eE") != NULL
				     : v->valuedouble != (double)(int64_t)v->valuedouble);
}

static int problem_of_label(const cJSON *label, enum pt_problem *p, struct pt_error *err)
{
	const cJSON *v = cJSON_IsArray(label) ? label->child : label;

	if (is_float(v))
		*p = PT_PROBLEM_REGRESSION;
	else if (!cJSON_IsArray(label))
		*p = PT_PROBLEM_SINGLE;
	else if (!v || cJSON_IsString(v))
		*p = PT_PROBLEM_MULTI;
	else
		return pt_error(err, PT_USAGE, "\"label\" is a list of whole numbers: --task says whether it is "
				"multilabel or regression");
	return 0;
}

/* What only one task has; NONE: a text, a pair, ids. */
static enum pt_task task_of_form(const struct pt_sample *s)
{
	if (s->question.s || s->has_span)
		return PT_TASK_QA;
	if (s->nset)
		return PT_TASK_CONTRASTIVE;
	return s->words && !s->text.s ? PT_TASK_TOKEN_CLS : PT_TASK_NONE;
}

int pt_maker_choose(struct pt_maker_options *o, const struct pt_sample *s, struct pt_error *err)
{
	struct pt_maker_task *t = &o->task;
	const enum pt_task form = task_of_form(s), model = o->fallback.task;
	bool prompt = s->prompt.s || (s->labels && model != PT_TASK_TOKEN_CLS && model != PT_TASK_MASKED_LM);

	if (t->task != PT_TASK_NONE)
		return 0;
	if (form != PT_TASK_NONE) {
		t->task = form;
	} else if (s->label && model != PT_TASK_CONTRASTIVE) {
		t->task = PT_TASK_SEQ_CLS;
		return problem_of_label(s->label, &t->problem, err);
	} else if (model == PT_TASK_CONTRASTIVE || model == PT_TASK_SEQ2SEQ_LM || (model != PT_TASK_NONE && !prompt)) {
		*t = o->fallback;
	} else {
		t->task = PT_TASK_CAUSAL_LM;
	}
	return 0;
}
