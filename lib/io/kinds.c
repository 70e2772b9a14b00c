/* SPDX-License-Identifier: MIT */
/*
 * kinds.c - the tensors of each kind of stream, as tables; the checks; typed
 * pointers. formats/stream.md, section 4, is the text that this obeys.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/opt.h"
#include "io/kinds.h"
#include "io/task.h"

#define EXAMPLES_TABLE(OFFSETS, DECODER_OFFSETS) \
	{ "index", PT_I64, PT_PER_EXAMPLE, true }, \
	{ "input_ids", PT_I32, PT_PER_TOKEN, true }, \
	{ OFFSETS, PT_I64, PT_OFFSETS, true }, \
	{ "labels", PT_I32, PT_PER_TOKEN, false }, \
	{ "token_type_ids", PT_I32, PT_PER_TOKEN, false }, \
	{ "class", PT_I32, PT_PER_EXAMPLE, false }, \
	{ "target", PT_F32, PT_PER_EXAMPLE_K, false }, \
	{ "decoder_ids", PT_I32, PT_PER_DECODER, false }, \
	{ DECODER_OFFSETS, PT_I64, PT_DECODER_OFFSETS, false }, \
	{ "decoder_labels", PT_I32, PT_PER_DECODER, false }, \
	{ "span", PT_I64, PT_PER_EXAMPLE_2, false }, \
	{ "group", PT_I64, PT_PER_EXAMPLE, false }, \
	{ "weight", PT_F32, PT_PER_EXAMPLE, false }, \
	{ "adapter", PT_I32, PT_PER_EXAMPLE, false }, \
	{ "draw", PT_I32, PT_PER_EXAMPLE, false }, \
	{ "source", PT_I64, PT_PER_EXAMPLE, false }, \
	{ "row", PT_I64, PT_PER_EXAMPLE, false }, \
	{ NULL, 0, 0, false }

static const struct pt_kind_tensor examples_table[] = { EXAMPLES_TABLE("offsets", "decoder_offsets") };
static const struct pt_kind_tensor batch_table[] = { EXAMPLES_TABLE("cu_seqlens", "decoder_cu_seqlens") };

static const struct pt_kind_tensor metrics_table[] = {
	{ "step", PT_I64, PT_PER_EXAMPLE, true },
	{ "loss", PT_F64, PT_PER_EXAMPLE, true },
	{ "lr", PT_F64, PT_PER_EXAMPLE, true },
	{ "grad_norm", PT_F64, PT_PER_EXAMPLE, true },
	{ "tokens", PT_I64, PT_PER_EXAMPLE, true },
	{ "examples", PT_I64, PT_PER_EXAMPLE, true },
	{ "seconds", PT_F64, PT_PER_EXAMPLE, true },
	{ NULL, 0, 0, false }
};

static const struct pt_kind_tensor predictions_table[] = {
	{ "index", PT_I64, PT_PER_EXAMPLE, true },
	{ "class", PT_I32, PT_PER_EXAMPLE, false },
	{ "ids", PT_I32, PT_PER_TOKEN, false },
	{ "offsets", PT_I64, PT_OFFSETS, false },
	{ "probability", PT_F32, PT_PER_EXAMPLE_OR_K, false },
	{ "logits", PT_F32, PT_PER_EXAMPLE_K, false },
	{ "loss", PT_F32, PT_PER_EXAMPLE, false },
	{ NULL, 0, 0, false }
};

static const struct {
	const char *name;
	const struct pt_kind_tensor *table;
} kinds[] = {
	[PT_KIND_OTHER] = { NULL, NULL },
	[PT_KIND_EXAMPLES] = { "examples", examples_table },
	[PT_KIND_BATCH] = { "batch", batch_table },
	[PT_KIND_METRICS] = { "metrics", metrics_table },
	[PT_KIND_PREDICTIONS] = { "predictions", predictions_table },
};

enum pt_kind pt_kind_parse(const char *name)
{
	for (int k = PT_KIND_EXAMPLES; name && k <= PT_KIND_PREDICTIONS; k++)
		if (!strcmp(kinds[k].name, name))
			return (enum pt_kind)k;
	return PT_KIND_OTHER;
}

const struct pt_kind_tensor *pt_kind_table(enum pt_kind kind)
{
	return kinds[kind].table;
}

const struct pt_kind_tensor *pt_kind_entry(enum pt_kind kind, const char *name)
{
	const struct pt_kind_tensor *k = kinds[kind].table;

	while (k && k->name && strcmp(k->name, name))
		k++;
	return k && k->name ? k : NULL;
}

int64_t pt_kind_count(enum pt_kind kind, const struct pt_st *st)
{
	/* The first of each table is [n]. */
	return kind == PT_KIND_OTHER || kind == PT_KIND_BATCH ? 1
		: pt_st_find(st, kinds[kind].table[0].name)->shape[0];
}

