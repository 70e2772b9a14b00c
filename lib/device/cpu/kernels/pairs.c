/* SPDX-License-Identifier: MIT */
/*
 * pairs.c - rows of length 1, products of listed pairs of rows, cross entropy
 * over the rows of a sequence. There are few of them: sums are in double.
 */
#include "device/cpu/cpu.h"

#include <math.h>

#include "block.h"

#define STRIP 32	/* channels a thread takes at once */

int pt_cpu_unit_fwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->c > PT_BLOCK)
	for (int64_t i = 0; i < k->n; i++) {
		const float *x = (const float *)k->x + i * k->c;
		float *y = (float *)k->y + i * k->c;
		double s = 0;

		for (int64_t j = 0; j < k->c; j++)
			s += (double)x[j] * (double)x[j];
		s = sqrt(s);
		s = s > (double)k->eps ? s : (double)k->eps;
		k->norm[i] = (float)s;
		for (int64_t j = 0; j < k->c; j++)
			y[j] = (float)((double)x[j] / s);
	}
	return 0;
}

int pt_cpu_unit_bwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->c > PT_BLOCK)
	for (int64_t i = 0; i < k->n; i++) {
		const float *y = (const float *)k->y + i * k->c, *dy = (const float *)k->dy + i * k->c;
		float *dx = (float *)k->dx + i * k->c;
		double s = 0;

		/* Below eps it is a constant that divides. */
		for (int64_t j = 0; j < k->c && k->norm[i] > k->eps; j++)
			s += (double)y[j] * (double)dy[j];
		for (int64_t j = 0; j < k->c; j++) {
			double g = ((double)dy[j] - s * (double)y[j]) / (double)k->norm[i];

			dx[j] = (float)(k->acc_dx ? (double)dx[j] + g : g);
		}
	}
	return 0;
}

int pt_cpu_dots_fwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->k * k->c > PT_BLOCK)
	for (int64_t i = 0; i < k->n * k->k; i++) {
		const float *a = (const float *)k->x + k->a[i / k->k] * k->c, *b = (const float *)k->x + k->b[i] * k->c;
		double s = 0;

		for (int64_t j = 0; j < k->c; j++)
			s += (double)a[j] * (double)b[j];
		((float *)k->z)[i] = (float)((double)k->scale * s);
	}
	return 0;
}

/* A row may be in many pairs: a thread has some channels of all of them. */
int pt_cpu_dots_bwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	int64_t strips = pt_blocks(k->c, STRIP);

	(void)err;
	PT_PARALLEL(dev, k->n * k->k * k->c > PT_BLOCK)
	for (int64_t s = 0; s < strips; s++) {
		int64_t from = s * STRIP, to = pt_min(from + STRIP, k->c);

		for (int64_t i = 0; i < k->n * k->k; i++) {
			int64_t at = k->a[i / k->k] * k->c, bt = k->b[i] * k->c;
			const float *x = k->x;
			float *dx = k->dx, g = k->scale * ((const float *)k->dz)[i];

			for (int64_t j = from; j < to; j++) {
				float a = x[at + j], b = x[bt + j];

				dx[at + j] += g * b;
				dx[bt + j] += g * a;
			}
		}
	}
	return 0;
}

static double log_sum(const struct pt_k_span *k, int b, int64_t j)
{
	const float *z = k->z;
	double max = -INFINITY, sum = 0;

	for (int32_t i = k->cu[b]; i < k->cu[b + 1]; i++)
		max = (double)z[i * k->k + j] > max ? (double)z[i * k->k + j] : max;
	for (int32_t i = k->cu[b]; i < k->cu[b + 1]; i++)
		sum += exp((double)z[i * k->k + j] - max);
	return max + log(sum);
}

int pt_cpu_span_fwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->k > 1024)
	for (int b = 0; b < k->batch; b++) {
		double loss = 0;

		for (int64_t j = 0; j < k->k; j++) {
			int32_t row = k->row[b * k->k + j];

			if (row >= 0)
				loss += log_sum(k, b, j) - (double)((const float *)k->z)[row * k->k + j];
		}
		k->loss[b] = (float)(loss / (double)k->k);
	}
	return 0;
}

int pt_cpu_span_bwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->k > 1024)
	for (int b = 0; b < k->batch; b++) {
		for (int64_t j = 0; j < k->k; j++) {
			int32_t row = k->row[b * k->k + j];
			double lse = row >= 0 ? log_sum(k, b, j) : 0, w = (double)k->weight[b] / (double)k->k;

			for (int32_t i = k->cu[b]; i < k->cu[b + 1] && row >= 0; i++) {
				double z = (double)((const float *)k->z)[i * k->k + j];
				float *dz = (float *)k->dz + i * k->k + j;

				*dz += (float)(w * (exp(z - lse) - (i == row)));
			}
		}
	}
	return 0;
}
