/* SPDX-License-Identifier: MIT */
/*
 * generate.c - decoding with a cache; see generate.h. A prompt is read in
 * pieces, so that memory is bounded by the piece and not by the prompt. An
 * encoder-decoder's encoder reads it whole, and the text begins with its
 * start token. Some models read the text anew at a certain length
 * (pt_model_restart()), so it is kept.
 */
#include "gen/generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PIECE 256	/* rows of the prompt computed at once */

struct pt_generator {
	struct pt_model *m;
	struct pt_generate_options o;
	struct pt_run run;
	struct pt_kvcache *cache;
	struct pt_sampler sampler;
	float *logits;			/* [vocab] host */
	int32_t pos[PIECE];
	int32_t cu[2];
	struct pt_device *plan;
	int32_t *text;			/* [max_length] what was read, and the last that is to be */
	int64_t read;			/* of the text in the cache */
	int front;			/* positions before the text */
	int64_t source;			/* prompt of an encoder-decoder that there is memory for */
	bool decoder;			/* the text is a decoder's, apart from the prompt */
};

void pt_generator_free(struct pt_generator *g)
{
	if (!g)
		return;
	if (g->run.dev)
		pt_run_release(&g->run);
	pt_kvcache_free(g->cache);
	pt_sampler_release(&g->sampler);
	free(g->logits);
	free(g->text);
	free(g);
}

struct piece {
	struct pt_generator *g;
	struct pt_input in;
	bool last;
};

static int piece_forward(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			 struct pt_tensor **out, int nout)
{
	struct piece *p = arg;
	struct pt_tensor *h = pt_model_hidden(run, p->g->m, &p->in);
	int32_t row = h ? (int32_t)h->shape[0] - 1 : 0;
	const int32_t *idx = p->last ? pt_run_upload(run, &row, sizeof row) : NULL;

	(void)in;
	(void)nin;
	if (nout)
		out[0] = pt_model_logits(run, p->g->m, h, idx, 1);
	return run->err.status;
}

/* The next n <= PIECE tokens of a text of so many; logits of the last row where they are its last. */
static int forward(struct pt_generator *g, int n, int64_t length, struct pt_error *err)
{
	struct pt_run *run = &g->run;
	const struct pt_shape shape = { .ndim = 2, .dim = { 1, g->m->cfg.vocab } };
	struct piece p = { g, { .cache = g->cache, .reach = g->front + length }, false };
	struct pt_rows *rows = g->decoder ? &p.in.decoder_rows : &p.in.rows;
	struct pt_tensor *out = NULL;
	const int32_t *ids = g->text + g->read;
	int first = pt_kvcache_len(g->cache);
	bool last = p.last = g->read + n == length;

	pt_run_reset(run);
	for (int i = 0; i < n; i++)
		g->pos[i] = first + i;
	g->cu[0] = 0;
	g->cu[1] = n;
	*rows = (struct pt_rows){ .n = n, .batch = 1, .max_len = n, .host_cu = g->cu };
	rows->cu = pt_run_upload(run, g->cu, sizeof g->cu);
	rows->pos = pt_run_upload(run, g->pos, (size_t)n * sizeof *g->pos);
	*(g->decoder ? &p.in.decoder_ids : &p.in.ids) = pt_run_upload(run, ids, (size_t)n * sizeof *ids);
	if (!run->dev->plan)
		*(g->decoder ? &p.in.host_decoder_ids : &p.in.host_ids) = ids;
	pt_scope(run, PT_SCOPE_NOGRAD, piece_forward, &p, sizeof p, NULL, 0, &shape, &out, last ? 1 : 0);
	g->read += n;
	if (last && !run->err.status)
		return pt_tensor_read(run, out, g->logits, err);
	return pt_run_check(run, err);
}

static int encode_inside(struct pt_run *run, void *arg, struct pt_tensor *const *in, int nin,
			 struct pt_tensor **out, int nout)
{
	struct piece *p = arg;

	(void)in;
	(void)nin;
	(void)out;
	(void)nout;
	return pt_model_encode(run, p->g->m, &p->in);
}

/* The prompt of an encoder-decoder into the cache. */
static int encode(struct pt_generator *g, const int32_t *ids, int n, struct pt_error *err)
{
	struct pt_run *run = &g->run;
	struct piece p = { g, { .host_ids = run->dev->plan ? NULL : ids, .cache = g->cache }, false };

	pt_run_reset(run);
	g->cu[0] = 0;
	g->cu[1] = n;
	p.in.rows = (struct pt_rows){ .n = n, .batch = 1, .max_len = n, .host_cu = g->cu };
	p.in.rows.cu = pt_run_upload(run, g->cu, sizeof g->cu);
	p.in.ids = pt_run_upload(run, ids, (size_t)n * sizeof *ids);
	pt_scope(run, PT_SCOPE_NOGRAD, encode_inside, &p, sizeof p, NULL, 0, NULL, NULL, 0);
	return pt_run_check(run, err);
}

/* Another text, or the same again. */
static void rewind_text(struct pt_generator *g)
{
	pt_kvcache_reset(g->cache);
	g->read = 0;
}

/* The text [n] into the cache, from where that ends; logits of its last token. */
static int read_text(struct pt_generator *g, int64_t n, struct pt_error *err)
{
	const int64_t restart = pt_model_restart(g->m);
	int st = 0;

	if (g->front + g->read < restart && g->front + n >= restart)
		rewind_text(g);
	while (!st && g->read < n)
		st = forward(g, n - g->read < PIECE ? (int)(n - g->read) : PIECE, n, err);
	return st;
}

