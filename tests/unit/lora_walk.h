/* SPDX-License-Identifier: MIT */
/*
 * lora_walk.h - walks over the adapters of tests/data/lora/KIN, against float64
 * values that tests/golden/make_lora.py took from HF PEFT (make_bottleneck.py
 * from AdapterHub's library): logits, loss,
 * gradients, the losses of ten steps of AdamW and the tensors after them, by
 * the rule of golden_walk.h, in bf16 too where a case has that (but for the
 * steps); switched off and on, and merged. And the
 * mutations: what leaving out any one hyper-parameter moves. A kin is a test
 * program with a table of those, lora_KIN.c.
 */
#ifndef PT_LORA_WALK_H
#define PT_LORA_WALK_H

#define FIX_REAL_DEVICES
#include "merge_fix.h"

#include "base/mem.h"
#include "peft/adapter_priv.h"
#include "train/optimizer.h"
#include "train/schedule.h"

static const char *const lwalk_devices[] = { "ref", "cpu", "guard", NULL };

struct lwalk_mutation {
	const char *name;
	bool hyper;			/* a hyper-parameter; else a key of adapter_config.json */
	const char *key, *value;
};

struct lfix {
	struct mfix x;
	char adapter[230];		/* its directory */
	char below[2][230];		/* those of adapters below it */
	int nbelow;
	cJSON *config;			/* adapter_config.json; may be changed before it is opened */
	cJSON *hyper;
	struct pt_adapter *a;
};

static void lfix_golden_of(struct lfix *l, const char *set, const char *name)
{
	memset(l, 0, sizeof *l);
	l->x.store = -1;
	golden_find(&l->x.g, set, name);
	l->x.config = cJSON_Duplicate(pt_json_get(l->x.g.about, "config"), 1);
	l->config = cJSON_Duplicate(pt_json_get(l->x.g.about, "adapter"), 1);
	l->hyper = cJSON_Duplicate(pt_json_get(l->x.g.about, "hyper"), 1);
	assert_true(l->x.config && l->config && l->hyper);
}

static void lfix_golden(struct lfix *l, const char *name)
{
	lfix_golden_of(l, "lora", name);
}

/* The tensors of this table, from names and indices, as a file of a directory. */
static void lfix_write_tensors(struct lfix *l, const cJSON *table, const char *dir, const char *file)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_st_build b;
	const cJSON *p;
	char path[300];
	float *data[256];
	int n = 0;

	pt_st_build_init(&b);
	cJSON_ArrayForEach(p, table) {
		int64_t shape[3] = { 1, 1, 1 };
		int ndim = cJSON_GetArraySize(p);

		assert_true(n < 256 && ndim <= 3);
		for (int i = 0; i < ndim; i++)
			shape[i] = cJSON_GetArrayItem(p, i)->valueint;
		data[n] = malloc((size_t)(shape[0] * shape[1] * shape[2]) * sizeof(float));
		golden_weight(p->string, ndim, shape, data[n]);
		pt_st_build_tensor(&b, p->string, PT_F32, ndim, shape, data[n]);
		/* The second name of a tied pair that trains whole. */
		if (cJSON_IsTrue(pt_json_get(l->config, "ensure_weight_tying")) && strstr(p->string, "embed_tokens.weight"))
			pt_st_build_tensor(&b, "base_model.model.lm_head.weight", PT_F32, ndim, shape, data[n]);
		n++;
	}
	snprintf(path, sizeof path, "%s/%s", dir, file);
	assert_ok(pt_st_build_write(&b, path, &err), &err);
	pt_st_build_release(&b);
	while (n--)
		free(data[n]);
}

/* Likewise those below it. */
static void lfix_write_below(struct lfix *l, const struct pt_layout *layout)
{
	struct pt_error err = PT_ERROR_INIT;
	const cJSON *b;

	cJSON_ArrayForEach(b, pt_json_get(l->x.g.about, "below")) {
		char *dir = l->below[l->nbelow];

		snprintf(dir, sizeof l->below[0], "%s/below%d", l->x.dir, l->nbelow++);
		assert_ok(pt_dir_make(dir, &err), &err);
		assert_ok(pt_json_write(pt_json_get(b, "adapter"), dir, PT_ADAPTER_CONFIG, &err), &err);
		lfix_write_tensors(l, pt_json_get(b, "tensors"), dir, layout->weights);
	}
}

