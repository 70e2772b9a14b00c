/* SPDX-License-Identifier: MIT */
/*
 * lora.c - LoRA: y += s B A drop(x), with s = alpha/r, or alpha/sqrt(r)
 * (rsLoRA), on linears and embeddings.
 *
 * Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models";
 * Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning
 * with LoRA".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "peft/combine.h"
#include "peft/lora.h"

enum { A = PT_LORA_A, B = PT_LORA_B, B_BIAS = PT_LORA_PARAMS };

const struct pt_option pt_lora_options[] = {
	{ .name = "rank", .letter = 'r', .key = "r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank of the update (8)" },
	PT_LORA_OPTION_ALPHA,
	PT_LORA_OPTION_DROPOUT,
	{ .name = "rslora", .key = "use_rslora", .kind = PT_OPTION_FLAG, .help = "scale by alpha/sqrt(rank)" },
	PT_OPTIONS_TARGETS,
	{ .name = "target-parameters", .key = "target_parameters", .kind = PT_OPTION_NAMES, .arg = "LIST",
	  .help = "parameters of experts to adapt: gate_up_proj,down_proj,gate.weight" },
	PT_OPTIONS_LAYERS,
	{ .name = "rank-pattern", .key = "rank_pattern", .kind = PT_OPTION_INT_BY, .arg = "REGEX=N",
	  .help = "another rank for some targets; may be repeated" },
	{ .name = "alpha-pattern", .key = "alpha_pattern", .kind = PT_OPTION_FLOAT_BY, .arg = "REGEX=X",
	  .help = "another alpha for some targets; may be repeated" },
	{ .name = "init", .key = "init_lora_weights", .kind = PT_OPTION_WORD, .arg = "HOW",
	  .words = "default=true|false|gaussian|orthogonal|pissa|olora|eva|corda",
	  .help = "default, false, gaussian, orthogonal, pissa, olora; eva or corda, from batches" },
	{ .name = "rho", .key = "eva_config.rho", .kind = PT_OPTION_FLOAT, .arg = "X", .min = 1, .max = 1e6,
	  .wants = "init=eva", .help = "eva: a module's rank becomes at most so many times the one given (2)" },
	{ .name = "corda", .key = "corda_config.corda_method", .kind = PT_OPTION_WORD, .arg = "MODE", .words = "ipm|kpm",
	  .wants = "init=corda", .help = "corda: what starts is the largest part, ipm, or the least, kpm (ipm)" },
	PT_LORA_OPTION_BIAS,
	PT_LORA_OPTION_TOKENS,
	{ 0 }
};

const char *pt_lora_targets(const struct pt_model *m)
{
	return m->cfg.family->lora_targets;
}

/* Keys that stand for another formula: refused while they are set. */
static int refuse_variants(const struct pt_adapter *a, struct pt_error *err)
{
	static const char *const key[] = {
		"use_qalora", "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication",
		"megatron_config", "monteclora_config", "use_bdlora", "velora_config",
	};

	for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
		const cJSON *v = pt_json_get(a->config, key[i]);

		if (v && !cJSON_IsFalse(v))
			return pt_error(err, PT_USAGE, "%s is not supported with %s", key[i], a->method->name);
	}
	return 0;
}

static int parse_init(const struct pt_adapter *a, const cJSON *v, enum pt_lora_init *out, struct pt_error *err)
{
	/* These leave the base as it is: what they made is an ordinary LoRA file. */
	static const char *const plain[] = { "eva", "mica" };

	*out = PT_LORA_OTHER;
	if (!v || cJSON_IsTrue(v))
		*out = PT_LORA_DEFAULT;
	else if (cJSON_IsFalse(v))
		*out = PT_LORA_FALSE;
	else if (cJSON_IsString(v) && !strcmp(v->valuestring, "gaussian"))
		*out = PT_LORA_GAUSSIAN;
	else if (cJSON_IsString(v) && !strcmp(v->valuestring, "orthogonal"))
		*out = PT_LORA_ORTHOGONAL;
	/* Iterations of PEFT's approximation are no matter: the result is exact. */
	else if (a->fresh && cJSON_IsString(v) && !strncmp(v->valuestring, "pissa", 5))
		*out = PT_LORA_PISSA;
	else if (a->fresh && cJSON_IsString(v) && !strcmp(v->valuestring, "olora"))
		*out = PT_LORA_OLORA;
	else if (a->fresh && cJSON_IsString(v) && !strcmp(v->valuestring, "eva"))
		*out = PT_LORA_EVA;
	else if (a->fresh && cJSON_IsString(v) && !strcmp(v->valuestring, "corda"))
		*out = PT_LORA_CORDA;
	if (*out != PT_LORA_OTHER)
		return 0;
	if (!cJSON_IsString(v))
		return pt_error(err, PT_USAGE, "init_lora_weights: neither true, false nor a name");
	for (int i = 0; i < 2 && !a->fresh; i++) {
		if (!strcmp(v->valuestring, plain[i]))
			return 0;
	}
	return pt_error(err, PT_USAGE, "init_lora_weights %s is not supported%s", v->valuestring,
			a->fresh ? "" : ": it stands for another base");
}

