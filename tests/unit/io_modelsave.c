/* SPDX-License-Identifier: MIT */
/*
 * Writing model directories: one file, shards with an index, what comes last,
 * what is copied, what an earlier model left.
 */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "io/modelsave.h"

static char dir[200];

static const char *at(const char *name)
{
	static char path[4][700];
	static int k;

	k = (k + 1) % 4;
	snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
	return path[k];
}

static bool there(const char *name)
{
	return pt_is_file(at(name));
}

static void put(const char *name, const char *text)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(pt_file_write(at(name), text, strlen(text), &err), &err);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/peft-save.XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	return pt_dir_remove(dir, &err);
}

static const char *const names[] = { "m.b", "m.a", "head", "m.c" };
static const int64_t shape[4][2] = { { 2, 3 }, { 3, 4 }, { 5, 2 }, { 1, 1 } };
static const float held[6] = { 1, 2, 3, 4, 5, 6 };

/* The i-th tensor's k-th value. */
static float value(int i, size_t k)
{
	return i == 0 ? held[k] : (float)(100 * i + (int)k);
}

static int fill(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	int st = 0, *calls = arg, i = 0;

	while (strcmp(names[i], t->name) != 0)
		i++;
	assert_true(i != 0);	/* that one has data */
	++*calls;
	for (size_t k = 0; k < t->count && st == 0; k++) {
		float f = value(i, k);

		st = pt_out_write(out, &f, sizeof f, err);
	}
	return st;
}

static void describe(struct pt_modelsave *s, size_t max_shard)
{
	struct pt_error err = PT_ERROR_INIT;

	pt_modelsave_init(s);
	s->max_shard = max_shard;
	for (int i = 0; i < 4; i++)
		assert_ok(pt_modelsave_tensor(s, names[i], PT_F32, 2, shape[i], i ? NULL : held, &err), &err);
}

static void save(size_t max_shard, int parts, const cJSON *config, const struct pt_modeldir *from, int calls)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modelsave s;
	int n = 0;

	describe(&s, max_shard);
	assert_ok(pt_modelsave_write(&s, dir, parts, config, from, fill, &n, &err), &err);
	assert_int_equal(n, calls);
	pt_modelsave_release(&s);
}

static void check(int nshards)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;

	assert_ok(pt_modeldir_open(&m, dir, 0, &err), &err);
	assert_int_equal(m.nshards, nshards);
	for (int i = 0; i < 4; i++) {
		const struct pt_st_tensor *t = pt_modeldir_find(&m, names[i]);

		assert_non_null(t);
		assert_int_equal(t->ndim, 2);
		assert_int_equal(t->shape[0], shape[i][0]);
		for (size_t k = 0; k < t->count; k++)
			assert_true(((const float *)t->data)[k] == value(i, k));
	}
	assert_null(pt_modeldir_tensor(&m, 4));
	assert_string_equal(pt_st_meta(&m.shard[0], "format"), "pt");
	pt_modeldir_close(&m);
}

static void test_forms(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *config = pt_json_parse("{\"z\": 1, \"a\": [1.5]}", 20, 0, "c", &err);
	struct pt_buf text = PT_BUF_INIT;

	(void)state;
	assert_non_null(config);
	save(1000, PT_MODELSAVE_ALL, config, NULL, 3);
	check(1);
	/* The order of keys stays. */
	assert_ok(pt_file_read(at("config.json"), 1000, &text, &err), &err);
	assert_string_equal(text.data, "{\n  \"z\": 1,\n  \"a\": [\n    1.5\n  ]\n}\n");
	pt_buf_release(&text);

	/* 24 + 48 bytes, then 40 + 4; the single file of before goes. */
	save(72, PT_MODELSAVE_ALL, config, NULL, 3);
	assert_false(there("model.safetensors"));
	assert_true(there("model-00001-of-00002.safetensors"));
	check(2);
	assert_ok(pt_file_read(at("model.safetensors.index.json"), 10000, &text, &err), &err);
	assert_string_equal(text.data,
			    "{\n  \"metadata\": {\n    \"total_size\": 116\n  },\n  \"weight_map\": {\n"
			    "    \"head\": \"model-00002-of-00002.safetensors\",\n"
			    "    \"m.a\": \"model-00001-of-00002.safetensors\",\n"
			    "    \"m.b\": \"model-00001-of-00002.safetensors\",\n"
			    "    \"m.c\": \"model-00002-of-00002.safetensors\"\n  }\n}\n");
	pt_buf_release(&text);

	/* A tensor larger than a shard has one to itself. */
	save(30, PT_MODELSAVE_ALL, config, NULL, 3);
	assert_false(there("model-00001-of-00002.safetensors"));
	assert_false(there("model-00002-of-00002.safetensors"));
	check(4);
	save(1000, PT_MODELSAVE_ALL, config, NULL, 3);
	assert_false(there("model-00001-of-00004.safetensors"));
	assert_false(there("model.safetensors.index.json"));
	check(1);
	pt_json_free(config);
}

