/* SPDX-License-Identifier: MIT */
/*
 * Every tokenizer of tests/data/tokenizers does what the Python package does with it: ids, types, decoded and
 * streamed text, refusals (tests/golden/make_tokenizers.py).
 */
#include "test.h"

#include "base/json.h"
#include "text/tokenizer.h"

#define DIR "tests/data/tokenizers/"

static cJSON *golden;
static struct pt_buf *text;	/* the strings of golden */
static int ntext;
static struct pt_error err;

static int open_golden(void **state)
{
	const cJSON *list, *j;

	(void)state;
	golden = pt_json_read(DIR "golden.json", 0, &err);
	list = pt_json_get(golden, "strings");
	text = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *text);
	if (!golden || !text)
		return 1;
	cJSON_ArrayForEach(j, list) {
		pt_buf_add(&text[ntext], "", 0);
		for (const char *s = j->valuestring; s[0] && s[1]; s += 2) {
			char byte[3] = { s[0], s[1], '\0' };

			pt_buf_char(&text[ntext], (char)strtol(byte, NULL, 16));
		}
		ntext++;
	}
	return 0;
}

static int close_golden(void **state)
{
	(void)state;
	for (int i = 0; i < ntext; i++)
		pt_buf_release(&text[i]);
	free(text);
	pt_json_free(golden);
	return 0;
}

static const struct pt_buf *text_at(const cJSON *j)
{
	assert_true(cJSON_IsNumber(j) && j->valueint >= 0 && j->valueint < ntext);
	return &text[j->valueint];
}

/* A run as it is printed when something differs. */
static const char *shown(const char *name, const struct pt_buf *a, int flags)
{
	static char line[600];
	struct pt_buf b = PT_BUF_INIT;

	pt_buf_printable(&b, a->data, a->len < 200 ? a->len : 200);
	snprintf(line, sizeof line, "%s, flags %d, '%s'", name, flags, b.data ? b.data : "");
	pt_buf_release(&b);
	return line;
}

static void same_ids(const char *what, const cJSON *want, const int32_t *have, size_t n, const char *where)
{
	size_t i = 0;
	const cJSON *j;

	if (cJSON_IsNumber(want)) {	/* 0: all are */
		for (; i < n; i++)
			if (have[i])
				fail_msg("%s: %s %zu is %d, not 0", where, what, i, (int)have[i]);
		return;
	}
	cJSON_ArrayForEach(j, want) {
		if (i >= n || have[i] != j->valueint)
			fail_msg("%s: %s %zu is %d, not %d", where, what, i, i < n ? (int)have[i] : -1, j->valueint);
		i++;
	}
	if (i != n)
		fail_msg("%s: %zu %s, not %zu", where, n, what, i);
}

static void same_text(const char *what, const struct pt_buf *want, const struct pt_buf *have, const char *where)
{
	if (want->len != have->len || (want->len && memcmp(want->data, have->data, want->len) != 0))
		fail_msg("%s: %s '%s', not '%s'", where, what, have->data ? have->data : "", want->data);
}

static void stream(const struct pt_tokenizer *tok, const struct pt_encoding *e, struct pt_buf *out)
{
	struct pt_decoder d;

	pt_decoder_init(&d, tok, true);
	for (size_t i = 0; i < e->n; i++)
		assert_ok(pt_decoder_push(&d, e->ids[i], out, &err), &err);
	assert_ok(pt_decoder_flush(&d, out, &err), &err);
	pt_decoder_release(&d);
}

/* Where the ids come from, as golden.json spells it. */
static void same_places(const char *want, const struct pt_encoding *e, const char *where)
{
	struct pt_buf have = PT_BUF_INIT;
	size_t end[2] = { 0, 0 };

	for (size_t i = 0; i < e->n; i++) {
		const struct pt_origin *o = &e->origin[i];

		if (i)
			pt_buf_char(&have, ',');
		if (o->text < 0) {
			pt_buf_char(&have, '-');
			continue;
		}
		if (o->from != end[o->text])
			pt_buf_printf(&have, "%ld+", (long)o->from - (long)end[o->text]);
		pt_buf_printf(&have, "%zu%s", o->to - o->from, o->text ? "b" : "");
		end[o->text] = o->to;
	}
	if (strcmp(have.data ? have.data : "", want) != 0)
		fail_msg("%s: places %s, not %s", where, have.data ? have.data : "", want);
	pt_buf_release(&have);
}

static int encode(struct pt_encoder *enc, const struct pt_buf *a, const struct pt_buf *b, int flags, int limit,
		  struct pt_encoding *e)
{
	return b ? pt_encode_pair(enc, a->data, a->len, b->data, b->len, flags, limit, e, &err)
		 : pt_encode(enc, a->data, a->len, flags, limit, e, &err);
}

