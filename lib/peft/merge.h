/* SPDX-License-Identifier: MIT */
/*
 * merge.h - an adapter merged into its base: a model directory that computes
 * the same without the adapter.
 *
 * Every weight is merged in f32 and rounded once to the type of the file, one
 * tensor after the other, so that memory is bounded by the largest of them.
 */
#ifndef PT_PEFT_MERGE_H
#define PT_PEFT_MERGE_H

#include "peft/adapter.h"

struct pt_merge_options {
	int dtype;			/* enum pt_dtype of all tensors; -1: as the base stores each */
	int (*stop)(void);		/* asked before each tensor; not 0: no further, PT_FAIL. NULL: nobody asks */
};

struct pt_merge {
	struct pt_adapter *a;		/* NULL: the model itself in another type */
	struct pt_model *m;
	struct pt_merge_options o;
	struct pt_prov prov;		/* of the adapter, and this step; written as provenance.json */
	uint64_t prov_id;
	int64_t merged;			/* tensors that differ from the base's */
	int64_t total;
};

/*
 * Write the merged model into dir, which exists. The caller may add its step
 * to mg->prov before. PT_USAGE where the method cannot be merged, PT_NUMERIC
 * naming the first tensor whose merged values are not finite. A head tied to
 * the embedding gets a tensor of its own where one of the two was adapted.
 */
int pt_merge_init(struct pt_merge *mg, struct pt_model *m, struct pt_adapter *a,
		  const struct pt_merge_options *o, struct pt_error *err);
int pt_merge_write(struct pt_merge *mg, const char *dir, struct pt_error *err);
void pt_merge_release(struct pt_merge *mg);

#endif
