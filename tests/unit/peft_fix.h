/* SPDX-License-Identifier: MIT */
/*
 * peft_fix.h - what the tests of adapters share: the two-layer Llama of the
 * examples on the device of plain loops, and adapters on it.
 */
#ifndef PT_PEFT_FIX_H
#define PT_PEFT_FIX_H

#include "test.h"

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

static struct pt_model *open_model(enum pt_task task) REF_UNUSED;
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

static struct pt_adapter *make(struct pt_model *m, const char *json) REF_UNUSED;
static struct pt_adapter *make(struct pt_model *m, const char *json)
{
	struct pt_adapter *a = NULL;

	assert_ok(pt_adapter_new(&a, m, parse(json), 7, NULL, &err), &err);
	return a;
}

/* Everything at once: patterns, biases, a trained embedding, a head. */
static const char rich[] =
	"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":6,\"use_rslora\":true,\"bias\":\"all\",\"lora_bias\":true,"
	"\"target_modules\":[\"q_proj\",\"down_proj\"],\"rank_pattern\":{\"layers.1.*q_proj\":2},"
	"\"alpha_pattern\":{\"down_proj\":3},\"modules_to_save\":[\"embed_tokens\"],\"zz_unknown\":{\"b\":1,\"a\":[2]},"
	"\"base_model_name_or_path\":\"org/name\"}";

static void fill_params(struct pt_adapter *a) REF_UNUSED;
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

static char *sub(const char *name) REF_UNUSED;
static char *sub(const char *name)
{
	char *path = pt_path_join(dir, name, &err);

	assert_ok(pt_dir_make(path, &err), &err);
	return path;
}

#define T(f) cmocka_unit_test_setup(f, no_error)

#endif