int pt_kind_bounds(struct pt_kind_bounds *b, const struct pt_st *head, struct pt_error *err)
{
	const char *labels = pt_st_meta(head, "labels"), *task = pt_st_meta(head, "task");
	const cJSON *label;
	int status = 0;
	cJSON *j;

	memset(b, 0, sizeof *b);
	if (pt_meta_int(pt_st_meta(head, "vocab_size"), "vocab_size", 1, 0, &b->vocab_size, err))
		return err->status;
	b->labels_are_ids = pt_task_vocab(pt_task_of_head(task));
	if (!labels)
		return 0;
	j = pt_json_parse(labels, strlen(labels), 0, "labels", err);
	if (!j)
		return err->status;
	if (cJSON_IsArray(j))
		b->nlabels = cJSON_GetArraySize(j);
	else
		status = pt_error(err, PT_DATA, "labels is not an array");
	cJSON_ArrayForEach(label, j)
		if (!status && !cJSON_IsString(label))
			status = pt_error(err, PT_DATA, "labels is not an array of names");
	pt_json_free(j);
	return status;
}

/* The extents that the tensors of one record share; -1: not yet known. */
struct extents {
	int64_t n, tokens, decoder;
};

static bool agree(int64_t *known, int64_t is)
{
	if (*known < 0)
		*known = is;
	return *known == is;
}

static int check_shape(const struct pt_kind_tensor *k, const struct pt_st_tensor *t, struct extents *x,
		       struct pt_error *err)
{
	static const char *const form[] = { "[n]", "[n,k]", "[n,2]", "[n] or [n,k]", "[N]", "[M]",
					    "[n+1]", "[n+1]" };
	bool ok = false;

	switch (k->shape) {
	case PT_PER_EXAMPLE:
		ok = t->ndim == 1 && agree(&x->n, t->shape[0]);
		break;
	case PT_PER_EXAMPLE_K:
		ok = t->ndim == 2 && agree(&x->n, t->shape[0]);
		break;
	case PT_PER_EXAMPLE_2:
		ok = t->ndim == 2 && agree(&x->n, t->shape[0]) && t->shape[1] == 2;
		break;
	case PT_PER_EXAMPLE_OR_K:
		ok = (t->ndim == 1 || t->ndim == 2) && agree(&x->n, t->shape[0]);
		break;
	case PT_PER_TOKEN:
		ok = t->ndim == 1 && agree(&x->tokens, t->shape[0]);
		break;
	case PT_PER_DECODER:
		ok = t->ndim == 1 && agree(&x->decoder, t->shape[0]);
		break;
	case PT_OFFSETS:
	case PT_DECODER_OFFSETS:
		ok = t->ndim == 1 && t->shape[0] >= 1 && agree(&x->n, t->shape[0] - 1);
		break;
	}
	if (ok && t->dtype == k->dtype)
		return 0;
	struct pt_buf is = PT_BUF_INIT;

	pt_st_shape_text(t, &is);
	pt_error(err, PT_DATA, "tensor %s is %s, not %s%s with n = %lld, N = %lld%s", k->name,
		 is.data ? is.data : "?", pt_dtype_name(k->dtype), form[k->shape], (long long)x->n,
		 (long long)x->tokens, x->decoder >= 0 ? " (and M)" : "");
	pt_buf_release(&is);
	return PT_DATA;
}

