/* SPDX-License-Identifier: MIT */
/*
 * device_cuda.c - the GPU against the CPU: operations of language models,
 * forward and backward, on random odd shapes, in f32 and with bf16 activations,
 * twice with the same bytes; a third of the cases on few processors, so that
 * blocks go round their loops and tiles of all widths are taken, and a third
 * without Hopper's code. What the GPU's memory held before is NaN. Skipped where
 * no GPU opens. (Experts, pairs and spans: tensor_experts and tensor_pairs, which
 * run on a GPU by PEFT_TEST_DEVICE.)
 */
#include "device_fix.h"

#include "tensor/ops.h"

#define MAX_LEAVES 24
#define ARENA ((size_t)192 << 20)

static struct pt_error err = PT_ERROR_INIT;
static char no_gpu[2100];
static int slice, slices = 1;		/* PEFT_TEST_SLICE=I/N: of all cases the I-th of each N */
static bool small;			/* PEFT_TEST_SMALL: for tools that make a GPU a thousand times slower */

/* Cases take these devices in turn, beside what PEFT_CUDA takes away for all. */
static const char *const less[] = { "", "sms=3", "sm80" };
enum { GPUS = sizeof less / sizeof *less };
static struct pt_device *gpus[GPUS];

/* One case on one device: leaves made in order, from numbers that depend on the case alone. */
struct side {
	struct pt_device *dev;
	struct pt_run run;
	bool bf16;
	uint64_t seed;
	struct fix_rnd r;
	struct pt_tensor leaf[MAX_LEAVES];
	int n;
	struct pt_rows rows, rows_k;
	int32_t cu[2][16];
	char text[400];
	float *out[MAX_LEAVES + 4];	/* results and gradients on the host */
	int64_t count[MAX_LEAVES + 4];
	int nout;
};

typedef struct pt_tensor *(*side_fn)(struct side *s);

/* A number below n, or below few in small cases. */
static int64_t upto(struct side *s, int64_t n, int64_t few)
{
	return fix_pick(&s->r, small ? few : n);
}

/* Device memory with random numbers of this type that bf16 holds exactly. */
static struct pt_tensor *leaf(struct side *s, enum pt_dtype type, int64_t a, int64_t b, float std, bool grad)
{
	int64_t shape[2] = { a, b }, n = b ? a * b : a;
	struct pt_tensor *t = &s->leaf[s->n];
	float *x = fix_floats(&(struct fix_rnd){ s->seed, (uint64_t)(1000 + 10 * s->n) }, n, std);
	size_t size = pt_dtype_size(type);
	void *raw = malloc((size_t)n * size + 1), *mem;

	assert_true(s->n++ < MAX_LEAVES);
	for (int64_t i = 0; i < n; i++)
		x[i] = pt_bf16_to_f32(pt_f32_to_bf16(x[i]));
	pt_from_f32(raw, type, x, (size_t)n);
	mem = pt_run_upload(&s->run, raw, (size_t)n * size);
	assert_ok(pt_run_check(&s->run, &err), &err);
	pt_tensor_init(t, type, b ? 2 : 1, shape, mem);
	t->needs_grad = grad;
	free(raw);
	free(x);
	return t;
}

/* An input like an activation of the run. */
static struct pt_tensor *input(struct side *s, int64_t a, int64_t b, const struct pt_rows *rows)
{
	struct pt_tensor *t = leaf(s, s->run.act_type, a, b, 1, true);

	t->grad_type = t->type;
	t->rows = rows;
	return t;
}

/* A weight as files hold it, or a trainable one in f32. */
static struct pt_tensor *weight(struct side *s, int64_t a, int64_t b, float std)
{
	int kind = (int)fix_pick(&s->r, 5);

	if (kind > 2)
		return leaf(s, PT_F32, a, b, std, true);
	return leaf(s, (enum pt_dtype)kind, a, b, std, false);
}

