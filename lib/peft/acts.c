/* SPDX-License-Identifier: MIT */
/*
 * acts.c - which sites act on a weight, found by bisection: a mixture of
 * experts has tens of thousands of both.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "peft/adapter_priv.h"

static int by_weight(const void *a, const void *b)
{
	const struct pt_adapter_act *x = a, *y = b;
	uintptr_t p = (uintptr_t)x->weight, q = (uintptr_t)y->weight;

	return p != q ? (p < q ? -1 : 1) : (x->site > y->site) - (x->site < y->site);
}

static void add(struct pt_adapter *a, const struct pt_weight *w, int site)
{
	if (w)
		a->act[a->nacts++] = (struct pt_adapter_act){ w, site };
}

int pt_adapter_index_acts(struct pt_adapter *a, struct pt_error *err)
{
	size_t most = 0;

	for (int i = 0; i < a->nsites; i++)
		most += 2 + (size_t)a->site[i].site->npieces;
	a->act = pt_calloc(most, sizeof *a->act, err);
	if (!a->act)
		return err->status;
	for (int i = 0; i < a->nsites; i++) {
		const struct pt_site *s = a->site[i].site;

		add(a, s->weight, i);
		add(a, s->bias, i);
		for (int k = 0; k < s->npieces; k++)
			add(a, s->piece[k]->weight, i);
	}
	if (a->nacts)
		qsort(a->act, a->nacts, sizeof *a->act, by_weight);
	return 0;
}

const struct pt_adapter_act *pt_adapter_acts(const struct pt_adapter *a, const struct pt_weight *w, size_t *n)
{
	size_t lo = 0, hi = a->nacts;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if ((uintptr_t)a->act[mid].weight < (uintptr_t)w)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (*n = 0; lo + *n < a->nacts && a->act[lo + *n].weight == w; ++*n)
		;
	return *n ? a->act + lo : NULL;
}
