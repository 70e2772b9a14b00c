/* SPDX-License-Identifier: MIT */
/*
 * peft_shapes.c - each method has golden values on each shape of model that it
 * fits, and is refused on the others; so have LoRA's first values that are made
 * of weights or of data.
 */
#include "lora_walk.h"

enum shape { DECODER, FUSED, ENCODER, ENCODER_DECODER, EXPERTS, SHAPES };

static const char *const shape_names[SHAPES] = { "decoder", "fused decoder", "encoder", "encoder-decoder", "experts" };

/* Why there is none. */
static const struct {
	const char *method;
	enum shape shape;
	bool made;			/* it is made all the same */
	const char *why;
} unfit[] = {
	{ "prefix", ENCODER, true, "PEFT has none in encoders to compare with" },
	{ "bitfit", ENCODER_DECODER, false, "T5 has no biases" },
	{ "bottleneck", EXPERTS, true, "the library has no such model to compare with" },
};

/* What is another way of training: a key of the hyper-parameters. */
static const char *const ways[] = { "loraplus", "lorafa" };

enum { METHODS = 32, WAYS = sizeof ways / sizeof *ways };

struct found {
	int n;
	char name[100];			/* of one */
};

static struct found golden[METHODS][SHAPES];
static int trained[WAYS][SHAPES];

static bool has_role(const struct pt_config *c, enum pt_role role)
{
	for (const struct pt_part *p = c->stack[0].part; p->path; p++) {
		if (p->role == role)
			return true;
	}
	return false;
}

static enum shape shape_of(const struct golden *g)
{
	struct pt_error err = PT_ERROR_INIT;
	struct pt_config c = { 0 };
	enum shape s;

	assert_ok(pt_config_read(&c, pt_json_get(g->about, "config"), &err), &err);
	s = c.nstacks > 1 ? ENCODER_DECODER : c.experts ? EXPERTS : !c.stack[0].causal ? ENCODER :
	    has_role(&c, PT_ROLE_QKV) ? FUSED : DECODER;
	pt_config_release(&c);
	return s;
}

static int method_of(const struct golden *g)
{
	cJSON *config = cJSON_Duplicate(pt_json_get(g->about, "adapter"), true);
	struct pt_error err = PT_ERROR_INIT;
	const struct pt_method *m;
	int i = 0;

	assert_ok(pt_layout_decode(config, &err), &err);
	assert_ok(pt_method_of_config(config, &m, &err), &err);
	cJSON_Delete(config);
	while (pt_method_at(i) != m)
		i++;
	assert_true(i < METHODS);
	return i;
}

static void each(const char *set, void (*fn)(const struct golden *g, const char *name))
{
	char pattern[100];
	glob_t files;

	snprintf(pattern, sizeof pattern, "tests/data/%s/*/*.safetensors", set);
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		char name[100];
		struct golden g;

		golden_open(&g, files.gl_pathv[i]);
		snprintf(name, sizeof name, "%.90s", strrchr(files.gl_pathv[i], '/') + 1);
		name[strlen(name) - strlen(".safetensors")] = '\0';
		fn(&g, name);
		golden_close(&g);
	}
	globfree(&files);
}

static void count(const struct golden *g, const char *name)
{
	enum shape s = shape_of(g);
	struct found *f = &golden[method_of(g)][s];

	f->n++;
	for (int i = 0; i < WAYS; i++)
		trained[i][s] += pt_json_get(pt_json_get(g->about, "hyper"), ways[i]) != NULL;
	snprintf(f->name, sizeof f->name, "%s", name);
}

static const char *why_not(const char *method, int shape)
{
	for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++) {
		if (!strcmp(unfit[i].method, method) && (int)unfit[i].shape == shape)
			return unfit[i].why;
	}
	return NULL;
}

static void test_methods(void **state)
{
	const struct pt_method *m;
	int lacks = 0;

	(void)state;
	each("lora", count);
	for (int i = 0; (m = pt_method_at(i)); i++) {
		for (int s = 0; s < SHAPES; s++) {
			const char *why = why_not(m->name, s);

			print_message("# %s, %s: %d%s%s\n", m->name, shape_names[s], golden[i][s].n, why ? ", " : "", why ? why : "");
			if (!golden[i][s].n == !why)
				print_message("# %s has %s golden on a model of the shape %s\n", m->name, why ? "a" : "no", shape_names[s]);
			lacks += !golden[i][s].n == !why;
		}
	}
	for (int i = 0; i < WAYS; i++) {
		for (int s = 0; s < SHAPES; s++) {
			print_message("# %s, %s: %d\n", ways[i], shape_names[s], trained[i][s]);
			lacks += !trained[i][s];
		}
	}
	assert_int_equal(lacks, 0);
}

/* What has no golden is refused by name, or is made where nobody else has it. */
static void test_unfit(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++) {
		const struct pt_method *m = pt_method_find(unfit[i].method);
		struct pt_error err = PT_ERROR_INIT;
		struct pt_adapter *a;
		struct lfix l;
		cJSON *config;

		assert_non_null(m);
		/* LoRA is on all of them. */
		lfix_golden(&l, golden[2][unfit[i].shape].name);
		assert_string_equal(pt_method_at(2)->name, "lora");
		l.x.o.head_may_lack = true;
		mfix_open(&l.x, "cpu");
		config = m->sets ? pt_json_parse(m->sets, strlen(m->sets), 0, m->name, &err) : cJSON_CreateObject();
		cJSON_AddStringToObject(config, "peft_type", m->peft_type);
		if (strstr(m->defaults, "num_virtual_tokens"))
			cJSON_AddNumberToObject(config, "num_virtual_tokens", 3);
		if (!strcmp(m->name, "bitfit"))
			cJSON_AddStringToObject(config, "bias", "all");
		pt_adapter_new(&a, l.x.m, config, 1, NULL, &err);
		if (unfit[i].made != (a != NULL))
			fail_msg("%s on a model of the shape %s: %s", m->name, shape_names[unfit[i].shape], a ? "made" : err.msg);
		print_message("# %s, %s: %s\n", m->name, shape_names[unfit[i].shape], a ? "made" : err.msg);
		assert_int_equal(err.status, a ? 0 : PT_USAGE);
		pt_adapter_close(a);
		mfix_close(&l.x);
		lfix_release(&l);
	}
}

static const char *const inits[] = { "pissa", "olora", "corda", "eva" };

enum { INITS = sizeof inits / sizeof *inits };

static int made[INITS][SHAPES];

static void count_init(const struct golden *g, const char *name)
{
	const char *how = cJSON_GetStringValue(pt_json_get(pt_json_get(g->about, "adapter"), "init_lora_weights"));
	int i = 0;

	assert_non_null(how);
	while (i < INITS && strcmp(inits[i], how) != 0)
		i++;
	if (i == INITS)
		fail_msg("%s: init_lora_weights %s", name, how);
	made[i][shape_of(g)]++;
}

static void test_inits(void **state)
{
	(void)state;
	each("inits", count_init);
	for (int i = 0; i < INITS; i++) {
		for (int s = 0; s < SHAPES; s++) {
			if (!made[i][s])
				fail_msg("%s has no golden on a model of the shape %s", inits[i], shape_names[s]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods), cmocka_unit_test(test_unfit), cmocka_unit_test(test_inits),
	};

	return cmocka_run_group_tests_name("peft_shapes", tests, NULL, NULL);
}
