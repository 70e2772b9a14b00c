/* SPDX-License-Identifier: MIT */
/*
 * Adapters and their directories: what configurations match, what is written
 * and read again, switching off, merging, and what is refused.
 */
#include "test.h"

#include <dirent.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "peft/adapter.h"
#include "ref_device.h"

static struct pt_error err;
static struct pt_device *dev;
static char dir[200];

static struct pt_modeldir base;

static int start(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/peft_adapter.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(dir));
	dev = ref_device_new();
	assert_ok(pt_modeldir_open(&base, "tests/data/examples/base", 0, &err), &err);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	pt_modeldir_close(&base);
	assert_int_equal(dev->used, 0);
	dev->close(dev);
	assert_ok(pt_dir_remove(dir, &err), &err);
	return 0;
}

static int no_error(void **state)
{
	(void)state;
	err = (struct pt_error)PT_ERROR_INIT;
	return 0;
}

static struct pt_model *open_model(enum pt_task task)
{
	struct pt_model_options o = { .task = task, .num_labels = task == PT_TASK_SEQ_CLS ? 3 : 0,
				      .head_may_lack = true, .seed = 5 };
	struct pt_model *m;

	assert_ok(pt_model_open(&m, dev, &base, &o, &err), &err);
	return m;
}

static cJSON *parse(const char *json)
{
	cJSON *j = pt_json_parse(json, strlen(json), 0, "test", &err);

	if (!j)
		fail_msg("%s", err.msg);
	return j;
}

static struct pt_adapter *make(struct pt_model *m, const char *json)
{
	struct pt_adapter *a = NULL;

	assert_ok(pt_adapter_new(&a, m, parse(json), 7, &err), &err);
	return a;
}

static bool has_site(const struct pt_adapter *a, const char *path)
{
	for (int i = 0; i < a->nsites; i++) {
		if (!strcmp(a->site[i].site->path, path))
			return true;
	}
	return false;
}

/* Adapted sites of a configuration on the two-layer Llama; -1 and the message where it is refused. */
static int count(const char *json)
{
	struct pt_model *m;
	struct pt_adapter *a;
	int n;

	err = (struct pt_error)PT_ERROR_INIT;
	m = open_model(PT_TASK_CAUSAL_LM);
	n = pt_adapter_new(&a, m, parse(json), 7, &err) ? -1 : a->nsites;

	if (n >= 0)
		pt_adapter_close(a);
	pt_model_close(m);
	return n;
}

static void targets(void **state)
{
	(void)state;
	assert_int_equal(count("{\"peft_type\":\"LORA\"}"), 4);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"model.layers.1.self_attn.q_proj\"]}"), 1);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\"all-linear\"}"), 14);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\"All-Linear\"}"), 14);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"embed_tokens\",\"lm_head\"]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":\".*\\\\.(q|k)_proj\"}"), 4);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"up_proj\"],"
			       "\"exclude_modules\":[\"layers.0.mlp.up_proj\"]}"), 3);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"up_proj\"],"
			       "\"exclude_modules\":\".*up_proj\"}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"lm_head\"],"
			       "\"layers_to_transform\":[1]}"), 2);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],\"layers_to_transform\":1,"
			       "\"layers_pattern\":\"layers\"}"), 1);
	assert_int_equal(count("{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"down_proj\"],"
			       "\"modules_to_save\":[\"mlp\"]}"), 2);
}

