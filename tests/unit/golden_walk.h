/* SPDX-License-Identifier: MIT */
/*
 * golden_walk.h - walks over the models of tests/data/models/KIN: logits,
 * loss, gradients of all parameters against the float64 values that
 * tests/golden/make_models.py made. By max|a-b| / max|b| at most twice the
 * error of torch in the same type; nothing under 2e-6 (f32) or 2e-3 (bf16) is
 * asked. And the mutations: each key of a configuration moves a result by ten
 * times that. A kin is a test program with a table of those, model_KIN.c.
 */
#ifndef PT_GOLDEN_WALK_H
#define PT_GOLDEN_WALK_H

#include "model_fix.h"

static const char *const walk_devices[] = { "ref", "cpu", "guard", NULL };

struct walk_mutation {
	const char *name, *key, *value;	/* case; "key" or "dictionary.key" of its config.json; NULL: removed */
};

static void walk_right(struct mfix *x, const char *what, double share)
{
	if (share > 1)
		fail_msg("%s: %s in %s is off by %.3g times what is allowed", x->g.name, what,
			 golden_type[x->type], share);
}

static void walk_out(struct mfix *x)
{
	size_t n;
	float *y = mfix_out(x, &n);

	walk_right(x, "out", golden_result(&x->g, "out", y, n, x->type));
	free(y);
}

/* Loss and gradients, all that are off named; again with recomputed blocks: the same bits. */
static void walk_training(struct mfix *x)
{
	struct pt_params *params = &x->f.params;
	float **grad = calloc((size_t)params->n, sizeof *grad);
	double value = mfix_loss(x, true), again;
	float loss = (float)value;
	int wrong = 0;

	walk_right(x, "loss", golden_result(&x->g, "loss", &loss, 1, x->type));
	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];
		double share;

		grad[i] = fix_grad(&x->f, p);
		share = golden_gradient(&x->g, p->name, grad[i], (size_t)pt_tensor_count(&p->t), x->type);
		if (share <= 1)
			continue;
		print_message("# %s: %s in %s is off by %.3g times what is allowed\n", x->g.name, p->name, golden_type[x->type],
			      share);
		wrong++;
	}
	if (wrong)
		fail_msg("%s: %d gradients in %s are off", x->g.name, wrong, golden_type[x->type]);
	x->m->recompute = pt_model_blocks(x->m);
	again = mfix_loss(x, true);
	x->m->recompute = 0;
	assert_true(value == again);
	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];
		float *g = fix_grad(&x->f, p);

		if (memcmp(g, grad[i], (size_t)pt_tensor_count(&p->t) * sizeof *g))
			fail_msg("%s: recomputing changes the gradient of %s", x->g.name, p->name);
		free(g);
		free(grad[i]);
	}
	assert_true(value == mfix_loss(x, false));
	free(grad);
}

static bool walk_listed(const char *const *list, const char *name)
{
	while (*list && strcmp(*list, name) != 0)
		list++;
	return *list != NULL;
}

/* All cases of a kin; on the guard device, which is slow, those named in guarded (ends in NULL). */
static void walk_cases(const char *kin, const char *const *guarded)
{
	int n;
	char **name = golden_names("models", kin, &n);

	for (int i = 0; i < n; i++) {
		struct mfix x;

		mfix_golden(&x, name[i]);
		for (int d = 0; walk_devices[d]; d++) {
			for (x.type = 0; x.type < 2; x.type++) {
				const cJSON *e = pt_json_get(pt_json_get(x.g.about, "error"), "out");

				if (!pt_json_get(e, golden_type[x.type]) ||
				    (!strcmp(walk_devices[d], "guard") && !walk_listed(guarded, name[i])))
					continue;
				x.g.worst = 0;
				mfix_open(&x, walk_devices[d]);
				walk_out(&x);
				if (x.m->task != PT_TASK_NONE) {
					mfix_train(&x);
					assert_int_equal(x.f.params.n,
							 cJSON_GetArraySize(pt_json_get(x.g.about, "parameters")) -
							 cJSON_GetArraySize(pt_json_get(x.g.about, "idle")));
					walk_training(&x);
				}
				print_message("# %s, %s, %s: worst %.2f of what is allowed (%s)\n", name[i],
					      walk_devices[d], golden_type[x.type], x.g.worst, x.g.worst_of);
				mfix_close(&x);
			}
		}
		mfix_release(&x);
	}
	golden_names_free(name, n);
}

