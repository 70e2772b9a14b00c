/* SPDX-License-Identifier: MIT */
/*
 * peft_conform.c - the conformance suite: directories of HF PEFT, one for each
 * method and variant, with the logits that it computes of them
 * (tests/golden/make_conform.py). Each is read, under other names and as a
 * checkpoint too, gives those logits, and is written again with the same
 * tensors, bit by bit, and a configuration of the same meaning.
 *
 * Runs all cases below tests/data/conform, or below $PEFT_CONFORM.
 */
#include "test.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "peft/adapter_priv.h"
#include "peft/lora.h"

/* What a case without an error of torch's may be off. */
#define OFF 1e-4

struct conform {
	const char *dir;
	cJSON *manifest;
	struct pt_st out;
	struct pt_device *dev, *plan;
	struct pt_modeldir base;
	struct pt_adapter_info info;
	struct pt_model *m;
	int32_t *ids, *decoder, cu[65], decoder_cu[65], pos[4096], decoder_pos[4096];
	int batch;
};

static char tmp[200];
static double worst;
static struct pt_error err;

static char *join(const char *a, const char *b)
{
	char *p = pt_path_join(a, b, &err);

	assert_non_null(p);
	return p;
}

/* Rows of a matrix of ids, packed. */
static int32_t *pack(const cJSON *rows, int32_t *cu, int *batch)
{
	int32_t *ids = calloc(4096, sizeof *ids);
	const cJSON *row, *v;
	int n = 0;

	*batch = 0;
	cJSON_ArrayForEach(row, rows) {
		assert_true(*batch < 64);
		cJSON_ArrayForEach(v, row) {
			assert_true(n < 4096 && cJSON_IsNumber(v));
			ids[n++] = v->valueint;
		}
		cu[++*batch] = n;
	}
	assert_true(*batch > 0);
	return ids;
}

static struct pt_rows rows_of(struct pt_run *run, int batch, const int32_t *cu, int32_t *pos)
{
	struct pt_rows r = { .n = cu[batch], .batch = batch, .host_cu = cu };

	for (int b = 0; b < batch; b++) {
		for (int32_t i = cu[b]; i < cu[b + 1]; i++)
			pos[i] = i - cu[b];
		r.max_len = cu[b + 1] - cu[b] > r.max_len ? cu[b + 1] - cu[b] : r.max_len;
	}
	r.cu = pt_run_upload(run, cu, (size_t)(batch + 1) * sizeof *cu);
	r.pos = pt_run_upload(run, pos, (size_t)r.n * sizeof *pos);
	return r;
}

static struct pt_tensor *forward(struct conform *c, struct pt_run *run)
{
	struct pt_input in = { .host_ids = run->dev->plan ? NULL : c->ids };
	struct pt_tensor *h;
	int32_t *row;
	void *there;

	in.rows = rows_of(run, c->batch, c->cu, c->pos);
	in.ids = pt_run_upload(run, c->ids, (size_t)in.rows.n * sizeof *c->ids);
	if (c->decoder) {
		in.decoder_rows = rows_of(run, c->batch, c->decoder_cu, c->decoder_pos);
		in.decoder_ids = pt_run_upload(run, c->decoder, (size_t)in.decoder_rows.n * sizeof *c->decoder);
	}
	h = pt_model_hidden(run, c->m, &in);
	if (!pt_task_vocab(c->m->task) || c->m->task == PT_TASK_MASKED_LM)
		return pt_model_classify(run, c->m, &in, h);
	/* Rows of virtual tokens too. */
	row = calloc(h ? (size_t)h->shape[0] : 1, sizeof *row);
	for (int64_t i = 0; h && i < h->shape[0]; i++)
		row[i] = (int32_t)i;
	there = h ? pt_run_upload(run, row, (size_t)h->shape[0] * sizeof *row) : NULL;
	free(row);
	return h ? pt_model_logits(run, c->m, h, there, h->shape[0]) : NULL;
}

/* All logits with what is hooked in, first where nothing is computed, for the memory that they take. */
static float *logits(struct conform *c, size_t *n)
{
	size_t bytes = 0;
	float *v = NULL;

	for (int real = 0; real < 2; real++) {
		struct pt_run run;
		struct pt_tensor *y;

		assert_ok(pt_run_init(&run, real ? c->dev : c->plan, bytes, &err), &err);
		y = forward(c, &run);
		assert_ok(pt_run_check(&run, &err), &err);
		bytes = run.arena.peak + 4096;
		if (real) {
			*n = (size_t)pt_tensor_count(y);
			v = malloc(*n * sizeof *v);
			assert_ok(pt_tensor_read(&run, y, v, &err), &err);
		}
		pt_run_release(&run);
	}
	return v;
}

