/* SPDX-License-Identifier: MIT */
/*
 * data_facts.c - what peft-tokenize reads of a config.json, which it asks of
 * any model, is what the families of model/ read of it: every row, under every
 * name of its keys and each of its heads.
 */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "data/facts.h"
#include "model/config.h"

static char dir[] = "/tmp/peft-facts-XXXXXX";
static struct pt_error err = PT_ERROR_INIT;

/* Facts and description of one file. */
static void same(const char *text, const char *what)
{
	char path[64];
	struct pt_facts f;
	struct pt_config c;
	struct pt_maker_task task;
	cJSON *json = pt_json_parse(text, strlen(text), 0, what, &err);
	int64_t most;

	assert_non_null(json);
	snprintf(path, sizeof path, "%s/config.json", dir);
	assert_ok(pt_file_write(path, text, strlen(text), &err), &err);
	assert_ok(pt_facts_read(&f, dir, &err), &err);
	assert_ok(pt_config_read(&c, json, &err), &err);
	most = c.positions == INT32_MAX ? 0 : c.positions;
	task = pt_maker_task_of(c.task, c.problem);
	if (f.positions != most)
		fail_msg("%s: %lld positions, the model has %lld", what, (long long)f.positions, (long long)most);
	if (f.task.task != task.task || f.task.problem != task.problem)
		fail_msg("%s: made for %s, the model is for %s", what, pt_maker_task_name(&f.task), pt_maker_task_name(&task));
	assert_int_equal(f.eos, 2);
	pt_config_release(&c);
	pt_facts_release(&f);
	pt_json_free(json);
}

static void test_families(void **state)
{
	const struct pt_family *f;

	(void)state;
	for (int i = 0; (f = pt_family_at(i)); i++) {
		for (int t = 0; t < PT_TASKS; t++) {
			const char *key = f->keys->positions ? f->keys->positions : "none";
			char name[80], text[400];

			if (!pt_family_class(f, (enum pt_task)t, name, sizeof name))
				continue;
			for (; *key; key += strcspn(key, "|"), key += *key == '|') {
				snprintf(text, sizeof text, "{\"model_type\": \"%s\", \"architectures\": [\"%s\"], "
					 "\"%.*s\": 40, \"pad_token_id\": 3, \"eos_token_id\": [2, 5], "
					 "\"is_encoder_decoder\": %s, \"decoder_start_token_id\": 0}", f->model_type, name,
					 (int)strcspn(key, "|"), key,
					 pt_family_head(f, PT_TASK_SEQ2SEQ_LM) ? "true" : "false");
				same(text, f->model_type);
			}
		}
	}
}

static void test_problems(void **state)
{
	static const char *const problem[] = { "regression", "single_label_classification", "multi_label_classification" };
	char text[300];

	(void)state;
	for (int i = 0; i < 3; i++) {
		snprintf(text, sizeof text, "{\"model_type\": \"bert\", \"architectures\": [\"BertForSequenceClassification\"], "
			 "\"max_position_embeddings\": 40, \"eos_token_id\": 2, \"problem_type\": \"%s\"}", problem[i]);
		same(text, problem[i]);
	}
	/* The older ending of encoder-decoders. */
	same("{\"model_type\": \"t5\", \"architectures\": [\"T5LMHeadModel\"], \"is_encoder_decoder\": true, "
	     "\"decoder_start_token_id\": 0, \"eos_token_id\": 2}", "T5LMHeadModel");
}

static int make(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int drop(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof path, "%s/config.json", dir);
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_problems),
	};

	return cmocka_run_group_tests(tests, make, drop);
}