int pt_lora_read(const struct pt_adapter *a, struct pt_lora *l, struct pt_error *err)
{
	static const char *const biases[] = { "none", "all", "lora_only" };
	const char *bias;
	bool known = false;

	if (refuse_variants(a, err) ||
	    pt_json_int(a->config, "r", 1, 1 << 20, 8, &l->r, err) ||
	    pt_json_double(a->config, "lora_alpha", 8, &l->alpha, err) ||
	    pt_json_double(a->config, "lora_dropout", 0, &l->dropout, err) ||
	    pt_json_bool(a->config, "use_rslora", false, &l->rslora, err) ||
	    pt_json_bool(a->config, "lora_bias", false, &l->bias, err) ||
	    pt_json_str(a->config, "bias", "none", &bias, err) ||
	    parse_init(a, cJSON_GetObjectItemCaseSensitive(a->config, "init_lora_weights"), &l->init, err))
		return err->status;
	for (int i = 0; i < 3; i++)
		known |= !strcmp(bias, biases[i]);
	if (!known)
		return pt_error(err, PT_USAGE, "bias '%s': none, all and lora_only are known", bias);
	if (!(l->dropout >= 0 && l->dropout < 1))
		return pt_error(err, PT_USAGE, "lora_dropout %g is not in [0, 1)", l->dropout);
	if (l->bias && l->init != PT_LORA_DEFAULT && l->init != PT_LORA_FALSE)
		return pt_error(err, PT_USAGE, "lora_bias goes with init_lora_weights true or false only");
	return 0;
}

int pt_lora_parse(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_lora *l = pt_calloc(1, sizeof *l, err);

	a->state = l;
	return l ? pt_lora_read(a, l, err) : err->status;
}

struct pt_lowrank pt_lora_term(const struct pt_lora *l, const struct pt_adapter_site *s)
{
	return (struct pt_lowrank){
		.a = &s->param[A]->t, .b = &s->param[B]->t,
		.bias = l->bias ? &s->param[B_BIAS]->t : NULL,
		.scale = s->scale, .dropout = (float)l->dropout, .site = s->rng,
	};
}

/* y + s B A x, inside the product. */
static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	const struct pt_adapter_site *s = h->state;

	(void)run;
	if (max > 0)
		term[0] = pt_lora_term(s->state, s);
	return 1;
}

struct pt_tensor *pt_lora_embed(struct pt_run *run, const struct pt_adapter_site *s, const int32_t *ids,
				const struct pt_rows *rows, struct pt_tensor *y)
{
	struct pt_linear up = { .w = &s->param[B]->t };
	struct pt_tensor *x = pt_op_embed(run, &s->param[A]->t, true, ids, rows,
					  s->scale * s->site->embed_scale, s->site->pad);

	return pt_op_add(run, y, pt_op_linear(run, x, &up));
}

static struct pt_tensor *embed(struct pt_run *run, struct pt_hook *h, const int32_t *ids, const struct pt_rows *rows,
			       struct pt_tensor *y)
{
	return pt_lora_embed(run, h->state, ids, rows, y);
}

static const struct pt_hook_ops linear_hook = { .terms = terms };
static const struct pt_hook_ops embed_hook = { .embed = embed };

/* A of this site in the file of PEFT's that is being opened, which its configuration speaks of, or NULL. */
static int stored_a(const struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_st_tensor **out,
		    struct pt_error *err)
{
	char *name = NULL, *key;

	if (s->site->kind == PT_SITE_PARAM && pt_lora_param_name(a, s, "lora_A.weight", &name, err))
		return err->status;
	key = pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name ? name :
			s->site->kind == PT_SITE_EMBEDDING ? "lora_embedding_A" : "lora_A.weight");
	*out = key && a->file[PT_IN_WEIGHTS] ? pt_st_find(a->file[PT_IN_WEIGHTS], key) : NULL;
	free(name);
	free(key);
	return err->status;
}