/* Changes config.json: "key" or "dictionary.key"; value NULL removes it. */
static void walk_change(cJSON *json, const char *key, const char *value)
{
	struct pt_error err = PT_ERROR_INIT;
	const char *dot = strchr(key, '.');
	char first[64];

	if (dot) {
		snprintf(first, sizeof first, "%.*s", (int)(dot - key), key);
		json = cJSON_GetObjectItemCaseSensitive(json, first);
		assert_non_null(json);
		key = dot + 1;
	}
	if (cJSON_GetObjectItemCaseSensitive(json, key))
		cJSON_DeleteItemFromObjectCaseSensitive(json, key);
	if (value) {
		cJSON *v = pt_json_parse(value, strlen(value), 0, "value", &err);

		assert_non_null(v);
		cJSON_AddItemToObject(json, key, v);
	}
}

static void walk_mutations(const struct walk_mutation *m, size_t n)
{
	int unfelt = 0;

	for (size_t i = 0; i < n; i++) {
		struct mfix x;
		double share;
		float *y;
		size_t count;

		mfix_golden(&x, m[i].name);
		walk_change(x.config, m[i].key, m[i].value);
		mfix_open(&x, walk_devices[0]);
		y = mfix_out(&x, &count);
		share = golden_result(&x.g, "out", y, count, 0);
		if (share < 10) {
			print_message("# %s: %s = %s is not felt: %.3g of what is allowed\n", m[i].name,
				      m[i].key, m[i].value ? m[i].value : "absent", share);
			unfelt++;
		}
		free(y);
		mfix_close(&x);
		mfix_release(&x);
	}
	assert_int_equal(unfelt, 0);
}

/* How far change, of what is no key, moves the output of a case from the golden one, as a share of what may be off. */
static double walk_share(const char *name, void (*change)(struct mfix *)) REF_UNUSED;
static double walk_share(const char *name, void (*change)(struct mfix *))
{
	struct mfix x;
	double share;
	size_t n;
	float *y;

	mfix_golden(&x, name);
	mfix_open(&x, walk_devices[0]);
	change(&x);
	y = mfix_out(&x, &n);
	share = golden_result(&x.g, "out", y, n, 0);
	free(y);
	mfix_close(&x);
	mfix_release(&x);
	return share;
}

/* What the program of every kin does: WALK_TESTS are its first tests, main() says of what. */
static struct {
	const char *kin;
	const char *const *guarded;
	const struct walk_mutation *mutation;
	size_t n;
} walk;

static void walk_kin(const char *kin, const char *const *guarded, const struct walk_mutation *mutation, size_t n) REF_UNUSED;
static void walk_kin(const char *kin, const char *const *guarded, const struct walk_mutation *mutation, size_t n)
{
	walk.kin = kin;
	walk.guarded = guarded;
	walk.mutation = mutation;
	walk.n = n;
}

static void walk_test_cases(void **state) REF_UNUSED;
static void walk_test_cases(void **state)
{
	(void)state;
	walk_cases(walk.kin, walk.guarded);
}

static void walk_test_mutations(void **state) REF_UNUSED;
static void walk_test_mutations(void **state)
{
	(void)state;
	walk_mutations(walk.mutation, walk.n);
}

#define WALK_TESTS \
	cmocka_unit_test(walk_test_cases), cmocka_unit_test(walk_test_mutations)

#endif
