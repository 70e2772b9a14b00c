/* SPDX-License-Identifier: MIT */
/*
 * json.h - the one door to cJSON: strict parsing, typed and range-checked
 * access, output with stable spelling.
 *
 * Refused: duplicate keys (unless PT_JSON_LAST_WINS), nesting deeper than 64,
 * trailing bytes, a byte order mark, invalid UTF-8, NUL. Numbers are doubles
 * until asked for as integers; an integer beyond 2^53 or with a fraction is
 * an error only then. Unknown keys and the order of keys survive a parse and
 * a print.
 */
#ifndef PT_BASE_JSON_H
#define PT_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cjson/cJSON.h>

#include "base/buf.h"
#include "base/error.h"

enum {
	PT_JSON_LAST_WINS = 1,	/* of equal keys the last counts, as in tokenizers */
};

/* what names the source in messages. The result is freed by pt_json_free(). Status PT_DATA. */
cJSON *pt_json_parse(const char *text, size_t n, int flags, const char *what, struct pt_error *err);
cJSON *pt_json_read(const char *path, int flags, struct pt_error *err);
void pt_json_free(cJSON *j);

/* Member of an object, or NULL (also when the value is null or obj is not an object). Borrowed. */
const cJSON *pt_json_get(const cJSON *obj, const char *key);

/*
 * Typed members. An absent or null member gives the default; a member of
 * another type or out of range is PT_DATA, naming the key.
 */
int pt_json_int(const cJSON *obj, const char *key, int64_t min, int64_t max, int64_t def,
		int64_t *out, struct pt_error *err);
int pt_json_double(const cJSON *obj, const char *key, double def, double *out,
		   struct pt_error *err);
int pt_json_bool(const cJSON *obj, const char *key, bool def, bool *out, struct pt_error *err);
/* Borrowed from obj; def may be NULL. */
int pt_json_str(const cJSON *obj, const char *key, const char *def, const char **out,
		struct pt_error *err);
/* A number as an integer, range-checked. */
int pt_json_to_int(const cJSON *v, int64_t min, int64_t max, int64_t *out, struct pt_error *err);

/* Append v: indent 0 compact, else pretty as Python's json.dump(indent=n). Integers print as integers,
 * other numbers shortest-round-trip as Python's repr does. */
void pt_json_print(struct pt_buf *b, const cJSON *v, int indent);
/* A file of it, indented by 2 as Python writes it, with a newline at the end; appears whole (file.h).
 * PT_FAIL also where memory was short since the start, and a tree may lack a key. */
int pt_json_write(const cJSON *v, const char *dir, const char *name, struct pt_error *err);

#endif
