/* SPDX-License-Identifier: MIT */
/*
 * adalora_rank.c - AdaLoRA's schedule: how many components all modules
 * together may keep at a step, how important each is, and the pruning of the
 * others (see adalora.c). Steps count from 1, so that the last one prunes to
 * the target.
 *
 * Importance is computed by operations that every device has; of it the host
 * sees a number a component.
 */
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "device/kernels.h"
#include "peft/adalora.h"

enum { A = PT_ADALORA_A, B = PT_ADALORA_B, E = PT_ADALORA_E, PARAMS = PT_ADALORA_PARAMS };

int pt_adalora_remember(struct pt_adapter *a, struct pt_adapter_site *s, int flags, struct pt_error *err)
{
	static const char *const names[PARAMS] = { "lora_A", "lora_B", "lora_E" };
	struct pt_adalora_site *x = s->state;
	int64_t r = s->rank;
	int st = 0;

	flags |= PT_TENSOR_STATE | PT_TENSOR_FROZEN;
	for (int i = 0; i < 2 * PARAMS && !st; i++) {
		const struct pt_tensor *t = &s->param[i / 2]->t;
		char *key = pt_format(err, PT_KEY_PREFIX "%s.%s.%s", s->site->path, names[i / 2],
				      i % 2 ? "uncertainty" : "sensitivity");

		st = key ? pt_adapter_tensor(a, key, flags, t->ndim, t->shape,
					     i % 2 ? &x->uncertainty[i / 2] : &x->sensitivity[i / 2], err) : err->status;
		free(key);
	}
	if (!st) {
		char *key = pt_format(err, PT_KEY_PREFIX "%s.lora_mask", s->site->path);

		st = key ? pt_adapter_tensor(a, key, flags, 1, &r, &x->mask, err) : err->status;
		free(key);
	}
	return st;
}

int64_t pt_adalora_budget(const struct pt_adalora *l, int64_t sites, int64_t step, bool *prunes)
{
	int64_t first = sites * l->init_r, last = sites * l->target_r, end = l->total - l->tfinal;
	double left;

	*prunes = false;
	if (step <= l->tinit)
		return first;
	*prunes = step >= end || step % l->delta == 0;
	if (step >= end)
		return last;
	left = 1 - (double)(step - l->tinit) / (double)(end - l->tinit);
	return (int64_t)((double)(first - last) * (left * left * left) + (double)last);
}

/* The schedule of a run of so many steps. */
static int settle(const struct pt_adapter *a, int64_t total, struct pt_adalora *out, struct pt_error *err)
{
	*out = *(const struct pt_adalora *)a->state;
	if (!out->total)
		out->total = total;
	if (!out->total)
		return pt_error(err, PT_USAGE, "adalora must know the number of steps, and the stream does not tell: give --steps N");
	if (out->tinit >= out->total - out->tfinal)
		return pt_error(err, PT_USAGE, "tinit %lld and tfinal %lld leave no step of %lld for pruning",
				(long long)out->tinit, (long long)out->tfinal, (long long)out->total);
	return 0;
}

int pt_adalora_plan(const struct pt_adapter *a, int64_t total, struct pt_buf *out, struct pt_error *err)
{
	enum { LINES = 20 };
	int64_t sites = a->nsites, last = -1;
	struct pt_adalora l;
	bool prunes;

	if (settle(a, total, &l, err))
		return err->status;
	pt_buf_printf(out, "%8s  %10s  %9s\n", "step", "components", "mean rank");
	for (int64_t i = 0, step; i <= LINES; i++) {
		step = i * l.total / LINES;
		if (step == last)
			continue;
		last = step;
		/* What is left after it: that of the last step that pruned. */
		if (step > l.tinit && step < l.total - l.tfinal)
			step -= step % l.delta < step - l.tinit ? step % l.delta : step - l.tinit;
		pt_buf_printf(out, "%8lld  %10lld  %9.2f\n", (long long)last,
			      (long long)pt_adalora_budget(&l, sites, step, &prunes),
			      (double)pt_adalora_budget(&l, sites, step, &prunes) / (double)sites);
	}
	return 0;
}

