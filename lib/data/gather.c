/* SPDX-License-Identifier: MIT */
/*
 * gather.c - columns of examples by the table of kinds. struct pt_examples has
 * a member per row of that table; where it stands is the only thing that is
 * said here of a single tensor.
 */
#include "data/gather.h"

#include <string.h>

#define AT(member) offsetof(struct pt_examples, member)

/* In the order of the table. */
static const size_t member[] = {
	AT(index), AT(input_ids), AT(offsets), AT(labels), AT(token_type_ids), AT(cls), AT(target),
	AT(decoder_ids), AT(decoder_offsets), AT(decoder_labels), AT(span), AT(group), AT(weight),
	AT(adapter), AT(draw), AT(source), AT(row),
};
enum { TENSORS = sizeof member / sizeof *member, GROUP = 11 };

static const void *get(const struct pt_examples *x, int t)
{
	const void *p;

	memcpy(&p, (const char *)x + member[t], sizeof p);
	return p;
}

uint32_t pt_gather_have(const struct pt_examples *x)
{
	uint32_t have = 0;

	for (int t = 0; t < TENSORS; t++)
		if (get(x, t))
			have |= 1u << t;
	return have;
}

void pt_gather_init(struct pt_gather *g, uint32_t have, int64_t k)
{
	memset(g, 0, sizeof *g);
	g->have = have;
	g->k = k;
	pt_gather_clear(g);
}

void pt_gather_release(struct pt_gather *g)
{
	for (int t = 0; t < TENSORS; t++)
		pt_buf_release(&g->col[t]);
	memset(g, 0, sizeof *g);
}

void pt_gather_clear(struct pt_gather *g)
{
	const struct pt_kind_tensor *table = pt_kind_table(PT_KIND_EXAMPLES);

	g->n = g->tokens = g->decoder_tokens = 0;
	g->bytes = 0;
	for (int t = 0; t < TENSORS; t++) {
		if (!(g->have & 1u << t))
			continue;
		pt_buf_clear(&g->col[t]);
		pt_buf_reserve(&g->col[t], 64);		/* an empty tensor has an address, too */
		if (table[t].shape == PT_OFFSETS || table[t].shape == PT_DECODER_OFFSETS)
			pt_buf_zero(&g->col[t], sizeof(int64_t));
	}
}

/* The part of example i in tensor t: where it begins, in elements, and how many there are. */
static size_t part(const struct pt_kind_tensor *t, const struct pt_examples *x, int64_t i, size_t *begin)
{
	size_t width = 1;

	switch (t->shape) {
	case PT_PER_TOKEN:
		*begin = (size_t)x->offsets[i];
		return (size_t)(x->offsets[i + 1] - x->offsets[i]);
	case PT_PER_DECODER:
		*begin = (size_t)x->decoder_offsets[i];
		return (size_t)(x->decoder_offsets[i + 1] - x->decoder_offsets[i]);
	case PT_PER_EXAMPLE_K:
		width = (size_t)x->k;
		break;
	case PT_PER_EXAMPLE_2:
		width = 2;
		break;
	default:
		break;
	}
	*begin = (size_t)i * width;
	return width;
}

static void append(struct pt_gather *g, int t, const void *data, size_t n)
{
	pt_buf_add(&g->col[t], data, n);
	g->bytes += n;
}

/* The example that was appended last has this many tokens. */
static void finish(struct pt_gather *g, int64_t tokens, int64_t decoder_tokens)
{
	const struct pt_kind_tensor *table = pt_kind_table(PT_KIND_EXAMPLES);

	g->n++;
	g->tokens += tokens;
	g->decoder_tokens += decoder_tokens;
	for (int t = 0; t < TENSORS; t++) {
		if (!(g->have & 1u << t))
			continue;
		if (table[t].shape == PT_OFFSETS)
			append(g, t, &g->tokens, sizeof g->tokens);
		else if (table[t].shape == PT_DECODER_OFFSETS)
			append(g, t, &g->decoder_tokens, sizeof g->decoder_tokens);
	}
}