static void pack(struct side *s, struct pt_rows *r, int32_t *cu, int batch, const int *len, int tail)
{
	int64_t n = 0;
	int32_t *pos;
	uint64_t *key;

	*r = (struct pt_rows){ .batch = batch, .host_cu = cu };
	cu[0] = 0;
	for (int b = 0; b < batch; b++) {
		cu[b + 1] = cu[b] + len[b];
		r->max_len = len[b] > r->max_len ? len[b] : r->max_len;
	}
	n = r->n = cu[batch] + tail;
	pos = calloc((size_t)n + 1, sizeof *pos);
	key = calloc((size_t)n + 1, sizeof *key);
	for (int b = 0; b < batch; b++)
		for (int i = cu[b]; i < cu[b + 1]; i++) {
			pos[i] = i - cu[b];
			key[i] = pt_rng_mix(s->seed, (uint64_t)b);
		}
	r->cu = pt_run_upload(&s->run, cu, (size_t)(batch + 1) * sizeof *cu);
	r->pos = pt_run_upload(&s->run, pos, (size_t)n * sizeof *pos);
	r->key = pt_run_upload(&s->run, key, (size_t)n * sizeof *key);
	free(pos);
	free(key);
}

static void some_rows(struct side *s, int most)
{
	int len[15], batch = 1 + (int)upto(s, 5, 3);

	for (int b = 0; b < batch; b++)
		len[b] = (int)fix_pick(&s->r, most);
	pack(s, &s->rows, s->cu[0], batch, len, (int)fix_pick(&s->r, 5));
}

static void keep(struct side *s, const void *dev_data, enum pt_dtype type, int64_t n)
{
	size_t size = pt_dtype_size(type);
	void *raw = malloc((size_t)n * size + 1);
	float *x = malloc(((size_t)n + 1) * sizeof *x);

	assert_ok(s->dev->download(s->dev, raw, dev_data, (size_t)n * size, &err), &err);
	pt_to_f32(x, raw, type, (size_t)n);
	free(raw);
	s->count[s->nout] = n;
	s->out[s->nout++] = x;
}

/* The case fn on a device: its output and all gradients on the host. */
static void run_side(struct side *s, struct pt_device *dev, bool bf16, uint64_t seed, side_fn fn)
{
	struct pt_tensor *y, *w;
	int64_t n;

	memset(s, 0, sizeof *s);
	s->dev = dev;
	s->bf16 = bf16;
	s->seed = seed;
	s->r = (struct fix_rnd){ seed, 0 };
	assert_ok(pt_run_init(&s->run, dev, ARENA, &err), &err);
	/* Not for initcheck, which is to know what nobody wrote. */
	if (dev->bf16_act && !small)
		assert_ok(dev->k->fill(dev, PT_BF16, s->run.arena.base, ARENA / 2, NAN, &err), &err);
	pt_run_compute(&s->run, bf16);
	if (!bf16 || !dev->bf16_act)
		s->run.round_bf16 = false;
	s->run.record = s->run.train = true;
	y = fn(s);
	assert_ok(pt_run_check(&s->run, &err), &err);
	n = pt_tensor_count(y);
	keep(s, y->data, y->type, n);
	if (y->needs_grad) {
		w = leaf(s, PT_F32, n, 0, 1, false);
		assert_ok(pt_backward(&s->run, y, w->data, &err), &err);
	}
	for (int i = 0; i < s->n; i++)
		if (s->leaf[i].grad)
			keep(s, s->leaf[i].grad, s->leaf[i].grad_type, pt_tensor_count(&s->leaf[i]));
	pt_run_release(&s->run);
}

static void free_side(struct side *s)
{
	while (s->nout)
		free(s->out[--s->nout]);
}

static void compare(const struct side *a, const struct side *b, double tol, const char *what)
{
	if (a->nout != b->nout)
		fail_msg("%s: %d results, not %d", what, b->nout, a->nout);
	for (int i = 0; i < a->nout; i++) {
		double off;

		assert_int_equal(a->count[i], b->count[i]);
		off = fix_off(b->out[i], a->out[i], a->count[i]);
		if (!(off <= tol))
			fail_msg("%s, %s: result %d of %lld numbers is off by %.3g", what, a->text, i,
				 (long long)a->count[i], off);
	}
}

