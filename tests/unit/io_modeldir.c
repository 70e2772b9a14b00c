/* SPDX-License-Identifier: MIT */
/*
 * Model directories: single and sharded files, the hub cache, what is
 * refused, and the digest that identifies a base.
 */
#include "test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "io/modeldir.h"

static char dir[200];

static const char *at(const char *name)
{
	static char path[4][700];
	static int k;

	k = (k + 1) % 4;
	snprintf(path[k], sizeof path[k], "%s/%s", dir, name);
	return path[k];
}

static void put(const char *name, const char *text)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(pt_file_write(at(name), text, strlen(text), &err), &err);
}

static void folder(const char *name)
{
	struct pt_error err = PT_ERROR_INIT;

	assert_ok(pt_dir_make(at(name), &err), &err);
}

/* A file of one-dimensional f32 tensors, n values from first on: names "a", "b", ... */
static void weights(const char *name, const char *names, int n, float first)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_st_build b;
	float *x = calloc((size_t)n, sizeof *x);

	for (int i = 0; i < n; i++)
		x[i] = first + (float)i;
	pt_st_build_init(&b);
	for (const char *c = names; *c; c++) {
		char s[2] = { *c, '\0' };

		pt_st_build_array(&b, s, PT_F32, n, x);
	}
	assert_ok(pt_st_build_write(&b, at(name), &err), &err);
	pt_st_build_release(&b);
	free(x);
}

static uint64_t digest_of(const char *name)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;
	uint64_t d;

	assert_ok(pt_modeldir_open(&m, at(name), 0, &err), &err);
	d = pt_modeldir_digest(&m);
	pt_modeldir_close(&m);
	return d;
}

static void refused(const char *name, int flags, int status, const char *part)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;

	assert_fails(pt_modeldir_open(&m, name, flags, &err), status, part, &err);
	assert_null(m.priv);
	assert_null(strchr(err.msg, '\n'));
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(dir, sizeof dir, "%s/peft-model.XXXXXX", tmp && strlen(tmp) < 150 ? tmp : "/tmp");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct pt_error err = PT_ERROR_INIT;

	(void)state;
	return pt_dir_remove(dir, &err);
}

static void test_single(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;
	const struct pt_st_tensor *t;

	(void)state;
	put("config.json", "{\"model_type\": \"llama\", \"odd\": 1e30}");
	weights("model.safetensors", "cab", 3, 7);
	/* As transformers: a single file goes before an index. */
	put("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"gone.safetensors\"}}");
	assert_ok(pt_modeldir_open(&m, dir, 0, &err), &err);
	assert_string_equal(m.given, dir);
	assert_string_equal(m.path, dir);
	assert_false(m.hub);
	assert_true(m.weights);
	assert_int_equal(m.nshards, 1);
	assert_non_null(pt_json_get(m.config, "odd"));
	for (size_t i = 0; i < 3; i++) {
		t = pt_modeldir_tensor(&m, i);
		assert_int_equal(t->name[0], 'a' + (int)i);
		assert_ptr_equal(pt_modeldir_find(&m, t->name), t);
		assert_int_equal(t->count, 3);
	}
	assert_null(pt_modeldir_tensor(&m, 3));
	assert_null(pt_modeldir_find(&m, ""));
	assert_null(pt_modeldir_find(&m, "aa"));
	assert_null(pt_modeldir_find(&m, "d"));
	pt_modeldir_close(&m);
	pt_modeldir_close(&m);
}

static void test_sharded(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;
	uint64_t d;

	(void)state;
	put("config.json", "{}");
	weights("two.safetensors", "cd", 4, 1);
	weights("one.safetensors", "abx", 2, 5);
	put("model.safetensors.index.json",
	    "{\"metadata\": {\"total_size\": 48, \"total_parameters\": 12}, \"weight_map\": "
	    "{\"d\": \"two.safetensors\", \"a\": \"one.safetensors\", \"c\": \"two.safetensors\", \"b\": \"one.safetensors\"}}");
	assert_ok(pt_modeldir_open(&m, dir, 0, &err), &err);
	assert_int_equal(m.nshards, 2);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pt_modeldir_tensor(&m, i)->name[0], 'a' + (int)i);
	assert_null(pt_modeldir_tensor(&m, 4));
	/* What the index does not name is not there. */
	assert_null(pt_modeldir_find(&m, "x"));
	assert_int_equal(pt_modeldir_find(&m, "d")->count, 4);
	assert_int_equal(pt_modeldir_find(&m, "b")->count, 2);
	d = pt_modeldir_digest(&m);
	pt_modeldir_close(&m);
	/* The order of the index is no matter. */
	put("model.safetensors.index.json",
	    "{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"one.safetensors\", \"c\": \"two.safetensors\", \"d\": \"two.safetensors\"}}");
	assert_true(digest_of("") == d);

	put("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"two.safetensors\"}}");
	refused(dir, 0, PT_DATA, "two.safetensors has no tensor a");
	put("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"three.safetensors\"}}");
	refused(dir, 0, PT_FAIL, "three.safetensors");
	put("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../one.safetensors\"}}");
	refused(dir, 0, PT_DATA, "weight_map: a is not in a file of the directory");
	put("model.safetensors.index.json", "{\"weight_map\": {\"a\": 3}}");
	refused(dir, 0, PT_DATA, "weight_map: a");
	put("model.safetensors.index.json", "{\"weight_map\": {}}");
	refused(dir, 0, PT_DATA, "no weight_map");
	put("model.safetensors.index.json", "{");
	refused(dir, 0, PT_DATA, "model.safetensors.index.json");
}

