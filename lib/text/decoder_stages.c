/* SPDX-License-Identifier: MIT */
/*
 * decoder_stages.c - the decoders of tokenizer.json, each a few lines.
 */
#define _GNU_SOURCE	/* memmem */
#include <string.h>

#include "base/mem.h"
#include "text/bytelevel.h"
#include "text/decoders.h"
#include "text/utf8.h"

/* A string member; def NULL: it must stand there. */
static int string(struct pt_decoder_stage *s, const cJSON *j, const char *key, const char *def, struct pt_error *err)
{
	const char *text;
	int status = pt_json_str(j, key, def, &text, err);

	if (status)
		return status;
	if (!text)
		return pt_error(err, PT_DATA, "\"%s\" is missing", key);
	s->nstring = strlen(text);
	s->string = pt_strdup(text, err);
	return s->string ? 0 : PT_FAIL;
}

/* Every token back to bytes; one with a character that is no byte gives itself. */
static int run_bytelevel(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
			 struct pt_error *err)
{
	struct pt_buf bytes = PT_BUF_INIT;
	int status;

	(void)s;
	for (size_t i = 0; i < in->n; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);

		if (!pt_bytelevel_unmap(&bytes, t, n))
			pt_buf_add(&bytes, t, n);
	}
	pt_utf8_replace(&out->text, bytes.data, bytes.len);
	status = pt_buf_check(&bytes, err);
	pt_buf_release(&bytes);
	return status ? status : pt_strings_end(out, err);
}

const struct pt_decoder_kind pt_decoder_bytelevel = { "ByteLevel", NULL, run_bytelevel };

/* A run of <0xHH> is text if it is UTF-8, else one U+FFFD for each. */
static int flush_bytes(struct pt_buf *run, struct pt_strings *out, struct pt_error *err)
{
	bool valid = pt_utf8_valid(run->data, run->len) == run->len;
	int status = 0;

	if (run->len && valid) {
		pt_buf_add(&out->text, run->data, run->len);
		status = pt_strings_end(out, err);
	}
	for (size_t i = 0; i < run->len && !valid && !status; i++) {
		pt_buf_str(&out->text, "\xef\xbf\xbd");
		status = pt_strings_end(out, err);
	}
	pt_buf_clear(run);
	return status;
}

static int run_fallback(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
			struct pt_error *err)
{
	struct pt_buf run = PT_BUF_INIT;
	int status = 0;

	(void)s;
	pt_buf_reserve(&run, 1);
	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);
		int byte = pt_decoder_byte(t, n);

		if (byte >= 0) {
			pt_buf_char(&run, (char)byte);
			continue;
		}
		status = flush_bytes(&run, out, err);
		pt_buf_add(&out->text, t, n);
		if (!status)
			status = pt_strings_end(out, err);
	}
	if (!status)
		status = flush_bytes(&run, out, err);
	pt_buf_release(&run);
	return status;
}

const struct pt_decoder_kind pt_decoder_fallback = { "ByteFallback", NULL, run_fallback };

static int run_fuse(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		    struct pt_error *err)
{
	(void)s;
	if (in->n)
		pt_buf_add(&out->text, in->text.data, in->end[in->n - 1]);
	return pt_strings_end(out, err);
}

const struct pt_decoder_kind pt_decoder_fuse = { "Fuse", NULL, run_fuse };

static int parse_strip(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	int64_t start, stop;
	int status;

	if ((status = string(s, j, "content", NULL, err)) ||
	    (status = pt_json_int(j, "start", 0, INT32_MAX, 0, &start, err)) ||
	    (status = pt_json_int(j, "stop", 0, INT32_MAX, 0, &stop, err)))
		return status;
	if (!s->nstring || pt_utf8_len(s->string[0]) != s->nstring)
		return pt_error(err, PT_DATA, "\"content\" must be one character");
	s->start = (size_t)start;
	s->stop = (size_t)stop;
	return 0;
}

/* Up to start copies of the character in front, and up to stop behind, of every token. */
static int run_strip(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		     struct pt_error *err)
{
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n, c = s->nstring;
		const char *t = pt_strings_get(in, i, &n);

		for (size_t k = 0; k < s->start && n >= c && memcmp(t, s->string, c) == 0; k++) {
			t += c;
			n -= c;
		}
		for (size_t k = 0; k < s->stop && n >= c && memcmp(t + n - c, s->string, c) == 0; k++)
			n -= c;
		pt_buf_add(&out->text, t, n);
		status = pt_strings_end(out, err);
	}
	return status;
}

