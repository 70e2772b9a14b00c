/* SPDX-License-Identifier: MIT */
/*
 * decode.c - see decode.h.
 */
#include "decode.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/file.h"
#include "io/modeldir.h"
#include "io/task.h"
#include "text/tokenizer.h"

#define ARROW "\xe2\x86\x92"		/* U+2192 */

struct decode {
	struct pt_tokenizer *tok;
	struct pt_buf text;
	bool shifts;			/* the first token of a sequence is never a target */
	bool classes;			/* targets and predictions of tokens are classes */
	cJSON *labels;			/* their names; NULL: they have none */
};

int decode_open(struct decode **out, const char *model, struct pt_error *err)
{
	struct decode *d = pt_calloc(1, sizeof *d, err);
	char *path;
	bool hub;

	*out = NULL;
	if (!d)
		return err->status;
	path = pt_is_file(model) ? pt_strdup(model, err) : pt_modeldir_resolve(model, &hub, err);
	if (!path || pt_tokenizer_open(&d->tok, path, err))
		decode_close(d);
	else
		*out = d;
	free(path);
	return err->status;
}

void decode_close(struct decode *d)
{
	if (!d)
		return;
	pt_tokenizer_close(d->tok);
	pt_json_free(d->labels);
	pt_buf_release(&d->text);
	free(d);
}

void decode_head(struct decode *d, const struct pt_st *head)
{
	enum pt_task task = pt_task_of_head(pt_st_meta(head, "task"));
	const char *tokenizer = pt_st_meta(head, "tokenizer"), *labels = pt_st_meta(head, "labels");
	struct pt_error ignored = PT_ERROR_INIT;
	struct pt_hex mine = pt_hex64(pt_tokenizer_digest(d->tok));

	d->shifts = pt_task_shifts(task);
	d->classes = pt_task_labels(task) && pt_task_per_token(task);
	pt_json_free(d->labels);
	d->labels = labels ? pt_json_parse(labels, strlen(labels), 0, "labels", &ignored) : NULL;
	if (tokenizer && strcmp(tokenizer, mine.s))
		pt_log(PT_WARN, "the stream was made with another tokenizer (%.20s) than this (%s)", tokenizer, mine.s);
}

/* \n and \t as such, other control characters as \xHH. */
static void add_text(struct pt_buf *out, const char *s, size_t n)
{
	size_t from = 0;

	for (size_t i = 0; i <= n; i++) {
		if (i < n && s[i] != '\n' && s[i] != '\t')
			continue;
		pt_buf_printable(out, s + from, i - from);
		if (i < n)
			pt_buf_str(out, s[i] == '\n' ? "\\n" : "\\t");
		from = i + 1;
	}
}

/* Move what was decoded to out. */
static void take(struct decode *d, struct pt_buf *out)
{
	add_text(out, d->text.data ? d->text.data : "", d->text.len);
	pt_buf_clear(&d->text);
}

/* The name of a class or token, or its number. */
static void name_of(struct decode *d, int32_t label, struct pt_buf *out)
{
	const char *s = d->classes ? label < 0 ? NULL : cJSON_GetStringValue(cJSON_GetArrayItem(d->labels, label)) :
			pt_tokenizer_token(d->tok, label, NULL);

	if (s)
		add_text(out, s, strlen(s));
	else
		pt_buf_printf(out, "%d", label);
}

static int sequence(struct decode *d, const int32_t *ids, const int32_t *labels, int64_t n, bool shifts,
		    struct pt_buf *out, struct pt_error *err)
{
	struct pt_decoder dec;
	bool inside = false;

	pt_decoder_init(&dec, d->tok, false);
	for (int64_t t = 0; t < n && !err->status; t++) {
		bool learned = labels && labels[t] != -100 && !(shifts && t == 0);
		bool other = learned && (d->classes || labels[t] != ids[t]);

		if (inside != (learned && !other)) {
			pt_decoder_flush(&dec, &d->text, err);
			take(d, out);
			pt_buf_str(out, inside ? DECODE_CLOSE : DECODE_OPEN);
			inside = !inside;
		}
		if (other)
			pt_buf_str(out, DECODE_OPEN);
		if (pt_decoder_push(&dec, ids[t], &d->text, err))
			break;
		if (other)
			pt_decoder_flush(&dec, &d->text, err);
		take(d, out);
		if (other) {
			pt_buf_str(out, ARROW);
			name_of(d, labels[t], out);
			pt_buf_str(out, DECODE_CLOSE);
		}
	}
	if (!err->status)
		pt_decoder_flush(&dec, &d->text, err);
	take(d, out);
	if (inside)
		pt_buf_str(out, DECODE_CLOSE);
	pt_decoder_release(&dec);
	return err->status;
}

/* Classes of tokens, with spaces between them. */
static void classes(struct decode *d, const int32_t *ids, int64_t n, struct pt_buf *out)
{
	for (int64_t t = 0; t < n; t++) {
		pt_buf_str(out, t ? " " : "");
		name_of(d, ids[t], out);
	}
}

int decode_example(struct decode *d, enum pt_kind kind, const struct pt_st *st, int64_t i, struct pt_buf *out,
		   struct pt_error *err)
{
	struct pt_predictions p;
	struct pt_examples x;
	const int64_t *o;

	if (kind == PT_KIND_PREDICTIONS) {
		if (pt_predictions_view(&p, st, err) || !p.ids)
			return err->status;
		if (d->classes) {
			classes(d, p.ids + p.offsets[i], p.offsets[i + 1] - p.offsets[i], out);
			return 0;
		}
		return sequence(d, p.ids + p.offsets[i], NULL, p.offsets[i + 1] - p.offsets[i], false, out, err);
	}
	if (pt_examples_view(&x, kind, st, err))
		return err->status;
	o = x.offsets + i;
	if (sequence(d, x.input_ids + o[0], x.labels ? x.labels + o[0] : NULL, o[1] - o[0], d->shifts, out, err) ||
	    !x.decoder_ids)
		return err->status;
	o = x.decoder_offsets + i;
	pt_buf_str(out, " => ");
	return sequence(d, x.decoder_ids + o[0], x.decoder_labels ? x.decoder_labels + o[0] : NULL, o[1] - o[0], false,
			out, err);
}
