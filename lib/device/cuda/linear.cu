/* SPDX-License-Identifier: MIT */
/*
 * linear.cu - linears that share one input, with their low-rank terms.
 *
 * The A of all terms of the group are packed into one matrix, so u = A x of
 * all is one product over x; the terms of a linear lie side by side in u, so
 * that their B, scaled, are one product, written before the base's product,
 * which adds to it. Backward mirrors that: du of a linear in one product over
 * dy, dx = du A for all terms, then dy W added. A term with dropout reads its
 * own copy of x. Ranks are padded to multiples of 16 with zeros. (Backward:
 * linear_bwd.cu.)
 *
 * In bf16 a linear and its terms are one product where the processor and the
 * shapes allow it (mix.h); else the skinny products are kernels of lora.h.
 */
#include "device/cuda/linear.h"

#define BLOCK 256

struct pt_linear_work pt_linear_layout(struct pt_device *dev, const struct pt_k_linear_group *g, bool back, void *base)
{
	struct pt_pieces s = { (char *)base, 0 };
	size_t size = pt_cuda_size(g->type), b = 0, w = 0, bias = 0, x = 0, u2 = 0;
	struct pt_linear_work k = { 0 };

	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t r = pt_linear_rank(l);

		k.ranks += r;
		b += (size_t)(l->n * r) * size;
		if (l->wtype != g->type && (size_t)(l->n * g->k) * size > w)
			w = (size_t)(l->n * g->k) * size;
		if (!back && l->bias && l->btype != g->type && (size_t)l->n * size > bias)
			bias = (size_t)l->n * size;
		for (int t = 0; t < l->nterms; t++) {
			if (l->term[t].dropout > 0)
				x = (size_t)(g->rows * g->k) * size;
			if (back && l->term[t].db && !l->term[t].u && (size_t)(g->rows * l->term[t].r) * size > u2)
				u2 = (size_t)(g->rows * l->term[t].r) * size;
		}
	}
	k.a = (char *)pt_piece(&s, (size_t)(k.ranks * g->k) * size);
	k.u = (char *)pt_piece(&s, (size_t)(k.ranks * g->rows) * size);
	k.b = (char *)pt_piece(&s, b);
	k.w = (char *)pt_piece(&s, w);
	k.bias = (char *)pt_piece(&s, bias);
	k.x = (char *)pt_piece(&s, x);
	k.u2 = (char *)pt_piece(&s, u2);
	k.at = back ? (char *)pt_piece(&s, (size_t)(k.ranks * g->k) * size) : NULL;
	k.lora = (char *)pt_piece(&s, back ? pt_linear_lora_scratch(dev, g, k.ranks) : 0);
	k.bytes = s.used;
	return k;
}

size_t pt_cuda_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool backward)
{
	struct pt_k_linear_group one = *g;
	size_t most = 0;

	/* All rows may go to one expert. */
	for (int e = 0; e < (g->experts ? g->experts : 1); e++) {
		struct pt_linear_work w;

		one.lin = g->lin + e * g->n;
		w = pt_linear_layout(dev, &one, backward, NULL);
		most = w.bytes > most ? w.bytes : most;
	}
	return most;
}

/* Terms packed by one launch. */
#define PACKED 16

struct packed {
	struct {
		const float *a, *b;
		int64_t a_to, b_to, r, width, n, ld;	/* elements from the start of the areas; r padded to width */
		float scale;
	} term[PACKED];
};

/*
 * A of the terms below each other, B of each linear's side by side and scaled;
 * where ranks are padded the last term of a linear writes the zeros.
 */
template <typename T> __global__ static void pack(const __grid_constant__ struct packed p, T *a, T *b, T *at, int k, int ranks)
{
	const auto &t = p.term[blockIdx.y];
	int step = gridDim.x * BLOCK, first = blockIdx.x * BLOCK + threadIdx.x, width = (int)t.width, r = (int)t.r;

#pragma unroll 4
	for (int i = first; i < width * k; i += step)
		a[t.a_to + i] = pt_t<T>(i < r * k ? t.a[i] : 0);
	for (int i = first; i < width * k && at; i += step) {
		int row = i / width, col = i % width;

		at[(int64_t)row * ranks + t.a_to / k + col] = pt_t<T>(col < r ? t.a[(int64_t)col * k + row] : 0);
	}
#pragma unroll 4
	for (int i = first; i < (int)t.n * width; i += step) {
		int row = i / width, col = i % width;

		b[t.b_to + row * t.ld + col] = pt_t<T>(col < r ? t.scale * t.b[(int64_t)row * r + col] : 0);
	}
}