static bool is_offsets(const struct pt_kind_tensor *t)
{
	return t->shape == PT_OFFSETS || t->shape == PT_DECODER_OFFSETS;
}

void pt_gather_add(struct pt_gather *g, const struct pt_examples *x, int64_t i)
{
	const struct pt_kind_tensor *table = pt_kind_table(PT_KIND_EXAMPLES);
	const int64_t *o = x->offsets, *d = x->decoder_offsets;

	for (int t = 0; t < TENSORS; t++) {
		size_t begin, n, size;

		if (!(g->have & 1u << t) || is_offsets(&table[t]))
			continue;
		n = part(&table[t], x, i, &begin);
		size = pt_dtype_size(table[t].dtype);
		append(g, t, (const char *)get(x, t) + begin * size, n * size);
	}
	finish(g, o[i + 1] - o[i], d ? d[i + 1] - d[i] : 0);
}

void pt_gather_renumber(struct pt_gather *g, int64_t index)
{
	/* The first tensor of the table. */
	if (!g->col[0].failed)
		memcpy(g->col[0].data + g->col[0].len - sizeof index, &index, sizeof index);
}

void pt_gather_regroup(struct pt_gather *g, int64_t index)
{
	struct pt_buf *b = &g->col[GROUP];
	int64_t place;

	if (b->failed)
		return;
	memcpy(&place, b->data + b->len - sizeof place, sizeof place);
	index -= place;
	memcpy(b->data + b->len - sizeof index, &index, sizeof index);
}

/* Packed: i64 tokens, decoder tokens, k; then the parts. */
void pt_gather_pack(struct pt_buf *out, uint32_t have, const struct pt_examples *x, int64_t i)
{
	const struct pt_kind_tensor *table = pt_kind_table(PT_KIND_EXAMPLES);
	const int64_t *o = x->offsets, *d = x->decoder_offsets;
	int64_t head[3] = { o[i + 1] - o[i], d ? d[i + 1] - d[i] : 0, x->k };

	pt_buf_add(out, head, sizeof head);
	for (int t = 0; t < TENSORS; t++) {
		size_t begin, n, size;

		if (!(have & 1u << t) || is_offsets(&table[t]))
			continue;
		n = part(&table[t], x, i, &begin);
		size = pt_dtype_size(table[t].dtype);
		pt_buf_add(out, (const char *)get(x, t) + begin * size, n * size);
	}
}

void pt_gather_unpack(struct pt_gather *g, const void *packed)
{
	const struct pt_kind_tensor *table = pt_kind_table(PT_KIND_EXAMPLES);
	const char *p = packed;
	int64_t head[3];
	int64_t begin[2][2] = { { 0, 0 }, { 0, 0 } };
	struct pt_examples one = { 0 };

	memcpy(head, p, sizeof head);
	p += sizeof head;
	begin[0][1] = head[0];
	begin[1][1] = head[1];
	one.offsets = begin[0];
	one.decoder_offsets = begin[1];
	one.k = head[2];
	for (int t = 0; t < TENSORS; t++) {
		size_t unused, n;

		if (!(g->have & 1u << t) || is_offsets(&table[t]))
			continue;
		n = part(&table[t], &one, 0, &unused) * pt_dtype_size(table[t].dtype);
		append(g, t, p, n);
		p += n;
	}
	finish(g, head[0], head[1]);
}

int pt_gather_view(const struct pt_gather *g, struct pt_examples *x, struct pt_error *err)
{
	memset(x, 0, sizeof *x);
	x->n = g->n;
	x->tokens = g->tokens;
	x->decoder_tokens = g->decoder_tokens;
	x->k = g->k;
	for (int t = 0; t < TENSORS; t++) {
		const void *p = g->col[t].data;

		if (!(g->have & 1u << t))
			continue;
		if (pt_buf_check(&g->col[t], err))
			return err->status;
		memcpy((char *)x + member[t], &p, sizeof p);
	}
	return 0;
}
