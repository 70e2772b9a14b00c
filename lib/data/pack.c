/* SPDX-License-Identifier: MIT */
/*
 * pack.c - see pack.h. Units wait in a list by age and, when packed by
 * tokens, in a queue for each size; a bit set over the sizes finds the largest
 * that fits in a few words.
 */
#include "data/pack.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct pt_pack_slot {
	int64_t unit, size, examples;
	uint64_t order;			/* of arrival */
	int32_t older, newer;		/* by age; newer also links unused slots */
	int32_t next;			/* of the same size */
};

int pt_pack_init(struct pt_pack *p, int64_t examples, int64_t tokens, struct pt_error *err)
{
	size_t sizes = (size_t)tokens + 1;

	memset(p, 0, sizeof *p);
	p->examples = examples;
	p->tokens = tokens;
	p->window = tokens ? PT_PACK_WINDOW : (int32_t)examples + 1;
	p->slot = pt_calloc((size_t)p->window, sizeof *p->slot, err);
	if (!p->slot)
		return err->status;
	if (tokens) {
		p->first = pt_malloc(sizes, sizeof *p->first, err);
		p->last = pt_malloc(sizes, sizeof *p->last, err);
		p->sizes = pt_malloc(sizes / 64 + 1, sizeof *p->sizes, err);
		if (!p->first || !p->last || !p->sizes) {
			pt_pack_release(p);
			return err->status;
		}
	}
	pt_pack_clear(p);
	return 0;
}

void pt_pack_release(struct pt_pack *p)
{
	free(p->slot);
	free(p->first);
	free(p->last);
	free(p->sizes);
	memset(p, 0, sizeof *p);
}

void pt_pack_clear(struct pt_pack *p)
{
	p->n = 0;
	p->oldest = p->newest = -1;
	p->unused = 0;
	for (int32_t i = 0; i < p->window; i++)
		p->slot[i].newer = i + 1 < p->window ? i + 1 : -1;
	if (p->tokens) {
		memset(p->first, 0xff, ((size_t)p->tokens + 1) * sizeof *p->first);
		memset(p->sizes, 0, ((size_t)p->tokens / 64 + 1) * sizeof *p->sizes);
	}
}

bool pt_pack_full(const struct pt_pack *p)
{
	return p->n == p->window;
}

void pt_pack_push(struct pt_pack *p, int64_t unit, int64_t size, int64_t examples)
{
	int32_t i = p->unused;
	struct pt_pack_slot *s = &p->slot[i];

	if (size < 1)
		size = 1;
	p->unused = s->newer;
	*s = (struct pt_pack_slot){ unit, size, examples, 0, p->newest, -1, -1 };
	if (p->newest >= 0) {
		p->slot[p->newest].newer = i;
		s->order = p->slot[p->newest].order + 1;
	} else {
		p->oldest = i;
	}
	p->newest = i;
	p->n++;
	if (!p->tokens || size > p->tokens)
		return;
	if (p->first[size] < 0)
		p->first[size] = i;
	else
		p->slot[p->last[size]].next = i;
	p->last[size] = i;
	p->sizes[size / 64] |= 1ull << size % 64;
}

/* Slot i, the oldest of its size, leaves. */
static void pop(struct pt_pack *p, int32_t i)
{
	struct pt_pack_slot *s = &p->slot[i];

	if (s->older >= 0)
		p->slot[s->older].newer = s->newer;
	else
		p->oldest = s->newer;
	if (s->newer >= 0)
		p->slot[s->newer].older = s->older;
	else
		p->newest = s->older;
	if (p->tokens && s->size <= p->tokens) {
		p->first[s->size] = s->next;
		if (s->next < 0)
			p->sizes[s->size / 64] &= ~(1ull << s->size % 64);
	}
	s->newer = p->unused;
	p->unused = i;
	p->n--;
}

/* Of the sizes that there are the largest up to room; 0: none. */
static int64_t largest(const struct pt_pack *p, int64_t room)
{
	int64_t w = room / 64;
	uint64_t bits = p->sizes[w] & (~0ull >> (63 - room % 64));

	while (!bits && w > 0)
		bits = p->sizes[--w];
	return bits ? w * 64 + 63 - __builtin_clzll(bits) : 0;
}

static void take_tokens(struct pt_pack *p, int64_t *units, int *n)
{
	uint64_t order[PT_PACK_WINDOW];
	int64_t room = p->tokens, size;
	int32_t i = p->oldest;

	while (i >= 0) {
		int k = (*n)++;

		/* Few units: sorted as they come. */
		for (; k > 0 && order[k - 1] > p->slot[i].order; k--) {
			order[k] = order[k - 1];
			units[k] = units[k - 1];
		}
		order[k] = p->slot[i].order;
		units[k] = p->slot[i].unit;
		room -= p->slot[i].size;
		pop(p, i);
		size = room > 0 ? largest(p, room) : 0;
		i = size ? p->first[size] : -1;
	}
}

static void take_examples(struct pt_pack *p, bool last, int64_t *units, int *n)
{
	int64_t have = 0;
	int32_t i = p->oldest;
	int k = 0;

	/* Does what is there make a micro-batch? */
	for (; i >= 0 && (k == 0 || have + p->slot[i].examples <= p->examples); i = p->slot[i].newer, k++)
		have += p->slot[i].examples;
	if (!last && i < 0 && have < p->examples)
		return;
	for (; *n < k; pop(p, p->oldest))
		units[(*n)++] = p->slot[p->oldest].unit;
}

void pt_pack_take(struct pt_pack *p, bool last, int64_t *units, int *n)
{
	*n = 0;
	if (!p->n)
		return;
	if (!p->tokens)
		take_examples(p, last, units, n);
	else if (last || pt_pack_full(p))
		take_tokens(p, units, n);
}
