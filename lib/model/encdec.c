/* SPDX-License-Identifier: MIT */
/*
 * encdec.c - the driver of encoder-decoders: the first stack reads the source,
 * the second what is written so far and, by cross attention, what the first
 * made of the source. With a cache both are done apart: the source once, then
 * the text piece by piece.
 */
#include "model/body.h"

/* The input with what a decoder reads where nobody says: the ids, one place to the right. In place until reset. */
static const struct pt_input *shift_right(struct pt_run *run, const struct pt_model *m,
					  const struct pt_input *input)
{
	size_t bytes = (size_t)input->rows.n * sizeof(int32_t);
	struct pt_input *in = pt_pool_alloc(&run->pool, sizeof *in, &run->err);
	int32_t *id = pt_pool_alloc(&run->pool, bytes, &run->err);

	if (!in || !id)
		return NULL;
	*in = *input;
	for (int b = 0; in->host_ids && b < in->rows.batch; b++) {
		int32_t from = in->rows.host_cu[b], to = in->rows.host_cu[b + 1];

		for (int32_t i = from; i < to; i++)
			id[i] = i == from ? m->cfg.decoder_start : in->host_ids[i - 1];
	}
	in->decoder_rows = in->rows;
	in->host_decoder_ids = in->host_ids ? id : NULL;
	in->decoder_ids = pt_run_upload(run, id, bytes);
	return run->err.status ? NULL : in;
}

static struct pt_tensor *encode(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	return pt_stack_hidden(run, m, &m->body->stack[0], in, NULL, NULL);
}

struct pt_tensor *pt_encdec(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	struct pt_tensor *memory = NULL, *x;

	if (!in->decoder_ids && !(in = shift_right(run, m, in)))
		return NULL;
	if (!in->cache)
		memory = encode(run, m, in);
	x = pt_stack_hidden(run, m, &m->body->stack[1], in, memory, in->cache);
	pt_tensor_done(run, memory);
	return x;
}

int pt_model_encode(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	const struct pt_stack *s = &m->body->stack[1];
	struct pt_tensor *memory, *kv[2];

	if (m->body->nstacks < 2)
		return pt_error(&run->err, PT_USAGE, "%s models have no encoder", m->cfg.family->stem);
	memory = encode(run, m, in);
	if (!memory || pt_kvcache_source(run, in->cache, memory->rows))
		return run->err.status;
	for (int i = 0; i < s->cfg->layers; i++) {
		pt_block_enter(run, s, m, i, false);
		pt_block_cross_kv(run, &s->layer[i], memory, kv);
		pt_block_leave(run, s, m, i, false, true);
		pt_kvcache_keep(run, in->cache, i, kv[0], kv[1]);
		pt_tensor_done(run, kv[0]);
		pt_tensor_done(run, kv[1]);
	}
	pt_tensor_done(run, memory);
	return run->err.status;
}
