/* SPDX-License-Identifier: MIT */
/*
 * Measures say what seqeval, scikit-learn, scipy and SQuAD's script say of
 * the same predictions (tests/golden/make_measures.py).
 */
#include "test.h"

#include <math.h>

#include "base/json.h"
#include "train/measure.h"

enum { MOST = 512, WIDE = 16 };

static cJSON *golden;
static struct pt_error err;

/* A micro-batch as a feed has it, made by hand. */
static struct {
	struct pt_feed f;
	struct pt_examples x;
	int32_t seq[MOST], label[MOST], argmax[MOST], ids[MOST];
	float loss[MOST], target[MOST], z[MOST * WIDE];
	int64_t offsets[3];
} b;

static int open_golden(void **state)
{
	(void)state;
	golden = pt_json_read("tests/data/measures/cases.json", 0, &err);
	return golden ? 0 : 1;
}

static int close_golden(void **state)
{
	(void)state;
	pt_json_free(golden);
	return 0;
}

static void begin(void)
{
	memset(&b, 0, sizeof b);
	b.f.x = &b.x;
	b.f.seq = b.seq;
	b.f.label = b.label;
	b.f.target = b.target;
	b.x.offsets = b.offsets;
	b.x.input_ids = b.ids;
}

static const cJSON *at(const cJSON *list, int i)
{
	const cJSON *j = cJSON_GetArrayItem(list, i);

	assert_non_null(j);
	return j;
}

static double number(const cJSON *list, int i)
{
	return at(list, i)->valuedouble;
}

/* The result of this name is that of the case; null: 0. */
static void same(const struct pt_measure *m, const cJSON *c, const char *name)
{
	const cJSON *want = cJSON_GetObjectItem(c, name);
	const char *is;
	double v;

	for (int i = 0; want && (is = pt_measure_result(m, i, &v)) != NULL; i++) {
		if (strcmp(is, name))
			continue;
		if (!(fabs(v - want->valuedouble) <= 1e-12 * fmax(1, fabs(want->valuedouble))))
			fail_msg("%s: %.17g, not %.17g of %.300s", name, v, want->valuedouble, cJSON_PrintUnformatted(c));
		return;
	}
	fail_msg("no result %s", name);
}

static void entities(void **state)
{
	const cJSON *c;
	int strict = 0;

	(void)state;
	cJSON_ArrayForEach(c, pt_json_get(golden, "entities")) {
		const cJSON *labels = pt_json_get(c, "labels"), *t = pt_json_get(c, "true"), *p = pt_json_get(c, "pred");
		struct pt_feed_options o = { .task = PT_TASK_TOKEN_CLS, .problem = PT_PROBLEM_SINGLE,
					     .nlabels = cJSON_GetArraySize(labels) };
		char *name[WIDE];
		struct pt_measure m;
		double f1;

		begin();
		for (int i = 0; i < o.nlabels; i++)
			name[i] = at(labels, i)->valuestring;
		o.labels = name;
		for (int s = 0; s < cJSON_GetArraySize(t); s++)
			for (int i = 0; i < cJSON_GetArraySize(at(t, s)); i++, b.f.rows++) {
				b.seq[b.f.rows] = s;
				b.label[b.f.rows] = (int32_t)number(at(t, s), i);
				b.argmax[b.f.rows] = (int32_t)number(at(p, s), i);
			}
		assert_ok(pt_measure_init(&m, &o, &err), &err);
		assert_ok(pt_measure_add(&m, &b.f, b.loss, NULL, b.argmax, NULL, &err), &err);
		same(&m, c, "accuracy");
		same(&m, c, "f1");
		same(&m, c, "precision");
		same(&m, c, "recall");
		pt_measure_result(&m, 2, &f1);
		strict += pt_json_get(c, "strict_f1") && fabs(f1 - pt_json_get(c, "strict_f1")->valuedouble) > 0.01;
		pt_measure_release(&m);
	}
	/* The cases tell one of its modes from the other. */
	assert_true(strict > 10);
}