const struct pt_decoder_kind pt_decoder_strip = { "Strip", parse_strip, run_strip };

static int parse_replace(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	const cJSON *pattern = pt_json_get(j, "pattern");
	const char *content, *regex;
	int status = pt_json_str(j, "content", NULL, &content, err);

	if (status)
		return status;
	if (!content)
		return pt_error(err, PT_DATA, "\"content\" is missing");
	s->ncontent = strlen(content);
	s->content = pt_strdup(content, err);
	if (!s->content)
		return PT_FAIL;
	if ((status = pt_json_str(pattern, "Regex", NULL, &regex, err)))
		return status;
	if (!regex == !pt_json_get(pattern, "String"))
		return pt_error(err, PT_DATA, "\"pattern\" must have either \"String\" or \"Regex\"");
	return regex ? pt_regex_new(&s->regex, regex, err) : string(s, pattern, "String", NULL, err);
}

/* An empty string is found before every character and at the end. */
static void replace(struct pt_buf *out, const char *t, size_t n, const char *from, size_t nfrom, const char *to,
		    size_t nto)
{
	const char *hit;

	for (; !nfrom && n; t += pt_utf8_len(*t)) {
		pt_buf_add(out, to, nto);
		pt_buf_add(out, t, pt_utf8_len(*t));
		n -= pt_utf8_len(*t);
	}
	if (!nfrom) {
		pt_buf_add(out, to, nto);
		return;
	}
	while (n && (hit = memmem(t, n, from, nfrom))) {
		pt_buf_add(out, t, (size_t)(hit - t));
		pt_buf_add(out, to, nto);
		n -= (size_t)(hit - t) + nfrom;
		t = hit + nfrom;
	}
	pt_buf_add(out, t, n);
}

/* In one token. */
static int replace_matches(const struct pt_decoder_stage *s, const char *t, size_t n, struct pt_match *match,
			   struct pt_buf *out, struct pt_error *err)
{
	size_t prev = 0, from, to;
	struct pt_find find;
	bool found;
	int status;

	pt_find_init(&find, s->regex, match, t, n);
	while (n && !(status = pt_find_next(&find, &found, &from, &to, err)) && found) {
		pt_buf_add(out, t + prev, from - prev);
		pt_buf_add(out, s->content, s->ncontent);
		prev = to;
	}
	pt_buf_add(out, t + prev, n - prev);
	return n ? status : 0;
}

static int run_replace(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		       struct pt_error *err)
{
	struct pt_match match = { NULL, NULL, NULL };
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);

		if (s->regex)
			status = replace_matches(s, t, n, &match, &out->text, err);
		else
			replace(&out->text, t, n, s->string, s->nstring, s->content, s->ncontent);
		if (!status)
			status = pt_strings_end(out, err);
	}
	pt_match_release(&match);
	return status;
}

const struct pt_decoder_kind pt_decoder_replace = { "Replace", parse_replace, run_replace };

static int parse_metaspace(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	const char *scheme;
	int status;

	if ((status = string(s, j, "replacement", "\xe2\x96\x81", err)) ||
	    (status = pt_json_str(j, "prepend_scheme", "always", &scheme, err)))
		return status;
	if (strcmp(scheme, "always") != 0 && strcmp(scheme, "first") != 0 && strcmp(scheme, "never") != 0)
		return pt_error(err, PT_DATA, "\"prepend_scheme\": \"%s\" is not supported", scheme);
	s->flag = strcmp(scheme, "never") != 0;
	if (!s->nstring || pt_utf8_len(s->string[0]) != s->nstring)
		return pt_error(err, PT_DATA, "\"replacement\" must be one character");
	return 0;
}

/* The replacement becomes a space; of the first token it is dropped, unless none was put in front. */
static int run_metaspace(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
			 struct pt_error *err)
{
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);

		replace(&out->text, t, n, s->string, s->nstring, " ", !(i == 0 && s->flag));
		status = pt_strings_end(out, err);
	}
	return status;
}

const struct pt_decoder_kind pt_decoder_metaspace = { "Metaspace", parse_metaspace, run_metaspace };