static void near(const struct conform *c, const float *v, size_t n)
{
	const struct pt_st_tensor *t = pt_st_find(&c->out, "logits");
	const cJSON *e = pt_json_get(c->manifest, "error");
	double diff = 0, top = 0, allowed = !e ? OFF : fmax(2 * e->valuedouble, 2e-6);
	float *want;

	if (!t || t->count != n)
		fail_msg("%s: %zu logits, not %zu", c->dir, n, t ? t->count : 0);
	want = malloc(n * sizeof *want);
	pt_to_f32(want, t->data, t->dtype, n);
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)v[i] - want[i]);

		diff = d <= diff ? diff : d == d ? d : INFINITY;
		top = fmax(top, fabs(want[i]));
	}
	free(want);
	if (!(diff <= allowed * top))
		fail_msg("%s: logits are off by %.3g, allowed is %.3g", c->dir, diff / top, allowed);
	worst = fmax(worst, diff / (allowed * top));
}

/* The adapter's logits, which are same where that is given. */
static float *open_and_run(struct conform *c, const char *dir, bool trainable, const float *same, size_t *n, const char *save)
{
	struct pt_adapter *a;
	float *v;

	assert_ok(pt_adapter_open(&a, c->m, dir, trainable, &err), &err);
	v = logits(c, n);
	if (same && memcmp(v, same, *n * sizeof *v) != 0)
		fail_msg("%s: other logits than %s", dir, c->dir);
	if (save) {
		assert_ok(pt_dir_make(save, &err), &err);
		assert_ok(pt_adapter_save(a, save, PT_SAVE_ALL, &err), &err);
	}
	pt_adapter_close(a);
	return v;
}

static void copy(const char *from, const char *to, const char *name)
{
	char *x = join(from, name);
	struct pt_buf b = PT_BUF_INIT;

	if (pt_is_file(x)) {
		assert_ok(pt_file_read(x, (size_t)1 << 34, &b, &err), &err);
		assert_ok(pt_file_write_in(to, name, &b, &err), &err);
	}
	pt_buf_release(&b);
	free(x);
}

static void copy_dir(const char *from, const char *to)
{
	assert_ok(pt_dir_make(to, &err), &err);
	copy(from, to, PT_ADAPTER_CONFIG);
	copy(from, to, PT_ADAPTER_FILE);
}

/* Of PEFT's files, known to repeat another tensor, and dropped. */
static bool repeats(const char *name)
{
	return strstr(name, ".original_module.") || strstr(name, ".modules_to_save.");
}

/* Each tensor of one is in the other, with the same values: those of narrower types are written as f32. */
static void same_tensors(const char *one, const char *two, bool back)
{
	char *x = join(one, PT_ADAPTER_FILE), *y = join(two, PT_ADAPTER_FILE);
	struct pt_st p = { 0 }, q = { 0 };

	assert_ok(pt_st_open(&p, x, &err), &err);
	assert_ok(pt_st_open(&q, y, &err), &err);
	for (size_t i = 0; i < p.ntensors; i++) {
		const struct pt_st_tensor *t = &p.tensor[i], *u = pt_st_find(&q, t->name);
		float *v, *w;

		if (repeats(t->name))
			continue;
		if (!u)
			fail_msg("%s lacks %s", two, t->name);
		assert_int_equal(t->ndim, u->ndim);
		assert_memory_equal(t->shape, u->shape, (size_t)t->ndim * sizeof *t->shape);
		v = malloc(t->count * sizeof *v + 1);
		w = malloc(t->count * sizeof *w + 1);
		pt_to_f32(v, t->data, t->dtype, t->count);
		pt_to_f32(w, u->data, u->dtype, t->count);
		if (memcmp(v, w, t->count * sizeof *v) != 0)
			fail_msg("%s: %s has other values", two, t->name);
		free(v);
		free(w);
	}
	pt_st_release(&p);
	pt_st_release(&q);
	free(x);
	free(y);
	if (!back)
		same_tensors(two, one, true);
}

static int by_text(const void *a, const void *b)
{
	return strcmp((*(cJSON *const *)a)->valuestring, (*(cJSON *const *)b)->valuestring);
}