/* Cases of fn: f32 within tol, bf16 within 2^-6 of the largest; a second run has the same bytes. */
static void against_cpu(side_fn fn, const char *name, int cases, double tol)
{
	struct pt_device *cpu;

	if (*no_gpu) {
		print_message("# skipped: %s\n", no_gpu);
		skip();
	}
	assert_ok(pt_device_open(&cpu, "cpu", NULL, &err), &err);
	for (int i = slice; i < cases; i += slices) {
		uint64_t seed = pt_rng_mix_str((uint64_t)i, name);
		struct pt_device *gpu = gpus[i % GPUS];
		struct side want, got;
		char what[100];

		run_side(&want, cpu, false, seed, fn);
		for (int bf16 = 0; bf16 < 2; bf16++) {
			struct side again;

			snprintf(what, sizeof what, "%s %d, %s, %s", name, i, bf16 ? "bf16" : "f32", less[i % GPUS]);
			run_side(&got, gpu, bf16, seed, fn);
			compare(&want, &got, bf16 ? 0x1p-6 : tol, what);
			if (!small) {
				run_side(&again, gpu, bf16, seed, fn);
				for (int j = 0; j < got.nout; j++)
					if (memcmp(got.out[j], again.out[j], (size_t)got.count[j] * sizeof(float)))
						fail_msg("%s, %s: result %d differs from run to run", what, got.text, j);
				free_side(&again);
			}
			free_side(&got);
		}
		free_side(&want);
	}
	pt_device_close(cpu);
}

static struct pt_tensor *linears(struct side *s)
{
	int64_t n = 1 + upto(s, 300, 40), k = 1 + upto(s, 200, 40);
	struct pt_linear lin[3];
	struct pt_lowrank term[6];
	struct pt_tensor *x, *y[3], *sum = NULL;
	int count = 1 + (int)fix_pick(&s->r, 3), at = 0, len = (int)n;
	int64_t out = 1 + upto(s, 150, 40);
	bool plain = fix_once_in(&s->r, 2);	/* weights of bf16 and terms, what can be one product */

	if (plain || fix_once_in(&s->r, 2)) {
		k = (k + 15) / 16 * 16;
		out = (out + 15) / 16 * 16;
	}
	if (plain) {
		n += fix_pick(&s->r, 2) * 256;
		k += fix_pick(&s->r, 2) * (small ? 72 : 424);
		out += fix_pick(&s->r, 2) * (small ? 184 : 392);
		len = (int)n;
	}
	pack(s, &s->rows, s->cu[0], 1, &len, 0);
	x = input(s, n, k, &s->rows);
	for (int i = 0; i < count; i++) {
		bool t = !plain && fix_once_in(&s->r, 3);

		lin[i] = (struct pt_linear){ .transposed = t, .term = term + at, .nterms = (int)fix_pick(&s->r, 3) };
		lin[i].w = plain ? leaf(s, PT_BF16, out, k, 0.1f, false) : weight(s, t ? k : out, t ? out : k, 0.1f);
		if (plain)
			lin[i].nterms = lin[i].nterms > 0;
		else if (fix_once_in(&s->r, 2))
			lin[i].bias = weight(s, out, 0, 1);
		for (int j = 0; j < lin[i].nterms; j++, at++) {
			int64_t r = 1 + fix_pick(&s->r, 20);

			if (plain && fix_once_in(&s->r, 2))
				r = (r + 7) / 8 * 8;
			term[at] = (struct pt_lowrank){ .scale = 0.5f, .site = (uint64_t)at,
				.dropout = !plain && fix_once_in(&s->r, 3) ? 0.25f : 0 };
			term[at].a = leaf(s, PT_F32, r, k, 0.1f, true);
			term[at].b = leaf(s, PT_F32, out, r, 0.3f, true);
			if (!plain && fix_once_in(&s->r, 3))
				term[at].bias = leaf(s, PT_F32, out, 0, 1, true);
		}
	}
	snprintf(s->text, sizeof s->text, "%d of [%lld,%lld] on %lld rows, %d terms%s", count, (long long)out, (long long)k,
		 (long long)n, at, plain ? ", plain" : "");
	if (pt_op_linear_group(&s->run, x, lin, count, y))
		return NULL;
	for (int i = 0; i < count; i++)
		sum = sum ? pt_op_add(&s->run, sum, y[i]) : y[i];
	return sum;
}

