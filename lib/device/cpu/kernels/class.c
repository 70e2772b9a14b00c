/* SPDX-License-Identifier: MIT */
/*
 * class.c - losses of rows of few logits: cross entropy, squared error, binary
 * cross entropy. Rows are short, so they are done in double.
 */
#include "device/cpu/cpu.h"

#include <math.h>

#include "block.h"

#define NO_LOSS -100

static double cross_entropy(const struct pt_k_class *k, int64_t row, double *lse)
{
	const float *z = (const float *)k->z + row * k->k;
	double s = (double)k->smoothing, max = (double)z[0], sum = 0, mean = 0;

	for (int64_t i = 0; i < k->k; i++) {
		max = (double)z[i] > max ? (double)z[i] : max;
		mean += (double)z[i] / (double)k->k;
	}
	for (int64_t i = 0; i < k->k; i++)
		sum += exp((double)z[i] - max);
	*lse = max + log(sum);
	return (1 - s) * (*lse - (double)z[k->cls[row]]) + s * (*lse - mean);
}

static double row_loss(const struct pt_k_class *k, int64_t row)
{
	const float *z = (const float *)k->z + row * k->k, *t = k->target ? k->target + row * k->k : NULL;
	double loss = 0, lse;

	if (k->kind == PT_LOSS_CE)
		return k->cls[row] == NO_LOSS ? 0 : cross_entropy(k, row, &lse);
	for (int64_t i = 0; i < k->k; i++) {
		double x = (double)z[i], y = (double)t[i];

		loss += k->kind == PT_LOSS_MSE ? (x - y) * (x - y) :
			(x > 0 ? x : 0) - x * y + log1p(exp(-fabs(x)));
	}
	return loss / (double)k->k;
}

int pt_cpu_class_fwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->k > 1024)
	for (int64_t i = 0; i < k->n; i++)
		k->loss[i] = (float)row_loss(k, i);
	return 0;
}

static void row_grad(const struct pt_k_class *k, int64_t row)
{
	const float *z = (const float *)k->z + row * k->k, *t = k->target ? k->target + row * k->k : NULL;
	bool ce = k->kind == PT_LOSS_CE, none = ce && k->cls[row] == NO_LOSS;
	double n = (double)k->k, s = (double)k->smoothing, lse = 0, g;
	float *dz = (float *)k->dz + row * k->k;

	if (ce && !none)
		cross_entropy(k, row, &lse);
	for (int64_t i = 0; i < k->k; i++) {
		double x = (double)z[i];

		if (none)
			g = 0;
		else if (ce)
			g = exp(x - lse) - (i == k->cls[row] ? 1 - s : 0) - s / n;
		else if (k->kind == PT_LOSS_MSE)
			g = 2 * (x - (double)t[i]) / n;
		else
			g = (1 / (1 + exp(-x)) - (double)t[i]) / n;
		g *= (double)k->weight[row];
		dz[i] = (float)(k->acc_dz ? (double)dz[i] + g : g);
	}
}

int pt_cpu_class_bwd(struct pt_device *dev, const struct pt_k_class *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->k > 1024)
	for (int64_t i = 0; i < k->n; i++)
		row_grad(k, i);
	return 0;
}