int pt_adalora_begin(struct pt_adapter *a, int64_t total, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;
	struct pt_adalora *l = a->state, with;

	if (settle(a, total, &with, err))
		return err->status;
	if (!l->total && pt_config_set(a->config, "total_step", cJSON_CreateNumber((double)with.total), err))
		return err->status;
	l->total = with.total;
	if (total && total < l->total - l->tfinal)
		pt_log(PT_WARN, "the run ends at step %lld, before ranks have come down at step %lld (total_step %lld, tfinal %lld)",
		       (long long)total, (long long)(l->total - l->tfinal), (long long)l->total, (long long)l->tfinal);
	for (int i = 0; i < a->nsites && !l->room; i++) {
		for (int k = 0; k < a->nsites; k++) {
			size_t n = (size_t)(l->init_r * (a->site[k].site->in + a->site[k].site->out + l->init_r));

			l->room = n > l->room ? n : l->room;
		}
	}
	for (int i = 0; i < 2 && !l->tmp[i]; i++) {
		void *p;

		if (dev->alloc(dev, l->room * sizeof(float), &p, err))
			return err->status;
		l->tmp[i] = p;
	}
	return 0;
}

/* x = |x|, with tmp */
static int absolute(struct pt_device *dev, size_t n, float *x, float *tmp, struct pt_error *err)
{
	struct pt_k_act k = { .act = PT_ACT_RELU, .n = (int64_t)n, .type = PT_F32, .x = x, .y = tmp };

	return dev->k->act_fwd(dev, &k, err) ? err->status : dev->k->axpby(dev, PT_F32, n, 2, tmp, -1, x, err);
}

/* I = |p g|; sensitivity <- b1 it + (1 - b1) I; uncertainty <- b2 it + (1 - b2) |I - sensitivity| */
static int weigh(const struct pt_adalora *l, struct pt_device *dev, const struct pt_tensor *p, float clip,
		 float *sensitivity, float *uncertainty, struct pt_error *err)
{
	size_t n = (size_t)pt_tensor_count(p);
	float *x = l->tmp[0], *tmp = l->tmp[1];
	struct pt_k_act product = { .act = PT_ACT_NONE, .n = (int64_t)n, .type = PT_F32, .x = p->data, .u = p->grad, .y = tmp };
	const struct pt_kernels *k = dev->k;

	if (k->act_fwd(dev, &product, err) || k->axpby(dev, PT_F32, n, clip, tmp, 0, x, err) ||
	    absolute(dev, n, x, tmp, err) ||
	    k->axpby(dev, PT_F32, n, (float)(1 - l->beta1), x, (float)l->beta1, sensitivity, err) ||
	    k->axpby(dev, PT_F32, n, -1, sensitivity, 1, x, err) || absolute(dev, n, x, tmp, err))
		return err->status;
	return k->axpby(dev, PT_F32, n, (float)(1 - l->beta2), x, (float)l->beta2, uncertainty, err);
}

static int weigh_all(struct pt_adapter *a, float clip, struct pt_error *err)
{
	int st = 0;

	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adalora_site *x = a->site[i].state;

		for (int k = 0; k < PARAMS && !st; k++)
			st = weigh(a->state, a->model->dev, &a->site[i].param[k]->t, clip, x->sensitivity[k]->t.data,
				   x->uncertainty[k]->t.data, err);
	}
	return st;
}

/* out[r] += the mean of sensitivity times uncertainty over the part of each component: the diagonal of a product. */
static int add_scores(const struct pt_adapter *a, const struct pt_adapter_site *s, int which, double *out, float *host,
		      struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	const struct pt_adalora_site *x = s->state;
	struct pt_device *dev = a->model->dev;
	int64_t r = s->rank, width = which == A ? s->site->in : which == B ? s->site->out : 1;
	struct pt_k_gemm g = {
		.m = r, .n = r, .k = width, .a = x->sensitivity[which]->t.data, .b = x->uncertainty[which]->t.data,
		.c = l->tmp[0], .at = PT_F32, .bt = PT_F32, .ct = PT_F32, .lda = which == B ? r : width,
		.ldb = which == B ? r : width, .ldc = r, .ta = which == B, .tb = which != B, .alpha = 1,
	};

	if (dev->k->gemm(dev, &g, err) || dev->download(dev, host, l->tmp[0], (size_t)(r * r) * sizeof *host, err))
		return err->status;
	for (int64_t i = 0; i < r; i++)
		out[i] += (double)host[i * r + i] / (double)width;
	return 0;
}

