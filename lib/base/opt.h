/* SPDX-License-Identifier: MIT */
/*
 * opt.h - one table of options a tool: it feeds getopt_long and --help, and
 * a test compares it with the man page.
 *
 * Values land in the variable behind .value, checked and range-checked. The
 * letters are the same in all tools: a adapter, b batch size, d device,
 * e epochs, f force, h help, j threads, m model, n stop after n, o output,
 * q quiet, r rank, s seed, t method, v verbose, V version, z zstd.
 */
#ifndef PT_BASE_OPT_H
#define PT_BASE_OPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum pt_opt_type {
	PT_OPT_FLAG,		/* bool *: set to true; --no-NAME sets false where .negatable */
	PT_OPT_COUNT,		/* int *: incremented */
	PT_OPT_INT,		/* int64_t *: min..max, suffixes k, M, G (decimal powers of 1000; Ki, Mi, Gi) */
	PT_OPT_FLOAT,		/* double *: min..max */
	PT_OPT_STRING,		/* const char **: borrowed from argv */
	PT_OPT_CHOICE,		/* int *: index of the word in .choices, "a|b|c" */
	PT_OPT_LIST,		/* struct pt_opt_list *: appended at each use */
};

struct pt_opt_list {
	const char **item;
	int n;
};

struct pt_opt {
	const char *name;	/* long name without dashes */
	char letter;		/* 0: none */
	enum pt_opt_type type;
	const char *arg;	/* placeholder in the help, "N", "FILE"; NULL for flags */
	void *value;
	double min, max;	/* inclusive, for INT and FLOAT; both 0: any value */
	const char *choices;
	bool negatable;
	bool optional;		/* --name alone leaves the value as it is, --name=ARG sets it; without a letter */
	bool empty;		/* STRING and LIST: an empty argument means something */
	bool *given;		/* set to true when the option was used; may be NULL */
	const char *wants;	/* others, "a|b", without any of which it has no effect: refused then */
	const char *excludes;	/* others, "a|b", beside which it contradicts or has no effect: refused */
	const char *help;	/* one line, lower case, no full stop */
};

struct pt_opt_spec {
	const char *tool;	/* "peft-batch" */
	const char *synopsis;	/* "[options] [FILE ...]" */
	const char *summary;	/* one sentence */
	const struct pt_opt *opts;	/* ends in a zeroed entry; help and version are added */
};

/*
 * Parse argv. Options may stand behind operands, up to "--", where the C library moves
 * them (glibc); argv is put in order, *operand is the index of the first operand. *help and *version are set when asked for; *help also
 * where an option is not known or lacks its argument. PT_USAGE names the option; --no-NAME is never in vain.
 */
int pt_opt_parse(const struct pt_opt_spec *spec, int argc, char **argv, int *operand,
		 bool *help, bool *version, struct pt_error *err);

/* The text of --help. */
void pt_opt_help(const struct pt_opt_spec *spec, struct pt_buf *out);

/* A number with an optional suffix, for values inside other texts. */
int pt_parse_int(const char *text, int64_t min, int64_t max, int64_t *out, struct pt_error *err);
int pt_parse_double(const char *text, double min, double max, double *out, struct pt_error *err);

void pt_opt_list_release(struct pt_opt_list *l);

#endif