/* A directory with a state, which makes tensors of the other file: by way of an adapter with these values. */
static void lfix_write_made(struct lfix *l)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_adapter *a;

	assert_ok(pt_adapter_new(&a, l->x.m, cJSON_Duplicate(l->config, true), 1, NULL, &err), &err);
	for (size_t i = 0; i < a->ntensors; i++) {
		const struct pt_tensor *t = &a->tensor[i].param->t;
		float *v = malloc((size_t)pt_tensor_count(t) * sizeof *v);

		golden_weight(a->tensor[i].key, t->ndim, t->shape, v);
		assert_ok(pt_adapter_set(a, a->tensor[i].param, v, &err), &err);
		free(v);
	}
	assert_ok(pt_adapter_save(a, l->adapter, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
}

/* The adapter's directory as its library would write it, and what of it no file of that can hold. */
static void lfix_write(struct lfix *l)
{
	const struct pt_layout *layout = pt_layout_of(l->config);
	const cJSON *head = pt_json_get(l->x.g.about, "head");
	struct pt_error err = PT_ERROR_INIT;

	snprintf(l->adapter, sizeof l->adapter, "%s/adapter", l->x.dir);
	assert_ok(pt_dir_make(l->adapter, &err), &err);
	if (cJSON_GetArraySize(pt_json_get(l->x.g.about, "state"))) {
		lfix_write_made(l);
		return;
	}
	assert_ok(pt_json_write(l->config, l->adapter, PT_ADAPTER_CONFIG, &err), &err);
	lfix_write_tensors(l, pt_json_get(l->x.g.about, "tensors"), l->adapter, layout->weights);
	lfix_write_below(l, layout);
	if (!head)
		return;
	assert_ok(pt_json_write(head, l->adapter, layout->head_config, &err), &err);
	lfix_write_tensors(l, pt_json_get(l->x.g.about, "head_tensors"), l->adapter, layout->head);
}

/* The model, with the head that the adapter brings where that has one of its own. */
static void lfix_open_model(struct lfix *l, const char *device)
{
	const cJSON *head = pt_json_get(l->x.g.about, "head");
	const struct pt_layout *layout = pt_layout_of(l->config);
	struct pt_error err = PT_ERROR_INIT;
	struct pt_head_spec spec = { 0 };
	cJSON *c = cJSON_CreateObject();

	if (head && layout->spec) {
		cJSON_AddItemReferenceToObject(c, "head_config", (cJSON *)(uintptr_t)head);
		assert_ok(layout->spec(c, &spec, &err), &err);
	}
	l->x.o.head_may_lack = true;
	l->x.o.head = spec.out ? &spec : NULL;
	mfix_open(&l->x, device);
	l->x.o.head = NULL;
	pt_head_spec_release(&spec);
	cJSON_Delete(c);
}

static void lfix_open(struct lfix *l, const char *device)
{
	const char *dir[3];

	lfix_open_model(l, device);
	if (!l->adapter[0])
		lfix_write(l);
	for (int i = 0; i < l->nbelow; i++)
		dir[i] = l->below[i];
	dir[l->nbelow] = l->adapter;
	assert_ok(pt_adapter_open_stack(&l->a, l->x.m, dir, l->nbelow + 1, true, &l->x.f.err), &l->x.f.err);
	if (pt_json_get(l->hyper, "lorafa"))
		assert_ok(pt_adapter_lorafa(l->a, &l->x.f.err), &l->x.f.err);
	/* The fixture's functions work on its own list. */
	l->x.f.params = l->a->params;
}

static void lfix_close(struct lfix *l)
{
	memset(&l->x.f.params, 0, sizeof l->x.f.params);
	l->x.f.params.dev = l->x.f.dev;
	pt_adapter_close(l->a);
	mfix_close(&l->x);
}

static void lfix_release(struct lfix *l)
{
	mfix_release(&l->x);
	pt_json_free(l->config);
	pt_json_free(l->hyper);
}

static void lwalk_right(struct lfix *l, const char *what, double share)
{
	if (share > 1)
		fail_msg("%s: %s is off by %.3g times what is allowed (worst: %s)", l->x.g.name, what, share, l->x.g.worst_of);
}

static const char *lwalk_key(const struct pt_adapter *a, const struct pt_param *p)
{
	for (size_t i = 0; i < a->ntensors; i++) {
		if (a->tensor[i].param == p)
			return a->tensor[i].key;
	}
	return NULL;
}

/* v, of p's shape, in the order of files; frees v. */
static float *lwalk_in_file(const struct pt_adapter *a, const struct pt_param *p, float *v)
{
	for (size_t i = 0; i < a->ntensors; i++) {
		float *w;

		if (a->tensor[i].param != p || a->tensor[i].groups < 2)
			continue;
		w = malloc((size_t)pt_tensor_count(&p->t) * sizeof *w);
		pt_adapter_regroup(&a->tensor[i], v, w, true);
		free(v);
		return w;
	}
	return v;
}

/* Where signs are arbitrary: turns v, of p or its gradient, to those of the golden file. */
static void (*lwalk_turn)(const struct lfix *l, const struct pt_param *p, float *v);

/* Of LoRA-FA A stands still. */
static bool lwalk_learns(const struct pt_param *p)
{
	return p->lr_scale != 0;
}

/* How far gradients (after: values) are off at worst, as a share of what is allowed. */
static double lwalk_tensors(struct lfix *l, bool after)
{
	struct pt_params *params = &l->x.f.params;
	double worst = 0;
	char name[200];

	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];
		float *v;

		if (!lwalk_learns(p))
			continue;
		v = lwalk_in_file(l->a, p, after ? fix_read(&l->x.f, &p->t) : fix_grad(&l->x.f, p));
		if (lwalk_turn)
			lwalk_turn(l, p, v);
		snprintf(name, sizeof name, "%s%s", after ? "after." : "", lwalk_key(l->a, p));
		worst = fmax(worst, golden_gradient(&l->x.g, name, v, (size_t)pt_tensor_count(&p->t), l->x.type));
		free(v);
	}
	return worst;
}

