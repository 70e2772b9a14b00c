/* SPDX-License-Identifier: MIT */
/*
 * model_train.c - training mode as model.train() of transformers has it: where
 * the base's dropouts act and at which rates; recomputed blocks draw the same
 * masks; what is frozen costs nothing in backward.
 */
#include "model_fix.h"

/* What the kernels are asked for. */
struct event {
	char what;			/* 'd' dropout, 'a' attention */
	int64_t n, c;
	float p;
	uint64_t site;
};

static struct event event[100];
static int nevents;
static const struct pt_kernels *real;

static int spy_dropout(struct pt_device *dev, const struct pt_k_dropout *k, struct pt_error *err)
{
	assert_true(nevents < 100);
	event[nevents++] = (struct event){ 'd', k->n, k->c, k->p, k->site };
	return real->dropout(dev, k, err);
}

static int spy_attn(struct pt_device *dev, const struct pt_k_attn *k, struct pt_error *err)
{
	assert_true(nevents < 100);
	event[nevents++] = (struct event){ 'a', k->nq, k->heads, k->dropout, k->site };
	return real->attn_fwd(dev, k, err);
}

static void spy(struct mfix *x)
{
	static struct pt_kernels k;

	real = x->f.dev->k;
	k = *real;
	k.dropout = spy_dropout;
	k.attn_fwd = spy_attn;
	x->f.dev->k = &k;
	nevents = 0;
}

static void expect(const struct event *want, int n)
{
	assert_int_equal(nevents, n);
	for (int i = 0; i < n; i++) {
		const struct event *e = &event[i], *w = &want[i];

		if (e->what != w->what || e->n != w->n || e->c != w->c || e->p != w->p)
			fail_msg("event %d is %c [%d,%d] at %g", i, e->what, (int)e->n, (int)e->c, e->p);
		/* Every place draws for itself. */
		for (int j = 0; j < i && e->p > 0; j++)
			assert_true(event[j].site != e->site);
	}
}

static void set(struct mfix *x, const char *key, double v)
{
	if (cJSON_GetObjectItemCaseSensitive(x->config, key))
		cJSON_DeleteItemFromObjectCaseSensitive(x->config, key);
	assert_non_null(cJSON_AddNumberToObject(x->config, key, v));
}

static float *forward(struct mfix *x, bool train)
{
	size_t n;
	float *y;

	x->f.run.train = train;
	y = mfix_out(x, &n);
	x->f.run.train = false;
	return y;
}

static void test_bert(void **state)
{
	/* After the embeddings' norm; per layer the probabilities and both dense outputs; the pooled rows. */
	static const struct event want[] = {
		{ 'd', 41, 33, 0.2f, 0 },
		{ 'a', 41, 3, 0.3f, 0 }, { 'd', 41, 33, 0.2f, 0 }, { 'd', 41, 33, 0.2f, 0 },
		{ 'a', 41, 3, 0.3f, 0 }, { 'd', 41, 33, 0.2f, 0 }, { 'd', 41, 33, 0.2f, 0 },
		{ 'd', 5, 33, 0.4f, 0 },
	};
	static const struct event off[] = { { 'a', 41, 3, 0, 0 }, { 'a', 41, 3, 0, 0 } };
	struct mfix x;

	(void)state;
	mfix_golden(&x, "bert-class");
	set(&x, "hidden_dropout_prob", 0.2);
	set(&x, "attention_probs_dropout_prob", 0.3);
	set(&x, "classifier_dropout", 0.4);
	mfix_open(&x, "ref");
	spy(&x);
	free(forward(&x, true));
	expect(want, 8);
	nevents = 0;
	free(forward(&x, false));
	expect(off, 2);
	mfix_close(&x);
	mfix_release(&x);
}

static void test_llama(void **state)
{
	static const struct event want[] = { { 'a', 41, 3, 0.25f, 0 }, { 'a', 41, 3, 0.25f, 0 } };
	struct mfix x;

	(void)state;
	mfix_golden(&x, "llama2");
	set(&x, "attention_dropout", 0.25);
	mfix_open(&x, "ref");
	spy(&x);
	free(forward(&x, true));
	expect(want, 2);
	mfix_close(&x);
	mfix_release(&x);
}

