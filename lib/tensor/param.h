/* SPDX-License-Identifier: MIT */
/*
 * param.h - trainable tensors: f32 values, gradient and optimiser state in
 * device memory outside the arena, under the path that files and messages use.
 * A frozen list holds values alone.
 */
#ifndef PT_TENSOR_PARAM_H
#define PT_TENSOR_PARAM_H

#include "base/hash.h"
#include "device/device.h"
#include "tensor/tensor.h"

struct pt_param {
	char *name;			/* unique path, for example "model.layers.0.self_attn.q_proj.lora_A.weight" */
	struct pt_tensor t;		/* F32, external; needs_grad unless the list is frozen */
	float *m, *v;			/* AdamW's moments, made by pt_params_optimizer() */
	bool decay;			/* weight decay applies (false: biases and norms) */
	float lr_scale;			/* rate relative to the run's, 1 by default */
};

struct pt_params {
	struct pt_device *dev;
	struct pt_param **item;		/* in creation order: the order of sums and files */
	int n, cap;
	struct pt_map names;		/* -> place in item */
	bool frozen;			/* tensors of this list have no gradient and do not train */
	uint64_t version;		/* another one after every change of values: for what is computed from them */
};

int pt_params_init(struct pt_params *p, struct pt_device *dev);
void pt_params_release(struct pt_params *p);

/* A new tensor, zeroed; duplicates of a name are a failure. Owned by the list. */
int pt_params_add(struct pt_params *p, const char *name, int ndim, const int64_t *shape,
		  struct pt_param **out, struct pt_error *err);
struct pt_param *pt_params_find(const struct pt_params *p, const char *name);
int64_t pt_params_count(const struct pt_params *p);		/* elements of all */
int pt_params_zero_grad(struct pt_params *p, struct pt_error *err);
int pt_params_optimizer(struct pt_params *p, struct pt_error *err);	/* allocate moments, zeroed */
/* Host copies (caller's memory, count elements). */
int pt_param_read(struct pt_params *p, const struct pt_param *x, float *host, struct pt_error *err);
int pt_param_write(struct pt_params *p, struct pt_param *x, const float *host, struct pt_error *err);

#endif
