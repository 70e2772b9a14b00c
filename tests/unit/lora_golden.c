/* SPDX-License-Identifier: MIT */
/*
 * lora_golden.c - adapters against float64 values that tests/golden/
 * make_lora.py took from HF PEFT: logits, loss, gradients, the losses of ten
 * steps of AdamW and the tensors after them, by the rule of model_golden.c.
 * And the mutations: what leaving out any one hyper-parameter moves.
 */
#define FIX_REAL_DEVICES
#include "model_fix.h"

#include "base/mem.h"
#include "peft/adapter.h"
#include "train/optimizer.h"
#include "train/schedule.h"

static const char *const devices[] = { "ref", "cpu", "guard", NULL };

static const char *const cases[] = {
	"llama", "llama-rich", "llama-embed", "llama-saved", "llama-tied", "llama-class", "bert-class", "bert-all", NULL
};

struct lfix {
	struct mfix x;
	char adapter[230];		/* its directory */
	cJSON *config;			/* adapter_config.json; may be changed before it is opened */
	cJSON *hyper;
	struct pt_adapter *a;
};

static void lfix_golden(struct lfix *l, const char *name)
{
	char path[100];

	memset(l, 0, sizeof *l);
	l->x.store = -1;
	snprintf(path, sizeof path, "tests/data/lora/%s.safetensors", name);
	golden_open(&l->x.g, path);
	l->x.config = cJSON_Duplicate(pt_json_get(l->x.g.about, "config"), 1);
	l->config = cJSON_Duplicate(pt_json_get(l->x.g.about, "adapter"), 1);
	l->hyper = cJSON_Duplicate(pt_json_get(l->x.g.about, "hyper"), 1);
	assert_true(l->x.config && l->config && l->hyper);
}

/* The adapter's directory as HF PEFT would write it, from names and indices. */
static void write_adapter(struct lfix *l)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_buf text = PT_BUF_INIT;
	struct pt_st_build b;
	const cJSON *p;
	char path[300];
	float *data[80];
	int n = 0;

	snprintf(l->adapter, sizeof l->adapter, "%s/adapter", l->x.dir);
	assert_ok(pt_dir_make(l->adapter, &err), &err);
	pt_json_print(&text, l->config, 2);
	snprintf(path, sizeof path, "%s/adapter_config.json", l->adapter);
	assert_ok(pt_file_write(path, text.data, text.len, &err), &err);
	pt_buf_release(&text);
	pt_st_build_init(&b);
	cJSON_ArrayForEach(p, pt_json_get(l->x.g.about, "tensors")) {
		int64_t shape[2] = { 1, 1 };
		int ndim = cJSON_GetArraySize(p);

		assert_true(n < 80 && ndim <= 2);
		for (int i = 0; i < ndim; i++)
			shape[i] = cJSON_GetArrayItem(p, i)->valueint;
		data[n] = malloc((size_t)(shape[0] * shape[1]) * sizeof(float));
		golden_weight(p->string, ndim, shape, data[n]);
		pt_st_build_tensor(&b, p->string, PT_F32, ndim, shape, data[n]);
		/* The second name of a tied pair. */
		if (cJSON_IsTrue(pt_json_get(l->config, "ensure_weight_tying")) && strstr(p->string, "embed_tokens"))
			pt_st_build_tensor(&b, "base_model.model.lm_head.weight", PT_F32, ndim, shape, data[n]);
		n++;
	}
	snprintf(path, sizeof path, "%s/adapter_model.safetensors", l->adapter);
	assert_ok(pt_st_build_write(&b, path, &err), &err);
	pt_st_build_release(&b);
	while (n--)
		free(data[n]);
}

