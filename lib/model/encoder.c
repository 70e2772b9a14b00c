/* SPDX-License-Identifier: MIT */
/*
 * encoder.c - the driver of bidirectional models.
 */
#include "model/body.h"

struct pt_tensor *pt_encoder(struct pt_run *run, struct pt_model *m, const struct pt_input *in)
{
	struct pt_pass p = { .m = m, .stack = &m->body->stack[0] };
	struct pt_tensor *x;

	if (in->cache) {
		pt_error(&run->err, PT_USAGE, "%s models do not generate text", m->cfg.family->stem);
		return NULL;
	}
	x = pt_embed(run, m, p.stack, in, &p.rows);
	if (pt_pass_prepare(run, &p, 0))
		return NULL;
	return pt_blocks(run, &p, x);
}
