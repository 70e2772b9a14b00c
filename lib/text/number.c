/* SPDX-License-Identifier: MIT */
/*
 * number.c - numbers as serde_json reads them: the digits as an integer, as
 * far as 64 bits hold them, then one multiplication or division by a power of
 * ten. That is off by a last bit now and then, and where two ways to divide a
 * word are worth the same, the last bit decides.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "text/tokfile.h"

static int fail(const struct pt_walk *w, struct pt_error *err)
{
	return pt_error(err, PT_DATA, "model.%s: a number expected at its byte %zu", w->what, (size_t)(w->p - w->start));
}

static bool digit(const struct pt_walk *w)
{
	return w->p < w->end && *w->p >= '0' && *w->p <= '9';
}

/* Digits into *v while it holds them; what follows is passed over. Returns how many it took, sets *left. */
static int64_t digits(struct pt_walk *w, uint64_t *v, int64_t *left)
{
	int64_t taken = 0;

	for (*left = 0; digit(w); w->p++) {
		uint64_t d = (uint64_t)(*w->p - '0');

		if (*left || *v > (UINT64_MAX - d) / 10) {
			++*left;
			continue;
		}
		*v = *v * 10 + d;
		taken++;
	}
	return taken;
}

/* 10^n, n up to 308, correctly rounded. */
static double power(int n)
{
	char s[8];

	snprintf(s, sizeof s, "1e%d", n);
	return strtod(s, NULL);
}

static int scale(const struct pt_walk *w, uint64_t digits, int64_t exp, double *v, struct pt_error *err)
{
	double f = (double)digits;

	for (; exp < -308 && f != 0; exp += 308)
		f /= 1e308;
	if (f != 0 && exp > 308)
		return fail(w, err);
	if (f != 0)
		f = exp < 0 ? f / power((int)-exp) : f * power((int)exp);
	*v = f;
	return isinf(f) ? fail(w, err) : 0;
}

int pt_span_number(struct pt_walk *w, double *v, struct pt_error *err)
{
	uint64_t mantissa = 0;
	int64_t exp, left, given = 0;
	bool minus = pt_span_at(w, '-'), down;
	const char *first;
	int status;

	w->p += minus;
	first = w->p;
	if (!digit(w))
		return fail(w, err);
	digits(w, &mantissa, &exp);
	if (*first == '0' && w->p > first + 1)
		return fail(w, err);
	if (pt_span_at(w, '.')) {
		w->p++;
		if (!digit(w))
			return fail(w, err);
		exp -= digits(w, &mantissa, &left);
	}
	if (pt_span_at(w, 'e') || pt_span_at(w, 'E')) {
		w->p++;
		down = pt_span_at(w, '-');
		w->p += down || pt_span_at(w, '+');
		if (!digit(w))
			return fail(w, err);
		for (; digit(w); w->p++)
			if (given < INT32_MAX)
				given = given * 10 + (*w->p - '0');
		exp += down ? -given : given;
	}
	status = scale(w, mantissa, exp, v, err);
	if (!status && minus)
		*v = -*v;
	return status;
}
