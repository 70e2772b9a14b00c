/* SPDX-License-Identifier: MIT */
/*
 * lokr.c - LoKr: the update is a Kronecker product, y += alpha/r (W1 (x) W2) x,
 * of two matrices, each of which may be one of rank r, A B.
 *
 * Edalati et al. 2022, "KronA: Parameter Efficient Tuning with Kronecker
 * Adapter"; Yeh et al. 2024, "Navigating Text-To-Image Customization: From
 * LyCORIS Fine-Tuning to Model Evaluation".
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/delta.h"
#include "peft/lora.h"

enum init { PLAIN, LYCORIS, RANDOM };

struct lokr {
	bool both;			/* W1 may be a product too */
	int64_t factor;
	enum init init;
};

/* Shapes [l,m] of W1 and [k,n] of W2, and which of the site's tensors they are. */
struct lokr_site {
	int64_t l, m, k, n;
	bool whole[2];			/* W1, W2: not a product */
	int at[2];			/* first tensor of each */
};

static const char defaults[] =
	"{\"alpha\":8,\"alpha_pattern\":{},\"auto_mapping\":null,\"base_model_name_or_path\":null,\"decompose_both\":false,"
	"\"decompose_factor\":-1,\"exclude_modules\":null,\"inference_mode\":true,\"init_weights\":true,\"layers_pattern\":null,"
	"\"layers_to_transform\":null,\"module_dropout\":0.0,\"modules_to_save\":null,\"peft_type\":\"LOKR\",\"r\":8,"
	"\"rank_dropout\":0.0,\"rank_dropout_scale\":false,\"rank_pattern\":{},\"revision\":null,\"target_modules\":null,"
	"\"task_type\":null,\"use_effective_conv2d\":false}";

static const struct pt_option options[] = {
	PT_DELTA_OPTIONS,
	{ .name = "decompose-both", .key = "decompose_both", .kind = PT_OPTION_FLAG,
	  .help = "the first matrix may be of low rank too" },
	{ .name = "decompose-factor", .key = "decompose_factor", .kind = PT_OPTION_INT, .arg = "N", .min = -1, .max = 1 << 20,
	  .help = "largest side of the first matrix; -1: as square as can be (-1)" },
	{ .name = "init", .key = "init_weights", .kind = PT_OPTION_WORD, .arg = "HOW", .words = "default=true|false|lycoris",
	  .help = "default, false or lycoris" },
	{ 0 }
};

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const cJSON *init = cJSON_GetObjectItemCaseSensitive(a->config, "init_weights");
	struct lokr *l = pt_calloc(1, sizeof *l, err);

	a->state = l;
	if (!l || pt_json_bool(a->config, "decompose_both", false, &l->both, err) ||
	    pt_json_int(a->config, "decompose_factor", -1, 1 << 20, -1, &l->factor, err))
		return err->status;
	l->init = cJSON_IsFalse(init) ? RANDOM : PLAIN;
	if (cJSON_IsString(init) && !strcmp(init->valuestring, "lycoris"))
		l->init = LYCORIS;
	else if (init && !cJSON_IsBool(init) && !cJSON_IsNull(init))
		return pt_error(err, PT_USAGE, "init_weights: neither true, false nor lycoris");
	return pt_delta_no_dropout(a, err);
}

/* d = m n with m <= n: m the factor where it divides, else as near to the root as can be and at most the factor. */
static void factorize(int64_t d, int64_t factor, int64_t *m, int64_t *n)
{
	int64_t sum = 1 + d;

	*m = 1;
	*n = d;
	if (factor > 0 && d % factor == 0) {
		*m = factor;
		*n = d / factor;
		return;
	}
	if (factor <= 0)
		factor = d;
	while (*m < *n) {
		int64_t next = *m + 1;

		while (d % next)
			next++;
		if (next + d / next > sum || next > factor)
			break;
		*m = next;
		*n = d / next;
	}
	if (*m > *n) {
		int64_t t = *m;

		*m = *n;
		*n = t;
	}
}

/* W1 or W2 of a site, recorded. */
static struct pt_tensor *part(struct pt_run *run, const struct pt_adapter_site *s, int which)
{
	const struct lokr_site *x = s->state;
	struct pt_param *const *p = s->param + x->at[which];

	return x->whole[which] ? &p[0]->t : pt_delta_product(run, &p[0]->t, &p[1]->t);
}

static struct pt_tensor *delta(struct pt_run *run, const struct pt_adapter_site *s)
{
	struct pt_tensor *one = part(run, s, 0), *two = part(run, s, 1), *d = one && two ? pt_op_kron(run, one, two) : NULL;

	pt_tensor_done(run, one);
	pt_tensor_done(run, two);
	return d;
}

static struct pt_tensor *output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	return pt_delta_output(run, h->state, delta, x, y);
}

static const struct pt_hook_ops hook = { .output = output };

static int stored(const struct pt_adapter *a, const struct pt_adapter_site *s, const char *name,
		  const struct pt_st_tensor **out, struct pt_error *err)
{
	char *key = pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);

	*out = key ? pt_adapter_stored(a, key) : NULL;
	free(key);
	return err->status;
}

