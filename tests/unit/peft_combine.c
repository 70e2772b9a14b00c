/* SPDX-License-Identifier: MIT */
/*
 * Adapters that become one, against float64 values that
 * tests/golden/make_combine.py took from HF PEFT; saved and read again; what
 * is dropped at random; what is refused.
 */
#include "lora_walk.h"

#include "peft/combine.h"

enum { MOST = 4 };

struct cfix {
	struct lfix l;
	struct pt_adapter *a[MOST];
	double weight[MOST];
	int n;
	struct pt_combine_options o;
};

static const char *word(struct cfix *c, const char *key)
{
	return cJSON_GetStringValue(pt_json_get(c->l.x.g.about, key));
}

/* A directory of adapter name of the case, as PEFT would write it. */
static void write_adapter(struct cfix *c, const char *name, char dir[300])
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_st_build b;
	struct pt_buf text = PT_BUF_INIT;
	const cJSON *t;
	float *data[256];
	char path[400];
	int n = 0;

	snprintf(dir, 300, "%s/%s", c->l.x.dir, name);
	assert_ok(pt_dir_make(dir, &err), &err);
	pt_json_print(&text, pt_json_get(pt_json_get(c->l.x.g.about, "adapter"), name), 2);
	snprintf(path, sizeof path, "%s/adapter_config.json", dir);
	assert_ok(pt_file_write(path, text.data, text.len, &err), &err);
	pt_buf_release(&text);
	pt_st_build_init(&b);
	cJSON_ArrayForEach(t, pt_json_get(pt_json_get(c->l.x.g.about, "tensors"), name)) {
		int64_t shape[2] = { cJSON_GetArrayItem(t, 0)->valueint, cJSON_GetArrayItem(t, 1)->valueint };
		char full[300];

		data[n] = malloc((size_t)(shape[0] * shape[1]) * sizeof(float));
		snprintf(full, sizeof full, "%s:%s", name, t->string);
		golden_weight(full, 2, shape, data[n]);
		pt_st_build_tensor(&b, t->string, PT_F32, 2, shape, data[n++]);
	}
	snprintf(path, sizeof path, "%s/adapter_model.safetensors", dir);
	assert_ok(pt_st_build_write(&b, path, &err), &err);
	pt_st_build_release(&b);
	while (n--)
		free(data[n]);
}

static void cfix_open(struct cfix *c, const char *name)
{
	const cJSON *about, *x;
	char dir[300];

	memset(c, 0, sizeof *c);
	c->l.x.store = -1;
	golden_find(&c->l.x.g, "combine", name);
	about = c->l.x.g.about;
	c->l.x.config = cJSON_Duplicate(pt_json_get(about, "config"), 1);
	mfix_try(&c->l.x, "cpu", 0, NULL);
	cJSON_ArrayForEach(x, pt_json_get(about, "adapters")) {
		write_adapter(c, x->valuestring, dir);
		c->weight[c->n] = cJSON_GetArrayItem(pt_json_get(about, "weights"), c->n)->valuedouble;
		assert_ok(pt_adapter_open(&c->a[c->n], c->l.x.m, dir, false, &c->l.x.f.err), &c->l.x.f.err);
		c->n++;
	}
	c->o = (struct pt_combine_options){ .kind = pt_combine_kind(word(c, "kind")), .weight = c->weight,
		.rank = (int)golden_number(about, "rank"), .density = golden_number(about, "density"),
		.frequency = cJSON_IsTrue(pt_json_get(about, "frequency")) };
	assert_non_null(c->o.kind);
}

static void cfix_close(struct cfix *c)
{
	while (c->n)
		pt_adapter_close(c->a[--c->n]);
	mfix_close(&c->l.x);
	mfix_release(&c->l.x);
}

static float *values(struct pt_adapter *a, const struct pt_param *p, size_t *n)
{
	struct pt_error err = PT_ERROR_INIT;
	float *v;

	*n = (size_t)pt_tensor_count(&p->t);
	v = malloc(*n * sizeof *v);
	assert_ok(pt_adapter_get(a, p, v, &err), &err);
	return v;
}

/* B A of a site. */
static float *product(struct pt_adapter *a, const struct pt_adapter_site *s, size_t *n)
{
	int64_t in = s->site->in, out = s->site->out;
	float *va = values(a, s->param[0], n), *vb = values(a, s->param[1], n), *v;

	*n = (size_t)(in * out);
	v = calloc(*n, sizeof *v);
	for (int64_t i = 0; i < out; i++)
		for (int64_t j = 0; j < in; j++) {
			double sum = 0;

			for (int k = 0; k < s->rank; k++)
				sum += (double)vb[i * s->rank + k] * (double)va[k * in + j];
			v[i * in + j] = (float)sum;
		}
	free(va);
	free(vb);
	return v;
}

static void check_site(struct cfix *c, struct pt_adapter *a, const struct pt_adapter_site *s, int *found)
{
	struct golden *g = &c->l.x.g;
	char key[300];
	size_t n;
	float *v;

	if (c->o.kind->form == PT_COMBINE_PRODUCTS) {
		snprintf(key, sizeof key, "base_model.model.%s.%s", s->site->path,
			 s->site->kind == PT_SITE_EMBEDDING ? "lora_embedding_BA" : "lora_BA.weight");
		v = product(a, s, &n);
		golden_result(g, key, v, n, 0);
		free(v);
		++*found;
		return;
	}
	for (int k = 0; k < s->nparams; k++) {
		for (size_t i = 0; i < a->ntensors; i++)
			if (a->tensor[i].param == s->param[k])
				snprintf(key, sizeof key, "%s", a->tensor[i].key);
		v = values(a, s->param[k], &n);
		golden_result(g, key, v, n, 0);
		free(v);
		++*found;
	}
}

