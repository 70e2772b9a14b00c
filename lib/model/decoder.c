/* SPDX-License-Identifier: MIT */
/*
 * decoder.c - the driver of causal models: embeddings, rotary tables, blocks,
 * the last norm; with a cache it takes up where the cache ends.
 */
#include "model/body.h"

/* The last norm with what the blocks left to add. */
static struct pt_tensor *finish(struct pt_run *run, struct pt_model *m, struct pt_tensor *x,
				struct pt_tensor *delta)
{
	struct pt_site *norm = m->body->part[PT_ROLE_FINAL_NORM];

	if (!norm)
		return delta ? pt_op_add(run, x, delta) : x;
	if (delta)
		return pt_site_add_norm(run, norm, m->cfg.norm, m->cfg.eps, x, delta, &x);
	return pt_site_norm(run, norm, m->cfg.norm, m->cfg.eps, x);
}

struct pt_tensor *pt_decoder(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	struct pt_pass p = { .m = m, .cache = in->cache };
	int64_t first = in->cache ? pt_kvcache_len(in->cache) : 0;
	struct pt_tensor *x, *delta = NULL;

	x = pt_embed(run, m, in, &p.rows);
	if (m->cfg.position == PT_POS_ROPE &&
	    pt_rope_prepare(run, &m->cfg.rope, &m->body->rope, p.rows, first, &p.rope))
		return NULL;
	if (p.cache && pt_kvcache_begin(run, p.cache, p.rows))
		return NULL;
	x = pt_blocks(run, &p, x, &delta);
	x = finish(run, m, x, delta);
	if (p.cache && x)
		pt_kvcache_end(p.cache);
	return x;
}
