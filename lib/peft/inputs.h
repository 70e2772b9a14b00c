/* SPDX-License-Identifier: MIT */
/*
 * inputs.h - the inputs of linears over a stream of micro-batches, as their
 * second moments: what is initialised from data looks at.
 */
#ifndef PT_PEFT_INPUTS_H
#define PT_PEFT_INPUTS_H

#include "peft/adapter_priv.h"

enum pt_inputs_how {
	PT_INPUTS_ALL,			/* all rows of tokens */
	PT_INPUTS_LEARNED,		/* those that are learned, where the stream has labels of tokens */
	PT_INPUTS_BY_SEQUENCE,		/* all rows, each sequence divided by the size of its largest value */
};

/* Of one input, which several linears may read. */
struct pt_input_sum {
	int64_t in;
	int64_t rows, sequences;
	double *mean;			/* [in] */
	float *moment;			/* device [in,in]: sum of the products of x - shift */
	double *shift;			/* [in] */
	uint64_t hash;			/* of the first micro-batch's */
};

struct pt_inputs {
	struct pt_adapter *a;
	enum pt_inputs_how how;
	struct pt_input_watch *watch;	/* [a->nsites] */
	struct pt_input_sum *sum;
	int nsums;
	const struct pt_input *now;
	float *host;			/* rows of a micro-batch */
	float *block;			/* device, as many */
	size_t room, block_room;
};

/* One pass over the batches of a, whose sites are known; those of linears are watched. PT_USAGE: there are no batches. */
int pt_inputs_new(struct pt_inputs **out, struct pt_adapter *a, enum pt_inputs_how how, struct pt_error *err);
void pt_inputs_free(struct pt_inputs *p);
/* Which of p->sum a site's input is; -1: it is not watched. */
int pt_inputs_of(const struct pt_inputs *p, const struct pt_site *s);
/* [in,in] on the host: sum of products of deviations from the mean, or (BY_SEQUENCE) the mean over sequences of x'x. */
int pt_inputs_moment(const struct pt_inputs *p, const struct pt_input_sum *s, float *out, struct pt_error *err);

#endif
