/* SPDX-License-Identifier: MIT */
/*
 * embed.c - rows of an embedding, and their gradient in the order of the rows.
 */
#include "device/cpu/cpu.h"

#include "block.h"

#define CHANNELS 64		/* a strip of the gradient that one thread adds up */

static void embed_row(const struct pt_k_embed *k, int64_t i)
{
	float *y = (float *)k->y + i * k->c, buf[PT_TILE];

	for (int64_t at = 0; at < k->c; at += PT_TILE) {
		int64_t m = pt_min(PT_TILE, k->c - at);
		const float *w = buf;

		if (!k->transposed)
			w = pt_weights(k->w, k->wtype, k->ids[i] * k->c + at, m, buf);
		for (int64_t j = 0; j < m && k->transposed; j++)
			buf[j] = *pt_weights(k->w, k->wtype, (at + j) * k->v + k->ids[i], 1, &buf[j]);
		if (k->acc_y)
			for (int64_t j = 0; j < m; j++)
				y[at + j] += k->scale * w[j];
		else
			for (int64_t j = 0; j < m; j++)
				y[at + j] = k->scale * w[j];
	}
}

int pt_cpu_embed_fwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	(void)err;
	PT_PARALLEL(dev, k->n * k->c > PT_BLOCK)
	for (int64_t i = 0; i < k->n; i++)
		embed_row(k, i);
	return 0;
}

int pt_cpu_embed_bwd(struct pt_device *dev, const struct pt_k_embed *k, struct pt_error *err)
{
	const float *dy = k->dy;

	(void)err;
	PT_PARALLEL(dev, k->n * k->c > PT_BLOCK)
	for (int64_t t = 0; t < pt_blocks(k->c, CHANNELS); t++) {
		int64_t from = t * CHANNELS, to = pt_min(k->c, from + CHANNELS);

		for (int64_t i = 0; i < k->n; i++) {
			float *dw = k->dw + k->ids[i] * k->c;

			if (k->ids[i] == k->pad)
				continue;
			if (k->transposed)
				for (int64_t j = from; j < to; j++)
					k->dw[j * k->v + k->ids[i]] += k->scale * dy[i * k->c + j];
			else
				for (int64_t j = from; j < to; j++)
					dw[j] += k->scale * dy[i * k->c + j];
		}
	}
	return 0;
}