/* u of one term out of that of the group. */
template <typename T> __global__ static void take_columns(T *dst, const T *src, int64_t ld, int64_t rows, int64_t cols)
{
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x, row = i / cols;

	if (row < rows)
		dst[i] = src[row * ld + i % cols];
}

/* y[i,j] += scale * bias[j] */
template <typename T> __global__ static void add_bias(T *y, int64_t n, int64_t c, const float *bias, float scale)
{
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;

	if (i < n * c)
		y[i] = pt_t<T>(pt_f(y[i]) + scale * bias[i % c]);
}

static int bias_pass(struct pt_device *dev, enum pt_dtype type, void *y, int64_t n, int64_t c, const float *bias,
		     float scale, struct pt_error *err)
{
	PT_ACT_TYPE(type, (add_bias<T><<<pt_grid(n * c, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>((T *)y, n, c, bias, scale)));
	return pt_cuda_launched(err, "bias");
}

static int pack_launch(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w,
		       const struct packed *p, int n, struct pt_error *err)
{
	int64_t most = 0;

	/* Elements of a term are counted in an int there. */
	for (int i = 0; i < n; i++) {
		int64_t size = p->term[i].width * (p->term[i].n > g->k ? p->term[i].n : g->k);

		most = size > most ? size : most;
	}
	if (most > INT32_MAX - (1 << 24))
		return pt_cuda_error(err, PT_DEVICE, "a low-rank term of more than 2^31 elements");
	PT_ACT_TYPE(g->type, (pack<T><<<dim3(pt_grid(most, BLOCK * 4), (unsigned)n), BLOCK, 0, pt_cuda_stream(dev)>>>(
		*p, (T *)w->a, (T *)w->b, (T *)w->at, (int)g->k, (int)w->ranks)));
	return pt_cuda_launched(err, "low-rank terms");
}

/* A and B of all terms in the type of activations. */
int pt_linear_pack(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w,
		      struct pt_error *err)
{
	struct packed p;
	int64_t row = 0, b = 0;
	int n = 0;

	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t ld = pt_linear_rank(l), col = 0;

		for (int t = 0; t < l->nterms; t++) {
			const struct pt_k_lowrank *m = &l->term[t];
			int64_t width = t + 1 < l->nterms ? m->r : ld - col;

			p.term[n] = { m->a, m->b, (row + col) * g->k, b + col, m->r, width, l->n, ld, m->scale };
			col += m->r;
			if (++n < PACKED)
				continue;
			if (pack_launch(dev, g, w, &p, n, err))
				return err->status;
			n = 0;
		}
		row += ld;
		b += l->n * ld;
	}
	return n ? pack_launch(dev, g, w, &p, n, err) : 0;
}

int pt_linear_drop(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_lowrank *m, const void *x,
		  void *y, bool acc, struct pt_error *err)
{
	struct pt_k_dropout d = { x, y, g->type, g->rows, g->k, g->rng, m->site, m->dropout, acc };

	return pt_cuda_dropout(dev, &d, err);
}

/* u [N,ranks] of all terms; terms with dropout after the one product for all, over their columns. */
static int all_u(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, struct pt_error *err)
{
	struct pt_product p = { g->rows, w->ranks, g->k, g->x, w->a, NULL, w->u, g->type, g->type, g->k, g->k, w->ranks,
				false, true, 1, 0 };
	size_t size = pt_cuda_size(g->type);
	int64_t base = 0;

	if (pt_cuda_product(dev, &p, err))
		return err->status;
	for (int i = 0; i < g->n; base += pt_linear_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r) {
			const struct pt_k_lowrank *m = &l->term[t];
			char *u = w->u + (size_t)at * size;

			if (m->dropout > 0) {
				struct pt_product q = { g->rows, m->r, g->k, w->x, w->a + (size_t)(at * g->k) * size,
							NULL, u, g->type, g->type, g->k, g->k, w->ranks, false, true, 1, 0 };

				if (pt_linear_drop(dev, g, m, g->x, w->x, false, err) || pt_cuda_product(dev, &q, err))
					return err->status;
			}
			if (m->u && m->r && g->rows)
				PT_ACT_TYPE(g->type, (take_columns<T><<<pt_grid(g->rows * m->r, BLOCK), BLOCK, 0,
						      pt_cuda_stream(dev)>>>((T *)m->u, (const T *)u, w->ranks, g->rows,
									     m->r)));
		}
	}
	return pt_cuda_launched(err, "low-rank terms");
}

/* The weight in the type of activations. */
int pt_linear_weight(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		     const struct pt_linear_work *w, const void **out, struct pt_error *err)
{
	*out = l->w;
	if (l->wtype == g->type)
		return 0;
	*out = w->w;
	return pt_cuda_convert(dev, w->w, g->type, l->w, l->wtype, (size_t)(l->n * g->k), err);
}

