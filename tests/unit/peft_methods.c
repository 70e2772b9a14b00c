/* SPDX-License-Identifier: MIT */
/*
 * What struct pt_method is for, tried with three methods made up here that are
 * as unlike LoRA as those to come: tensors that sites share and that do not
 * train, a method without target modules whose file holds something else than
 * what trains, and one that scales outputs and biases.
 */
#define FIX_REAL_DEVICES
#include "merge_fix.h"

#include "base/mem.h"
#include "peft/adapter_priv.h"

static struct pt_error err;

static int parse_nothing(struct pt_adapter *a, struct pt_error *e)
{
	(void)a, (void)e;
	return 0;
}

static int set_all(struct pt_adapter *a, struct pt_param *p, float value, float step, struct pt_error *e)
{
	size_t n = (size_t)pt_tensor_count(&p->t);
	float *v = malloc(n * sizeof *v);
	int st;

	for (size_t i = 0; i < n; i++)
		v[i] = value + step * (float)(i % 7);
	st = pt_adapter_set(a, p, v, e);
	free(v);
	return st;
}

/* Shared: y += B diag(d) A x, with A and B of all sites, frozen, and a d of each. */

struct shared {
	struct pt_param *a, *b;
};

static int shared_prepare(struct pt_adapter *a, struct pt_error *e)
{
	struct shared *s = calloc(1, sizeof *s);
	int64_t in = 0, out = 0, sa[2], sb[2];
	int st;

	a->state = s;
	for (int i = 0; i < a->nsites; i++) {
		in = a->site[i].site->in > in ? a->site[i].site->in : in;
		out = a->site[i].site->out > out ? a->site[i].site->out : out;
	}
	sa[0] = sb[1] = 3;
	sa[1] = in;
	sb[0] = out;
	if ((st = pt_adapter_tensor(a, "base_model.shared_A", PT_TENSOR_FROZEN, 2, sa, &s->a, e)) ||
	    (st = pt_adapter_tensor(a, "base_model.shared_B", PT_TENSOR_FROZEN, 2, sb, &s->b, e)) || !a->fresh)
		return st;
	return set_all(a, s->a, -0.2f, 0.07f, e) ? e->status : set_all(a, s->b, 0.3f, -0.09f, e);
}

static struct pt_tensor *shared_output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;
	const struct shared *both = s->state;
	struct pt_linear down = { .w = &both->a->t }, up = { .w = &both->b->t };
	struct pt_tensor *u = pt_op_affine(run, pt_op_linear(run, x, &down), &s->param[0]->t, NULL);

	return pt_op_add(run, y, pt_op_linear(run, u, &up));
}

static const struct pt_hook_ops shared_hook = { .output = shared_output };

static int shared_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *e)
{
	s->state = a->state;
	s->hook.ops = &shared_hook;
	return pt_adapter_tensor_at(a, s, "shared_d", 0, 1, (int64_t[]){ 3 }, e);
}

static int shared_init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *e)
{
	(void)seed;
	return set_all(a, s->param[0], 0.5f, 0.1f, e);
}

static void release_state(struct pt_adapter *a)
{
	free(a->state);
}

static const char *query(const struct pt_model *m)
{
	return m->cfg.family->lora_targets;
}

static const struct pt_method shared = {
	.name = "shared", .peft_type = "SHARED", .kinds = 1u << PT_SITE_LINEAR,
	.defaults = "{\"peft_type\":\"SHARED\",\"target_modules\":null,\"task_type\":null,\"modules_to_save\":null}",
	.targets = query, .parse = parse_nothing, .prepare = shared_prepare, .create = shared_create,
	.init = shared_init, .release = release_state,
};

/*
 * Shift: a vector is added to the input embeddings. What trains is half of it
 * (the state); PEFT's file holds the sum of both halves, and can only be used
 * for inference. Steps are counted in a tensor that does not train.
 */

struct shift {
	float *sum;			/* that save() gave to the file */
	int gradients, steps;
	struct pt_param *count;
};

static bool shift_match(const struct pt_adapter *a, const struct pt_site *s)
{
	(void)a;
	return s->kind == PT_SITE_INPUT;
}