static void classes(void **state)
{
	const cJSON *c;

	(void)state;
	cJSON_ArrayForEach(c, pt_json_get(golden, "classes")) {
		const cJSON *t = pt_json_get(c, "true"), *p = pt_json_get(c, "pred"), *each = pt_json_get(c, "each");
		struct pt_feed_options o = { .task = PT_TASK_SEQ_CLS, .problem = PT_PROBLEM_SINGLE,
					     .nlabels = pt_json_get(c, "k")->valueint };
		struct pt_measure m;

		begin();
		/* One that has no class counts for nothing. */
		b.label[0] = -100;
		b.f.rows = 1;
		for (int i = 0; i < cJSON_GetArraySize(t); i++, b.f.rows++) {
			b.label[b.f.rows] = (int32_t)number(t, i);
			b.z[b.f.rows * o.nlabels + (int)number(p, i)] = 1;
		}
		assert_ok(pt_measure_init(&m, &o, &err), &err);
		assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
		same(&m, c, "accuracy");
		same(&m, c, "f1_macro");
		if (o.nlabels == 2)
			same(&m, c, "f1");
		for (int k = 0; k < o.nlabels; k++) {
			double is[3], n = (double)pt_measure_class(&m, k, &is[0], &is[1], &is[2]);

			for (int i = 0; i < 3; i++)
				assert_true(fabs(is[i] - number(at(each, k), i)) < 1e-12);
			assert_true(fabs(n - number(at(each, k), 3)) < 0.5);
		}
		pt_measure_release(&m);
	}
}

/* Rows of numbers into out; returns how many rows. */
static int rows(const cJSON *list, float *out)
{
	int n = 0;

	for (int i = 0; i < cJSON_GetArraySize(list); i++)
		for (int j = 0; j < cJSON_GetArraySize(at(list, i)); j++, n++) {
			assert_true(n < MOST);
			out[n] = (float)number(at(list, i), j);
		}
	return cJSON_GetArraySize(list);
}

static void numbers(void **state)
{
	static const struct {
		const char *name, *outputs, *result[2];
		enum pt_problem problem;
	} kind[] = {
		{ "labels", "logits", { "f1", "accuracy" }, PT_PROBLEM_MULTI },
		{ "numbers", "pred", { "mae", "r2" }, PT_PROBLEM_REGRESSION },
	};
	const cJSON *c;

	(void)state;
	for (int k = 0; k < 2; k++) {
		cJSON_ArrayForEach(c, pt_json_get(golden, kind[k].name)) {
			const cJSON *t = pt_json_get(c, "true");
			struct pt_feed_options o = { .task = PT_TASK_SEQ_CLS, .problem = kind[k].problem,
						     .nlabels = cJSON_GetArraySize(at(t, 0)) };
			struct pt_measure m;

			begin();
			b.f.rows = b.x.n = rows(t, b.target);
			rows(pt_json_get(c, kind[k].outputs), b.z);
			assert_ok(pt_measure_init(&m, &o, &err), &err);
			/* What was seen before a new beginning is forgotten. */
			assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
			pt_measure_clear(&m);
			assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
			for (int i = 0; i < 2; i++)
				same(&m, c, kind[k].result[i]);
			pt_measure_release(&m);
		}
	}
}

static void pairs(void **state)
{
	struct pt_feed_options o = { .task = PT_TASK_CONTRASTIVE };
	const cJSON *c;

	(void)state;
	cJSON_ArrayForEach(c, pt_json_get(golden, "pairs")) {
		const cJSON *x = pt_json_get(c, "x"), *y = pt_json_get(c, "y");
		struct pt_measure m;

		begin();
		b.f.rows = b.f.pairs.n = cJSON_GetArraySize(x);
		b.f.pairs.k = 1;
		b.f.pairs.scored = true;
		for (int i = 0; i < b.f.rows; i++) {
			b.target[i] = (float)number(x, i);
			b.z[i] = (float)number(y, i);
		}
		assert_ok(pt_measure_init(&m, &o, &err), &err);
		assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
		same(&m, c, "spearman");
		same(&m, c, "pearson");
		pt_measure_release(&m);
	}
}

/* Tokens of s behind those there are; returns the first, 0 where there are none. */
static int64_t add_text(struct pt_encoder *enc, const char *s)
{
	struct pt_encoding e = PT_ENCODING_INIT;
	int64_t first = b.x.tokens;

	assert_ok(pt_encode(enc, s, strlen(s), PT_ENCODE_PLAIN, 0, &e, &err), &err);
	assert_true(e.n <= 30 && first + (int64_t)e.n + 1 < MOST);
	if (e.n)
		memcpy(b.ids + first, e.ids, e.n * sizeof *e.ids);
	b.x.tokens += (int64_t)e.n;
	pt_encoding_release(&e);
	return b.x.tokens > first ? first : 0;
}