static void lfix_open(struct lfix *l, const char *device)
{
	l->x.o.head_may_lack = true;
	mfix_open(&l->x, device);
	if (!l->adapter[0])
		write_adapter(l);
	assert_ok(pt_adapter_open(&l->a, l->x.m, l->adapter, true, &l->x.f.err), &l->x.f.err);
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

static void right(struct lfix *l, const char *what, double share)
{
	if (share > 1)
		fail_msg("%s: %s is off by %.3g times what is allowed (worst: %s)", l->x.g.name, what, share, l->x.g.worst_of);
}

static const char *key_of(const struct pt_adapter *a, const struct pt_param *p)
{
	for (size_t i = 0; i < a->ntensors; i++) {
		if (a->tensor[i].param == p)
			return a->tensor[i].key;
	}
	return NULL;
}

/* How far gradients (after: values) are off at worst, as a share of what is allowed. */
static double tensors_off(struct lfix *l, bool after)
{
	struct pt_params *params = &l->x.f.params;
	double worst = 0;
	char name[200];

	for (int i = 0; i < params->n; i++) {
		struct pt_param *p = params->item[i];
		float *v = after ? fix_read(&l->x.f, &p->t) : fix_grad(&l->x.f, p);

		snprintf(name, sizeof name, "%s%s", after ? "after." : "", key_of(l->a, p));
		worst = fmax(worst, golden_gradient(&l->x.g, name, v, (size_t)pt_tensor_count(&p->t), 0));
		free(v);
	}
	return worst;
}

/* late: added to the count of steps that Adam's bias correction sees. */
static void train(struct lfix *l, float *loss, int64_t late)
{
	const cJSON *h = l->hyper;
	struct pt_adamw cfg = {
		.beta1 = golden_number(h, "beta1"), .beta2 = golden_number(h, "beta2"), .eps = golden_number(h, "eps"),
		.decay = golden_number(h, "decay"), .clip = golden_number(h, "clip"),
	};
	struct pt_schedule s = {
		.kind = PT_SCHEDULE_LINEAR, .lr = golden_number(h, "lr"), .warmup = (int64_t)golden_number(h, "warmup"),
		.total = (int64_t)golden_number(h, "total"),
	};
	struct pt_error *err = &l->x.f.err;
	struct pt_optimizer o;

	assert_ok(pt_optimizer_init(&o, &cfg, &l->a->params, err), err);
	for (int t = 0; t < (int)golden_number(h, "steps"); t++) {
		const struct pt_param *bad;
		double norm;

		loss[t] = (float)mfix_loss(&l->x, true);
		assert_ok(pt_optimizer_norm(&o, &norm, &bad, err), err);
		assert_null(bad);
		assert_ok(pt_optimizer_step(&o, pt_schedule_rate(&s, t), t + 1 + late, norm, err), err);
	}
	pt_optimizer_release(&o);
}

static void check_case(struct lfix *l)
{
	float *y, loss, losses[16];
	size_t n;

	y = mfix_out(&l->x, &n);
	right(l, "out", golden_result(&l->x.g, "out", y, n, 0));
	free(y);
	loss = (float)mfix_loss(&l->x, true);
	right(l, "loss", golden_result(&l->x.g, "loss", &loss, 1, 0));
	assert_int_equal(l->a->params.n, cJSON_GetArraySize(pt_json_get(l->x.g.about, "tensors")));
	right(l, "a gradient", tensors_off(l, false));
	for (int i = 0; i < l->a->params.n; i++) {
		const struct pt_param *p = l->a->params.item[i];

		assert_int_equal(p->decay, cJSON_IsTrue(pt_json_get(pt_json_get(l->x.g.about, "decays"), key_of(l->a, p))));
	}
	train(l, losses, 0);
	right(l, "losses", golden_result(&l->x.g, "losses", losses, 10, 0));
	assert_true(losses[9] < 0.7f * losses[0]);
	right(l, "a tensor after ten steps", tensors_off(l, true));
}

static void test_cases(void **state)
{
	(void)state;
	for (int i = 0; cases[i]; i++) {
		struct lfix l;

		lfix_golden(&l, cases[i]);
		for (int d = 0; devices[d]; d++) {
			l.x.g.worst = 0;
			lfix_open(&l, devices[d]);
			check_case(&l);
			print_message("# %s, %s: worst %.2f of what is allowed (%s)\n", cases[i], devices[d], l.x.g.worst,
				      l.x.g.worst_of);
			lfix_close(&l);
		}
		lfix_release(&l);
	}
}

/* Replaces a key of an object. */
static void change(cJSON *json, const char *key, const char *value)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *v = pt_json_parse(value, strlen(value), 0, "value", &err);

	assert_non_null(v);
	assert_true(cJSON_ReplaceItemInObjectCaseSensitive(json, key, v));
}

