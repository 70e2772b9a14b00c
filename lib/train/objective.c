/* SPDX-License-Identifier: MIT */
/*
 * objective.c - the table of tasks: see objective.h.
 */
#include "train/objective.h"

static const struct pt_objective *const of_task[PT_TASKS] = {
	[PT_TASK_CAUSAL_LM] = &pt_objective_ids,
	[PT_TASK_MASKED_LM] = &pt_objective_ids,
	[PT_TASK_SEQ2SEQ_LM] = &pt_objective_ids,
	[PT_TASK_TOKEN_CLS] = &pt_objective_tags,
	[PT_TASK_QA] = &pt_objective_spans,
	[PT_TASK_CONTRASTIVE] = &pt_objective_sets,
};

/* PT_TASK_SEQ_CLS. */
static const struct pt_objective *const of_problem[] = {
	[PT_PROBLEM_UNSET] = &pt_objective_numbers,
	[PT_PROBLEM_REGRESSION] = &pt_objective_numbers,
	[PT_PROBLEM_SINGLE] = &pt_objective_class,
	[PT_PROBLEM_MULTI] = &pt_objective_labels,
};

const struct pt_objective *pt_objective_of(enum pt_task task, enum pt_problem problem)
{
	return task == PT_TASK_SEQ_CLS ? of_problem[problem] : of_task[task];
}

int64_t pt_objective_own_example(const struct pt_feed *f, int64_t i)
{
	(void)f;
	return i;
}
