/* SPDX-License-Identifier: MIT */
/*
 * generate.h - text by a causal language model, token by token, with the keys
 * and values of earlier positions kept (model.h, struct pt_kvcache).
 */
#ifndef PT_GEN_GENERATE_H
#define PT_GEN_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "gen/sample.h"
#include "model/model.h"

struct pt_generate_options {
	struct pt_sampling sampling;
	int64_t max_tokens;		/* new ones, at most */
	/* Tokens, prompt included: with what adapters put before them, the size of the cache. An encoder-decoder's prompt,
	 * of any length, is no part of it. */
	int64_t max_length;
	bool ignore_eos;
	bool bf16;			/* the compute type, as pt_run_compute() takes it */
	size_t mem;			/* bytes for all of it, as pt_model_run() takes them; 0: what there is */
};

struct pt_generator;

/*
 * The model (with what is hooked into it) stays the caller's. plan is a plan
 * device that counts as the model's device needs it: the longest text is run
 * there first, so that memory for it is set aside here; memory grows for the
 * prompt of an encoder-decoder that is longer than max_length. max_length
 * above pt_model_max_len() is PT_USAGE.
 */
int pt_generator_new(struct pt_generator **g, struct pt_model *m, struct pt_device *plan,
		     const struct pt_generate_options *o, struct pt_error *err);
void pt_generator_free(struct pt_generator *g);

enum pt_generate_end {
	PT_END_EOS,			/* one of the model's end tokens, handed out too */
	PT_END_TOKENS,			/* max_tokens */
	PT_END_LENGTH,			/* the cache is full */
	PT_END_CALLER,			/* token() asked for it */
};

/*
 * Go on behind prompt [n]. token() gets each new id as it comes and returns
 * false to stop. key identifies the text among those of one seed.
 * PT_DATA: an empty prompt, one longer than max_length, or an unknown id.
 */
int pt_generate(struct pt_generator *g, const int32_t *prompt, int64_t n, uint64_t key,
		bool (*token)(void *arg, int32_t id), void *arg, enum pt_generate_end *end,
		struct pt_error *err);

#endif
