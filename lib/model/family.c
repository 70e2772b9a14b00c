/* SPDX-License-Identifier: MIT */
/*
 * family.c - the registry of families. Defaults in the rows are those of the
 * configuration classes of transformers 5; orders are those of
 * named_modules() there.
 */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

static const struct pt_family *const kins[] = {
	pt_families_llama, pt_families_gemma, pt_families_moe, pt_families_gpt, pt_families_bert, pt_families_t5,
};

const struct pt_family *pt_family_at(int i)
{
	for (size_t k = 0; i >= 0 && k < sizeof kins / sizeof kins[0]; k++) {
		for (const struct pt_family *f = kins[k]; f->model_type; f++) {
			if (i-- == 0)
				return f;
		}
	}
	return NULL;
}

const struct pt_family *pt_family_find(const char *model_type)
{
	const struct pt_family *f;

	for (int i = 0; (f = pt_family_at(i)); i++) {
		if (!strcmp(f->model_type, model_type))
			return f;
	}
	return NULL;
}

/* Sentence embeddings, of any body: of two stacks the first. */
static const struct pt_head embedding = {
	.task = PT_TASK_CONTRASTIVE, .pool = PT_POOL_MEAN, .first_stack = true,
};

const struct pt_head *pt_family_head(const struct pt_family *f, enum pt_task task)
{
	for (const struct pt_head *h = f->head; h->task != PT_TASK_NONE; h++) {
		if (h->task == task)
			return h;
	}
	return task == PT_TASK_CONTRASTIVE ? &embedding : NULL;
}

const char *pt_family_class(const struct pt_family *f, enum pt_task task, char *buf, int size)
{
	const struct pt_head *h = pt_family_head(f, task);

	if (!h && task != PT_TASK_NONE)
		return NULL;
	if (h && h->class_name)
		snprintf(buf, (size_t)size, "%s", h->class_name);
	else
		snprintf(buf, (size_t)size, "%s%s", f->stem, pt_task_class(task));
	return buf;
}
