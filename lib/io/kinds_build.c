/* SPDX-License-Identifier: MIT */
/*
 * kinds_build.c - records from typed pointers: the reverse of the views.
 */
#include <stdio.h>

#include "base/json.h"
#include "io/kinds.h"

static void put(struct pt_st_build *b, const char *name, enum pt_dtype type, int64_t n, const void *data)
{
	if (data)
		pt_st_build_array(b, name, type, n, data);
}

static void put2(struct pt_st_build *b, const char *name, enum pt_dtype type, int64_t n, int64_t k,
		 const void *data)
{
	int64_t shape[2] = { n, k };

	if (data)
		pt_st_build_tensor(b, name, type, 2, shape, data);
}

static void put_double(struct pt_st_build *b, const char *key, double v)
{
	struct pt_buf text = PT_BUF_INIT;
	cJSON num = { .type = cJSON_Number, .valuedouble = v, .valueint = 0 };

	pt_json_print(&text, &num, 0);
	if (!pt_buf_check(&text, &b->err))
		pt_st_build_meta(b, key, text.data);
	pt_buf_release(&text);
}

void pt_examples_build(const struct pt_examples *x, enum pt_kind kind, struct pt_st_build *b)
{
	bool batch = kind == PT_KIND_BATCH;

	put(b, "index", PT_I64, x->n, x->index);
	put(b, "input_ids", PT_I32, x->tokens, x->input_ids);
	put(b, batch ? "cu_seqlens" : "offsets", PT_I64, x->n + 1, x->offsets);
	put(b, "labels", PT_I32, x->tokens, x->labels);
	put(b, "token_type_ids", PT_I32, x->tokens, x->token_type_ids);
	put(b, "class", PT_I32, x->n, x->cls);
	put2(b, "target", PT_F32, x->n, x->k, x->target);
	put(b, "decoder_ids", PT_I32, x->decoder_tokens, x->decoder_ids);
	put(b, batch ? "decoder_cu_seqlens" : "decoder_offsets", PT_I64, x->n + 1, x->decoder_offsets);
	put(b, "decoder_labels", PT_I32, x->decoder_tokens, x->decoder_labels);
	put2(b, "span", PT_I64, x->n, 2, x->span);
	put(b, "group", PT_I64, x->n, x->group);
	put(b, "weight", PT_F32, x->n, x->weight);
	put(b, "adapter", PT_I32, x->n, x->adapter);
	put(b, "draw", PT_I32, x->n, x->draw);
	put(b, "source", PT_I64, x->n, x->source);
	put(b, "row", PT_I64, x->n, x->row);
	if (!batch)
		return;
	pt_st_build_meta_int(b, "step", x->step);
	pt_st_build_meta_int(b, "micro", x->micro);
	pt_st_build_meta_int(b, "micros", x->micros);
	pt_st_build_meta_int(b, "epoch", x->epoch);
	pt_st_build_meta_int(b, "step_examples", x->step_examples);
	pt_st_build_meta_int(b, "step_tokens", x->step_tokens);
	put_double(b, "step_weight", x->step_weight);
}

void pt_predictions_build(const struct pt_predictions *p, struct pt_st_build *b)
{
	put(b, "index", PT_I64, p->n, p->index);
	put(b, "class", PT_I32, p->n, p->cls);
	put(b, "ids", PT_I32, p->tokens, p->ids);
	put(b, "offsets", PT_I64, p->n + 1, p->ids ? p->offsets : NULL);
	if (p->k_probability)
		put2(b, "probability", PT_F32, p->n, p->k, p->probability);
	else
		put(b, "probability", PT_F32, p->n, p->probability);
	put2(b, "logits", PT_F32, p->n, p->k, p->logits);
	put(b, "loss", PT_F32, p->n, p->loss);
}
