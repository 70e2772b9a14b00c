/* SPDX-License-Identifier: MIT */
/*
 * opt.c - the table of options: getopt_long(), checked values, --help.
 */
#include "base/opt.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* getopt_long()'s val: an index into the table, or these. */
enum { VAL_HELP = 0x1000, VAL_VERSION, VAL_OPT = 0x2000, VAL_NO = 0x4000 };

static bool takes_arg(const struct pt_opt *o)
{
	return o->type != PT_OPT_FLAG && o->type != PT_OPT_COUNT;
}

int pt_parse_int(const char *text, int64_t min, int64_t max, int64_t *out, struct pt_error *err)
{
	static const struct { const char *suffix; int64_t factor; } suffixes[] = {
		{ "", 1 }, { "k", 1000 }, { "M", 1000000 }, { "G", 1000000000 },
		{ "Ki", 1 << 10 }, { "Mi", 1 << 20 }, { "Gi", 1 << 30 },
	};
	const char *digits = text + (*text == '-' || *text == '+');
	char *end;
	long long v;
	int64_t factor = 0, x;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (*digits < '0' || *digits > '9')
		return pt_error(err, PT_USAGE, "'%s' is not a whole number", text);
	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
		if (strcmp(end, suffixes[i].suffix) == 0)
			factor = suffixes[i].factor;
	if (factor == 0)
		return pt_error(err, PT_USAGE, "'%s' is not a whole number (suffixes: k M G Ki Mi Gi)",
				text);
	if (errno == ERANGE || __builtin_mul_overflow((int64_t)v, factor, &x))
		return pt_error(err, PT_USAGE, "'%s' is too large", text);
	if (x < min || x > max) {
		if (max == INT64_MAX)
			return pt_error(err, PT_USAGE, "%s is below %" PRId64, text, min);
		return pt_error(err, PT_USAGE, "%s is out of range (%" PRId64 " to %" PRId64 ")",
				text, min, max);
	}
	*out = x;
	return 0;
}

int pt_parse_double(const char *text, double min, double max, double *out, struct pt_error *err)
{
	char *end;
	double v = strtod(text, &end);

	/* strtod() also reads hexadecimal, nan and inf. */
	if (end == text || *end || strspn(text, "+-.0123456789eE") != strlen(text))
		return pt_error(err, PT_USAGE, "'%s' is not a number", text);
	if (!isfinite(v))
		return pt_error(err, PT_USAGE, "'%s' is too large", text);
	if (v < min || v > max) {
		if (isinf(max) || max >= 1e300)
			return pt_error(err, PT_USAGE, "%s is below %g", text, min);
		return pt_error(err, PT_USAGE, "%s is out of range (%g to %g)", text, min, max);
	}
	*out = v;
	return 0;
}

static int parse_choice(const char *choices, const char *arg, int *out, struct pt_error *err)
{
	size_t n = strlen(arg);
	const char *w = choices;

	for (int i = 0; ; i++) {
		size_t len = strcspn(w, "|");

		if (len == n && memcmp(w, arg, n) == 0) {
			*out = i;
			return 0;
		}
		if (!w[len])
			break;
		w += len + 1;
	}
	return pt_error(err, PT_USAGE, "'%s' is none of %s", arg, choices);
}

static int list_add(struct pt_opt_list *l, const char *arg, struct pt_error *err)
{
	const char **item = pt_realloc(l->item, (size_t)l->n + 1, sizeof *item, err);

	if (!item)
		return PT_FAIL;
	l->item = item;
	l->item[l->n++] = arg;
	return 0;
}

void pt_opt_list_release(struct pt_opt_list *l)
{
	free(l->item);
	*l = (struct pt_opt_list){ NULL, 0 };
}

static int64_t int_limit(double v)
{
	/* A double cannot hold INT64_MAX: what lies beyond means "as much as fits". */
	if (v >= 9223372036854775807.0)
		return INT64_MAX;
	if (v <= -9223372036854775808.0)
		return INT64_MIN;
	return (int64_t)v;
}