static int parse_wordpiece(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	int status = string(s, j, "prefix", "##", err);

	return status ? status : pt_json_bool(j, "cleanup", true, &s->flag, err);
}

static int run_wordpiece(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
			 struct pt_error *err)
{
	struct pt_buf token = PT_BUF_INIT;
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);

		pt_buf_clear(&token);
		if (i && n >= s->nstring && memcmp(t, s->string, s->nstring) == 0) {
			t += s->nstring;
			n -= s->nstring;
		} else if (i) {
			pt_buf_char(&token, ' ');
		}
		pt_buf_add(&token, t, n);
		if (s->flag)
			pt_decoder_cleanup(&token, true);
		pt_buf_add(&out->text, token.data, token.len);
		status = pt_buf_check(&token, err);
		if (!status)
			status = pt_strings_end(out, err);
	}
	pt_buf_release(&token);
	return status;
}

const struct pt_decoder_kind pt_decoder_wordpiece = { "WordPiece", parse_wordpiece, run_wordpiece };

static int parse_bpe(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	return string(s, j, "suffix", "</w>", err);
}

/* The suffix becomes a space, of the last token nothing. */
static int run_bpe(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		   struct pt_error *err)
{
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		size_t n;
		const char *t = pt_strings_get(in, i, &n);

		replace(&out->text, t, n, s->string, s->nstring, " ", i + 1 < in->n);
		status = pt_strings_end(out, err);
	}
	return status;
}

const struct pt_decoder_kind pt_decoder_bpe = { "BPEDecoder", parse_bpe, run_bpe };

static int parse_ctc(struct pt_decoder_stage *s, const cJSON *j, struct pt_error *err)
{
	const char *delimiter;
	int status;

	if ((status = string(s, j, "pad_token", NULL, err)) ||
	    (status = pt_json_str(j, "word_delimiter_token", NULL, &delimiter, err)) ||
	    (status = pt_json_bool(j, "cleanup", true, &s->flag, err)))
		return status;
	if (!delimiter || !pt_json_get(j, "cleanup"))
		return pt_error(err, PT_DATA, "\"word_delimiter_token\" and \"cleanup\" must stand there");
	s->ncontent = strlen(delimiter);
	s->content = pt_strdup(delimiter, err);
	return s->content ? 0 : PT_FAIL;
}

/* Of equal tokens that follow each other one stays, padding goes, delimiters become spaces. */
static int run_ctc(const struct pt_decoder_stage *s, const struct pt_strings *in, struct pt_strings *out,
		   struct pt_error *err)
{
	struct pt_buf token = PT_BUF_INIT;
	size_t prev = 0, n;
	const char *before = NULL;
	int status = 0;

	for (size_t i = 0; i < in->n && !status; i++) {
		const char *t = pt_strings_get(in, i, &n);
		size_t len = out->text.len;
		bool same = before && n == prev && memcmp(t, before, n) == 0;

		before = t;
		prev = n;
		if (same)
			continue;
		pt_buf_clear(&token);
		replace(&token, t, n, s->string, s->nstring, "", 0);
		if (s->flag) {
			pt_decoder_cleanup(&token, true);
			replace(&out->text, token.data, token.len, s->content, s->ncontent, " ", 1);
		} else {
			pt_buf_add(&out->text, token.data, token.len);
		}
		status = pt_buf_check(&token, err);
		if (!status && out->text.len > len)
			status = pt_strings_end(out, err);
	}
	pt_buf_release(&token);
	return status;
}

const struct pt_decoder_kind pt_decoder_ctc = { "CTC", parse_ctc, run_ctc };

void pt_decoder_cleanup(struct pt_buf *b, bool do_not)
{
	static const struct {
		const char *from, *to;
	} list[] = {
		{ " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" }, { " n't", "n't" },
		{ " 'm", "'m" }, { " do not", " don't" }, { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
	};
	struct pt_buf next = PT_BUF_INIT;

	for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
		struct pt_buf t;

		if (!b->len || (i == 7 && !do_not) || !memmem(b->data, b->len, list[i].from, strlen(list[i].from)))
			continue;
		pt_buf_clear(&next);
		replace(&next, b->data, b->len, list[i].from, strlen(list[i].from), list[i].to, strlen(list[i].to));
		t = *b;
		*b = next;
		next = t;
		b->failed = b->failed || t.failed;
	}
	pt_buf_release(&next);
}