static void test_digest(void **state)
{
	uint64_t d, e;

	(void)state;
	folder("m");
	put("m/config.json", "{\"a\": 1}");
	weights("m/model.safetensors", "ab", 1000, 0);
	d = digest_of("m");
	assert_true(d == digest_of("m"));
	put("m/config.json", "{\"a\": 2}");
	e = digest_of("m");
	assert_true(e != d);
	put("m/config.json", "{\"a\": 1}");
	assert_true(digest_of("m") == d);
	weights("m/model.safetensors", "ab", 1000, 1);
	assert_true(digest_of("m") != d);
	weights("m/model.safetensors", "ac", 1000, 0);
	assert_true(digest_of("m") != d);
	weights("m/model.safetensors", "ab", 999, 0);
	assert_true(digest_of("m") != d);
}

static void test_refused(void **state)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_modeldir m;

	(void)state;
	refused(at("none/such"), 0, PT_FAIL, "none/such: no such directory");
	refused(dir, 0, PT_FAIL, "config.json");
	put("adapter_config.json", "{}");
	refused(dir, 0, PT_FAIL, "is an adapter");
	put("config.json", "[]");
	refused(dir, 0, PT_DATA, "not a JSON object");
	refused(at("config.json"), 0, PT_FAIL, "is a file");
	put("config.json", "{\"architectures\": [\"LlamaForCausalLM\"]}");
	refused(dir, 0, PT_DATA, "neither model.safetensors nor");
	put("pytorch_model.bin", "PK");
	refused(dir, 0, PT_DATA, "t.LlamaForCausalLM.from_pretrained(");
	put("config.json", "{}");
	refused(dir, 0, PT_DATA, "t.AutoModel.from_pretrained(");
	/* Nor is a model made afresh where a pickle holds one. */
	refused(dir, PT_MODELDIR_NO_WEIGHTS, PT_DATA, "Python pickle");
	assert_int_equal(unlink(at("pytorch_model.bin")), 0);
	assert_ok(pt_modeldir_open(&m, dir, PT_MODELDIR_NO_WEIGHTS, &err), &err);
	assert_false(m.weights);
	assert_null(pt_modeldir_tensor(&m, 0));
	assert_null(pt_modeldir_find(&m, "a"));
	assert_true(pt_modeldir_digest(&m) != 0);
	pt_modeldir_close(&m);
	put("model.safetensors", "PK\x03\x04");
	refused(dir, 0, PT_DATA, "zip archive");
}

static void resolves(const char *name, const char *to)
{
	struct pt_error err = PT_ERROR_INIT;
	bool hub = false;
	char *s = pt_modeldir_resolve(name, &hub, &err);

	if (!s)
		fail_msg("%s: %s", name, err.msg);
	assert_true(hub);
	assert_string_equal(s, at(to));
	free(s);
}

static void unresolved(const char *name, const char *part)
{
	struct pt_error err = PT_ERROR_INIT;
	bool hub;

	assert_null(pt_modeldir_resolve(name, &hub, &err));
	if (!strstr(err.msg, part))
		fail_msg("%s: %s", name, err.msg);
}

static void test_hub(void **state)
{
	static const char *const vars[] = { "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
					    "XDG_CACHE_HOME" };

	(void)state;
	for (int i = 0; i < 4; i++)
		unsetenv(vars[i]);
	folder("home");
	folder("home/.cache");
	folder("home/.cache/huggingface");
	folder("home/.cache/huggingface/hub");
	folder("home/.cache/huggingface/hub/models--org--tiny");
	folder("home/.cache/huggingface/hub/models--org--tiny/snapshots");
	folder("home/.cache/huggingface/hub/models--org--tiny/snapshots/abc");
	setenv("HOME", at("home"), 1);
	resolves("org/tiny", "home/.cache/huggingface/hub/models--org--tiny/snapshots/abc");
	/* Two snapshots: refs/main decides. */
	folder("home/.cache/huggingface/hub/models--org--tiny/snapshots/def");
	unresolved("org/tiny", "hf download org/tiny");
	folder("home/.cache/huggingface/hub/models--org--tiny/refs");
	put("home/.cache/huggingface/hub/models--org--tiny/refs/main", "def\n");
	resolves("org/tiny", "home/.cache/huggingface/hub/models--org--tiny/snapshots/def");
	put("home/.cache/huggingface/hub/models--org--tiny/refs/main", "../../..");
	unresolved("org/tiny", "neither a directory");
	put("home/.cache/huggingface/hub/models--org--tiny/refs/main", "gone");
	unresolved("org/tiny", "neither a directory");

	folder("hf");
	folder("hf/hub");
	folder("hf/hub/models--gpt2");
	folder("hf/hub/models--gpt2/snapshots");
	folder("hf/hub/models--gpt2/snapshots/1");
	unresolved("gpt2", "neither a directory");
	setenv("HF_HOME", at("hf"), 1);
	resolves("gpt2", "hf/hub/models--gpt2/snapshots/1");
	setenv("HF_HUB_CACHE", at("elsewhere"), 1);
	unresolved("gpt2", "elsewhere");
	setenv("HF_HUB_CACHE", at("hf/hub"), 1);
	resolves("gpt2", "hf/hub/models--gpt2/snapshots/1");
	unresolved("a/b/c", "no such directory");
	unresolved("org/", "no such directory");
	unresolved("../x", "no such directory");
	unresolved("", "no such directory");
	for (int i = 0; i < 4; i++)
		unsetenv(vars[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_single, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sharded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_digest, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hub, setup, teardown),
	};

	return cmocka_run_group_tests_name("io_modeldir", tests, NULL, NULL);
}