static int set_value(const struct pt_opt *o, const char *arg, struct pt_error *err)
{
	bool any = o->min == 0 && o->max == 0;

	switch (o->type) {
	case PT_OPT_FLAG:
		*(bool *)o->value = true;
		return 0;
	case PT_OPT_COUNT:
		++*(int *)o->value;
		return 0;
	case PT_OPT_INT:
		return pt_parse_int(arg, any ? INT64_MIN : int_limit(o->min),
				    any ? INT64_MAX : int_limit(o->max), o->value, err);
	case PT_OPT_FLOAT:
		return pt_parse_double(arg, any ? -INFINITY : o->min, any ? INFINITY : o->max,
				       o->value, err);
	case PT_OPT_STRING:
		if (!*arg && !o->empty)
			return pt_error(err, PT_USAGE, "the argument is empty");
		*(const char **)o->value = arg;
		return 0;
	case PT_OPT_CHOICE:
		return parse_choice(o->choices, arg, o->value, err);
	case PT_OPT_LIST:
		if (!*arg && !o->empty)
			return pt_error(err, PT_USAGE, "the argument is empty");
		return list_add(o->value, arg, err);
	}
	return pt_error(err, PT_USAGE, "unknown type of option");
}

/* getopt's tables. Names of --no-X are owned by no_names. used: by index of the option. */
struct tables {
	bool *used;
	char letters[160];
	struct option *longs;
	char **no_names;
	int n_no;
};

static void tables_release(struct tables *t)
{
	for (int i = 0; i < t->n_no; i++)
		free(t->no_names[i]);
	free(t->no_names);
	free(t->longs);
	free(t->used);
}

static int tables_init(struct tables *t, const struct pt_opt *opts, struct pt_error *err)
{
	size_t n = 0, used, k = 0;

	while (opts[n].name)
		n++;
	memset(t, 0, sizeof *t);
	t->longs = pt_calloc(2 * n + 3, sizeof *t->longs, err);
	t->no_names = pt_calloc(n, sizeof *t->no_names, err);
	t->used = pt_calloc(n, sizeof *t->used, err);
	if (!t->longs || !t->no_names || !t->used || n >= 0x1000 || 2 * n + 8 > sizeof t->letters)
		return pt_error(err, PT_FAIL, "out of memory");
	/* A missing argument is told from an unknown option. */
	used = (size_t)snprintf(t->letters, sizeof t->letters, ":hV");
	for (size_t i = 0; i < n; i++) {
		const struct pt_opt *o = &opts[i];

		if (o->letter)
			used += (size_t)snprintf(t->letters + used, sizeof t->letters - used, "%c%s",
						 o->letter, takes_arg(o) ? ":" : "");
		t->longs[k++] = (struct option){ o->name, o->optional ? optional_argument : takes_arg(o), NULL,
						 VAL_OPT + (int)i };
		if (!o->negatable)
			continue;
		t->no_names[t->n_no] = pt_format(err, "no-%s", o->name);
		if (!t->no_names[t->n_no])
			return PT_FAIL;
		t->longs[k++] = (struct option){ t->no_names[t->n_no++], 0, NULL, VAL_NO + (int)i };
	}
	t->longs[k++] = (struct option){ "help", 0, NULL, VAL_HELP };
	t->longs[k++] = (struct option){ "version", 0, NULL, VAL_VERSION };
	return 0;
}

static const struct pt_opt *by_letter(const struct pt_opt *opts, int c)
{
	for (; opts->name; opts++)
		if (opts->letter == c)
			return opts;
	return NULL;
}

static void name_of(const struct pt_opt *o, bool letter, char *out, size_t n)
{
	if (letter)
		snprintf(out, n, "-%c", o->letter);
	else
		snprintf(out, n, "--%s", o->name);
}

static int bad_option(const struct pt_opt *opts, int c, char **argv, struct pt_error *err)
{
	const struct pt_opt *o = NULL;
	char name[80];

	if (optopt >= VAL_NO)
		return pt_error(err, PT_USAGE, "option --no-%s takes no argument", opts[optopt - VAL_NO].name);
	if (optopt >= VAL_OPT)
		o = &opts[optopt - VAL_OPT];
	else if (optopt >= VAL_HELP)
		return pt_error(err, PT_USAGE, "option '%s' takes no argument", argv[optind - 1]);
	else if (optopt && c == ':')
		o = by_letter(opts, optopt);
	if (o) {
		name_of(o, optopt < VAL_OPT, name, sizeof name);
		if (c == ':')
			return pt_error(err, PT_USAGE, "option %s needs an argument: %s", name,
					o->arg ? o->arg : "VALUE");
		return pt_error(err, PT_USAGE, "option %s takes no argument", name);
	}
	if (optopt)
		return pt_error(err, PT_USAGE, "unknown option -%c", optopt);
	return pt_error(err, PT_USAGE, "unknown or ambiguous option '%s'", argv[optind - 1]);
}

