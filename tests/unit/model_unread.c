/* SPDX-License-Identifier: MIT */
/*
 * model_unread.c - checkpoints that hold more than the model: what is passed
 * over in silence, what is warned of, and what contradicts config.json.
 */
#include "model_fix.h"

#include "base/log.h"

static char warning[600];
static int warnings;

static void on_log(enum pt_log_level level, const char *msg, void *arg)
{
	(void)arg;
	if (level != PT_WARN)
		return;
	warnings++;
	snprintf(warning, sizeof warning, "%s", msg);
}

static void open_quietly(struct mfix *x, const char *golden, enum pt_task task)
{
	mfix_golden(x, golden);
	x->o.task = task;
	x->o.head_may_lack = true;
}

static void finish(struct mfix *x, int status, const char *part)
{
	warnings = 0;
	*warning = '\0';
	pt_log_set(on_log, NULL);
	mfix_try(x, "ref", status, part);
	pt_log_set(NULL, NULL);
	mfix_close(x);
	mfix_release(x);
}

/* Each family as it is saved, by its own task and by another. */
static void test_whole(void **state)
{
	static const struct { const char *golden; enum pt_task other; } cases[] = {
		{ "llama2", PT_TASK_SEQ_CLS }, { "llama-class", PT_TASK_TOKEN_CLS }, { "smollm2", PT_TASK_QA },
		{ "gpt2", PT_TASK_SEQ_CLS }, { "neox", PT_TASK_SEQ_CLS }, { "opt-post", PT_TASK_SEQ_CLS },
		{ "bloom", PT_TASK_SEQ_CLS }, { "falcon-40b", PT_TASK_SEQ_CLS }, { "phi", PT_TASK_SEQ_CLS },
		{ "gemma3", PT_TASK_SEQ_CLS }, { "mixtral", PT_TASK_SEQ_CLS }, { "qwen2-moe", PT_TASK_TOKEN_CLS },
		{ "bert-mlm", PT_TASK_TOKEN_CLS }, { "bert-class", PT_TASK_CONTRASTIVE }, { "bert-body", PT_TASK_QA },
		{ "roberta-mlm", PT_TASK_SEQ_CLS }, { "distil-mlm", PT_TASK_SEQ_CLS },
		{ "t5", PT_TASK_TOKEN_CLS }, { "t5-flan", PT_TASK_SEQ_CLS }, { "t5-class", PT_TASK_SEQ2SEQ_LM },
	};
	struct mfix x;

	(void)state;
	for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		open_quietly(&x, cases[i / 2].golden, i % 2 ? cases[i / 2].other : PT_TASK_NONE);
		finish(&x, 0, NULL);
		if (warnings)
			fail_msg("%s, task %s: %s", cases[i / 2].golden,
				 i % 2 ? pt_task_name(cases[i / 2].other) : "its own", warning);
	}
}

/* Fewer layers or experts in config.json than in the file. */
static void contradicts(const char *golden, const char *key, int value, const char *part)
{
	struct mfix x;

	mfix_golden(&x, golden);
	cJSON_SetNumberValue(cJSON_GetObjectItemCaseSensitive(x.config, key), value);
	finish(&x, PT_DATA, part);
}

static void test_contradictions(void **state)
{
	(void)state;
	contradicts("llama2", "num_hidden_layers", 1, "of layer 1 counted from 0, but the number of layers in config.json is 1");
	contradicts("bert-body", "num_hidden_layers", 1, "the checkpoint has encoder.layer.1.");
	contradicts("gpt2", "n_layer", 1, "the checkpoint has transformer.h.1.");
	contradicts("t5", "num_decoder_layers", 1, "the checkpoint has decoder.block.1.");
	contradicts("qwen3-moe", "num_hidden_layers", 1, "the checkpoint has model.layers.1.");
}

static const char *from, *to;

static bool put(const char *name, char *out)
{
	if (!strcmp(name, from))
		snprintf(out, 200, "%s", to);
	return true;
}

/* The head's bias under another name, and how often that is warned of. */
static void renamed(const char *golden, const char *name, const char *as, int want)
{
	struct mfix x;

	open_quietly(&x, golden, PT_TASK_NONE);
	from = name;
	to = as;
	x.rename = put;
	finish(&x, 0, NULL);
	if (warnings != want || (want && !strstr(warning, as)))
		fail_msg("%s: %d warnings: %s", as, warnings, warning);
}

static void test_names(void **state)
{
	struct mfix x;

	(void)state;
	renamed("bert-class", "classifier.bias", "bert.embeddings.position_ids", 0);
	renamed("bert-class", "classifier.bias", "embeddings.token_type_ids", 0);
	renamed("bert-class", "classifier.bias", "cls.seq_relationship.bias", 0);
	renamed("bert-class", "classifier.bias", "qa_outputs.bias", 0);
	renamed("bert-class", "classifier.bias", "bert.encoder.layer.1.attention.self.key.scale", 1);
	renamed("bert-class", "classifier.bias", "cls.seq_relationships.bias", 1);
	renamed("gpt2-class", "score.weight", "transformer.h.0.attn.bias", 0);
	renamed("gpt2-class", "score.weight", "h.1.attn.masked_bias", 0);
	renamed("gpt2-class", "score.weight", "transformer.h.0.attn.biases", 1);
	renamed("neox-class", "score.weight", "gpt_neox.layers.0.attention.masked_bias", 0);
	renamed("llama-class", "score.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", 0);
	renamed("llama-class", "score.weight", "model.layers.0.self_attn.q_proj.bias", 1);
	renamed("llama-class", "score.weight", "v_head.weight", 1);
	renamed("t5-class", "classification_head.out_proj.bias",
		"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", 0);

	/* Biases that config.json does not tell of. */
	mfix_golden(&x, "qwen3-biased");
	cJSON_ReplaceItemInObjectCaseSensitive(x.config, "attention_bias", cJSON_CreateFalse());
	finish(&x, 0, NULL);
	assert_int_equal(warnings, 1);
	assert_non_null(strstr(warning, "tensors of the checkpoint, which are left out; the first is model.layers.0.self_attn.k_proj.bias"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("model_unread", tests, NULL, NULL);
}