/* All tensors of the golden file, and its configuration. */
static void check(struct cfix *c, struct pt_adapter *a)
{
	static const char *const keys[] = { "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora",
					    "feedforward_modules" };
	const cJSON *want = pt_json_get(pt_json_get(c->l.x.g.about, "adapter"), "out");
	int found = 0;

	for (int i = 0; i < a->nsites; i++)
		check_site(c, a, &a->site[i], &found);
	assert_int_equal(found, c->l.x.g.st.ntensors);
	if (!(c->l.x.g.worst <= 1))
		fail_msg("%s: %s is off by %.2f of what is allowed", c->l.x.g.name, c->l.x.g.worst_of, c->l.x.g.worst);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		const cJSON *x = pt_json_get(want, keys[i]), *y = pt_json_get(a->config, keys[i]);

		if ((x || y) && !cJSON_Compare(x, y, 1))
			fail_msg("%s: %s differs", c->l.x.g.name, keys[i]);
	}
	assert_int_equal(cJSON_GetArraySize(pt_json_get(want, "target_modules")),
			 cJSON_GetArraySize(pt_json_get(a->config, "target_modules")));
}

static void goldens(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	int n;
	char **name = golden_names("combine", "weighted", &n), dir[300];

	(void)state;
	for (int i = 0; i < n; i++) {
		struct pt_adapter *a, *again;
		struct cfix c;

		cfix_open(&c, name[i]);
		assert_ok(pt_combine(&a, c.a, c.n, &c.o, &err), &err);
		check(&c, a);
		print_message("%s: %.2f of what is allowed, %s\n", name[i], c.l.x.g.worst, c.l.x.g.worst_of);
		snprintf(dir, sizeof dir, "%s/out", c.l.x.dir);
		assert_ok(pt_dir_make(dir, &err), &err);
		assert_ok(pt_adapter_save(a, dir, PT_SAVE_ALL, &err), &err);
		assert_ok(pt_adapter_open(&again, c.l.x.m, dir, false, &err), &err);
		check(&c, again);
		pt_adapter_close(again);
		pt_adapter_close(a);
		cfix_close(&c);
	}
	golden_names_free(name, n);
}

/* A share of density stays, grown by its inverse, another one with another seed; the same with the same. */
static void dropped(void **state)
{
	struct pt_combine_options o = { .kind = pt_combine_kind("dare_linear"), .density = 0.3 };
	struct pt_error err = PT_ERROR_INIT;
	enum { N = 20000 };
	float *x = malloc(N * sizeof *x), *out[3];
	const double w[1] = { 2 };
	int stay = 0, both = 0;

	(void)state;
	for (int k = 0; k < 3; k++) {
		out[k] = malloc(N * sizeof **out);
		for (int i = 0; i < N; i++)
			x[i] = (float)(i + 1);
		assert_ok(pt_combine_values(&o, &x, w, 1, N, k == 2, out[k], &err), &err);
	}
	assert_memory_equal(out[0], out[1], N * sizeof **out);
	for (int i = 0; i < N; i++) {
		assert_true(out[0][i] == 0 || fabsf(out[0][i] / ((float)(i + 1) * 2 / 0.3f) - 1) < 1e-6f);
		stay += out[0][i] != 0;
		both += out[0][i] != 0 && out[2][i] != 0;
	}
	/* Four standard deviations. */
	assert_true(fabs(stay - N * 0.3) < 4 * sqrt(N * 0.3 * 0.7));
	assert_true(fabs(both - N * 0.09) < 4 * sqrt(N * 0.09 * 0.91));
	for (int k = 0; k < 3; k++)
		free(out[k]);
	free(x);
}

/* Of equal magnitudes the first ones stay, and exactly as many as there are to be. */
static void smallest(void **state)
{
	struct pt_combine_options o = { .kind = pt_combine_kind("magnitude_prune"), .density = 0.5 };
	struct pt_error err = PT_ERROR_INIT;
	float x[7] = { 1, -2, 2, 0.5f, -2, 3, 2 }, *p = x, out[7];
	const float want[7] = { 0, -2, 2, 0, 0, 3, 0 };
	const double w[1] = { 1 };

	(void)state;
	assert_ok(pt_combine_values(&o, &p, w, 1, 7, 0, out, &err), &err);
	assert_memory_equal(out, want, sizeof want);
}

static void refuse(struct cfix *c, const char *what)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_adapter *a;

	assert_fails(pt_combine(&a, c->a, c->n, &c->o, &err), PT_USAGE, what, &err);
	assert_null(a);
}

static void refused(void **state)
{
	struct cfix c;

	(void)state;
	cfix_open(&c, "cat");
	c.o.kind = pt_combine_kind("linear");
	refuse(&c, "one rank, not 4 and 5");
	c.o.kind = pt_combine_kind("ties_svd");
	c.o.density = 0;
	refuse(&c, "density above 0");
	c.o.density = 1.5;
	refuse(&c, "density above 0");
	c.o.kind = pt_combine_kind("cat");
	c.weight[1] = INFINITY;
	refuse(&c, "not finite");
	cfix_close(&c);
	cfix_open(&c, "scales");
	c.o.kind = pt_combine_kind("cat");
	refuse(&c, "combined by linear");
	cfix_close(&c);
	assert_null(pt_combine_kind("sum"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goldens), cmocka_unit_test(dropped), cmocka_unit_test(smallest), cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