/* Rank: of a file its tensor's, since PEFT sorts rank_pattern and so may change it; else the first pattern's. */
int pt_lora_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, int *rank, double *alpha, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	int64_t experts = s->site->experts ? s->site->experts : 1;
	const struct pt_st_tensor *t = NULL;

	*alpha = l->alpha;
	if (stored_a(a, s, &t, err) || pt_pattern_number(a, s, "alpha_pattern", alpha, err))
		return err->status;
	if (t && t->ndim == 2 && t->shape[0] >= experts && t->shape[0] / experts <= 1 << 20)
		return pt_stored_rank(a, s, l->r, t->shape[0] / experts, rank, err);
	return pt_pattern_rank(a, s, l->r, rank, err);
}

/* file: the configuration is one of twice the rank. */
static int find_scale(struct pt_adapter *a, struct pt_adapter_site *s, bool file, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	double alpha, rank;
	int st = pt_lora_rank(a, s, &s->rank, &alpha, err);

	rank = s->rank;
	if (file)
		s->rank /= 2;
	s->scale = (float)(alpha / (l->rslora ? sqrt(rank) : rank));
	return st;
}

int pt_lora_create(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err)
{
	struct pt_lora *l = a->state;
	bool table = s->site->kind == PT_SITE_EMBEDDING;
	int64_t shape_a[2], shape_b[2];
	bool residual;
	int st;

	if ((st = pt_lora_residual_wanted(a, s, &residual, err)) || (st = find_scale(a, s, residual && !a->fresh, err)))
		return st;
	if (s->site->kind == PT_SITE_PARAM && !residual)
		return pt_lora_param_create(a, s, err);
	if (residual)
		flags |= PT_TENSOR_STATE;
	if (table && l->bias)
		return pt_error(err, PT_USAGE, "lora_bias is not for embeddings, %s is one", s->site->path);
	shape_a[0] = s->rank;
	shape_a[1] = s->site->in;
	shape_b[0] = s->site->out;
	shape_b[1] = s->rank;
	flags |= table ? PT_TENSOR_TABLE : 0;
	st = pt_adapter_tensor_at(a, s, table ? "lora_embedding_A" : "lora_A.weight", flags, 2, shape_a, err);
	if (!st)
		st = pt_adapter_tensor_at(a, s, table ? "lora_embedding_B" : "lora_B.weight", flags | PT_TENSOR_UP, 2, shape_b, err);
	if (!st && l->bias)
		st = pt_adapter_tensor_at(a, s, "lora_B.bias", flags | PT_TENSOR_UP, 1, shape_b, err);
	s->hook.ops = table ? &embed_hook : &linear_hook;
	return st || !residual ? st : pt_lora_residual_create(a, s, err);
}

/*
 * PEFT has the experts of a layer as two parameters, and turns what was made of linears into those of
 * twice the rank as it reads: what goes by rank, by name or by input comes out as something else.
 */
static void warn_of_experts(const struct pt_adapter *a, const struct pt_adapter_site *s)
{
	static const char *const keys[] = { "rank_pattern", "alpha_pattern" };
	struct pt_lora *l = a->state;
	bool differs = l->rslora || l->dropout > 0;

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		differs |= cJSON_GetArraySize(pt_json_get(a->config, keys[i])) > 0;
	if (!a->fresh || !s->site->expert || s->site->packed || !differs || l->warned)
		return;
	l->warned = true;
	pt_log(PT_WARN, "HF PEFT does not compute the same for experts (%s) with rslora, dropout or patterns, or refuses the file: "
	       "target_parameters gate_up_proj,down_proj is its form", s->site->path);
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	warn_of_experts(a, s);
	if (s->site->kind != PT_SITE_PARAM)
		s->state = a->state;
	if (pt_lora_tied_wanted(a, s, err))
		return err->status;
	if (s->twin)
		return find_scale(a, s, false, err) ? err->status : pt_lora_tied_create(a, s, err);
	return pt_lora_create(a, s, 0, err);
}

void pt_lora_transpose(const float *x, int64_t rows, int64_t cols, float *out)
{
	for (int64_t i = 0; i < rows; i++) {
		for (int64_t j = 0; j < cols; j++)
			out[j * rows + i] = x[i * cols + j];
	}
}