static int check_offsets(const struct pt_st_tensor *t, int64_t end, struct pt_error *err)
{
	const int64_t *o = t->data;
	int64_t n = t->shape[0] - 1;

	if (o[0] != 0)
		return pt_error(err, PT_DATA, "%s begins with %lld, not with 0", t->name, (long long)o[0]);
	for (int64_t i = 0; i < n; i++)
		if (o[i + 1] < o[i])
			return pt_error(err, PT_DATA, "%s falls from %lld to %lld at %lld", t->name,
					(long long)o[i], (long long)o[i + 1], (long long)i + 1);
	if (o[n] != end)
		return pt_error(err, PT_DATA, "%s ends with %lld, not with the number of ids, %lld", t->name,
				(long long)o[n], (long long)end);
	return 0;
}

/* Values in [0, limit) (limit 0: no upper bound), or -100 where it is allowed. */
static int check_ids(const struct pt_st *st, const char *name, int64_t limit, bool ignore, const char *of,
		     struct pt_error *err)
{
	const struct pt_st_tensor *t = pt_st_find(st, name);
	const int32_t *v;
	int32_t top = limit > 0 && limit <= INT32_MAX ? (int32_t)limit - 1 : INT32_MAX;
	bool bad = false;

	if (!t)
		return 0;
	v = t->data;
	for (size_t i = 0; i < t->count; i++)
		bad |= (v[i] < 0 || v[i] > top) & !(ignore & (v[i] == -100));
	for (size_t i = 0; bad && i < t->count; i++)
		if ((v[i] < 0 || v[i] > top) && !(ignore && v[i] == -100))
			return pt_error(err, PT_DATA, "%s[%zu] is %d, outside of 0..%d%s", name, i, v[i], top, of);
	return 0;
}

/* Answers lie inside of their examples. */
static int check_span(const struct pt_st_tensor *span, const int64_t *offsets, struct pt_error *err)
{
	const int64_t *s = span->data;

	for (int64_t i = 0; i < span->shape[0]; i++, s += 2)
		if (!(s[0] == -1 && s[1] == -1) && (s[0] < 0 || s[1] < s[0] || s[1] >= offsets[i + 1] - offsets[i]))
			return pt_error(err, PT_DATA, "span[%lld] is %lld..%lld, its example has %lld tokens",
					(long long)i, (long long)s[0], (long long)s[1],
					(long long)(offsets[i + 1] - offsets[i]));
	return 0;
}

static int check_examples(const struct pt_st *st, const struct pt_kind_bounds *b, const int64_t *offsets,
			  struct pt_error *err)
{
	const struct pt_st_tensor *w = pt_st_find(st, "weight"), *span = pt_st_find(st, "span");
	int64_t ids = b->labels_are_ids ? b->vocab_size : 0;
	int status;

	status = check_ids(st, "input_ids", b->vocab_size, false, " (the vocabulary)", err);
	if (!status)
		status = check_ids(st, "labels", ids, true, " (the vocabulary)", err);
	if (!status)
		status = check_ids(st, "decoder_ids", b->vocab_size, false, " (the vocabulary)", err);
	if (!status)
		status = check_ids(st, "decoder_labels", b->vocab_size, true, " (the vocabulary)", err);
	if (!status)
		status = check_ids(st, "token_type_ids", 0, false, "", err);
	if (!status)
		status = check_ids(st, "class", b->nlabels, true, " (the labels)", err);
	if (!status)
		status = check_ids(st, "adapter", 0, false, "", err);
	if (!status)
		status = check_ids(st, "draw", 0, false, "", err);
	if (status)
		return status;
	for (size_t i = 0; w && i < w->count; i++)
		if (!(((const float *)w->data)[i] >= 0) || isinf(((const float *)w->data)[i]))
			return pt_error(err, PT_DATA, "weight[%zu] is %g", i, (double)((const float *)w->data)[i]);
	return span ? check_span(span, offsets, err) : 0;
}