static void refused(void **state)
{
	static const char *const bad[][2] = {
		{ "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"qproj\"]}", "'qproj' matches no module" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\"q_proj\"}", "'q_proj' matches no module" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\"(\"}", "'(' is no regular expression" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":[\"norm\"]}", "model.norm is a RMSNorm" },
		{ "{\"peft_type\":\"LORA\",\"exclude_modules\":[\"xx\"]}", "exclude_modules: 'xx'" },
		{ "{\"peft_type\":\"LORA\",\"modules_to_save\":[\"xx\"]}", "modules_to_save: 'xx'" },
		{ "{\"peft_type\":\"LORA\",\"layers_to_transform\":[2]}", "no layer 2" },
		{ "{\"peft_type\":\"LORA\",\"layers_pattern\":\"h\"}", "needs layers_to_transform" },
		{ "{\"peft_type\":\"LORA\",\"layers_to_transform\":[1],\"layers_pattern\":\"h\"}", "is left to adapt" },
		{ "{\"peft_type\":\"LORA\",\"target_modules\":\".*q_proj\",\"layers_to_transform\":[1]}", "a list" },
		{ "{\"peft_type\":\"LORA\",\"rank_pattern\":{\"k_proj\":4}}", "rank_pattern: 'k_proj'" },
		{ "{\"peft_type\":\"LORA\",\"alpha_pattern\":{\"k_proj\":4}}", "alpha_pattern: 'k_proj'" },
		{ "{\"peft_type\":\"LORA\",\"r\":0}", "r" },
		{ "{\"peft_type\":\"LORA\",\"bias\":\"some\"}", "bias 'some'" },
		{ "{\"peft_type\":\"LORA\",\"lora_dropout\":1}", "lora_dropout" },
		{ "{\"peft_type\":\"LORA\",\"use_dora\":true}", "use_dora" },
		{ "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"pissa\"}", "pissa" },
		{ "{\"peft_type\":\"LORA\",\"init_lora_weights\":\"orthogonal\",\"r\":3}", "even rank" },
		{ "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\"}", "task_type SEQ_CLS" },
		{ "{\"peft_type\":\"LORAX\"}", "peft_type LORAX" },
		{ "{\"r\":8}", "peft_type is missing" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(count(bad[i][0]), -1);
		if (!strstr(err.msg, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], err.msg);
	}
}

/* Everything at once: patterns, biases, a trained embedding, a head. */
static const char rich[] =
	"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":6,\"use_rslora\":true,\"bias\":\"all\",\"lora_bias\":true,"
	"\"target_modules\":[\"q_proj\",\"down_proj\"],\"rank_pattern\":{\"layers.1.*q_proj\":2},"
	"\"alpha_pattern\":{\"down_proj\":3},\"modules_to_save\":[\"embed_tokens\"],\"zz_unknown\":{\"b\":1,\"a\":[2]},"
	"\"base_model_name_or_path\":\"org/name\"}";

static void fill_params(struct pt_adapter *a)
{
	for (int i = 0; i < a->params.n; i++) {
		struct pt_param *p = a->params.item[i];
		size_t n = (size_t)pt_tensor_count(&p->t);
		float *v = calloc(n, sizeof *v);

		pt_rng_normal(pt_rng_mix_str(3, p->name), v, n, 0, 0.2f);
		assert_ok(pt_adapter_set(a, p, v, &err), &err);
		free(v);
	}
}

static char *read_file(const char *d, const char *name)
{
	char *path = pt_path_join(d, name, &err);
	struct pt_buf b = PT_BUF_INIT;

	assert_ok(pt_file_read(path, 1 << 24, &b, &err), &err);
	free(path);
	return b.data;
}

static char *sub(const char *name)
{
	char *path = pt_path_join(dir, name, &err);

	assert_ok(pt_dir_make(path, &err), &err);
	return path;
}

static void round_trip(void **state)
{
	static const char *const labels[] = { "no", "yes", "may\nbe" };
	struct pt_model *m = open_model(PT_TASK_SEQ_CLS);
	struct pt_adapter *a = make(m, rich), *b, *c;
	char *one = sub("one"), *two = sub("two");
	uint64_t da, db;

	(void)state;
	fill_params(a);
	assert_ok(pt_adapter_set_labels(a, labels, 3, &err), &err);
	assert_ok(pt_adapter_save(a, one, PT_SAVE_ALL, &err), &err);
	assert_ok(pt_adapter_open(&b, m, one, true, &err), &err);
	assert_int_equal(b->nlabels, 3);
	assert_string_equal(b->labels[2], labels[2]);
	assert_int_equal(b->params.n, a->params.n);
	assert_int_equal(b->site[2].rank, 2);
	assert_float_equal(b->site[2].scale, 6 / sqrt(2), 1e-6);
	assert_float_equal(b->site[1].scale, 3 / sqrt(4), 1e-6);
	assert_ok(pt_adapter_digest(a, &da, &err), &err);
	assert_ok(pt_adapter_digest(b, &db, &err), &err);
	assert_true(da == db);
	assert_ok(pt_adapter_save(b, two, PT_SAVE_BUT_LAST, &err), &err);
	assert_fails(pt_adapter_open(&c, m, two, true, &err), PT_FAIL, "adapter_model.safetensors", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	assert_ok(pt_adapter_save(b, two, PT_SAVE_LAST, &err), &err);
	pt_adapter_close(b);
	for (int i = 0; i < 3; i++) {
		static const char *const file[] = { "adapter_config.json", "adapter_model.safetensors", "labels.json" };
		char *x = read_file(one, file[i]), *y = read_file(two, file[i]);

		assert_string_equal(x, y);
		free(x);
		free(y);
	}
	/* For inference nothing has a gradient; the values are the same. */
	assert_ok(pt_adapter_open(&c, m, two, false, &err), &err);
	assert_int_equal(c->params.n, 0);
	assert_int_equal(c->frozen.n, a->params.n);
	assert_ok(pt_adapter_digest(c, &db, &err), &err);
	assert_true(da == db);
	pt_adapter_close(c);
	pt_adapter_close(a);
	pt_model_close(m);
	free(one);
	free(two);
}

static void hooks(void **state)
{
	struct pt_model *m = open_model(PT_TASK_SEQ_CLS);
	struct pt_adapter *a = make(m, rich);
	struct pt_weight *w = pt_model_weight(m, "score.weight");

	(void)state;
	assert_true(has_site(a, "model.layers.0.self_attn.q_proj"));
	assert_int_equal(a->site[0].site->nhooks, 1);
	assert_true(w->use != &w->t && w->use->needs_grad);
	pt_adapter_enable(a, false);
	assert_true(w->use == &w->t && !a->site[0].hook.enabled);
	pt_adapter_enable(a, true);
	assert_true(w->use != &w->t && a->site[0].hook.enabled);
	pt_adapter_close(a);
	assert_true(w->use == &w->t);
	assert_int_equal(pt_model_site(m, "model.layers.0.self_attn.q_proj")->nhooks, 0);
	pt_model_close(m);
}

/* Weight decay spares biases and norms. */
static void decay(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, "{\"peft_type\":\"LORA\",\"lora_bias\":true,\"modules_to_save\":[\"norm\"]}");

	(void)state;
	for (int i = 0; i < a->params.n; i++) {
		const struct pt_param *p = a->params.item[i];
		bool spared = strstr(p->name, "bias") || strstr(p->name, "norm");

		assert_int_equal(p->decay, !spared);
	}
	/* Names end alike: PEFT's modules_to_save takes "input_layernorm" for "norm" too. */
	assert_non_null(pt_params_find(&a->params, "model.layers.1.input_layernorm.weight"));
	pt_adapter_close(a);
	pt_model_close(m);
}

#define T(f) cmocka_unit_test_setup(f, no_error)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(targets), T(refused), T(round_trip), T(hooks), T(decay),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
