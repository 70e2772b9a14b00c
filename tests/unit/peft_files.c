/* SPDX-License-Identifier: MIT */
/*
 * Adapter directories: what is written and read again, what others write, and
 * what is refused.
 */
#include "peft_fix.h"

static char *read_file(const char *d, const char *name)
{
	char *path = pt_path_join(d, name, &err);
	struct pt_buf b = PT_BUF_INIT;

	assert_ok(pt_file_read(path, 1 << 24, &b, &err), &err);
	free(path);
	return b.data;
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

/* A directory of an adapter whose file of tensors can be changed before it is opened. */
struct edit {
	struct pt_st st;
	struct pt_st_build b;
	char *dir, *file, *text;
};

static void edit_open(struct edit *e, struct pt_model *m, const char *name, const char *json)
{
	struct pt_adapter *a = make(m, json);

	fill_params(a);
	e->dir = sub(name);
	assert_ok(pt_adapter_save(a, e->dir, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	e->file = pt_path_join(e->dir, "adapter_model.safetensors", &err);
	e->text = NULL;
	assert_ok(pt_st_open(&e->st, e->file, &err), &err);
	pt_st_build_init(&e->b);
	for (size_t i = 0; i < e->st.ntensors; i++) {
		const struct pt_st_tensor *t = &e->st.tensor[i];

		pt_st_build_tensor(&e->b, t->name, t->dtype, t->ndim, t->shape, t->data);
	}
}

static void edit_write(struct edit *e)
{
	char *other = pt_path_join(e->dir, "new", &err);

	assert_ok(pt_st_build_write(&e->b, other, &err), &err);
	assert_int_equal(rename(other, e->file), 0);
	free(other);
}

static void edit_config(struct edit *e, const char *json)
{
	char *path = pt_path_join(e->dir, "adapter_config.json", &err);

	assert_ok(pt_file_write(path, json, strlen(json), &err), &err);
	free(path);
}

static void edit_close(struct edit *e)
{
	pt_st_build_release(&e->b);
	pt_st_release(&e->st);
	free(e->dir);
	free(e->file);
}

static void expect(struct edit *e, struct pt_model *m, const char *part)
{
	struct pt_adapter *a;

	assert_fails(pt_adapter_open(&a, m, e->dir, false, &err), PT_DATA, part, &err);
	assert_non_null(strstr(err.msg, e->dir));
	assert_null(a);
	err = (struct pt_error)PT_ERROR_INIT;
	/* Nothing stays hooked in. */
	for (int i = 0; i < m->nsites; i++)
		assert_int_equal(m->site[i].nhooks, 0);
	for (int i = 0; i < m->nweights; i++)
		assert_true(m->weight[i].use == &m->weight[i].t);
}

#define Q0 "base_model.model.model.layers.0.self_attn.q_proj."

static void bad_files(void **state)
{
	static const char lora[] = "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"]}";
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	float v[400] = { 0 };
	struct edit e;

	(void)state;
	edit_open(&e, m, "missing", lora);
	pt_st_build_drop(&e.b, Q0 "lora_B.weight");
	edit_write(&e);
	expect(&e, m, "lacks " Q0 "lora_B.weight");
	edit_close(&e);

	edit_open(&e, m, "shape", lora);
	pt_st_build_drop(&e.b, Q0 "lora_B.weight");
	pt_st_build_tensor(&e.b, Q0 "lora_B.weight", PT_F32, 2, (int64_t[]){ 16, 7 }, v);
	edit_write(&e);
	expect(&e, m, Q0 "lora_B.weight is F32[16,7], this model and configuration want [16,8]");
	edit_close(&e);

	edit_open(&e, m, "type", lora);
	pt_st_build_drop(&e.b, Q0 "lora_B.weight");
	pt_st_build_tensor(&e.b, Q0 "lora_B.weight", PT_I32, 2, (int64_t[]){ 16, 8 }, v);
	edit_write(&e);
	expect(&e, m, "is stored as I32");
	edit_close(&e);

	edit_open(&e, m, "unused", lora);
	pt_st_build_array(&e.b, "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", PT_F32, 4, v);
	edit_write(&e);
	expect(&e, m, "nothing uses base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight");
	edit_close(&e);

	edit_open(&e, m, "resized", lora);
	pt_st_build_tensor(&e.b, "base_model.model.model.norm.weight", PT_F32, 1, (int64_t[]){ 17 }, v);
	edit_write(&e);
	expect(&e, m, "want [16]");
	edit_close(&e);

	edit_open(&e, m, "config", lora);
	edit_config(&e, "{\"peft_type\":\"BONE\"}");
	expect(&e, m, "peft_type BONE is not supported");
	edit_config(&e, "{\"r\":8}");
	expect(&e, m, "peft_type is missing");
	edit_config(&e, "{\"peft_type\":\"LORA\",\"r\":8,\"r\":9}");
	expect(&e, m, "");
	edit_config(&e, "{\"peft_type\":\"LORA\",\"task_type\":\"SEQ_CLS\"}");
	expect(&e, m, "task_type SEQ_CLS");
	edit_config(&e, "{\"peft_type\":\"LORA\",\"target_modules\":[\"k_proj\"]}");
	expect(&e, m, "lacks");
	edit_config(&e, "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],\"init_lora_weights\":\"pissa\"}");
	expect(&e, m, "another base");
	edit_config(&e, "{\"peft_type\":\"LORA\",\"target_modules\":\"xyz\"}");
	expect(&e, m, "is left to adapt");
	edit_close(&e);
	pt_model_close(m);
}

/* What files of others have and ours have not. */
static void foreign_files(void **state)
{
	static const char lora[] = "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"],\"bias\":\"all\","
				   "\"modules_to_save\":[\"norm\"]}";
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	float v[16] = { 0 }, got[16];
	uint16_t half[16 * 8];
	struct pt_adapter *a;
	struct edit e;

	(void)state;
	for (int i = 0; i < 16; i++)
		v[i] = (float)i;
	edit_open(&e, m, "foreign", lora);
	/* Lower precision; the head's and the base's own values a second time; a weight of the base. */
	for (int i = 0; i < 128; i++)
		half[i] = pt_f32_to_f16((float)i);
	pt_st_build_drop(&e.b, Q0 "lora_B.weight");
	pt_st_build_tensor(&e.b, Q0 "lora_B.weight", PT_F16, 2, (int64_t[]){ 16, 8 }, half);
	pt_st_build_array(&e.b, "base_model.model.model.norm.original_module.weight", PT_F32, 16, v);
	pt_st_build_array(&e.b, "base_model.model.model.norm.modules_to_save.weight", PT_F32, 16, v);
	/* Old files lack most keys of the configuration; a name that matches nothing is a warning. */
	edit_config(&e, "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\",\"nothing\"],\"r\":8,"
			"\"modules_to_save\":[\"norm\"]}");
	edit_write(&e);
	assert_ok(pt_adapter_open(&a, m, e.dir, true, &err), &err);
	assert_int_equal(a->site[0].rank, 8);
	{
		float *b = calloc(128, sizeof *b);

		assert_ok(pt_adapter_get(a, a->site[0].param[1], b, &err), &err);
		for (int i = 0; i < 128; i++)
			assert_float_equal(b[i], (float)i, 0);
		free(b);
	}
	pt_adapter_close(a);
	edit_close(&e);

	/* A base weight beside the adapter takes its place, frozen, and is written again. */
	edit_open(&e, m, "whole", "{\"peft_type\":\"LORA\",\"target_modules\":[\"q_proj\"]}");
	pt_st_build_array(&e.b, "base_model.model.model.norm.weight", PT_F32, 16, v);
	edit_write(&e);
	assert_ok(pt_adapter_open(&a, m, e.dir, true, &err), &err);
	assert_int_equal(a->params.n, 4);
	assert_int_equal(a->frozen.n, 1);
	assert_true(pt_model_weight(m, "model.norm.weight")->use == &a->frozen.item[0]->t);
	assert_ok(pt_adapter_get(a, a->frozen.item[0], got, &err), &err);
	assert_memory_equal(got, v, sizeof v);
	assert_ok(pt_adapter_save(a, e.dir, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	edit_close(&e);
	pt_model_close(m);
}

/* Full training: written in f32 where it trained, opened again as it was. */
static void full(void **state)
{
	static const char *const names[] = { "layers.1", "model.norm" };
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM), *m2;
	struct pt_model_options o = { 0 };
	struct pt_adapter_info info;
	struct pt_modeldir md;
	struct pt_adapter *a, *b;
	uint64_t da, db;
	char *one = sub("full");

	(void)state;
	assert_fails(pt_adapter_new_full(&a, m, (const char *const[]){ "norm", "no" }, 2, &err), PT_USAGE, "'no'", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	assert_ok(pt_adapter_new_full(&a, m, names, 2, &err), &err);
	assert_int_equal(a->params.n, 10);
	assert_non_null(pt_params_find(&a->params, "model.layers.1.mlp.up_proj.weight"));
	assert_false(pt_params_find(&a->params, "model.norm.weight")->decay);
	fill_params(a);
	assert_ok(pt_adapter_save(a, one, PT_SAVE_ALL, &err), &err);
	assert_ok(pt_adapter_digest(a, &da, &err), &err);
	pt_adapter_close(a);
	pt_model_close(m);

	assert_ok(pt_adapter_peek(one, &info, &err), &err);
	assert_true(info.full && info.task == PT_TASK_CAUSAL_LM);
	o.task = info.task;
	assert_ok(pt_modeldir_open(&md, one, 0, &err), &err);
	assert_ok(pt_model_open(&m2, dev, &md, &o, &err), &err);
	assert_ok(pt_adapter_open(&b, m2, one, true, &err), &err);
	assert_int_equal(b->params.n, 10);
	assert_int_equal(b->nmodules, 2);
	assert_ok(pt_adapter_digest(b, &db, &err), &err);
	assert_true(da == db);
	pt_adapter_close(b);
	/* For inference nothing is copied. */
	assert_ok(pt_adapter_open(&b, m2, one, false, &err), &err);
	assert_int_equal(b->params.n + b->frozen.n, 0);
	pt_adapter_close(b);
	pt_model_close(m2);
	pt_modeldir_close(&md);
	pt_adapter_info_release(&info);
	free(one);
}

static void peek(void **state)
{
	static const char *const labels[] = { "x", "y", "z" };
	struct pt_model *m = open_model(PT_TASK_SEQ_CLS);
	struct pt_adapter *a = make(m, rich);
	struct pt_adapter_info info;
	char *one = sub("peek"), *path;

	(void)state;
	assert_ok(pt_adapter_save(a, one, PT_SAVE_ALL, &err), &err);
	assert_ok(pt_adapter_peek(one, &info, &err), &err);
	assert_true(!info.full && info.task == PT_TASK_SEQ_CLS && info.nlabels == 3 && !info.labels);
	assert_string_equal(info.base, "org/name");
	pt_adapter_info_release(&info);
	assert_ok(pt_adapter_set_labels(a, labels, 3, &err), &err);
	assert_ok(pt_adapter_save(a, one, PT_SAVE_ALL, &err), &err);
	assert_ok(pt_adapter_peek(one, &info, &err), &err);
	assert_string_equal(info.labels[2], "z");
	pt_adapter_info_release(&info);
	path = pt_path_join(one, "labels.json", &err);
	assert_ok(pt_file_write(path, "[1]", 3, &err), &err);
	assert_fails(pt_adapter_peek(one, &info, &err), PT_DATA, "class name 0", &err);
	err = (struct pt_error)PT_ERROR_INIT;
	assert_ok(pt_adapter_peek("tests/data/examples/base", &info, &err), &err);
	assert_true(info.full && info.task == PT_TASK_CAUSAL_LM);
	pt_adapter_info_release(&info);
	assert_fails(pt_adapter_peek(dir, &info, &err), PT_DATA, "neither adapter_config.json nor config.json", &err);
	assert_fails(pt_adapter_peek("/nonexistent", &info, &err), PT_FAIL, "no such directory", &err);
	pt_adapter_close(a);
	pt_model_close(m);
	free(path);
	free(one);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(round_trip), T(bad_files), T(foreign_files), T(full), T(peek) };

	return cmocka_run_group_tests_name("peft_files", tests, start, stop);
}
