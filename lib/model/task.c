/* SPDX-License-Identifier: MIT */
/*
 * task.c - one table of task names.
 */
#include "model/task.h"

#include <string.h>

static const struct {
	const char *name, *peft, *ending;
} tasks[] = {
	[PT_TASK_NONE] = { "none", NULL, "Model" },
	[PT_TASK_CAUSAL_LM] = { "causal-lm", "CAUSAL_LM", "ForCausalLM" },
	[PT_TASK_SEQ_CLS] = { "seq-cls", "SEQ_CLS", "ForSequenceClassification" },
	[PT_TASK_TOKEN_CLS] = { "token-cls", "TOKEN_CLS", "ForTokenClassification" },
	[PT_TASK_MASKED_LM] = { "masked-lm", "MASKED_LM", "ForMaskedLM" },
	[PT_TASK_SEQ2SEQ_LM] = { "seq2seq-lm", "SEQ_2_SEQ_LM", "ForConditionalGeneration" },
};

enum { NTASKS = sizeof tasks / sizeof tasks[0] };

const char *pt_task_name(enum pt_task t)
{
	return tasks[t].name;
}

const char *pt_task_peft(enum pt_task t)
{
	return tasks[t].peft;
}

const char *pt_task_class(enum pt_task t)
{
	return tasks[t].ending;
}

int pt_task_parse(const char *name)
{
	for (int i = 0; i < NTASKS; i++) {
		if (!strcmp(name, tasks[i].name) || (tasks[i].peft && !strcmp(name, tasks[i].peft)))
			return i;
	}
	return -1;
}

int pt_task_of_class(const char *architecture)
{
	size_t n = strlen(architecture);

	for (int i = NTASKS - 1; i >= 0; i--) {
		size_t k = strlen(tasks[i].ending);

		if (n > k && !strcmp(architecture + n - k, tasks[i].ending))
			return i;
	}
	/* The older ending of GPT-2's and T5's classes. */
	if (n > 11 && !strcmp(architecture + n - 11, "LMHeadModel"))
		return PT_TASK_CAUSAL_LM;
	return -1;
}
