/* SPDX-License-Identifier: MIT */
/*
 * task.c - tables of the names of tasks and problems.
 */
#include "io/task.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *name, *peft, *ending;
	bool vocab, labels;
	int outputs;
	bool per_token, shifts, decoder, text, bare;
} tasks[] = {
	[PT_TASK_NONE] = { "none", NULL, "Model", .bare = true },
	[PT_TASK_CAUSAL_LM] = { "lm", "CAUSAL_LM", "ForCausalLM",
				.vocab = true, .per_token = true, .shifts = true, .text = true },
	[PT_TASK_SEQ_CLS] = { "class", "SEQ_CLS", "ForSequenceClassification", .labels = true },
	[PT_TASK_TOKEN_CLS] = { "token-class", "TOKEN_CLS", "ForTokenClassification", .labels = true, .per_token = true },
	[PT_TASK_MASKED_LM] = { "mlm", NULL, "ForMaskedLM", .vocab = true, .per_token = true },
	[PT_TASK_SEQ2SEQ_LM] = { "seq2seq", "SEQ_2_SEQ_LM", "ForConditionalGeneration",
				 .vocab = true, .per_token = true, .decoder = true, .text = true },
	[PT_TASK_QA] = { "qa", "QUESTION_ANS", "ForQuestionAnswering", .outputs = 2 },
	[PT_TASK_CONTRASTIVE] = { "contrastive", "FEATURE_EXTRACTION", "Model", .bare = true },
};

enum { NTASKS = sizeof tasks / sizeof tasks[0] };

/* Problems of PT_TASK_SEQ_CLS. */
static const struct {
	const char *name, *type;
} problems[] = {
	[PT_PROBLEM_UNSET] = { NULL, NULL },
	[PT_PROBLEM_REGRESSION] = { "regression", "regression" },
	[PT_PROBLEM_SINGLE] = { "class", "single_label_classification" },
	[PT_PROBLEM_MULTI] = { "multilabel", "multi_label_classification" },
};

enum { NPROBLEMS = sizeof problems / sizeof problems[0] };

bool pt_task_vocab(enum pt_task t)
{
	return tasks[t].vocab;
}

bool pt_task_labels(enum pt_task t)
{
	return tasks[t].labels;
}

int pt_task_outputs(enum pt_task t)
{
	return tasks[t].outputs;
}

bool pt_task_per_token(enum pt_task t)
{
	return tasks[t].per_token;
}

bool pt_task_shifts(enum pt_task t)
{
	return tasks[t].shifts;
}

bool pt_task_decoder(enum pt_task t)
{
	return tasks[t].decoder;
}

bool pt_task_text(enum pt_task t)
{
	return tasks[t].text;
}

bool pt_task_bare(enum pt_task t)
{
	return tasks[t].bare;
}

const char *pt_task_name(enum pt_task t)
{
	return tasks[t].name;
}

const char *pt_task_problem_name(enum pt_task t, enum pt_problem p)
{
	return t == PT_TASK_SEQ_CLS && problems[p].name ? problems[p].name : tasks[t].name;
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
	return pt_task_parse_problem(name) == PT_PROBLEM_UNSET ? -1 : PT_TASK_SEQ_CLS;
}

enum pt_task pt_task_of_head(const char *name)
{
	int t = name ? pt_task_parse(name) : -1;

	return t < 0 ? PT_TASK_NONE : (enum pt_task)t;
}

const char *pt_task_list(int i)
{
	for (int t = PT_TASK_NONE + 1; t < NTASKS; t++) {
		if (i-- == 0)
			return tasks[t].name;
		for (int p = PT_PROBLEM_UNSET + 1; t == PT_TASK_SEQ_CLS && p < NPROBLEMS; p++)
			if (p != PT_PROBLEM_SINGLE && i-- == 0)
				return problems[p].name;
	}
	return NULL;
}

enum pt_problem pt_task_parse_problem(const char *name)
{
	for (int i = PT_PROBLEM_UNSET + 1; i < NPROBLEMS; i++) {
		if (!strcmp(name, problems[i].name))
			return (enum pt_problem)i;
	}
	return PT_PROBLEM_UNSET;
}

const char *pt_problem_type(enum pt_problem p)
{
	return problems[p].type;
}

int pt_problem_type_parse(const char *s)
{
	for (int i = PT_PROBLEM_UNSET + 1; i < NPROBLEMS; i++) {
		if (!strcmp(s, problems[i].type))
			return i;
	}
	return -1;
}

int pt_task_of_class(const char *architecture, bool decoder)
{
	size_t n = strlen(architecture);

	/* The older ending of GPT-2's and T5's classes. */
	if (n > 11 && !strcmp(architecture + n - 11, "LMHeadModel"))
		return decoder ? PT_TASK_SEQ2SEQ_LM : PT_TASK_CAUSAL_LM;
	for (int i = 0; i < NTASKS; i++) {
		size_t k = strlen(tasks[i].ending);

		if (n > k && !strcmp(architecture + n - k, tasks[i].ending))
			return i;
	}
	return -1;
}
