/* SPDX-License-Identifier: MIT */
/*
 * lora_residual.c - initialisations that take the update's first value out of
 * the weight, so that training starts at the base's function with an update
 * that matters: PiSSA, from the largest singular values, OLoRA, from QR, and
 * CorDA (lora_data.c).
 *
 * The base stays as it is: y = W x + s B A x - s B0 A0 x, with the first
 * values A0 and B0 frozen. PEFT's file gets the two terms as one of twice the
 * rank, [A; A0] and [B, -B0], and a configuration that says so, which sits on
 * the original base; A, B, A0 and B0 stand in peft_state.safetensors.
 *
 * Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors
 * Adaptation of Large Language Models"; Büyükakyüz 2024, "OLoRA: Orthonormal
 * Low-Rank Adaptation of Large Language Models".
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "peft/lora.h"
#include "tensor/svd.h"

enum { A = PT_LORA_A, B = PT_LORA_B, A0 = PT_LORA_PARAMS, B0 };

struct residual {
	const struct pt_lora *l;
	float *kept[2];			/* what the last save() gave to the file */
};

static const char *const names[2] = { "lora_A.weight", "lora_B.weight" };

static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	const struct pt_adapter_site *s = h->state;
	const struct residual *x = s->state;

	(void)run;
	if (max > 0)
		term[0] = pt_lora_term(x->l, s);
	/* The base's part: never dropped. */
	if (max > 1)
		term[1] = (struct pt_lowrank){ .a = &s->param[A0]->t, .b = &s->param[B0]->t, .scale = -s->scale,
					       .site = s->rng };
	return 2;
}

static const struct pt_hook_ops hook = { .terms = terms };

bool pt_lora_takes_out(const struct pt_lora *l)
{
	return l->init == PT_LORA_PISSA || l->init == PT_LORA_OLORA || l->init == PT_LORA_CORDA;
}

bool pt_lora_residual(const struct pt_adapter_site *s)
{
	return s->hook.ops == &hook;
}

static char *key_of(const struct pt_adapter_site *s, const char *name, struct pt_error *err)
{
	return pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);
}

int pt_lora_residual_wanted(const struct pt_adapter *a, const struct pt_adapter_site *s, bool *yes, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	char *key;

	*yes = a->fresh && pt_lora_takes_out(l);
	if (a->fresh || !a->file[PT_IN_STATE])
		return 0;
	key = key_of(s, "lora_A0.weight", err);
	*yes = key && pt_st_find(a->file[PT_IN_STATE], key);
	if (*yes && (l->bias || cJSON_IsTrue(pt_json_get(a->config, "use_dora"))))
		pt_error(err, PT_DATA, "%s of %s contradicts %s of the configuration", key, PT_ADAPTER_STATE,
			 l->bias ? "lora_bias" : "use_dora");
	free(key);
	return err->status;
}

int pt_lora_residual_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	int flags = PT_TENSOR_STATE | PT_TENSOR_FROZEN, st = 0;
	struct residual *x;

	if (s->site->kind != PT_SITE_LINEAR)
		return pt_error(err, PT_USAGE, "%s is a %s: this init_lora_weights is for linears", s->site->path,
				s->site->module);
	if (s->rank > s->site->in || s->rank > s->site->out)
		return pt_error(err, PT_USAGE, "%s: a rank of %d is more than the module has", s->site->path, s->rank);
	if (!(s->scale > 0))
		return pt_error(err, PT_USAGE, "%s: this init_lora_weights wants a lora_alpha above 0", s->site->path);
	x = pt_calloc(1, sizeof *x, err);
	s->state = x;
	if (!x)
		return err->status;
	x->l = a->state;
	st = pt_adapter_tensor_at(a, s, "lora_A0.weight", flags, 2, s->param[A]->t.shape, err);
	if (!st)
		st = pt_adapter_tensor_at(a, s, "lora_B0.weight", flags, 2, s->param[B]->t.shape, err);
	for (int i = 0; i < 2 && !st; i++) {
		char *key = key_of(s, names[i], err);

		st = key ? pt_adapter_made(a, key, 0, err) : err->status;
		free(key);
	}
	s->hook.ops = &hook;
	return st;
}

/* W as [out,in], of the base; freed by the caller. */
static float *weight_of(const struct pt_adapter *a, const struct pt_adapter_site *s, struct pt_error *err)
{
	int64_t in = s->site->in, out = s->site->out;
	size_t n = (size_t)(in * out);
	float *w = pt_malloc(n, sizeof *w, err), *t = NULL;

	if (!w || pt_weight_value(a->model, s->site->weight, w, err)) {
		free(w);
		return NULL;
	}
	if (!s->site->transposed)
		return w;
	t = pt_malloc(n, sizeof *t, err);
	for (int64_t i = 0; t && i < out; i++)
		for (int64_t j = 0; j < in; j++)
			t[i * in + j] = w[j * out + i];
	free(w);
	return t;
}

/* B A = U diag(S) V / s, its root of the singular values on either side. */
static int pissa(const struct pt_adapter *a, const struct pt_adapter_site *s, const float *w, float *va, float *vb,
		 struct pt_error *err)
{
	int64_t in = s->site->in, out = s->site->out;
	int r = s->rank, st;
	float *value = pt_malloc((size_t)r, sizeof *value, err);

