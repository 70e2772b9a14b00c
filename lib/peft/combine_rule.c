/* SPDX-License-Identifier: MIT */
/*
 * combine_rule.c - the rules by which values of several adapters become one;
 * see combine.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/combine.h"

static const struct pt_combine_kind kinds[] = {
	{ "cat", PT_COMBINE_JOIN, PT_DROP_NONE, false, "the weighted sum of the updates, exactly; ranks add up" },
	{ "svd", PT_COMBINE_PRODUCTS, PT_DROP_NONE, false, "the weighted sum, brought to a rank" },
	{ "linear", PT_COMBINE_FACTORS, PT_DROP_NONE, false, "the weighted sums of A and of B" },
	{ "ties", PT_COMBINE_FACTORS, PT_DROP_SMALL, true, "TIES on A and on B" },
	{ "ties_svd", PT_COMBINE_PRODUCTS, PT_DROP_SMALL, true, "TIES on the updates, brought to a rank" },
	{ "dare_linear", PT_COMBINE_FACTORS, PT_DROP_RANDOM, false, "DARE on A and on B" },
	{ "dare_linear_svd", PT_COMBINE_PRODUCTS, PT_DROP_RANDOM, false, "DARE on the updates, brought to a rank" },
	{ "dare_ties", PT_COMBINE_FACTORS, PT_DROP_RANDOM, true, "DARE and TIES' signs on A and on B" },
	{ "dare_ties_svd", PT_COMBINE_PRODUCTS, PT_DROP_RANDOM, true, "DARE and TIES' signs on the updates, brought to a rank" },
	{ "magnitude_prune", PT_COMBINE_FACTORS, PT_DROP_SMALL, false, "the largest of A and of B" },
	{ "magnitude_prune_svd", PT_COMBINE_PRODUCTS, PT_DROP_SMALL, false, "the largest of the updates, brought to a rank" },
};

const struct pt_combine_kind *pt_combine_kind_at(int i)
{
	return i >= 0 && i < (int)(sizeof kinds / sizeof *kinds) ? &kinds[i] : NULL;
}

const struct pt_combine_kind *pt_combine_kind(const char *name)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	}
	return NULL;
}

static int falling(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x < y) - (x > y);
}

/* Only the share of density with the largest magnitudes stays; of equal ones the first. */
static int drop_small(float *x, size_t count, double density, struct pt_error *err)
{
	size_t keep = (size_t)(density * (double)count), above = 0;
	float *size, least;

	if (keep >= count)
		return 0;
	if (!keep) {
		memset(x, 0, count * sizeof *x);
		return 0;
	}
	size = pt_malloc(count, sizeof *size, err);
	if (!size)
		return err->status;
	for (size_t i = 0; i < count; i++)
		size[i] = fabsf(x[i]);
	qsort(size, count, sizeof *size, falling);
	least = size[keep - 1];
	free(size);
	for (size_t i = 0; i < count; i++)
		above += fabsf(x[i]) > least;
	keep -= above;
	for (size_t i = 0; i < count; i++) {
		if (fabsf(x[i]) > least)
			continue;
		if (fabsf(x[i]) == least && keep)
			keep--;
		else
			x[i] = 0;
	}
	return 0;
}

/* Each stays with the probability density, and then grows by its inverse. */
static int drop_random(float *x, size_t count, double density, uint64_t key, struct pt_error *err)
{
	float *u = pt_malloc(count, sizeof *u, err);

	if (!u)
		return err->status;
	pt_rng_uniform(key, u, count, 0, 1);
	for (size_t i = 0; i < count; i++)
		x[i] = (double)u[i] < density ? (float)((double)x[i] / density) : 0;
	free(u);
	return 0;
}

static int sign_of(float x)
{
	return (x > 0) - (x < 0);
}

/* Of values whose sign is that of the sum of all (or of most), the weighted mean; a sum of zero is positive. */
static float elected(const struct pt_combine_options *o, float *const *x, const double *w, int n, size_t i)
{
	double sum = 0, total = 0;
	int agree = 0, sign;

	for (int k = 0; k < n; k++)
		sum += o->frequency ? sign_of(x[k][i]) : (double)x[k][i];
	sign = sum >= 0 ? 1 : -1;
	for (int k = 0; k < n; k++) {
		if (sign_of(x[k][i]) != sign)
			continue;
		total += w[k] * (double)x[k][i];
		agree++;
	}
	return (float)(total / (agree ? agree : 1));
}

int pt_combine_values(const struct pt_combine_options *o, float *const *x, const double *w, int n, size_t count,
		      uint64_t key, float *out, struct pt_error *err)
{
	int st = 0;

	for (int k = 0; k < n && !st && o->density < 1; k++) {
		if (o->kind->drop == PT_DROP_SMALL)
			st = drop_small(x[k], count, o->density, err);
		else if (o->kind->drop == PT_DROP_RANDOM)
			st = drop_random(x[k], count, o->density, pt_rng_mix(key, (uint64_t)k), err);
	}
	for (size_t i = 0; i < count && !st; i++) {
		double sum = 0;

		for (int k = 0; k < n && !o->kind->elect; k++)
			sum += w[k] * (double)x[k][i];
		out[i] = o->kind->elect ? elected(o, x, w, n, i) : (float)sum;
	}
	return st;
}
