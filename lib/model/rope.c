/* SPDX-License-Identifier: MIT */
/*
 * rope.c - frequencies by scaling type, and tables for a packing. Types:
 * linear (Chen et al. 2023), dynamic (NTK-aware, by sequence length), llama3
 * (Llama 3.1), yarn (Peng et al. 2023), longrope (Ding et al. 2024).
 */
#include "model/rope.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const double pi = 3.14159265358979323846;

/* base ^ (2i/d), in f32. */
static float power(float base, int i, int dims)
{
	return powf(base, (float)(2 * i) / (float)dims);
}

static float llama3(const struct pt_rope_config *c, float inv)
{
	float factor = (float)c->factor, low = (float)c->low_freq;
	float span = (float)(c->high_freq - c->low_freq);
	float wavelen = (float)(2 * pi) / inv;
	float scaled = wavelen > (float)((double)c->original / c->low_freq) ? inv / factor : inv;
	float smooth;

	if (wavelen < (float)((double)c->original / c->high_freq) ||
	    wavelen > (float)((double)c->original / c->low_freq))
		return scaled;
	smooth = ((float)c->original / wavelen - low) / span;
	return (1 - smooth) * scaled / factor + smooth * scaled;
}

/* The dimension that turns r times over the original context. */
static double yarn_dim(const struct pt_rope_config *c, double r)
{
	return c->dims * log((double)c->original / (r * 2 * pi)) / (2 * log(c->theta));
}

static void yarn(const struct pt_rope_config *c, float *inv)
{
	double low = yarn_dim(c, c->beta_fast), high = yarn_dim(c, c->beta_slow);

	if (c->truncate) {
		low = floor(low);
		high = ceil(high);
	}
	low = low > 0 ? low : 0;
	high = high < c->dims - 1 ? high : c->dims - 1;
	if (low == high)
		high += 0.001;
	for (int i = 0; i < c->dims / 2; i++) {
		float p = power((float)c->theta, i, c->dims);
		float ramp = ((float)i - (float)low) / (float)(high - low);
		float keep = 1 - fminf(fmaxf(ramp, 0), 1);

		inv[i] = 1 / ((float)c->factor * p) * (1 - keep) + 1 / p * keep;
	}
}

void pt_rope_frequencies(const struct pt_rope_config *c, int64_t len, float *inv)
{
	float theta = (float)c->theta, factor = (float)c->factor;

	if (c->type == PT_ROPE_YARN) {
		yarn(c, inv);
		return;
	}
	if (c->type == PT_ROPE_DYNAMIC && len > c->positions)
		theta *= powf(factor * (float)len / (float)c->positions - (factor - 1),
			      (float)c->dims / (float)(c->dims - 2));
	for (int i = 0; i < c->dims / 2; i++) {
		inv[i] = 1 / power(theta, i, c->dims);
		if (c->type == PT_ROPE_LONG)
			inv[i] = 1 / (c->ext[len > c->original][i] * power(theta, i, c->dims));
		else if (c->type == PT_ROPE_LINEAR)
			inv[i] /= factor;
		else if (c->type == PT_ROPE_LLAMA3)
			inv[i] = llama3(c, inv[i]);
	}
}

void pt_rope_table_release(struct pt_rope_table *t)
{
	free(t->inv);
	free(t->cos);
	free(t->sin);
	*t = (struct pt_rope_table){ 0 };
}

/* n rows, the first for position pos. */
static void fill(const struct pt_rope_config *c, const float *inv, int64_t pos, int64_t n, float *cos,
		 float *sin)
{
	float f = (float)c->attention_factor;
	int half = c->dims / 2;

	for (int64_t p = 0; p < n; p++) {
		for (int i = 0; i < half; i++) {
			float a = (float)(pos + p) * inv[i];

			cos[p * half + i] = cosf(a) * f;
			sin[p * half + i] = sinf(a) * f;
		}
	}
}

/* The kept table holds at least n positions. */
static int grow(const struct pt_rope_config *c, struct pt_rope_table *t, int64_t n,
		struct pt_error *err)
{
	size_t half = (size_t)c->dims / 2, size;
	int64_t want = t->positions * 2 > n ? t->positions * 2 : n;
	float *p;