/* Whether W1, or W2, is none of a lower rank, by the rule. */
static bool is_whole(const struct lokr *l, const struct pt_adapter_site *s, int which)
{
	const struct lokr_site *x = s->state;
	int64_t rows = which ? x->k : x->l, cols = which ? x->n : x->m;

	return (!which && !l->both) || !(s->rank < (double)(rows > cols ? rows : cols) / 2);
}

/* Which of the two are products, and of what rank: as the file has it, which the rule has to say too, else by that. */
static int find_form(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	static const char *const product[2] = { "lokr_w1_b", "lokr_w2_b" };
	const struct lokr *l = a->state;
	struct lokr_site *x = s->state;
	/* PEFT sorts them: the first that matches may be another now. */
	bool sorted = cJSON_GetArraySize(pt_json_get(a->config, "rank_pattern")) > 1;

	for (int i = 0; i < 2; i++) {
		const struct pt_st_tensor *t = NULL;

		if (!a->fresh && (stored(a, s, product[i], &t, err) || pt_delta_stored(a, s, t, err)))
			return err->status;
		x->whole[i] = a->fresh ? is_whole(l, s, i) : !t;
	}
	for (int i = 0; i < 2 && !sorted; i++) {
		if (x->whole[i] != is_whole(l, s, i))
			return pt_error(err, PT_DATA, "%s.lokr_w%d %s; of r %d and decompose_both %s it %s", s->site->path, i + 1,
					x->whole[i] ? "is one matrix" : "is a product", s->rank, l->both ? "true" : "false",
					x->whole[i] ? "is a product" : "is one matrix");
	}
	return 0;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	static const char *const names[2][3] = {
		{ "lokr_w1", "lokr_w1_a", "lokr_w1_b" }, { "lokr_w2", "lokr_w2_a", "lokr_w2_b" },
	};
	const struct lokr *l = a->state;
	struct lokr_site *x = pt_calloc(1, sizeof *x, err);
	int st = 0;

	s->state = x;
	if (!x || pt_delta_scale(a, s, err))
		return err->status;
	factorize(s->site->in, l->factor, &x->m, &x->n);
	factorize(s->site->out, l->factor, &x->l, &x->k);
	if (find_form(a, s, err))
		return err->status;
	s->hook.ops = &hook;
	for (int i = 0; i < 2 && !st; i++) {
		int64_t rows = i ? x->k : x->l, cols = i ? x->n : x->m;

		x->at[i] = s->nparams;
		if (x->whole[i]) {
			st = pt_adapter_tensor_at(a, s, names[i][0], 0, 2, (int64_t[]){ rows, cols }, err);
			continue;
		}
		st = pt_adapter_tensor_at(a, s, names[i][1], 0, 2, (int64_t[]){ rows, s->rank }, err);
		if (!st)
			st = pt_adapter_tensor_at(a, s, names[i][2], 0, 2, (int64_t[]){ s->rank, cols }, err);
	}
	return st;
}

/* One factor is zero: of W1 the first, or of W2 the last. */
static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct lokr *l = a->state;
	const struct lokr_site *x = s->state;
	int zero = l->init == RANDOM ? -1 : l->init == PLAIN ? x->at[0] : s->nparams - 1, st = 0;

	for (int i = 0; i < s->nparams && !st; i++)
		st = pt_delta_fresh(a, s->param[i], i == zero, seed, err);
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	const struct lokr_site *x = s->state;
	int64_t in = s->site->in, out = s->site->out;
	float *v[PT_SITE_MAX_TENSORS], *part[2], *d;
	int st;

	if (w == s->site->bias)
		return 0;
	part[0] = pt_malloc((size_t)(x->l * x->m), sizeof(float), err);
	part[1] = pt_malloc((size_t)(x->k * x->n), sizeof(float), err);
	d = pt_malloc((size_t)(in * out), sizeof *d, err);
	st = pt_delta_get(a, s, v, err);
	for (int i = 0; i < 2 && !st && !err->status; i++) {
		int64_t rows = i ? x->k : x->l, cols = i ? x->n : x->m;

		if (x->whole[i])
			memcpy(part[i], v[x->at[i]], (size_t)(rows * cols) * sizeof(float));
		else
			pt_delta_multiply(v[x->at[i]], v[x->at[i] + 1], rows, s->rank, cols, part[i]);
	}
	for (int64_t o = 0; !err->status && o < out; o++)
		for (int64_t i = 0; i < in; i++)
			d[o * in + i] = part[0][o / x->k * x->m + i / x->n] * part[1][o % x->k * x->n + i % x->n];
	if (!err->status)
		pt_delta_merge(s, d, value);
	pt_delta_put(s, v);
	free(part[0]);
	free(part[1]);
	free(d);
	return err->status;
}

static void release(struct pt_adapter *a)
{
	for (int i = 0; i < a->nsites; i++)
		free(a->site[i].state);
	free(a->state);
}

const struct pt_method pt_method_lokr = {
	.name = "lokr",
	.peft_type = "LOKR",
	.paper = "Edalati et al. 2022, KronA: Parameter Efficient Tuning with Kronecker Adapter",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.no_conv1d = true,
	.defaults = defaults,
	.options = options,
	.targets = pt_lora_targets,
	.parse = parse,
	.create = create,
	.init = init,
	.merge = merge,
	.release = release,
};
