/* SPDX-License-Identifier: MIT */
/*
 * prompt.c - prompt tuning: rows before the input embeddings of every
 * sequence are what trains; of an encoder-decoder before the encoder's, and a
 * second table stands in the file unused, as in PEFT.
 *
 * Lester et al. 2021, "The Power of Scale for Parameter-Efficient Prompt
 * Tuning".
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "peft/virtual.h"

enum how { RANDOM, VOCAB, TEXT };

struct prompt {
	struct pt_virtual v;
	enum how how;
	const char *text;
};

static const struct pt_option options[] = {
	PT_OPTION_VIRTUAL_TOKENS,
	{ .name = "init", .key = "prompt_tuning_init", .kind = PT_OPTION_WORD, .arg = "HOW",
	  .words = "random=RANDOM|vocab=SAMPLE_VOCAB|text=TEXT", .help = "random, vocab or text (random)" },
	{ .name = "init-text", .key = "prompt_tuning_init_text", .kind = PT_OPTION_TEXT, .arg = "TEXT",
	  .wants = "init=text", .help = "the text whose embeddings are the first values, with --init text" },
	PT_OPTION_SAVE_MODULES,
	{ 0 }
};

/* PEFT asks for the tokenizer's name: the text is the base's. */
static int name_tokenizer(struct pt_adapter *a, struct pt_error *err)
{
	static const char key[] = "tokenizer_name_or_path";
	const char *own, *base;
	cJSON *v;

	if (pt_json_str(a->config, key, NULL, &own, err) ||
	    pt_json_str(a->config, "base_model_name_or_path", "", &base, err) || own)
		return err->status;
	v = cJSON_CreateString(base);
	if (v && cJSON_ReplaceItemInObjectCaseSensitive(a->config, key, v))
		return 0;
	cJSON_Delete(v);
	return pt_error(err, PT_FAIL, "out of memory");
}

static int parse_init(struct pt_adapter *a, struct prompt *p, struct pt_error *err)
{
	static const char *const names[] = { "RANDOM", "SAMPLE_VOCAB", "TEXT" };
	const char *how;

	if (pt_json_str(a->config, "prompt_tuning_init", names[RANDOM], &how, err) ||
	    pt_json_str(a->config, "prompt_tuning_init_text", NULL, &p->text, err))
		return err->status;
	while (p->how <= TEXT && strcmp(names[p->how], how) != 0)
		p->how++;
	if (p->how > TEXT)
		return pt_error(err, PT_USAGE, "prompt_tuning_init '%s': RANDOM, SAMPLE_VOCAB and TEXT are known", how);
	if (!a->fresh)
		return 0;
	if (p->how == TEXT && !(p->text && *p->text))
		return pt_error(err, PT_USAGE, "prompt_tuning_init TEXT wants prompt_tuning_init_text");
	if (p->how != TEXT && p->text)
		return pt_error(err, PT_USAGE, "prompt_tuning_init_text is of use to prompt_tuning_init TEXT alone");
	return p->how == TEXT ? name_tokenizer(a, err) : 0;
}

static struct pt_tensor *make_front(struct pt_run *run, const struct pt_adapter_site *s)
{
	const struct pt_virtual *v = s->state;

	return pt_virtual_rows(run, &v->table->t, 0, 1, v->tokens);
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_config *c = &a->model->cfg;
	struct prompt *p = pt_calloc(1, sizeof *p, err);

	a->state = p;
	if (!p)
		return err->status;
	p->v.front = make_front;
	return pt_virtual_parse(a, &p->v, c->heads, c->embed_width, err) ? err->status : parse_init(a, p, err);
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	struct pt_virtual *v = a->state;

	s->state = v;
	s->hook.ops = &pt_virtual_input;
	return pt_virtual_table(a, s, PT_VIRTUAL_KEY, 0, v->tokens * v->parts, v->dim, &v->table, err);
}

/* The table's rows are those that the base has for ids. */
static int copy_rows(struct pt_adapter *a, struct pt_adapter_site *s, const int32_t *id, struct pt_error *err)
{
	const struct pt_site *e = pt_model_site_kind(a->model, s->site->path, PT_SITE_EMBEDDING);
	const struct pt_virtual *v = a->state;
	int64_t n = v->tokens * v->parts, dim = v->dim;
	float *x = pt_malloc((size_t)(n * dim), sizeof *x, err);
	int st = x ? 0 : err->status;

	for (int64_t i = 0; i < n && !st; i++) {
		if (id[i] < 0 || id[i] >= e->in)
			st = pt_error(err, PT_USAGE, "token id %d of the text is outside the model's %lld", (int)id[i],
				      (long long)e->in);
		else
			st = pt_weight_row(a->model, e->weight, id[i], x + i * dim, err);
	}
	for (int64_t i = 0; i < n * dim && !st; i++)
		x[i] *= e->embed_scale;
	if (!st)
		st = pt_adapter_set(a, v->table, x, err);
	free(x);
	return st;
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct prompt *p = a->state;
	int64_t n = p->v.tokens * p->v.parts;
	int32_t *id;
	int st = 0;

	if (p->how == RANDOM)
		return pt_virtual_normal(a, p->v.table, seed, err);
	id = pt_malloc((size_t)n, sizeof *id, err);
	if (!id)
		return err->status;
	for (int64_t i = 0; i < n; i++)
		id[i] = (int32_t)pt_rng_below(pt_rng_mix_str(seed, PT_VIRTUAL_KEY), (uint64_t)i,
					      (uint64_t)a->model->cfg.vocab);
	if (p->how == TEXT)
		st = pt_virtual_text(a, p->text, id, n, true, err);
	if (!st)
		st = copy_rows(a, s, id, err);
	free(id);
	return st;
}

const struct pt_method pt_method_prompt = {
	.name = "prompt",
	.peft_type = "PROMPT_TUNING",
	.paper = "Lester et al. 2021, The Power of Scale for Parameter-Efficient Prompt Tuning",
	.kinds = 1u << PT_SITE_INPUT,
	.prefix = PT_VIRTUAL_PREFIX,
	.defaults = PT_VIRTUAL_DEFAULTS("PROMPT_TUNING", "\"prompt_tuning_init\":\"RANDOM\",\"prompt_tuning_init_text\":null,"
					"\"tokenizer_kwargs\":null,\"tokenizer_name_or_path\":null"),
	.options = options,
	.match = pt_virtual_match,
	.parse = parse,
	.create = create,
	.init = init,
	.release = pt_virtual_release,
};