/* The method's loss of its parameters alone, its gradients added. */
static float lwalk_method_loss(struct lfix *l)
{
	struct pt_run *run = &l->x.f.run;
	struct pt_tensor *t;
	float v = 0;

	pt_run_reset(run);
	run->record = true;
	t = pt_adapter_loss(run, l->a);
	assert_ok(pt_run_check(run, &l->x.f.err), &l->x.f.err);
	if (!t)
		return 0;
	assert_ok(pt_tensor_read(run, t, &v, &l->x.f.err), &l->x.f.err);
	assert_ok(pt_backward(run, t, NULL, &l->x.f.err), &l->x.f.err);
	return v;
}

/* A run of the golden file's hyper-parameters begins. */
static void lwalk_begin(struct lfix *l, struct pt_optimizer *o, struct pt_schedule *s)
{
	const cJSON *h = l->hyper;
	struct pt_adamw cfg = {
		.beta1 = golden_number(h, "beta1"), .beta2 = golden_number(h, "beta2"), .eps = golden_number(h, "eps"),
		.decay = golden_number(h, "decay"), .clip = golden_number(h, "clip"),
	};
	struct pt_error *err = &l->x.f.err;

	*s = (struct pt_schedule){
		.kind = PT_SCHEDULE_LINEAR, .lr = golden_number(h, "lr"), .warmup = (int64_t)golden_number(h, "warmup"),
		.total = (int64_t)golden_number(h, "total"),
	};
	if (pt_json_get(h, "loraplus"))
		assert_ok(pt_adapter_loraplus(l->a, golden_number(h, "loraplus"), golden_number(h, "loraplus_embedding") / s->lr, err), err);
	assert_ok(pt_adapter_begin(l->a, s->total, err), err);
	assert_ok(pt_optimizer_init(o, &cfg, &l->a->params, err), err);
	o->keep_grad = true;	/* what looks at them after the update; each loss clears them */
}

/* Step t, from 0; late: added to the count of steps that Adam's bias correction sees. Its loss. */
static float lwalk_step(struct lfix *l, struct pt_optimizer *o, const struct pt_schedule *s, int t, int64_t late)
{
	struct pt_method_step at = { .step = t + 1, .total = s->total, .clip = 1 };
	struct pt_error *err = &l->x.f.err;
	float loss = (float)mfix_loss(&l->x, true) + lwalk_method_loss(l);
	const struct pt_param *bad;
	double norm;

	assert_ok(pt_adapter_gradient(l->a, &at, err), err);
	assert_ok(pt_optimizer_norm(o, &norm, &bad, err), err);
	assert_null(bad);
	assert_ok(pt_adapter_precondition(l->a, err), err);
	assert_ok(pt_optimizer_step(o, pt_schedule_rate(s, t), t + 1 + late, norm, err), err);
	at.clip = pt_optimizer_clip(o, norm);
	assert_ok(pt_adapter_after_step(l->a, &at, err), err);
	return loss;
}