/* Lists that PEFT keeps as sets, in the order of their names, each once. */
static void sort_sets(cJSON *config)
{
	static const char *const keys[] = {
		"target_modules", "exclude_modules", "modules_to_save", "feedforward_modules", "target_parameters",
	};

	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
		cJSON *list = cJSON_GetObjectItemCaseSensitive(config, keys[k]), *sorted, **item;
		int n = cJSON_GetArraySize(list), i = 0;

		if (!cJSON_IsArray(list) || !n)
			continue;
		item = calloc((size_t)n, sizeof *item);
		for (cJSON *v = list->child; v; v = v->next)
			item[i++] = v;
		qsort(item, (size_t)n, sizeof *item, by_text);
		sorted = cJSON_CreateArray();
		for (i = 0; i < n; i++)
			if (!i || strcmp(item[i]->valuestring, item[i - 1]->valuestring) != 0)
				cJSON_AddItemToArray(sorted, cJSON_CreateString(item[i]->valuestring));
		free(item);
		cJSON_ReplaceItemInObjectCaseSensitive(config, keys[k], sorted);
	}
}

static void same_config(const char *one, const char *two)
{
	char *x = join(one, PT_ADAPTER_CONFIG), *y = join(two, PT_ADAPTER_CONFIG);
	cJSON *a = pt_json_read(x, 0, &err), *b = pt_json_read(y, 0, &err);

	assert_true(a && b);
	sort_sets(a);
	sort_sets(b);
	for (const cJSON *v = a->child; v; v = v->next) {
		if (!cJSON_Compare(v, cJSON_GetObjectItemCaseSensitive(b, v->string), true))
			fail_msg("%s: %s of the configuration is another one", two, v->string);
	}
	for (const cJSON *v = b->child; v; v = v->next) {
		if (!cJSON_GetObjectItemCaseSensitive(a, v->string))
			fail_msg("%s: the configuration has %s", two, v->string);
	}
	pt_json_free(a);
	pt_json_free(b);
	free(x);
	free(y);
}

static void keys_are_there(const struct conform *c, const char *dir)
{
	char *path = join(dir, PT_ADAPTER_FILE);
	struct pt_st st = { 0 };
	const cJSON *k;

	assert_ok(pt_st_open(&st, path, &err), &err);
	cJSON_ArrayForEach(k, pt_json_get(c->manifest, "state_dict_keys")) {
		if (!repeats(k->valuestring) && !pt_st_find(&st, k->valuestring))
			fail_msg("%s: written again it lacks %s", c->dir, k->valuestring);
	}
	pt_st_release(&st);
	free(path);
}

static void run_case(struct conform *c)
{
	static const char *const places[] = { "other name", "run/checkpoints/step-00000001" };
	char *again = join(tmp, "again");
	size_t n, m;
	float *v[2];

	for (int trainable = 0; trainable < 2; trainable++) {
		v[trainable] = open_and_run(c, c->dir, trainable, NULL, &n, again);
		near(c, v[trainable], n);
		same_tensors(c->dir, again, false);
		same_config(c->dir, again);
		keys_are_there(c, again);
		free(open_and_run(c, again, false, v[0], &m, NULL));
		for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
			char *to = join(tmp, places[i]);

			if (i) {
				char *up = join(tmp, "run"), *checkpoints = join(up, "checkpoints");

				assert_ok(pt_dir_make(up, &err), &err);
				assert_ok(pt_dir_make(checkpoints, &err), &err);
				free(up);
				free(checkpoints);
			}
			copy_dir(c->dir, to);
			free(open_and_run(c, to, trainable, v[trainable], &m, NULL));
			free(to);
		}
		assert_ok(pt_dir_remove(again, &err), &err);
	}
	free(v[0]);
	free(v[1]);
	free(again);
}

/* base_model_id is a directory beside the manifest, an absolute one, or a name of the hub. */
static void open_base(struct conform *c)
{
	const char *id = cJSON_GetStringValue(pt_json_get(c->manifest, "base_model_id"));
	struct pt_model_options o = { .task = c->info.task, .num_labels = c->info.nlabels, .head_may_lack = true };
	char *beside;

	assert_non_null(id);
	beside = join(c->dir, id);
	assert_ok(pt_modeldir_open(&c->base, pt_is_dir(beside) ? beside : id, 0, &err), &err);
	free(beside);
	if (o.task == PT_TASK_NONE) {
		const char *cls = cJSON_GetStringValue(pt_json_get(c->manifest, "model_cls"));

		assert_non_null(cls);
		o.task = (enum pt_task)pt_task_of_class(cls, false);
	}
	assert_ok(pt_model_open(&c->m, c->dev, &c->base, &o, &err), &err);
}

