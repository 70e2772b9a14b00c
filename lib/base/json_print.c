/* SPDX-License-Identifier: MIT */
/*
 * json_print.c - JSON text as Python's json.dumps(ensure_ascii=False) spells it.
 */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* One more in the last digit of "d.ddde-NN". False when all are nines. */
static bool next_digits(char *s)
{
	char *d = strchr(s, 'e');

	while (--d >= s) {
		if (*d == '.')
			continue;
		if (*d < '9') {
			++*d;
			return true;
		}
		*d = '0';
	}
	return false;
}

/*
 * The shortest digits that read back as v, and the exponent of the first.
 * v is finite, not negative, not zero. Compared with Python's repr() on every
 * power of two and its neighbours and on half a million others.
 */
static int shortest(double v, char digits[18])
{
	char s[32];
	int p, e;

	/* 15 digits always survive a double's round trip, unless it is subnormal. */
	for (p = v < 2.3e-308 ? 1 : 15; ; p++) {
		snprintf(s, sizeof s, "%.*e", p - 1, v);
		if (p == 17 || strtod(s, NULL) == v)
			break;
		/* Below a power of two doubles are denser: the nearest digits may fail, the next above do. */
		if (p == 16 && next_digits(s) && strtod(s, NULL) == v)
			break;
	}
	digits[0] = s[0];
	memcpy(digits + 1, s + 2, (size_t)p - 1);
	e = atoi(strchr(s, 'e') + 1);
	while (p > 1 && digits[p - 1] == '0')
		p--;
	digits[p] = '\0';
	return e;
}

static void print_number(struct pt_buf *b, double v)
{
	char d[18];
	int e, n;

	if (!isfinite(v)) {
		pt_buf_str(b, "null");
		return;
	}
	if (v == floor(v) && fabs(v) <= 9007199254740992.0) {
		pt_buf_printf(b, signbit(v) && v == 0 ? "-0.0" : "%.0f", v);
		return;
	}
	if (v < 0)
		pt_buf_char(b, '-');
	e = shortest(fabs(v), d);
	n = (int)strlen(d);
	if (e < -4 || e >= 16) {
		pt_buf_printf(b, "%c%s%se%c%02d", d[0], n > 1 ? "." : "", d + 1, e < 0 ? '-' : '+', abs(e));
	} else if (e < 0) {
		pt_buf_str(b, "0.");
		for (int i = -1; i > e; i--)
			pt_buf_char(b, '0');
		pt_buf_str(b, d);
	} else if (n <= e + 1) {
		pt_buf_str(b, d);
		for (int i = n; i < e + 1; i++)
			pt_buf_char(b, '0');
		pt_buf_str(b, ".0");
	} else {
		pt_buf_add(b, d, (size_t)e + 1);
		pt_buf_char(b, '.');
		pt_buf_str(b, d + e + 1);
	}
}

static void newline(struct pt_buf *b, int indent, int depth)
{
	if (indent == 0)
		return;
	pt_buf_char(b, '\n');
	for (int i = 0; i < indent * depth; i++)
		pt_buf_char(b, ' ');
}

static void print_list(struct pt_buf *b, const cJSON *v, int indent, int depth);

static void print_value(struct pt_buf *b, const cJSON *v, int indent, int depth)
{
	switch (v->type & 0xff) {
	case cJSON_True:
		pt_buf_str(b, "true");
		break;
	case cJSON_False:
		pt_buf_str(b, "false");
		break;
	case cJSON_Number:
		/* The parsed spelling, unless the value was set anew since. */
		if (v->valuestring && strtod(v->valuestring, NULL) == v->valuedouble)
			pt_buf_str(b, v->valuestring);
		else
			print_number(b, v->valuedouble);
		break;
	case cJSON_String:
		pt_buf_json(b, v->valuestring, strlen(v->valuestring));
		break;
	case cJSON_Array:
	case cJSON_Object:
		print_list(b, v, indent, depth);
		break;
	default:
		pt_buf_str(b, "null");
		break;
	}
}

static void print_list(struct pt_buf *b, const cJSON *v, int indent, int depth)
{
	bool object = cJSON_IsObject(v);

	pt_buf_char(b, object ? '{' : '[');
	for (const cJSON *c = v->child; c; c = c->next) {
		newline(b, indent, depth + 1);
		if (object) {
			pt_buf_json(b, c->string, strlen(c->string));
			pt_buf_str(b, indent ? ": " : ":");
		}
		print_value(b, c, indent, depth + 1);
		if (c->next)
			pt_buf_char(b, ',');
	}
	if (v->child)
		newline(b, indent, depth);
	pt_buf_char(b, object ? '}' : ']');
}

void pt_json_print(struct pt_buf *b, const cJSON *v, int indent)
{
	if (v)
		print_value(b, v, indent, 0);
	else
		pt_buf_str(b, "null");
}

/*
 * Trees are built by many small calls of cJSON, of which any may fail for
 * want of memory and leave a key out. Looked for once, where a tree goes to a
 * file.
 */
static bool lacked_memory;

static void *watched_malloc(size_t n)
{
	void *p = malloc(n);

	if (!p)
		lacked_memory = true;
	return p;
}

__attribute__((constructor)) static void watch_memory(void)
{
	cJSON_InitHooks(&(cJSON_Hooks){ watched_malloc, free });
}

int pt_json_write(const cJSON *v, const char *dir, const char *name, struct pt_error *err)
{
	struct pt_buf b = PT_BUF_INIT;
	int status;

	if (lacked_memory)
		return pt_error(err, PT_FAIL, "%s/%s: out of memory", dir, name);
	pt_json_print(&b, v, 2);
	pt_buf_char(&b, '\n');
	status = pt_file_write_in(dir, name, &b, err);
	pt_buf_release(&b);
	return status;
}
