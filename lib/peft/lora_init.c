/* SPDX-License-Identifier: MIT */
/*
 * lora_init.c - the first values of LoRA's A and B that are made of nothing
 * but random numbers: as HF PEFT draws them (kaiming, gaussian), or so that
 * B A = 0 while neither is zero (orthogonal).
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/lora.h"

enum { A = PT_LORA_A, B = PT_LORA_B, B_BIAS = PT_LORA_PARAMS };

/* Uniform within 1/sqrt(fan_in): what kaiming_uniform_(a=sqrt(5)) comes to. */
static void kaiming(uint64_t key, float *x, size_t n, int64_t fan_in)
{
	float bound = (float)(1 / sqrt((double)fan_in));

	pt_rng_uniform(key, x, n, -bound, bound);
}

/* The rows of a random [n,n] matrix made orthonormal: Gram-Schmidt, twice for the sake of f32 input, in double. */
static int random_rotation(uint64_t key, int n, double *q, struct pt_error *err)
{
	float *x = pt_malloc((size_t)n * (size_t)n, sizeof *x, err);

	if (!x)
		return err->status;
	pt_rng_normal(key, x, (size_t)n * (size_t)n, 0, 1);
	for (int i = 0; i < n; i++) {
		double *v = q + (size_t)i * (size_t)n, norm = 0;

		for (int j = 0; j < n; j++)
			v[j] = x[(size_t)i * (size_t)n + (size_t)j];
		for (int k = 0; k < 2 * i; k++) {
			const double *u = q + (size_t)(k % i) * (size_t)n;
			double dot = 0;

			for (int j = 0; j < n; j++)
				dot += u[j] * v[j];
			for (int j = 0; j < n; j++)
				v[j] -= dot * u[j];
		}
		for (int j = 0; j < n; j++)
			norm += v[j] * v[j];
		norm = sqrt(norm);
		for (int j = 0; j < n; j++)
			v[j] /= norm;
	}
	free(x);
	return 0;
}

/*
 * A from the even rows of a rotation, B from the odd ones, so that B A = 0
 * while neither is zero: out[c,r] = z[c,r/2] q[first::2] / 10, or its
 * transpose.
 */
static int orthogonal_half(uint64_t key, const double *q, int r, int first, int64_t c, bool transpose, float *out,
			   struct pt_error *err)
{
	int half = r / 2;
	float *z = pt_malloc((size_t)c * (size_t)half, sizeof *z, err);

	if (!z)
		return err->status;
	pt_rng_normal(key, z, (size_t)c * (size_t)half, 0, 1);
	for (int64_t i = 0; i < c; i++) {
		for (int j = 0; j < r; j++) {
			double sum = 0;

			for (int k = 0; k < half; k++)
				sum += (double)z[i * half + k] * q[(size_t)(2 * k + first) * (size_t)r + (size_t)j];
			out[transpose ? j * c + i : i * r + j] = (float)(sum / 10);
		}
	}
	free(z);
	return 0;
}

static int orthogonal(const struct pt_adapter_site *s, uint64_t seed, float *va, float *vb, struct pt_error *err)
{
	uint64_t key = pt_rng_mix_str(seed, s->param[A]->name);
	double *q;
	int r = s->rank, st;

	if (r % 2)
		return pt_error(err, PT_USAGE, "%s: init_lora_weights orthogonal wants an even rank, not %d", s->site->path, r);
	q = pt_malloc((size_t)r * (size_t)r, sizeof *q, err);
	if (!q)
		return err->status;
	st = random_rotation(pt_rng_mix_str(key, "rotation"), r, q, err);
	if (!st)
		st = orthogonal_half(key, q, r, 0, s->site->in, true, va, err);
	if (!st)
		st = orthogonal_half(pt_rng_mix_str(seed, s->param[B]->name), q, r, 1, s->site->out, false, vb, err);
	free(q);
	return st;
}

static int fresh_values(const struct pt_adapter_site *s, enum pt_lora_init init, uint64_t seed, float *va, float *vb,
			struct pt_error *err)
{
	size_t na = (size_t)pt_tensor_count(&s->param[A]->t), nb = (size_t)pt_tensor_count(&s->param[B]->t);
	uint64_t key_a = pt_rng_mix_str(seed, s->param[A]->name), key_b = pt_rng_mix_str(seed, s->param[B]->name);

	/* Of a table A is the zero one: its gradient is sparse. */
	if (s->site->kind == PT_SITE_EMBEDDING) {
		pt_rng_normal(key_b, vb, nb, 0, 1);
		if (init == PT_LORA_FALSE)
			pt_rng_normal(key_a, va, na, 0, 1);
		return 0;
	}
	switch (init) {
	case PT_LORA_ORTHOGONAL:
		return orthogonal(s, seed, va, vb, err);
	case PT_LORA_GAUSSIAN:
		pt_rng_normal(key_a, va, na, 0, 1.0f / (float)s->rank);
		break;
	default:
		kaiming(key_a, va, na, s->site->in);
	}
	if (init == PT_LORA_FALSE)
		kaiming(key_b, vb, nb, (int64_t)s->rank * (s->site->experts ? s->site->experts : 1));
	return 0;
}

int pt_lora_init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	float *va, *vb;
	int st;

	if (pt_lora_tied(s))
		return 0;
	va = pt_calloc((size_t)pt_tensor_count(&s->param[A]->t), sizeof *va, err);
	vb = pt_calloc((size_t)pt_tensor_count(&s->param[B]->t), sizeof *vb, err);
	st = va && vb ? 0 : err->status;
	if (!st)
		st = pt_lora_residual(s) ? pt_lora_residual_init(a, s, va, vb, err) :
		     pt_lora_eva(s, l, va) ? 0 : fresh_values(s, l->init, seed, va, vb, err);
	if (!st)
		st = pt_adapter_set(a, s->param[A], va, err);
	if (!st)
		st = pt_adapter_set(a, s->param[B], vb, err);
	/* A new nn.Linear's bias. */
	if (!st && l->bias && l->init == PT_LORA_FALSE) {
		kaiming(pt_rng_mix_str(seed, s->param[B_BIAS]->name), vb, (size_t)s->site->out, s->rank);
		st = pt_adapter_set(a, s->param[B_BIAS], vb, err);
	}
	free(va);
	free(vb);
	return st;
}
