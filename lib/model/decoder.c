/* SPDX-License-Identifier: MIT */
/*
 * decoder.c - the driver of causal models: embeddings, rotary tables, blocks;
 * with a cache it takes up where the cache ends.
 */
#include "model/body.h"

struct pt_tensor *pt_decoder(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	struct pt_pass p = { .m = m, .stack = &m->body->stack[0], .cache = in->cache };
	int64_t first = in->cache ? pt_kvcache_len(in->cache) : 0;
	struct pt_tensor *x;

	x = pt_embed(run, m, p.stack, in, &p.rows);
	if (pt_pass_prepare(run, &p, first))
		return NULL;
	if (p.cache && pt_kvcache_begin(run, p.cache, p.rows))
		return NULL;
	x = pt_blocks(run, &p, x);
	if (p.cache && x)
		pt_kvcache_end(p.cache);
	return x;
}
