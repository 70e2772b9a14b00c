/* SPDX-License-Identifier: MIT */
/*
 * trie.c - built from sorted keys level by level, so that the edges of a node
 * lie together.
 */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static int compare(const void *a, const void *b)
{
	const struct pt_trie_key *x = a, *y = b;
	int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);

	if (c)
		return c;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return x->value < y->value ? -1 : x->value > y->value;
}

/* A node that is still to be divided: keys [from, to) share their first depth bytes. */
struct range {
	size_t from, to, depth;
};

static int divide(struct pt_trie *t, struct range **todo, size_t *cap, const struct pt_trie_key *keys, size_t i,
		  struct pt_error *err)
{
	struct range r = (*todo)[i];

	while (r.from < r.to && keys[r.from].n == r.depth) {
		if (t->node[i].value < 0)
			t->node[i].value = keys[r.from].value;
		r.from++;
	}
	t->node[i].edge = (uint32_t)t->nedge;
	while (r.from < r.to) {
		unsigned char c = (unsigned char)keys[r.from].s[r.depth];
		size_t end = r.from + 1;

		while (end < r.to && (unsigned char)keys[end].s[r.depth] == c)
			end++;
		if (t->nnode >= UINT32_MAX || pt_grow(&t->node, &t->node_cap, t->nnode + 1, sizeof *t->node, err) ||
		    pt_grow(&t->edge, &t->edge_cap, t->nedge + 1, sizeof *t->edge, err) ||
		    pt_grow(todo, cap, t->nnode + 1, sizeof **todo, err))
			return PT_FAIL;
		(*todo)[t->nnode] = (struct range){ r.from, end, r.depth + 1 };
		t->node[t->nnode] = (struct pt_trie_node){ 0, 0, -1 };
		t->edge[t->nedge++] = (struct pt_trie_edge){ c, (uint32_t)t->nnode++ };
		t->node[i].n++;
		r.from = end;
	}
	return 0;
}

int pt_trie_init(struct pt_trie *t, struct pt_trie_key *keys, size_t n, struct pt_error *err)
{
	struct range *todo = NULL;
	size_t cap = 0;
	int status = PT_FAIL;

	memset(t, 0, sizeof *t);
	if (n == 0)
		return 0;
	qsort(keys, n, sizeof *keys, compare);
	if (pt_grow(&t->node, &t->node_cap, 1, sizeof *t->node, err) || pt_grow(&todo, &cap, 1, sizeof *todo, err))
		goto out;
	t->node[0] = (struct pt_trie_node){ 0, 0, -1 };
	t->nnode = 1;
	todo[0] = (struct range){ 0, n, 0 };
	status = 0;
	for (size_t i = 0; i < t->nnode && !status; i++)
		status = divide(t, &todo, &cap, keys, i, err);
	for (size_t i = 0; i < t->node[0].n && !status; i++)
		t->root[t->edge[i].c] = t->edge[i].to;
out:
	free(todo);
	if (status)
		pt_trie_release(t);
	return status;
}

void pt_trie_release(struct pt_trie *t)
{
	free(t->node);
	free(t->edge);
	memset(t, 0, sizeof *t);
}

int32_t pt_trie_longest(const struct pt_trie *t, const char *s, size_t n, size_t *len)
{
	uint32_t at = n ? t->root[(unsigned char)s[0]] : 0;
	int32_t best = -1;

	for (size_t i = 1; at; i++) {
		const struct pt_trie_node *node = &t->node[at];

		if (node->value >= 0) {
			best = node->value;
			*len = i;
		}
		if (i == n)
			break;
		at = pt_trie_step(t, at, (unsigned char)s[i]);
	}
	return best;
}
