/* SPDX-License-Identifier: MIT */
/*
 * memory_fix.h - what tests of memory share: a base of a few blocks whose
 * weights are not placed yet, a step over it, what two steps make.
 */
#ifndef PT_MEMORY_FIX_H
#define PT_MEMORY_FIX_H

#include "golden.h"

#include "train_fix.h"

#include "train/loss.h"

#define BLOCKS 7

/* The base of the examples with more blocks, as a directory. */
FIX_UNUSED static int make_base(void **state)
{
	struct pt_model_options mo = { .task = PT_TASK_CAUSAL_LM, .structure = true };
	struct pt_device *dev;
	struct pt_modeldir d;
	struct pt_st_build b;
	struct pt_model *m;
	float **v;
	FILE *f;

	make_dir(state);
	f = fopen(in_dir("config.json"), "w");
	assert_non_null(f);
	fprintf(f, "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16, \"head_dim\": 4, "
		"\"intermediate_size\": 32, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"num_hidden_layers\": %d, "
		"\"hidden_act\": \"silu\", \"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-6, \"vocab_size\": 320, "
		"\"tie_word_embeddings\": true, \"attention_bias\": true, \"rope_parameters\": {\"rope_theta\": 10000.0, \"rope_type\": \"default\"}}\n",
		BLOCKS);
	fclose(f);
	assert_ok(pt_device_open(&dev, "plan", NULL, &err), &err);
	assert_ok(pt_modeldir_open(&d, dir, PT_MODELDIR_NO_WEIGHTS, &err), &err);
	assert_ok(pt_model_open(&m, dev, &d, &mo, &err), &err);
	v = calloc((size_t)m->nweights, sizeof *v);
	pt_st_build_init(&b);
	for (int i = 0; i < m->nweights; i++) {
		const struct pt_weight *w = &m->weight[i];

		if (w->tied)
			continue;
		v[i] = calloc((size_t)pt_tensor_count(&w->t), sizeof **v);
		golden_weight(w->path, w->t.ndim, w->t.shape, v[i]);
		pt_st_build_tensor(&b, w->path, PT_F32, w->t.ndim, w->t.shape, v[i]);
	}
	assert_ok(pt_st_build_write(&b, in_dir("model.safetensors"), &err), &err);
	pt_st_build_release(&b);
	for (int i = 0; i < m->nweights; i++)
		free(v[i]);
	free(v);
	pt_model_close(m);
	pt_modeldir_close(&d);
	pt_device_close(dev);
	return 0;
}

FIX_UNUSED static const char *device(void)
{
	const char *other = getenv("PEFT_TEST_DEVICE");

	return other ? other : "guard";
}

/* The device and the model, whose weights are not there yet. */
FIX_UNUSED static void open_base(struct tfix *x, const char *dev)
{
	struct pt_model_options mo = { .task = PT_TASK_CAUSAL_LM, .defer = true };
	struct pt_device_options d = { .threads = 1 };

	memset(x, 0, sizeof *x);
	err = (struct pt_error)PT_ERROR_INIT;
	assert_ok(pt_device_open(&x->dev, dev, &d, &err), &err);
	assert_ok(pt_device_plan(&x->plan, x->dev, &err), &err);
	assert_ok(pt_modeldir_open(&x->base, dir, 0, &err), &err);
	assert_ok(pt_model_open(&x->m, x->dev, &x->base, &mo, &err), &err);
}

/* A step over the adapter that x has. */
FIX_UNUSED static void begin_step(struct tfix *x)
{
	struct pt_feed_options fo = { .task = PT_TASK_CAUSAL_LM, .seed = 11 };

	assert_ok(pt_step_init(&x->s, x->m, x->a, &x->a->params, x->dev, x->plan, &fo, &fix_adamw, false, &err), &err);
}

FIX_UNUSED static void open_step(struct tfix *x, const char *dev, const char *config)
{
	cJSON *j;

	open_base(x, dev);
	j = pt_json_parse(config, strlen(config), 0, "test", &err);
	assert_non_null(j);
	assert_ok(pt_adapter_new(&x->a, x->m, j, 7, NULL, &err), &err);
	begin_step(x);
}

static const struct pt_bounds bounds = { .tokens = 160, .seqs = 8, .len = 20 };

/* Two steps of two micro-batches, a forward pass alone between them: losses and the tensors after them. */
FIX_UNUSED static size_t two_steps(struct tfix *x, float **out)
{
	size_t n = (size_t)pt_params_count(&x->a->params), at = 4;
	const struct pt_param *bad;
	struct tbatch b;
	double norm;

	*out = calloc(n + at, sizeof **out);
	for (int t = 0; t < 2; t++) {
		assert_ok(pt_step_clear(&x->s, &err), &err);
		for (int k = 0; k < 2; k++) {
			tbatch_make(&b, 8 * (2 * t + k), 8, 20, false);
			assert_ok(pt_step_micro(&x->s, &b.x, &err), &err);
		}
		assert_true(x->s.loss == 0);
		assert_ok(pt_step_update(&x->s, 1e-2, t + 1, 2, &norm, &bad, &err), &err);
		assert_true(norm > 0);
		(*out)[2 * t] = (float)x->s.loss;
		if (!t) {
			struct pt_loss l;

			pt_run_reset(&x->s.run);
			x->s.run.record = x->s.run.train = false;
			assert_ok(pt_feed_fill(&x->s.feed, &x->s.run, &b.x, &err), &err);
			assert_ok(pt_loss_forward(&x->s.run, x->m, &x->s.feed, false, &l, &err), &err);
			assert_ok(x->dev->download(x->dev, *out + 1, l.value->data, sizeof(float), &err), &err);
		}
	}
	for (int i = 0; i < x->a->params.n; i++) {
		struct pt_param *p = x->a->params.item[i];

		assert_ok(pt_param_read(&x->a->params, p, *out + at, &err), &err);
		at += (size_t)pt_tensor_count(&p->t);
	}
	return at * sizeof **out;
}

/* Room for what these take, and no more. */
FIX_UNUSED static size_t room_for(struct tfix *x, int recompute, int away, int turns)
{
	size_t bytes;

	x->m->recompute = recompute;
	x->m->away = away;
	assert_ok(pt_step_plan(&x->s, &bounds, true, &bytes, &err), &err);
	x->m->recompute = x->m->away = 0;
	return bytes + bytes / 32 + 4096 + pt_model_place_bytes(x->m, turns);
}

#endif
