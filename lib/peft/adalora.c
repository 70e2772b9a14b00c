/* SPDX-License-Identifier: MIT */
/*
 * adalora.c - AdaLoRA: y += s/init_r B diag(E) A drop(x), as a singular value
 * decomposition whose components are pruned while it trains, the least
 * important of all modules first; a loss keeps A and B near orthonormal.
 *
 * PEFT's file holds what pruning left. Until the run is over all components
 * train, for one may come back to life between two prunings; they and what is
 * remembered of their importance stand in peft_state.safetensors, so that a
 * run goes on where it was, which PEFT cannot.
 *
 * Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for
 * Parameter-Efficient Fine-Tuning".
 */
#include "peft/adalora.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum { A = PT_ADALORA_A, B = PT_ADALORA_B, E = PT_ADALORA_E, PARAMS = PT_ADALORA_PARAMS };

static const char *const names[PARAMS] = { "lora_A", "lora_B", "lora_E" };

static const struct pt_option options[] = {
	{ .name = "rank", .letter = 'r', .key = "target_r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank of the update (8); of adalora the mean rank at the end" },
	{ .name = "init-rank", .key = "init_r", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1 << 20,
	  .help = "rank at the start (12)" },
	{ .name = "total-steps", .key = "total_step", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1e15,
	  .help = "steps of the schedule (those of the run)" },
	{ .name = "tinit", .key = "tinit", .kind = PT_OPTION_INT, .arg = "N", .max = 1e15,
	  .help = "steps before pruning (0)" },
	{ .name = "tfinal", .key = "tfinal", .kind = PT_OPTION_INT, .arg = "N", .max = 1e15,
	  .help = "steps after pruning (0)" },
	{ .name = "delta-t", .key = "deltaT", .kind = PT_OPTION_INT, .arg = "N", .min = 1, .max = 1e15,
	  .help = "prune every N steps (1)" },
	{ .name = "beta1", .key = "beta1", .kind = PT_OPTION_FLOAT, .arg = "F", .min = 1e-9, .max = 0.999999999,
	  .help = "smoothing of the sensitivity (0.85)" },
	{ .name = "beta2", .key = "beta2", .kind = PT_OPTION_FLOAT, .arg = "F", .min = 1e-9, .max = 0.999999999,
	  .help = "smoothing of its uncertainty (0.85)" },
	{ .name = "orthogonal", .key = "orth_reg_weight", .kind = PT_OPTION_FLOAT, .arg = "F", .max = 1e9,
	  .help = "weight of the loss that keeps A and B orthonormal (0.5)" },
	PT_LORA_OPTION_ALPHA,
	PT_LORA_OPTION_DROPOUT,
	PT_OPTIONS_TARGETS,
	PT_OPTIONS_LAYERS,
	{ .name = "init", .key = "init_lora_weights", .kind = PT_OPTION_WORD, .arg = "HOW", .words = "default=true|false",
	  .help = "default or false" },
	PT_LORA_OPTION_BIAS,
	PT_LORA_OPTION_TOKENS,
	{ 0 }
};

static const char *targets(const struct pt_model *m)
{
	const struct pt_family *f = m->cfg.family;

	return f->adalora_targets ? f->adalora_targets : f->lora_targets;
}

/* Keys of LoRA that PEFT ignores here: a fresh configuration that sets them does not mean what it says. */
static int refuse_ignored(const struct pt_adapter *a, struct pt_error *err)
{
	static const char *const key[] = { "use_rslora", "use_dora", "lora_bias", "alpha_pattern", "target_parameters" };

	for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
		const cJSON *v = pt_json_get(a->config, key[i]);

		if (cJSON_IsTrue(v) || ((cJSON_IsObject(v) || cJSON_IsArray(v)) && v->child))
			return pt_error(err, PT_USAGE, "%s does not go with adalora", key[i]);
	}
	return 0;
}