static void lwalk_train(struct lfix *l, float *loss, int64_t late)
{
	struct pt_optimizer o;
	struct pt_schedule s;

	lwalk_begin(l, &o, &s);
	for (int t = 0; t < (int)golden_number(l->hyper, "steps"); t++)
		loss[t] = lwalk_step(l, &o, &s, t, late);
	pt_optimizer_release(&o);
}

/* steps: the ten of AdamW too. */
static void lwalk_case(struct lfix *l, bool steps)
{
	float *y, loss, losses[16];
	int learns = 0;
	size_t n;

	y = mfix_out(&l->x, &n);
	lwalk_right(l, "out", golden_result(&l->x.g, "out", y, n, l->x.type));
	free(y);
	loss = (float)mfix_loss(&l->x, true) + lwalk_method_loss(l);
	lwalk_right(l, "loss", golden_result(&l->x.g, "loss", &loss, 1, l->x.type));
	lwalk_right(l, "a gradient", lwalk_tensors(l, false));
	for (int i = 0; i < l->a->params.n; i++) {
		const struct pt_param *p = l->a->params.item[i];

		if (!lwalk_learns(p))
			continue;
		learns++;
		assert_int_equal(p->decay, cJSON_IsTrue(pt_json_get(pt_json_get(l->x.g.about, "decays"), lwalk_key(l->a, p))));
	}
	assert_int_equal(learns, cJSON_GetArraySize(pt_json_get(l->x.g.about, "decays")));
	if (!steps)
		return;
	lwalk_train(l, losses, 0);
	lwalk_right(l, "losses", golden_result(&l->x.g, "losses", losses, 10, 0));
	assert_true(losses[9] < 0.7f * losses[0]);
	lwalk_right(l, "a tensor after ten steps", lwalk_tensors(l, true));
}

static void lwalk_cases(const char *kin)
{
	int ncases;
	char **cases = golden_names("lora", kin, &ncases);

	for (int i = 0; i < ncases; i++) {
		struct lfix l;

		lfix_golden(&l, cases[i]);
		for (int d = 0; lwalk_devices[d]; d++) {
			for (l.x.type = 0; l.x.type < 2; l.x.type++) {
				if (!pt_json_get(pt_json_get(pt_json_get(l.x.g.about, "error"), "out"), golden_type[l.x.type]))
					continue;
				l.x.g.worst = 0;
				lfix_open(&l, lwalk_devices[d]);
				/* In bf16 they are nobody's; on the guard device, which is slow, one case shows what all would. */
				lwalk_case(&l, !l.x.type && (i == 0 || strcmp(lwalk_devices[d], "guard") != 0));
				print_message("# %s, %s, %s: worst %.2f of what is allowed (%s)\n", cases[i], lwalk_devices[d],
					      golden_type[l.x.type], l.x.g.worst, l.x.g.worst_of);
				lfix_close(&l);
			}
		}
		lfix_release(&l);
	}
	golden_names_free(cases, ncases);
}

/* Replaces a key of an object, or of the method's part of it. */
static void lwalk_change(cJSON *json, const char *key, const char *value)
{
	cJSON *own = cJSON_GetObjectItemCaseSensitive(json, "config");
	struct pt_error err = PT_ERROR_INIT;
	cJSON *v = pt_json_parse(value, strlen(value), 0, "value", &err);

	assert_non_null(v);
	json = own ? own : json;
	assert_true(cJSON_ReplaceItemInObjectCaseSensitive(json, key, v));
}

/* How far logits, gradients, losses and the trained tensors are moved at most, in units of what is allowed. */
static double lwalk_moved(struct lfix *l, int64_t late, bool all_decay)
{
	float *y, losses[16];
	double most;
	size_t n;

	y = mfix_out(&l->x, &n);
	most = golden_result(&l->x.g, "out", y, n, 0);
	free(y);
	for (int i = 0; all_decay && i < l->a->params.n; i++)
		l->a->params.item[i]->decay = true;
	lwalk_train(l, losses, late);
	most = fmax(most, golden_result(&l->x.g, "losses", losses, 10, 0));
	return fmax(most, lwalk_tensors(l, true));
}

