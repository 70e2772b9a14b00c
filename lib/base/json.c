/* SPDX-License-Identifier: MIT */
/*
 * json.c - strict JSON (RFC 8259) into cJSON's tree.
 *
 * cJSON's own parser accepts what is not JSON (01, +1, control characters in
 * strings, bytes that are not UTF-8), keeps duplicate keys and forgets how a
 * number was spelled. So the tree is cJSON's and the parser is ours. A number
 * whose spelling does not follow from its double (0.0, 1e30, integers beyond
 * 2^53) keeps it in valuestring, for pt_json_print() and pt_json_to_int().
 */
#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { MAX_DEPTH = 64, SMALL_OBJECT = 16 };

struct parser {
	const char *start, *p, *end;
	int flags, depth;
	const char *what;
	struct pt_buf text;	/* the string being decoded */
	struct pt_error *err;
};

static int parse_value(struct parser *ps, cJSON **out);

static int fail(struct parser *ps, const char *why)
{
	size_t line = 1, column = 1;

	for (const char *s = ps->start; s < ps->p; s++) {
		column++;
		if (*s == '\n') {
			line++;
			column = 1;
		}
	}
	return pt_error(ps->err, PT_DATA, "%s: not valid JSON: %s at line %zu, column %zu",
			ps->what, why, line, column);
}

static int no_memory(struct parser *ps)
{
	return pt_error(ps->err, PT_FAIL, "%s: out of memory", ps->what);
}

static void skip_space(struct parser *ps)
{
	while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\t' || *ps->p == '\r'))
		ps->p++;
}

static int parse_hex4(struct parser *ps, uint32_t *out)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++, ps->p++) {
		char c = ps->p < ps->end ? *ps->p : '\0';

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint32_t)(c - '0');
		else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
			v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return fail(ps, "four hexadecimal digits expected");
	}
	*out = v;
	return 0;
}

/* After a backslash. */
static int parse_escape(struct parser *ps)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	char c = ps->p < ps->end ? *ps->p : '\0', utf8[4];
	const char *hit = c ? strchr(from, c) : NULL;
	uint32_t cp, low;
	int status;

	if (hit) {
		ps->p++;
		pt_buf_char(&ps->text, to[hit - from]);
		return 0;
	}
	if (c != 'u')
		return fail(ps, "unknown escape");
	ps->p++;
	status = parse_hex4(ps, &cp);
	if (status)
		return status;
	if (cp >= 0xd800 && cp < 0xdc00) {
		if (ps->end - ps->p < 2 || ps->p[0] != '\\' || ps->p[1] != 'u')
			return fail(ps, "half of a surrogate pair");
		ps->p += 2;
		status = parse_hex4(ps, &low);
		if (status)
			return status;
		if (low < 0xdc00 || low > 0xdfff)
			return fail(ps, "half of a surrogate pair");
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
	} else if (cp >= 0xdc00 && cp < 0xe000) {
		return fail(ps, "half of a surrogate pair");
	}
	if (cp == 0)
		return fail(ps, "NUL in a string");
	pt_buf_add(&ps->text, utf8, pt_utf8_put(cp, utf8));
	return 0;
}

/* At the opening quote. *out is on the heap, allocated as cJSON_Delete() frees it. */
static int parse_string(struct parser *ps, char **out)
{
	int status;

	ps->p++;
	pt_buf_clear(&ps->text);
	for (;;) {
		const char *s = ps->p;

		while (s < ps->end && *s != '"' && *s != '\\' && (unsigned char)*s >= 0x20)
			s++;
		pt_buf_add(&ps->text, ps->p, (size_t)(s - ps->p));
		ps->p = s;
		if (s == ps->end)
			return fail(ps, "a string does not end");
		if (*s == '"')
			break;
		if (*s != '\\')
			return fail(ps, "a control character in a string");
		ps->p++;
		status = parse_escape(ps);
		if (status)
			return status;
	}
	ps->p++;
	if (ps->text.failed)
		return no_memory(ps);
	*out = cJSON_malloc(ps->text.len + 1);
	if (!*out)
		return no_memory(ps);
	memcpy(*out, ps->text.len ? ps->text.data : "", ps->text.len);
	(*out)[ps->text.len] = '\0';
	return 0;
}

static const char *digits(const char *s, const char *end)
{
	while (s < end && *s >= '0' && *s <= '9')
		s++;
	return s;
}