static struct pt_tensor *shift_prepend(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x,
				       const struct pt_rows **rows)
{
	const struct pt_adapter_site *s = h->state;

	(void)rows;
	for (int i = 0; i < s->nparams; i++)
		x = pt_op_affine(run, x, NULL, &s->param[i]->t);
	return x;
}

static const struct pt_hook_ops shift_hook = { .prepend = shift_prepend };

static int shift_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *e)
{
	int64_t n = s->site->out;
	struct pt_param *p;
	int st = 0;

	s->hook.ops = &shift_hook;
	if (!a->fresh && !pt_adapter_stored(a, "half.0")) {
		st = a->trainable ? pt_error(e, PT_DATA, "no state to go on with") :
				    pt_adapter_tensor(a, "shift", PT_TENSOR_FROZEN, 1, &n, &s->param[s->nparams++], e);
		return st;
	}
	st = pt_adapter_made(a, "shift", 0, e);
	if (!st)
		st = pt_adapter_tensor(a, "count", PT_TENSOR_STATE | PT_TENSOR_FROZEN, 1, (int64_t[]){ 1 },
				       &((struct shift *)a->state)->count, e);
	for (int i = 0; i < 2 && !st; i++) {
		st = pt_adapter_tensor(a, i ? "half.1" : "half.0", PT_TENSOR_STATE, 1, &n, &p, e);
		s->param[s->nparams++] = p;
	}
	return st;
}

static int shift_init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *e)
{
	(void)seed;
	return set_all(a, s->param[0], 0.1f, 0.02f, e) ? e->status : set_all(a, s->param[1], -0.05f, 0.03f, e);
}

static int shift_parse(struct pt_adapter *a, struct pt_error *e)
{
	(void)e;
	a->state = calloc(1, sizeof(struct shift));
	return 0;
}

static int shift_save(struct pt_adapter *a, struct pt_st_build *file, cJSON *config, struct pt_error *e)
{
	struct pt_adapter_site *s = &a->site[0];
	struct shift *x = a->state;
	int64_t n = s->site->out;
	float *half;

	if (s->nparams < 2)
		return 0;
	free(x->sum);
	x->sum = malloc((size_t)n * sizeof *x->sum);
	half = malloc((size_t)n * sizeof *half);
	if (!pt_adapter_get(a, s->param[0], x->sum, e) && !pt_adapter_get(a, s->param[1], half, e)) {
		for (int64_t i = 0; i < n; i++)
			x->sum[i] += half[i];
		pt_st_build_tensor(file, "shift", PT_F32, 1, &n, x->sum);
		cJSON_AddNumberToObject(config, "saved_steps", x->steps);
	}
	free(half);
	return e->status;
}

static struct pt_tensor *shift_loss(struct pt_run *run, struct pt_adapter *a)
{
	return pt_op_scale(run, &a->site[0].param[0]->t, 0.25f);
}

static int shift_gradient(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *e)
{
	(void)at, (void)e;
	((struct shift *)a->state)->gradients++;
	return 0;
}

static int shift_after(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *e)
{
	struct shift *x = a->state;

	(void)at;
	x->steps++;
	return set_all(a, x->count, (float)x->steps, 0, e);
}

static void shift_release(struct pt_adapter *a)
{
	if (a->state)
		free(((struct shift *)a->state)->sum);
	free(a->state);
}

static const struct pt_method shift = {
	.name = "shift", .peft_type = "SHIFT", .kinds = 1u << PT_SITE_INPUT,
	.defaults = "{\"peft_type\":\"SHIFT\",\"task_type\":null}",
	.match = shift_match, .parse = shift_parse, .create = shift_create, .init = shift_init, .save = shift_save,
	.loss = shift_loss, .gradient = shift_gradient, .after_step = shift_after, .release = shift_release,
};

/* Gain: y = l (W x + b) on linears, l x on norms. */

static struct pt_tensor *gain_output(struct pt_run *run, struct pt_hook *h, struct pt_tensor *x, struct pt_tensor *y)
{
	const struct pt_adapter_site *s = h->state;

	(void)x;
	return pt_op_affine(run, y, &s->param[0]->t, NULL);
}

static const struct pt_hook_ops gain_hook = { .output = gain_output };

static int gain_create(struct pt_adapter *a, struct pt_adapter_site *s, struct pt_error *e)
{
	s->hook.ops = &gain_hook;
	return pt_adapter_tensor_at(a, s, "gain_l", 0, 1, &s->site->out, e);
}

