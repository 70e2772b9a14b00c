/* SPDX-License-Identifier: MIT */
/*
 * experts.c - mixtures of experts: which rows go to which experts (Shazeer et
 * al. 2017, "The sparsely-gated mixture-of-experts layer"), and how what they
 * make of a row is put together. Their products are in linear.c.
 */
#include "device/cpu/cpu.h"

#include "column.h"
#include "fmath.h"

#define LANES 8		/* sums of a dot product that run side by side */

static int64_t rows_at_once(int64_t c)
{
	return pt_max(1, PT_BLOCK / pt_max(c, 1));
}

static void softmax(const float *z, float *p, int n)
{
	float max = z[0], sum = 0;

	for (int e = 1; e < n; e++)
		max = z[e] > max ? z[e] : max;
	for (int e = 0; e < n; e++)
		p[e] = pt_expf(z[e] - max);
	for (int e = 0; e < n; e++)
		sum += p[e];
	for (int e = 0; e < n; e++)
		p[e] /= sum;
}

/* Whether expert e is among the first n chosen. */
static bool chosen(const int32_t *choice, int n, int e)
{
	for (int j = 0; j < n; j++)
		if (choice[j] == e)
			return true;
	return false;
}

/* The k largest, largest first; a row of NaN gets the first ones. */
static void choose(const struct pt_k_route *k, const float *p, int32_t *choice, float *weight)
{
	float sum = 0;

	for (int j = 0; j < k->k; j++) {
		int best = -1;

		for (int e = 0; e < k->experts; e++)
			if ((best < 0 || p[e] > p[best]) && !chosen(choice, j, e))
				best = e;
		choice[j] = best;
		weight[j] = p[best];
		sum += p[best];
	}
	for (int j = 0; j < k->k && k->renorm; j++)
		weight[j] /= sum;
}

/* Places by counting: a pass to count, one to hand them out. */
static void sort(const struct pt_k_route *k)
{
	int64_t pairs = k->n * k->k;

	for (int e = 0; e <= k->experts; e++)
		k->offset[e] = 0;
	for (int64_t i = 0; i < pairs; i++)
		k->offset[k->expert[i] + 1]++;
	for (int e = 0; e < k->experts; e++)
		k->offset[e + 1] += k->offset[e];
	for (int64_t i = 0; i < pairs; i++) {
		int32_t at = k->offset[k->expert[i]]++, row = (int32_t)(i / k->k);

		k->place[i] = at;
		k->row[at] = row;
		if (k->key) {
			k->key[at] = k->rng.key[row];
			k->pos[at] = k->rng.pos[row];
		}
	}
	/* Each has become the next one's. */
	for (int e = k->experts; e > 0; e--)
		k->offset[e] = k->offset[e - 1];
	k->offset[0] = 0;
}

static void statistics(struct pt_device *dev, const struct pt_k_route *k)
{
	float *count = k->stat + k->experts;

	for (int e = 0; e < 2 * k->experts; e++)
		k->stat[e] = 0;
	PT_PARALLEL(dev, k->live * k->experts > PT_BLOCK)
	for (int64_t t = 0; t < pt_blocks(k->experts, PT_COLUMNS); t++)
		pt_columns(k->live, k->experts, t * PT_COLUMNS, k->p, NULL, NULL, NULL, k->stat + t * PT_COLUMNS);
	for (int64_t i = 0; i < k->live * k->k; i++)
		count[k->expert[i]]++;
}

int pt_cpu_route_fwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	if (k->type != PT_F32)
		return pt_error(err, PT_DEVICE, "route: the CPU computes in F32, not %s", pt_dtype_name(k->type));
	PT_PARALLEL(dev, k->n > rows_at_once((int64_t)k->experts * k->k))
	for (int64_t i = 0; i < k->n; i++) {
		float *p = k->p + i * k->experts;

		softmax((const float *)k->z + i * k->experts, p, k->experts);
		choose(k, p, k->expert + i * k->k, k->weight + i * k->k);
	}
	sort(k);
	if (k->stat)
		statistics(dev, k);
	return 0;
}

/* Gradient of p of one row at the chosen experts: with weights w = p/s, dp = (dw - sum of w dw) / s. */
static void route_dp(const struct pt_k_route *k, int64_t i, double *dp)
{
	const float *p = k->p + i * k->experts, *dw = k->dweight + i * k->k;
	const int32_t *choice = k->expert + i * k->k;
	double sum = 0, mean = 0;

	for (int j = 0; j < k->k && k->renorm; j++) {
		sum += (double)p[choice[j]];
		mean += (double)p[choice[j]] * (double)dw[j];
	}
	for (int j = 0; j < k->k; j++)
		dp[choice[j]] += k->renorm ? ((double)dw[j] - mean / sum) / sum : (double)dw[j];
}