static bool seen[64];			/* methods, as the registry has them */

static void see(const char *dir)
{
	char *path = join(dir, PT_ADAPTER_CONFIG);
	cJSON *config = pt_json_read(path, 0, &err);
	const struct pt_method *m;
	int i = 0;

	assert_non_null(config);
	assert_ok(pt_method_of_config(config, &m, &err), &err);
	while (pt_method_at(i) != m)
		i++;
	seen[i] = true;
	pt_json_free(config);
	free(path);
}

/* Each method of PEFT's, and each way in which LoRA begins that is more than a word: a case at least. */
static void all_seen(void)
{
	const struct pt_option *init = pt_lora_options;
	const struct pt_method *m;

	for (int i = 0; (m = pt_method_at(i)); i++) {
		if (!m->layout && !seen[i])
			fail_msg("no case of %s", m->name);
	}
	while (strcmp(init->name, "init") != 0)
		init++;
	for (const char *w = init->words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
		char dir[100];

		snprintf(dir, sizeof dir, "tests/data/conform/lora-%.*s", (int)strcspn(w, "|="), w);
		if (w[strcspn(w, "|=")] != '=' && strncmp(w, "false", 5) != 0 && !pt_is_dir(dir))
			fail_msg("no case %s", dir);
	}
}

static void conform_to(const char *dir)
{
	struct conform c = { .dir = dir };
	char *manifest = join(dir, "manifest.json"), *out = join(dir, "output.safetensors");
	const cJSON *inputs;
	int batch;

	c.manifest = pt_json_read(manifest, 0, &err);
	if (!c.manifest)
		fail_msg("%s", err.msg);
	inputs = pt_json_get(c.manifest, "inputs");
	assert_ok(pt_st_open(&c.out, out, &err), &err);
	c.ids = pack(pt_json_get(inputs, "input_ids"), c.cu, &c.batch);
	if (pt_json_get(inputs, "decoder_input_ids")) {
		c.decoder = pack(pt_json_get(inputs, "decoder_input_ids"), c.decoder_cu, &batch);
		assert_int_equal(batch, c.batch);
	}
	assert_ok(pt_device_open(&c.dev, "cpu", &(struct pt_device_options){ .threads = 1 }, &err), &err);
	assert_ok(pt_device_plan(&c.plan, c.dev, &err), &err);
	assert_ok(pt_adapter_peek(dir, &c.info, &err), &err);
	open_base(&c);
	see(dir);
	run_case(&c);
	pt_model_close(c.m);
	pt_modeldir_close(&c.base);
	pt_adapter_info_release(&c.info);
	pt_device_close(c.plan);
	pt_device_close(c.dev);
	pt_st_release(&c.out);
	pt_json_free(c.manifest);
	free(c.ids);
	free(c.decoder);
	free(manifest);
	free(out);
}

static int walk(const char *dir, int depth)
{
	char *manifest = join(dir, "manifest.json");
	struct dirent **e;
	int n, cases = pt_is_file(manifest);

	free(manifest);
	if (cases)
		conform_to(dir);
	n = depth ? scandir(dir, &e, NULL, alphasort) : 0;
	for (int i = 0; i < n; i++) {
		char *path = join(dir, e[i]->d_name);

		if (e[i]->d_name[0] != '.' && pt_is_dir(path))
			cases += walk(path, depth - 1);
		free(path);
		free(e[i]);
	}
	if (depth && n >= 0)
		free(e);
	return cases;
}

static void test_cases(void **state)
{
	const char *own = getenv("PEFT_CONFORM");
	int n = walk(own && *own ? own : "tests/data/conform", 3);

	(void)state;
	print_message("# %d cases, worst %.2f of what is allowed\n", n, worst);
	assert_true(own && *own ? n > 0 : n >= 87);
	if (!own || !*own)
		all_seen();
}

static int make_tmp(void **state)
{
	const char *t = getenv("TMPDIR");

	(void)state;
	snprintf(tmp, sizeof tmp, "%s/peft_conform.XXXXXX", t && strlen(t) < 150 ? t : "/tmp");
	return mkdtemp(tmp) ? 0 : -1;
}

static int remove_tmp(void **state)
{
	(void)state;
	return pt_dir_remove(tmp, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases) };

	return cmocka_run_group_tests_name("peft_conform", tests, make_tmp, remove_tmp);
}