static int ascending(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

/* E is zero where it is masked. */
static int apply(struct pt_adapter *a, const struct pt_adapter_site *s, const float *mask, struct pt_error *err)
{
	float *e = pt_malloc((size_t)s->rank, sizeof *e, err);
	int st = e ? pt_adapter_get(a, s->param[E], e, err) : err->status;

	for (int i = 0; !st && i < s->rank; i++)
		e[i] = mask[i] != 0 ? e[i] : 0;
	if (!st)
		st = pt_adapter_set(a, s->param[E], e, err);
	free(e);
	return st;
}

/* Of all components those that are not more important than the last one that has to go; none where none has to. */
static int prune(struct pt_adapter *a, int64_t budget, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	int64_t r = l->init_r, n = r * a->nsites, go = n - budget;
	double *score = pt_calloc((size_t)n, sizeof *score, err), *order = pt_malloc((size_t)n, sizeof *order, err);
	float *host = pt_malloc((size_t)(r * r), sizeof *host, err);
	double threshold = -1;
	int st = score && order && host ? 0 : err->status;

	for (int i = 0; i < a->nsites; i++) {
		for (int k = 0; k < PARAMS && !st; k++)
			st = add_scores(a, &a->site[i], k, score + i * r, host, err);
	}
	if (!st && go > 0) {
		for (int64_t i = 0; i < n; i++)
			order[i] = score[i];
		qsort(order, (size_t)n, sizeof *order, ascending);
		threshold = order[go - 1];
	}
	for (int i = 0; i < a->nsites && !st; i++) {
		const struct pt_adalora_site *x = a->site[i].state;

		for (int64_t k = 0; k < r; k++)
			host[k] = score[i * r + k] > threshold;
		st = pt_adapter_set(a, x->mask, host, err);
		if (!st)
			st = apply(a, &a->site[i], host, err);
	}
	free(score);
	free(order);
	free(host);
	return st;
}

static int prune_again(struct pt_adapter *a, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	float *mask = pt_malloc((size_t)l->init_r, sizeof *mask, err);
	int st = mask ? 0 : err->status;

	for (int i = 0; i < a->nsites && !st; i++) {
		const struct pt_adalora_site *x = a->site[i].state;

		st = pt_adapter_get(a, x->mask, mask, err);
		if (!st)
			st = apply(a, &a->site[i], mask, err);
	}
	free(mask);
	return st;
}

static int forget(struct pt_adapter *a, struct pt_error *err)
{
	struct pt_device *dev = a->model->dev;

	for (int i = 0; i < a->nsites; i++) {
		const struct pt_adalora_site *x = a->site[i].state;

		for (int k = 0; k < PARAMS; k++) {
			size_t n = (size_t)pt_tensor_count(&x->sensitivity[k]->t);

			if (dev->k->fill(dev, PT_F32, x->sensitivity[k]->t.data, n, 0, err) ||
			    dev->k->fill(dev, PT_F32, x->uncertainty[k]->t.data, n, 0, err))
				return err->status;
		}
	}
	return 0;
}

int pt_adalora_after_step(struct pt_adapter *a, const struct pt_method_step *at, struct pt_error *err)
{
	const struct pt_adalora *l = a->state;
	int64_t end = l->total - l->tfinal, budget;
	bool prunes;

	if (at->step > end)
		return prune_again(a, err);
	if (at->step < end && weigh_all(a, at->clip, err))
		return err->status;
	budget = pt_adalora_budget(l, a->nsites, at->step, &prunes);
	if (prunes && prune(a, budget, err))
		return err->status;
	return at->step == end ? forget(a, err) : 0;
}