/* Short integers are by far the most numbers of a vocabulary: no strtod(), no kept spelling. */
static int short_integer(const char *s, size_t n, double *out)
{
	long long v = 0;
	size_t i = s[0] == '-';

	if (n > 15 || (i && s[1] == '0'))
		return 0;
	for (; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return 0;
		v = v * 10 + (s[i] - '0');
	}
	*out = (double)(s[0] == '-' ? -v : v);
	return 1;
}

static int parse_number(struct parser *ps, cJSON *item)
{
	const char *s = ps->p, *from = s, *t;
	struct pt_buf printed = PT_BUF_INIT;
	int status = 0;
	size_t n;

	if (s < ps->end && *s == '-')
		s++;
	t = digits(s, ps->end);
	if (t == s || (*s == '0' && t > s + 1))
		return fail(ps, "not a number");
	s = t;
	if (s < ps->end && *s == '.') {
		t = digits(s + 1, ps->end);
		if (t == s + 1)
			return fail(ps, "not a number");
		s = t;
	}
	if (s < ps->end && (*s == 'e' || *s == 'E')) {
		s++;
		if (s < ps->end && (*s == '+' || *s == '-'))
			s++;
		t = digits(s, ps->end);
		if (t == s)
			return fail(ps, "not a number");
		s = t;
	}
	n = (size_t)(s - from);
	item->type = cJSON_Number;
	if (short_integer(from, n, &item->valuedouble)) {
		cJSON_SetNumberHelper(item, item->valuedouble);
		ps->p = s;
		return 0;
	}
	pt_buf_clear(&ps->text);
	pt_buf_add(&ps->text, from, n);
	if (ps->text.failed)
		return no_memory(ps);
	/* The text buffer ends in NUL, which the source need not. */
	cJSON_SetNumberHelper(item, strtod(ps->text.data, NULL));
	if (!isfinite(item->valuedouble))
		return fail(ps, "a number beyond the range of a double");
	pt_json_print(&printed, item, 0);
	if (printed.failed) {
		status = no_memory(ps);
	} else if (printed.len != n || memcmp(printed.data, from, n) != 0) {
		item->valuestring = cJSON_malloc(n + 1);
		if (item->valuestring)
			memcpy(item->valuestring, ps->text.data, n + 1);
		else
			status = no_memory(ps);
	}
	pt_buf_release(&printed);
	ps->p = s;
	return status;
}

static void append(cJSON *list, cJSON *item)
{
	/* cJSON's lists: the first child's prev is the last. */
	if (!list->child) {
		list->child = item;
		item->prev = item;
		return;
	}
	item->prev = list->child->prev;
	list->child->prev->next = item;
	list->child->prev = item;
}

/* A later value for the same key takes the earlier one's place. */
static void replace(cJSON *list, cJSON *old, cJSON *item)
{
	item->prev = old->prev;
	item->next = old->next;
	if (old->next)
		old->next->prev = item;
	else
		list->child->prev = item;
	if (list->child == old) {
		list->child = item;
		if (!item->next)
			item->prev = item;
	} else {
		item->prev->next = item;
	}
	old->next = old->prev = NULL;
	cJSON_Delete(old);
}

/* The keys of one object: compared one by one while they are few, then in a map. */
struct keys {
	struct pt_map map;
	int count;
};

static int keys_find(struct parser *ps, struct keys *k, const cJSON *object, const char *key,
		     cJSON **old)
{
	cJSON *c;

	*old = NULL;
	if (k->count < SMALL_OBJECT) {
		for (c = object->child; c; c = c->next)
			if (strcmp(c->string, key) == 0)
				*old = c;
		return 0;
	}
	if (k->count == SMALL_OBJECT && !k->map.slot) {
		if (pt_map_init(&k->map, 64, ps->err))
			return PT_FAIL;
		for (c = object->child; c; c = c->next)
			if (pt_map_put(&k->map, c->string, strlen(c->string),
				       (int64_t)(uintptr_t)c, NULL, ps->err))
				return PT_FAIL;
	}
	int64_t v = pt_map_get(&k->map, key, strlen(key));

	if (v >= 0)
		*old = (cJSON *)(uintptr_t)v;
	return 0;
}

