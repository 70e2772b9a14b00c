/* SPDX-License-Identifier: MIT */
/*
 * show.c - the examples or micro-batches of a stream, one example a line, for
 * tests: index source row [class] [target] [group] [weight] [span] : ids : labels
 * : types -> : decoder's ids : its labels. A label that equals its id is "=", one
 * of -100 is "-".
 */
#include <stdio.h>
#include <string.h>

#include "io/kinds.h"
#include "io/stream.h"
#include "tool.h"

static const struct pt_opt opts[] = { { 0 } };
static const struct pt_opt_spec spec = { "show", "[FILE]", "Shows examples.", opts };

static void numbers(const int32_t *v, int64_t from, int64_t to)
{
	printf(" :");
	for (int64_t t = from; t < to; t++)
		printf(" %d", v[t]);
}

static void show(const struct pt_examples *x, int64_t i)
{
	int64_t from = x->offsets[i], to = x->offsets[i + 1];

	printf("%lld", (long long)x->index[i]);
	if (x->source)
		printf(" %lld %lld", (long long)x->source[i], (long long)x->row[i]);
	if (x->cls)
		printf(" class %d", x->cls[i]);
	for (int64_t k = 0; x->target && k < x->k; k++)
		printf(" %s%g", k ? "" : "target ", (double)x->target[i * x->k + k]);
	if (x->group)
		printf(" group %lld", (long long)x->group[i]);
	if (x->weight)
		printf(" weight %g", (double)x->weight[i]);
	if (x->span)
		printf(" span %lld %lld", (long long)x->span[2 * i], (long long)x->span[2 * i + 1]);
	numbers(x->input_ids, from, to);
	if (x->labels)
		printf(" :");
	for (int64_t t = from; x->labels && t < to; t++) {
		if (x->labels[t] == -100)
			printf(" -");
		else if (x->labels[t] == x->input_ids[t])
			printf(" =");
		else
			printf(" %d", x->labels[t]);
	}
	if (x->token_type_ids)
		numbers(x->token_type_ids, from, to);
	if (x->decoder_ids) {
		printf(" ->");
		numbers(x->decoder_ids, x->decoder_offsets[i], x->decoder_offsets[i + 1]);
	}
	if (x->decoder_labels)
		numbers(x->decoder_labels, x->decoder_offsets[i], x->decoder_offsets[i + 1]);
	putchar('\n');
}

int main(int argc, char **argv)
{
	struct pt_error err = PT_ERROR_INIT;
	const struct pt_record *rec;
	struct pt_reader *r = NULL;
	struct pt_examples x;
	struct pt_tool t;

	tool_init(&t, &spec, argc, argv);
	if (!pt_reader_open(&r, (const char *const *)t.operand, t.noperands, NULL, 0, &err))
		while (!pt_reader_next(r, &rec, &err) && rec) {
			const char *kind = pt_st_meta(&rec->st, "kind");
			static enum pt_kind k;

			if (rec->type == PT_HEAD)
				k = pt_kind_parse(kind);
			if (rec->type != PT_RECORD || pt_examples_view(&x, k, &rec->st, &err))
				continue;
			for (int64_t i = 0; i < x.n; i++)
				show(&x, i);
		}
	pt_reader_close(r);
	if (!err.status)
		tool_finish(&err);
	return err.status ? tool_report(&err) : 0;
}