static int batch_meta(struct pt_examples *x, const struct pt_st *st, struct pt_error *err)
{
	const char *w = pt_st_meta(st, "step_weight");

	const struct {
		const char *key;
		int64_t min, *to;
	} number[] = {
		{ "step", 1, &x->step }, { "micro", 1, &x->micro }, { "micros", 1, &x->micros }, { "epoch", 1, &x->epoch },
		{ "step_examples", 0, &x->step_examples }, { "step_tokens", 0, &x->step_tokens },
	};

	for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
		const char *key = number[i].key;

		if (pt_meta_int(pt_st_meta(st, key), key, number[i].min, -1, number[i].to, err))
			return err->status;
	}
	if (x->step < 0 || x->micro < 0 || x->micros < 0 || x->epoch < 0 || x->step_examples < 0 ||
	    x->step_tokens < 0 || !w)
		return pt_error(err, PT_DATA, "a micro-batch needs step, micro, micros, epoch, step_examples, "
				"step_tokens and step_weight in its metadata");
	if (x->micro > x->micros)
		return pt_error(err, PT_DATA, "micro-batch %lld of %lld", (long long)x->micro, (long long)x->micros);
	if (pt_parse_double(w, 0, 1e300, &x->step_weight, err))
		return pt_error(err, PT_DATA, "step_weight is '%.40s'", w);
	return 0;
}

static int check_presence(enum pt_kind kind, const struct pt_st *st, struct pt_error *err)
{
	if (kind == PT_KIND_EXAMPLES || kind == PT_KIND_BATCH) {
		const char *o = kind == PT_KIND_BATCH ? "decoder_cu_seqlens" : "decoder_offsets";
		bool ids = pt_st_find(st, "decoder_ids"), offsets = pt_st_find(st, o);

		if (ids != offsets)
			return pt_error(err, PT_DATA, "tensor %s is missing", ids ? o : "decoder_ids");
		if (pt_st_find(st, "decoder_labels") && !ids)
			return pt_error(err, PT_DATA, "tensor decoder_ids is missing");
	} else if (kind == PT_KIND_PREDICTIONS) {
		bool ids = pt_st_find(st, "ids"), offsets = pt_st_find(st, "offsets");

		if (ids != offsets)
			return pt_error(err, PT_DATA, "tensor %s is missing", ids ? "offsets" : "ids");
	}
	return 0;
}

/* Tensors of one record against the table; extents into *x. */
static int check_table(enum pt_kind kind, const struct pt_st *st, struct extents *x, struct pt_error *err)
{
	const struct pt_kind_tensor *table = kinds[kind].table;
	int status = 0;

	*x = (struct extents){ -1, -1, -1 };
	/* In the order of the table, so that "index" says what n is. */
	for (int i = 0; table[i].name && !status; i++) {
		const struct pt_st_tensor *t = pt_st_find(st, table[i].name);

		if (t)
			status = check_shape(&table[i], t, x, err);
		else if (table[i].always)
			status = pt_error(err, PT_DATA, "tensor %s is missing", table[i].name);
	}
	for (size_t i = 0; i < st->ntensors && !status; i++) {
		const struct pt_st_tensor *t = &st->tensor[i];

		if (t->name[0] == '_' || pt_kind_entry(kind, t->name))
			continue;
		if (kind != PT_KIND_METRICS)
			return pt_error(err, PT_DATA, "a record of kind %s has no tensor %.100s", kinds[kind].name,
					t->name);
		if (t->dtype != PT_F64 || t->ndim != 1 || t->shape[0] != x->n)
			return pt_error(err, PT_DATA, "tensor %.100s is not F64[%lld]", t->name, (long long)x->n);
	}
	return status;
}

int pt_kind_check(enum pt_kind kind, const struct pt_st *st, const struct pt_kind_bounds *bounds,
		  struct pt_error *err)
{
	const struct pt_st_tensor *offsets, *decoder;
	struct pt_examples x;
	struct extents e;
	int status;

	if (kind == PT_KIND_OTHER)
		return 0;
	status = check_presence(kind, st, err);
	if (!status)
		status = check_table(kind, st, &e, err);
	if (status)
		return status;
	offsets = pt_st_find(st, kind == PT_KIND_BATCH ? "cu_seqlens" : "offsets");
	decoder = pt_st_find(st, kind == PT_KIND_BATCH ? "decoder_cu_seqlens" : "decoder_offsets");
	if (offsets)
		status = check_offsets(offsets, e.tokens, err);
	if (!status && decoder)
		status = check_offsets(decoder, e.decoder, err);
	if (!status && (kind == PT_KIND_EXAMPLES || kind == PT_KIND_BATCH))
		status = check_examples(st, bounds, offsets->data, err);
	if (!status && kind == PT_KIND_BATCH)
		status = batch_meta(&x, st, err);
	if (!status && kind == PT_KIND_PREDICTIONS)
		status = check_ids(st, "class", bounds->nlabels, true, " (the labels)", err);
	return status;
}

