/* SPDX-License-Identifier: MIT */
/*
 * optimizer.h - AdamW over all trainable tensors (Loshchilov & Hutter 2019,
 * as torch.optim.AdamW computes it), with the global norm of the gradient
 * and clipping as the Trainer applies it.
 */
#ifndef PT_TRAIN_OPTIMIZER_H
#define PT_TRAIN_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "device/kernels.h"
#include "tensor/param.h"

struct pt_adamw {
	double beta1, beta2, eps;
	double decay;			/* only on parameters with .decay */
	double clip;			/* largest global norm; 0: no clipping */
};

struct pt_optimizer {
	struct pt_adamw cfg;
	struct pt_params *params;	/* borrowed */
	double *sumsq;			/* device [n]: one sum of squares a tensor */
	double *host_sumsq;		/* [n] */
	struct pt_k_adamw *update;	/* [n] what is asked of the device */
	struct pt_k_sumsq *square;	/* [n] */
	float *gscale;			/* device scalar: the clip factor */
	bool keep_grad;			/* gradients stay as they are after an update */
	bool *moved;			/* [n] its gradient has been other than zero at some step */
};

int pt_optimizer_init(struct pt_optimizer *o, const struct pt_adamw *cfg, struct pt_params *params,
		      struct pt_error *err);
void pt_optimizer_release(struct pt_optimizer *o);

/*
 * Global norm of the gradients that lie in the parameters. Sums of squares in
 * f64, tensor by tensor in creation order. *bad is the first tensor with a
 * NaN or infinite gradient, or NULL; then nothing must be updated.
 */
int pt_optimizer_norm(struct pt_optimizer *o, double *norm, const struct pt_param **bad,
		      struct pt_error *err);

/* What gradients of this norm are multiplied by: 1 where clipping leaves them alone. */
float pt_optimizer_clip(const struct pt_optimizer *o, double norm);

/* One update at rate lr, t counted from 1; uses the norm computed before. Gradients are zeroed, unless keep_grad. */
int pt_optimizer_step(struct pt_optimizer *o, double lr, int64_t t, double norm, struct pt_error *err);

#endif