void pt_lora_add_product(float *w, int64_t rows, int64_t cols, float scale, const float *c, const float *d, int rank,
			 float *sum)
{
	for (int64_t i = 0; i < rows; i++) {
		memset(sum, 0, (size_t)cols * sizeof *sum);
		for (int k = 0; k < rank; k++) {
			for (int64_t j = 0; j < cols; j++)
				sum[j] += c[i * rank + k] * d[k * cols + j];
		}
		for (int64_t j = 0; j < cols; j++)
			w[i * cols + j] += scale * sum[j];
	}
}

static int merge_bias(struct pt_adapter *a, const struct pt_adapter_site *s, float *value, struct pt_error *err)
{
	float *b = pt_malloc((size_t)s->site->out, sizeof *b, err);
	int st = b ? pt_adapter_get(a, s->param[B_BIAS], b, err) : err->status;

	for (int64_t i = 0; !st && i < s->site->out; i++)
		value[i] += s->scale * b[i];
	free(b);
	return st;
}

/* A weight stored [in,out], and a table, take the transposed product. */
int pt_lora_merge_values(const struct pt_adapter_site *s, const float *va, const float *vb, float *value,
			 struct pt_error *err)
{
	int64_t in = s->site->in, out = s->site->out, rank = s->rank;
	bool flip = s->site->transposed || s->site->kind == PT_SITE_EMBEDDING;
	float *ta = pt_malloc((size_t)(rank * in), sizeof *ta, err);
	float *tb = pt_malloc((size_t)(rank * out), sizeof *tb, err);
	float *sum = pt_malloc((size_t)(in > out ? in : out), sizeof *sum, err);
	int st = ta && tb && sum ? 0 : err->status;

	if (!st && flip) {
		pt_lora_transpose(va, rank, in, ta);
		pt_lora_transpose(vb, out, rank, tb);
		pt_lora_add_product(value, in, out, s->scale, ta, tb, s->rank, sum);
	} else if (!st) {
		pt_lora_add_product(value, out, in, s->scale, vb, va, s->rank, sum);
	}
	free(ta);
	free(tb);
	free(sum);
	return st;
}

int pt_lora_merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		  struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	size_t na = (size_t)(s->rank * s->site->in), nb = (size_t)(s->rank * s->site->out);
	float *va, *vb;
	int st;

	if (s->site->kind == PT_SITE_PARAM)
		return pt_lora_param_merge(a, s, w, value, err);
	if (w == s->site->bias)
		return l->bias ? merge_bias(a, s, value, err) : 0;
	if (l->bias && !s->site->bias)
		return pt_error(err, PT_USAGE, "%s has no bias to merge lora_B.bias into", s->site->path);
	if (pt_lora_residual(s))
		return pt_lora_residual_merge(a, s, value, err);
	if (pt_lora_tied(s))
		return pt_lora_tied_merge(a, s, value, err);
	va = pt_malloc(na, sizeof *va, err);
	vb = pt_malloc(nb, sizeof *vb, err);
	st = va && vb ? pt_adapter_get(a, s->param[A], va, err) : err->status;
	if (!st)
		st = pt_adapter_get(a, s->param[B], vb, err);
	if (!st)
		st = pt_lora_merge_values(s, va, vb, value, err);
	free(va);
	free(vb);
	return st;
}

void pt_lora_release(struct pt_adapter *a)
{
	for (int i = 0; i < a->nsites; i++) {
		if (pt_lora_residual(&a->site[i]))
			pt_lora_residual_release(&a->site[i]);
		else if (pt_lora_tied(&a->site[i]))
			pt_lora_tied_release(&a->site[i]);
		else if (a->site[i].site->kind == PT_SITE_PARAM)
			free(a->site[i].state);
	}
	if (a->state)
		pt_lora_data_free(((struct pt_lora *)a->state)->data);
	free(a->state);
}

const struct pt_method pt_method_lora = {
	.name = "lora",
	.peft_type = "LORA",
	.paper = "Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models",
	.kinds = 1u << PT_SITE_LINEAR | 1u << PT_SITE_EMBEDDING | 1u << PT_SITE_PARAM,
	.merges = true,
	.stacks = true,
	.lowrank = true,
	.defaults = PT_LORA_DEFAULTS("\"none\"", "8", "8", "false"),
	.options = pt_lora_options,
	.targets = pt_lora_targets,
	.parse = pt_lora_parse,
	.observe = pt_lora_observe,
	.create = create,
	.init = pt_lora_init,
	.settle = pt_lora_settle,
	.merge = pt_lora_merge,
	.combiner = &pt_lora_combiner,
	.save = pt_lora_save,
	.release = pt_lora_release,
};
