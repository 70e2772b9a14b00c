/* SPDX-License-Identifier: MIT */
/*
 * device_cpu_attn.c - attention of the CPU against plain loops, on random odd
 * shapes with everything it may be asked for, on every path, and the same bits
 * with any number of threads.
 */
#include "device_fix.h"

#define CASES 100

/* One case: operands on the host, which is the device's memory, too. */
struct attn_case {
	struct pt_k_attn k;
	int32_t cu_q[8], cu_k[8], cu_p[4], index[8], pos[2048];
	uint64_t key[2048];
	int64_t np;
	char text[300];
};

/* Results: o, lse, dq, dk, dv, dbias, dprefix_k, dprefix_v. */
#define RESULTS 8

struct result {
	float *x[RESULTS];
	int64_t n[RESULTS];
};

static const char *const result_name[RESULTS] = { "o", "lse", "dq", "dk", "dv", "dbias", "dprefix_k", "dprefix_v" };

static int length(struct fix_rnd *r, bool small)
{
	switch (fix_pick(r, 6)) {
	case 0:
		return 0;
	case 1:
		return 1;
	case 2:
		return small ? 7 : 90 + (int)fix_pick(r, 130);
	default:
		return 2 + (int)fix_pick(r, small ? 12 : 40);
	}
}

static void make_case(struct attn_case *c, uint64_t seed, int cases)
{
	static const int dims[] = { 32, 8, 64, 1, 5, 16, 33, 24, 96, 128 };
	struct fix_rnd r = { pt_rng_mix(17, seed), 0 };
	bool small = seed < (uint64_t)cases / 2, same;
	struct pt_k_attn *k = &c->k;
	int64_t cq, ck;

	memset(c, 0, sizeof *c);
	k->batch = 1 + (int)fix_pick(&r, 5);
	k->kv_heads = 1 + (int)fix_pick(&r, 3);
	k->heads = k->kv_heads * (1 + (int)fix_pick(&r, 3));
	k->head_dim = dims[fix_pick(&r, 10)];
	same = !fix_once_in(&r, 3);
	for (int b = 0; b < k->batch; b++) {
		int lq = length(&r, small), lk = same ? lq : length(&r, small);

		c->cu_q[b + 1] = c->cu_q[b] + lq;
		c->cu_k[b + 1] = c->cu_k[b] + lk;
	}
	k->nq = c->cu_q[k->batch] + fix_pick(&r, 3);
	k->nk = c->cu_k[k->batch] + fix_pick(&r, 3);
	k->causal = fix_once_in(&r, 2);
	k->window = fix_once_in(&r, 3) ? 1 + (int)fix_pick(&r, 60) : 0;
	k->scale = 1 / sqrtf((float)k->head_dim) * (fix_once_in(&r, 4) ? 2 : 1);
	k->softcap = fix_once_in(&r, 4) ? 1.5f : 0;
	k->bias = (enum pt_attn_bias)(fix_once_in(&r, 3) ? 1 + fix_pick(&r, 3) : 0);
	k->buckets = 8;
	k->max_distance = 20;
	k->bidirectional = fix_once_in(&r, 2);
	k->dropout = fix_once_in(&r, 3) ? 0.3f : 0;
	k->site = 5;
	k->prefixes = fix_once_in(&r, 3) ? 1 + (int)fix_pick(&r, 3) : 0;
	for (int e = 0; e < k->prefixes; e++)
		c->cu_p[e + 1] = c->cu_p[e] + (int)fix_pick(&r, small ? 5 : 110);
	for (int b = 0; b < k->batch; b++)
		c->index[b] = k->prefixes ? (int)fix_pick(&r, k->prefixes + 1) - 1 : -1;
	c->np = c->cu_p[k->prefixes];
	for (int b = 0; b < k->batch; b++) {
		for (int i = c->cu_q[b]; i < c->cu_q[b + 1]; i++) {
			c->pos[i] = i - c->cu_q[b];
			c->key[i] = pt_rng_mix(seed, (uint64_t)b);
		}
	}
	cq = (int64_t)k->heads * k->head_dim;
	ck = (int64_t)k->kv_heads * k->head_dim;
	k->ldq = cq + fix_pick(&r, 2) * 3;
	k->ldo = cq + fix_pick(&r, 2) * 5;
	k->ldk = ck + fix_pick(&r, 2) * 3;
	k->ldv = ck + fix_pick(&r, 2) * 7;
	k->q = fix_floats(&r, k->nq * k->ldq, 1);
	k->k = fix_floats(&r, k->nk * k->ldk, 1);
	k->v = fix_floats(&r, k->nk * k->ldv, 1);
	k->doo = fix_floats(&r, k->nq * k->ldo, 1);
	k->bias_table = fix_floats(&r, (int64_t)k->buckets * k->heads, 1);
	for (int h = 0; h < k->heads && k->bias >= PT_BIAS_SLOPES; h++)
		((float *)(uintptr_t)k->bias_table)[h] = fabsf(k->bias_table[h]) *
			(k->bias == PT_BIAS_SLOPES ? 0.1f : 0.02f);
	k->prefix_k = fix_floats(&r, c->np * ck, 1);
	k->prefix_v = fix_floats(&r, c->np * ck, 1);
	k->cu_q = k->host_cu_q = c->cu_q;
	k->cu_k = k->host_cu_k = c->cu_k;
	k->cu_prefix = k->host_cu_prefix = c->cu_p;
	k->prefix_index = k->host_prefix_index = c->index;
	k->rng = (struct pt_k_rows){ c->key, c->pos };
	k->acc_dq = fix_once_in(&r, 2);
	k->acc_dk = fix_once_in(&r, 2);
	k->acc_dv = fix_once_in(&r, 2);
	snprintf(c->text, sizeof c->text, "case %d: batch %d, q %d, k %d, heads %d/%d of %d, causal %d, window %d, cap %g,"
		 " bias %d, dropout %g, prefixes %d", (int)seed, k->batch, c->cu_q[k->batch], c->cu_k[k->batch],
		 k->heads, k->kv_heads, k->head_dim, k->causal, k->window, (double)k->softcap, (int)k->bias,
		 (double)k->dropout, k->prefixes);
}