/* A run whose arena has room for the longest text, whose last piece sees the most keys, and a source of so many tokens. */
static int make_run(struct pt_generator *g, int64_t source, struct pt_error *err)
{
	int32_t *ids = pt_calloc((size_t)(source > 0 ? source : 1), sizeof *ids, err);
	size_t bytes;
	int st;

	if (g->run.dev)
		pt_run_release(&g->run);
	g->source = 0;
	st = ids ? pt_run_init(&g->run, g->plan, 0, err) : err->status;
	if (st) {
		free(ids);
		return st;
	}
	pt_run_compute(&g->run, g->o.bf16);
	if (g->decoder)
		st = encode(g, ids, (int)source, err);
	while (g->read < g->o.max_length && !st) {
		int64_t left = g->o.max_length - g->read, n = left < PIECE ? left : PIECE;

		st = forward(g, (int)n, g->read + n, err);
	}
	bytes = g->run.arena.peak;
	pt_run_release(&g->run);
	rewind_text(g);
	free(ids);
	if (!st)
		st = pt_model_run(g->m, &g->run, bytes, g->o.mem, g->o.bf16, err);
	if (st == PT_USAGE)
		return pt_error_add(err, ": shorter texts than of %lld tokens take less", (long long)g->o.max_length);
	if (st)
		return st;
	g->source = source;
	return 0;
}

/* The positions of the longest text, with what adapters put before it, and rows for that in the cache. */
static int check_length(struct pt_generator *g, int *rows, struct pt_error *err)
{
	const int64_t want = g->o.max_length, most = pt_model_max_len(g->m);

	pt_model_front(g->m, true, &g->front, rows);
	if (want < 1 || want > most)
		return pt_error(err, PT_USAGE, "a text of %lld tokens: the model has %lld positions%s", (long long)want,
				(long long)most + g->front, g->front ? ", some of which the adapter takes" : "");
	*rows += (int)want;
	return 0;
}

int pt_generator_new(struct pt_generator **out, struct pt_model *m, struct pt_device *plan,
		     const struct pt_generate_options *o, struct pt_error *err)
{
	struct pt_generator *g;
	int st, rows;

	*out = NULL;
	if (!pt_task_text(m->task))
		return pt_error(err, PT_USAGE, "a model opened for %s generates no text", pt_task_name(m->task));
	if (o->max_tokens < 1)
		return pt_error(err, PT_USAGE, "%lld tokens to generate", (long long)o->max_tokens);
	g = pt_calloc(1, sizeof *g, err);
	if (!g)
		return err->status;
	g->m = m;
	g->o = *o;
	g->plan = plan;
	g->decoder = pt_task_decoder(m->task);
	g->logits = pt_calloc((size_t)m->cfg.vocab, sizeof *g->logits, err);
	g->text = pt_calloc((size_t)o->max_length, sizeof *g->text, err);
	st = g->logits && g->text ? pt_sampler_init(&g->sampler, &o->sampling, m->cfg.vocab, err) : err->status;
	if (!st)
		st = check_length(g, &rows, err);
	if (!st)
		st = pt_kvcache_new(&g->cache, m, o->bf16 && m->dev->bf16_act ? PT_BF16 : PT_F32, rows, err);
	if (!st)
		st = make_run(g, g->decoder ? o->max_length : 0, err);
	if (st)
		pt_generator_free(g);
	else
		*out = g;
	return st;
}

static bool is_eos(const struct pt_generator *g, int32_t id)
{
	for (int i = 0; !g->o.ignore_eos && i < g->m->cfg.neos; i++) {
		if (g->m->cfg.eos[i] == id)
			return true;
	}
	return false;
}

int pt_generate(struct pt_generator *g, const int32_t *prompt, int64_t n, uint64_t key,
		bool (*token)(void *arg, int32_t id), void *arg, enum pt_generate_end *end,
		struct pt_error *err)
{
	int64_t length = g->decoder ? 1 : n;	/* of the text so far */
	int64_t made = 0;
	int st = 0;

	if (n < 1)
		return pt_error(err, PT_DATA, "the prompt is empty");
	if (!g->decoder && n > g->o.max_length)
		return pt_error(err, PT_DATA, "a prompt of %lld tokens; %lld are the limit", (long long)n,
				(long long)g->o.max_length);
	if (n > INT32_MAX)
		return pt_error(err, PT_DATA, "a prompt of %lld tokens", (long long)n);
	rewind_text(g);
	if (g->decoder && n > g->source)
		st = make_run(g, n, err);
	if (g->decoder && !st)
		st = encode(g, prompt, (int)n, err);
	memcpy(g->text, g->decoder ? &g->m->cfg.decoder_start : prompt, (size_t)length * sizeof *prompt);
	if (!st)
		st = read_text(g, length, err);
	while (!st) {
		int32_t id;

		st = pt_sample(&g->sampler, g->logits, key, length, &id, err);
		if (st)
			break;
		made++;
		*end = !token(arg, id) ? PT_END_CALLER : is_eos(g, id) ? PT_END_EOS :
		       made == g->o.max_tokens ? PT_END_TOKENS : PT_END_LENGTH;
		if (*end != PT_END_LENGTH || length == g->o.max_length)
			break;
		g->text[length++] = id;
		st = read_text(g, length, err);
	}
	return st;
}