static const void *data_of(const struct pt_st *st, const char *name)
{
	const struct pt_st_tensor *t = pt_st_find(st, name);

	return t ? t->data : NULL;
}

int pt_examples_view(struct pt_examples *x, enum pt_kind kind, const struct pt_st *st, struct pt_error *err)
{
	bool batch = kind == PT_KIND_BATCH;
	const struct pt_st_tensor *t;
	struct extents e;
	int status;

	memset(x, 0, sizeof *x);
	status = check_table(kind, st, &e, err);
	if (status)
		return status;
	x->n = e.n;
	x->tokens = e.tokens;
	x->decoder_tokens = e.decoder < 0 ? 0 : e.decoder;
	x->index = data_of(st, "index");
	x->input_ids = data_of(st, "input_ids");
	x->offsets = data_of(st, batch ? "cu_seqlens" : "offsets");
	x->labels = data_of(st, "labels");
	x->token_type_ids = data_of(st, "token_type_ids");
	x->cls = data_of(st, "class");
	t = pt_st_find(st, "target");
	x->target = t ? t->data : NULL;
	x->k = t ? t->shape[1] : 0;
	x->decoder_ids = data_of(st, "decoder_ids");
	x->decoder_offsets = data_of(st, batch ? "decoder_cu_seqlens" : "decoder_offsets");
	x->decoder_labels = data_of(st, "decoder_labels");
	x->span = data_of(st, "span");
	x->group = data_of(st, "group");
	x->weight = data_of(st, "weight");
	x->adapter = data_of(st, "adapter");
	x->draw = data_of(st, "draw");
	x->source = data_of(st, "source");
	x->row = data_of(st, "row");
	return batch ? batch_meta(x, st, err) : 0;
}

int pt_predictions_view(struct pt_predictions *p, const struct pt_st *st, struct pt_error *err)
{
	const struct pt_st_tensor *t;
	struct extents e;
	int status;

	memset(p, 0, sizeof *p);
	status = check_table(PT_KIND_PREDICTIONS, st, &e, err);
	if (status)
		return status;
	p->n = e.n;
	p->tokens = e.tokens < 0 ? 0 : e.tokens;
	p->index = data_of(st, "index");
	p->cls = data_of(st, "class");
	p->ids = data_of(st, "ids");
	p->offsets = data_of(st, "offsets");
	t = pt_st_find(st, "probability");
	if (t) {
		p->probability = t->data;
		p->k_probability = t->ndim == 2;
		p->k = t->ndim == 2 ? t->shape[1] : 0;
	}
	t = pt_st_find(st, "logits");
	if (t && p->k_probability && p->k != t->shape[1])
		return pt_error(err, PT_DATA, "probability and logits have %lld and %lld columns",
				(long long)p->k, (long long)t->shape[1]);
	if (t) {
		p->logits = t->data;
		p->k = t->shape[1];
	}
	p->loss = data_of(st, "loss");
	return 0;
}

int pt_kind_same(enum pt_kind kind, const struct pt_st *st, uint32_t *have, struct pt_error *err)
{
	const struct pt_kind_tensor *table = kinds[kind].table;
	uint32_t now = 1u << 31;		/* never 0 once set */

	if (!table || kind == PT_KIND_METRICS)
		return 0;
	for (int i = 0; table[i].name; i++)
		if (pt_st_find(st, table[i].name))
			now |= 1u << i;
	if (!*have)
		*have = now;
	for (int i = 0; table[i].name; i++)
		if ((*have ^ now) & 1u << i)
			return pt_error(err, PT_DATA, "tensor %s is in %s records, but not in all",
					table[i].name, now & 1u << i ? "later" : "earlier");
	return 0;
}
