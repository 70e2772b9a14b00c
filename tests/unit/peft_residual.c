/* SPDX-License-Identifier: MIT */
/*
 * peft_residual.c - PiSSA and OLoRA: what defines them, the function of the
 * base at the start, files with and without their state; and LoRA-FA.
 */
#include "peft_fix.h"

#include "device/kernels.h"
#include "peft/lora.h"

static const char *const configs[] = {
	"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"init_lora_weights\":\"pissa\"}",
	"{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":3,\"use_rslora\":true,\"init_lora_weights\":\"olora\","
	"\"rank_pattern\":{\"layers.1.*v_proj\":2},\"alpha_pattern\":{\"q_proj\":5}}",
	"{\"peft_type\":\"LORA\",\"r\":2,\"init_lora_weights\":\"pissa_niter_4\",\"target_modules\":\"all-linear\"}",
};

enum { NCONFIGS = sizeof configs / sizeof configs[0] };

static float *get(struct pt_adapter *a, const struct pt_param *p)
{
	float *v = malloc((size_t)pt_tensor_count(&p->t) * sizeof *v);

	assert_ok(pt_adapter_get(a, p, v, &err), &err);
	return v;
}

/* The base's weight, merged with the adapter or as it is. */
static float *weight(struct pt_adapter *a, int site, bool merged)
{
	const struct pt_weight *w = a->site[site].site->weight;
	float *v = malloc((size_t)pt_tensor_count(&w->t) * sizeof *v);
	bool changed;

	assert_ok(pt_weight_value(a->model, w, v, &err), &err);
	if (merged)
		assert_ok(pt_adapter_merge(a, w, v, &changed, &err), &err);
	return v;
}

static void near(const float *x, const float *y, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		if (!(fabsf(x[i] - y[i]) <= 1e-5f * (1 + fabsf(x[i]))))
			fail_msg("element %d: %g is not %g", (int)i, (double)x[i], (double)y[i]);
}

static int64_t size_of(const struct pt_adapter *a, int site)
{
	return a->site[site].site->in * a->site[site].site->out;
}

static void test_files(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);

	(void)state;
	for (int c = 0; c < NCONFIGS; c++) {
		struct pt_adapter *a = make(m, configs[c]), *b;
		char name[20], *d, *file;

		for (int i = 0; i < a->nsites; i++) {
			float *x = weight(a, i, false), *y = weight(a, i, true);

			near(x, y, size_of(a, i));
			free(x);
			free(y);
		}
		fill_params(a);
		snprintf(name, sizeof name, "r%d", c);
		d = sub(name);
		assert_ok(pt_adapter_save(a, d, PT_SAVE_ALL, &err), &err);
		file = pt_path_join(d, "peft_state.safetensors", &err);
		for (int plain = 0; plain < 2; plain++) {
			assert_ok(pt_adapter_open(&b, m, d, true, &err), &err);
			assert_int_equal(b->site[0].rank, a->site[0].rank * (1 + plain));
			assert_int_equal(b->site[0].nparams, plain ? 2 : 4);
			for (int i = 0; i < a->nsites; i++) {
				float *x = weight(a, i, true), *y = weight(b, i, true);

				assert_true(fabsf(a->site[i].scale - b->site[i].scale) < 1e-6f);
				near(x, y, size_of(a, i));
				free(x);
				free(y);
			}
			pt_adapter_close(b);
			if (!plain)
				assert_int_equal(unlink(file), 0);
		}
		free(file);
		free(d);
		pt_adapter_close(a);
	}
	pt_model_close(m);
}

