/* SPDX-License-Identifier: MIT */
/*
 * ref_pairs.h - the plain loops of the reference device for rows of length 1,
 * products of pairs, and cross entropy over the rows of sequences.
 */
#ifndef PT_REF_PAIRS_H
#define PT_REF_PAIRS_H

static int ref_unit_fwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		double s = 0;

		for (int64_t j = 0; j < k->c; j++)
			s += pow(((const float *)k->x)[i * k->c + j], 2);
		k->norm[i] = (float)fmax(sqrt(s), k->eps);
		for (int64_t j = 0; j < k->c; j++)
			((float *)k->y)[i * k->c + j] = (float)(((const float *)k->x)[i * k->c + j] / fmax(sqrt(s), k->eps));
	}
	return 0;
}

static int ref_unit_bwd(struct pt_device *dev, const struct pt_k_unit *k, struct pt_error *err)
{
	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++) {
		const float *y = (const float *)k->y + i * k->c, *dy = (const float *)k->dy + i * k->c;
		double s = 0;

		for (int64_t j = 0; j < k->c; j++)
			s += k->norm[i] > k->eps ? (double)y[j] * dy[j] : 0;
		for (int64_t j = 0; j < k->c; j++)
			ref_put((float *)k->dx + i * k->c + j, k->acc_dx, (dy[j] - s * y[j]) / k->norm[i]);
	}
	return 0;
}

static int ref_dots_fwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	const float *x = k->x;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->k; j++) {
			double s = 0;

			for (int64_t c = 0; c < k->c; c++)
				s += (double)x[k->a[i] * k->c + c] * x[k->b[i * k->k + j] * k->c + c];
			((float *)k->z)[i * k->k + j] = (float)(k->scale * s);
		}
	return 0;
}

static int ref_dots_bwd(struct pt_device *dev, const struct pt_k_dots *k, struct pt_error *err)
{
	const float *x = k->x, *dz = k->dz;

	(void)dev, (void)err;
	for (int64_t i = 0; i < k->n; i++)
		for (int64_t j = 0; j < k->k; j++)
			for (int64_t c = 0; c < k->c; c++) {
				int64_t a = k->a[i] * k->c + c, b = k->b[i * k->k + j] * k->c + c;
				double g = (double)k->scale * dz[i * k->k + j], xa = x[a], xb = x[b];

				ref_put((float *)k->dx + a, true, g * xb);
				ref_put((float *)k->dx + b, true, g * xa);
			}
	return 0;
}

static int ref_span(const struct pt_k_span *k, bool backward)
{
	const float *z = k->z;

	for (int b = 0; b < k->batch; b++) {
		double loss = 0;

		for (int64_t j = 0; j < k->k; j++) {
			int32_t row = k->row[b * k->k + j];
			double sum = 0;

			if (row < 0)
				continue;
			for (int32_t i = k->cu[b]; i < k->cu[b + 1]; i++)
				sum += exp(z[i * k->k + j]);
			loss += log(sum) - z[row * k->k + j];
			for (int32_t i = k->cu[b]; backward && i < k->cu[b + 1]; i++)
				ref_put((float *)k->dz + i * k->k + j, true, k->weight[b] / (double)k->k *
					(exp(z[i * k->k + j]) / sum - (i == row)));
		}
		if (!backward)
			k->loss[b] = (float)(loss / (double)k->k);
	}
	return 0;
}

static int ref_span_fwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	(void)dev, (void)err;
	return ref_span(k, false);
}

static int ref_span_bwd(struct pt_device *dev, const struct pt_k_span *k, struct pt_error *err)
{
	(void)dev, (void)err;
	return ref_span(k, true);
}

#endif
