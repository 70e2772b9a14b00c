/* SPDX-License-Identifier: MIT */
/*
 * unicode.c - look-ups: an array for the planes that have text, filled from
 * the table at the first use, binary search above.
 */
#include "text/unicode.h"

#include <stddef.h>
#include <string.h>
#include <threads.h>

#include "text/unicode_table.h"

uint8_t pt_unicode_flat[PT_UNICODE_FLAT];
static once_flag once = ONCE_FLAG_INIT;

static void fill(void)
{
	for (size_t i = 0; i < PT_UNICODE_RUNS; i++) {
		uint32_t from = pt_unicode_runs[i] >> 8;
		uint32_t to = i + 1 < PT_UNICODE_RUNS ? pt_unicode_runs[i + 1] >> 8 : PT_UNICODE_FLAT;

		if (from >= PT_UNICODE_FLAT)
			break;
		if (to > PT_UNICODE_FLAT)
			to = PT_UNICODE_FLAT;
		memset(pt_unicode_flat + from, (int)(pt_unicode_runs[i] & 0xff), to - from);
	}
}

void pt_unicode_init(void)
{
	call_once(&once, fill);
}

unsigned pt_unicode_high(uint32_t c)
{
	size_t lo = 0, hi = PT_UNICODE_RUNS;

	while (hi - lo > 1) {
		size_t mid = (lo + hi) / 2;

		if (pt_unicode_runs[mid] >> 8 <= c)
			lo = mid;
		else
			hi = mid;
	}
	return pt_unicode_class[pt_unicode_runs[lo] & 0xff];
}

void pt_unicode_ranges(bool (*want)(unsigned u, const void *arg), const void *arg,
		       void (*found)(uint32_t from, uint32_t to, void *to_arg), void *to_arg)
{
	uint32_t from = 0;
	bool in = false;

	for (size_t i = 0; i <= PT_UNICODE_RUNS; i++) {
		bool now = i < PT_UNICODE_RUNS && want(pt_unicode_class[pt_unicode_runs[i] & 0xff], arg);
		uint32_t at = i < PT_UNICODE_RUNS ? pt_unicode_runs[i] >> 8 : 0x110000;

		if (in && !now)
			found(from, at - 1, to_arg);
		if (now && !in)
			from = at;
		in = now;
	}
}

uint32_t pt_lower(uint32_t c)
{
	size_t lo = 0, hi = PT_LOWER_RUNS;

	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	while (hi - lo > 1) {
		size_t mid = (lo + hi) / 2;

		if (pt_lower_runs[mid].first <= c)
			lo = mid;
		else
			hi = mid;
	}
	const struct pt_lower_run *r = &pt_lower_runs[lo];

	if (c < r->first || c > r->last || (c - r->first) % (uint32_t)r->step)
		return c;
	return (uint32_t)((int32_t)c + r->delta);
}