static void run(const char *name, const struct pt_tokenizer *tok, struct pt_encoder *enc, const cJSON *j)
{
	const cJSON *part[9] = { NULL };
	const struct pt_buf *a, *b;
	struct pt_encoding e = PT_ENCODING_INIT;
	struct pt_buf out = PT_BUF_INIT;
	const char *where;
	int flags, limit, status, n = 0;

	for (const cJSON *p = j->child; p && n < 9; p = p->next)
		part[n++] = p;
	assert_true(n >= 5);
	flags = part[0]->valueint;
	limit = part[1]->valueint;
	a = text_at(part[2]);
	b = part[3]->valueint < 0 ? NULL : text_at(part[3]);
	where = shown(name, a, flags);
	status = encode(enc, a, b, flags, limit, &e);
	if (cJSON_IsString(part[4])) {
		if (!status)
			fail_msg("%s: not refused (%s)", where, part[4]->valuestring);
	} else if (status) {
		fail_msg("%s: %s", where, err.msg);
	} else {
		same_ids("id", part[4], e.ids, e.n, where);
		same_ids("type", part[5], e.types, e.n, where);
		assert_ok(pt_decode(tok, e.ids, e.n, false, &out, &err), &err);
		same_text("decoded", text_at(part[6]), &out, where);
		pt_buf_clear(&out);
		stream(tok, &e, &out);
		same_text("streamed", text_at(part[7]), &out, where);
		assert_null(e.origin);
		assert_ok(encode(enc, a, b, flags | PT_ENCODE_ORIGIN, limit, &e), &err);
		same_ids("id", part[4], e.ids, e.n, where);
		same_places(part[8]->valuestring, &e, where);
	}
	pt_encoding_release(&e);
	pt_buf_release(&out);
}

static void same_facts(const char *name, const struct pt_tokenizer *tok, const cJSON *facts)
{
	const cJSON *special = cJSON_GetArrayItem(facts, 2), *named = cJSON_GetArrayItem(facts, 3);
	int count = 0;

	if (pt_tokenizer_vocab_size(tok) != cJSON_GetArrayItem(facts, 0)->valueint ||
	    pt_tokenizer_max_id(tok) != cJSON_GetArrayItem(facts, 1)->valueint)
		fail_msg("%s: %d tokens, the largest id is %d", name, (int)pt_tokenizer_vocab_size(tok),
			 (int)pt_tokenizer_max_id(tok));
	for (int32_t id = 0; id <= pt_tokenizer_max_id(tok); id++) {
		size_t n;
		const char *s = pt_tokenizer_token(tok, id, &n);

		count += pt_tokenizer_is_special(tok, id);
		assert_int_equal(s ? pt_tokenizer_id(tok, s, n) : id, id);
	}
	for (const cJSON *j = special->child; j; j = j->next)
		if (!pt_tokenizer_is_special(tok, j->valueint))
			fail_msg("%s: %d is not special", name, j->valueint);
	assert_int_equal(count, cJSON_GetArraySize(special));
	for (int i = 0; i < cJSON_GetArraySize(named); i++)
		if (pt_tokenizer_named(tok, (enum pt_token_name)i) != cJSON_GetArrayItem(named, i)->valueint)
			fail_msg("%s: named token %d is %d", name, i, (int)pt_tokenizer_named(tok, (enum pt_token_name)i));
}

static void agrees_with_the_package(void **state)
{
	const cJSON *c, *r;
	int cases = 0, runs = 0;

	(void)state;
	cJSON_ArrayForEach(c, pt_json_get(golden, "cases")) {
		const char *name = pt_json_get(c, "name")->valuestring;
		struct pt_tokenizer *tok;
		struct pt_encoder *enc;
		char path[200];

		snprintf(path, sizeof path, DIR "%s", name);
		assert_ok(pt_tokenizer_open(&tok, path, &err), &err);
		same_facts(name, tok, pt_json_get(c, "facts"));
		assert_ok(pt_encoder_new(&enc, tok, &err), &err);
		/* Twice: the second time words come from the cache. */
		for (int twice = 0; twice < 2; twice++)
			cJSON_ArrayForEach(r, pt_json_get(c, "runs")) {
				run(name, tok, enc, r);
				runs++;
			}
		pt_encoder_free(enc);
		pt_tokenizer_close(tok);
		cases++;
	}
	assert_true(cases > 50 && runs > 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_package),
	};

	return cmocka_run_group_tests(tests, open_golden, close_golden);
}
