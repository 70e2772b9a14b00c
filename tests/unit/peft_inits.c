/* SPDX-License-Identifier: MIT */
/*
 * peft_inits.c - LoRA's first values that are made of weights or of data,
 * against float64 values that tests/golden/make_inits.py took from HF PEFT: A
 * and B, what the configuration says then, ten steps from there, and the file
 * on the original base.
 */
#include "lora_walk.h"

/* The golden file's batch, once. */
struct once {
	struct lfix *l;
	bool given;
};

static int next(void *arg, struct pt_run **run, const struct pt_input **in, struct pt_error *err)
{
	struct once *o = arg;

	(void)err;
	*run = &o->l->x.f.run;
	*in = o->given ? NULL : &o->l->x.in;
	o->given = true;
	pt_run_reset(*run);
	(*run)->record = false;
	return 0;
}

static const char *key_of(const struct lfix *l, const struct pt_param *p)
{
	const char *key = lwalk_key(l->a, p);

	assert_non_null(key);
	return key;
}

static const struct pt_st_tensor *first(const struct lfix *l, const struct pt_param *p)
{
	const struct pt_st_tensor *t;
	char name[250];

	snprintf(name, sizeof name, "first.%s", key_of(l, p));
	t = pt_st_find(&l->x.g.st, name);
	if (!t)
		fail_msg("%s: no %s", l->x.g.name, name);
	assert_int_equal(t->count, pt_tensor_count(&p->t));
	return t;
}

static float sign[64][16];		/* of each site and component */

static void turn(const struct lfix *l, const struct pt_param *p, float *v)
{
	for (int i = 0; i < l->a->nsites; i++) {
		const struct pt_adapter_site *s = &l->a->site[i];

		for (int k = 0; k < s->rank && p == s->param[0]; k++)
			for (int64_t j = 0; j < s->site->in; j++)
				v[k * s->site->in + j] *= sign[i][k];
		for (int64_t o = 0; o < s->site->out && p == s->param[1]; o++)
			for (int k = 0; k < s->rank; k++)
				v[o * s->rank + k] *= sign[i][k];
	}
}

/* Of EVA they are not arbitrary. */
static void find_signs(struct lfix *l, bool fixed)
{
	for (int i = 0; i < l->a->nsites; i++) {
		const struct pt_adapter_site *s = &l->a->site[i];
		const float *want = first(l, s->param[0])->data;
		float *v = fix_read(&l->x.f, &s->param[0]->t);

		assert_true(i < 64 && s->rank <= 16);
		for (int k = 0; k < s->rank; k++) {
			double sum = 0;

			for (int64_t j = 0; j < s->site->in; j++)
				sum += (double)v[k * s->site->in + j] * want[k * s->site->in + j];
			sign[i][k] = sum < 0 ? -1 : 1;
			assert_true(!fixed || sum > 0);
		}
		free(v);
	}
}

static void make(struct lfix *l)
{
	struct once once = { .l = l };
	struct pt_batches batches = { next, &once };
	struct pt_sources from = { .batches = &batches };
	const struct pt_st_tensor *labels = mfix_in(&l->x, "in.labels"), *decoder = mfix_in(&l->x, "in.decoder_labels");

	l->x.in.host_labels = labels ? labels->data : NULL;
	l->x.in.host_decoder_labels = decoder ? decoder->data : NULL;
	assert_ok(pt_adapter_new(&l->a, l->x.m, cJSON_Duplicate(l->config, true), 3, &from, &l->x.f.err), &l->x.f.err);
	l->x.f.params = l->a->params;
}

static void check_first(struct lfix *l)
{
	double worst = 0;

	for (int i = 0; i < l->a->params.n; i++) {
		const struct pt_param *p = l->a->params.item[i];
		float *v = fix_read(&l->x.f, &p->t);

		turn(l, p, v);
		worst = fmax(worst, golden_result(&l->x.g, first(l, p)->name, v, (size_t)pt_tensor_count(&p->t), 0));
		free(v);
	}
	lwalk_right(l, "a first value", worst);
}

/* EVA's B is zero, which would leave A without a gradient: values from names, as in the golden file. */
static void fill_up(struct lfix *l)
{
	for (int i = 0; i < l->a->nsites && pt_json_get(l->config, "eva_config"); i++) {
		struct pt_param *p = l->a->site[i].param[1];
		float *v = malloc((size_t)pt_tensor_count(&p->t) * sizeof *v);

		golden_weight(key_of(l, p), p->t.ndim, p->t.shape, v);
		assert_ok(pt_adapter_set(l->a, p, v, &l->x.f.err), &l->x.f.err);
		free(v);
	}
}

