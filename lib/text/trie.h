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

/* The longest string that s[n] begins with: its value and *len; -1: none does. */
int32_t pt_trie_longest(const struct pt_trie *t, const char *s, size_t n, size_t *len);

#endif