/* Gradients of all parameters one after the other. */
static float *gradients(struct mfix *x, double *loss)
{
	size_t at = 0;
	float *all = malloc((size_t)pt_params_count(&x->f.params) * sizeof *all);

	*loss = mfix_loss(x, true);
	for (int i = 0; i < x->f.params.n; i++) {
		size_t n = (size_t)pt_tensor_count(&x->f.params.item[i]->t);
		float *g = fix_grad(&x->f, x->f.params.item[i]);

		memcpy(all + at, g, n * sizeof *g);
		at += n;
		free(g);
	}
	return all;
}

static void test_recompute(void **state)
{
	static const char *const names[] = { "bert-class", "llama2" };

	(void)state;
	for (int i = 0; i < 2; i++) {
		double a, b, c;
		float *ga, *gb, *gc;
		size_t bytes;
		struct mfix x;

		mfix_golden(&x, names[i]);
		set(&x, "attention_dropout", 0.25);
		mfix_open(&x, "ref");
		mfix_train(&x);
		bytes = (size_t)pt_params_count(&x.f.params) * sizeof *ga;
		x.f.run.train = true;
		ga = gradients(&x, &a);
		x.m->recompute = pt_model_blocks(x.m);
		gb = gradients(&x, &b);
		assert_true(a == b);
		assert_memory_equal(ga, gb, bytes);
		/* The masks do act. */
		x.f.run.train = false;
		gc = gradients(&x, &c);
		assert_true(a != c);
		free(ga);
		free(gb);
		free(gc);
		mfix_close(&x);
		mfix_release(&x);
	}
}

/* Only the last block's down projection trains: nothing before it is recorded. */
static void test_frozen(void **state)
{
	struct pt_tensor *h;
	struct pt_weight *w;
	struct pt_param *p;
	struct mfix x;
	size_t nodes;

	(void)state;
	mfix_golden(&x, "llama2");
	mfix_open(&x, "ref");
	w = pt_model_weight(x.m, "model.layers.1.mlp.down_proj.weight");
	assert_ok(pt_params_add(&x.f.params, w->path, 2, w->t.shape, &p, &x.f.err), &x.f.err);
	w->use = &p->t;
	x.f.run.record = true;
	h = pt_model_hidden(&x.f.run, x.m, &x.in);
	assert_ok(pt_run_check(&x.f.run, &x.f.err), &x.f.err);
	nodes = x.f.run.tape->n;
	/* The product, and the last norm. */
	assert_int_equal(nodes, 2);
	assert_true(h->needs_grad);
	mfix_close(&x);
	mfix_release(&x);
}

/* After the first micro-batch a forward and backward pass asks the device for no memory. */
static void test_no_memory(void **state)
{
	static const char *const names[] = { "bert-no-types", "llama-class", "dynamic" };

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct mfix x;
		size_t before;

		mfix_golden(&x, names[i]);
		mfix_open(&x, "ref");
		mfix_train(&x);
		mfix_loss(&x, true);
		before = ref_allocs;
		mfix_loss(&x, true);
		mfix_loss(&x, false);
		assert_int_equal(ref_allocs, before);
		mfix_close(&x);
		mfix_release(&x);
	}
}

/* Nothing from a stream reaches a table before it is known to lie in it. */
static void test_outside(void **state)
{
	static const struct {
		const char *name, *part;
		int what;
		int32_t value;
	} wrong[] = {
		{ "llama2", "token id 53 at row 40 is outside the model's 53", 0, 53 },
		{ "llama2", "token id -1 at row 40", 0, -1 },
		{ "bert-class", "token type 3 at row 40 is outside the model's 3", 1, 3 },
		{ "bert-class", "token type -100 at row 40", 1, -100 },
		{ "llama2", "label 53 at row 40", 2, 53 },
		{ "llama2", "label -1 at row 40", 2, -1 },
		{ "llama2", NULL, 2, -100 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		int32_t id[41] = { 0 };
		struct pt_tensor *h;
		struct mfix x;

		mfix_golden(&x, wrong[i].name);
		mfix_open(&x, "ref");
		id[40] = wrong[i].value;
		*(const int32_t **[]){ &x.in.host_ids, &x.in.host_types, &x.in.host_labels }[wrong[i].what] = id;
		h = pt_model_hidden(&x.f.run, x.m, &x.in);
		if (wrong[i].part)
			assert_fails(pt_run_check(&x.f.run, &x.f.err), PT_DATA, wrong[i].part, &x.f.err);
		assert_true(!h == !!wrong[i].part);
		mfix_close(&x);
		mfix_release(&x);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bert),
		cmocka_unit_test(test_llama),
		cmocka_unit_test(test_recompute),
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_outside),
	};

	return cmocka_run_group_tests_name("model_train", tests, NULL, NULL);
}
