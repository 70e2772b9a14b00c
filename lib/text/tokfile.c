/* SPDX-License-Identifier: MIT */
/*
 * tokfile.c - finds model.vocab and model.merges in the text of a
 * tokenizer.json and parses the rest.
 *
 * A vocabulary of 65,000 tokens and as many merges would be 260,000 nodes of
 * a tree, each allocated; as text they cost one pass. The pass that looks for
 * them only needs to know strings and brackets: what it skipped is checked
 * afterwards, by the JSON parser or by the reader of the span.
 */
#include "text/tokfile.h"

#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

enum { MAX_FILE = 1 << 30 };

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

/* Past the string that starts at p; end when it does not end. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\')
			p++;
	return p < end ? p + 1 : end;
}

/* Past the value that starts at p. */
static const char *skip_value(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = skip_string(p, end);
			break;
		case '{':
		case '[':
			depth++;
			p++;
			continue;
		case '}':
		case ']':
			if (depth == 0)
				return p;
			depth--;
			p++;
			break;
		default:
			/* A number or a word, or what stands between values. */
			if (depth == 0) {
				while (p < end && !strchr(",}] \n\t\r", *p))
					p++;
				return p;
			}
			p++;
			continue;
		}
		if (depth == 0)
			return p;
	}
	return end;
}

/* Goes over the members of an object: after members_next() the value of key stands at p. */
struct members {
	const char *p, *end;
	struct pt_span key;	/* with its quotes */
};

/* False where what stands at p is no object. */
static bool members_open(struct members *m, const char *p, const char *end)
{
	p = skip_space(p, end);
	if (p == end || *p != '{')
		return false;
	m->p = p + 1;
	m->end = end;
	return true;
}

/* From behind a value to the next one; false, and p at what stands there, when there is none. */
static bool members_next(struct members *m)
{
	const char *p = skip_space(m->p, m->end);

	if (p < m->end && *p == ',')
		p = skip_space(p + 1, m->end);
	m->p = p;
	if (p == m->end || *p != '"')
		return false;
	m->key.s = p;
	p = skip_string(p, m->end);
	m->key.n = (size_t)(p - m->key.s);
	p = skip_space(p, m->end);
	if (p == m->end || *p != ':')
		return false;
	m->p = skip_space(p + 1, m->end);
	return true;
}

static bool key_is(const struct members *m, const char *quoted)
{
	return m->key.n == strlen(quoted) && memcmp(m->key.s, quoted, m->key.n) == 0;
}

/* Within "model": notes the two spans and writes null for them to rest, from *from on. */
static void cut_model(struct pt_tokfile *f, struct members *m, const char **from, struct pt_buf *rest)
{
	f->vocab.s = f->merges.s = NULL;
	while (members_next(m)) {
		struct pt_span *into = key_is(m, "\"vocab\"") ? &f->vocab : key_is(m, "\"merges\"") ? &f->merges : NULL;
		const char *value = m->p;

		m->p = skip_value(value, m->end);
		if (m->p == value)	/* no value: the parser will say so */
			return;
		if (!into)
			continue;
		*into = (struct pt_span){ value, (size_t)(m->p - value) };
		pt_buf_add(rest, *from, (size_t)(value - *from));
		pt_buf_str(rest, "null");
		*from = m->p;
	}
}

/* Appends the file's text to rest, but null for the spans; of equal keys the last counts. */
static void cut(struct pt_tokfile *f, struct pt_buf *rest)
{
	const char *from = f->text.data, *end = from + f->text.len;
	struct members top, model;

	if (members_open(&top, from, end))
		while (members_next(&top)) {
			const char *value = top.p;

			if (key_is(&top, "\"model\"") && members_open(&model, value, end)) {
				cut_model(f, &model, &from, rest);
				top.p = model.p < end ? model.p + 1 : end;
			} else {
				top.p = skip_value(value, end);
			}
			if (top.p == value)
				break;
		}
	pt_buf_add(rest, from, (size_t)(end - from));
}

int pt_tokfile_read(struct pt_tokfile *f, const char *path, struct pt_error *err)
{
	struct pt_buf rest = PT_BUF_INIT;
	size_t bad;
	int status;

	*f = (struct pt_tokfile){ .text = PT_BUF_INIT };
	status = pt_file_read(path, MAX_FILE, &f->text, err);
	if (status)
		goto out;
	bad = pt_utf8_valid(f->text.data, f->text.len);
	if (bad < f->text.len) {
		status = pt_error(err, PT_DATA, "%s: not UTF-8 at byte %zu", path, bad);
		goto out;
	}
	cut(f, &rest);
	status = pt_buf_check(&rest, err);
	if (status)
		goto out;
	f->root = pt_json_parse(rest.data, rest.len, PT_JSON_LAST_WINS, path, err);
	if (!f->root) {
		status = err->status;
		goto out;
	}
	f->model = pt_json_get(f->root, "model");
	if (!cJSON_IsObject(f->model))
		status = pt_error(err, PT_DATA, "%s: not a tokenizer: no \"model\"", path);
out:
	pt_buf_release(&rest);
	if (status)
		pt_tokfile_release(f);
	return status;
}

void pt_tokfile_release(struct pt_tokfile *f)
{
	pt_json_free(f->root);
	pt_buf_release(&f->text);
	*f = (struct pt_tokfile){ .text = PT_BUF_INIT };
}
