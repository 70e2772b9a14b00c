/* SPDX-License-Identifier: MIT */
/*
 * schedule.h - the learning rate as a pure function of the step, as
 * transformers' get_*_schedule_with_warmup compute it. There is no state.
 */
#ifndef PT_TRAIN_SCHEDULE_H
#define PT_TRAIN_SCHEDULE_H

#include <stdint.h>

enum pt_schedule_kind { PT_SCHEDULE_CONSTANT, PT_SCHEDULE_LINEAR, PT_SCHEDULE_COSINE };

#define PT_SCHEDULE_CHOICES "constant|linear|cosine"

struct pt_schedule {
	enum pt_schedule_kind kind;
	double lr;
	int64_t warmup;			/* steps */
	int64_t total;			/* steps of the whole run; unused by CONSTANT */
};

/* Rate of optimiser step t, counted from 0: step 0 of a warm-up of n > 0 steps has rate 0, as in HF. */
double pt_schedule_rate(const struct pt_schedule *s, int64_t t);

/* Steps of a warm-up given as a share of total: ceil, as the Trainer does. */
int64_t pt_schedule_warmup(double ratio, int64_t total);

#endif