static void answers(void **state)
{
	struct pt_tokenizer *tok;
	struct pt_encoder *enc;
	const cJSON *c;

	(void)state;
	assert_ok(pt_tokenizer_open(&tok, "tests/data/tokenizers/gpt2.json", &err), &err);
	assert_ok(pt_encoder_new(&enc, tok, &err), &err);
	cJSON_ArrayForEach(c, pt_json_get(golden, "answers")) {
		struct pt_feed_options o = { .task = PT_TASK_QA, .tok = tok };
		int64_t span[2] = { 0, 0 }, from;
		struct pt_measure m;
		double v[2];

		begin();
		b.x.n = b.x.tokens = b.f.rows = 1;
		b.x.span = span;
		/* What is likely is at the prediction, or at the first token. */
		span[0] = add_text(enc, at(c, 0)->valuestring);
		span[1] = span[0] ? b.x.tokens - 1 : 0;
		from = add_text(enc, at(c, 1)->valuestring);
		b.offsets[1] = b.x.tokens;
		b.z[2 * from] = b.z[2 * (from ? b.x.tokens - 1 : 0) + 1] = 9;
		assert_ok(pt_measure_init(&m, &o, &err), &err);
		assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
		assert_string_equal(pt_measure_result(&m, 1, &v[0]), "exact");
		assert_string_equal(pt_measure_result(&m, 2, &v[1]), "f1");
		for (int i = 0; i < 2; i++)
			if (fabs(v[i] - number(c, 2 + i)) > 1e-12)
				fail_msg("'%s' for '%s': %g, not %g", at(c, 1)->valuestring, at(c, 0)->valuestring, v[i],
					 number(c, 2 + i));
		pt_measure_release(&m);
	}
	pt_encoder_free(enc);
	pt_tokenizer_close(tok);
}

/* Without a tokenizer an id is a word. */
static void answers_of_ids(void **state)
{
	static const int64_t span[2] = { 1, 3 };
	struct pt_feed_options o = { .task = PT_TASK_QA };
	struct pt_measure m;
	double v;

	(void)state;
	begin();
	b.x.n = b.f.rows = 1;
	b.x.tokens = b.offsets[1] = 6;
	b.x.span = span;
	for (int i = 0; i < 6; i++)
		b.ids[i] = i % 4;
	b.z[2 * 2] = b.z[2 * 3 + 1] = 9;	/* two of three */
	assert_ok(pt_measure_init(&m, &o, &err), &err);
	assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
	assert_string_equal(pt_measure_result(&m, 1, &v), "exact");
	assert_true(fabs(v) < 1e-12);
	assert_string_equal(pt_measure_result(&m, 2, &v), "f1");
	assert_true(fabs(v - 0.8) < 1e-12);
	pt_measure_release(&m);
}

/* Neither the question nor what the post-processor added holds an answer, with types or without. */
static void answers_stand_in_the_context(void **state)
{
	static const int32_t ids[] = { 0, 11, 12, 2, 2, 13, 3, 14, 2 };
	static const int32_t types[] = { 0, 0, 0, 0, 0, 1, 1, 1, 1 };
	static const int64_t span[2] = { 5, 7 };
	struct pt_tokenizer *tok;

	(void)state;
	assert_ok(pt_tokenizer_open(&tok, "tests/data/tokenizers/xlm-r-config", &err), &err);
	for (int with = 0; with < 2; with++) {
		struct pt_feed_options o = { .task = PT_TASK_QA, .tok = tok };
		struct pt_measure m;
		double v;

		begin();
		b.x.n = b.f.rows = 1;
		b.x.tokens = b.offsets[1] = sizeof ids / sizeof ids[0];
		b.x.span = span;
		b.x.token_type_ids = with ? types : NULL;
		memcpy(b.ids, ids, sizeof ids);
		b.z[2 * 1] = b.z[2 * 2 + 1] = 9;	/* the question */
		b.z[2 * 4] = 8;				/* marks */
		b.z[2 * 8 + 1] = 8;
		b.z[2 * 5] = b.z[2 * 7 + 1] = 5;
		assert_ok(pt_measure_init(&m, &o, &err), &err);
		assert_ok(pt_measure_add(&m, &b.f, b.loss, b.z, NULL, NULL, &err), &err);
		assert_string_equal(pt_measure_result(&m, 1, &v), "exact");
		assert_true(fabs(v - 1) < 1e-12);
		pt_measure_release(&m);
		b.x.token_type_ids = NULL;
	}
	pt_tokenizer_close(tok);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entities), cmocka_unit_test(classes), cmocka_unit_test(numbers), cmocka_unit_test(pairs),
		cmocka_unit_test(answers), cmocka_unit_test(answers_of_ids),
		cmocka_unit_test(answers_stand_in_the_context),
	};

	return cmocka_run_group_tests(tests, open_golden, close_golden);
}
