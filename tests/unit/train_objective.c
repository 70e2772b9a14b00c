/* SPDX-License-Identifier: MIT */
/*
 * train_objective.c - a task is known everywhere by its row: its names read
 * back, it has an objective with all that cannot be left out, and a head of
 * some family has it.
 */
#include "test.h"

#include <string.h>

#include "train/objective.h"

static bool whole(const struct pt_objective *o)
{
	return o && o->fill && o->plan && o->example && o->loss && o->result && o->predict && (o->count || o->count_all);
}

static bool is_headed(enum pt_task t)
{
	const struct pt_family *f;

	for (int i = 0; (f = pt_family_at(i)); i++)
		if (pt_family_head(f, t))
			return true;
	return false;
}

static void test_rows(void **state)
{
	(void)state;
	assert_null(pt_objective_of(PT_TASK_NONE, PT_PROBLEM_UNSET));
	for (int t = PT_TASK_NONE + 1; t < PT_TASKS; t++) {
		for (int p = PT_PROBLEM_UNSET; p <= PT_PROBLEM_MULTI; p++)
			if (!whole(pt_objective_of((enum pt_task)t, (enum pt_problem)p)))
				fail_msg("%s: its objective lacks something", pt_task_name((enum pt_task)t));
		if (!is_headed((enum pt_task)t))
			fail_msg("%s: no family has a head for it", pt_task_name((enum pt_task)t));
	}
}

static void test_names(void **state)
{
	const char *name;
	int n = 0;

	(void)state;
	for (; (name = pt_task_list(n)); n++) {
		enum pt_task t = pt_task_of_head(name);

		assert_int_not_equal(t, PT_TASK_NONE);
		assert_string_equal(pt_task_problem_name(t, pt_task_parse_problem(name)), name);
		if (pt_task_peft(t))
			assert_int_equal(pt_task_parse(pt_task_peft(t)), t);
	}
	/* The problems beside the first of a class are names, too. */
	assert_int_equal(n, PT_TASKS - 1 + 2);
	assert_int_equal(pt_task_of_head("preference"), PT_TASK_NONE);
	assert_int_equal(pt_task_of_head(NULL), PT_TASK_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