	if (n <= t->positions)
		return 0;
	if (!pt_mul_size(half, (size_t)want, &size))
		return pt_error(err, PT_FAIL, "a rotary table of %lld positions does not fit into memory",
				(long long)want);
	if (!t->inv) {
		t->inv = pt_malloc(half, sizeof *t->inv, err);
		if (!t->inv)
			return err->status;
		pt_rope_frequencies(c, 0, t->inv);
	}
	p = pt_realloc(t->cos, size, sizeof *p, err);
	if (!p)
		return err->status;
	t->cos = p;
	p = pt_realloc(t->sin, size, sizeof *p, err);
	if (!p)
		return err->status;
	t->sin = p;
	fill(c, t->inv, t->positions, want - t->positions, t->cos + (size_t)t->positions * half,
	     t->sin + (size_t)t->positions * half);
	t->positions = want;
	return 0;
}

/* A sequence with frequencies of its own. */
static bool is_long(const struct pt_rope_config *c, int64_t end)
{
	return (c->type == PT_ROPE_DYNAMIC && end > c->positions) || (c->type == PT_ROPE_LONG && end > c->original);
}

/* Host tables of one pass: the common rows, then those of each long sequence. */
struct plan {
	int64_t common, rows;		/* rows of the common part, of all */
	bool index;			/* rows->pos does not serve as index */
};

/* The length that counts of n rows from position first on. */
static int64_t length(int64_t first, int64_t n, int64_t reach)
{
	return first + n > reach ? first + n : reach;
}

static struct plan measure(const struct pt_rope_config *c, const struct pt_rows *rows, int64_t first, int64_t reach)
{
	struct plan p = { .index = first != 0 };

	for (int b = 0; b < rows->batch; b++) {
		int64_t len = rows->host_cu[b + 1] - rows->host_cu[b];

		if (is_long(c, length(first, len, reach))) {
			p.rows += len;
			p.index = true;
		} else if (len > p.common) {
			p.common = len;
		}
	}
	/* Rows of no sequence look at row 0. */
	if (p.common == 0)
		p.common = 1;
	p.rows += p.common;
	return p;
}

static void fill_pass(const struct pt_rope_config *c, const struct pt_rope_table *t,
		      const struct pt_rows *rows, int64_t first, int64_t reach, const struct plan *p, float *cos,
		      float *sin, float *inv, int32_t *index)
{
	size_t half = (size_t)c->dims / 2;
	int64_t next = p->common;

	memcpy(cos, t->cos + (size_t)first * half, (size_t)p->common * half * sizeof *cos);
	memcpy(sin, t->sin + (size_t)first * half, (size_t)p->common * half * sizeof *sin);
	for (int b = 0; b < rows->batch; b++) {
		int64_t from = rows->host_cu[b], len = rows->host_cu[b + 1] - from, at = 0;
		int64_t whole = length(first, len, reach);

		if (is_long(c, whole)) {
			at = next;
			next += len;
			pt_rope_frequencies(c, whole, inv);
			fill(c, inv, first, len, cos + (size_t)at * half, sin + (size_t)at * half);
		}
		for (int64_t i = 0; index && i < len; i++)
			index[from + i] = (int32_t)(at + i);
	}
}

/* Bytes of the run that need no release. */
static void *scratch(struct pt_run *run, int64_t n, size_t size)
{
	size_t bytes;

	if (pt_mul_size((size_t)n, size, &bytes))
		return pt_pool_alloc(&run->pool, bytes, &run->err);
	pt_error(&run->err, PT_FAIL, "a rotary table does not fit into memory");
	return NULL;
}

int pt_rope_prepare(struct pt_run *run, const struct pt_rope_config *c, struct pt_rope_table *table,
		    const struct pt_rows *rows, int64_t first, int64_t reach, struct pt_rope *out)
{
	struct plan p = measure(c, rows, first, reach);
	int64_t half = c->dims / 2, n = p.rows * half;
	int32_t *index = NULL;	/* rows of no sequence look at row 0 */
	float *cos, *sin, *inv;

	if (run->err.status || grow(c, table, first + p.common, &run->err))
		return run->err.status;
	cos = scratch(run, n, sizeof *cos);
	sin = scratch(run, n, sizeof *sin);
	inv = scratch(run, half, sizeof *inv);
	if (p.index)
		index = scratch(run, rows->n, sizeof *index);
	if (run->err.status)
		return run->err.status;
	fill_pass(c, table, rows, first, reach, &p, cos, sin, inv, index);
	out->cos = pt_run_upload(run, cos, (size_t)n * sizeof *cos);
	out->sin = pt_run_upload(run, sin, (size_t)n * sizeof *sin);
	out->pos = index ? pt_run_upload(run, index, (size_t)rows->n * sizeof *index) : NULL;
	out->positions = p.rows;
	out->rot_dim = c->dims;
	return run->err.status;
}
