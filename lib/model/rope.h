/* SPDX-License-Identifier: MIT */
/*
 * rope.h - tables of rotary position embeddings (Su et al. 2021), computed in
 * f32 as transformers computes them: inverse frequencies by powf, angles as a
 * float product. A table in double would differ from the pretrained model's
 * by 2e-4 at position 8191.
 */
#ifndef PT_MODEL_ROPE_H
#define PT_MODEL_ROPE_H

#include "model/config.h"
#include "tensor/ops.h"

/* Host rows of a table from position 0, kept from call to call. */
struct pt_rope_table {
	float *inv;			/* [dims/2] */
	float *cos, *sin;		/* [positions, dims/2] */
	int64_t positions;
};

void pt_rope_table_release(struct pt_rope_table *t);

/* Inverse frequencies [dims/2] for a sequence of len tokens (dynamic scaling and longrope look at len). */
void pt_rope_frequencies(const struct pt_rope_config *c, int64_t len, float *inv);

/*
 * The tables that the sequences of rows need, on the device until the run's
 * reset. first is the position of each sequence's first row (decoding; else
 * 0), reach the length of the text where more of it follows in later calls
 * (else 0). Sequences that dynamic scaling and longrope treat by their length
 * have tables of their own, so that packing changes nothing. Failure is in
 * run->err.
 */
int pt_rope_prepare(struct pt_run *run, const struct pt_rope_config *c, struct pt_rope_table *table,
		    const struct pt_rows *rows, int64_t first, int64_t reach, struct pt_rope *out);

#endif