/* How far logits, gradients, losses and the trained tensors are moved at most, in units of what is allowed. */
static double moved(struct lfix *l, int64_t late, bool all_decay)
{
	float *y, losses[16];
	double most;
	size_t n;

	y = mfix_out(&l->x, &n);
	most = golden_result(&l->x.g, "out", y, n, 0);
	free(y);
	for (int i = 0; all_decay && i < l->a->params.n; i++)
		l->a->params.item[i]->decay = true;
	train(l, losses, late);
	most = fmax(most, golden_result(&l->x.g, "losses", losses, 10, 0));
	return fmax(most, tensors_off(l, true));
}

/* Leaving any one thing out is felt ten times over. */
static void test_mutations(void **state)
{
	static const struct {
		const char *name;
		bool hyper;
		const char *key, *value;
	} mutations[] = {
		{ "llama", false, "lora_alpha", "5.9" },
		{ "llama-rich", false, "use_rslora", "false" },
		{ "llama-rich", false, "alpha_pattern", "{}" },
		{ "llama-rich", false, "bias", "\"none\"" },
		{ "llama-rich", false, "bias", "\"lora_only\"" },
		{ "llama-rich", false, "modules_to_save", "null" },
		{ "llama-saved", false, "bias", "\"none\"" },
		{ "llama-saved", false, "modules_to_save", "null" },
		{ "llama-tied", false, "ensure_weight_tying", "false" },
		{ "bert-class", false, "bias", "\"none\"" },
		{ "llama", true, "lr", "0.016" },
		{ "llama", true, "beta1", "0.81" },
		{ "llama", true, "beta2", "0.949" },
		{ "llama", true, "eps", "1e-8" },
		{ "llama", true, "decay", "0" },
		{ "llama", true, "clip", "0" },
		{ "llama", true, "warmup", "0" },
		{ "llama", true, "warmup", "2" },
		{ "llama", true, "total", "15" },
	};
	int unfelt = 0;

	(void)state;
	for (size_t i = 0; i < sizeof mutations / sizeof mutations[0]; i++) {
		struct lfix l;
		double share;

		lfix_golden(&l, mutations[i].name);
		change(mutations[i].hyper ? l.hyper : l.config, mutations[i].key, mutations[i].value);
		lfix_open(&l, "cpu");
		share = moved(&l, 0, false);
		if (share < 10) {
			print_message("# %s: %s = %s is not felt: %.3g of what is allowed\n", mutations[i].name,
				      mutations[i].key, mutations[i].value, share);
			unfelt++;
		}
		lfix_close(&l);
		lfix_release(&l);
	}
	/* No bias correction; decay of everything. */
	for (int k = 0; k < 2; k++) {
		struct lfix l;

		lfix_golden(&l, "llama-rich");
		lfix_open(&l, "cpu");
		assert_true(moved(&l, k ? 0 : 100000, k) > 10);
		lfix_close(&l);
		lfix_release(&l);
	}
	assert_int_equal(unfelt, 0);
}

