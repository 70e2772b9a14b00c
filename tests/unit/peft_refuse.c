/* SPDX-License-Identifier: MIT */
/*
 * peft_refuse.c - a directory that contradicts itself, of every method: refused
 * with the status of bad data and by name, for each tensor and key of it.
 */
#include "peft_fix.h"
#include "method_fix.h"

#include "peft/adapter_priv.h"

static struct pt_modeldir biased;

/* The model of the examples with biases, with weights as it may begin with. */
static int start_biased(void **state)
{
	struct pt_model_options o = { .task = PT_TASK_CAUSAL_LM, .random = true, .seed = 5 };
	struct pt_modeldir bare;
	struct pt_adapter *a;
	struct pt_model *m;
	struct pt_buf text = PT_BUF_INIT, changed = PT_BUF_INIT;
	char *path, *at;

	start(state);
	assert_ok(pt_file_read("tests/data/examples/base/config.json", 1 << 20, &text, &err), &err);
	at = strstr(text.data, "\"attention_bias\": false");
	assert_non_null(at);
	pt_buf_printf(&changed, "%.*s\"attention_bias\": true%s", (int)(at - text.data), text.data,
		      at + strlen("\"attention_bias\": false"));
	path = sub("base");
	assert_ok(pt_file_write_in(path, "config.json", &changed, &err), &err);
	assert_ok(pt_modeldir_open(&bare, path, PT_MODELDIR_NO_WEIGHTS, &err), &err);
	assert_ok(pt_model_open(&m, dev, &bare, &o, &err), &err);
	assert_ok(pt_adapter_new_full(&a, m, NULL, 0, &err), &err);
	free(path);
	path = sub("biased");
	assert_ok(pt_adapter_save(a, path, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	pt_model_close(m);
	pt_modeldir_close(&bare);
	assert_ok(pt_modeldir_open(&biased, path, 0, &err), &err);
	free(path);
	pt_buf_release(&text);
	pt_buf_release(&changed);
	return 0;
}

static int stop_biased(void **state)
{
	pt_modeldir_close(&biased);
	return stop(state);
}

static struct pt_model *model(void)
{
	struct pt_model_options o = { .task = PT_TASK_CAUSAL_LM };
	struct pt_model *m;

	assert_ok(pt_model_open(&m, dev, &biased, &o, &err), &err);
	return m;
}

/* A directory of m named so; the caller's. */
static char *write_one(const struct pt_method *m, const char *name)
{
	struct pt_model *base_model = model();
	struct pt_adapter *a = NULL;
	char *path = sub(name);

	assert_ok(pt_adapter_new(&a, base_model, method_config(m), 7, NULL, &err), &err);
	assert_ok(pt_adapter_save(a, path, PT_SAVE_ALL, &err), &err);
	pt_adapter_close(a);
	pt_model_close(base_model);
	return path;
}

/* The message names the directory and has a part; or: that may be another. */
static void refused(const char *path, const char *part, const char *or)
{
	struct pt_model *m = model();
	struct pt_adapter *a = NULL;
	int n = m->site[0].nhooks;

	for (int trainable = 0; trainable < 2; trainable++) {
		err = (struct pt_error)PT_ERROR_INIT;
		if (!pt_adapter_open(&a, m, path, trainable, &err))
			fail_msg("%s: opened, where %s is wrong", path, part);
		if (err.status != PT_DATA || (!strstr(err.msg, part) && !(or && strstr(err.msg, or))) || strncmp(err.msg, path, strlen(path)) != 0)
			fail_msg("%s: status %d, '%s' does not say '%s'", path, err.status, err.msg, part);
		assert_null(a);
		assert_int_equal(m->site[0].nhooks, n);
	}
	pt_model_close(m);
	err = (struct pt_error)PT_ERROR_INIT;
}

static void write_config(const char *path, const cJSON *config)
{
	assert_ok(pt_json_write(config, path, PT_ADAPTER_CONFIG, &err), &err);
}

static cJSON *read_config(const char *path)
{
	char *file = pt_path_join(path, PT_ADAPTER_CONFIG, &err);
	cJSON *c = pt_json_read(file, 0, &err);

	free(file);
	assert_non_null(c);
	return c;
}

static void with_key(const char *path, const char *key, const char *value, const char *part, const char *or)
{
	cJSON *c = read_config(path), *was = cJSON_Duplicate(c, true);

	cJSON_DeleteItemFromObjectCaseSensitive(c, key);
	if (value)
		cJSON_AddItemToObject(c, key, parse(value));
	write_config(path, c);
	refused(path, part, or);
	write_config(path, was);
	cJSON_Delete(c);
	cJSON_Delete(was);
}

enum change { GONE, LONGER, INTEGERS };

/* The file without tensor `but`, or with one more row of it, or with integers in it, or with a further key. */
static void with_tensors(const char *path, const char *file, int but, enum change how, const char *more, const char *part)
{
	char *name = pt_path_join(path, file, &err), *kept = pt_format(&err, "%s.kept", name);
	struct pt_st_build b;
	static float zero[1 << 16];
	struct pt_st st = { 0 };

	assert_int_equal(rename(name, kept), 0);
	assert_ok(pt_st_open(&st, kept, &err), &err);
	pt_st_build_init(&b);
	for (size_t i = 0; i < st.ntensors; i++) {
		const struct pt_st_tensor *t = &st.tensor[i];
		int64_t shape[3] = { t->shape[0], t->ndim > 1 ? t->shape[1] : 1, t->ndim > 2 ? t->shape[2] : 1 };

		if ((int)i == but && how == GONE)
			continue;
		if ((int)i == but && how == LONGER)
			shape[0]++;
		pt_st_build_tensor(&b, t->name, (int)i == but && how == INTEGERS ? PT_I32 : t->dtype, t->ndim, shape,
				   (int)i == but ? (void *)zero : t->data);
	}
	if (more)
		pt_st_build_tensor(&b, more, PT_F32, 1, (int64_t[]){ 2 }, zero);
	assert_ok(pt_st_build_write(&b, name, &err), &err);
	/* A rank is said by tensors and configuration; a state without its first tensor is none. */
	refused(path, part, how == LONGER ? "rank" : "of peft_state.safetensors");
	pt_st_build_release(&b);
	pt_st_release(&st);
	assert_int_equal(rename(kept, name), 0);
	free(name);
	free(kept);
}

static void tensors_of(const char *path, const char *file)
{
	char *name = pt_path_join(path, file, &err);
	struct pt_st st = { 0 };
	int n = 0;

	if (pt_is_file(name)) {
		assert_ok(pt_st_open(&st, name, &err), &err);
		n = (int)st.ntensors;
		assert_true(n > 0);
	}
	for (int i = 0; i < n; i++) {
		const struct pt_st_tensor *t = &st.tensor[i];
		char *key = pt_strdup(t->name, &err);

		/* What a tied table repeats may be left out. */
		if (!strstr(key, "lm_head.trainable"))
			with_tensors(path, file, i, GONE, NULL, key);
		/* VeRA's may be larger. */
		if (!strstr(key, "vera_B"))
			with_tensors(path, file, i, LONGER, NULL, key);
		with_tensors(path, file, i, INTEGERS, NULL, key);
		free(key);
	}
	if (n) {
		with_tensors(path, file, -1, GONE, "base_model.model.model.layers.0.self_attn.q_proj.nothing", "nothing uses");
		pt_st_release(&st);
	}
	free(name);
}

static bool has_state(const char *path)
{
	char *name = pt_path_join(path, PT_ADAPTER_STATE, &err);
	bool yes = pt_is_file(name);

	free(name);
	return yes;
}

/* What the keys of the method's options are not, and what its tensors contradict. */
static void keys_of(const struct pt_method *m, const char *path)
{
	cJSON *c = read_config(path);

	for (const struct pt_option *o = m->options; o && o->key; o++) {
		const char *wrong = o->kind == PT_OPTION_INT || o->kind == PT_OPTION_FLOAT ? "\"some\"" :
				    o->kind == PT_OPTION_FLAG ? "\"some\"" : o->kind == PT_OPTION_WORD ? "\"some\"" : NULL;

		/* How it began is no matter to a file. */
		if (wrong && !o->passing && !strchr(o->key, '.') && !strstr(o->key, "init"))
			with_key(path, o->key, wrong, o->key, "some");
	}
	if (cJSON_IsArray(pt_json_get(c, "target_modules")) && strcmp(m->peft_type, "VERA") != 0)
		with_key(path, "target_modules", "[\"v_proj\"]", "nothing uses",
			 strcmp(m->name, "ia3") ? "lacks" : "among target_modules");
	/* Of LoKr's matrices here none is a product, and of a lower rank one would be. */
	if (pt_json_get(c, "r") && pt_json_get(c, "r")->valueint == 2)
		with_key(path, "r", strcmp(m->peft_type, "LOKR") ? "3" : "1", "r is 3", strcmp(m->peft_type, "LOKR") ? "want" : "is one matrix");
	if (pt_json_get(c, "r") && cJSON_IsObject(pt_json_get(c, "rank_pattern")))
		with_key(path, "rank_pattern", strcmp(m->peft_type, "LOKR") ? "{\"q_proj\":5}" : "{\"q_proj\":1}",
			 "rank_pattern says another", strcmp(m->peft_type, "LOKR") ? "want" : "is one matrix");
	cJSON_Delete(c);
}

/* Keys that stand for another formula, or go with no other of the method's. */
static void formulas_of(const struct pt_method *m, const char *path)
{
	static const char *const key[] = {
		"use_qalora", "alora_invocation_tokens", "arrow_config", "kasa_config", "layer_replication", "megatron_config",
		"monteclora_config", "use_bdlora", "velora_config",
	};

	for (size_t i = 0; i < sizeof key / sizeof *key; i++)
		if (pt_method_has_key(m, key[i]))
			with_key(path, key[i], "[1]", key[i], NULL);
	if (pt_method_has_key(m, "init_lora_weights"))
		with_key(path, "init_lora_weights", "\"loftq\"", "another base", NULL);
	if (!strcmp(m->name, "dora"))
		with_key(path, "lora_bias", "true", "lora_bias does not go with use_dora", NULL);
}

static void walk(void **state)
{
	const struct pt_method *m;

	(void)state;
	for (int i = 0; (m = pt_method_at(i)); i++) {
		char *path;

		/* AdapterHub's configuration is another one. */
		if (m->layout)
			continue;
		path = write_one(m, m->name);
		with_key(path, "peft_type", "\"NOTHING\"", "peft_type NOTHING", NULL);
		with_key(path, "peft_type", NULL, "peft_type is missing", NULL);
		with_key(path, "task_type", "\"SEQ_CLS\"", "task_type SEQ_CLS", NULL);
		keys_of(m, path);
		formulas_of(m, path);
		/* Where there is a state it counts; what was made of it has to be there, and to be that. */
		tensors_of(path, PT_ADAPTER_FILE);
		if (has_state(path))
			tensors_of(path, PT_ADAPTER_STATE);
		print_message("# %s\n", m->name);
		free(path);
	}
}

/* A state of one variant under the configuration of another. */
static void state_of_another(void **state)
{
	static const char *const init[] = { "\"pissa\"", "\"olora\"" }, *const key[] = { "lora_bias", "use_dora" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char *config = pt_format(&err, "{\"peft_type\":\"LORA\",\"task_type\":\"CAUSAL_LM\",\"r\":2,\"lora_alpha\":4,"
					 "\"target_modules\":[\"q_proj\"],\"init_lora_weights\":%s}", init[i]);
		struct pt_model *base_model = model();
		struct pt_adapter *a = NULL;
		char *path = sub("another");

		assert_ok(pt_adapter_new(&a, base_model, parse(config), 7, NULL, &err), &err);
		assert_ok(pt_adapter_save(a, path, PT_SAVE_ALL, &err), &err);
		pt_adapter_close(a);
		pt_model_close(base_model);
		for (size_t k = 0; k < 2; k++) {
			char *says = pt_format(&err, "contradicts %s", key[k]);

			with_key(path, key[k], "true", says, NULL);
			free(says);
		}
		free(path);
		free(config);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(walk), T(state_of_another) };

	return cmocka_run_group_tests_name("peft_refuse", tests, start_biased, stop_biased);
}
