/* SPDX-License-Identifier: MIT */
/*
 * decoders.c - the list of decoders, parsing and running their stages.
 */
#define _GNU_SOURCE	/* memmem */
#include "text/decoders.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/component.h"

static const struct pt_decoder_kind *const kinds[] = {
	&pt_decoder_bytelevel, &pt_decoder_fallback, &pt_decoder_fuse, &pt_decoder_strip, &pt_decoder_replace,
	&pt_decoder_metaspace, &pt_decoder_wordpiece, &pt_decoder_bpe, &pt_decoder_ctc,
};

void pt_strings_release(struct pt_strings *s)
{
	pt_buf_release(&s->text);
	free(s->end);
	*s = (struct pt_strings){ .text = PT_BUF_INIT };
}

int pt_strings_end(struct pt_strings *s, struct pt_error *err)
{
	if (s->n == s->cap && pt_grow(&s->end, &s->cap, s->n + 1, sizeof *s->end, err))
		return PT_FAIL;
	s->end[s->n++] = s->text.len;
	return pt_buf_check(&s->text, err);
}

static int take(void *arg, const char *type, const cJSON *j, struct pt_error *err)
{
	struct pt_decoders *d = arg;
	struct pt_decoder_stage *s;

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(type, kinds[i]->type) != 0)
			continue;
		if (pt_grow(&d->stage, &d->cap, d->n + 1, sizeof *d->stage, err))
			return PT_FAIL;
		s = &d->stage[d->n++];
		*s = (struct pt_decoder_stage){ .kind = kinds[i] };
		return kinds[i]->parse ? kinds[i]->parse(s, j, err) : 0;
	}
	return PT_UNKNOWN;
}

/* Tokens that one stage has joined are one to those behind it, which must look at its beginning alone. */
static bool is_late(const struct pt_decoders *d)
{
	bool joined = false;

	for (size_t i = 0; i < d->n; i++) {
		const struct pt_decoder_stage *s = &d->stage[i];
		bool joins = s->kind == &pt_decoder_fuse || s->kind == &pt_decoder_bytelevel;

		if (s->kind == &pt_decoder_ctc || (s->kind == &pt_decoder_strip && s->stop))
			return true;
		if (joined && s->kind != &pt_decoder_fuse && s->kind != &pt_decoder_strip && s->kind != &pt_decoder_metaspace)
			return true;
		joined = joined || joins;
	}
	return false;
}

int pt_decoders_parse(struct pt_decoders *d, const cJSON *j, struct pt_error *err)
{
	int status;

	*d = (struct pt_decoders){ .stage = NULL };
	if (!j)
		return 0;
	status = pt_components(j, "decoders", take, d, err);
	if (status) {
		pt_decoders_release(d);
		return pt_error_prefix(err, "decoder");
	}
	d->late = is_late(d);
	return 0;
}

void pt_decoders_release(struct pt_decoders *d)
{
	for (size_t i = 0; i < d->n; i++) {
		pt_regex_free(d->stage[i].regex);
		free(d->stage[i].string);
		free(d->stage[i].content);
	}
	free(d->stage);
	*d = (struct pt_decoders){ .stage = NULL };
}

int pt_decoders_run(const struct pt_decoders *d, struct pt_strings *tokens, struct pt_buf *out, struct pt_error *err)
{
	struct pt_strings other = { .text = PT_BUF_INIT }, *in = tokens, *to = &other;
	int status = 0;

	for (size_t i = 0; i < d->n && !status; i++) {
		struct pt_strings *t = in;

		pt_buf_clear(&to->text);
		to->n = 0;
		status = d->stage[i].kind->run(&d->stage[i], in, to, err);
		in = to;
		to = t;
	}
	if (!status)
		status = pt_buf_check(&in->text, err);
	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *s = pt_strings_get(in, i, &n);

		if (i && !d->n)
			pt_buf_char(out, ' ');
		pt_buf_add(out, s, n);
	}
	pt_strings_release(&other);
	return status ? status : pt_buf_check(out, err);
}

int pt_decoder_byte(const char *t, size_t n)
{
	int v = 0;

	if (n != 6 || memcmp(t, "<0x", 3) != 0 || t[5] != '>')
		return -1;
	for (int i = 3; i < 5; i++) {
		if (t[i] >= '0' && t[i] <= '9')
			v = v << 4 | (t[i] - '0');
		else if ((t[i] >= 'A' && t[i] <= 'F') || (t[i] >= 'a' && t[i] <= 'f'))
			v = v << 4 | ((t[i] | 0x20) - 'a' + 10);
		else
			return -1;
	}
	return v;
}

bool pt_decoders_waits(const struct pt_decoders *d, const char *token, size_t n)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->stage[i].kind == &pt_decoder_fallback && pt_decoder_byte(token, n) >= 0)
			return true;
		/* A suffix amid a token is a space, unless the token is the last. */
		if (d->stage[i].kind == &pt_decoder_bpe && n > d->stage[i].nstring &&
		    memmem(token, n - 1, d->stage[i].string, d->stage[i].nstring))
			return true;
	}
	return d->late;
}