static void test_last(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *config = pt_json_parse("{}", 2, 0, "c", &err);
	struct pt_modeldir m;

	(void)state;
	save(1000, PT_MODELSAVE_REST, config, NULL, 0);
	assert_true(there("config.json"));
	assert_fails(pt_modeldir_open(&m, dir, 0, &err), PT_DATA, "neither", &err);
	save(1000, PT_MODELSAVE_LAST, config, NULL, 3);
	check(1);
	assert_int_equal(unlink(at("model.safetensors")), 0);
	save(72, PT_MODELSAVE_REST, config, NULL, 3);
	assert_fails(pt_modeldir_open(&m, dir, 0, &err), PT_DATA, "neither", &err);
	save(72, PT_MODELSAVE_LAST, config, NULL, 0);
	check(2);
	pt_json_free(config);
}

static int broken(void *arg, struct pt_out *out, const struct pt_st_tensor *t, struct pt_error *err)
{
	(void)arg, (void)out;
	return pt_error(err, PT_NUMERIC, "no values for %s", t->name);
}

static void test_failure(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *config = pt_json_parse("{}", 2, 0, "c", &err);
	struct pt_modelsave s;
	int64_t wrong = -1;

	(void)state;
	describe(&s, 1000);
	assert_fails(pt_modelsave_write(&s, dir, PT_MODELSAVE_ALL, config, NULL, broken, NULL, &err),
		     PT_NUMERIC, "no values for head", &err);
	assert_false(there("model.safetensors"));
	assert_fails(pt_modelsave_tensor(&s, "x", PT_F32, 1, &wrong, NULL, &err), PT_FAIL, "x", &err);
	pt_modelsave_release(&s);

	/* The same name twice, in one file and over two. */
	for (size_t max = 10; max < 2000; max += 1000) {
		describe(&s, max);
		assert_ok(pt_modelsave_tensor(&s, "m.b", PT_F32, 2, shape[0], held, &err), &err);
		assert_fails(pt_modelsave_write(&s, dir, PT_MODELSAVE_LAST, config, NULL, fill, &(int){ 0 }, &err),
			     PT_FAIL, "two tensors are called m.b", &err);
		pt_modelsave_release(&s);
	}
	pt_modelsave_init(&s);
	assert_fails(pt_modelsave_write(&s, dir, PT_MODELSAVE_ALL, config, NULL, NULL, NULL, &err), PT_FAIL,
		     "without tensors", &err);
	pt_modelsave_release(&s);
	pt_json_free(config);
}

static void test_tokenizer(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	cJSON *config = pt_json_parse("{}", 2, 0, "c", &err);
	struct pt_buf text = PT_BUF_INIT;
	struct pt_modeldir from;

	(void)state;
	assert_ok(pt_dir_make(at("from"), &err), &err);
	put("from/config.json", "{\"old\": 1}");
	put("from/tokenizer.json", "{\"t\": 1}");
	put("from/generation_config.json", "{\"g\": 1}");
	put("from/notes.txt", "private");
	assert_ok(pt_modeldir_open(&from, at("from"), PT_MODELDIR_NO_WEIGHTS, &err), &err);
	save(1000, PT_MODELSAVE_ALL, config, &from, 3);
	assert_ok(pt_file_read(at("tokenizer.json"), 100, &text, &err), &err);
	assert_string_equal(text.data, "{\"t\": 1}");
	assert_true(there("generation_config.json"));
	assert_false(there("notes.txt"));
	assert_false(there("vocab.txt"));
	check(1);
	pt_buf_release(&text);
	pt_modeldir_close(&from);
	pt_json_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(test_last, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tokenizer, setup, teardown),
	};

	return cmocka_run_group_tests_name("io_modelsave", tests, NULL, NULL);
}