static int parse_member(struct parser *ps, cJSON *object, struct keys *k)
{
	const char *at = ps->p;
	cJSON *item = NULL, *old;
	char *key = NULL;
	int status;

	if (ps->p == ps->end || *ps->p != '"')
		return fail(ps, "a key in quotes expected");
	status = parse_string(ps, &key);
	if (status)
		return status;
	status = keys_find(ps, k, object, key, &old);
	if (status)
		goto out;
	if (old && !(ps->flags & PT_JSON_LAST_WINS)) {
		struct pt_buf why = PT_BUF_INIT;

		pt_buf_str(&why, "a duplicate key \"");
		pt_buf_printable(&why, key, strnlen(key, 100));
		pt_buf_char(&why, '"');
		ps->p = at;
		status = fail(ps, why.data ? why.data : "a duplicate key");
		pt_buf_release(&why);
		goto out;
	}
	skip_space(ps);
	if (ps->p == ps->end || *ps->p != ':') {
		status = fail(ps, "':' expected");
		goto out;
	}
	ps->p++;
	status = parse_value(ps, &item);
	if (status)
		goto out;
	if (old) {
		/* The old key goes on: the map borrows it. */
		item->string = old->string;
		old->string = NULL;
		replace(object, old, item);
	} else {
		item->string = key;
		key = NULL;
		append(object, item);
		k->count++;
	}
	if (k->map.slot)
		status = pt_map_put(&k->map, item->string, strlen(item->string),
				    (int64_t)(uintptr_t)item, NULL, ps->err);
out:
	cJSON_free(key);
	return status;
}

/* At the opening bracket of an array or object. */
static int parse_list(struct parser *ps, cJSON *list)
{
	bool object = *ps->p == '{';
	char close = object ? '}' : ']';
	struct keys keys = { { 0 }, 0 };
	cJSON *item;
	int status = 0;

	list->type = object ? cJSON_Object : cJSON_Array;
	if (++ps->depth > MAX_DEPTH)
		return fail(ps, "nesting deeper than 64");
	ps->p++;
	skip_space(ps);
	if (ps->p < ps->end && *ps->p == close)
		goto closed;
	for (;;) {
		skip_space(ps);
		if (object) {
			status = parse_member(ps, list, &keys);
		} else {
			status = parse_value(ps, &item);
			if (!status)
				append(list, item);
		}
		if (status)
			goto out;
		skip_space(ps);
		if (ps->p < ps->end && *ps->p == close)
			break;
		if (ps->p == ps->end || *ps->p != ',') {
			status = fail(ps, object ? "',' or '}' expected" : "',' or ']' expected");
			goto out;
		}
		ps->p++;
	}
closed:
	ps->p++;
	ps->depth--;
out:
	pt_map_release(&keys.map);
	return status;
}

static bool word(struct parser *ps, const char *w)
{
	size_t n = strlen(w);

	if ((size_t)(ps->end - ps->p) < n || memcmp(ps->p, w, n) != 0)
		return false;
	ps->p += n;
	return true;
}

static int parse_value(struct parser *ps, cJSON **out)
{
	cJSON *item = cJSON_CreateNull();
	int status = 0;
	char c;

	if (!item)
		return no_memory(ps);
	skip_space(ps);
	c = ps->p < ps->end ? *ps->p : '\0';
	if (c == '{' || c == '[') {
		status = parse_list(ps, item);
	} else if (c == '"') {
		item->type = cJSON_String;
		status = parse_string(ps, &item->valuestring);
	} else if (c == '-' || (c >= '0' && c <= '9')) {
		status = parse_number(ps, item);
	} else if (word(ps, "true")) {
		item->type = cJSON_True;
		item->valueint = 1;
	} else if (word(ps, "false")) {
		item->type = cJSON_False;
	} else if (!word(ps, "null")) {
		status = fail(ps, ps->p == ps->end ? "it ends too early" : "a value expected");
	}
	if (status)
		cJSON_Delete(item);
	else
		*out = item;
	return status;
}

cJSON *pt_json_parse(const char *text, size_t n, int flags, const char *what, struct pt_error *err)
{
	struct parser ps = { text, text, text + n, flags, 0, what, PT_BUF_INIT, err };
	cJSON *j = NULL;
	size_t bad;

	if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		fail(&ps, "a byte order mark");
		return NULL;
	}
	bad = pt_utf8_valid(text, n);
	if (bad < n) {
		ps.p = text + bad;
		fail(&ps, "a byte that is not UTF-8");
		return NULL;
	}
	if (parse_value(&ps, &j) == 0) {
		skip_space(&ps);
		if (ps.p < ps.end) {
			fail(&ps, *ps.p ? "bytes after the value" : "NUL");
			cJSON_Delete(j);
			j = NULL;
		}
	}
	pt_buf_release(&ps.text);
	return j;
}

cJSON *pt_json_read(const char *path, int flags, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	cJSON *j = NULL;

	if (pt_file_read(path, (size_t)1 << 30, &b, err) == 0)
		j = pt_json_parse(b.data, b.len, flags, path, err);
	pt_buf_release(&b);
	return j;
}

void pt_json_free(cJSON *j)
{
	cJSON_Delete(j);
}