/* The first of "a|b" that was used; NULL: none. */
static const struct pt_opt *used_of(const struct pt_opt *opts, const bool *used, const char *names)
{
	for (const struct pt_opt *o = opts; o->name; o++) {
		size_t n = strlen(o->name);

		for (const char *p = names; used[o - opts] && p; p = strchr(p, '|')) {
			p += *p == '|';
			if (!strncmp(p, o->name, n) && (!p[n] || p[n] == '|'))
				return o;
		}
	}
	return NULL;
}

/* What was used goes together, and each has what it needs to have an effect. */
static int check_together(const struct pt_opt *opts, const bool *used, struct pt_error *err)
{
	for (const struct pt_opt *o = opts; o->name; o++) {
		const struct pt_opt *other = o->excludes && used[o - opts] ? used_of(opts, used, o->excludes) : NULL;

		if (other)
			return pt_error(err, PT_USAGE, "--%s and --%s do not go together", o->name, other->name);
		if (o->wants && used[o - opts] && !used_of(opts, used, o->wants))
			return pt_error(err, PT_USAGE, "--%s has no effect without --%.*s", o->name,
					(int)strcspn(o->wants, "|"), o->wants);
	}
	return 0;
}

int pt_opt_parse(const struct pt_opt_spec *spec, int argc, char **argv, int *operand,
		 bool *help, bool *version, struct pt_error *err)
{
	const struct pt_opt *opts = spec->opts, *o;
	struct tables t;
	char name[80];
	int c, status;

	*help = *version = false;
	status = tables_init(&t, opts, err);
	if (status)
		goto out;
	opterr = 0;
	optind = 0;	/* glibc and musl: start anew */
	while ((c = getopt_long(argc, argv, t.letters, t.longs, NULL)) != -1) {
		if (c == '?' || c == ':') {
			status = bad_option(opts, c, argv, err);
			*help = true;
			goto out;
		}
		if (c == VAL_HELP || (c == 'h' && !by_letter(opts, 'h'))) {
			*help = true;
			continue;
		}
		if (c == VAL_VERSION || (c == 'V' && !by_letter(opts, 'V'))) {
			*version = true;
			continue;
		}
		if (c >= VAL_NO) {
			o = &opts[c - VAL_NO];
			*(bool *)o->value = false;
			t.used[o - opts] = false;
		} else {
			o = c >= VAL_OPT ? &opts[c - VAL_OPT] : by_letter(opts, c);
			t.used[o - opts] = true;
			status = o->optional && !optarg ? 0 : set_value(o, optarg, err);
			if (status) {
				name_of(o, c < VAL_OPT, name, sizeof name);
				pt_error_prefix(err, "option %s", name);
				goto out;
			}
		}
		if (o->given)
			*o->given = true;
	}
	*operand = optind;
	if (!*help && !*version)
		status = check_together(opts, t.used, err);
out:
	tables_release(&t);
	return status;
}

static void help_line(struct pt_buf *out, const struct pt_opt *o)
{
	enum { COLUMN = 30 };
	size_t start = out->len, used;

	if (o->letter)
		pt_buf_printf(out, "  -%c, ", o->letter);
	else
		pt_buf_str(out, "      ");
	pt_buf_printf(out, "--%s%s", o->negatable ? "[no-]" : "", o->name);
	if (o->optional)
		pt_buf_printf(out, "[=%s]", o->arg);
	else if (takes_arg(o))
		pt_buf_printf(out, " %s", o->choices && !o->arg ? o->choices : o->arg ? o->arg : "VALUE");
	used = out->len - start;
	if (used + 2 > COLUMN) {
		pt_buf_char(out, '\n');
		used = 0;
	}
	pt_buf_printf(out, "%*s%s\n", (int)(COLUMN - used), "", o->help ? o->help : "");
}

void pt_opt_help(const struct pt_opt_spec *spec, struct pt_buf *out)
{
	static const struct pt_opt help = { .name = "help", .letter = 'h', .help = "show this text" };
	static const struct pt_opt version = { .name = "version", .letter = 'V', .help = "show the version" };

	pt_buf_printf(out, "Usage: %s %s\n%s\n\nOptions:\n", spec->tool, spec->synopsis, spec->summary);
	for (const struct pt_opt *o = spec->opts; o->name; o++)
		help_line(out, o);
	help_line(out, &help);
	help_line(out, &version);
}