static int gain_init(struct pt_adapter *a, struct pt_adapter_site *s, uint64_t seed, struct pt_error *e)
{
	(void)seed;
	return set_all(a, s->param[0], 0.8f, 0.06f, e);
}

static int gain_merge(struct pt_adapter *a, const struct pt_adapter_site *s, const struct pt_weight *w, float *value,
		      struct pt_error *e)
{
	int64_t n = s->site->out, width = pt_tensor_count(&w->t) / n;
	float *l = malloc((size_t)n * sizeof *l);
	int st = pt_adapter_get(a, s->param[0], l, e);

	for (int64_t i = 0; i < n * width && !st; i++)
		value[i] *= l[i / width];
	free(l);
	return st;
}

static const struct pt_method gain = {
	.name = "gain", .peft_type = "GAIN", .kinds = 1u << PT_SITE_LINEAR | 1u << PT_SITE_NORM, .merges = true,
	.defaults = "{\"peft_type\":\"GAIN\",\"target_modules\":null,\"task_type\":null,\"modules_to_save\":null}",
	.parse = parse_nothing, .create = gain_create, .init = gain_init, .merge = gain_merge,
};

/* A model with a fresh adapter of a method on it; or one that was saved. */
static struct pt_adapter *put(struct mfix *x, const struct pt_method *m, const char *config, const char *dir,
			      bool trainable)
{
	struct pt_adapter *a;
	cJSON *c = pt_json_parse(config, strlen(config), 0, "config", &err);

	assert_ok(pt_adapter_make(&a, x->m, m, c, &(struct pt_adapter_origin){ .dir = dir, .trainable = trainable, .seed = 1 },
				  &err), &err);
	return a;
}

static void start(struct mfix *x, const char *name)
{
	err = (struct pt_error)PT_ERROR_INIT;
	mfix_golden(x, name);
	mfix_open(x, "cpu");
}

static void stop(struct mfix *x)
{
	mfix_close(x);
	mfix_release(x);
}

static char *sub(const struct mfix *x, const char *name)
{
	char *path = pt_path_join(x->dir, name, &err);

	assert_ok(pt_dir_make(path, &err), &err);
	return path;
}

static void open_file(struct pt_st *st, const char *dir, const char *name)
{
	char *path = pt_path_join(dir, name, &err);

	assert_ok(pt_st_open(st, path, &err), &err);
	free(path);
}

static double norm_of_grad(struct mfix *x, const struct pt_param *p)
{
	float *g = fix_grad(&x->f, p);
	double sum = 0;

	for (int64_t i = 0; i < pt_tensor_count(&p->t); i++)
		sum += (double)g[i] * g[i];
	free(g);
	return sqrt(sum);
}

/* Loss and gradients of the adapter's own list. */
static double loss(struct mfix *x, struct pt_adapter *a)
{
	struct pt_params keep = x->f.params;
	double v;

	x->f.params = a->params;
	v = mfix_loss(x, true);
	x->f.params = keep;
	return v;
}