/* A linear of n outputs as all-linear LoRA has it. */
static struct pt_linear with_term(struct side *s, struct pt_lowrank *term, int64_t n, int64_t k)
{
	struct pt_linear lin = { .w = leaf(s, PT_BF16, n, k, 0.03f, false), .term = term, .nterms = fix_once_in(&s->r, 8) ? 0 : 1 };
	int64_t r = fix_once_in(&s->r, 3) ? 8 : 16;

	*term = (struct pt_lowrank){ .scale = 0.5f, .a = leaf(s, PT_F32, r, k, 0.1f, true),
		.b = leaf(s, PT_F32, n, r, 0.1f, true) };
	return lin;
}

/* What is made of linears' outputs in their own call: a gated unit, or rotated queries and keys for an attention. */
static struct pt_tensor *units(struct side *s)
{
	int len[3] = { 200 + (int)upto(s, 300, 60), 1, (int)upto(s, 200, 60) }, d = fix_once_in(&s->r, 2) ? 64 : 128;
	int g = 1 + (int)upto(s, 2, 1), heads = g * (1 + (int)fix_pick(&s->r, 2));
	int64_t k = 16 * (1 + upto(s, 20, 6)), n = 8 * (1 + upto(s, 60, 40));
	struct pt_rope rope = { .positions = 600, .rot_dim = fix_once_in(&s->r, 4) ? d / 2 : d };
	enum pt_act act = fix_once_in(&s->r, 2) ? PT_ACT_SILU : fix_once_in(&s->r, 2) ? PT_ACT_GELU_TANH : PT_ACT_GELU;
	struct pt_attn a = { .heads = heads, .kv_heads = g, .head_dim = d, .scale = 1 / sqrtf((float)d), .causal = true };
	struct pt_turn turn[2] = { { &rope, heads, d }, { &rope, g, d } };
	struct pt_tensor *x, *y[3];
	struct pt_linear lin[3];
	struct pt_lowrank term[3];

	pack(s, &s->rows, s->cu[0], 3, len, (int)fix_pick(&s->r, 5));
	x = input(s, s->rows.n, k, &s->rows);
	if (fix_once_in(&s->r, 2)) {
		for (int i = 0; i < 2; i++)
			lin[i] = with_term(s, &term[i], n, k);
		snprintf(s->text, sizeof s->text, "gated, act %d, [%lld,%lld] on %lld rows", act, (long long)n, (long long)k,
			 (long long)s->rows.n);
		return pt_op_linear_glu(&s->run, x, lin, act, y);
	}
	rope.cos = leaf(s, PT_F32, rope.positions * rope.rot_dim / 2, 0, 0.7f, false)->data;
	rope.sin = leaf(s, PT_F32, rope.positions * rope.rot_dim / 2, 0, 0.7f, false)->data;
	for (int i = 0; i < 3; i++) {
		lin[i] = with_term(s, &term[i], (i ? g : heads) * d, k);
		lin[i].turn = i < 2 ? &turn[i] : NULL;
	}
	snprintf(s->text, sizeof s->text, "%d/%d heads of %d, %d rotated, of %lld inputs on %lld rows", heads, g, d, rope.rot_dim,
		 (long long)k, (long long)s->rows.n);
	return pt_op_linear_group(&s->run, x, lin, 3, y) ? NULL : pt_op_attn(&s->run, y[0], y[1], y[2], &a);
}

static struct pt_tensor *attention(struct side *s)
{
	static const int dims[] = { 8, 16, 24, 32, 64, 64, 80, 96, 128, 128, 20, 160, 256 };
	int d = dims[fix_pick(&s->r, 13)], g = 1 + (int)upto(s, 3, 2), h = g * (1 + (int)upto(s, 3, 2));
	struct pt_attn a = { .heads = h, .kv_heads = g, .head_dim = d, .scale = 1 / sqrtf((float)d) };
	bool cross = fix_once_in(&s->r, 4);
	struct pt_tensor *q, *k, *v;
	struct pt_rows *rk = &s->rows;

