/* SPDX-License-Identifier: MIT */
/*
 * stack.c - the driver of one stack, an encoder or a decoder by its switch:
 * embeddings, what its blocks share, the blocks; with a cache it takes up
 * where the cache ends. encdec.c drives two.
 */
#include "model/body.h"

struct pt_tensor *pt_stack_hidden(struct pt_run *run, struct pt_model *m, const struct pt_stack *s,
				  const struct pt_input *in, struct pt_tensor *memory, struct pt_kvcache *cache)
{
	struct pt_pass p = { .m = m, .stack = s, .memory = memory, .cache = cache, .reach = in->reach };
	struct pt_tensor *x = pt_embed(run, m, s, in, &p.rows);

	if (pt_pass_prepare(run, &p))
		return NULL;
	if (cache && pt_kvcache_begin(run, cache, p.rows))
		return NULL;
	x = pt_blocks(run, &p, x);
	if (cache && x)
		pt_kvcache_end(cache);
	return x;
}

struct pt_tensor *pt_model_hidden(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	const struct pt_stack *s = m->body->stack;

	if (m->body->nstacks > 1)
		return pt_encdec(run, m, in);
	if (in->cache && !s->cfg->causal) {
		pt_error(&run->err, PT_USAGE, "%s models do not generate text", m->cfg.family->stem);
		return NULL;
	}
	return pt_stack_hidden(run, m, s, in, NULL, in->cache);
}

void pt_model_front(const struct pt_model *m, bool decoder, int *positions, int *rows)
{
	const struct pt_stack *s = &m->body->stack[decoder ? m->body->nstacks - 1 : 0];

	*rows = pt_site_front(s->part[PT_ROLE_INPUT]);
	*positions = *rows + pt_site_front(s->layer[0].part[PT_ROLE_KV]);
}