static void test_shared(void **state)
{
	static const char config[] = "{\"peft_type\":\"SHARED\",\"target_modules\":[\"q_proj\",\"v_proj\"]}";
	struct pt_adapter *a, *b;
	struct mfix x;
	struct pt_st st;
	float *bare, *y, *again;
	bool changed;
	char *dir;
	size_t n;

	(void)state;
	start(&x, "llama2");
	dir = sub(&x, "shared");
	bare = mfix_out(&x, &n);
	a = put(&x, &shared, config, NULL, true);
	assert_int_equal(a->params.n, 4);
	assert_int_equal(a->frozen.n, 2);
	loss(&x, a);
	for (int i = 0; i < 4; i++)
		assert_true(norm_of_grad(&x, a->params.item[i]) > 1e-6);
	y = mfix_out(&x, &n);
	assert_true(memcmp(y, bare, n * sizeof *y) != 0);
	assert_fails(pt_adapter_merge(a, a->site[0].site->weight, y, &changed, &err), PT_USAGE, "cannot be merged", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	free(y);
	y = mfix_out(&x, &n);
	assert_ok(pt_adapter_save(a, dir, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	open_file(&st, dir, "adapter_model.safetensors");
	assert_int_equal(st.ntensors, 6);
	assert_non_null(pt_st_find(&st, "base_model.shared_A"));
	assert_non_null(pt_st_find(&st, "base_model.model.model.layers.1.self_attn.v_proj.shared_d"));
	pt_st_release(&st);
	b = put(&x, &shared, config, dir, false);
	again = mfix_out(&x, &n);
	assert_memory_equal(y, again, n * sizeof *y);
	pt_adapter_close(b);
	free(again);
	again = mfix_out(&x, &n);
	assert_memory_equal(bare, again, n * sizeof *y);
	free(bare);
	free(y);
	free(again);
	free(dir);
	stop(&x);
}

static void test_shift(void **state)
{
	static const char config[] = "{\"peft_type\":\"SHIFT\"}";
	struct pt_adapter *a, *b;
	struct pt_tensor *t;
	struct mfix x;
	struct pt_st st;
	float *y, *again;
	char *dir, *file, *empty;
	float v, *first;
	cJSON *c;
	size_t n;

	(void)state;
	start(&x, "llama2");
	dir = sub(&x, "shift");
	a = put(&x, &shift, config, NULL, true);
	assert_int_equal(a->nsites, 1);
	loss(&x, a);
	assert_true(norm_of_grad(&x, a->params.item[0]) > 1e-6);
	/* The loop's calls reach the method. */
	pt_run_reset(&x.f.run);
	x.f.run.record = true;
	t = pt_adapter_loss(&x.f.run, a);
	assert_non_null(t);
	assert_int_equal(pt_tensor_count(t), 30);
	assert_ok(pt_adapter_gradient(a, &(struct pt_method_step){ 1, 2, 1 }, &err), &err);
	assert_ok(pt_adapter_after_step(a, &(struct pt_method_step){ 1, 2, 0.5f }, &err), &err);
	assert_ok(pt_adapter_after_step(a, &(struct pt_method_step){ 2, 2, 0.5f }, &err), &err);
	assert_int_equal(((struct shift *)a->state)->gradients, 1);
	y = mfix_out(&x, &n);
	assert_ok(pt_adapter_save(a, dir, PT_SAVE_ALL, &err), &err);
	assert_null(pt_json_get(a->config, "saved_steps"));
	/* A run that goes on finds what does not train as it was; the rest is left alone. */
	assert_ok(set_all(a, ((struct shift *)a->state)->count, 9, 0, &err), &err);
	assert_ok(set_all(a, a->params.item[0], 9, 0, &err), &err);
	assert_ok(pt_adapter_restore(a, dir, &err), &err);
	assert_ok(pt_adapter_get(a, ((struct shift *)a->state)->count, &v, &err), &err);
	assert_true(v == 2);
	first = fix_read(&x.f, &a->params.item[0]->t);
	assert_true(first[0] == 9);
	free(first);
	pt_adapter_close(a);
	empty = sub(&x, "empty");
	a = put(&x, &shift, config, NULL, true);
	assert_fails(pt_adapter_restore(a, empty, &err), PT_DATA, "peft_state.safetensors", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	free(empty);
	pt_adapter_close(a);
	open_file(&st, dir, "adapter_model.safetensors");
	assert_int_equal(st.ntensors, 1);
	assert_non_null(pt_st_find(&st, "shift"));
	pt_st_release(&st);
	open_file(&st, dir, "peft_state.safetensors");
	assert_int_equal(st.ntensors, 3);
	pt_st_release(&st);
	file = pt_path_join(dir, "adapter_config.json", &err);
	assert_non_null(c = pt_json_read(file, 0, &err));
	assert_int_equal(cJSON_GetNumberValue(pt_json_get(c, "saved_steps")), 2);
	pt_json_free(c);
	free(file);
	/* With its state it goes on. */
	b = put(&x, &shift, config, dir, true);
	assert_int_equal(b->params.n, 2);
	again = mfix_out(&x, &n);
	assert_memory_equal(y, again, n * sizeof *y);
	free(again);
	pt_adapter_close(b);
	/* Without, as HF would give it back, it infers, and does not train. */
	file = pt_path_join(dir, "peft_state.safetensors", &err);
	assert_int_equal(unlink(file), 0);
	free(file);
	b = put(&x, &shift, config, dir, false);
	again = mfix_out(&x, &n);
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(again[i] - y[i]) <= 1e-4f * (1 + fabsf(y[i])));
	pt_adapter_close(b);
	c = pt_json_parse(config, strlen(config), 0, "config", &err);
	assert_fails(pt_adapter_make(&b, x.m, &shift, c, &(struct pt_adapter_origin){ .dir = dir, .trainable = true }, &err),
		     PT_DATA, "no state to go on with", &err);
	free(y);
	free(again);
	free(dir);
	stop(&x);
}

static void test_gain(void **state)
{
	static const char config[] = "{\"peft_type\":\"GAIN\",\"target_modules\":[\"k_proj\",\"norm\",\"down_proj\"]}";
	struct pt_adapter *a;
	struct mfix x;
	float *y, *merged;
	struct pt_tensor *old;
	size_t n;

	(void)state;
	start(&x, "llama3");
	a = put(&x, &gain, config, NULL, true);
	assert_int_equal(a->nsites, 5);
	loss(&x, a);
	for (int i = 0; i < a->params.n; i++)
		assert_true(norm_of_grad(&x, a->params.item[i]) > 1e-6);
	y = mfix_out(&x, &n);
	old = merge_all(&x, a);
	pt_adapter_enable(a, false);
	merged = mfix_out(&x, &n);
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(merged[i] - y[i]) <= 1e-4f * (1 + fabsf(y[i])));
	merge_back(&x, old);
	pt_adapter_close(a);
	free(y);
	free(merged);
	stop(&x);
}

/* An option is of one kind in all methods, sets a key that its method has, and presets what it takes. */
static void test_options(void **state)
{
	const struct pt_method *m;

	(void)state;
	err = (struct pt_error)PT_ERROR_INIT;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		cJSON *d = pt_json_parse(m->defaults, strlen(m->defaults), 0, m->name, &err);

		assert_non_null(d);
		for (const struct pt_option *o = m->options; o && o->key; o++) {
			char key[60];

			/* "object.key" */
			snprintf(key, sizeof key, "%.*s", (int)strcspn(o->key, "."), o->key);
			if (!cJSON_GetObjectItemCaseSensitive(d, key) != o->passing)
				fail_msg("%s %s key %s", m->name, o->passing ? "has" : "has no", o->key);
			for (int k = 0; o->name && k < i; k++) {
				for (const struct pt_option *p = pt_method_at(k)->options; p && p->key; p++) {
					if (p->name && !strcmp(p->name, o->name) && (p->kind != o->kind || p->letter != o->letter))
						fail_msg("--%s is not the same in %s and %s", o->name, m->name, pt_method_at(k)->name);
				}
			}
		}
		pt_json_free(d);
	}
}

/* Of methods with one peft_type the keys decide, given or by default. */
static void test_of_config(void **state)
{
	static const struct {
		const char *config, *name;
	} c[] = {
		{ "{\"peft_type\":\"LORA\"}", "lora" },
		{ "{\"peft_type\":\"LORA\",\"use_dora\":false}", "lora" },
		{ "{\"peft_type\":\"LORA\",\"use_dora\":true}", "dora" },
		{ "{\"peft_type\":\"LORA\",\"use_dora\":true,\"lora_alpha\":0}", "dora" },
		{ "{\"peft_type\":\"LORA\",\"lora_alpha\":0,\"bias\":\"all\"}", "bitfit" },
		{ "{\"peft_type\":\"LORA\",\"lora_alpha\":0.0,\"bias\":\"lora_only\"}", "bitfit" },
		{ "{\"peft_type\":\"LORA\",\"lora_alpha\":0,\"alpha_pattern\":{\"x\":1}}", "lora" },
		{ "{\"peft_type\":\"IA3\"}", "ia3" },
		{ "{\"peft_type\":\"LN_TUNING\"}", "ln" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
		cJSON *j = pt_json_parse(c[i].config, strlen(c[i].config), 0, "test", &err);
		const struct pt_method *m;

		assert_ok(pt_method_of_config(j, &m, &err), &err);
		assert_string_equal(m->name, c[i].name);
		pt_json_free(j);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options), cmocka_unit_test(test_of_config), cmocka_unit_test(test_shared), cmocka_unit_test(test_shift), cmocka_unit_test(test_gain),
	};

	return cmocka_run_group_tests_name("peft_methods", tests, NULL, NULL);
}
