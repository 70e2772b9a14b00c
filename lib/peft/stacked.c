/* SPDX-License-Identifier: MIT */
/*
 * stacked.c - adapters that stand one on the other: hooks of one site act in
 * the order of the stack, so that each reads what those below have made. MAD-X
 * has a language's adapter below that of a task.
 *
 * Pfeiffer et al. 2020, "MAD-X: An Adapter-Based Framework for Multi-Task
 * Cross-Lingual Transfer".
 */
#include <string.h>

#include "io/prov.h"
#include "peft/adapter_priv.h"

static bool is_module(const char *path, const char *module)
{
	size_t n = module ? strlen(module) : 0;

	return n && !strncmp(path, module, n) && path[n] == '.';
}

bool pt_adapter_leaves(const struct pt_adapter *a, const char *path)
{
	bool there = pt_model_weight(a->model, path) != NULL;
	const struct pt_head *h;

	/* What the model writes words with is its own, and may have been trained like any other part. */
	if (!a->under || (there && pt_task_vocab(a->task)))
		return false;
	for (h = a->model->cfg.family->head; h->task != PT_TASK_NONE; h++) {
		if (is_module(path, h->out) || is_module(path, h->norm) || (!h->dense_in_body && is_module(path, h->dense)))
			return true;
	}
	return false;
}

/* What both would put in place of the base's. */
static int check_pair(const struct pt_adapter *a, const struct pt_adapter *b, struct pt_error *err)
{
	for (size_t i = 0; i < a->nweights; i++) {
		if (pt_adapter_replaced(b, a->weight[i].weight))
			return pt_error(err, PT_USAGE, "%s and %s both replace %s: they do not stand in one stack", b->dir, a->dir,
					a->weight[i].weight->path);
	}
	if (a->nrows && b->nrows)
		return pt_error(err, PT_USAGE, "%s and %s both have rows of an embedding: they do not stand in one stack",
				b->dir, a->dir);
	return 0;
}

static int check(const struct pt_adapter *a, struct pt_error *err)
{
	if (!a->method || !a->method->stacks)
		return pt_error(err, PT_USAGE, "%s: %s does not stand in a stack with others", a->dir,
				a->method ? a->method->name : "a model that was trained itself");
	for (const struct pt_adapter *b = a->below; b; b = b->below) {
		if (check_pair(a, b, err))
			return err->status;
	}
	return 0;
}

int pt_adapter_open_stack(struct pt_adapter **out, struct pt_model *m, const char *const *dir, int n, bool trainable,
			  struct pt_error *err)
{
	struct pt_adapter *top = NULL;

	*out = NULL;
	for (int i = 0; i < n; i++) {
		struct pt_adapter_origin from = { .dir = dir[i], .trainable = trainable && i == n - 1, .below = top,
						  .under = i < n - 1 };
		struct pt_adapter *a;

		if (pt_adapter_open_from(&a, m, &from, err)) {
			pt_adapter_close(top);
			return err->status;
		}
		top = a;
		if (n > 1 && check(a, err)) {
			pt_adapter_close(a);
			return err->status;
		}
	}
	*out = top;
	return 0;
}

/* Whether what stands below now is, from the nearest on, what parents say from the from-th on. */
static bool same_below(const struct pt_adapter *a, const cJSON *parents, int from)
{
	int n = cJSON_GetArraySize(parents);

	for (const struct pt_adapter *b = a->below; b; b = b->below) {
		struct pt_hex id = pt_hex64(b->prov_id);
		const char *was;

		if (!b->prov_id)
			continue;
		was = from < n ? cJSON_GetStringValue(cJSON_GetArrayItem(parents, from++)) : NULL;
		if (!was || strcmp(was, id.s) != 0)
			return false;
	}
	return from == n;
}

bool pt_adapter_stands(const struct pt_adapter *a, int *trained)
{
	bool same = true;

	*trained = 0;
	for (size_t i = 0; i < a->prov.n; i++) {
		const struct pt_prov_node *node = &a->prov.node[i];
		struct pt_error ignored = PT_ERROR_INIT;
		const cJSON *parents;
		int64_t below;
		cJSON *j;

		if (node->id != a->prov_id)
			continue;
		j = pt_json_parse(node->text, strlen(node->text), 0, "provenance", &ignored);
		parents = pt_json_get(j, "parents");
		if (j && !pt_json_int(pt_json_get(j, "counts"), "below", 0, cJSON_GetArraySize(parents), 0, &below, &ignored) && below) {
			*trained = (int)below;
			same = same_below(a, parents, cJSON_GetArraySize(parents) - (int)below);
		}
		pt_json_free(j);
	}
	return same;
}