static int check(const struct pt_adapter *a, const struct pt_adalora *l, struct pt_error *err)
{
	if (!(l->beta1 > 0 && l->beta1 < 1 && l->beta2 > 0 && l->beta2 < 1))
		return pt_error(err, PT_USAGE, "beta1 %g and beta2 %g are not both in (0, 1)", l->beta1, l->beta2);
	if (!(l->orth >= 0))
		return pt_error(err, PT_USAGE, "orth_reg_weight %g is negative", l->orth);
	if (l->total && l->tinit >= l->total - l->tfinal)
		return pt_error(err, PT_USAGE, "tinit %lld and tfinal %lld leave no step of %lld for pruning",
				(long long)l->tinit, (long long)l->tfinal, (long long)l->total);
	if (!a->fresh)
		return 0;
	if (l->target_r > l->init_r)
		return pt_error(err, PT_USAGE, "target_r %lld is above init_r %lld: ranks only come down",
				(long long)l->target_r, (long long)l->init_r);
	return refuse_ignored(a, err);
}

static int parse(struct pt_adapter *a, struct pt_error *err)
{
	const int64_t most = INT64_C(1) << 50;
	struct pt_adalora *l = pt_calloc(1, sizeof *l, err);
	const cJSON *pattern = pt_json_get(a->config, "rank_pattern"), *total = pt_json_get(a->config, "total_step");

	a->state = l;
	if (!l || pt_lora_read(a, &l->lora, err) ||
	    pt_json_int(a->config, "init_r", 1, 1 << 20, 12, &l->init_r, err) ||
	    pt_json_int(a->config, "target_r", 1, 1 << 20, 8, &l->target_r, err) ||
	    pt_json_int(a->config, "tinit", 0, most, 0, &l->tinit, err) ||
	    pt_json_int(a->config, "tfinal", 0, most, 0, &l->tfinal, err) ||
	    pt_json_int(a->config, "deltaT", 1, most, 1, &l->delta, err) ||
	    (total && pt_json_int(a->config, "total_step", 1, most, 0, &l->total, err)) ||
	    pt_json_double(a->config, "beta1", 0.85, &l->beta1, err) ||
	    pt_json_double(a->config, "beta2", 0.85, &l->beta2, err) ||
	    pt_json_double(a->config, "orth_reg_weight", 0.5, &l->orth, err))
		return err->status;
	if (pattern && !cJSON_IsObject(pattern))
		return pt_error(err, PT_USAGE, "rank_pattern: not an object of lists");
	if (a->fresh && pattern)
		return pt_error(err, PT_USAGE, "rank_pattern is a result of training, not given beforehand");
	l->patterned = pattern;
	return check(a, l, err);
}

static struct pt_lowrank term_of(struct pt_run *run, const struct pt_adapter_site *s)
{
	const struct pt_adalora_site *x = s->state;
	struct pt_compute was = pt_run_exact(run);
	struct pt_tensor *b = pt_op_affine(run, &s->param[B]->t, &s->param[E]->t, NULL);

	pt_run_resume(run, was);
	return (struct pt_lowrank){ .a = &s->param[A]->t, .b = b, .scale = s->scale,
				    .dropout = (float)x->l->lora.dropout, .site = s->rng };
}

/* y + s B diag(E) A x, inside the product. */
static int terms(struct pt_run *run, struct pt_hook *h, struct pt_lowrank *term, int max)
{
	if (max > 0)
		term[0] = term_of(run, h->state);
	return 1;
}

static const struct pt_hook_ops hook = { .terms = terms };

static char *key_of(const struct pt_adapter_site *s, const char *name, struct pt_error *err)
{
	return pt_format(err, PT_KEY_PREFIX "%s.%s", s->site->path, name);
}

/* The components of a site that a file's rank_pattern keeps: a list of booleans, or NULL for all. */
static const cJSON *pattern_of(const struct pt_adapter *a, const struct pt_adapter_site *s, struct pt_error *err)
{
	char *key = pt_format(err, "%s.lora_E", s->site->path);
	const cJSON *v = key ? pt_json_get(pt_json_get(a->config, "rank_pattern"), key) : NULL;

	free(key);
	return v;
}

/* How many there are, and whether tensors of so many components fit them. */
static int check_pattern(const struct pt_adapter *a, const struct pt_adapter_site *s, int64_t rank,
			 struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	const cJSON *list = pattern_of(a, s, err);
	int64_t kept = list ? 0 : l->init_r, n = list ? cJSON_GetArraySize(list) : l->init_r;

	for (const cJSON *v = list ? list->child : NULL; v; v = v->next)
		kept += cJSON_IsTrue(v);
	if (n != l->init_r)
		return pt_error(err, PT_DATA, "rank_pattern of %s has %lld entries, init_r is %lld", s->site->path,
				(long long)n, (long long)l->init_r);
	if (kept != rank)
		return pt_error(err, PT_DATA, "%s.lora_A has %lld rows, rank_pattern and init_r say %lld", s->site->path,
				(long long)rank, (long long)kept);
	return 0;
}