/* In double: rows are short, and what is left of the differences is small. */
int pt_cpu_route_bwd(struct pt_device *dev, const struct pt_k_route *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n > rows_at_once(k->experts))
	for (int64_t i = 0; i < k->n; i++) {
		const float *p = k->p + i * k->experts;
		float *dz = (float *)k->dz + i * k->experts;
		double dp[PT_EXPERTS_MAX], mean = 0;

		for (int e = 0; e < k->experts; e++)
			dp[e] = k->dstat && i < k->live ? (double)k->dstat[e] : 0;
		if (k->dweight)
			route_dp(k, i, dp);
		for (int e = 0; e < k->experts; e++)
			mean += (double)p[e] * dp[e];
		for (int e = 0; e < k->experts; e++)
			dz[e] = (k->acc_dz ? dz[e] : 0) + (float)((double)p[e] * (dp[e] - mean));
	}
	return 0;
}

int pt_cpu_combine_fwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	const float *x = k->x;

	if (k->type != PT_F32)
		return pt_error(err, PT_DEVICE, "combine: the CPU computes in F32, not %s", pt_dtype_name(k->type));
	PT_PARALLEL(dev, k->n > rows_at_once(k->c * k->k))
	for (int64_t i = 0; i < k->n; i++) {
		float *y = (float *)k->y + i * k->c;

		for (int64_t c = 0; c < k->c && !k->acc_y; c++)
			y[c] = 0;
		for (int j = 0; j < k->k; j++) {
			const float *from = x + k->place[i * k->k + j] * k->c;
			float w = k->weight ? k->weight[i * k->k + j] : 1;

			for (int64_t c = 0; c < k->c; c++)
				y[c] += w * from[c];
		}
	}
	return 0;
}

static float dot(const float *a, const float *b, int64_t n)
{
	float s[LANES] = { 0 }, sum = 0;
	int64_t c = 0;

	for (; c + LANES <= n; c += LANES)
		for (int l = 0; l < LANES; l++)
			s[l] += a[c + l] * b[c + l];
	for (; c < n; c++)
		sum += a[c] * b[c];
	for (int l = 0; l < LANES; l++)
		sum += s[l];
	return sum;
}

int pt_cpu_combine_bwd(struct pt_device *dev, const struct pt_k_combine *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n > rows_at_once(k->c * k->k))
	for (int64_t i = 0; i < k->n; i++) {
		const float *dy = (const float *)k->dy + i * k->c;

		for (int64_t at = i * k->k; at < (i + 1) * k->k; at++) {
			int64_t place = k->place[at] * k->c;
			float w = k->weight ? k->weight[at] : 1, *dx = k->dx ? (float *)k->dx + place : NULL;

			if (k->dweight)
				k->dweight[at] = (k->acc_dweight ? k->dweight[at] : 0) +
						 dot(dy, (const float *)k->x + place, k->c);
			for (int64_t c = 0; c < k->c && dx; c++)
				dx[c] = (k->acc_dx ? dx[c] : 0) + w * dy[c];
		}
	}
	return 0;
}

static float sigmoid(float x)
{
	return 1 / (1 + pt_expf(-x));
}

int pt_cpu_gate_fwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	if (k->type != PT_F32)
		return pt_error(err, PT_DEVICE, "gate: the CPU computes in F32, not %s", pt_dtype_name(k->type));
	PT_PARALLEL(dev, k->n > rows_at_once(k->c))
	for (int64_t i = 0; i < k->n; i++) {
		const float *x = (const float *)k->x + i * k->c;
		float *y = (float *)k->y + i * k->c, f = sigmoid(((const float *)k->g)[i]);

		for (int64_t c = 0; c < k->c; c++)
			y[c] = f * x[c];
	}
	return 0;
}

int pt_cpu_gate_bwd(struct pt_device *dev, const struct pt_k_gate *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n > rows_at_once(k->c))
	for (int64_t i = 0; i < k->n; i++) {
		const float *x = (const float *)k->x + i * k->c, *dy = (const float *)k->dy + i * k->c;
		float *dx = k->dx ? (float *)k->dx + i * k->c : NULL, *dg = k->dg ? (float *)k->dg + i : NULL;
		float f = sigmoid(((const float *)k->g)[i]);

		for (int64_t c = 0; c < k->c && dx; c++)
			dx[c] = (k->acc_dx ? dx[c] : 0) + f * dy[c];
		if (dg)
			*dg = (k->acc_dg ? *dg : 0) + f * (1 - f) * dot(dy, x, k->c);
	}
	return 0;
}
