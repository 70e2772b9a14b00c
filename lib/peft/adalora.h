/* SPDX-License-Identifier: MIT */
/*
 * adalora.h - what the files of AdaLoRA share. a->state is a struct
 * pt_adalora, a site's state a struct pt_adalora_site.
 */
#ifndef PT_PEFT_ADALORA_H
#define PT_PEFT_ADALORA_H

#include "peft/lora.h"

/* Places in pt_adapter_site.param. */
enum { PT_ADALORA_A, PT_ADALORA_B, PT_ADALORA_E, PT_ADALORA_PARAMS };

struct pt_adalora {
	struct pt_lora lora;
	int64_t init_r, target_r, tinit, tfinal, delta;
	int64_t total;			/* steps of the schedule; 0: those of the run */
	double beta1, beta2, orth;
	bool patterned;			/* the configuration had a rank_pattern */
	float *tmp[2];			/* device [room]: importance is computed in them */
	size_t room;
	float **kept;			/* [3 nsites]: what the last save() gave to the file */
};

/* All init_r components stand in the state, and what is remembered of them; a directory of PEFT has none of it. */
struct pt_adalora_site {
	const struct pt_adalora *l;
	bool whole;			/* has what follows */
	struct pt_param *sensitivity[PT_ADALORA_PARAMS], *uncertainty[PT_ADALORA_PARAMS];
	struct pt_param *mask;		/* [init_r] 1, or 0 where it is pruned */
};

/* Tensors of the state at a site; flags beside PT_TENSOR_STATE and PT_TENSOR_FROZEN. */
int pt_adalora_remember(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err);

/*
 * adalora_file.c: whether the state holds all components of a site, and else how many the file has; the site's tensors,
 * and its mask by a file's list (NULL: all ones); pt_method.load and .save.
 */
int pt_adalora_stored(const struct pt_adapter *a, const struct pt_adapter_site *s, bool *whole, int64_t *rank,
		      struct pt_error *err);
int pt_adalora_tensors(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err);
int pt_adalora_mask(struct pt_adapter *a, const struct pt_adapter_site *s, const cJSON *list, struct pt_error *err);
int pt_adalora_load(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
int pt_adalora_save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err);
/* Values of a site on the host; pt_adalora_put() frees them, also after a failure. */
int pt_adalora_get(struct pt_adapter *a, const struct pt_adapter_site *s, float *v[PT_ADALORA_PARAMS], struct pt_error *err);
void pt_adalora_put(float *v[PT_ADALORA_PARAMS]);

/* adalora_rank.c: the schedule, and the components that it leaves */
int64_t pt_adalora_budget(const struct pt_adalora *l, int64_t sites, int64_t step, bool *prunes);
int pt_adalora_plan(const struct pt_adapter *a, int64_t total, struct pt_buf *out, struct pt_error *err);
int pt_adalora_begin(struct pt_adapter *a, int64_t total, struct pt_error *err);
int pt_adalora_after_step(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err);

#endif