/* Whether the state holds all components, and else how many the file has. */
static int stored_rank(const struct pt_adapter *a, const struct pt_adapter_site *s, bool *whole, int64_t *rank,
		       struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	char *key = key_of(s, names[A], err);
	const struct pt_st_tensor *t;

	*rank = l->init_r;
	*whole = true;
	if (!key || a->fresh) {
		free(key);
		return err->status;
	}
	*whole = a->file[PT_IN_STATE] != NULL;
	t = a->file[PT_IN_WEIGHTS] ? pt_st_find(a->file[PT_IN_WEIGHTS], key) : NULL;
	free(key);
	if (*whole || !t || t->ndim != 2)
		return 0;
	*rank = t->shape[0];
	return check_pattern(a, s, *rank, err);
}

static int create_tensors(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err)
{
	const int64_t shape[PARAMS][2] = { { s->rank, s->site->in }, { s->site->out, s->rank }, { s->rank, 1 } };
	int st = 0;

	for (int i = 0; i < PARAMS && !st; i++) {
		char *key = flags & PT_TENSOR_STATE ? key_of(s, names[i], err) : NULL;

		st = key ? pt_adapter_made(a, key, 0, err) : err->status;
		if (!st)
			st = pt_adapter_tensor_at(a, s, names[i], flags | (i == B ? PT_TENSOR_UP : 0), 2, shape[i], err);
		free(key);
	}
	return st;
}

static int create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	struct pt_adalora_site *x = pt_calloc(1, sizeof *x, err);
	bool stored;
	int64_t rank;
	int flags;

	s->state = x;
	if (!x || stored_rank(a, s, &stored, &rank, err))
		return err->status;
	x->l = l;
	x->whole = stored || a->trainable;
	s->rank = (int)(x->whole ? l->init_r : rank);
	s->scale = (float)((l->lora.alpha > 0 ? l->lora.alpha : (double)l->init_r) / ((double)l->init_r + 1e-5));
	/* Where all of it is pruned there is nothing to add. */
	s->hook.ops = s->rank ? &hook : NULL;
	flags = !x->whole ? 0 : PT_TENSOR_STATE | (stored ? 0 : PT_TENSOR_OPTIONAL);
	if (create_tensors(a, s, flags, err) || !x->whole)
		return err->status;
	return pt_adalora_remember(a, s, flags, err);
}

static int set_mask(struct pt_adapter *a, const struct pt_adapter_site *s, const cJSON *list, struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	float *mask = pt_malloc((size_t)s->rank, sizeof *mask, err);
	int st;

	for (int i = 0; mask && i < s->rank; i++)
		mask[i] = !list || cJSON_IsTrue(cJSON_GetArrayItem(list, i));
	st = mask ? pt_adapter_set(a, x->mask, mask, err) : err->status;
	free(mask);
	return st;
}

static int init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	bool plain = l->lora.init == PT_LORA_DEFAULT;
	int st = set_mask(a, s, NULL, err);

	if (!plain && l->lora.init != PT_LORA_FALSE)
		return pt_error(err, PT_USAGE, "init_lora_weights of adalora is true or false");
	for (int i = 0; i < PARAMS && !st; i++) {
		size_t n = (size_t)pt_tensor_count(&s->param[i]->t);
		float *v = pt_calloc(n, sizeof *v, err);

		if (v && !(plain && i == E))
			pt_rng_normal(pt_rng_mix_str(seed, s->param[i]->name), v, n, 0, plain ? 0.02f : 1);
		st = v ? pt_adapter_set(a, s->param[i], v, err) : err->status;
		free(v);
	}
	return st;
}