/* Leaving any one thing out is felt ten times over. */
static void lwalk_mutations(const struct lwalk_mutation *m, size_t n)
{
	int unfelt = 0;

	for (size_t i = 0; i < n; i++) {
		struct lfix l;
		double share;

		lfix_golden(&l, m[i].name);
		lwalk_change(m[i].hyper ? l.hyper : l.config, m[i].key, m[i].value);
		lfix_open(&l, "cpu");
		share = lwalk_moved(&l, 0, false);
		if (share < 10) {
			print_message("# %s: %s = %s is not felt: %.3g of what is allowed\n", m[i].name,
				      m[i].key, m[i].value, share);
			unfelt++;
		}
		lfix_close(&l);
		lfix_release(&l);
	}
	assert_int_equal(unfelt, 0);
}

/* Switched off, the model is its bare self; on again, the adapter's. */
static void lwalk_switch(const char *kin)
{
	int ncases;
	char **cases = golden_names("lora", kin, &ncases);

	for (int i = 0; i < ncases; i++) {
		float *bare, *off, *on;
		struct lfix l;
		size_t n, m;

		lfix_golden(&l, cases[i]);
		lfix_open_model(&l, "cpu");
		bare = mfix_out(&l.x, &n);
		mfix_close(&l.x);
		lfix_open(&l, "cpu");
		pt_adapter_enable(l.a, false);
		off = mfix_out(&l.x, &n);
		assert_memory_equal(bare, off, n * sizeof *off);
		pt_adapter_enable(l.a, true);
		on = mfix_out(&l.x, &m);
		assert_true(golden_result(&l.x.g, "out", on, m, 0) <= 1);
		assert_true(m != n || golden_result(&l.x.g, "out", off, n, 0) > 10);
		free(bare);
		free(off);
		free(on);
		lfix_close(&l);
		lfix_release(&l);
	}
	golden_names_free(cases, ncases);
}

static void lwalk_unmerged(struct lfix *l)
{
	struct pt_error err = PT_ERROR_INIT;
	float value;
	bool changed;

	assert_fails(pt_adapter_merge(l->a, &l->x.m->weight[0], &value, &changed, &err), PT_USAGE, "cannot be merged", &err);
	lfix_close(l);
	lfix_release(l);
}

/* Merged weights give the adapter's logits, where it is a change of weights. */
static void lwalk_merge(const char *kin) REF_UNUSED;
static void lwalk_merge(const char *kin)
{
	int ncases;
	char **cases = golden_names("lora", kin, &ncases);

	for (int i = 0; i < ncases; i++) {
		struct lfix l;
		struct pt_tensor *old;
		float *y;
		size_t n;

		lfix_golden(&l, cases[i]);
		lfix_open(&l, "cpu");
		if (!l.a->method->merges) {
			lwalk_unmerged(&l);
			continue;
		}
		old = merge_all(&l.x, l.a);
		pt_adapter_enable(l.a, false);
		y = mfix_out(&l.x, &n);
		if (golden_result(&l.x.g, "out", y, n, 0) > 2)
			fail_msg("%s: merged, the logits are off by %.3g", cases[i], l.x.g.worst);
		merge_back(&l.x, old);
		free(y);
		lfix_close(&l);
		lfix_release(&l);
	}
	golden_names_free(cases, ncases);
}

/* What the program of every kin does: LWALK_TESTS are its first tests, main() says of what. */
static struct {
	const char *kin;
	const struct lwalk_mutation *mutation;
	size_t n;
} lwalk;

static void lwalk_kin(const char *kin, const struct lwalk_mutation *mutation, size_t n) REF_UNUSED;
static void lwalk_kin(const char *kin, const struct lwalk_mutation *mutation, size_t n)
{
	lwalk.kin = kin;
	lwalk.mutation = mutation;
	lwalk.n = n;
}

static void lwalk_test_cases(void **state) REF_UNUSED;
static void lwalk_test_cases(void **state)
{
	(void)state;
	lwalk_cases(lwalk.kin);
}

static void lwalk_test_mutations(void **state) REF_UNUSED;
static void lwalk_test_mutations(void **state)
{
	(void)state;
	lwalk_mutations(lwalk.mutation, lwalk.n);
}

static void lwalk_test_switch(void **state) REF_UNUSED;
static void lwalk_test_switch(void **state)
{
	(void)state;
	lwalk_switch(lwalk.kin);
}

static void lwalk_test_merge(void **state) REF_UNUSED;
static void lwalk_test_merge(void **state)
{
	(void)state;
	lwalk_merge(lwalk.kin);
}

#define LWALK_TESTS \
	cmocka_unit_test(lwalk_test_cases), cmocka_unit_test(lwalk_test_mutations), \
	cmocka_unit_test(lwalk_test_switch), cmocka_unit_test(lwalk_test_merge)

#endif
