/* SPDX-License-Identifier: MIT */
/*
 * trie.h - a set of byte strings, asked for the longest that stands at a
 * place in a text.
 */
#ifndef PT_TEXT_TRIE_H
#define PT_TEXT_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct pt_trie {
	struct pt_trie_node {
		uint32_t edge;		/* first of its edges */
		uint32_t n;
		int32_t value;		/* of the string that ends here, -1: none */
	} *node;			/* node 0 is the root */
	size_t nnode, node_cap;
	struct pt_trie_edge {
		unsigned char c;
		uint32_t to;
	} *edge;			/* those of one node in order of c */
	size_t nedge, edge_cap;
	uint32_t root[256];		/* node behind the first byte, 0: none */
};

struct pt_trie_key {
	const char *s;
	size_t n;
	int32_t value;
};

/* keys are sorted in place; none may be empty; of equal ones the lowest value counts. n may be 0. */
int pt_trie_init(struct pt_trie *t, struct pt_trie_key *keys, size_t n, struct pt_error *err);
void pt_trie_release(struct pt_trie *t);

/* The node behind node at by the byte c; 0: there is none. */
static inline uint32_t pt_trie_step(const struct pt_trie *t, uint32_t at, unsigned char c)
{
	const struct pt_trie_node *node = &t->node[at];
	const struct pt_trie_edge *e = t->edge + node->edge;
	uint32_t lo = 0, hi = node->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (e[mid].c < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < node->n && e[lo].c == c ? e[lo].to : 0;
}

/* The longest string that s[n] begins with: its value and *len; -1: none does. */
int32_t pt_trie_longest(const struct pt_trie *t, const char *s, size_t n, size_t *len);

#endif
