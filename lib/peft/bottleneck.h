/* SPDX-License-Identifier: MIT */
/*
 * bottleneck.h - what the files of bottleneck adapters share: the
 * configuration (bottleneck_config.c), tensors and values (bottleneck.c), the
 * formulas (bottleneck_run.c), invertible ones (bottleneck_inv.c).
 */
#ifndef PT_PEFT_BOTTLENECK_H
#define PT_PEFT_BOTTLENECK_H

#include "peft/adapter_priv.h"

/* Where the residual around the bottleneck begins, where the block's own norm comes before it. */
enum pt_bottleneck_residual {
	PT_RESIDUAL_OUTPUT,		/* at the sub-block's output */
	PT_RESIDUAL_NORM,		/* behind the norm */
	PT_RESIDUAL_SUM,		/* between the sum and the norm */
};

enum pt_bottleneck_scaling { PT_SCALING_FIXED, PT_SCALING_LEARNED, PT_SCALING_CHANNEL };
enum pt_bottleneck_init { PT_INIT_BERT, PT_INIT_MAM, PT_INIT_HOULSBY };

/* A linear of the Compacter, [n,n,n] x [n,in/n,r] [n,r,out/n]; right NULL: left is [n,in/n,out/n]. bias may be NULL. */
struct pt_phm {
	struct pt_param *rule, *left, *right, *bias;
	int64_t in, out;
	int n;
};

/* a->state: the configuration, by the library's names. */
struct pt_bottleneck {
	const char *name;		/* of the adapter, part of its keys */
	char *prefix;			/* of the body's modules in the file: "model." */
	bool at[PT_SUB_FFN + 1];	/* mh_adapter, cross_adapter, output_adapter */
	enum pt_act act;		/* non_linearity */
	bool original_before, original_after;	/* original_ln_before, _after */
	bool ln_before, ln_after, parallel, gating;
	bool residual_first;		/* adapter_residual_before_ln */
	enum pt_bottleneck_residual residual;	/* residual_before_ln */
	enum pt_bottleneck_scaling scaling;
	enum pt_bottleneck_init init;
	float scale, dropout;
	int64_t seed;			/* init_weights_seed; -1: none */
	const cJSON *reduction, *leave_out;
	int phm;			/* phm_dim where phm_layer, else 0 */
	int64_t phm_rank;		/* 0: not factorized_phm_W */
	bool phm_bias, phm_learn, phm_shared;	/* phm_bias, learn_phm, shared_phm_rule */
	bool invert;			/* inv_adapter */
	int64_t half[2];		/* features of its halves */
	int64_t middle[2];		/* of the middles of F and G */
	struct pt_param *couple[2][4];	/* F and G: down [middle, other half], its bias, up [half, middle], its bias */
	bool phm_uniform;		/* phm_c_init */
	double phm_range;		/* phm_init_range */
	struct pt_param *rule;		/* phm_shared: of all places */
	struct pt_tensor ones;		/* [C,1] on the device: spreads one value over the features */
};

/* The tensors at one site; what the configuration does not have is NULL. */
struct pt_bottleneck_site {
	const struct pt_bottleneck *b;
	struct pt_param *down, *down_bias, *up, *up_bias;	/* [k,C], [k], [C,k], [C] */
	struct pt_phm down_phm, up_phm;	/* instead of those */
	struct pt_param *before, *before_bias, *after, *after_bias;	/* ln_before, ln_after: [C] */
	struct pt_param *scaling;	/* [1] or [C] */
	struct pt_param *gate, *gate_bias;	/* [1,C], [1] */
	uint64_t rng;			/* of its dropout */
};

/* bottleneck_config.c: defaults, options, and those functions of struct pt_method. */
extern const char pt_bottleneck_defaults[];
extern const struct pt_option pt_bottleneck_options[];
int pt_bottleneck_preset(cJSON *config, struct pt_error *err);
int pt_bottleneck_parse(struct pt_adapter *a, struct pt_error *err);
/* Features in the middle of the bottleneck at a site. */
int pt_bottleneck_width(const struct pt_adapter *a, const struct pt_site *s, int64_t *k, struct pt_error *err);
/* The number by which configurations know the layer of a site: those of a second stack follow the first one's. */
int pt_bottleneck_layer(const struct pt_adapter *a, const struct pt_site *s);

/* bottleneck_phm.c; NULL or in run->err */
struct pt_tensor *pt_phm_linear(struct pt_run *run, const struct pt_phm *p, struct pt_tensor *x);
/* Glorot's normal for each of the matrices [n,rows,cols], whatever hypercomplex_nonlinearity says, as in the library. */
int pt_phm_init(struct pt_adapter *a, struct pt_param *p, uint64_t key, struct pt_error *err);

/* bottleneck_inv.c: the key inv_adapter; the sites, and their tensors, whose keys begin so. */
int pt_invert_parse(const struct pt_adapter *a, struct pt_bottleneck *b, struct pt_error *err);
bool pt_invert_match(const struct pt_adapter *a, const struct pt_site *s);
int pt_invert_create(struct pt_adapter *a, struct pt_adapter_site *s, const char *start, struct pt_error *err);
extern const struct pt_hook_ops pt_invert_hook, pt_invert_back;

/* bottleneck_run.c; h->state is the struct pt_adapter_site, whose state is a struct pt_bottleneck_site. */
extern const struct pt_hook_ops pt_bottleneck_hook;

#endif