static int one_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		   const struct pt_linear_work *w, const struct pt_linear_place *at, struct pt_error *err)
{
	struct pt_product p = { g->rows, l->n, g->k, g->x, NULL, NULL, l->y, g->type, g->type, g->k,
				l->transposed ? l->n : g->k, l->n, false, !l->transposed, 1, l->acc_y ? 1.0f : 0.0f };
	int64_t r = pt_linear_rank(l);

	if (r) {
		struct pt_product up = { g->rows, l->n, r, w->u + at->u, w->b + at->b, NULL, l->y, g->type, g->type, w->ranks,
					 r, l->n, false, true, 1, p.beta };

		if ((g->type != PT_BF16 ||
		     !pt_lora_up(dev, g->rows, l->n, r, up.a, w->ranks, up.b, l->y, l->n, l->acc_y)) &&
		    pt_cuda_product(dev, &up, err))
			return err->status;
		p.beta = 1;
	}
	if (pt_linear_weight(dev, g, l, w, &p.b, err))
		return err->status;
	/* In the product, so that the sum is rounded once. */
	p.bias = l->bias;
	if (l->bias && l->btype != g->type) {
		p.bias = w->bias;
		if (pt_cuda_convert(dev, w->bias, g->type, l->bias, l->btype, (size_t)l->n, err))
			return err->status;
	}
	if (pt_cuda_product(dev, &p, err))
		return err->status;
	for (int t = 0; t < l->nterms; t++)
		if (l->term[t].bias && bias_pass(dev, g->type, l->y, g->rows, l->n, l->term[t].bias, l->term[t].scale, err))
			return err->status;
	return 0;
}

/* Forward in three launches; false: not for this group. all: with what is done to the outputs. */
static bool mixed_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_linear_work *w, bool *all)
{
	struct pt_mix_down d = { g->rows, g->k, w->ranks, g->x, w->a, w->u, 0, { { 0 } } };
	struct pt_linear_place at = { 0 };
	struct pt_mix m = { 0 };

	m.m = g->rows;
	m.outs = g->n;
	m.act = g->act;
	m.z = g->z;
	for (int i = 0; i < g->n; pt_linear_next(g, &g->lin[i++], &at)) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t r = pt_linear_rank(l);

		if (l->bias || l->acc_y || l->nterms > 1 || (l->nterms && l->term->bias))
			return false;
		m.out[i] = { l->n, l->y, m.parts, l->turn };
		m.part[m.parts++] = { g->x, l->w, g->k, g->k, g->k };
		if (r)
			m.part[m.parts++] = { w->u + at.u, w->b + at.b, r, w->ranks, r };
		if (r && l->term->u)
			d.copy[d.copies++] = { at.rank, l->term->r, l->term->u };
	}
	if (!pt_mix_down(dev, &d))
		return false;
	*all = pt_mix(dev, &m);
	if (*all)
		return true;
	m.z = NULL;
	for (int i = 0; i < g->n; i++)
		m.out[i].turn = NULL;
	return pt_mix(dev, &m);
}

/* What is done to the outputs. */
static int then(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct pt_k_act act = { g->act, g->rows * g->lin->n, g->type, g->lin[0].y };

	for (int i = 0; i < g->n; i++) {
		struct pt_k_rope turn;

		if (!g->lin[i].turn)
			continue;
		turn = *g->lin[i].turn;
		turn.n = g->rows;
		turn.type = g->type;
		turn.x = g->lin[i].y;
		if (pt_cuda_rope(dev, &turn, err))
			return err->status;
	}
	if (!g->z)
		return 0;
	act.u = g->lin[1].y;
	act.y = g->z;
	return pt_cuda_act_fwd(dev, &act, err);
}

int pt_cuda_linear(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct pt_linear_work w = pt_linear_layout(dev, g, false, g->scratch);
	struct pt_linear_place at = { 0 };
	bool all;

	if (!g->rows)
		return 0;
	if (w.ranks && pt_linear_pack(dev, g, &w, err))
		return err->status;
	if (pt_linear_mixes(dev, g, &w) && mixed_fwd(dev, g, &w, &all))
		return pt_cuda_launched(err, "linears") ? err->status : all ? 0 : then(dev, g, err);
	if (w.ranks && all_u(dev, g, &w, err))
		return err->status;
	for (int i = 0; i < g->n; pt_linear_next(g, &g->lin[i++], &at))
		if (one_fwd(dev, g, &g->lin[i], &w, &at, err))
			return err->status;
	return then(dev, g, err);
}

