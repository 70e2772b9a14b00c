/* SPDX-License-Identifier: MIT */
/*
 * clock.h - seconds that pass, whatever is done to the time of day.
 */
#ifndef PT_BASE_CLOCK_H
#define PT_BASE_CLOCK_H

#include <time.h>

static inline double pt_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