	st = value ? pt_svd_largest(a->model->dev, w, out, in, r, vb, value, va, a->stop, err) : err->status;
	for (int i = 0; i < r && !st; i++) {
		float root = sqrtf(value[i] / s->scale);

		for (int64_t j = 0; j < in; j++)
			va[i * in + j] *= root;
		for (int64_t j = 0; j < out; j++)
			vb[j * r + i] *= root;
	}
	free(value);
	return st;
}

int pt_lora_residual_init(struct pt_adapter *a, struct pt_adapter_site *s, float *va, float *vb, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	float *w = weight_of(a, s, err);
	int st = w ? 0 : err->status;

	if (!st && l->init == PT_LORA_PISSA)
		st = pissa(a, s, w, va, vb, err);
	else if (!st && l->init == PT_LORA_CORDA)
		st = pt_lora_corda(a, s, w, va, vb, err);
	else if (!st)
		st = pt_qr_first(w, s->site->out, s->site->in, s->rank, vb, va, err);
	if (!st)
		st = pt_adapter_set(a, s->param[A0], va, err);
	if (!st)
		st = pt_adapter_set(a, s->param[B0], vb, err);
	free(w);
	return st;
}

/* [A; A0] and [B, -B0] */
static int join(struct pt_adapter *a, const struct pt_adapter_site *s, float *to[2], struct pt_error *err)
{
	int64_t r = s->rank, in = s->site->in, out = s->site->out;
	float *b = pt_malloc((size_t)(2 * out * r), sizeof *b, err);
	int st = b ? 0 : err->status;

	to[0] = pt_malloc((size_t)(2 * r * in), sizeof(float), err);
	to[1] = pt_malloc((size_t)(2 * r * out), sizeof(float), err);
	if (!st && (!to[0] || !to[1]))
		st = err->status;
	for (int i = 0; i < 2 && !st; i++) {
		st = pt_adapter_get(a, s->param[i ? A0 : A], to[0] + i * r * in, err);
		if (!st)
			st = pt_adapter_get(a, s->param[i ? B0 : B], b + i * out * r, err);
	}
	for (int64_t o = 0; !st && o < out; o++) {
		for (int64_t k = 0; k < r; k++) {
			to[1][o * 2 * r + k] = b[o * r + k];
			to[1][o * 2 * r + r + k] = -b[(out + o) * r + k];
		}
	}
	free(b);
	return st;
}

static int save_site(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_st_build *file, struct pt_error *err)
{
	struct residual *x = s->state;
	int64_t shape[2][2] = { { 2 * s->rank, s->site->in }, { s->site->out, 2 * s->rank } };
	int st;

	free(x->kept[0]);
	free(x->kept[1]);
	x->kept[0] = x->kept[1] = NULL;
	st = join(a, s, x->kept, err);
	for (int i = 0; i < 2 && !st; i++) {
		char *key = key_of(s, names[i], err);

		if (!key)
			return err->status;
		pt_st_build_tensor(file, key, PT_F32, 2, shape[i], x->kept[i]);
		free(key);
	}
	return st;
}

int pt_lora_save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err)
{
	int st = 0;

	(void)config;
	for (int i = 0; i < a->nsites && !st; i++) {
		if (pt_lora_residual(&a->site[i]))
			st = save_site(a, &a->site[i], file, err);
		else if (pt_lora_tied(&a->site[i]))
			st = pt_lora_tied_save(a, &a->site[i], file, err);
	}
	return st;
}

int pt_lora_residual_merge(struct pt_adapter *a, const struct pt_adapter_site *s, float *value, struct pt_error *err)
{
	struct pt_adapter_site twice = *s;
	float *v[2] = { NULL, NULL };
	int st = join(a, s, v, err);

	twice.rank = 2 * s->rank;
	if (!st)
		st = pt_lora_merge_values(&twice, v[0], v[1], value, err);
	free(v[0]);
	free(v[1]);
	return st;
}

void pt_lora_residual_release(struct pt_adapter_site *s)
{
	struct residual *x = s->state;

	if (x) {
		free(x->kept[0]);
		free(x->kept[1]);
	}
	free(x);
}

static void multiply(cJSON *v, double by)
{
	if (cJSON_IsNumber(v))
		cJSON_SetNumberHelper(v, v->valuedouble * by);
	for (cJSON *i = cJSON_IsObject(v) ? v->child : NULL; i; i = i->next)
		multiply(i, by);
}

/* What the file says: twice the rank with the same scale, and an ordinary start. */
int pt_lora_settle(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_lora *l = a->state;
	double alpha = l->rslora ? sqrt(2) : 2;

	if (!pt_lora_takes_out(l))
		return 0;
	multiply(cJSON_GetObjectItemCaseSensitive(a->config, "r"), 2);
	multiply(cJSON_GetObjectItemCaseSensitive(a->config, "rank_pattern"), 2);
	multiply(cJSON_GetObjectItemCaseSensitive(a->config, "lora_alpha"), alpha);
	multiply(cJSON_GetObjectItemCaseSensitive(a->config, "alpha_pattern"), alpha);
	if (!cJSON_ReplaceItemInObjectCaseSensitive(a->config, "corda_config", cJSON_CreateNull()) ||
	    !cJSON_ReplaceItemInObjectCaseSensitive(a->config, "init_lora_weights", cJSON_CreateTrue()))
		return pt_error(err, PT_FAIL, "out of memory");
	return 0;
}