/* EVA's ranks, and what is left of the targets, by whole names. */
static void check_config(struct lfix *l)
{
	static const char *const keys[] = { "rank_pattern", "alpha_pattern" };
	const cJSON *wants = pt_json_get(l->x.g.about, "wants"), *list = pt_json_get(wants, "target_modules");

	for (size_t i = 0; wants && i < sizeof keys / sizeof *keys; i++) {
		if (!cJSON_Compare(pt_json_get(wants, keys[i]), pt_json_get(l->a->config, keys[i]), true)) {
			char *want = cJSON_PrintUnformatted(pt_json_get(wants, keys[i]));
			char *have = cJSON_PrintUnformatted(pt_json_get(l->a->config, keys[i]));

			fail_msg("%s: %s is %s, not %s", l->x.g.name, keys[i], have, want);
		}
	}
	/* PEFT always lists them one by one. */
	if (wants)
		assert_int_equal(cJSON_GetArraySize(list), l->a->nsites);
}

/* What was trained, written and read again with and without its state: the same logits. */
static void check_files(struct lfix *l)
{
	size_t n, m;
	float *y = mfix_out(&l->x, &n), *z;
	char path[300];

	snprintf(l->adapter, sizeof l->adapter, "%s/adapter", l->x.dir);
	assert_ok(pt_dir_make(l->adapter, &l->x.f.err), &l->x.f.err);
	assert_ok(pt_adapter_save(l->a, l->adapter, PT_SAVE_ALL, &l->x.f.err), &l->x.f.err);
	snprintf(path, sizeof path, "%s/%s", l->adapter, PT_ADAPTER_STATE);
	for (int plain = 0; plain < 2; plain++) {
		pt_adapter_close(l->a);
		assert_ok(pt_adapter_open(&l->a, l->x.m, l->adapter, true, &l->x.f.err), &l->x.f.err);
		z = mfix_out(&l->x, &m);
		assert_int_equal(m, n);
		for (size_t i = 0; i < n; i++)
			assert_true(fabsf(y[i] - z[i]) <= 1e-5f * (1 + fabsf(y[i])));
		free(z);
		if (!plain)
			unlink(path);
	}
	free(y);
}

/* In the base's weights it gives the same logits. */
static void check_merged(struct lfix *l)
{
	size_t n, m;
	float *y = mfix_out(&l->x, &n), *z, top = 0;
	struct pt_tensor *old = merge_all(&l->x, l->a);

	pt_adapter_enable(l->a, false);
	z = mfix_out(&l->x, &m);
	pt_adapter_enable(l->a, true);
	merge_back(&l->x, old);
	assert_int_equal(m, n);
	for (size_t i = 0; i < n; i++)
		top = fmaxf(top, fabsf(y[i]));
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(y[i] - z[i]) <= 1e-5f * top);
	free(y);
	free(z);
}

static void test_cases(void **state)
{
	int n;
	char **name = golden_names("inits", "lora", &n);

	(void)state;
	lwalk_turn = turn;
	for (int i = 0; i < n; i++) {
		for (int d = 0; lwalk_devices[d]; d++) {
			struct lfix l;

			/* It is slow: one case shows what all would. */
			if (i > 0 && !strcmp(lwalk_devices[d], "guard"))
				continue;
			lfix_golden_of(&l, "inits", name[i]);
			l.x.o.head_may_lack = true;
			mfix_open(&l.x, lwalk_devices[d]);
			make(&l);
			check_config(&l);
			find_signs(&l, pt_json_get(l.config, "eva_config"));
			check_first(&l);
			fill_up(&l);
			lwalk_case(&l, true);
			check_files(&l);
			if (!strcmp(lwalk_devices[d], "cpu"))
				check_merged(&l);
			print_message("# %s, %s: worst %.2f of what is allowed (%s)\n", name[i], lwalk_devices[d], l.x.g.worst,
				      l.x.g.worst_of);
			lfix_close(&l);
			lfix_release(&l);
		}
	}
	lwalk_turn = NULL;
	golden_names_free(name, n);
}

/* What leaves out a key of the method is felt. */
static void test_mutations(void **state)
{
	static const struct lwalk_mutation m[] = {
		{ "pissa", false, "lora_alpha", "5.9" }, { "olora", false, "use_rslora", "false" },
		{ "corda-ipm", false, "corda_config", "{\"corda_method\":\"kpm\"}" },
	};

	(void)state;
	lwalk_turn = turn;
	for (size_t i = 0; i < sizeof m / sizeof *m; i++) {
		struct lfix l;

		lfix_golden_of(&l, "inits", m[i].name);
		lwalk_change(l.config, m[i].key, m[i].value);
		l.x.o.head_may_lack = true;
		mfix_open(&l.x, "cpu");
		make(&l);
		find_signs(&l, false);
		fill_up(&l);
		if (lwalk_moved(&l, 0, false) < 10)
			fail_msg("%s: %s = %s is not felt", m[i].name, m[i].key, m[i].value);
		lfix_close(&l);
		lfix_release(&l);
	}
	lwalk_turn = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_mutations) };

	return cmocka_run_group_tests_name("peft_inits", tests, NULL, NULL);
}