	some_rows(s, fix_once_in(&s->r, 3) ? (small ? 220 : 400) : small ? 50 : 90);
	if (cross) {
		int len[15];

		for (int b = 0; b < s->rows.batch; b++)
			len[b] = 1 + (int)upto(s, 100, 50);
		pack(s, &s->rows_k, s->cu[1], s->rows.batch, len, 3);
		rk = &s->rows_k;
	}
	a.causal = fix_once_in(&s->r, 2);
	a.window = fix_once_in(&s->r, 3) ? 2 + (int)fix_pick(&s->r, 100) : 0;
	a.softcap = fix_once_in(&s->r, 3) ? 5 : 0;
	a.dropout = fix_once_in(&s->r, 6) ? 0.2f : 0;
	q = input(s, s->rows.n, (int64_t)h * d, &s->rows);
	k = input(s, rk->n, (int64_t)g * d, rk);
	v = input(s, rk->n, (int64_t)g * d, rk);
	if (fix_once_in(&s->r, 5)) {
		a.bias = PT_BIAS_BUCKETS;
		a.buckets = 32;
		a.max_distance = 128;
		a.bidirectional = fix_once_in(&s->r, 2);
		a.bias_table = leaf(s, PT_F32, 32, h, 1, true);
	} else if (fix_once_in(&s->r, 5)) {
		a.bias = fix_once_in(&s->r, 2) ? PT_BIAS_SLOPES : PT_BIAS_KEY_SLOPES;
		a.bias_table = leaf(s, PT_F32, h, 0, 0.1f, false);
	}
	snprintf(s->text, sizeof s->text, "%d/%d heads of %d, %d sequences, longest %d%s, causal %d, window %d, cap %g, bias %d, dropout %g",
		 h, g, d, s->rows.batch, s->rows.max_len, cross ? " (cross)" : "", a.causal, a.window,
		 (double)a.softcap, a.bias, (double)a.dropout);
	return pt_op_attn(&s->run, q, k, v, &a);
}

static struct pt_tensor *norms(struct side *s)
{
	int64_t n = 1 + upto(s, 70, 12), c = 1 + fix_pick(&s->r, fix_once_in(&s->r, 4) ? 14000 : 900);
	struct pt_norm norm = { .kind = (enum pt_norm_kind)fix_pick(&s->r, 3), .eps = 1e-5f };
	struct pt_tensor *x, *d, *sum, *y;
	bool same = fix_once_in(&s->r, 2);

	if (fix_once_in(&s->r, 2))
		c = (c + 7) / 8 * 8;
	x = input(s, n, c, NULL);
	d = input(s, n, c, NULL);
	norm.w = same ? leaf(s, PT_F32, c, 0, 1, true) : leaf(s, PT_BF16, c, 0, 1, false);
	if (norm.kind == PT_NORM_LAYER)
		norm.b = same || fix_pick(&s->r, 3) == 0 ? leaf(s, PT_F32, c, 0, 1, true)
							 : leaf(s, PT_BF16, c, 0, 1, false);
	snprintf(s->text, sizeof s->text, "kind %d of [%lld,%lld]", norm.kind, (long long)n, (long long)c);
	if (fix_once_in(&s->r, 2))
		return pt_op_norm(&s->run, x, &norm);
	y = pt_op_add_norm(&s->run, x, d, &norm, &sum);
	return y ? pt_op_add(&s->run, y, sum) : NULL;
}

static struct pt_tensor *points(struct side *s)
{
	int64_t d = 2 * (1 + fix_pick(&s->r, 70)), h = 1 + fix_pick(&s->r, 4), c = d * h, positions = 200;
	enum pt_act act = (enum pt_act)fix_pick(&s->r, 9);
	struct pt_rope rope = { .rot_dim = (int)(fix_once_in(&s->r, 2) ? d : d / 2 / 2 * 2), .positions = positions };
	struct pt_tensor *x, *u, *w, *b;
	int32_t idx[4] = { 0 };

