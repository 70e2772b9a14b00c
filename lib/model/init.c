/* SPDX-License-Identifier: MIT */
/*
 * init.c - fresh parameters as transformers initialises them (its
 * _init_weights): normal(0, initializer_range) for linears and embeddings
 * with the row of the padding token zero, zeros for biases, ones for norms
 * (zeros for those of 1 + w).
 * Values depend on seed and path alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/body.h"

int pt_weight_fresh(struct pt_model *m, const struct pt_site *s, struct pt_weight *w, uint64_t seed,
		    struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(&w->t), bytes;
	int64_t pad = m->cfg.pad, width = w->t.shape[w->t.ndim - 1];
	float *x;
	int st;

	if (!pt_mul_size(n, sizeof *x, &bytes))
		return pt_error(err, PT_FAIL, "%s does not fit into memory", w->path);
	x = pt_malloc(n, sizeof *x, err);
	if (!x)
		return err->status;
	if (w->norm || w->bias) {
		for (size_t i = 0; i < n; i++)
			x[i] = w->norm && !w->bias && m->cfg.norm != PT_NORM_RMS1P ? 1.0f : 0.0f;
	} else {
		pt_rng_normal(pt_rng_mix_str(seed, w->path), x, n, 0, (float)s->init_std);
	}
	if (s == m->body->stack[0].part[PT_ROLE_EMBED] && s->pad >= 0 && pad >= 0 && pad < w->t.shape[0])
		memset(x + pad * width, 0, (size_t)width * sizeof *x);
	w->fresh = true;
	w->t.type = PT_F32;
	st = pt_body_own(m, x, bytes, &w->t.data, err);
	free(x);
	return st;
}