static void free_case(struct attn_case *c)
{
	const void *all[] = { c->k.q, c->k.k, c->k.v, c->k.doo, c->k.bias_table, c->k.prefix_k, c->k.prefix_v };

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		free((void *)(uintptr_t)all[i]);
}

/* Scratch of the size asked for, of NaN, and a byte behind it that must stay. */
static void with_scratch(struct pt_device *dev, struct pt_k_attn *k, bool backward)
{
	size_t n = dev->k->attn_scratch(dev, k, backward), room = (n + 64 + 63) / 64 * 64;
	unsigned char *p = aligned_alloc(64, room);
	struct pt_error err = PT_ERROR_INIT;

	memset(p, 0xff, room);
	k->scratch = p;
	if (backward)
		assert_ok(dev->k->attn_bwd(dev, k, &err), &err);
	else
		assert_ok(dev->k->attn_fwd(dev, k, &err), &err);
	for (size_t i = n; i < room; i++)
		assert_int_equal(p[i], 0xff);
	free(p);
}

/* Everything that forward and backward write; wanted says which gradients (bit i: result i). */
static void run_case(struct pt_device *dev, const struct attn_case *c, unsigned wanted, struct result *out)
{
	struct pt_k_attn k = c->k;
	int64_t ck = (int64_t)k.kv_heads * k.head_dim;
	const int64_t n[RESULTS] = { k.nq * k.ldo, k.heads * k.nq, k.nq * k.ldq, k.nk * k.ldk, k.nk * k.ldv,
				     (int64_t)k.buckets * k.heads, c->np * ck, c->np * ck };
	struct fix_rnd r = { 4, 0 };

	for (int i = 0; i < RESULTS; i++) {
		out->n[i] = n[i];
		/* What is there stays where nothing is written, and is added to where that is asked for. */
		out->x[i] = fix_floats(&r, n[i], 1);
	}
	k.o = out->x[0];
	k.lse = out->x[1];
	with_scratch(dev, &k, false);
	k.dq = wanted & 4 ? out->x[2] : NULL;
	k.dk = wanted & 8 ? out->x[3] : NULL;
	k.dv = wanted & 16 ? out->x[4] : NULL;
	k.dbias = wanted & 32 && k.bias == PT_BIAS_BUCKETS ? out->x[5] : NULL;
	k.dprefix_k = wanted & 64 && k.prefixes ? out->x[6] : NULL;
	k.dprefix_v = wanted & 128 && k.prefixes ? out->x[7] : NULL;
	with_scratch(dev, &k, true);
}

static void free_result(struct result *r)
{
	for (int i = 0; i < RESULTS; i++)
		free(r->x[i]);
}

/* -inf and -inf are equal: differences are taken of what is finite in both. */
static void near_lse(const float *got, const float *want, int64_t n, const char *text)
{
	for (int64_t i = 0; i < n; i++)
		if (!(got[i] == want[i] || fabsf(got[i] - want[i]) < 4e-6f * (1 + fabsf(want[i]))))
			fail_msg("lse[%d] is %g, not %g; %s", (int)i, (double)got[i], (double)want[i], text);
}