/* Switched off, the model is its bare self; on again, the adapter's. */
static void test_switch(void **state)
{
	(void)state;
	for (int i = 0; cases[i]; i++) {
		float *bare, *off, *on;
		struct lfix l;
		size_t n;

		lfix_golden(&l, cases[i]);
		l.x.o.head_may_lack = true;
		mfix_open(&l.x, "cpu");
		bare = mfix_out(&l.x, &n);
		mfix_close(&l.x);
		lfix_open(&l, "cpu");
		pt_adapter_enable(l.a, false);
		off = mfix_out(&l.x, &n);
		assert_memory_equal(bare, off, n * sizeof *off);
		pt_adapter_enable(l.a, true);
		on = mfix_out(&l.x, &n);
		assert_true(golden_result(&l.x.g, "out", on, n, 0) <= 1);
		assert_true(golden_result(&l.x.g, "out", off, n, 0) > 10);
		free(bare);
		free(off);
		free(on);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* Merged weights give the adapter's logits. */
static void test_merge(void **state)
{
	(void)state;
	for (int i = 0; cases[i]; i++) {
		struct lfix l;
		void *old[80];
		float *y;
		size_t n;

		lfix_golden(&l, cases[i]);
		lfix_open(&l, "cpu");
		assert_true(l.x.m->nweights < 80);
		for (int k = 0; k < l.x.m->nweights; k++) {
			struct pt_weight *w = &l.x.m->weight[k];
			size_t bytes = (size_t)pt_tensor_count(&w->t) * sizeof(float);
			float *v = malloc(bytes);
			bool changed;

			assert_int_equal(w->t.type, PT_F32);
			memcpy(v, w->t.data, bytes);
			assert_ok(pt_adapter_merge(l.a, w, v, &changed, &l.x.f.err), &l.x.f.err);
			assert_true(changed || !memcmp(v, w->t.data, bytes));
			old[k] = w->t.data;
			w->t.data = v;
		}
		pt_adapter_enable(l.a, false);
		y = mfix_out(&l.x, &n);
		if (golden_result(&l.x.g, "out", y, n, 0) > 2)
			fail_msg("%s: merged, the logits are off by %.3g", cases[i], l.x.g.worst);
		for (int k = 0; k < l.x.m->nweights; k++) {
			free(l.x.m->weight[k].t.data);
			l.x.m->weight[k].t.data = old[k];
		}
		free(y);
		lfix_close(&l);
		lfix_release(&l);
	}
}

/* A weight stored [in,out], as Conv1D has it: the same tensors of the adapter, the same logits, and merged. */
static void test_transposed(void **state)
{
	struct pt_site *site;
	struct lfix l;
	bool changed;
	float *w, *t, *y;
	size_t n;

	(void)state;
	lfix_golden(&l, "llama");
	lfix_open(&l, "cpu");
	site = pt_model_site(l.x.m, "model.layers.1.self_attn.v_proj");
	assert_int_equal(site->in, 30);
	assert_int_equal(site->out, 30);
	w = site->weight->t.data;
	t = malloc(900 * sizeof *t);
	for (int i = 0; i < 30; i++) {
		for (int j = 0; j < 30; j++)
			t[j * 30 + i] = w[i * 30 + j];
	}
	site->weight->t.data = t;
	site->transposed = true;
	y = mfix_out(&l.x, &n);
	right(&l, "out", golden_result(&l.x.g, "out", y, n, 0));
	free(y);
	assert_ok(pt_adapter_merge(l.a, site->weight, t, &changed, &l.x.f.err), &l.x.f.err);
	assert_true(changed);
	for (int i = 0; i < l.a->nsites; i++) {
		if (l.a->site[i].site == site)
			l.a->site[i].hook.enabled = false;
	}
	y = mfix_out(&l.x, &n);
	right(&l, "out", golden_result(&l.x.g, "out", y, n, 0));
	free(y);
	site->weight->t.data = w;
	site->transposed = false;
	free(t);
	lfix_close(&l);
	lfix_release(&l);
}

/* Two adapters at the same sites add up; each is switched by itself. */
static void test_two(void **state)
{
	float *one, *both, *again;
	struct pt_adapter *b;
	struct lfix l;
	size_t n;

	(void)state;
	lfix_golden(&l, "llama");
	lfix_open(&l, "cpu");
	one = mfix_out(&l.x, &n);
	assert_ok(pt_adapter_open(&b, l.x.m, l.adapter, false, &l.x.f.err), &l.x.f.err);
	both = mfix_out(&l.x, &n);
	assert_true(memcmp(one, both, n * sizeof *one) != 0);
	pt_adapter_enable(l.a, false);
	again = mfix_out(&l.x, &n);
	assert_memory_equal(one, again, n * sizeof *one);
	free(again);
	/* Twice the adapter is the adapter at twice its scale. */
	for (int i = 0; i < b->nsites; i++)
		b->site[i].scale *= 2;
	again = mfix_out(&l.x, &n);
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(again[i] - both[i]) <= 1e-5f * (1 + fabsf(both[i])));
	pt_adapter_close(b);
	free(one);
	free(both);
	free(again);
	lfix_close(&l);
	lfix_release(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases), cmocka_unit_test(test_mutations), cmocka_unit_test(test_switch),
		cmocka_unit_test(test_merge), cmocka_unit_test(test_transposed), cmocka_unit_test(test_two),
	};

	return cmocka_run_group_tests_name("lora_golden", tests, NULL, NULL);
}