	some_rows(s, small ? 20 : 50);
	if (s->rows.n < 8)
		pack(s, &s->rows, s->cu[0], 2, (int[]){ 7, 4 }, 1);
	rope.cos = leaf(s, PT_F32, positions * d, 0, 1, false)->data;
	rope.sin = leaf(s, PT_F32, positions * d, 0, 1, false)->data;
	x = input(s, s->rows.n, c, &s->rows);
	u = input(s, s->rows.n, c, &s->rows);
	w = leaf(s, PT_F32, c, 0, 1, true);
	b = leaf(s, PT_F32, c, 0, 1, true);
	snprintf(s->text, sizeof s->text, "act %d, [%lld,%lld] of %lld heads, rotated %d", act, (long long)s->rows.n,
		 (long long)c, (long long)h, rope.rot_dim);
	switch (fix_pick(&s->r, 7)) {
	case 0:
		return pt_op_glu(&s->run, x, u, act);
	case 1:
		return pt_op_act(&s->run, x, act);
	case 2:
		x = pt_op_scale(&s->run, x, 0.75f);
		return rope.rot_dim ? pt_op_rope(&s->run, x, (int)h, (int)d, &rope) : x;
	case 3:
		return pt_op_dropout(&s->run, pt_op_affine(&s->run, x, w, b), 0.3f, 5);
	case 4:
		return pt_op_rescale(&s->run, x, w, leaf(s, PT_F32, c, 0, 1, false)->data, fix_once_in(&s->r, 2) ? b : NULL);
	case 5:
		return pt_op_mean(&s->run, pt_op_add(&s->run, x, u), &s->rows);
	default:
		for (int i = 0; i < 4; i++)
			idx[i] = i == 2 ? 7 : 7 - 2 * i;
		return pt_op_gather(&s->run, x, pt_run_upload(&s->run, idx, sizeof idx), 4, NULL);
	}
}

static const int32_t *ids_of(struct side *s, int64_t n, int64_t below)
{
	int32_t *v = malloc(((size_t)n + 1) * sizeof *v);
	const int32_t *d;

	for (int64_t i = 0; i < n; i++)
		v[i] = (int32_t)fix_pick(&s->r, below);
	d = pt_run_upload(&s->run, v, (size_t)n * sizeof *v);
	free(v);
	return d;
}

static struct pt_tensor *losses(struct side *s)
{
	int64_t v = 2 + (fix_once_in(&s->r, 3) ? upto(s, 5000, 900) : upto(s, 300, 100)), c = 1 + upto(s, 150, 30), n, l;
	struct pt_lowrank term = { .scale = 0.5f, .site = 3, .dropout = fix_once_in(&s->r, 2) ? 0.2f : 0 };
	struct pt_nll nll = { .scale = 1 };
	struct pt_tensor *x;
	int32_t *row;

	some_rows(s, small ? 25 : 60);
	n = s->rows.n;
	l = n ? fix_pick(&s->r, n) : 0;
	l = l ? l : n;
	x = input(s, n, c, &s->rows);
	nll.head.w = weight(s, v, c, 0.2f);
	if (fix_once_in(&s->r, 2))
		nll.head.bias = leaf(s, PT_F32, v, 0, 1, true);
	if (fix_once_in(&s->r, 2)) {
		term.a = leaf(s, PT_F32, 4, c, 0.2f, true);
		term.b = leaf(s, PT_F32, v, 4, 0.2f, true);
		nll.head.term = &term;
		nll.head.nterms = 1;
	}
	nll.cap = fix_once_in(&s->r, 3) ? 3 : 0;
	nll.smoothing = fix_once_in(&s->r, 3) ? 0.1f : 0;
	nll.rows = l;
	row = calloc((size_t)l + 1, sizeof *row);
	for (int64_t i = 0; i < l; i++)
		row[i] = (int32_t)(n - 1 - i);
	nll.row = pt_run_upload(&s->run, row, (size_t)l * sizeof *row);
	free(row);
	nll.label = ids_of(s, l, v);
	snprintf(s->text, sizeof s->text, "%lld of %lld rows of %lld, %lld tokens, cap %g, smoothing %g, %d terms, dropout %g",
		 (long long)l, (long long)n, (long long)c, (long long)v, (double)nll.cap, (double)nll.smoothing,
		 nll.head.nterms, (double)term.dropout);
	return pt_op_token_nll(&s->run, x, &nll);
}