/* One of the file's tensors, [rank,width] or (B) [width,rank], with zeros for components that it lacks. */
static int load_one(struct pt_adapter *a, struct pt_adapter_site *s, int which, const cJSON *list, struct pt_error *err)
{
	int64_t all = s->rank, width = which == A ? s->site->in : which == B ? s->site->out : 1, rank, have = 0;
	char *key = key_of(s, names[which], err);
	const struct pt_st_tensor *t = key ? pt_st_find(a->file[PT_IN_WEIGHTS], key) : NULL;
	float *from = NULL, *to = NULL;
	int st = key ? 0 : err->status;

	if (!st && (!t || t->ndim != 2 || t->shape[which == B ? 0 : 1] != width))
		st = pt_error(err, PT_DATA, "%s is missing, or not of the module's shape", key);
	rank = st ? 0 : t->shape[which == B ? 1 : 0];
	if (!st)
		st = check_pattern(a, s, rank, err);
	if (!st) {
		from = pt_malloc(t->count + 1, sizeof *from, err);
		to = pt_calloc((size_t)(all * width), sizeof *to, err);
		st = from && to ? 0 : err->status;
	}
	if (!st)
		st = pt_st_floats(t, from, err);
	for (int64_t i = 0; !st && i < all; i++) {
		if (list && !cJSON_IsTrue(cJSON_GetArrayItem(list, (int)i)))
			continue;
		for (int64_t j = 0; j < width; j++)
			to[which == B ? j * all + i : i * width + j] = from[which == B ? j * rank + have : have * width + j];
		have++;
	}
	if (!st)
		st = pt_adapter_set(a, s->param[which], to, err);
	free(key);
	free(from);
	free(to);
	return st;
}

/* A directory of PEFT that is to be trained on: the components that it kept. */
static int load(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	const cJSON *list = pattern_of(a, s, err);
	int st = 0;

	if (!x->whole || a->file[PT_IN_STATE])
		return 0;
	for (int i = 0; i < PARAMS && !st; i++)
		st = load_one(a, s, i, list, err);
	return st ? st : set_mask(a, s, list, err);
}

/* Values of a site on the host; freed by the caller, also after a failure. */
static int get_all(struct pt_adapter *a, const struct pt_adapter_site *s, float *v[PARAMS], struct pt_error *err)
{
	int st = 0;

	for (int i = 0; i < PARAMS; i++)
		v[i] = NULL;
	for (int i = 0; i < PARAMS && !st; i++) {
		v[i] = pt_malloc((size_t)pt_tensor_count(&s->param[i]->t) + 1, sizeof **v, err);
		st = v[i] ? pt_adapter_get(a, s->param[i], v[i], err) : err->status;
	}
	return st;
}

static void free_all(float *v[PARAMS])
{
	for (int i = 0; i < PARAMS; i++)
		free(v[i]);
}

/*
 * What PEFT's file gets of a site: components that are not pruned, or have
 * come back to life since, so that it computes what this one does; packed in
 * place. *n of them, listed in pattern.
 */
static int pack(struct pt_adapter *a, const struct pt_adapter_site *s, float *v[PARAMS], cJSON *pattern, int64_t *n,
		struct pt_error *err)
{
	const struct pt_adalora_site *x = s->state;
	int64_t r = s->rank, in = s->site->in, out = s->site->out, k = 0;
	float *mask = pt_malloc((size_t)r, sizeof *mask, err);
	int st = mask ? pt_adapter_get(a, x->mask, mask, err) : err->status;

	for (int64_t i = 0; !st && i < r; i++) {
		bool keep = mask[i] != 0 || v[E][i] != 0;

		mask[i] = keep;
		cJSON_AddItemToArray(pattern, cJSON_CreateBool(keep));
		if (!keep)
			continue;
		memmove(v[A] + k * in, v[A] + i * in, (size_t)in * sizeof(float));
		v[E][k++] = v[E][i];
	}
	*n = k;
	/* Row by row, so that nothing is overwritten before it is read. */
	for (int64_t o = 0, at = 0; !st && o < out; o++) {
		for (int64_t i = 0; i < r; i++) {
			if (mask[i] != 0)
				v[B][at++] = v[B][o * r + i];
		}
	}
	free(mask);
	return st;
}

static int save_site(struct pt_adapter *a, int site, struct pt_st_build *file, cJSON *patterns, bool *pruned,
		     struct pt_error *err)
{
	struct pt_adapter_site *s = &a->site[site];
	struct pt_adalora *l = a->state;
	float **v = l->kept + PARAMS * site;
	char *key = pt_format(err, "%s.lora_E", s->site->path);
	cJSON *list = key ? cJSON_AddArrayToObject(patterns, key) : NULL;
	int64_t n, shape[2];
	int st;

