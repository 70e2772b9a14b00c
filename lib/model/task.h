/* SPDX-License-Identifier: MIT */
/*
 * task.h - what a model is used for, and the names that options, HEADs, PEFT
 * and transformers have for it.
 */
#ifndef PT_MODEL_TASK_H
#define PT_MODEL_TASK_H

enum pt_task {
	PT_TASK_NONE,		/* body only */
	PT_TASK_CAUSAL_LM,
	PT_TASK_SEQ_CLS,	/* problem: single label, regression, multi-label */
	PT_TASK_TOKEN_CLS,
	PT_TASK_MASKED_LM,
	PT_TASK_SEQ2SEQ_LM,
};

const char *pt_task_name(enum pt_task t);	/* "causal-lm", "seq-cls", ...: as in HEADs and options */
const char *pt_task_peft(enum pt_task t);	/* PEFT's task_type: "CAUSAL_LM", ...; NULL: body only */
int pt_task_parse(const char *name);		/* either spelling; -1: unknown */

/* Of a transformers class name, "LlamaForCausalLM"; -1: none that is known. */
int pt_task_of_class(const char *architecture);
/* The ending of class names: "ForCausalLM". */
const char *pt_task_class(enum pt_task t);

#endif
