/* SPDX-License-Identifier: MIT */
/*
 * linear.cu - linears that share one input, with their low-rank terms.
 *
 * The A of all terms of the group are packed into one matrix, so u = A x of
 * all is one product over x; the terms of a linear lie side by side in u, so
 * that their B, scaled, are one product, written before the base's product,
 * which adds to it. Backward mirrors that: du of a linear in one product over
 * dy, dx = du A for all terms, then dy W added. A term with dropout reads its
 * own copy of x. Ranks are padded to multiples of 16 with zeros.
 *
 * In bf16 the skinny products are kernels of our own (lora.h) where shapes
 * fit: dB comes out of the pass over dy that makes du.
 */
#include "device/cuda/lora.h"

#define BLOCK 256

static int64_t padded_rank(const struct pt_k_linear *l)
{
	int64_t r = 0;

	for (int t = 0; t < l->nterms; t++)
		r += l->term[t].r;
	return (r + PT_LORA_RANKS - 1) / PT_LORA_RANKS * PT_LORA_RANKS;
}

/* Where everything of a call stands in its scratch. */
struct work {
	int64_t ranks;			/* of the group */
	char *a;			/* [ranks,K] */
	char *u;			/* [N,ranks]: A x, or its gradient */
	char *b;			/* [outputs,ranks] of each linear */
	char *w;			/* the largest weight of another type */
	char *x;			/* [N,K] x or dx of a term with dropout */
	char *u2;			/* [N,rank]: u where backward was given none */
	char *at;			/* [K,ranks]: a transposed, for backward */
	char *lora;			/* of the kernels of lora.h */
	size_t bytes;
};

static struct work layout(struct pt_device *dev, const struct pt_k_linear_group *g, bool back, void *base)
{
	struct pt_pieces s = { (char *)base, 0 };
	size_t size = pt_cuda_size(g->type), b = 0, w = 0, x = 0, u2 = 0, lora = 0, n;
	struct work k = { 0 };

	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t r = padded_rank(l);

		k.ranks += r;
		b += (size_t)(l->n * r) * size;
		n = back && r ? pt_lora_scratch(dev, g->rows, l->n, r) : 0;
		lora = n > lora ? n : lora;
		if (l->wtype != g->type && (size_t)(l->n * g->k) * size > w)
			w = (size_t)(l->n * g->k) * size;
		for (int t = 0; t < l->nterms; t++) {
			if (l->term[t].dropout > 0)
				x = (size_t)(g->rows * g->k) * size;
			if (back && l->term[t].db && !l->term[t].u && (size_t)(g->rows * l->term[t].r) * size > u2)
				u2 = (size_t)(g->rows * l->term[t].r) * size;
		}
	}
	n = back && k.ranks ? pt_lora_scratch(dev, g->rows, g->k, k.ranks) : 0;
	lora = n > lora ? n : lora;
	k.a = (char *)pt_piece(&s, (size_t)(k.ranks * g->k) * size);
	k.u = (char *)pt_piece(&s, (size_t)(k.ranks * g->rows) * size);
	k.b = (char *)pt_piece(&s, b);
	k.w = (char *)pt_piece(&s, w);
	k.x = (char *)pt_piece(&s, x);
	k.u2 = (char *)pt_piece(&s, u2);
	k.at = back ? (char *)pt_piece(&s, (size_t)(k.ranks * g->k) * size) : NULL;
	k.lora = (char *)pt_piece(&s, lora);
	k.bytes = s.used;
	return k;
}

