/* SPDX-License-Identifier: MIT */
/*
 * digest.c - the canonical digest, byte for byte as formats/stream.md,
 * section 6, spells it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "io/digest.h"

static const char *const head_keys[] = {
	"options", "tokenizer", "vocab_size", "task", "labels", "max_tokens", "max_seqs", "max_len",
	"max_decoder_tokens", "max_decoder_len", "total_steps",
};
enum { N_HEAD_KEYS = sizeof head_keys / sizeof *head_keys };

static void add_u8(struct pt_digest *d, unsigned char v)
{
	pt_hash_add(&d->hash, &v, 1);
}

static void begin(struct pt_digest *d, const char *kind)
{
	memset(d, 0, sizeof *d);
	pt_hash_init(&d->hash);
	d->kind = pt_kind_parse(kind);
	pt_hash_str(&d->hash, "pts1");
	pt_hash_str(&d->hash, kind ? kind : "");
}

static void head_key(struct pt_digest *d, const char *key, const char *value)
{
	if (!value)
		return;
	pt_hash_str(&d->hash, key);
	pt_hash_str(&d->hash, value);
}

void pt_digest_head(struct pt_digest *d, const struct pt_st *head)
{
	begin(d, pt_st_meta(head, "kind"));
	for (int i = 0; i < N_HEAD_KEYS; i++)
		head_key(d, head_keys[i], pt_st_meta(head, head_keys[i]));
	add_u8(d, 0xff);
}

void pt_digest_head_build(struct pt_digest *d, const struct pt_st_build *head)
{
	begin(d, pt_st_build_get_meta(head, "kind"));
	for (int i = 0; i < N_HEAD_KEYS; i++)
		head_key(d, head_keys[i], pt_st_build_get_meta(head, head_keys[i]));
	add_u8(d, 0xff);
}

static void part(struct pt_digest *d, unsigned number, const void *data, size_t n)
{
	add_u8(d, (unsigned char)number);
	pt_hash_u64(&d->hash, n);
	pt_hash_add(&d->hash, data, n);
}

static void named_part(struct pt_digest *d, const char *name, const void *data, size_t n)
{
	add_u8(d, 0);
	pt_hash_str(&d->hash, name);
	pt_hash_u64(&d->hash, n);
	pt_hash_add(&d->hash, data, n);
}

/* The bytes of tensor t that belong to example i. */
static void example_part(struct pt_digest *d, unsigned number, enum pt_kind_shape shape,
			 const struct pt_st_tensor *t, int64_t i, const int64_t *offsets,
			 const int64_t *decoder)
{
	const char *p = t->data;
	size_t size = pt_dtype_size(t->dtype), row;

	switch (shape) {
	case PT_PER_TOKEN:
		part(d, number, p + (size_t)offsets[i] * size, (size_t)(offsets[i + 1] - offsets[i]) * size);
		break;
	case PT_PER_DECODER:
		part(d, number, p + (size_t)decoder[i] * size, (size_t)(decoder[i + 1] - decoder[i]) * size);
		break;
	case PT_OFFSETS:
	case PT_DECODER_OFFSETS:
		break;		/* the lengths say it */
	default:
		row = t->bytes / (size_t)t->shape[0];	/* there is an example, so it is not 0 */
		part(d, number, p + row * (size_t)i, row);
	}
}

/* examples, predictions */
static void add_examples(struct pt_digest *d, const struct pt_st *st)
{
	const struct pt_kind_tensor *table = pt_kind_table(d->kind);
	const struct pt_st_tensor *t[PT_KIND_TENSORS], *o, *m;
	int64_t n = pt_st_find(st, "index")->shape[0];
	const int64_t *offsets, *decoder;
	int count = 0;

	for (; table[count].name; count++)
		t[count] = pt_st_find(st, table[count].name);
	o = pt_st_find(st, "offsets");
	m = pt_st_find(st, "decoder_offsets");
	offsets = o ? o->data : NULL;
	decoder = m ? m->data : NULL;
	for (int64_t i = 0; i < n; i++) {
		add_u8(d, 1);
		for (int k = 0; k < count; k++)
			if (t[k])
				example_part(d, (unsigned)k + 1, table[k].shape, t[k], i, offsets, decoder);
	}
	d->examples += (uint64_t)n;
	if (offsets)
		d->tokens += (uint64_t)offsets[n];
}

