/* SPDX-License-Identifier: MIT */
/*
 * delta.h - methods whose update of a weight is a matrix that is made of
 * parameters: y += drop-free s D x. D lives as long as its product, and is
 * made again for backward.
 */
#ifndef PT_PEFT_DELTA_H
#define PT_PEFT_DELTA_H

#include "peft/adapter_priv.h"

/* D [out,in] of a site, recorded on the tape; NULL: failure in run->err. */
typedef struct pt_tensor *(*pt_delta_fn)(struct pt_run *run, const struct pt_adapter_site *s);

/* y + s->scale D x, as hooks have it (pt_hook_ops.output). */
struct pt_tensor *pt_delta_output(struct pt_run *run, const struct pt_adapter_site *s, pt_delta_fn fn, struct pt_tensor *x,
				  struct pt_tensor *y);
/* x y of two parameters or results on parameters, [n,k] and [k,m]. */
struct pt_tensor *pt_delta_product(struct pt_run *run, struct pt_tensor *x, struct pt_tensor *y);
/* value, of a weight as stored, += scale D, with D [out,in] on the host. */
void pt_delta_merge(const struct pt_adapter_site *s, const float *d, float *value);

/* Rank and scale alpha/r of a site by the configuration's r, alpha and patterns. */
int pt_delta_scale(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err);
/* The rank is that of this tensor's rows, where the configuration says so too somewhere; NULL: as it is. */
int pt_delta_stored(const struct pt_adapter *a, struct pt_adapter_site *s, const struct pt_st_tensor *t,
		    struct pt_error *err);
/* What is random about a weight as a whole is refused. */
int pt_delta_no_dropout(const struct pt_adapter *a, struct pt_error *err);
/* Uniform within 1/sqrt(columns), as kaiming_uniform_(a=sqrt(5)); or zero. */
int pt_delta_fresh(struct pt_adapter *a, struct pt_param *p, bool zero, uint64_t seed, struct pt_error *err);
/* Values of all tensors of a site, freed by pt_delta_put(), also after a failure. */
int pt_delta_get(struct pt_adapter *a, const struct pt_adapter_site *s, float **v, struct pt_error *err);
void pt_delta_put(const struct pt_adapter_site *s, float **v);
/* c[n,m] = x[n,k] y[k,m] on the host */
void pt_delta_multiply(const float *x, const float *y, int64_t n, int64_t k, int64_t m, float *c);

#define PT_DELTA_OPTIONS \
	{ .name = "rank", .letter = 'r', .key = "r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20, \
	  .help = "rank of the update (8)" }, \
	{ .name = "alpha", .key = "alpha", .kind = PT_OPTION_FLOAT, .arg = "X", .min = -1e9, .max = 1e9, \
	  .preset = "16", .help = "the update is scaled by alpha/rank (16)" }, \
	PT_OPTIONS_TARGETS, \
	PT_OPTIONS_LAYERS, \
	{ .name = "rank-pattern", .key = "rank_pattern", .kind = PT_OPTION_INT_BY, .arg = "REGEX=N", \
	  .help = "another rank for some targets; may be repeated" }, \
	{ .name = "alpha-pattern", .key = "alpha_pattern", .kind = PT_OPTION_FLOAT_BY, .arg = "REGEX=X", \
	  .help = "another alpha for some targets; may be repeated" }

#endif