static void random_cases(void **state)
{
	struct pt_device *ref = ref_device_new();
	double worst[RESULTS] = { 0 };
	/* Gradients of scores are differences of numbers that f32 holds to 6e-8. */
	static const double tol[RESULTS] = { 1e-6, 0, 8e-6, 8e-6, 1e-6, 8e-6, 8e-6, 1e-6 };
	struct fix_cpus cpus;

	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < CASES; seed++) {
		struct attn_case c;
		struct result want, first = { { 0 },
		{ 0 } }, got;
		unsigned wanted = seed % 4 ? 0xff : (unsigned)pt_rng_mix(3, seed) & 0xff;

		make_case(&c, seed, CASES);
		run_case(ref, &c, wanted, &want);
		for (int i = 0; i < cpus.n; i++) {
			run_case(cpus.dev[i], &c, wanted, &got);
			for (int j = 0; j < RESULTS && fix_again(&cpus, i); j++)
				if (memcmp(got.x[j], first.x[j], (size_t)got.n[j] * sizeof(float)))
					fail_msg("%s differs with %d threads on %s; %s", result_name[j],
						 1 << i % 3, cpus.dev[i]->path, c.text);
			for (int j = 0; j < RESULTS && !fix_again(&cpus, i); j++) {
				double off = j == 1 ? 0 : fix_off(got.x[j], want.x[j], want.n[j]);

				if (j == 1)
					near_lse(got.x[j], want.x[j], want.n[j], c.text);
				if (!(off <= tol[j]))
					fail_msg("%s off by %.3g on %s; %s", result_name[j], off,
						 cpus.dev[i]->path, c.text);
				worst[j] = fmax(worst[j], off);
			}
			if (!fix_again(&cpus, i)) {
				free_result(&first);
				first = got;
			} else {
				free_result(&got);
			}
		}
		free_result(&first);
		free_result(&want);
		free_case(&c);
	}
	for (int j = 0; j < RESULTS; j++)
		if (j != 1)
			print_message("# %s: off by %.2g at most\n", result_name[j], worst[j]);
	fix_cpus_close(&cpus);
	ref->close(ref);
	(void)state;
}

/* A NaN in a query, a key or a value shows in what depends on it; a query that sees no such key is as before. */
static void not_a_number(void **state)
{
	struct fix_cpus cpus;

	fix_cpus_open(&cpus);
	for (int i = 0; i < cpus.n; i += 3) {
		for (int which = 0; which < 3; which++) {
			struct attn_case c;
			struct result r;
			float *x;
			int64_t bad = 0, d;

			make_case(&c, 3, CASES);
			c.k.batch = 1;
			c.k.prefixes = 0;
			c.k.bias = PT_BIAS_NONE;
			c.k.causal = true;
			c.k.window = 0;
			c.cu_q[1] = c.cu_k[1] = 7;
			c.k.nq = c.k.nk = 7;
			free_case(&c);
			d = (int64_t)c.k.heads * c.k.head_dim;
			c.k.ldq = c.k.ldo = d;
			c.k.ldk = c.k.ldv = (int64_t)c.k.kv_heads * c.k.head_dim;
			struct fix_rnd rnd = { 9, 0 };
			c.k.q = fix_floats(&rnd, 7 * d, 1);
			c.k.doo = fix_floats(&rnd, 7 * d, 1);
			c.k.k = fix_floats(&rnd, 7 * d, 1);
			c.k.v = fix_floats(&rnd, 7 * d, 1);
			c.k.bias_table = NULL;
			c.k.prefix_k = c.k.prefix_v = NULL;
			c.np = 0;
			x = (float *)(uintptr_t)(which == 0 ? c.k.q : which == 1 ? c.k.k : c.k.v);
			x[4 * (which ? c.k.ldk : c.k.ldq)] = NAN;
			run_case(cpus.dev[i], &c, 0x1c, &r);
			for (int64_t j = 0; j < 4 * d && which < 2; j++)
				assert_false(isnan(r.x[0][j]));
			for (int64_t j = 4 * d; j < 7 * d; j++)
				bad += isnan(r.x[0][j]);
			assert_true(bad >= (which == 2 ? 1 : c.k.head_dim));
			free_result(&r);
			free_case(&c);
		}
	}
	fix_cpus_close(&cpus);
	(void)state;
}