static int add_batch(struct pt_digest *d, const struct pt_st *st, struct pt_error *err)
{
	const struct pt_kind_tensor *table = pt_kind_table(d->kind);
	struct pt_examples x;
	uint64_t bits;
	int status = pt_examples_view(&x, d->kind, st, err);

	if (status)
		return status;
	add_u8(d, 1);
	pt_hash_u64(&d->hash, (uint64_t)x.step);
	pt_hash_u64(&d->hash, (uint64_t)x.micro);
	pt_hash_u64(&d->hash, (uint64_t)x.micros);
	pt_hash_u64(&d->hash, (uint64_t)x.epoch);
	pt_hash_u64(&d->hash, (uint64_t)x.step_examples);
	pt_hash_u64(&d->hash, (uint64_t)x.step_tokens);
	memcpy(&bits, &x.step_weight, sizeof bits);
	pt_hash_u64(&d->hash, bits);
	for (int k = 0; table[k].name; k++) {
		const struct pt_st_tensor *t = pt_st_find(st, table[k].name);

		if (t)
			part(d, (unsigned)k + 1, t->data, t->bytes);
	}
	d->examples += (uint64_t)x.n;
	d->tokens += (uint64_t)x.tokens;
	d->micro_batches++;
	d->steps += x.micro == x.micros;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const struct pt_st_tensor *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

static int add_metrics(struct pt_digest *d, const struct pt_st *st, struct pt_error *err)
{
	const struct pt_kind_tensor *table = pt_kind_table(d->kind);
	const struct pt_st_tensor **more;
	int64_t n = pt_st_find(st, "step")->shape[0];
	size_t nmore = 0;

	more = pt_malloc(st->ntensors, sizeof *more, err);
	if (!more)
		return err->status;
	for (size_t i = 0; i < st->ntensors; i++) {
		int k = 0;

		while (table[k].name && strcmp(table[k].name, st->tensor[i].name))
			k++;
		if (!table[k].name && st->tensor[i].name[0] != '_')
			more[nmore++] = &st->tensor[i];
	}
	qsort(more, nmore, sizeof *more, by_name);
	for (int64_t i = 0; i < n; i++) {
		add_u8(d, 1);
		for (int k = 0; table[k].name; k++)
			if (strcmp(table[k].name, "seconds"))
				part(d, (unsigned)k + 1,
				     (const char *)pt_st_find(st, table[k].name)->data + 8 * i, 8);
		for (size_t k = 0; k < nmore; k++)
			named_part(d, more[k]->name, (const char *)more[k]->data + 8 * i, 8);
	}
	free(more);
	d->steps += (uint64_t)n;
	return 0;
}

int pt_digest_data(struct pt_digest *d, const struct pt_st *st, struct pt_error *err)
{
	int status = 0;

	switch (d->kind) {
	case PT_KIND_EXAMPLES:
	case PT_KIND_PREDICTIONS:
		add_examples(d, st);
		break;
	case PT_KIND_BATCH:
		status = add_batch(d, st, err);
		break;
	case PT_KIND_METRICS:
		status = add_metrics(d, st, err);
		break;
	case PT_KIND_OTHER:
		add_u8(d, 1);
		for (size_t i = 0; i < st->ntensors; i++)
			if (st->tensor[i].name[0] != '_')
				named_part(d, st->tensor[i].name, st->tensor[i].data, st->tensor[i].bytes);
		break;
	}
	if (!status)
		d->records++;
	return status;
}

uint64_t pt_digest_value(const struct pt_digest *d)
{
	return pt_hash_value(&d->hash);
}

uint64_t pt_digest_join(uint64_t d, uint64_t next)
{
	struct pt_hash h;

	pt_hash_init(&h);
	pt_hash_u64(&h, d);
	pt_hash_u64(&h, next);
	return pt_hash_value(&h);
}

const char *pt_digest_count(const struct pt_digest *d, int i, uint64_t *value)
{
	const struct { const char *name; uint64_t value; unsigned kinds; } counts[] = {
		{ "records", d->records, ~0u },
		{ "examples", d->examples, 1u << PT_KIND_EXAMPLES | 1u << PT_KIND_BATCH | 1u << PT_KIND_PREDICTIONS },
		{ "tokens", d->tokens, 1u << PT_KIND_EXAMPLES | 1u << PT_KIND_BATCH },
		{ "steps", d->steps, 1u << PT_KIND_BATCH | 1u << PT_KIND_METRICS },
		{ "micro_batches", d->micro_batches, 1u << PT_KIND_BATCH },
	};

	for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
		if (!(counts[k].kinds & 1u << d->kind))
			continue;
		if (i-- == 0) {
			*value = counts[k].value;
			return counts[k].name;
		}
	}
	return NULL;
}
