/* SPDX-License-Identifier: MIT */
/*
 * decode.c - ids back to text, at once or token by token.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tok.h"
#include "text/utf8.h"

/* The string of an id as the decoders take it; NULL: it gives nothing. */
static const char *shown(const struct pt_tokenizer *tok, int32_t id, bool skip_special, size_t *n)
{
	const struct pt_added_token *t = pt_added_get(&tok->added, id);

	if (!t)
		return pt_vocab_token(&tok->vocab, id, n);
	*n = t->nshown;
	return skip_special && t->named_special ? NULL : t->shown;
}

/* Without clean-up of spaces. */
static int decode(const struct pt_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
		  struct pt_buf *out, struct pt_error *err)
{
	struct pt_strings tokens = { .text = PT_BUF_INIT };
	int status = 0;

	for (size_t i = 0; i < n && !status; i++) {
		size_t len;
		const char *s = shown(tok, ids[i], skip_special, &len);

		if (!s)
			continue;
		pt_buf_add(&tokens.text, s, len);
		status = pt_strings_end(&tokens, err);
	}
	if (!status && tokens.n)
		status = pt_decoders_run(&tok->decoders, &tokens, out, err);
	pt_strings_release(&tokens);
	return status;
}

int pt_decode(const struct pt_tokenizer *tok, const int32_t *ids, size_t n, bool skip_special,
	      struct pt_buf *out, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	int status;

	if (!tok->cleanup)
		return decode(tok, ids, n, skip_special, out, err);
	status = decode(tok, ids, n, skip_special, &b, err);
	if (!status) {
		pt_decoder_cleanup(&b, false);
		pt_buf_add(out, b.data, b.len);
		status = pt_buf_check(&b, err);
	}
	pt_buf_release(&b);
	return status ? status : pt_buf_check(out, err);
}

void pt_decoder_init(struct pt_decoder *d, const struct pt_tokenizer *tok, bool skip_special)
{
	*d = (struct pt_decoder){ .tok = tok, .skip_special = skip_special };
}

void pt_decoder_release(struct pt_decoder *d)
{
	free(d->ids);
	*d = (struct pt_decoder){ .tok = NULL };
}

/* Print what the window has beyond its context, unless that may still change; final: print all. */
static int print(struct pt_decoder *d, bool final, struct pt_buf *out, struct pt_error *err)
{
	struct pt_buf old = PT_BUF_INIT, all = PT_BUF_INIT;
	int status = decode(d->tok, d->ids, d->context, d->skip_special, &old, err);

	if (!status)
		status = decode(d->tok, d->ids, d->n, d->skip_special, &all, err);
	if (status)
		goto out;
	/* The end of a character that is not complete shows as U+FFFD. */
	if (!final && all.len >= 3 && memcmp(all.data + all.len - 3, "\xef\xbf\xbd", 3) == 0)
		goto out;
	if (all.len > old.len)
		pt_buf_add(out, all.data + old.len, all.len - old.len);
	/* What was printed is the new context; one that shows nothing would be taken for the beginning. */
	if (all.len > old.len) {
		struct pt_buf now = PT_BUF_INIT;

		status = decode(d->tok, d->ids + d->context, d->n - d->context, d->skip_special, &now, err);
		if (!status && now.len) {
			memmove(d->ids, d->ids + d->context, (d->n - d->context) * sizeof *d->ids);
			d->n -= d->context;
		}
		pt_buf_release(&now);
	}
	d->context = d->n;
	status = status ? status : pt_buf_check(out, err);
out:
	pt_buf_release(&old);
	pt_buf_release(&all);
	return status;
}

int pt_decoder_push(struct pt_decoder *d, int32_t id, struct pt_buf *out, struct pt_error *err)
{
	size_t n;
	const char *s = shown(d->tok, id, d->skip_special, &n);

	if (!s)
		return 0;
	if (pt_grow(&d->ids, &d->cap, d->n + 1, sizeof *d->ids, err))
		return PT_FAIL;
	d->ids[d->n++] = id;
	return pt_decoders_waits(&d->tok->decoders, s, n) ? 0 : print(d, false, out, err);
}

int pt_decoder_flush(struct pt_decoder *d, struct pt_buf *out, struct pt_error *err)
{
	int status = d->n > d->context ? print(d, true, out, err) : 0;

	d->n = d->context = 0;
	return status;
}