	free(key);
	free_all(v);
	st = get_all(a, s, v, err);
	if (!st && !list)
		st = pt_error(err, PT_FAIL, "out of memory");
	if (!st)
		st = pack(a, s, v, list, &n, err);
	for (int i = 0; i < PARAMS && !st; i++) {
		key = key_of(s, names[i], err);
		if (!key)
			return err->status;
		shape[0] = i == B ? s->site->out : n;
		shape[1] = i == A ? s->site->in : i == B ? n : 1;
		pt_st_build_tensor(file, key, PT_F32, 2, shape, v[i]);
		free(key);
	}
	*pruned |= !st && n < s->rank;
	return st;
}

static int save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *err)
{
	struct pt_adalora *l = a->state;
	cJSON *patterns;
	bool pruned = false;
	int st = 0;

	if (!a->nsites || !((struct pt_adalora_site *)a->site[0].state)->whole)
		return 0;
	if (!l->kept)
		l->kept = pt_calloc((size_t)(PARAMS * a->nsites), sizeof *l->kept, err);
	patterns = l->kept ? cJSON_CreateObject() : NULL;
	if (!patterns)
		return err->status ? err->status : pt_error(err, PT_FAIL, "out of memory");
	for (int i = 0; i < a->nsites && !st; i++)
		st = save_site(a, i, file, patterns, &pruned, err);
	if (!st && (pruned || l->patterned)) {
		cJSON_DeleteItemFromObjectCaseSensitive(config, "rank_pattern");
		if (cJSON_AddItemToObject(config, "rank_pattern", patterns))
			return 0;
		st = pt_error(err, PT_FAIL, "out of memory");
	}
	cJSON_Delete(patterns);
	return st;
}

static int merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		 struct pt_error *err)
{
	int64_t r = s->rank;
	float *v[PARAMS];
	int st;

	if (w == s->site->bias || !r)
		return 0;
	st = get_all(a, s, v, err);
	for (int64_t i = 0; !st && i < s->site->out * r; i++)
		v[B][i] *= v[E][i % r];
	if (!st)
		st = pt_lora_merge_values(s, v[A], v[B], value, err);
	free_all(v);
	return st;
}

/* The mean over all A and B of how far they are from orthonormal. */
static struct pt_tensor *loss(struct pt_run *run, struct pt_adapter *a)
{
	const struct pt_adalora *l = a->state;
	struct pt_compute was = pt_run_exact(run);
	struct pt_tensor *sum = NULL;

	for (int i = 0; i < a->nsites && l->orth > 0 && !run->err.status; i++) {
		for (int k = A; k <= B; k++) {
			struct pt_tensor *t = pt_op_orthogonality(run, &a->site[i].param[k]->t, k == B);

			sum = sum ? pt_op_add(run, sum, t) : t;
		}
	}
	if (sum)
		sum = pt_op_scale(run, sum, (float)(l->orth / (2 * a->nsites)));
	pt_run_resume(run, was);
	return sum;
}

static void release(struct pt_adapter *a)
{
	struct pt_device *dev = a->model->dev;
	struct pt_adalora *l = a->state;

	for (int i = 0; i < a->nsites; i++) {
		free(a->site[i].state);
		if (l && l->kept)
			free_all(l->kept + PARAMS * i);
	}
	for (int i = 0; l && i < 2; i++) {
		if (l->tmp[i])
			dev->free(dev, l->tmp[i], l->room * sizeof(float));
	}
	if (l)
		free(l->kept);
	free(l);
}

const struct pt_method pt_method_adalora = {
	.name = "adalora",
	.peft_type = "ADALORA",
	.paper = "Zhang et al. 2023, AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
	.kinds = 1u << PT_SITE_LINEAR,
	.merges = true,
	.lowrank = true,
	.defaults = PT_LORA_DEFAULTS_OF("ADALORA", "\"none\"", "8", "8", "false", "null",
		"\"beta1\":0.85,\"beta2\":0.85,\"deltaT\":1,\"init_r\":12,\"orth_reg_weight\":0.5,\"target_r\":8,"
		"\"tfinal\":0,\"tinit\":0,\"total_step\":null,"),
	.options = options,
	.targets = targets,
	.parse = parse,
	.create = create,
	.init = init,
	.load = load,
	.merge = merge,
	.save = save,
	.begin = pt_adalora_begin,
	.plan = pt_adalora_plan,
	.loss = loss,
	.after_step = pt_adalora_after_step,
	.release = release,
};