/* W A' = s B (A A'), A A' and B'B diagonal and equal: singular values and their vectors. */
static void test_pissa(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, configs[0]);

	(void)state;
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adapter_site *s = &a->site[i];
		int64_t in = s->site->in, out = s->site->out;
		float *w = weight(a, i, false), *va = get(a, s->param[0]), *vb = get(a, s->param[1]);

		for (int k = 0; k < s->rank; k++) {
			double aa = 0;

			for (int l = 0; l < s->rank; l++) {
				double x = 0, y = 0;

				for (int64_t j = 0; j < in; j++)
					x += (double)va[k * in + j] * va[l * in + j];
				for (int64_t j = 0; j < out; j++)
					y += (double)vb[j * s->rank + k] * vb[j * s->rank + l];
				assert_true(fabs(x - y) < 1e-5 && (k == l || fabs(x) < 1e-5));
				aa = k == l ? x : aa;
			}
			for (int64_t o = 0; o < out; o++) {
				double x = 0;

				for (int64_t j = 0; j < in; j++)
					x += (double)w[o * in + j] * va[k * in + j];
				assert_true(fabs(x - (double)s->scale * vb[o * s->rank + k] * aa) < 1e-5);
			}
		}
		free(w);
		free(va);
		free(vb);
	}
	pt_adapter_close(a);
	pt_model_close(m);
}

/* B = the first columns of Q, A = the first rows of R. */
static void test_olora(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, configs[1]);

	(void)state;
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adapter_site *s = &a->site[i];
		int64_t in = s->site->in, out = s->site->out;
		float *w = weight(a, i, false), *va = get(a, s->param[0]), *vb = get(a, s->param[1]);

		for (int64_t o = 0; o < out; o++) {
			for (int64_t j = 0; j < s->rank; j++) {
				double x = 0;

				for (int k = 0; k < s->rank; k++)
					x += (double)vb[o * s->rank + k] * va[k * in + j];
				assert_true(fabs(x - w[o * in + j]) < 1e-5);
			}
		}
		free(w);
		free(va);
		free(vb);
	}
	pt_adapter_close(a);
	pt_model_close(m);
}

/* The gradient of B times s^2 (A A' + 1e-8 I) is what it was; A trains no more. */
static void test_lorafa(void **state)
{
	struct pt_model *m = open_model(PT_TASK_CAUSAL_LM);
	struct pt_adapter *a = make(m, "{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":5,\"target_modules\":[\"q_proj\",\"down_proj\"]}");

	(void)state;
	assert_ok(pt_adapter_lorafa(a, &err), &err);
	for (int i = 0; i < a->nsites; i++) {
		struct pt_param *b = a->site[i].param[PT_LORA_B];
		size_t n = (size_t)pt_tensor_count(&b->t);
		float *g = malloc(n * sizeof *g);

		pt_rng_normal(pt_rng_mix_str(1, b->name), g, n, 0, 1);
		assert_ok(dev->upload(dev, b->t.grad, g, n * sizeof *g, &err), &err);
		free(g);
	}
	assert_ok(pt_adapter_precondition(a, &err), &err);
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adapter_site *s = &a->site[i];
		struct pt_param *b = s->param[PT_LORA_B];
		int64_t in = s->site->in, r = s->rank;
		size_t n = (size_t)pt_tensor_count(&b->t);
		float *va = get(a, s->param[PT_LORA_A]), *was = malloc(n * sizeof *was), *is = malloc(n * sizeof *is);

		assert_false(s->param[PT_LORA_A]->t.needs_grad);
		assert_true(s->param[PT_LORA_A]->lr_scale == 0);
		pt_rng_normal(pt_rng_mix_str(1, b->name), was, n, 0, 1);
		assert_ok(dev->download(dev, is, b->t.grad, n * sizeof *is, &err), &err);
		for (int64_t o = 0; o < s->site->out; o++) {
			for (int64_t k = 0; k < r; k++) {
				double x = 0;

				for (int64_t l = 0; l < r; l++) {
					double aa = l == k ? 1e-8 : 0;

					for (int64_t j = 0; j < in; j++)
						aa += (double)va[l * in + j] * va[k * in + j];
					x += is[o * r + l] * aa;
				}
				x *= (double)s->scale * s->scale;
				assert_true(fabs(x - was[o * r + k]) < 1e-4);
			}
		}
		free(va);
		free(was);
		free(is);
	}
	pt_adapter_close(a);
	pt_model_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_files), T(test_pissa), T(test_olora), T(test_lorafa) };

	return cmocka_run_group_tests_name("peft_residual", tests, start, stop);
}