size_t pt_cuda_linear_scratch(struct pt_device *dev, const struct pt_k_linear_group *g, bool backward)
{
	struct pt_k_linear_group one = *g;
	size_t most = 0;

	/* All rows may go to one expert. */
	for (int e = 0; e < (g->experts ? g->experts : 1); e++) {
		struct work w;

		one.lin = g->lin + e * g->n;
		w = layout(dev, &one, backward, NULL);
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
template <typename T> __global__ static void pack(struct packed p, T *a, T *b, T *at, int64_t k, int64_t ranks)
{
	const auto &t = p.term[blockIdx.y];
	int64_t step = (int64_t)gridDim.x * BLOCK, first = blockIdx.x * (int64_t)BLOCK + threadIdx.x;

	for (int64_t i = first; i < t.width * k; i += step)
		a[t.a_to + i] = pt_t<T>(i < t.r * k ? t.a[i] : 0);
	for (int64_t i = first; i < t.width * k && at; i += step) {
		int64_t row = i / t.width, col = i % t.width;

		at[row * ranks + t.a_to / k + col] = pt_t<T>(col < t.r ? t.a[col * k + row] : 0);
	}
	for (int64_t i = first; i < t.n * t.width; i += step) {
		int64_t row = i / t.width, col = i % t.width;

		b[t.b_to + row * t.ld + col] = pt_t<T>(col < t.r ? t.scale * t.b[row * t.r + col] : 0);
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
template <typename T> __global__ static void add_bias(T *y, int64_t n, int64_t c, const void *bias,
						      enum pt_dtype btype, float scale)
{
	int64_t i = blockIdx.x * (int64_t)BLOCK + threadIdx.x;

	if (i < n * c)
		y[i] = pt_t<T>(pt_f(y[i]) + scale * pt_weight_at(bias, btype, i % c));
}

static int bias_pass(struct pt_device *dev, enum pt_dtype type, void *y, int64_t n, int64_t c, const void *bias,
		     enum pt_dtype btype, float scale, struct pt_error *err)
{
	PT_ACT_TYPE(type, (add_bias<T><<<pt_grid(n * c, BLOCK), BLOCK, 0, pt_cuda_stream(dev)>>>((T *)y, n, c, bias,
												 btype, scale)));
	return pt_cuda_launched(err, "bias");
}

static int pack_launch(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w,
		       const struct packed *p, int n, struct pt_error *err)
{
	int64_t most = 0;

	for (int i = 0; i < n; i++) {
		int64_t size = p->term[i].width * (p->term[i].n > g->k ? p->term[i].n : g->k);

		most = size > most ? size : most;
	}
	PT_ACT_TYPE(g->type, (pack<T><<<dim3(pt_grid(most, BLOCK * 4), (unsigned)n), BLOCK, 0, pt_cuda_stream(dev)>>>(
		*p, (T *)w->a, (T *)w->b, (T *)w->at, g->k, w->ranks)));
	return pt_cuda_launched(err, "low-rank terms");
}

/* A and B of all terms in the type of activations. */
static int pack_terms(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w,
		      struct pt_error *err)
{
	struct packed p;
	int64_t row = 0, b = 0;
	int n = 0;

	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t ld = padded_rank(l), col = 0;

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

/* Where a linear's parts stand in the areas: its first rank, and bytes into u and b. */
struct place {
	int64_t rank;
	size_t u, b;
};

static void next_place(const struct pt_k_linear_group *g, const struct pt_k_linear *l, struct place *at)
{
	int64_t r = padded_rank(l);
	size_t size = pt_cuda_size(g->type);

	at->rank += r;
	at->u += (size_t)r * size;
	at->b += (size_t)(l->n * r) * size;
}

static int drop_x(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_lowrank *m, const void *x,
		  void *y, bool acc, struct pt_error *err)
{
	struct pt_k_dropout d = { x, y, g->type, g->rows, g->k, g->rng, m->site, m->dropout, acc };

	return pt_cuda_dropout(dev, &d, err);
}

/* u [N,ranks] of all terms; terms with dropout after the one product for all, over their columns. */
static int all_u(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w, struct pt_error *err)
{
	struct pt_product p = { g->rows, w->ranks, g->k, g->x, w->a, NULL, w->u, g->type, g->type, g->k, g->k, w->ranks,
				false, true, 1, 0 };
	size_t size = pt_cuda_size(g->type);
	int64_t base = 0;

	if (pt_cuda_product(dev, &p, err))
		return err->status;
	for (int i = 0; i < g->n; base += padded_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r) {
			const struct pt_k_lowrank *m = &l->term[t];
			char *u = w->u + (size_t)at * size;

			if (m->dropout > 0) {
				struct pt_product q = { g->rows, m->r, g->k, w->x, w->a + (size_t)(at * g->k) * size,
							NULL, u, g->type, g->type, g->k, g->k, w->ranks, false, true, 1, 0 };

				if (drop_x(dev, g, m, g->x, w->x, false, err) || pt_cuda_product(dev, &q, err))
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
static int weight_of(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		     const struct work *w, const void **out, struct pt_error *err)
{
	*out = l->w;
	if (l->wtype == g->type)
		return 0;
	*out = w->w;
	return pt_cuda_convert(dev, w->w, g->type, l->w, l->wtype, (size_t)(l->n * g->k), err);
}

static int one_fwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		   const struct work *w, const struct place *at, struct pt_error *err)
{
	struct pt_product p = { g->rows, l->n, g->k, g->x, NULL, NULL, l->y, g->type, g->type, g->k,
				l->transposed ? l->n : g->k, l->n, false, !l->transposed, 1, l->acc_y ? 1.0f : 0.0f };
	int64_t r = padded_rank(l);

	if (r) {
		struct pt_product up = { g->rows, l->n, r, w->u + at->u, w->b + at->b, NULL, l->y, g->type, g->type, w->ranks,
					 r, l->n, false, true, 1, p.beta };

		if ((g->type != PT_BF16 ||
		     !pt_lora_up(dev, g->rows, l->n, r, up.a, w->ranks, up.b, l->y, l->n, l->acc_y)) &&
		    pt_cuda_product(dev, &up, err))
			return err->status;
		p.beta = 1;
	}
	if (weight_of(dev, g, l, w, &p.b, err))
		return err->status;
	if (l->bias && l->btype == g->type)
		p.bias = l->bias;
	if (pt_cuda_product(dev, &p, err) ||
	    (l->bias && !p.bias && bias_pass(dev, g->type, l->y, g->rows, l->n, l->bias, l->btype, 1, err)))
		return err->status;
	for (int t = 0; t < l->nterms; t++)
		if (l->term[t].bias && bias_pass(dev, g->type, l->y, g->rows, l->n, l->term[t].bias, PT_F32,
						 l->term[t].scale, err))
			return err->status;
	return 0;
}

int pt_cuda_linear(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct work w = layout(dev, g, false, g->scratch);
	struct place at = { 0 };

	if (!g->rows)
		return 0;
	if (w.ranks && (pack_terms(dev, g, &w, err) || all_u(dev, g, &w, err)))
		return err->status;
	for (int i = 0; i < g->n; next_place(g, &g->lin[i++], &at))
		if (one_fwd(dev, g, &g->lin[i], &w, &at, err))
			return err->status;
	return 0;
}

/* Gradients of one term: dB += scale dy' u, dA += du' drop(x), dbias; those that lora.h's kernels have not made. */
static int term_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		    const struct pt_k_lowrank *term, const struct work *w, int64_t at, bool have_db, bool have_da,
		    struct pt_error *err)
{
	struct pt_k_lowrank copy = *term;
	const struct pt_k_lowrank *m = &copy;
	size_t size = pt_cuda_size(g->type);
	const void *x = g->x, *u = m->u;
	struct pt_product db = { l->n, m->r, g->rows, l->dy, NULL, NULL, m->db, g->type, PT_F32, l->n, m->r, m->r, true,
				 false, m->scale, 1 };
	struct pt_product da = { m->r, g->k, g->rows, w->u + (size_t)at * size, NULL, NULL, m->da, g->type, PT_F32,
				 w->ranks, g->k, g->k, true, false, 1, 1 };

	if (have_db)
		db.c = copy.db = NULL;
	if (have_da)
		da.c = copy.da = NULL;
	if (m->dropout > 0 && (m->da || (m->db && !u))) {
		if (drop_x(dev, g, m, g->x, w->x, false, err))
			return err->status;
		x = w->x;
	}
	if (m->db && !u) {
		struct pt_product p = { g->rows, m->r, g->k, x, w->a + (size_t)(at * g->k) * size, NULL, w->u2, g->type,
					g->type, g->k, g->k, m->r, false, true, 1, 0 };

		if (pt_cuda_product(dev, &p, err))
			return err->status;
		u = w->u2;
	}
	db.b = u;
	da.b = x;
	if ((m->db && pt_cuda_product(dev, &db, err)) || (m->da && pt_cuda_product(dev, &da, err)) ||
	    (m->dbias && pt_cuda_column_sums(dev, g->type, g->rows, l->n, l->dy, m->scale, m->dbias, err)))
		return err->status;
	return 0;
}

/* Gradients of a linear's own parts, and du of its terms; *have_db: dB of its one term too. */
static int one_bwd(struct pt_device *dev, const struct pt_k_linear_group *g, const struct pt_k_linear *l,
		   const struct work *w, const struct place *at, bool *have_db, struct pt_error *err)
{
	struct pt_product dw = { l->n, g->k, g->rows, l->dy, g->x, NULL, l->dw, g->type, PT_F32, l->n, g->k, g->k, true,
				 false, 1, 1 };
	int64_t r = padded_rank(l);
	struct pt_product du = { g->rows, r, l->n, l->dy, w->b + at->b, NULL, w->u + at->u, g->type, g->type, l->n, r,
				 w->ranks, false, false, 1, 0 };
	struct pt_lora_back k = { g->rows, l->n, r, l->dy, NULL, 0, 0, w->b + at->b, w->u + at->u, w->ranks, w->lora };

	*have_db = false;
	if (l->transposed)
		dw = { g->k, l->n, g->rows, g->x, l->dy, NULL, l->dw, g->type, PT_F32, g->k, l->n, l->n, true, false, 1, 1 };
	if ((l->dw && pt_cuda_product(dev, &dw, err)) ||
	    (l->dbias && pt_cuda_column_sums(dev, g->type, g->rows, l->n, l->dy, 1, l->dbias, err)))
		return err->status;
	if (!r)
		return 0;
	if (l->nterms == 1 && l->term->db && l->term->u) {
		k.u = l->term->u;
		k.ldu = k.ur = l->term->r;
	}
	if (g->type != PT_BF16 || !pt_lora_back(dev, &k))
		return pt_cuda_product(dev, &du, err);
	if (k.u) {
		pt_lora_grad(dev, &k, 0, l->term->r, l->term->scale, false, l->term->db);
		*have_db = true;
	}
	return pt_cuda_launched(err, "low-rank terms");
}

static bool drops(const struct pt_k_linear_group *g)
{
	for (int i = 0; i < g->n; i++)
		for (int t = 0; t < g->lin[i].nterms; t++)
			if (g->lin[i].term[t].dropout > 0)
				return true;
	return false;
}

/* dx += du A of the terms: at once, or one by one where some have dropout. */
static int terms_dx(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w, float *beta,
		    struct pt_error *err)
{
	struct pt_product p = { g->rows, g->k, w->ranks, w->u, w->a, NULL, g->dx, g->type, g->type, w->ranks, g->k,
				g->k, false, false, 1, *beta };
	size_t size = pt_cuda_size(g->type);
	int64_t base = 0;

	if (!w->ranks)
		return 0;
	if (!drops(g)) {
		bool acc = *beta != 0;

		*beta = 1;
		if (g->type == PT_BF16 && pt_lora_up(dev, g->rows, g->k, w->ranks, w->u, w->ranks, w->at, g->dx, g->k, acc))
			return pt_cuda_launched(err, "low-rank terms");
		return pt_cuda_product(dev, &p, err);
	}
	for (int i = 0; i < g->n; base += padded_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r) {
			const struct pt_k_lowrank *m = &l->term[t];

			p.k = m->r;
			p.a = w->u + (size_t)at * size;
			p.b = w->a + (size_t)(at * g->k) * size;
			p.c = m->dropout > 0 ? (void *)w->x : g->dx;
			p.beta = m->dropout > 0 ? 0 : *beta;
			if (pt_cuda_product(dev, &p, err) ||
			    (m->dropout > 0 && drop_x(dev, g, m, w->x, g->dx, *beta != 0, err)))
				return err->status;
			*beta = 1;
		}
	}
	return 0;
}

/* dA of all terms in one pass over x; false where that does not fit. */
static bool all_da(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w)
{
	struct pt_lora_back k = { g->rows, g->k, w->ranks, g->x, w->u, w->ranks, w->ranks, NULL, NULL, 0, w->lora };
	int64_t base = 0;

	if (!w->ranks || g->type != PT_BF16 || drops(g) || !g->x || !pt_lora_back(dev, &k))
		return false;
	for (int i = 0; i < g->n; base += padded_rank(&g->lin[i++])) {
		const struct pt_k_linear *l = &g->lin[i];
		int64_t at = base;

		for (int t = 0; t < l->nterms; at += l->term[t++].r)
			if (l->term[t].da)
				pt_lora_grad(dev, &k, at, l->term[t].r, 1, true, l->term[t].da);
	}
	return true;
}

static bool wants_da(const struct pt_k_linear_group *g)
{
	for (int i = 0; i < g->n; i++)
		for (int t = 0; t < g->lin[i].nterms; t++)
			if (g->lin[i].term[t].da)
				return true;
	return false;
}

/* Gradients of what trains. */
static int own_grads(struct pt_device *dev, const struct pt_k_linear_group *g, const struct work *w, struct pt_error *err)
{
	struct place at = { 0 };
	bool have_db[PT_LORA_MOST], have_da;

	for (int i = 0; i < g->n; next_place(g, &g->lin[i++], &at)) {
		bool db;

		if (one_bwd(dev, g, &g->lin[i], w, &at, &db, err))
			return err->status;
		have_db[i] = db;
	}
	have_da = wants_da(g) && all_da(dev, g, w);
	at = { 0 };
	for (int i = 0; i < g->n; next_place(g, &g->lin[i++], &at)) {
		int64_t rank = at.rank;

		for (int t = 0; t < g->lin[i].nterms; rank += g->lin[i].term[t++].r)
			if (term_bwd(dev, g, &g->lin[i], &g->lin[i].term[t], w, rank, have_db[i], have_da, err))
				return err->status;
	}
	return 0;
}

int pt_cuda_linear_grads(struct pt_device *dev, const struct pt_k_linear_group *g, struct pt_error *err)
{
	struct work w = layout(dev, g, true, g->scratch);
	float beta = g->acc_dx ? 1.0f : 0.0f;

	if (!g->rows)
		return 0;
	if (g->n > PT_LORA_MOST)
		return pt_cuda_error(err, PT_DEVICE, "%d linears of one input; %d are the most", g->n, PT_LORA_MOST);
	if ((w.ranks && pack_terms(dev, g, &w, err)) || own_grads(dev, g, &w, err))
		return err->status;
	if (!g->dx)
		return 0;
	if (terms_dx(dev, g, &w, &beta, err))
		return err->status;
	for (int i = 0; i < g->n; i++) {
		const struct pt_k_linear *l = &g->lin[i];
		struct pt_product p = { g->rows, g->k, l->n, l->dy, NULL, NULL, g->dx, g->type, g->type, l->n,
					l->transposed ? l->n : g->k, g->k, false, l->transposed, 1, beta };

		if (weight_of(dev, g, l, &w, &p.b, err) || pt_cuda_product(dev, &p, err))
			return err->status;
		beta = 1;
	}
	return 0;
}
