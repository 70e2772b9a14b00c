/* SPDX-License-Identifier: MIT */
/*
 * embed.c - from token ids to what the first block reads: embeddings of
 * words, types and positions, their norm and dropout, and the virtual tokens
 * that a method puts in front.
 */
#include "model/body.h"

/* Each below n, or, where none is not 0, equal to none. */
static int check_ids(struct pt_run *run, const int32_t *id, int64_t rows, int64_t n, int32_t none,
		     const char *what)
{
	for (int64_t i = 0; id && i < rows; i++) {
		if ((id[i] < 0 || id[i] >= n) && !(none && id[i] == none))
			return pt_error(&run->err, PT_DATA, "%s %d at row %lld is outside the model's %lld",
					what, (int)id[i], (long long)i, (long long)n);
	}
	return run->err.status;
}

static int check_input(struct pt_run *run, const struct pt_model *m, const struct pt_input *in, bool decoder)
{
	int64_t n = decoder ? in->decoder_rows.n : in->rows.n;

	if (decoder)
		return check_ids(run, in->host_decoder_ids, n, m->cfg.vocab, 0, "decoder token id") ||
		       check_ids(run, in->host_decoder_labels, n, m->cfg.vocab, -100, "decoder label");
	if (check_ids(run, in->host_ids, n, m->cfg.vocab, 0, "token id") ||
	    (m->cfg.types && check_ids(run, in->host_types, n, m->cfg.types, 0, "token type")))
		return run->err.status;
	return check_ids(run, in->host_labels, n, m->cfg.vocab, -100, "label");
}

static int32_t *zeros(struct pt_run *run, int64_t n)
{
	size_t bytes = (size_t)n * sizeof(int32_t);
	void *z = pt_pool_alloc(&run->pool, bytes, &run->err);

	return z ? pt_run_upload(run, z, bytes) : NULL;
}

/* Types of all rows: virtual tokens in front have 0. */
static const int32_t *lengthen_types(struct pt_run *run, const struct pt_input *in, const struct pt_rows *rows)
{
	int32_t *t = zeros(run, rows->n);

	for (int b = 0; t && in->types && b < rows->batch; b++) {
		int32_t from = in->rows.host_cu[b], n = in->rows.host_cu[b + 1] - from;

		if (n && run->dev->k->copy(run->dev, t + rows->host_cu[b + 1] - n, in->types + from,
					   (size_t)n * sizeof *t, &run->err))
			return NULL;
	}
	return t;
}

static struct pt_tensor *add_types(struct pt_run *run, struct pt_site *site, const struct pt_input *in,
				   const struct pt_rows *rows, struct pt_tensor *x)
{
	const int32_t *types = rows == &in->rows && in->types ? in->types : lengthen_types(run, in, rows);
	struct pt_tensor *t = pt_site_embed(run, site, types, rows);
	struct pt_tensor *sum = pt_op_add(run, x, t);

	pt_tensor_done(run, x);
	pt_tensor_done(run, t);
	return sum;
}

/* Rows of the table: the position in the sequence, and so many more. */
static const int32_t *position_rows(struct pt_run *run, const struct pt_rows *rows, int64_t offset)
{
	size_t bytes = (size_t)rows->n * sizeof(int32_t);
	int32_t *at = pt_pool_alloc(&run->pool, bytes, &run->err);

	if (!at)
		return NULL;
	for (int b = 0; b < rows->batch; b++)
		for (int32_t i = rows->host_cu[b]; i < rows->host_cu[b + 1]; i++)
			at[i] = (int32_t)(i - rows->host_cu[b] + offset);
	/* Rows of no sequence. */
	for (int64_t i = rows->host_cu[rows->batch]; i < rows->n; i++)
		at[i] = 0;
	return pt_run_upload(run, at, bytes);
}

static struct pt_tensor *positions(struct pt_run *run, const struct pt_model *m, const struct pt_stack *s,
				   const struct pt_input *in, const struct pt_rows *rows)
{
	int64_t first = pt_stack_first(s, in->cache), end = first + rows->max_len;

	if (end > m->cfg.positions) {
		pt_error(&run->err, PT_DATA, "a sequence of %lld tokens; the model has %lld positions (peft-tokenize --max-length)",
			 (long long)end, (long long)m->cfg.positions);
		return NULL;
	}
	return pt_site_embed(run, s->part[PT_ROLE_POS], position_rows(run, rows, first + m->cfg.pos_offset), rows);
}

struct pt_tensor *pt_embed(struct pt_run *run, struct pt_model *m, const struct pt_stack *s,
			   const struct pt_input *in, const struct pt_rows **rows)
{
	struct pt_site *const *part = s->part;
	bool decoder = s != m->body->stack;
	struct pt_tensor *x, *y, *pos = NULL;

	*rows = decoder ? &in->decoder_rows : &in->rows;
	if (run->err.status || check_input(run, m, in, decoder))
		return NULL;
	x = pt_site_embed(run, part[PT_ROLE_EMBED], decoder ? in->decoder_ids : in->ids, *rows);
	if (!in->cache || !pt_kvcache_len(in->cache))
		x = pt_site_input(run, part[PT_ROLE_INPUT], x, rows);
	if (m->cfg.input_scale != 1)
		x = pt_then(run, pt_op_scale(run, x, m->cfg.input_scale), x);
	if (part[PT_ROLE_PROJ_IN])
		x = pt_then(run, pt_site_linear1(run, part[PT_ROLE_PROJ_IN], x), x);
	if (part[PT_ROLE_TYPE])
		x = add_types(run, part[PT_ROLE_TYPE], in, *rows, x);
	if (part[PT_ROLE_POS])
		pos = positions(run, m, s, in, *rows);
	x = pt_sum_norm(run, m, part[PT_ROLE_EMBED_NORM], x, pos);
	y = pt_op_dropout(run, x, m->cfg.drop_embed, s->rng_embed);
	if (y != x)
		pt_tensor_done(run, x);
	return pt_site_pass(run, part[PT_ROLE_EMBEDDED], y);
}