/* How many of n keys fall into each bucket, seen from a query that stands at position at. */
static void count_buckets(struct pt_device *dev, bool bidirectional, int64_t n, int64_t at, int *count)
{
	struct attn_case c = { .cu_q = { 0, 0 }, .cu_k = { 0, 0 } };
	float *q = calloc((size_t)n, sizeof *q), *table = calloc(32, sizeof *table), *o = calloc((size_t)n, sizeof *o);
	float *lse = calloc((size_t)n, sizeof *lse), plain;
	/* Causal: one query at the end, as with a cache; else as many as keys. */
	int64_t nq = bidirectional ? n : 1, row = bidirectional ? at : 0;

	c.cu_q[1] = (int32_t)nq;
	c.cu_k[1] = (int32_t)n;
	c.k = (struct pt_k_attn){ .nq = nq, .nk = n, .batch = 1, .heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 1,
		.ldq = 1, .ldk = 1, .ldv = 1, .ldo = 1, .cu_q = c.cu_q, .host_cu_q = c.cu_q, .cu_k = c.cu_k,
		.host_cu_k = c.cu_k, .causal = !bidirectional, .bias = PT_BIAS_BUCKETS, .bias_table = table,
		.buckets = 32, .max_distance = 128, .bidirectional = bidirectional, .q = q, .k = q, .v = q, .o = o,
		.lse = lse };
	with_scratch(dev, &c.k, false);
	plain = expf(lse[row]);
	for (int b = 0; b < 32; b++) {
		table[b] = -30;
		with_scratch(dev, &c.k, false);
		count[b] = (int)lrintf(plain - expf(lse[row]));
		table[b] = 0;
	}
	free(q);
	free(table);
	free(o);
	free(lse);
}

/* T5's own numbers, 32 and 128, as transformers has them in float32, decoding with a cache and encoding. */
static void buckets(void **state)
{
	static const int want[2][32] = {
		{ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8, 10, 10, 12, 14, 187 },
		{ 1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 7, 9, 14, 18, 27, 50, 0, 1, 1, 1, 1, 1, 1, 1, 4, 4, 7, 9, 14, 18, 27, 69 },
	};
	struct fix_cpus cpus;
	int count[32];

	fix_cpus_open(&cpus);
	for (int i = 0; i < cpus.n; i += 3) {
		for (int both = 0; both < 2; both++) {
			count_buckets(cpus.dev[i], both, 300, both ? 140 : 299, count);
			for (int b = 0; b < 32; b++)
				if (count[b] != want[both][b])
					fail_msg("bucket %d of %s has %d keys, not %d", b, both ? "an encoder" : "a decoder",
						 count[b], want[both][b]);
		}
	}
	fix_cpus_close(&cpus);
	(void)state;
}

/*
 * Keys that are much alike, as a large bias makes them: what gradients of
 * scores fall short of a sum of zero shows in those of queries, many times as
 * large. Of a sequence that is one block of keys little is short, and nothing
 * where there is one key.
 */
static void keys_alike(void **state)
{
	struct pt_device *ref = ref_device_new();
	struct fix_cpus cpus;
	double sum = 0;
	int n = 0, single = 0;

	fix_cpus_open(&cpus);
	for (uint64_t seed = 0; seed < 24; seed++) {
		struct attn_case c;
		struct result want, got;

		make_case(&c, seed, 48);
		c.k.batch = 1;
		c.k.prefixes = 0;
		c.np = 0;
		c.k.nq = c.cu_q[1];
		c.k.nk = c.cu_k[1];
		c.k.acc_dq = false;
		c.k.softcap = 0;
		for (int64_t i = 0; i < c.k.nk * c.k.ldk; i++)
			((float *)(uintptr_t)c.k.k)[i] += 100;
		for (int64_t i = 0; i < c.k.nq * c.k.ldq; i++)
			((float *)(uintptr_t)c.k.q)[i] *= 0.01f;
		run_case(ref, &c, 4, &want);
		for (int i = 0; i < cpus.n; i += 3) {
			run_case(cpus.dev[i], &c, 4, &got);
			if (c.k.nk == 1) {
				for (int64_t j = 0; j < c.k.nq; j++)
					assert_true(got.x[2][j * c.k.ldq] == 0);
				single++;
			} else {
				sum += fix_off(got.x[2], want.x[2], want.n[2]);
				n++;
			}
			free_result(&got);
		}
		free_result(&want);
		free_case(&c);
	}
	print_message("# dq: off by %.2g on average\n", sum / n);
	assert_true(single > 0);
	assert_true(sum / n < 7e-6);
	fix_cpus_close(&cpus);
	ref->close(ref);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_cases),
		cmocka_unit_test(not_a_number),
		cmocka_unit_test(buckets),
		cmocka_unit_test(keys_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