static struct pt_tensor *tables(struct side *s)
{
	int64_t v = 1 + fix_pick(&s->r, 60), c = 1 + fix_pick(&s->r, 300);
	bool t = fix_once_in(&s->r, 3);
	struct pt_class cl = { .kind = (enum pt_class_loss)fix_pick(&s->r, 3), .smoothing = 0.1f };
	struct pt_tensor *x;

	if (fix_once_in(&s->r, 2)) {
		some_rows(s, 70);
		snprintf(s->text, sizeof s->text, "embedding [%lld,%lld]", (long long)v, (long long)c);
		return pt_op_embed(&s->run, leaf(s, PT_F32, t ? c : v, t ? v : c, 1, true), t,
				   ids_of(s, s->rows.n, v), &s->rows, 1.5f, fix_once_in(&s->r, 2) ? 0 : -1);
	}
	x = input(s, v, c, NULL);
	cl.cls = ids_of(s, v, c);
	cl.target = leaf(s, PT_F32, v, c, 1, false)->data;
	snprintf(s->text, sizeof s->text, "class loss %d [%lld,%lld]", cl.kind, (long long)v, (long long)c);
	return pt_op_class_loss(&s->run, x, &cl);
}

static void test_linears(void **state)
{
	(void)state;
	against_cpu(linears, "linear", 60, 2e-5);
}

static void test_units(void **state)
{
	(void)state;
	against_cpu(units, "unit", 40, 3e-5);
}

static void test_attention(void **state)
{
	(void)state;
	against_cpu(attention, "attention", 80, 2e-5);
}

static void test_norms(void **state)
{
	(void)state;
	against_cpu(norms, "norm", 40, 1e-5);
}

static void test_points(void **state)
{
	(void)state;
	against_cpu(points, "point", 80, 1e-5);
}

static void test_losses(void **state)
{
	(void)state;
	against_cpu(losses, "loss", 50, 3e-5);
}

static void test_tables(void **state)
{
	(void)state;
	against_cpu(tables, "table", 40, 1e-5);
}

static int open_gpu(int i)
{
	const char *all = getenv("PEFT_CUDA");
	char was[200], now[250];
	int status;

	snprintf(was, sizeof was, "%s", all ? all : "");
	snprintf(now, sizeof now, "%s%s%s", was, *was && *less[i] ? "," : "", less[i]);
	setenv("PEFT_CUDA", now, 1);
	status = pt_device_open(&gpus[i], "cuda", NULL, &err);
	setenv("PEFT_CUDA", was, 1);
	return status;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_points),
		cmocka_unit_test(test_norms),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_linears),
		cmocka_unit_test(test_losses),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_attention),
	};
	const char *part = getenv("PEFT_TEST_SLICE");
	int status;

	if (part && (sscanf(part, "%d/%d", &slice, &slices) != 2 || slice < 0 || slice >= slices)) {
		fprintf(stderr, "PEFT_TEST_SLICE is %s, not I/N\n", part);
		return 2;
	}
	small = getenv("PEFT_TEST_SMALL") != NULL;
	cmocka_set_test_filter(getenv("PEFT_TEST_ONLY"));
	if (open_gpu(0))
		snprintf(no_gpu, sizeof no_gpu, "%s", err.msg);
	for (int i = 1; i < GPUS && !*no_gpu; i++) {
		if (open_gpu(i)) {
			fprintf(stderr, "%s\n", err.msg);
			return 1;
		}
	}
	status = cmocka_run_group_tests(tests, NULL, NULL);
	for (int i = 0; i < GPUS; i++)
		pt_device_close(gpus[i]);
	return status;
}
